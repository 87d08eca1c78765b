//! Identifies the directories and files of the host that no output may replace.
//!
//! The parent directory of an output and all its ancestors are compared with the protected
//! directories by device and inode number, so that an alias of a path is found too. A bind mount
//! has other ancestors; therefore the position within the filesystem, which `/proc/self/mountinfo`
//! yields, is compared as well.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use palisade::vfs::escape;
use rustix::fs::{self, CWD, FileType, Mode, OFlags, Stat};

use super::{HOLD, OutputError};
use crate::ambient;
use crate::error::Error;
use crate::mount_spec::Access;
use crate::origin::Origin;
use crate::sandbox::{MountSource, Sandbox, SourceKind, Upper};
use crate::upper_dir::UpperError;

/// The maximum depth of a directory: `PATH_MAX` of Linux over two bytes for each name.
const DEPTH_MAX: usize = 2048;

/// The directories and files that no output may replace.
#[derive(Debug, Default)]
pub(crate) struct ProtectedPaths {
    dirs: Vec<ProtectedDir>,
    files: Vec<ProtectedNode>,
    /// Paths that do not exist yet and that the guest can write once they exist.
    absent: Vec<PathBuf>,
    /// The mount table of the host, read when the first directory is added.
    mounts: Option<Vec<MountLine>>,
    /// The parent and name of each output so far, to find duplicates.
    names: RefCell<Vec<(Id, OsString)>>,
}

/// A protected directory or file.
#[derive(Clone, Debug)]
struct ProtectedNode {
    path: PathBuf,
    /// The option, key or argument that names it.
    option: &'static str,
    usage: Usage,
    id: Id,
}

#[derive(Clone, Debug)]
struct ProtectedDir {
    node: ProtectedNode,
    /// Its position, and the roots of the filesystems that are mounted in it.
    positions: Vec<FsPosition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// The guest can write the node.
    Written,
    /// The command or the guest reads the node during the run.
    Read,
}

/// Device and inode number.
type Id = (u64, u64);

/// The path of a directory within its filesystem, independent of mount points.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FsPosition {
    /// The device, `MAJOR:MINOR`.
    device: String,
    path: PathBuf,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug)]
struct MountLine {
    id: String,
    device: String,
    /// The directory of the filesystem that is mounted.
    root: PathBuf,
    point: PathBuf,
}

impl ProtectedPaths {
    /// Collects the nodes of the host that the guest of `sandbox` can write, or that are read while
    /// it runs.
    ///
    /// # Errors
    ///
    /// [`UpperError::Open`]: an upper directory is inside of another writable mount, or its path
    /// leads through one.
    pub(crate) fn for_sandbox(sandbox: &Sandbox) -> Result<Self, Error> {
        let (mut protected, mut uppers) = (ProtectedPaths::default(), Vec::new());
        for mount in &sandbox.mounts {
            let usage = match mount.access {
                Access::ReadWrite => Usage::Written,
                Access::ReadOnly => Usage::Read,
            };
            protected.add_source(&mount.source, usage, Role::Mount);
            if let SourceKind::Overlay { upper: Upper::Dir { path, origin }, .. } =
                &mount.source.kind
            {
                uppers.push((path, origin, usage));
            }
        }
        for (path, origin, usage) in uppers {
            protected.check_upper(path, origin)?;
            protected.add(path, origin.name(), usage);
        }
        if let Some((path, origin)) = &sandbox.stdin {
            protected.add(path, origin.name(), Usage::Read);
        }
        Ok(protected)
    }

