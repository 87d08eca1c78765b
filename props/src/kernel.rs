//! The Linux kernel as an oracle.
//!
//! [`Linux`] runs operations as plain `*at` system calls on a directory of the host. The function
//! [`is_intended_difference`] lists all intended differences; nothing else may differ.
//!
//! Operations that the model considers an escape are never run, because the kernel would perform
//! them.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use palisade_vfs::{Access, Errno, FileType, Follow, OpenFlags, SetTime, SetTimes, Timestamp};
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT,
};
use rustix::io::{Errno as Os, ReadWriteFlags};

use crate::live::Run;
use crate::op::{At, Op, READ_MAX};
use crate::outcome::{Outcome, StatSummary};

/// A directory of the host with the descriptors that are open under it.
pub struct Linux {
    dirs: Vec<OwnedFd>,
    files: Vec<OwnedFd>,
}

impl Linux {
    /// Opens `root`, which should be deep inside a temporary directory.
    ///
    /// # Errors
    ///
    /// The errors of `openat`.
    pub fn open(root: &Path) -> rustix::io::Result<Linux> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        Ok(Linux { dirs: vec![root], files: Vec::new() })
    }

    fn dir(&self, at: &At) -> Result<&OwnedFd, Os> {
        self.dirs.get(usize::from(at.dir) % self.dirs.len().max(1)).ok_or(Os::BADF)
    }

    fn open_at(&self, at: &At, flags: OFlags) -> Result<OwnedFd, Os> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(self.dir(at)?, at.path.as_str(), flags, Mode::from(0o777))
    }

    fn run_on_path(&mut self, op: &Op) -> Result<Outcome, Os> {
        let done = |()| Outcome::Done;
        match op {
            Op::Mkdir(at) => {
                rustix::fs::mkdirat(self.dir(at)?, at.path.as_str(), 0o777.into()).map(done)
            }
            Op::Symlink(at, target) => {
                rustix::fs::symlinkat(target.as_str(), self.dir(at)?, at.path.as_str()).map(done)
            }
            Op::Link(old, new) => rustix::fs::linkat(
                self.dir(old)?,
                old.path.as_str(),
                self.dir(new)?,
                new.path.as_str(),
                AtFlags::empty(),
            )
            .map(done),
            Op::Rename(old, new) => rustix::fs::renameat(
                self.dir(old)?,
                old.path.as_str(),
                self.dir(new)?,
                new.path.as_str(),
            )
            .map(done),
            Op::Unlink(at) => self.unlink(at, AtFlags::empty()),
            Op::Rmdir(at) => self.unlink(at, AtFlags::REMOVEDIR),
            Op::Put(at, bytes) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
                let file = self.open_at(at, flags)?;
                rustix::io::pwrite(&file, bytes, 0).map(|_| Outcome::Done)
            }
            Op::Get(at) => {
                let file = self.open_at(at, OFlags::RDONLY)?;
                if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_dir() {
                    return Err(Os::ISDIR);
                }
                read(&file, READ_MAX, 0)
            }
            Op::Open(at, access, flags, follow) => self.open_node(at, *access, *flags, *follow),
            Op::CloseDir(n) => match usize::from(*n) % self.dirs.len().max(1) {
                0 => Ok(Outcome::Idle),
                nth => {
                    self.dirs.remove(nth);
                    Ok(Outcome::Done)
                }
            },
            Op::Stat(at, follow) => {
                let stat = rustix::fs::statat(self.dir(at)?, at.path.as_str(), at_flags(*follow))?;
                Ok(seen(&stat))
            }
            Op::ReadLink(at) => {
                let target = rustix::fs::readlinkat(self.dir(at)?, at.path.as_str(), Vec::new())?;
                Ok(Outcome::Target(target.to_string_lossy().into_owned()))
            }
            Op::ReadDir(at) => self.list(at),
            Op::SetTimes(at, follow, times) => rustix::fs::utimensat(
                self.dir(at)?,
                at.path.as_str(),
                &stamps(*times),
                at_flags(*follow),
            )
            .map(done),
            _ => Ok(Outcome::Idle),
        }
    }

    fn unlink(&self, at: &At, flags: AtFlags) -> Result<Outcome, Os> {
        rustix::fs::unlinkat(self.dir(at)?, at.path.as_str(), flags).map(|()| Outcome::Done)
    }

    fn open_node(
        &mut self,
        at: &At,
        access: Access,
        flags: OpenFlags,
        follow: Follow,
    ) -> Result<Outcome, Os> {
        let mut how = match access {
            // `O_PATH` would ignore the other flags.
            Access::Hold | Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        for (flag, os) in [
            (OpenFlags::CREATE, OFlags::CREATE),
            (OpenFlags::EXCLUSIVE, OFlags::EXCL),
            (OpenFlags::TRUNCATE, OFlags::TRUNC),
            (OpenFlags::DIRECTORY, OFlags::DIRECTORY),
            (OpenFlags::DSYNC, OFlags::DSYNC),
            (OpenFlags::SYNC, OFlags::SYNC),
        ] {
            how.set(os, flags.contains(flag));
        }
        // `O_EXCL` without `O_CREAT` is undefined on Linux and ignored by the traits.
        if !flags.contains(OpenFlags::CREATE) {
            how.remove(OFlags::EXCL);
        }
        how.set(OFlags::NOFOLLOW, follow == Follow::No);
        let node = self.open_at(at, how)?;
        if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode).is_dir() {
            self.dirs.push(node);
            return Ok(Outcome::Dir);
        }
        // `Access::Hold` corresponds to `O_PATH`: the descriptor only supports `fstat`.
        let node = if access == Access::Hold {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&node));
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?
        } else {
            node
        };
        self.files.push(node);
        Ok(Outcome::File)
    }

    fn list(&self, at: &At) -> Result<Outcome, Os> {
        let dir = self.open_at(at, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = match entry {
                Ok(entry) => entry,
                // A removed directory lists as empty in the traits.
                Err(Os::NOENT) => break,
                Err(errno) => return Err(errno),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_string_lossy();
            if name != "." && name != ".." {
                names.push((name.into_owned(), kind(entry.file_type())));
            }
        }
        names.sort();
        Ok(Outcome::Names(names))
    }

    fn run_on_file(&mut self, op: &Op, nth: u8) -> Result<Outcome, Os> {
        let nth = usize::from(nth) % self.files.len().max(1);
        if let Op::Close(_) = op {
            if self.files.is_empty() {
                return Ok(Outcome::Idle);
            }
            self.files.remove(nth);
            return Ok(Outcome::Done);
        }
        let Some(file) = self.files.get(nth) else { return Ok(Outcome::Idle) };
        let done = |()| Outcome::Done;
        match op {
            Op::Read(_, len, offset) => read(file, usize::from(*len), *offset),
            Op::Write(_, bytes, offset) => {
                Ok(Outcome::Wrote(count(rustix::io::pwrite(file, bytes, *offset)?)))
            }
            Op::Append(_, bytes) => {
                let slice = [std::io::IoSlice::new(bytes)];
                let wrote = rustix::io::pwritev2(file, &slice, 0, ReadWriteFlags::APPEND)?;
                let end = rustix::fs::fstat(file)?.st_size;
                Ok(Outcome::Appended(count(wrote), end.unsigned_abs()))
            }
            Op::SetLen(_, len) => rustix::fs::ftruncate(file, *len).map(done),
            Op::Allocate(_, offset, len) => {
                rustix::fs::fallocate(file, FallocateFlags::empty(), *offset, *len).map(done)
            }
            Op::Fstat(_) => Ok(seen(&rustix::fs::fstat(file)?)),
            Op::Ftimes(_, times) => {
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                rustix::fs::utimensat(CWD, path, &stamps(*times), AtFlags::empty()).map(done)
            }
            _ => Ok(Outcome::Idle),
        }
    }
}

