//! Opens an upper on the host: paths, file locks and a probe of the filesystem.
//!
//! Only this file uses ambient authority, and only this file opens `..`, to check that neither the
//! upper's directory nor the work directory is inside the other.
//!
//! The upper's directory is locked exclusively while it can change and shared while it is frozen
//! ([flock](https://man7.org/linux/man-pages/man2/flock.2.html)), so that no two overlays, in this
//! process or another, write one upper. The overlayfs of Linux takes no such lock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use cap_std::ambient_authority;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{self, FlockOperation, Mode, OFlags, RenameFlags, XattrFlags};
use rustix::io::Errno as RustixErrno;

use super::super::resolve::open_with_noatime_fallback;
use super::super::stat::stat;
use super::name_cache::NAMES_MAX;
use super::work_dir::{WhiteoutStyle, WorkDir, clear, make_whiteout};
use super::xattrs::{self, NodeId};
use super::{DescentCache, HOLD, HostUpper, UpperCore, UpperState, WorkArea};
use crate::overlay::{UpperRef, discard};

/// The subdirectory of the work directory that belongs to this program.
const AREA: &str = "palisade";
/// The most ancestors that are compared: `PATH_MAX` of Linux, at two bytes per name.
const DEPTH_MAX: usize = 2048;

/// Restrictions for tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most cached names.
    pub(super) names_max: usize,
    /// How whiteouts are written at best.
    pub(super) style: WhiteoutStyle,
}

impl Limits {
    pub(super) const NONE: Limits = Limits { names_max: NAMES_MAX, style: WhiteoutStyle::Device };
}

impl HostUpper {
    /// Opens the upper in a directory of the host: the nodes are in `upper`, temporary files in
    /// `work`. Both are created if they are missing. Symbolic links in the path `dir` are followed,
    /// links in the directory are not. An interrupted discard is completed first.
    ///
    /// # Errors
    /// - The errors of the operating system.
    /// - Those of [`HostUpper::open_ambient_at`].
    pub fn open_ambient(dir: &Path) -> io::Result<UpperRef> {
        Self::open_ambient_with(dir, Limits::NONE)
    }

    pub(super) fn open_ambient_with(dir: &Path, limits: Limits) -> io::Result<UpperRef> {
        let dir = ambient(dir)?;
        let upper = subdir(dir.as_fd(), "upper")?;
        let work = subdir(dir.as_fd(), "work")?;
        Self::open(upper, work, limits)
    }

    /// Opens the upper with its nodes in `upper`, such as one that Linux wrote. Temporary
    /// files go to a new subdirectory of `work`; nothing else in `work` changes.
    ///
    /// # Errors
    /// - The errors of the operating system, such as `NotADirectory`.
    /// - `InvalidInput`: one directory is inside the other.
    /// - `CrossesDevices`: the directories are on different filesystems.
    /// - `ResourceBusy`: another overlay has one of them open.
    /// - `Unsupported`: the filesystem has no user xattrs or cannot exchange two names.
    pub fn open_ambient_at(upper: &Path, work: &Path) -> io::Result<UpperRef> {
        Self::open(ambient(upper)?, ambient(work)?, Limits::NONE)
    }

    /// Opens a frozen upper, as a lower of any number of overlays.
    ///
    /// # Errors
    /// - The errors of the operating system.
    /// - `ResourceBusy`: an overlay has it open as its upper.
    /// - `InvalidData`: a discard was interrupted.
    pub fn open_ambient_frozen(upper: &Path) -> io::Result<UpperRef> {
        let upper = ambient(upper)?;
        lock(upper.as_fd(), FlockOperation::NonBlockingLockShared, "the upper is being written")?;
        Self::open_root(upper, None, NAMES_MAX)
    }

    /// Opens the upper of [`HostUpper::open_ambient`] in `dir` as
    /// [`HostUpper::open_ambient_frozen`] does. Nothing is created, and no link in `dir` is
    /// followed.
    ///
    /// # Errors
    /// - The errors of the operating system.
    /// - `ResourceBusy`: an overlay has it open as its upper.
    /// - `InvalidData`: a discard was interrupted.
    pub fn open_ambient_frozen_in(dir: &Path) -> io::Result<UpperRef> {
        let upper = open_with_noatime_fallback(ambient(dir)?.as_fd(), "upper", HOLD)?;
        lock(upper.as_fd(), FlockOperation::NonBlockingLockShared, "the upper is being written")?;
        Self::open_root(upper, None, NAMES_MAX)
    }

