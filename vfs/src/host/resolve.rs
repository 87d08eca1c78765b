//! From a descent to a held node, without ever following a link.
//!
//! Two shapes of system call reach below a held directory, here and in `dir.rs`, and no other does:
//! `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS` on a [`Descent`],
//! and `*at` on one [`Name`] without following. A link of the host is data, whatever another
//! process does to the tree meanwhile.
//!
//! The second way, one name at a time, is as strong as the first, and slower. It finds out where
//! the link was when the kernel only says that there is one, and it takes over where `openat2` is
//! missing, forbidden, or kept from an answer by renames elsewhere on the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as Os;

use super::errno::errno;
use crate::{Descent, Errno, Name, Result, Stop};

/// How descents are resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2` where there is one.
    #[default]
    Auto,
    /// `openat2` (Linux 5.6), whether it was found or not.
    Openat2,
    /// One `openat` for each name.
    Components,
}

/// Retries of an `openat2` that answers `EAGAIN` because something was renamed on the host.
const RETRIES_MAX: u32 = 16;

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Holds a node: no right but to be passed through and to be looked at.
pub(super) const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Holds a directory.
pub(super) const HOLD_DIR: OFlags = HOLD.union(OFlags::DIRECTORY);

impl Resolver {
    /// What `Auto` means for the directory.
    pub(super) fn probe(self, dir: BorrowedFd<'_>) -> Resolver {
        match self {
            Resolver::Openat2 | Resolver::Components => self,
            Resolver::Auto => match fs::openat2(dir, ".", HOLD_DIR, Mode::empty(), RESOLVE) {
                Ok(_) => Resolver::Openat2,
                Err(_) => Resolver::Components,
            },
        }
    }

    /// Holds what `path` leads to, a link at the end included unless `flags` ask for a directory.
    /// `path` must not be empty.
    pub(super) fn hold(
        self,
        dir: BorrowedFd<'_>,
        path: Descent<'_>,
        flags: OFlags,
    ) -> Result<OwnedFd, Stop> {
        if self == Resolver::Components || path.as_name().is_some() {
            return by_components(dir, path, flags);
        }
        for _ in 0..RETRIES_MAX {
            match fs::openat2(dir, path.as_str(), flags, Mode::empty(), RESOLVE) {
                Ok(fd) => return Ok(fd),
                Err(Os::AGAIN | Os::INTR) => {}
                // A link somewhere, or something that is no directory, or no such system call.
                Err(Os::LOOP | Os::NOTDIR | Os::XDEV | Os::NOSYS | Os::PERM) => break,
                Err(os) => return Err(errno(os).into()),
            }
        }
        by_components(dir, path, flags)
    }
}

fn by_components(dir: BorrowedFd<'_>, path: Descent<'_>, flags: OFlags) -> Result<OwnedFd, Stop> {
    let Some((parent, last)) = path.split_last() else { return Err(Errno::Inval.into()) };
    let mut held: Option<OwnedFd> = None;
    let mut depth = 0;
    for name in parent.names() {
        let at = held.as_ref().map_or(dir, AsFd::as_fd);
        held = Some(open_name(at, name, HOLD_DIR, depth)?);
        depth += 1;
    }
    open_name(held.as_ref().map_or(dir, AsFd::as_fd), last, flags, depth)
}

/// Opens one name without following it; `depth` is its place in the descent.
fn open_name(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    flags: OFlags,
    depth: usize,
) -> Result<OwnedFd, Stop> {
    match fs::openat(dir, name.as_str(), flags, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(os @ (Os::LOOP | Os::NOTDIR)) => match link_target(dir, name) {
            Ok(target) => Err(Stop::Link { at: depth, target }),
            // It is no link, or not any more.
            Err(Errno::Inval | Errno::Noent) => Err(errno(os).into()),
            Err(errno) => Err(errno.into()),
        },
        Err(os) => Err(errno(os).into()),
    }
}

/// The target of a link. `Inval` if the name leads to none, `Ilseq` if it is not UTF-8.
pub(super) fn link_target(dir: BorrowedFd<'_>, name: Name<'_>) -> Result<Box<str>> {
    let target = fs::readlinkat(dir, name.as_str(), Vec::new()).map_err(errno)?;
    target.into_string().map(Into::into).map_err(|_| Errno::Ilseq)
}
