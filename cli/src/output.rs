//! Files of the host that the command writes: where they may lie, and how they come into place.
//!
//! No guest chooses what the command writes over. The directory of an output is resolved before the
//! guest runs, name by name, and held from then on; no name may be looked up in a directory that
//! the guest can write (`reach.rs`), where it could put a link. Nothing follows a link at the last
//! name. A file is written without a name (`O_TMPFILE`), or under a random one that `O_EXCL`
//! creates, synced, and renamed into place, so that it is whole or absent; only an audit log is
//! appended to where it is.
//!
//! Deliberately absent: a second way to write a file. Every command that writes one does it here.

mod reach;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::Error;

pub(crate) use reach::{Reach, Usage};

/// The most symbolic links on the way to an output: Linux's own limit.
const LINKS_MAX: usize = 40;
/// How a log begins.
const LOG_START: &[u8] = b"{\"v\":";

const HOLD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const CREATE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const IN_PLACE: OFlags = OFlags::NOFOLLOW.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A file that is going to be written.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    at: At,
}

/// Where an output is.
#[derive(Debug)]
enum At {
    /// A name in a directory that is held: a regular file, or nothing yet.
    File { parent: OwnedFd, name: OsString },
    /// A pipe or a terminal by its name in a directory that is held.
    Stream { parent: OwnedFd, name: OsString },
    /// A pipe or a terminal that the process was started with: `/dev/fd/N`.
    Inherited,
}

/// What becomes of a log that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Append,
    Truncate,
}

impl Target {
    /// Resolves `path`, which must lie outside of `reach`.
    pub(crate) fn new(path: &Path, reach: &Reach) -> Result<Self, Error> {
        let io = |why: Errno| Error::WriteFile { path: path.to_owned(), why: why.into() };
        if is_inherited(path) {
            let file = fs::openat(CWD, path, HOLD, Mode::empty()).map_err(io)?;
            let kind = FileType::from_raw_mode(fs::fstat(&file).map_err(io)?.st_mode);
            return match is_stream(kind) {
                true => Ok(Target { path: path.to_owned(), at: At::Inherited }),
                false => Err(refused(path, "it is a descriptor of something else than a pipe")),
            };
        }
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(refused(path, "it has no file name"));
        };
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(refused(path, "it ends in a slash"));
        }
        let parent = open_parent(path, reach)?;
        reach.claim(path, parent.as_fd(), name)?;
        let name = name.to_owned();
        let kind = match stat(&parent, &name).map_err(io)? {
            None => FileType::RegularFile,
            Some(stat) => {
                reach.check_file(path, &stat)?;
                FileType::from_raw_mode(stat.st_mode)
            }
        };
        let at = match kind {
            FileType::RegularFile => At::File { parent, name },
            kind if is_stream(kind) => At::Stream { parent, name },
            FileType::Symlink => {
                return Err(refused(path, "it is a symbolic link, which outputs do not follow"));
            }
            _ => return Err(refused(path, "it is neither a regular file nor a pipe")),
        };
        Ok(Target { path: path.to_owned(), at })
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes these bytes in the place of what is there.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), Error> {
        let refuse = |why| Error::WriteFile { path: self.path.clone(), why };
        self.write(refuse, |mut file| file.write_all(bytes).map_err(refuse))
    }

    /// Has `fill` write a file in the place of what is there: whole, or nothing of it if that
    /// fails. A pipe is written as it is.
    pub(crate) fn write<T, E>(
        &self,
        refuse: impl Fn(io::Error) -> E,
        fill: impl FnOnce(File) -> Result<T, E>,
    ) -> Result<T, E> {
        let (parent, name) = match &self.at {
            At::File { parent, name } => (parent, name),
            At::Stream { .. } | At::Inherited => return fill(self.open_stream().map_err(refuse)?),
        };
        let begun = Partial::create(parent, name).map_err(&refuse)?;
        let filled = begun.file.try_clone().map_err(&refuse).and_then(fill);
        match filled {
            Ok(done) => begun.finish(name).map(|()| done).map_err(refuse),
            Err(why) => Err(why),
        }
    }

    /// Opens a log to append whole lines to it.
    pub(crate) fn open_log(&self, existing: Existing) -> Result<File, Error> {
        let io = |why: io::Error| Error::WriteFile { path: self.path.clone(), why };
        let (parent, name) = match &self.at {
            At::File { parent, name } => (parent, name),
            At::Stream { .. } | At::Inherited => return self.open_stream().map_err(io),
        };
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | IN_PLACE;
        let file = fs::openat(parent, name, flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(file.map_err(|why| io(why.into()))?);
        let stat = fs::fstat(&file).map_err(|why| io(why.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused(&self.path, "it is no regular file any more"));
        }
        if stat.st_nlink > 1 {
            let why = "it has further names (hard links), under which others could write it";
            return Err(refused(&self.path, why));
        }
        if existing == Existing::Truncate {
            file.set_len(0).map_err(io)?;
            return Ok(file);
        }
        let len = file.metadata().map_err(io)?.len();
        let mut start = [0; LOG_START.len()];
        let read = file.read_at(&mut start, 0).map_err(io)?;
        if !LOG_START.starts_with(start.get(..read).unwrap_or_default()) {
            return Err(refused(&self.path, "it is there already, and is no audit log"));
        }
        let mut last = [0];
        if len > 0 && file.read_at(&mut last, len - 1).map_err(io)? == 1 && last != *b"\n" {
            // A run that was killed has left part of a line.
            file.write_all(b"\n").map_err(io)?;
        }
        Ok(file)
    }

    fn open_stream(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND;
        let file = match &self.at {
            At::File { parent, name } | At::Stream { parent, name } => {
                fs::openat(parent, name, flags | IN_PLACE, Mode::empty())?
            }
            At::Inherited => {
                let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
                fs::openat(CWD, &self.path, flags, Mode::empty())?
            }
        };
        if !is_stream(FileType::from_raw_mode(fs::fstat(&file)?.st_mode)) {
            return Err(io::Error::other("it is no pipe any more"));
        }
        Ok(File::from(file))
    }
}

