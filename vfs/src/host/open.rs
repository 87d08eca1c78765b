//! Opening one name for its bytes.
//!
//! A FIFO, a socket or a device must be neither opened nor acted upon: even a non-blocking open
//! releases a writer that waits at a FIFO's other end, and wakes a device's driver. So the type is
//! looked at first, without opening. Another process of the host may put something else in the
//! place between the look and the open; `O_NONBLOCK` sees to it that nothing hangs then, and
//! [`HostFile`] looks again before the first use.
//!
//! Where a descent has led to a regular file before ([`Known`](super::known::Known)), the look is
//! left out, and the open handle is looked at instead.
//!
//! Nothing is created through a link, and nothing existing is opened by a creation: `O_CREAT` is
//! never said without `O_EXCL`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno as Os;

use super::errno::errno;
use super::file::HostFile;
use super::filesystem::is_kernels_file;
use super::resolve::{RACES_MAX, Way, link_target, open_at_once, open_quietly};
use super::stat::kind;
use crate::{Access, Descent, Errno, FileType, Name, OpenFlags, OpenHow, Result, Stop};

/// What an open gave.
pub(super) enum Opened {
    /// A held directory.
    Dir(OwnedFd),
    /// A file.
    File(HostFile),
}

/// Opens `name`, which must not be asked for as a directory; `at` is its position for a
/// [`Stop::Link`]; `reading` is what is said besides when a file is opened.
///
/// Errors, in order: with `CREATE` and `EXCLUSIVE` and anything there, `Exist`; [`Stop::Link`];
/// `Noent`; `Isdir`; `Nxio`; the kernel's; `Again` if another process exchanges the name all the
/// time.
pub(super) fn open_name(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    at: usize,
    reading: OFlags,
) -> Result<Opened, Stop> {
    if how.creates() {
        // What is to be created is mostly not there, and what is there is not touched.
        match create(dir, name, how) {
            Ok(file) => return Ok(Opened::File(file)),
            Err(os) if how.is_exclusive() => return Err(errno(os).into()),
            Err(_) => {}
        }
    }
    for _ in 0..RACES_MAX {
        if let Some(opened) = try_open(dir, name, how, at, reading)? {
            return Ok(opened);
        }
    }
    Err(Errno::Again.into())
}

/// Opens what has been a regular file before, in one call; `None` if it is not one any more, or
/// for whatever else there is to say about it.
pub(super) fn open_known(
    dir: BorrowedFd<'_>,
    way: Way,
    path: Descent<'_>,
    how: OpenHow,
    reading: OFlags,
) -> Option<HostFile> {
    // Truncation waits until the handle is known to be the file's.
    let fd = open_at_once(dir, way, path, flags_with(how, reading) - OFlags::TRUNC)?;
    let is_file = fs::fstat(&fd).is_ok_and(|stat| {
        kind(&stat) == FileType::File && is_kernels_file(fd.as_fd(), &stat) == Ok(false)
    });
    if !is_file || (how.flags.contains(OpenFlags::TRUNCATE) && fs::ftruncate(&fd, 0).is_err()) {
        return None;
    }
    Some(HostFile::verified(fd, how))
}

/// One look and one open; `None` if the name meant something else in between.
fn try_open(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    at: usize,
    reading: OFlags,
) -> Result<Option<Opened>, Stop> {
    let found = match fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Os::NOENT) if how.creates() => {
            return match create(dir, name, how) {
                Ok(file) => Ok(Some(Opened::File(file))),
                Err(Os::EXIST) => Ok(None),
                Err(os) => Err(errno(os).into()),
            };
        }
        Err(os) => return Err(errno(os).into()),
    };
    match kind(&found) {
        FileType::Dir if how.refuses_dir() => Err(Errno::Isdir.into()),
        FileType::Dir => Ok(unless_raced(dir, name, DIR)?.map(Opened::Dir)),
        FileType::File => match unless_raced(dir, name, flags_with(how, reading))? {
            None => Ok(None),
            Some(fd) if is_kernels_file(fd.as_fd(), &found).map_err(errno)? => {
                Err(Errno::Acces.into())
            }
            Some(fd) => Ok(Some(Opened::File(HostFile::unverified(fd, how)))),
        },
        FileType::Symlink => match link_target(dir, name) {
            Ok(Some(target)) => Err(Stop::Link { at, target }),
            Ok(None) | Err(Errno::Noent) => Ok(None),
            Err(errno) => Err(errno.into()),
        },
        FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            Err(Errno::Nxio.into())
        }
    }
}

