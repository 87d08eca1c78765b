//! Resolution of a descent to an `O_PATH` descriptor.
//!
//! Why a resolution cannot leave the directory: a [`Descent`] has no `..` and no leading slash, and
//! every call forbids following links. There are two methods, which are equally safe: `openat2`
//! with `BENEATH | NO_SYMLINKS | NO_MAGICLINKS` for the whole descent, or one `openat(O_NOFOLLOW)`
//! for each name in the directory opened before it. Concurrent renames change which node is found,
//! never that rule. Multi-component paths are passed to Linux only in this file, by `openat2`.
//!
//! Every descriptor is opened with `O_PATH`, which does not block on a FIFO, does not run a driver,
//! and needs no permission except search. The exception is [`open_at_once`], for nodes that were
//! regular files before.
//!
//! The component walk is authoritative: if `openat2` is missing, forbidden, gives up, or meets a
//! possible link, the descent is walked by components, which distinguishes links from files and
//! both from races.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as RustixErrno;

use super::errno::errno;
use super::stat::kind;
use crate::{Descent, Errno, FileType, Name, Result, Stop};

/// The most retries of a call because other processes changed the same names. A rename takes
/// microseconds; a caller that loses this often is being starved deliberately.
pub(super) const RACES_MAX: u32 = 16;

/// Never follows links, never blocks, never permits reading.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// How a descent of several names is resolved. Both methods are equally safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// One `openat2` call, with a fallback to components.
    Openat2,
    /// One call for each name.
    Components,
}

/// The type of node to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Any node; a link at the end is held itself.
    Any,
    /// A directory.
    Dir,
}

impl Target {
    fn flags(self) -> OFlags {
        match self {
            Target::Any => HOLD,
            Target::Dir => HOLD | OFlags::DIRECTORY,
        }
    }
}

/// Returns the fastest method that Linux and its sandboxes permit.
pub(super) fn probe(dir: BorrowedFd<'_>) -> Method {
    match fs::openat2(dir, ".", Target::Dir.flags(), Mode::empty(), RESOLVE) {
        Ok(_) => Method::Openat2,
        Err(_) => Method::Components,
    }
}

/// Holds the node at `path`.
///
/// # Errors
///
/// - `ENOTDIR`, [`Stop::Link`] or `ENOENT`: the first name before the last one that is a file, a
///   link or missing.
/// - `ENOENT`: the last name is missing.
/// - [`Stop::Link`] or `ENOTDIR`: with [`Target::Dir`], the last name is a link or not a directory.
/// - `EACCES`.
/// - `EAGAIN`: other processes have replaced the names [`RACES_MAX`] times in a row.
pub(super) fn hold(
    dir: BorrowedFd<'_>,
    method: Method,
    path: Descent<'_>,
    target_kind: Target,
) -> Result<OwnedFd, Stop> {
    let Some((parent, last)) = path.split_last() else {
        return Ok(here(dir).map_err(errno)?);
    };
    if parent.is_here() {
        return hold_name(dir, last, target_kind, 0);
    }
    if method == Method::Openat2
        && let Some(held) = by_openat2(dir, path, target_kind)?
    {
        return Ok(held);
    }
    let (mut held, mut at) = (None, 0);
    for name in parent.names() {
        let from = held.as_ref().map_or(dir, AsFd::as_fd);
        held = Some(hold_name(from, name, Target::Dir, at)?);
        at += 1;
    }
    hold_name(held.as_ref().map_or(dir, AsFd::as_fd), last, target_kind, at)
}

/// Opens the node at `path` with `flags` in one call, following no link. `None` on any error.
pub(super) fn open_at_once(
    dir: BorrowedFd<'_>,
    method: Method,
    path: Descent<'_>,
    flags: OFlags,
) -> Option<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Some(name) = path.as_name() {
        return open_with_noatime_fallback(dir, name.as_str(), flags).ok();
    }
    match method {
        Method::Openat2 => fs::openat2(dir, path.as_str(), flags, Mode::empty(), RESOLVE).ok(),
        Method::Components => None,
    }
}