/// A file on the filesystem of the one that it becomes. It has no name, or where the filesystem has
/// no such files, a random one, which is removed unless the file is finished.
struct Partial<'a> {
    parent: &'a OwnedFd,
    name: Option<OsString>,
    file: File,
    /// The permissions that it ends with, if it takes the place of a file.
    mode: Option<Mode>,
}

impl<'a> Partial<'a> {
    fn create(parent: &'a OwnedFd, target: &OsStr) -> io::Result<Self> {
        let old = stat(parent, target)?
            .filter(|old| FileType::from_raw_mode(old.st_mode) == FileType::RegularFile);
        // What makes a program run as somebody else is not passed on to other bytes.
        let mode = old.map(|old| Mode::from_raw_mode(old.st_mode) & Mode::from_raw_mode(0o777));
        let at_first = Mode::from_raw_mode(if mode.is_some() { 0o600 } else { 0o666 });
        // A process that is killed leaves nothing of it.
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = fs::openat(parent, ".", unnamed, at_first)
            && fs::stat(path_of(&file)).is_ok()
        {
            return Ok(Partial { parent, name: None, file: File::from(file), mode });
        }
        let name = random_name()?;
        let file = fs::openat(parent, &name, CREATE, at_first)?;
        Ok(Partial { parent, name: Some(name), file: File::from(file), mode })
    }

