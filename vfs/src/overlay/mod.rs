//! Overlays: a writable upper over any number of read-only lowers.
//!
//! A guest cannot distinguish an overlay from a plain copy of the merged tree. Guaranteeing that is
//! the responsibility of this module.
//!
//! Every operation is a preparation that changes nothing visible, then one step. The preparation
//! copies up the nodes that the operation needs (`copy_up.rs`). The step is one method of the upper
//! ([`UpperDir`]), which is atomic. So a failed operation leaves the tree unchanged, and a crash
//! leaves the old tree or the new one. The overlay itself never rolls back; an upper may have to
//! (`host/upper/copy_up.rs`).
//!
//! `lowers/` merges the lowers and caches their lookups for all overlays over them. `dir_table.rs`
//! holds the known directories of the merged tree. A path under a directory that only one side has
//! is passed to that side in one call. The format is that of Linux overlayfs, reduced to whiteouts
//! and opaque directories: <https://docs.kernel.org/filesystems/overlayfs.html>. It has no
//! redirects, so a directory is copied up with its whole tree before it is renamed.
//!
//! `changes/` computes the difference to the lowers, commits and discards it; `layer_tar/` exports
//! it as an OCI layer. `snapshot.rs` replaces the upper of an overlay in use.
//!
//! Lock order:
//!
//! ```text
//! OverlayState::table
//!   OverlayState::link_groups
//!   OverlayState::lower_files
//!   DirState::upper_cookies
//!     the locks of the upper and of the lowers
//! ```
//!
//! No callback of a caller is called with one of them held.
//!
//! Deliberately absent: redirects and metacopy; watching the lowers for changes.

mod changes;
mod copy_up;
mod dir;
mod dir_cache;
mod dir_table;
#[cfg(feature = "tar")]
mod layer_tar;
mod lower_file;
mod lowers;
mod open;
mod read_dir;
mod rename;
mod snapshot;
mod upper;

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

pub use changes::{
    Change, ChangeKind, Changes, Committed, Lost, Note, PathError, Progress, Step, commit, diff,
    discard, flatten,
};
#[cfg(feature = "tar")]
pub use layer_tar::{
    ExportError, Exported, ImportError, ImportFault, ImportLimits, Imported, export_layer,
    import_layer,
};
pub use lowers::{Lowers, LowersBuilder};
pub use upper::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperOpen, UpperRef};

use self::copy_up::LinkGroups;
use self::dir::OverlayDir;
use self::dir_cache::IDLE_MAX;
use self::dir_table::{DirState, DirTable, ROOT};
use self::lower_file::LowerFiles;
use self::lowers::to_errno;
use crate::{Cookie, Descent, Dir, DirRef, Errno, Result, Stat, fresh_ino};

/// The identity of a node: its device number and its inode number.
type Identity = (u64, u64);

/// A writable upper merged with read-only lowers. A clone refers to the same overlay.
///
/// - Directories and files behave like those of a plain copy of the lowers: results, errors,
///   listings, identities, times and links. Two numbers differ: the `nlink` and `size` of a
///   directory are those of the directory in the upper, or else in the first lower that has it, and
///   the `nlink` of a file is that of its own lower, which counts names that another lower hides.
/// - Lowers are never written, neither their content nor their times.
/// - A handle that was opened for reading reads later writes, as for any file.
/// - A node keeps its identity when it is copied up. New nodes have the device number of the lowest
///   directory, and so has the root. Nodes of other lowers, and new nodes of an upper on the host,
///   may have other device numbers.
#[derive(Clone)]
pub struct Overlay(Arc<OverlayState>);

/// A budget for the copies that an overlay makes of files of its lowers.
///
/// A guest that opens a file for writing makes the upper store a copy of the whole file, so a limit
/// on written bytes alone does not bound the upper.
pub trait CopyBudget: Send + Sync {
    /// Takes `bytes` from the budget, before a file is copied.
    ///
    /// # Errors
    /// - The errno that the operation of the guest returns, such as `EDQUOT`.
    fn take(&self, bytes: u64) -> Result<()>;

    /// Returns `bytes` to the budget after a copy failed.
    fn give(&self, bytes: u64);
}

struct OverlayState {
    budget: OnceLock<Arc<dyn CopyBudget>>,
    /// The known directories. The outermost lock.
    table: RwLock<DirTable>,
    /// The open files of the lowers. Has a lock of its own.
    lower_files: LowerFiles,
    /// The hard links of the lowers, after the first scan. Locked during the scan.
    link_groups: Mutex<Option<Arc<LinkGroups>>>,
    /// Whether a current or former upper or lower can wait for a disk or a device. One flag for the
    /// whole overlay, since operations wait for each other.
    may_block: AtomicBool,
}

