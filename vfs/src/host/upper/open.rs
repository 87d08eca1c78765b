//! Where a layer begins: the host's paths, the locks, and what the filesystem must be able to do.
//!
//! Here alone ambient authority enters, and here alone `..` is followed: to see that neither of the
//! two directories lies in the other.
//!
//! The layer's directory is locked as a whole while it can change, and shared while it cannot, so
//! that two overlays never write one layer, in this process or another. The kernel's own overlay
//! filesystem takes no such lock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use cap_std::ambient_authority;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{self, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno as Os;

use super::super::resolve::open_quietly;
use super::super::stat::stat;
use super::name_cache::NAMES_MAX;
use super::work_dir::{WhiteoutStyle, WorkDir, clear, make_whiteout};
use super::xattrs::{self, NodeId};
use super::{DescentCache, HOLD, HostUpper, UpperCore, UpperState, WorkArea};
use crate::overlay::{UpperRef, discard};

/// Our own part of a work directory.
const AREA: &str = "palisade";
/// The longest way up to the host's root that is looked at: Linux's `PATH_MAX` over two bytes a
/// name.
const DEPTH_MAX: usize = 2048;

/// What a layer may be made to do without, for tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Names that are remembered.
    pub(super) names_max: usize,
    /// Whether devices may be made.
    pub(super) style: WhiteoutStyle,
}

impl Limits {
    pub(super) const NONE: Limits = Limits { names_max: NAMES_MAX, style: WhiteoutStyle::Device };
}

impl HostUpper {
    /// Opens the layer that is kept in a directory of the host: the nodes in `upper`, and in `work`
    /// what is being made. Both are created if they are missing. Links on the way to `dir` are
    /// followed, links in it are not. If a discard of it was interrupted, it is completed first.
    ///
    /// Errors: the kernel's; those of [`HostUpper::open_ambient_at`].
    pub fn open_ambient(dir: &Path) -> io::Result<UpperRef> {
        Self::open_ambient_with(dir, Limits::NONE)
    }

    pub(super) fn open_ambient_with(dir: &Path, limits: Limits) -> io::Result<UpperRef> {
        let dir = ambient(dir)?;
        let upper = subdir(dir.as_fd(), "upper")?;
        let work = subdir(dir.as_fd(), "work")?;
        Self::open(upper, work, limits)
    }

    /// Opens the layer whose nodes are in `upper`, such as one that the kernel wrote. In `work` a
    /// directory is created for what is being made; all else in it stays as it is.
    ///
    /// Errors, in order: the kernel's, among them `NotADirectory`; `InvalidInput` if one directory
    /// lies in the other; `CrossesDevices` if they are not on the same filesystem; `ResourceBusy`
    /// if another overlay has one of them open; `Unsupported` if the filesystem has no extended
    /// attributes for users or cannot exchange two names.
    pub fn open_ambient_at(upper: &Path, work: &Path) -> io::Result<UpperRef> {
        Self::open(ambient(upper)?, ambient(work)?, Limits::NONE)
    }

    /// Opens a layer that is never changed, for the lowers of any number of overlays.
    ///
    /// Errors: the kernel's; `ResourceBusy` if an overlay has it open as its upper; `InvalidData`
    /// if a discard of it was interrupted.
    pub fn open_ambient_frozen(upper: &Path) -> io::Result<UpperRef> {
        let upper = ambient(upper)?;
        lock(upper.as_fd(), FlockOperation::NonBlockingLockShared, "the layer is being written")?;
        Self::open_root(upper, None, NAMES_MAX)
    }

    /// Opens the layer that [`HostUpper::open_ambient`] keeps in `dir`, as
    /// [`HostUpper::open_ambient_frozen`] does. Nothing is created, and no link in `dir` is
    /// followed.
    ///
    /// Errors: the kernel's; `ResourceBusy` if an overlay has it open as its upper.
    pub fn open_ambient_frozen_in(dir: &Path) -> io::Result<UpperRef> {
        let upper = open_quietly(ambient(dir)?.as_fd(), "upper", HOLD)?;
        lock(upper.as_fd(), FlockOperation::NonBlockingLockShared, "the layer is being written")?;
        Self::open_root(upper, None, NAMES_MAX)
    }