/// Opens one name with `flags`. Retries without `O_NOATIME` if the process may not use it on a node
/// of another owner.
pub(super) fn open_with_noatime_fallback(
    dir: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match fs::openat(dir, name, flags, Mode::empty()) {
        Err(RustixErrno::PERM) if flags.contains(OFlags::NOATIME) => {
            fs::openat(dir, name, flags - OFlags::NOATIME, Mode::empty())
        }
        opened => opened,
    }
}

/// Opens another handle on the directory itself.
fn here(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    fs::openat(dir, ".", Target::Dir.flags(), Mode::empty())
}

/// Holds the node in one call. `None` if the descent must be walked by components.
fn by_openat2(
    dir: BorrowedFd<'_>,
    path: Descent<'_>,
    target_kind: Target,
) -> Result<Option<OwnedFd>> {
    for _ in 0..RACES_MAX {
        return match fs::openat2(dir, path.as_str(), target_kind.flags(), Mode::empty(), RESOLVE) {
            Ok(held) => Ok(Some(held)),
            // A concurrent rename made Linux unsure (`BENEATH`).
            Err(RustixErrno::AGAIN) => continue,
            // There may be a link: `ELOOP` on the way, `ENOTDIR` for the last name.
            Err(RustixErrno::LOOP | RustixErrno::NOTDIR) => Ok(None),
            // The system call is missing, forbidden, or does not support the flags.
            Err(
                RustixErrno::NOSYS
                | RustixErrno::PERM
                | RustixErrno::INVAL
                | RustixErrno::TOOBIG
                | RustixErrno::XDEV,
            ) => Ok(None),
            Err(os) => Err(errno(os)),
        };
    }
    Ok(None)
}

/// Holds one name. `at` is its position for a [`Stop::Link`].
fn hold_name(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    target_kind: Target,
    at: usize,
) -> Result<OwnedFd, Stop> {
    for _ in 0..RACES_MAX {
        match fs::openat(dir, name.as_str(), target_kind.flags(), Mode::empty()) {
            Ok(held) => return Ok(held),
            // `O_DIRECTORY | O_NOFOLLOW` fails with `ENOTDIR` for a link too.
            Err(RustixErrno::NOTDIR | RustixErrno::LOOP) => {}
            Err(os) => return Err(errno(os).into()),
        }
        if let Some(target) = link_target(dir, name)? {
            return Err(Stop::Link { at, target });
        }
        // Neither a directory nor a link, unless it became a directory after the `openat`.
        let stat = fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?;
        match kind(&stat) {
            FileType::Dir | FileType::Symlink => {}
            FileType::File
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => return Err(Errno::Notdir.into()),
        }
    }
    Err(Errno::Again.into())
}

/// Returns the target of the link `name`, or `None` if it is not a link.
///
/// # Errors
///
/// - `ENOENT`: the name is missing.
/// - `EILSEQ`: the target is not UTF-8.
pub(super) fn link_target(dir: BorrowedFd<'_>, name: Name<'_>) -> Result<Option<Box<str>>> {
    match fs::readlinkat(dir, name.as_str(), Vec::new()) {
        Ok(target) => Ok(Some(utf8(target)?)),
        Err(RustixErrno::INVAL) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}

/// Returns the target of a held link.
///
/// # Errors
///
/// - `EILSEQ`: the target is not UTF-8.
pub(super) fn held_target(link: BorrowedFd<'_>) -> Result<Box<str>> {
    utf8(fs::readlinkat(link, "", Vec::new()).map_err(errno)?)
}

fn utf8(target: std::ffi::CString) -> Result<Box<str>> {
    target.into_string().map(Into::into).map_err(|_| Errno::Ilseq)
}