impl OverlayState {
    /// Makes a copy of `bytes`, paid by the budget if there is one.
    fn copy_in_budget<T>(&self, bytes: u64, copy: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(budget) = self.budget.get() else { return copy() };
        budget.take(bytes)?;
        copy().inspect_err(|_| budget.give(bytes))
    }

    fn may_block(&self) -> bool {
        self.may_block.load(Ordering::Relaxed)
    }

    /// Updates the flags for an upper or a lower that joins the overlay.
    fn note_blocking(&self, table: &mut DirTable, upper: &dyn Dir) {
        if upper.may_block() {
            table.idle_max.get_or_insert(IDLE_MAX);
        }
        self.may_block.fetch_or(upper.may_block(), Ordering::Relaxed);
    }
}

impl Overlay {
    /// Stacks `upper`, which may hold changes already, on `lowers`.
    ///
    /// # Errors
    /// - `EINVAL`: `upper` is one of the lowers, an ancestor or a descendant of one.
    /// - The errors of the upper and of the lowers.
    pub fn new(upper: UpperRef, lowers: &Lowers) -> Result<Overlay> {
        let dev = lowers.root.dev_or(to_errno(upper.stat(Descent::HERE))?.dev)?;
        if lowers.root.overlaps(&upper)? {
            return Err(Errno::Inval);
        }
        if is_empty_upper(&*upper)? {
            set_root_times(&*upper, &to_errno(lowers.root.stat(Descent::HERE))?)?;
        }
        let lower = if upper.is_opaque()? { None } else { Some(Arc::clone(&lowers.root)) };
        let may_block = upper.may_block() || lowers.root.may_block();
        upper.set_node_dev(dev);
        let root = DirState::new(ROOT, "", Some(upper), lower);
        let table = DirTable::new(root, (dev, fresh_ino()), lowers.clone());
        Ok(Overlay(Arc::new(OverlayState {
            budget: OnceLock::new(),
            table: RwLock::new(table),
            lower_files: LowerFiles::default(),
            link_groups: Mutex::default(),
            may_block: AtomicBool::new(may_block),
        })))
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::new(OverlayDir::hold(&self.0, &self.0.table.read(), ROOT))
    }

    /// Sets how many directories without a handle stay open. The default is 16 if the upper or a
    /// lower may hold descriptors of the host, and unlimited otherwise.
    pub fn set_idle_max(&self, idle_max: usize) {
        let mut table = self.0.table.write();
        table.idle_max = Some(idle_max);
        table.evict_all();
    }

    /// Charges every later copy of a file of the lowers to `budget`: the length of the file, holes
    /// included. The charge is permanent unless the copy fails. A file that is truncated by its
    /// open is not copied. Only the first call has an effect; a fork starts without a budget.
    pub fn set_copy_budget(&self, budget: Arc<dyn CopyBudget>) {
        let _ = self.0.budget.set(budget);
    }

    /// Returns the root of the current upper.
    ///
    /// # Errors
    /// - `EIO`: an internal error of the overlay.
    pub fn upper(&self) -> Result<UpperRef> {
        self.0.table.read().upper(ROOT).cloned()
    }

    /// Returns the current lowers.
    ///
    /// # Errors
    /// - `EIO`: an internal error of the overlay.
    pub fn lowers(&self) -> Result<Lowers> {
        self.0.table.read().visible_lowers()
    }
}

/// Returns an unpredictable number: the standard library seeds its hash keys with random numbers of
/// the system.
pub(crate) fn random_token() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(fresh_ino()));
    half() << 64 | half()
}

/// Returns whether the upper holds no node and no whiteout.
fn is_empty_upper(upper: &dyn UpperDir) -> Result<bool> {
    let mut is_empty_upper = true;
    upper.read_dir(Cookie::START, &mut |_| {
        is_empty_upper = false;
        ControlFlow::Break(())
    })?;
    upper.whiteouts(&mut |_| is_empty_upper = false)?;
    Ok(is_empty_upper)
}

/// Sets the times of the upper's root to those of the root of the lowers.
fn set_root_times(upper: &dyn UpperDir, stat: &Stat) -> Result<()> {
    to_errno(upper.set_times(Descent::HERE, stat.times()))
}