    /// Refuses an upper directory that the guest could also write through another mount.
    fn check_upper(&self, path: &Path, origin: &Origin) -> Result<(), Error> {
        let target = match ambient::file_type(path) {
            Some(_) => path.join("upper"),
            None => path.to_owned(),
        };
        match super::open_parent(&target, &self.written()) {
            Err(OutputError::Refused { why, .. }) => {
                let why = std::io::Error::other(why);
                let (option, path) = (origin.name(), path.to_owned());
                Err(origin.locate(UpperError::Open { option, path, why }))
            }
            // Other errors are reported when the directory is opened.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Returns the subset that the guest can write.
    fn written(&self) -> ProtectedPaths {
        let dirs = self.dirs.iter().filter(|dir| dir.node.usage == Usage::Written).cloned();
        ProtectedPaths {
            dirs: dirs.collect(),
            mounts: self.mounts.clone(),
            ..ProtectedPaths::default()
        }
    }

    /// Refuses a second output with the same name.
    pub(super) fn claim(
        &self,
        path: &Path,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), OutputError> {
        let io = |why: rustix::io::Errno| OutputError::Write { path: path.into(), why: why.into() };
        let name = (id(&fs::fstat(parent).map_err(io)?), name.to_owned());
        let mut names = self.names.borrow_mut();
        if names.contains(&name) {
            let why = "another output has the same file".to_owned();
            return Err(OutputError::Refused { path: path.to_owned(), why });
        }
        names.push(name);
        Ok(())
    }

    /// Adds a directory or a file. A path that does not exist is remembered if the guest can create
    /// it.
    pub(crate) fn add(&mut self, path: &Path, option: &'static str, usage: Usage) {
        let Ok(fd) = fs::openat(CWD, path, HOLD, Mode::empty()) else {
            let is_written = usage == Usage::Written;
            self.absent.extend(ambient::resolved(path).filter(|_| is_written));
            return;
        };
        let Ok(stat) = fs::fstat(&fd) else { return };
        let node = ProtectedNode { path: path.to_owned(), option, usage, id: id(&stat) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.files.push(node);
            return;
        }
        let mounts = self.mounts.get_or_insert_with(mounts);
        let positions = positions(fd.as_fd(), mounts);
        self.dirs.push(ProtectedDir { node, positions });
    }

    fn add_source(&mut self, source: &MountSource, usage: Usage, role: Role) {
        let option = source.origin.name();
        match &source.kind {
            // The guest cannot put links into a read-only mount, and the mount may change.
            SourceKind::Dir(_) if usage == Usage::Read && role == Role::Mount => {}
            SourceKind::Dir(path) | SourceKind::File(path) => self.add(path, option, usage),
            SourceKind::Image(path) => self.add(path, option, Usage::Read),
            // These keep no file of the host open during the run.
            SourceKind::Memory | SourceKind::Copy(_) => {}
            SourceKind::Overlay { upper, lowers } => {
                if let Upper::Dir { path, origin } = upper
                    && role == Role::Lower
                {
                    self.add(path, origin.name(), usage);
                }
                for lower in lowers {
                    self.add_source(lower, Usage::Read, Role::Lower);
                }
            }
        }
    }

    /// Refuses the output `path` if `dir` is inside of a protected directory.
    pub(super) fn check_dir(&self, path: &Path, dir: BorrowedFd<'_>) -> Result<(), OutputError> {
        let io = |why: rustix::io::Errno| OutputError::Write { path: path.into(), why: why.into() };
        match self.protecting(dir).map_err(io)? {
            Some(node) => Err(node.refusal(path, "it is inside of")),
            None => Ok(()),
        }
    }

    /// Returns the protected directory that is `dir` or an ancestor of it.
    fn protecting(&self, dir: BorrowedFd<'_>) -> Result<Option<&ProtectedNode>, rustix::io::Errno> {
        if self.dirs.is_empty() {
            return Ok(None);
        }
        let ids = ids_upwards(dir)?;
        let position = position(dir, self.mounts.as_deref().unwrap_or_default());
        let found = self.dirs.iter().find(|dir| {
            ids.contains(&dir.node.id)
                || position.as_ref().is_some_and(|it| it.is_inside_of(&dir.positions))
        });
        Ok(found.map(|dir| &dir.node))
    }

    /// Returns the protected directory around the nearest existing ancestor of `path`.
    fn protecting_path(&self, path: &Path) -> Option<&ProtectedNode> {
        let path = std::path::absolute(path).ok()?;
        let nearest = path.ancestors().find_map(|ancestor| {
            fs::openat(CWD, ancestor, HOLD | OFlags::DIRECTORY, Mode::empty()).ok()
        });
        self.protecting(nearest?.as_fd()).ok()?
    }

    /// Refuses an input that is inside of a directory that the command writes.
    pub(crate) fn refuse_input(&self, path: &Path) -> Result<(), OutputError> {
        match self.protecting_path(path) {
            Some(node) => {
                let dir = escape::name(&node.path);
                let why = format!("it is inside of `{dir}`, which the command writes");
                Err(OutputError::Input { path: path.to_owned(), why })
            }
            None => Ok(()),
        }
    }

    /// Refuses the output `path` if its file is protected.
    pub(super) fn check_file(&self, path: &Path, stat: &Stat) -> Result<(), OutputError> {
        match self.files.iter().find(|node| node.id == id(stat)) {
            Some(node) => Err(node.refusal(path, "it is")),
            None => Ok(()),
        }
    }

    /// Returns whether the guest can write `path`, its nearest existing ancestor, or a directory in
    /// which a name of `path` is looked up, where the guest could put a link.
    pub(crate) fn is_written(&self, path: &Path) -> bool {
        if self.dirs.is_empty() && self.absent.is_empty() {
            return false;
        }
        let resolved = ambient::resolved(path);
        if resolved.is_some_and(|path| self.absent.iter().any(|absent| path.starts_with(absent))) {
            return true;
        }
        // `open_parent` checks each directory before it looks up a name there.
        matches!(
            super::open_parent(&path.join("entry"), &self.written()),
            Err(OutputError::Refused { .. })
        )
    }
}

/// How a mount uses a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Mount,
    /// A lower directory of an overlay, which must not change.
    Lower,
}

impl ProtectedNode {
    fn refusal(&self, path: &Path, how: &str) -> OutputError {
        let usage = match self.usage {
            Usage::Written => "the guest can write",
            Usage::Read => "is read during the run",
        };
        let why = format!("{how} `{}` ({}), which {usage}", escape::name(&self.path), self.option);
        OutputError::Refused { path: path.to_owned(), why }
    }
}

impl FsPosition {
    fn is_inside_of(&self, positions: &[FsPosition]) -> bool {
        let is_in = |it: &FsPosition| self.device == it.device && self.path.starts_with(&it.path);
        positions.iter().any(is_in)
    }
}

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// Returns the identities of a directory and of its ancestors.
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

/// Returns the position of a directory within its filesystem.
fn position(dir: BorrowedFd<'_>, mounts: &[MountLine]) -> Option<FsPosition> {
    let number = dir.as_raw_fd();
    let info = ambient::read_proc(&format!("/proc/self/fdinfo/{number}"))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mount = mounts.iter().find(|mount| mount.id == id)?;
    let path = fs::readlinkat(CWD, format!("/proc/self/fd/{number}"), Vec::new()).ok()?;
    let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
    let rest = path.strip_prefix(&mount.point).ok()?;
    Some(FsPosition { device: mount.device.clone(), path: mount.root.join(rest) })
}

/// Returns the position of a directory, and of each filesystem that is mounted in it.
fn positions(dir: BorrowedFd<'_>, mounts: &[MountLine]) -> Vec<FsPosition> {
    let mut positions: Vec<_> = position(dir, mounts).into_iter().collect();
    let path = fs::readlinkat(CWD, format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new());
    if let Ok(path) = path {
        let path = PathBuf::from(OsString::from_vec(path.into_bytes()));
        let inside = mounts.iter().filter(|it| it.point != path && it.point.starts_with(&path));
        let root = |it: &MountLine| FsPosition { device: it.device.clone(), path: it.root.clone() };
        positions.extend(inside.map(root));
    }
    positions
}

/// Reads the mount table of the host; empty if `/proc` is not available.
fn mounts() -> Vec<MountLine> {
    let text = ambient::read_proc("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount_line).collect()
}

/// Parses a line of the mount table: `ID PARENT MAJOR:MINOR ROOT POINT …`
fn mount_line(line: &str) -> Option<MountLine> {
    let mut fields = line.split(' ');
    let (id, _parent) = (fields.next()?.to_owned(), fields.next()?);
    let device = fields.next()?.to_owned();
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    Some(MountLine { id, device, root, point })
}

/// Decodes the octal escapes `\ooo` of a path.
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
    fn mount_line_decodes_octal_escapes() {
        let line = "36 35 98:0 /mnt1\\040a /mnt\\134b rw,noatime master:1 - ext3 /dev/root rw";
        let mount = mount_line(line).unwrap();
        assert_eq!((mount.id.as_str(), mount.device.as_str()), ("36", "98:0"));
        assert_eq!((mount.root, mount.point), ("/mnt1 a".into(), "/mnt\\b".into()));
    }

    #[test]
    fn bind_mount_position_is_within_its_filesystem() {
        let mounts = ["1 0 8:1 / / - ext4 x", "2 1 8:1 /srv/guest/sub /mnt/b - ext4 x"];
        let mounts: Vec<_> = mounts.iter().filter_map(|line| mount_line(line)).collect();
        let at = |mount: &MountLine, path: &str| {
            let rest = Path::new(path).strip_prefix(&mount.point).unwrap();
            FsPosition { device: mount.device.clone(), path: mount.root.join(rest) }
        };
        let [root, bound] = mounts.as_slice() else { panic!("two mounts") };
        let guest = at(root, "/srv/guest");
        assert!(at(bound, "/mnt/b/out").is_inside_of(std::slice::from_ref(&guest)));
        assert!(!at(root, "/srv/guests").is_inside_of(&[guest]));
    }
}
