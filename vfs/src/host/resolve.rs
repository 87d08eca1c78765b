//! From a descent to a held node: the only code that hands the kernel more than one name.
//!
//! Why nothing here leaves the directory: a [`Descent`] has no `..` and no leading slash, and the
//! kernel is told to follow no link. It is told in one of two shapes, which are equally strong:
//! `openat2` with `BENEATH | NO_SYMLINKS | NO_MAGICLINKS` for the whole descent, or one
//! `openat(O_NOFOLLOW)` for each name in the directory that was held before. What another process
//! moves or swaps meanwhile changes which node is found, never that rule.
//!
//! Everything is opened with `O_PATH`: that neither blocks on a FIFO, nor wakes a driver, nor asks
//! for more permission than passing through.
//!
//! The answer of the component walk is the one that counts: whenever `openat2` is not there, is
//! forbidden, gives up, or meets something that may be a link, the descent is walked by
//! components, and that tells the link from the file and both from a race.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as Os;

use super::errno::errno;
use super::stat::kind;
use crate::{Descent, Errno, FileType, Name, Result, Stop};

/// How often a call is made anew because another process changed the same names meanwhile.
/// A rename takes microseconds; who loses this often is being kept from winning.
pub(super) const RACES_MAX: u32 = 16;

/// Never follows, never blocks, never reads.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// How a descent of several names is resolved. Both are equally strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In one call, and by components when that is no answer.
    Openat2,
    /// One call for each name.
    Components,
}

/// What is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Anything; a link at the end is held itself.
    Any,
    /// A directory.
    Dir,
}

impl Want {
    fn flags(self) -> OFlags {
        match self {
            Want::Any => HOLD,
            Want::Dir => HOLD | OFlags::DIRECTORY,
        }
    }
}

/// The fastest way that this kernel, and what guards it, lets us go.
pub(super) fn probe(dir: BorrowedFd<'_>) -> Way {
    match fs::openat2(dir, ".", Want::Dir.flags(), Mode::empty(), RESOLVE) {
        Ok(_) => Way::Openat2,
        Err(_) => Way::Components,
    }
}

/// Holds what `path` leads to.
///
/// Errors, in order: `Notdir`, [`Stop::Link`] or `Noent` for the first name on the way that is a
/// file, a link or missing; for the last name `Noent`, and with [`Want::Dir`] [`Stop::Link`] or
/// `Notdir`; `Acces`; `Again` if another process exchanges the names all the time.
pub(super) fn hold(
    dir: BorrowedFd<'_>,
    way: Way,
    path: Descent<'_>,
    want: Want,
) -> Result<OwnedFd, Stop> {
    let Some((parent, last)) = path.split_last() else {
        return Ok(here(dir).map_err(errno)?);
    };
    if parent.is_here() {
        return hold_name(dir, last, want, 0);
    }
    if way == Way::Openat2
        && let Some(held) = by_openat2(dir, path, want)?
    {
        return Ok(held);
    }
    let (mut held, mut at) = (None, 0);
    for name in parent.names() {
        let from = held.as_ref().map_or(dir, AsFd::as_fd);
        held = Some(hold_name(from, name, Want::Dir, at)?);
        at += 1;
    }
    hold_name(held.as_ref().map_or(dir, AsFd::as_fd), last, want, at)
}

/// Opens what `path` leads to with `flags`, following nothing; `None` for whatever reason it
/// cannot be done in one call.
pub(super) fn open_at_once(
    dir: BorrowedFd<'_>,
    way: Way,
    path: Descent<'_>,
    flags: OFlags,
) -> Option<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Some(name) = path.as_name() {
        return open_quietly(dir, name.as_str(), flags).ok();
    }
    match way {
        Way::Openat2 => fs::openat2(dir, path.as_str(), flags, Mode::empty(), RESOLVE).ok(),
        Way::Components => None,
    }
}

/// Opens one name with `flags`. Who asks for no time of access and may not, since the node is
/// somebody else's, gets it without.
pub(super) fn open_quietly(
    dir: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    match fs::openat(dir, name, flags, Mode::empty()) {
        Err(Os::PERM) if flags.contains(OFlags::NOATIME) => {
            fs::openat(dir, name, flags - OFlags::NOATIME, Mode::empty())
        }
        opened => opened,
    }
}

/// The directory itself, held anew.
fn here(dir: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    fs::openat(dir, ".", Want::Dir.flags(), Mode::empty())
}

/// In one call; `None` if the components have to be looked at.
fn by_openat2(dir: BorrowedFd<'_>, path: Descent<'_>, want: Want) -> Result<Option<OwnedFd>> {
    for _ in 0..RACES_MAX {
        return match fs::openat2(dir, path.as_str(), want.flags(), Mode::empty(), RESOLVE) {
            Ok(held) => Ok(Some(held)),
            // Something was renamed somewhere, and the kernel is not sure any more.
            Err(Os::AGAIN) => continue,
            // There may be a link on the way: LOOP, and NOTDIR for the last name.
            Err(Os::LOOP | Os::NOTDIR) => Ok(None),
            // The call is missing or forbidden, or the kernel was asked for what it does not know.
            Err(Os::NOSYS | Os::PERM | Os::INVAL | Os::TOOBIG | Os::XDEV) => Ok(None),
            Err(os) => Err(errno(os)),
        };
    }
    Ok(None)
}

/// Holds one name; `at` is its position for a [`Stop::Link`].
fn hold_name(dir: BorrowedFd<'_>, name: Name<'_>, want: Want, at: usize) -> Result<OwnedFd, Stop> {
    for _ in 0..RACES_MAX {
        match fs::openat(dir, name.as_str(), want.flags(), Mode::empty()) {
            Ok(held) => return Ok(held),
            // O_DIRECTORY | O_NOFOLLOW says NOTDIR for a link too.
            Err(Os::NOTDIR | Os::LOOP) => {}
            Err(os) => return Err(errno(os).into()),
        }
        if let Some(target) = link_target(dir, name)? {
            return Err(Stop::Link { at, target });
        }
        // Neither directory nor link, unless it became a directory after the first look.
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

/// What the link `name` says; `None` if it is no link.
///
/// Errors, in order: `Noent`; `Ilseq` if the target is not UTF-8.
pub(super) fn link_target(dir: BorrowedFd<'_>, name: Name<'_>) -> Result<Option<Box<str>>> {
    match fs::readlinkat(dir, name.as_str(), Vec::new()) {
        Ok(target) => Ok(Some(utf8(target)?)),
        Err(Os::INVAL) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}

/// What a held link says.
///
/// Errors: `Ilseq` if the target is not UTF-8.
pub(super) fn held_target(link: BorrowedFd<'_>) -> Result<Box<str>> {
    utf8(fs::readlinkat(link, "", Vec::new()).map_err(errno)?)
}

fn utf8(target: std::ffi::CString) -> Result<Box<str>> {
    target.into_string().map(Into::into).map_err(|_| Errno::Ilseq)
}