impl Run for Linux {
    fn run(&mut self, op: &Op) -> Outcome {
        let result = match op {
            Op::Close(n) | Op::Read(n, ..) | Op::Write(n, ..) => self.run_on_file(op, *n),
            Op::Append(n, _) | Op::SetLen(n, _) | Op::Allocate(n, ..) => self.run_on_file(op, *n),
            Op::Fstat(n) | Op::Ftimes(n, _) => self.run_on_file(op, *n),
            _ => self.run_on_path(op),
        };
        result.unwrap_or_else(|errno| Outcome::Fail(of_os(errno)))
    }
}

/// Returns whether `ours` and `linux` are an intended difference for `op`. Operations that return
/// [`Errno::Escape`] are not run on Linux.
#[must_use]
pub fn is_intended_difference(op: &Op, ours: &Outcome, linux: &Outcome) -> bool {
    let (Some(ours), linux) = (ours.errno(), linux.errno()) else { return false };
    // A loop that extends the path at each turn hits the length limit first.
    if ours == Errno::Nametoolong && linux == Some(Errno::Loop) {
        return true;
    }
    match op {
        // An overlong last name is reported regardless of the rest of the path.
        Op::Open(..) | Op::Put(..) if ours == Errno::Nametoolong => linux == Some(Errno::Isdir),
        // Contradictory flags are refused before the path is resolved.
        Op::Open(_, _, flags, _) if flags.contains(OpenFlags::DIRECTORY) => {
            (ours == Errno::Inval && flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE))
                // A symbolic link with `Follow::No` is `Loop`, regardless of the other flags.
                || (ours == Errno::Loop && linux == Some(Errno::Notdir))
        }
        // Both paths are validated before either name is looked up.
        Op::Rename(..) => ours == Errno::Nametoolong && linux.is_some(),
        // The handle is checked before the arguments, and a length or offset above `i64::MAX` is a
        // valid number instead of a negative one.
        Op::Allocate(..) | Op::Write(..) => {
            matches!(ours, Errno::Badf | Errno::Fbig) && linux == Some(Errno::Inval)
        }
        // `ftruncate` on an `O_PATH` descriptor is `EBADF`; a held file is a file here.
        Op::SetLen(..) => {
            (ours == Errno::Fbig && linux == Some(Errno::Inval))
                || (ours == Errno::Inval && linux == Some(Errno::Badf))
        }
        Op::Read(..) => ours == Errno::Badf && linux == Some(Errno::Inval),
        _ => false,
    }
}