    /// Gives the file a random name, unless it has one.
    fn named(&mut self) -> io::Result<OsString> {
        if let Some(name) = self.name.take() {
            return Ok(name);
        }
        let name = random_name()?;
        let path = path_of(&self.file);
        fs::linkat(CWD, path, self.parent, &name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(name)
    }

    /// Syncs the file and renames it.
    fn finish(mut self, target: &OsStr) -> io::Result<()> {
        if let Some(mode) = self.mode {
            fs::fchmod(&self.file, mode)?;
        }
        self.file.sync_all()?;
        let name = self.named()?;
        if let Err(why) = fs::renameat(self.parent, &name, self.parent, target) {
            self.name = Some(name);
            return Err(why.into());
        }
        // A directory that may not be read is not synced, as for any program.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(dir) = fs::openat(self.parent, ".", flags, Mode::empty()) {
            let _ = fs::fsync(dir);
        }
        Ok(())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The caller returns the first failure.
            let _ = fs::unlinkat(self.parent, name, AtFlags::empty());
        }
    }
}

/// The path by which a file without a name is linked.
fn path_of(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A name that nobody else knows before it is there.
fn random_name() -> io::Result<OsString> {
    Ok(format!(".palisade-{}.tmp", random_text()?).into())
}

/// 64 random bits as text.
pub(crate) fn random_text() -> io::Result<String> {
    let bits = getrandom::u64().map_err(|why| io::Error::other(why.to_string()))?;
    Ok(format!("{bits:016x}"))
}

/// Whether `path` means standard error.
pub(crate) fn is_stderr(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stderr")
}

fn refused(path: &Path, why: &'static str) -> Error {
    Error::Output { path: path.to_owned(), why: why.to_owned() }
}

fn stat(parent: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(why) => Err(why),
    }
}

fn is_stream(kind: FileType) -> bool {
    matches!(kind, FileType::Fifo | FileType::CharacterDevice)
}

/// Whether `path` is the name of a descriptor that the process was started with.
pub(crate) fn is_inherited(path: &Path) -> bool {
    let text = path.as_os_str().as_bytes();
    let number = [&b"/dev/fd/"[..], b"/proc/self/fd/"].iter().find_map(|it| text.strip_prefix(*it));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Holds the directory of `path`, following links outside of `reach` alone.
fn open_parent(path: &Path, reach: &Reach) -> Result<OwnedFd, Error> {
    let io = |why: Errno| Error::WriteFile { path: path.to_owned(), why: why.into() };
    let dir = |from: &Path| fs::openat(CWD, from, HOLD | OFlags::DIRECTORY, Mode::empty());
    let mut pending = Vec::new();
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut at = match push(&mut pending, parent) {
        Start::Root => dir(Path::new("/")).map_err(io)?,
        Start::Here => dir(Path::new(".")).map_err(io)?,
    };
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == ".." {
            at = fs::openat(&at, "..", HOLD, Mode::empty()).map_err(io)?;
            continue;
        }
        reach.check_dir(path, at.as_fd())?;
        let next = fs::openat(&at, &name, HOLD | OFlags::NOFOLLOW, Mode::empty()).map_err(io)?;
        let kind = FileType::from_raw_mode(fs::fstat(&next).map_err(io)?.st_mode);
        if kind != FileType::Symlink {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(io(Errno::LOOP));
        }
        let target = fs::readlinkat(&next, "", Vec::new()).map_err(io)?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if push(&mut pending, target) == Start::Root {
            at = dir(Path::new("/")).map_err(io)?;
        }
    }
    reach.check_dir(path, at.as_fd())?;
    let kind = FileType::from_raw_mode(fs::fstat(&at).map_err(io)?.st_mode);
    if kind != FileType::Directory {
        return Err(io(Errno::NOTDIR));
    }
    Ok(at)
}

/// Where a path starts.
#[derive(PartialEq, Eq)]
enum Start {
    Root,
    Here,
}

/// Puts the names of `path` on top of the stack `pending`.
fn push(pending: &mut Vec<OsString>, path: &Path) -> Start {
    let mut start = Start::Here;
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => pending.push(name.to_owned()),
            Component::ParentDir => pending.push("..".into()),
            Component::RootDir => start = Start::Root,
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    start
}