    fn open(upper: OwnedFd, work: OwnedFd, limits: Limits) -> io::Result<UpperRef> {
        if is_in(work.as_fd(), id(upper.as_fd())?)? || is_in(upper.as_fd(), id(work.as_fd())?)? {
            let text = "neither of an upper's directories may lie in the other";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if id(upper.as_fd())?.dev != id(work.as_fd())?.dev {
            let text = "both of an upper's directories must be on the same filesystem";
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, text));
        }
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        lock(upper.as_fd(), exclusive, "another overlay uses the upper")?;
        lock(work.as_fd(), exclusive, "another overlay uses the work directory")?;
        let area_dir = subdir(work.as_fd(), AREA)?;
        clear(area_dir.as_fd())?;
        let work_dir = probe(area_dir, limits.style)?;
        let work_area = WorkArea { work: work_dir, lock: work };
        Self::open_root(upper, Some(work_area), limits.names_max)
    }

    fn open_root(
        upper: OwnedFd,
        work_area: Option<WorkArea>,
        names_max: usize,
    ) -> io::Result<UpperRef> {
        let root = open_with_noatime_fallback(upper.as_fd(), ".", HOLD)?;
        let state =
            RwLock::new(UpperState { is_frozen: work_area.is_none(), ..UpperState::default() });
        let core = Arc::new(UpperCore {
            upper,
            work_area,
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
        let opened: UpperRef = Arc::new(HostUpper::new(root, Arc::new(DescentCache::default())));
        if is_discarded && core.work_area.is_none() {
            let text = "a discard of the upper was interrupted: discard it again";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if is_discarded {
            discard(&opened).map_err(|why| io::Error::other(format!("after a discard: {why}")))?;
        }
        Ok(opened)
    }
}

/// Opens a directory of the host by its path, with the authority of the process.
fn ambient(path: &Path) -> io::Result<OwnedFd> {
    let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
    Ok(open_with_noatime_fallback(dir.as_fd(), ".", HOLD)?)
}

/// Opens a subdirectory. Creates it if it is missing.
fn subdir(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(RustixErrno::EXIST) => {}
        Err(os) => return Err(os.into()),
    }
    Ok(open_with_noatime_fallback(dir, name, HOLD)?)
}

fn id(dir: BorrowedFd<'_>) -> io::Result<NodeId> {
    Ok(NodeId::of(&stat(&fs::fstat(dir)?)))
}

fn lock(dir: BorrowedFd<'_>, how: FlockOperation, text: &'static str) -> io::Result<()> {
    match fs::flock(dir, how) {
        Ok(()) => Ok(()),
        Err(RustixErrno::WOULDBLOCK) => Err(io::Error::new(io::ErrorKind::ResourceBusy, text)),
        Err(os) => Err(os.into()),
    }
}

/// Returns whether `dir` is the directory `top` or a descendant of it.
pub(in crate::host) fn is_in(dir: BorrowedFd<'_>, top: NodeId) -> io::Result<bool> {
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

/// Probes the features of the filesystem in an empty work directory.
fn probe(area_dir: OwnedFd, wanted: WhiteoutStyle) -> io::Result<WorkDir> {
    let unsupported = |text| io::Error::new(io::ErrorKind::Unsupported, text);
    match fs::fsetxattr(&area_dir, xattrs::MAY_HOLD, b"y", XattrFlags::empty()) {
        Ok(()) => {}
        Err(RustixErrno::OPNOTSUPP) => {
            return Err(unsupported("the filesystem has no extended attributes for users"));
        }
        Err(os) => return Err(os.into()),
    }
    let style = match wanted {
        WhiteoutStyle::Device if make_whiteout(area_dir.as_fd(), "#a").is_ok() => {
            WhiteoutStyle::Device
        }
        WhiteoutStyle::Device | WhiteoutStyle::Xattr => WhiteoutStyle::Xattr,
    };
    let can_leave = match style {
        WhiteoutStyle::Device => {
            fs::renameat_with(&area_dir, "#a", &area_dir, "#b", RenameFlags::WHITEOUT).is_ok()
        }
        WhiteoutStyle::Xattr => false,
    };
    for name in ["#a", "#b"] {
        match fs::mkdirat(&area_dir, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(RustixErrno::EXIST) => {}
            Err(os) => return Err(os.into()),
        }
    }
    if fs::renameat_with(&area_dir, "#a", &area_dir, "#b", RenameFlags::EXCHANGE).is_err() {
        return Err(unsupported("the filesystem cannot exchange two names"));
    }
    clear(area_dir.as_fd())?;
    Ok(WorkDir::new(area_dir, style, can_leave))
}
