//! The directories and files of the host in which no output may lie, told by identity.
//!
//! A directory is compared by device and inode number, with every directory above it, so that no
//! other spelling of its path hides it. A bind mount shows a directory elsewhere, with other
//! directories above it; so the place within its filesystem is compared too, as far as
//! `/proc/self/mountinfo` tells it.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use palisade::vfs::escape;
use rustix::fs::{self, CWD, FileType, Mode, OFlags, Stat};

use super::HOLD;
use crate::ambient;
use crate::error::Error;
use crate::fault::Said;
use crate::sandbox::{Access, Sandbox, Source, SourceKind, Upper};

/// The longest way up to the host's root: Linux's `PATH_MAX` over two bytes a name.
const DEPTH_MAX: usize = 2048;

/// Where no output may lie.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    dirs: Vec<Dir>,
    files: Vec<Taken>,
    /// Directories that the guest can write once they are made.
    absent: Vec<PathBuf>,
    /// The mounts of the host, read when the first directory is added.
    mounts: Option<Vec<MountLine>>,
    /// The names of outputs, which no second output may have.
    names: RefCell<Vec<(Id, OsString)>>,
}

/// What makes a directory or a file one that no output may replace.
#[derive(Clone, Debug)]
struct Taken {
    path: PathBuf,
    /// The option, key or argument that names it.
    by: &'static str,
    usage: Usage,
    id: Id,
}

#[derive(Clone, Debug)]
struct Dir {
    taken: Taken,
    /// Where it is within filesystems: its own place, and what is mounted in it.
    places: Vec<FsPlace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// The guest can write it.
    Written,
    /// It is read while the output is written.
    Read,
}

type Id = (u64, u64);

/// A directory as its filesystem knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FsPlace {
    /// The device, `MAJOR:MINOR`.
    device: String,
    path: PathBuf,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug)]
struct MountLine {
    id: String,
    device: String,
    /// The part of the filesystem that is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl Reach {
    /// What the guest of `sandbox` can write, and what is read of the host while it runs.
    ///
    /// Errors: an `--upper` lies in what the guest can write otherwise, or behind a link in it.
    pub(crate) fn of(sandbox: &Sandbox) -> Result<Self, Error> {
        let (mut reach, mut uppers) = (Reach::default(), Vec::new());
        for mount in &sandbox.mounts {
            let usage = match mount.access {
                Access::ReadWrite => Usage::Written,
                Access::ReadOnly => Usage::Read,
            };
            reach.add_source(&mount.source, usage, Role::Mount);
            if let SourceKind::Overlay { upper: Upper::Dir { path, said }, .. } = &mount.source.kind
            {
                uppers.push((path, said, usage));
            }
        }
        for (path, said, usage) in uppers {
            reach.check_upper(path, said)?;
            reach.add(path, said.by(), usage);
        }
        if let Some((path, said)) = &sandbox.stdin {
            reach.add(path, said.by(), Usage::Read);
        }
        Ok(reach)
    }