const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens `name`; `None` if it is not any more what it was a moment ago.
fn unless_raced(dir: BorrowedFd<'_>, name: Name<'_>, flags: OFlags) -> Result<Option<OwnedFd>> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_quietly(dir, name.as_str(), flags) {
        Ok(fd) => Ok(Some(fd)),
        Err(Os::NOENT | Os::NOTDIR | Os::ISDIR | Os::LOOP) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}

/// Creates `name` as an empty file. Never opens what exists.
pub(super) fn create(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
) -> rustix::io::Result<HostFile> {
    create_with(dir, name, how, Mode::from_raw_mode(0o666))
}

/// As [`create`], with permissions of the caller's choice, less the umask.
pub(super) fn create_with(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    mode: Mode,
) -> rustix::io::Result<HostFile> {
    let access = match how.access {
        // What is created can be opened, whatever its mode says.
        Access::Hold | Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = access
        | write_flags(how.flags)
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let fd = fs::openat(dir, name.as_str(), flags, mode)?;
    Ok(HostFile::verified(fd, how))
}

/// The flags for a file that exists, and `reading` if any byte can be read.
fn flags_with(how: OpenHow, reading: OFlags) -> OFlags {
    let flags = file_flags(how);
    if flags.contains(OFlags::PATH) { flags } else { flags | reading }
}

/// The flags for a file that exists.
pub(super) fn file_flags(how: OpenHow) -> OFlags {
    let truncates = how.flags.contains(OpenFlags::TRUNCATE);
    let access = match how.access {
        Access::Hold if truncates => OFlags::WRONLY,
        Access::Hold => return OFlags::PATH,
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let truncate = if truncates { OFlags::TRUNC } else { OFlags::empty() };
    access | truncate | write_flags(how.flags) | OFlags::NONBLOCK | OFlags::NOCTTY
}

fn write_flags(flags: OpenFlags) -> OFlags {
    let mut sync = OFlags::empty();
    if flags.contains(OpenFlags::APPEND) {
        sync |= OFlags::APPEND;
    }
    if flags.contains(OpenFlags::DSYNC) {
        sync |= OFlags::DSYNC;
    }
    if flags.contains(OpenFlags::SYNC) {
        sync |= OFlags::SYNC;
    }
    sync
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests arrange the host's side")]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Every way to open a file that exists.
    fn ways() -> impl Iterator<Item = OpenHow> {
        let flags = (0..=OpenFlags::all().bits()).map(|bits| OpenFlags::from_bits(bits).unwrap());
        flags.flat_map(|flags| Access::ALL.map(|access| OpenHow::new(access, flags)))
    }

    /// The state between the `stat` and the open of `try_open`, if another process puts a link in
    /// the file's place there.
    #[test]
    fn a_link_that_appears_between_the_stat_and_the_open_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        std::fs::write(&outside, "canary").unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        std::fs::create_dir(temp.path().join("root")).unwrap();
        symlink("../outside", temp.path().join("root/to_file")).unwrap();
        symlink("../dir", temp.path().join("root/to_dir")).unwrap();
        let root = File::open(temp.path().join("root")).unwrap();
        for name in ["to_file", "to_dir"] {
            let name = Name::new(name).unwrap();
            for flags in ways().map(|how| flags_with(how, OFlags::empty())).chain([DIR]) {
                match unless_raced(root.as_fd(), name, flags) {
                    Ok(None) => {}
                    // `O_PATH` holds the link itself, which `HostFile` refuses at its first use.
                    Ok(Some(held)) if flags.contains(OFlags::PATH) => {
                        assert_eq!(kind(&fs::fstat(&held).unwrap()), FileType::Symlink, "{name:?}");
                    }
                    Ok(Some(_)) => panic!("{name:?} was followed with {flags:?}"),
                    Err(errno) => panic!("{name:?}: {errno:?} with {flags:?}"),
                }
                assert_eq!(std::fs::read(&outside).unwrap(), b"canary", "{flags:?}");
            }
        }
    }
}