/// Returns whether `op` is defined on Linux: an offset above `i64::MAX` is negative there, and
/// `utimensat` that sets no time does not resolve its path.
#[must_use]
pub fn is_defined_on_linux(op: &Op) -> bool {
    // A NUL terminates a path on Linux, so such a path cannot be passed.
    if op.clone().paths_mut().iter().any(|at| at.path.contains('\0')) {
        return false;
    }
    match op {
        Op::Read(_, _, offset) => i64::try_from(*offset).is_ok(),
        Op::Write(_, bytes, offset) => !bytes.is_empty() || i64::try_from(*offset).is_ok(),
        Op::SetTimes(_, _, times) | Op::Ftimes(_, times) => *times != SetTimes::default(),
        _ => true,
    }
}

/// Converts an errno of the system.
#[must_use]
pub fn of_os(errno: Os) -> Errno {
    match errno {
        Os::NOENT => Errno::Noent,
        Os::NOTDIR => Errno::Notdir,
        Os::EXIST => Errno::Exist,
        Os::ISDIR => Errno::Isdir,
        Os::NOTEMPTY => Errno::Notempty,
        Os::LOOP => Errno::Loop,
        Os::XDEV => Errno::Xdev,
        Os::INVAL => Errno::Inval,
        Os::BADF => Errno::Badf,
        Os::PERM => Errno::Perm,
        Os::ACCESS => Errno::Acces,
        Os::BUSY => Errno::Busy,
        Os::FBIG => Errno::Fbig,
        Os::NAMETOOLONG => Errno::Nametoolong,
        Os::NOSPC => Errno::Nospc,
        Os::NOTSUP => Errno::Notsup,
        Os::NXIO => Errno::Nxio,
        Os::ROFS => Errno::Rofs,
        _ => Errno::Io,
    }
}

fn read(file: impl AsFd, len: usize, offset: u64) -> Result<Outcome, Os> {
    let mut bytes = vec![0; len];
    let count = rustix::io::pread(file, &mut bytes, offset)?;
    bytes.truncate(count);
    Ok(Outcome::Bytes(bytes))
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn at_flags(follow: Follow) -> AtFlags {
    match follow {
        Follow::Yes => AtFlags::empty(),
        Follow::No => AtFlags::SYMLINK_NOFOLLOW,
    }
}

fn stamps(times: SetTimes) -> Timestamps {
    let one = |time: SetTime| match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        SetTime::At(at) => Timespec { tv_sec: at.seconds(), tv_nsec: at.nanos().into() },
    };
    Timestamps { last_access: one(times.accessed), last_modification: one(times.modified) }
}

fn kind(kind: rustix::fs::FileType) -> FileType {
    match kind {
        rustix::fs::FileType::Directory => FileType::Dir,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::RegularFile => FileType::File,
        rustix::fs::FileType::Fifo => FileType::Fifo,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice | rustix::fs::FileType::Unknown => FileType::BlockDevice,
    }
}

fn seen(stat: &Stat) -> Outcome {
    let kind = kind(rustix::fs::FileType::from_raw_mode(stat.st_mode));
    let comparable = kind != FileType::Dir;
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Outcome::Stat(StatSummary {
        kind,
        size: comparable.then_some(stat.st_size.unsigned_abs()),
        nlink: comparable.then_some(stat.st_nlink),
        modified: Some(Timestamp::new(stat.st_mtime, nanos)),
        id: (stat.st_dev, stat.st_ino),
    })
}