    /// Refuses a directory of changes that the guest can write otherwise than through its overlay.
    fn check_upper(&self, path: &Path, said: &Said) -> Result<(), Error> {
        let inside = match ambient::file_type(path) {
            Some(_) => path.join("upper"),
            None => path.to_owned(),
        };
        match super::open_parent(&inside, &self.written()) {
            Err(Error::Output { why, .. }) => {
                let why = std::io::Error::other(why);
                Err(said.blame(Error::Upper { by: said.by(), path: path.to_owned(), why }))
            }
            // What else is wrong with it is told when it is opened.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The directories of these that the guest can write.
    fn written(&self) -> Reach {
        let dirs = self.dirs.iter().filter(|dir| dir.taken.usage == Usage::Written).cloned();
        Reach { dirs: dirs.collect(), mounts: self.mounts.clone(), ..Reach::default() }
    }

    /// Refuses a second output of one name.
    pub(super) fn claim(
        &self,
        path: &Path,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), Error> {
        let io = |why: rustix::io::Errno| Error::WriteFile { path: path.into(), why: why.into() };
        let name = (id(&fs::fstat(parent).map_err(io)?), name.to_owned());
        let mut names = self.names.borrow_mut();
        if names.contains(&name) {
            let why = "it is the file of another output too".to_owned();
            return Err(Error::Output { path: path.to_owned(), why });
        }
        names.push(name);
        Ok(())
    }

    /// Adds a directory or a file, unless it does not exist: then nothing lies in it.
    pub(crate) fn add(&mut self, path: &Path, by: &'static str, usage: Usage) {
        let Ok(node) = fs::openat(CWD, path, HOLD, Mode::empty()) else {
            let is_written = usage == Usage::Written;
            self.absent.extend(ambient::resolved(path).filter(|_| is_written));
            return;
        };
        let Ok(stat) = fs::fstat(&node) else { return };
        let taken = Taken { path: path.to_owned(), by, usage, id: id(&stat) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.files.push(taken);
            return;
        }
        let mounts = self.mounts.get_or_insert_with(mounts);
        let places = places(node.as_fd(), mounts);
        self.dirs.push(Dir { taken, places });
    }

    fn add_source(&mut self, source: &Source, usage: Usage, role: Role) {
        let by = source.said.by();
        match &source.kind {
            // A directory that can only be read steers nothing, and may change while it is read.
            SourceKind::Dir(_) if usage == Usage::Read && role == Role::Mount => {}
            SourceKind::Dir(path) | SourceKind::File(path) => self.add(path, by, usage),
            SourceKind::Image(path) => self.add(path, by, Usage::Read),
            // Nothing of it is held once the guest runs.
            SourceKind::Memory | SourceKind::Copy(_) => {}
            SourceKind::Overlay { upper, lowers } => {
                if let Upper::Dir { path, said } = upper
                    && role == Role::Lower
                {
                    self.add(path, said.by(), usage);
                }
                for lower in lowers {
                    self.add_source(lower, Usage::Read, Role::Lower);
                }
            }
        }
    }

    /// Refuses a directory that lies in one of these, for the output `path`.
    pub(super) fn check_dir(&self, path: &Path, dir: BorrowedFd<'_>) -> Result<(), Error> {
        let io = |why: rustix::io::Errno| Error::WriteFile { path: path.into(), why: why.into() };
        match self.above(dir).map_err(io)? {
            Some(taken) => Err(taken.refusal(path, "it lies in")),
            None => Ok(()),
        }
    }

    /// Which of these `dir` is or lies in.
    fn above(&self, dir: BorrowedFd<'_>) -> Result<Option<&Taken>, rustix::io::Errno> {
        if self.dirs.is_empty() {
            return Ok(None);
        }
        let above = ids_upwards(dir)?;
        let place = place(dir, self.mounts.as_deref().unwrap_or_default());
        let found = self.dirs.iter().find(|dir| {
            above.contains(&dir.taken.id)
                || place.as_ref().is_some_and(|it| it.lies_in_one_of(&dir.places))
        });
        Ok(found.map(|dir| &dir.taken))
    }

    /// Which of these the nearest directory above `path` that exists is or lies in.
    fn around(&self, path: &Path) -> Option<&Taken> {
        let path = std::path::absolute(path).ok()?;
        let nearest = path
            .ancestors()
            .find_map(|above| fs::openat(CWD, above, HOLD | OFlags::DIRECTORY, Mode::empty()).ok());
        self.above(nearest?.as_fd()).ok()?
    }

    /// Refuses a file to be read that lies in one of these, which are written meanwhile.
    pub(crate) fn refuse_input(&self, path: &Path) -> Result<(), Error> {
        match self.around(path) {
            Some(taken) => {
                let why = format!("it lies in `{}`, which is written", escape::name(&taken.path));
                Err(Error::Input { path: path.to_owned(), why })
            }
            None => Ok(()),
        }
    }

    /// Refuses a file that is one of these, for the output `path`.
    pub(super) fn check_file(&self, path: &Path, stat: &Stat) -> Result<(), Error> {
        match self.files.iter().find(|taken| taken.id == id(stat)) {
            Some(taken) => Err(taken.refusal(path, "it is")),
            None => Ok(()),
        }
    }

    /// Whether the guest can write the directory `path`, the nearest one above it, or one in which
    /// a name of `path` is looked up: there it could put a link.
    pub(crate) fn is_written(&self, path: &Path) -> bool {
        if self.dirs.is_empty() && self.absent.is_empty() {
            return false;
        }
        let resolved = ambient::resolved(path);
        if resolved.is_some_and(|path| self.absent.iter().any(|absent| path.starts_with(absent))) {
            return true;
        }
        // The walk checks each directory before it looks up a name in it.
        matches!(
            super::open_parent(&path.join("entry"), &self.written()),
            Err(Error::Output { .. })
        )
    }
}

/// What a source is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Mount,
    /// An overlay lies on it, so it must not change.
    Lower,
}

impl Taken {
    fn refusal(&self, path: &Path, how: &str) -> Error {
        let usage = match self.usage {
            Usage::Written => "the guest can write",
            Usage::Read => "is read meanwhile",
        };
        let why = format!("{how} `{}` ({}), which {usage}", escape::name(&self.path), self.by);
        Error::Output { path: path.to_owned(), why }
    }
}

impl FsPlace {
    fn lies_in_one_of(&self, places: &[FsPlace]) -> bool {
        let is_in = |it: &FsPlace| self.device == it.device && self.path.starts_with(&it.path);
        places.iter().any(is_in)
    }
}

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// The identities of a directory and of all above it.
fn ids_upwards(dir: BorrowedFd<'_>) -> Result<Vec<Id>, rustix::io::Errno> {
    let mut ids = vec![id(&fs::fstat(dir)?)];
    let mut at: OwnedFd = fs::openat(dir, "..", HOLD, Mode::empty())?;
    for _ in 0..DEPTH_MAX {
        let next = id(&fs::fstat(&at)?);
        if ids.last() == Some(&next) {
            return Ok(ids);
        }
        ids.push(next);
        at = fs::openat(&at, "..", HOLD, Mode::empty())?;
    }
    Err(rustix::io::Errno::NAMETOOLONG)
}

/// Where a directory is within its filesystem.
fn place(dir: BorrowedFd<'_>, mounts: &[MountLine]) -> Option<FsPlace> {
    let number = dir.as_raw_fd();
    let info = ambient::read_proc(&format!("/proc/self/fdinfo/{number}"))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mount = mounts.iter().find(|mount| mount.id == id)?;
    let path = fs::readlinkat(CWD, format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
    let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
    let rest = path.strip_prefix(&mount.point).ok()?;
    Some(FsPlace { device: mount.device.clone(), path: mount.root.join(rest) })
}

/// Where a directory is within its filesystem, and all that is mounted in it within theirs.
fn places(dir: BorrowedFd<'_>, mounts: &[MountLine]) -> Vec<FsPlace> {
    let mut places: Vec<_> = place(dir, mounts).into_iter().collect();
    let path = fs::readlinkat(CWD, format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new());
    if let Ok(path) = path {
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        let inside = mounts.iter().filter(|it| it.point != path && it.point.starts_with(&path));
        let root = |it: &MountLine| FsPlace { device: it.device.clone(), path: it.root.clone() };
        places.extend(inside.map(root));
    }
    places
}

/// The mounts of the host; none if that is not known.
fn mounts() -> Vec<MountLine> {
    let text = ambient::read_proc("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount_line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT …`
fn mount_line(line: &str) -> Option<MountLine> {
    let mut fields = line.split(' ');
    let (id, _parent) = (fields.next()?.to_owned(), fields.next()?);
    let device = fields.next()?.to_owned();
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    Some(MountLine { id, device, root, point })
}

/// A path of which some bytes are written as `\ooo`.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 8).ok());
        match (first, byte) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read() {
        let line = "36 35 98:0 /mnt1\\040a /mnt\\134b rw,noatime master:1 - ext3 /dev/root rw";
        let mount = mount_line(line).unwrap();
        assert_eq!((mount.id.as_str(), mount.device.as_str()), ("36", "98:0"));
        assert_eq!((mount.root, mount.point), ("/mnt1 a".into(), "/mnt\\b".into()));
    }

    #[test]
    fn a_bind_mount_lies_where_its_filesystem_has_it() {
        let mounts = ["1 0 8:1 / / - ext4 x", "2 1 8:1 /srv/guest/sub /mnt/b - ext4 x"];
        let mounts: Vec<_> = mounts.iter().filter_map(|line| mount_line(line)).collect();
        let at = |mount: &MountLine, path: &str| {
            let rest = Path::new(path).strip_prefix(&mount.point).unwrap();
            FsPlace { device: mount.device.clone(), path: mount.root.join(rest) }
        };
        let [root, bound] = mounts.as_slice() else { panic!("two mounts") };
        let guest = at(root, "/srv/guest");
        assert!(at(bound, "/mnt/b/out").lies_in_one_of(std::slice::from_ref(&guest)));
        assert!(!at(root, "/srv/guests").lies_in_one_of(&[guest]));
    }
}
