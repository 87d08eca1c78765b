//! Opens one name, as a file or as a held directory.
//!
//! A FIFO, a socket or a device must be neither opened nor changed: even a non-blocking open
//! releases a writer that waits at the other end of a FIFO, and runs a device's driver. So the type
//! is checked with `statat` first. Another process of the host may replace the node between the
//! `statat` and the open; `O_NONBLOCK` prevents a hang then, and [`HostFile`] checks the descriptor
//! before its first use.
//!
//! If a descent is cached as a regular file ([`KindCache`](super::kind_cache::KindCache)), the
//! `statat` is skipped and the open descriptor is checked instead.
//!
//! No file is created through a link, and no existing file is opened by a creation: `O_CREAT`
//! always comes with `O_EXCL`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno as RustixErrno;

use super::errno::errno;
use super::file::HostFile;
use super::filesystem::is_pseudo_file;
use super::resolve::{Method, RACES_MAX, link_target, open_at_once, open_with_noatime_fallback};
use super::stat::kind;
use crate::{Access, Descent, Errno, FileType, Name, OpenFlags, OpenHow, Result, Stop};

/// The result of an open.
pub(super) enum OpenedNode {
    /// A held directory.
    Dir(OwnedFd),
    /// An open file.
    File(HostFile),
}

/// Opens `name` without `DIRECTORY` in `how`. `at` is its position for a [`Stop::Link`];
/// `read_flags` are extra flags for opening a file.
///
/// # Errors
///
/// - `EEXIST`: `CREATE` and `EXCLUSIVE` are given and the name exists.
/// - [`Stop::Link`], `ENOENT`, `EISDIR`, `ENXIO`.
/// - The errors of the operating system.
/// - `EAGAIN`: other processes have replaced the name [`RACES_MAX`] times in a row.
pub(super) fn open_name(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    at: usize,
    read_flags: OFlags,
) -> Result<OpenedNode, Stop> {
    if how.creates() {
        // A file to be created is usually missing. `O_EXCL` leaves an existing node untouched.
        match create(dir, name, how) {
            Ok(file) => return Ok(OpenedNode::File(file)),
            Err(os) if how.is_exclusive() => return Err(errno(os).into()),
            Err(_) => {}
        }
    }
    for _ in 0..RACES_MAX {
        if let Some(opened) = try_open(dir, name, how, at, read_flags)? {
            return Ok(opened);
        }
    }
    Err(Errno::Again.into())
}

/// Opens a node that was a regular file before in one call. `None` if it is not one any more, or on
/// any error, which the uncached open then reports.
pub(super) fn open_regular_again(
    dir: BorrowedFd<'_>,
    method: Method,
    path: Descent<'_>,
    how: OpenHow,
    read_flags: OFlags,
) -> Option<HostFile> {
    // Truncate only after the descriptor is known to be a regular file's.
    let fd = open_at_once(dir, method, path, flags_with(how, read_flags) - OFlags::TRUNC)?;
    let is_file = fs::fstat(&fd).is_ok_and(|stat| {
        kind(&stat) == FileType::File && is_pseudo_file(fd.as_fd(), &stat) == Ok(false)
    });
    if !is_file || (how.flags.contains(OpenFlags::TRUNCATE) && fs::ftruncate(&fd, 0).is_err()) {
        return None;
    }
    Some(HostFile::verified(fd, how))
}

/// Makes one `statat` and one open. `None` if the name changed in between.
fn try_open(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    at: usize,
    read_flags: OFlags,
) -> Result<Option<OpenedNode>, Stop> {
    let stat_buf = match fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat_buf) => stat_buf,
        Err(RustixErrno::NOENT) if how.creates() => {
            return match create(dir, name, how) {
                Ok(file) => Ok(Some(OpenedNode::File(file))),
                Err(RustixErrno::EXIST) => Ok(None),
                Err(os) => Err(errno(os).into()),
            };
        }
        Err(os) => return Err(errno(os).into()),
    };
    match kind(&stat_buf) {
        FileType::Dir if how.refuses_dir() => Err(Errno::Isdir.into()),
        FileType::Dir => Ok(open_unless_replaced(dir, name, DIR)?.map(OpenedNode::Dir)),
        FileType::File => match open_unless_replaced(dir, name, flags_with(how, read_flags))? {
            None => Ok(None),
            Some(fd) if is_pseudo_file(fd.as_fd(), &stat_buf).map_err(errno)? => {
                Err(Errno::Acces.into())
            }
            Some(fd) => Ok(Some(OpenedNode::File(HostFile::unverified(fd, how)))),
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

/// Opens `name`. `None` if its type has changed since the `statat`.
fn open_unless_replaced(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    flags: OFlags,
) -> Result<Option<OwnedFd>> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_with_noatime_fallback(dir, name.as_str(), flags) {
        Ok(fd) => Ok(Some(fd)),
        Err(RustixErrno::NOENT | RustixErrno::NOTDIR | RustixErrno::ISDIR | RustixErrno::LOOP) => {
            Ok(None)
        }
        Err(os) => Err(errno(os)),
    }
}

/// Creates `name` as an empty file. Never opens an existing node.
pub(super) fn create(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
) -> rustix::io::Result<HostFile> {
    create_with(dir, name, how, Mode::from_raw_mode(0o666))
}

/// Like [`create`], with explicit permissions, less the umask.
pub(super) fn create_with(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    how: OpenHow,
    mode: Mode,
) -> rustix::io::Result<HostFile> {
    let access = match how.access {
        // A created file can be opened for reading regardless of its permissions.
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

/// Returns the flags for opening an existing file, with `read_flags` if its bytes are accessible.
fn flags_with(how: OpenHow, read_flags: OFlags) -> OFlags {
    let flags = file_flags(how);
    if flags.contains(OFlags::PATH) { flags } else { flags | read_flags }
}

/// Returns the flags for opening an existing file.
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
    let mut write_flags = OFlags::empty();
    if flags.contains(OpenFlags::APPEND) {
        write_flags |= OFlags::APPEND;
    }
    if flags.contains(OpenFlags::DSYNC) {
        write_flags |= OFlags::DSYNC;
    }
    if flags.contains(OpenFlags::SYNC) {
        write_flags |= OFlags::SYNC;
    }
    write_flags
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests arrange the host's side")]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    /// All parameters for opening an existing file.
    fn all_open_hows() -> impl Iterator<Item = OpenHow> {
        let flags = (0..=OpenFlags::all().bits()).map(|bits| OpenFlags::from_bits(bits).unwrap());
        flags.flat_map(|flags| Access::ALL.map(|access| OpenHow::new(access, flags)))
    }

    /// The state between the `statat` and the open of `try_open`, if another process puts a link in
    /// the file's place.
    #[test]
    fn link_that_replaces_a_file_before_the_open_is_not_followed() {
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
            for flags in all_open_hows().map(|how| flags_with(how, OFlags::empty())).chain([DIR]) {
                match open_unless_replaced(root.as_fd(), name, flags) {
                    Ok(None) => {}
                    // `O_PATH` holds the link itself, which `HostFile` rejects at its first use.
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