    fn open(upper: OwnedFd, work: OwnedFd, limits: Limits) -> io::Result<UpperRef> {
        if lies_in(work.as_fd(), id(upper.as_fd())?)? || lies_in(upper.as_fd(), id(work.as_fd())?)?
        {
            let text = "neither of a layer's directories may lie in the other";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if id(upper.as_fd())?.dev != id(work.as_fd())?.dev {
            let text = "both of a layer's directories must be on the same filesystem";
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, text));
        }
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        lock(upper.as_fd(), exclusive, "another overlay uses the layer")?;
        lock(work.as_fd(), exclusive, "another overlay uses the work directory")?;
        let area = subdir(work.as_fd(), AREA)?;
        clear(area.as_fd())?;
        let work_area = probe(area, limits.style)?;
        let area = WorkArea { work: work_area, lock: work };
        Self::open_root(upper, Some(area), limits.names_max)
    }

    fn open_root(upper: OwnedFd, area: Option<WorkArea>, names_max: usize) -> io::Result<UpperRef> {
        let root = open_quietly(upper.as_fd(), ".", HOLD)?;
        let state = RwLock::new(UpperState { is_frozen: area.is_none(), ..UpperState::default() });
        let core = Arc::new(UpperCore {
            upper,
            area,
            state,
            held: Mutex::default(),
            open_files: AtomicUsize::new(0),
            has_deferred_times: AtomicBool::new(false),
            pending: Mutex::default(),
            cached_names: AtomicUsize::new(0),
            names_max,
        });
        let root = core.hold(root).map_err(io::Error::other)?;
        let is_discarded = xattrs::is_discarded(root.fd()).map_err(io::Error::other)?;
        let layer: UpperRef = Arc::new(HostUpper::new(root, Arc::new(DescentCache::default())));
        if is_discarded && core.area.is_none() {
            let text = "a discard of the layer was interrupted: discard it again";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if is_discarded {
            discard(&layer).map_err(|why| io::Error::other(format!("after a discard: {why}")))?;
        }
        Ok(layer)
    }
}

/// Holds a directory of the host by its path, with the process's own authority.
fn ambient(path: &Path) -> io::Result<OwnedFd> {
    let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
    Ok(open_quietly(dir.as_fd(), ".", HOLD)?)
}

/// Holds a directory, which is created if it is missing.
fn subdir(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Os::EXIST) => {}
        Err(os) => return Err(os.into()),
    }
    Ok(open_quietly(dir, name, HOLD)?)
}

fn id(dir: BorrowedFd<'_>) -> io::Result<NodeId> {
    Ok(NodeId::of(&stat(&fs::fstat(dir)?)))
}

fn lock(dir: BorrowedFd<'_>, how: FlockOperation, text: &'static str) -> io::Result<()> {
    match fs::flock(dir, how) {
        Ok(()) => Ok(()),
        Err(Os::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::ResourceBusy, text)),
        Err(os) => Err(os.into()),
    }
}

/// Whether `dir` is the directory `top` or lies in it.
pub(in crate::host) fn lies_in(dir: BorrowedFd<'_>, top: NodeId) -> io::Result<bool> {
    let mut at = fs::openat(dir, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for _ in 0..DEPTH_MAX {
        let here = id(at.as_fd())?;
        if here == top {
            return Ok(true);
        }
        at = fs::openat(&at, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        if id(at.as_fd())? == here {
            return Ok(false);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the directory lies too deep"))
}

/// Finds out, in an empty area, what the filesystem can do.
fn probe(area: OwnedFd, wanted: WhiteoutStyle) -> io::Result<WorkDir> {
    let unsupported = |text| io::Error::new(io::ErrorKind::Unsupported, text);
    match fs::fsetxattr(&area, xattrs::MAY_HOLD, b"y", XattrFlags::empty()) {
        Ok(()) => {}
        Err(Os::OPNOTSUPP) => {
            return Err(unsupported("the filesystem has no extended attributes for users"));
        }
        Err(os) => return Err(os.into()),
    }
    let style = match wanted {
        WhiteoutStyle::Device if make_whiteout(area.as_fd(), "#a").is_ok() => WhiteoutStyle::Device,
        WhiteoutStyle::Device | WhiteoutStyle::Xattr => WhiteoutStyle::Xattr,
    };
    let can_leave = match style {
        WhiteoutStyle::Device => {
            fs::renameat_with(&area, "#a", &area, "#b", RenameFlags::WHITEOUT).is_ok()
        }
        WhiteoutStyle::Xattr => false,
    };
    for name in ["#a", "#b"] {
        match fs::mkdirat(&area, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Os::EXIST) => {}
            Err(os) => return Err(os.into()),
        }
    }
    if fs::renameat_with(&area, "#a", &area, "#b", RenameFlags::EXCHANGE).is_err() {
        return Err(unsupported("the filesystem cannot exchange two names"));
    }
    clear(area.as_fd())?;
    Ok(WorkDir::new(area, style, can_leave))
}
