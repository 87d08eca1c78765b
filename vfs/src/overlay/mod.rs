//! Overlays: one layer that is written, over any number of filesystems that are not.
//!
//! What this module alone is responsible for: that a guest cannot tell the two apart. An overlay
//! over some lowers behaves as a plain copy of them.
//!
//! Every operation is neutral preparation and then one step. The preparation copies up what is
//! needed (`copy_up.rs`), which changes nothing that is visible; the step is one method of the
//! upper ([`UpperDir`]), which is atomic. So whatever fails, the tree is as it was, and a crash
//! leaves
//! the old tree or the new one.
//!
//! What a lower has is found in `lowers.rs`, shared by all overlays over it; where upper and lowers
//! meet is kept in `tree.rs`. A descent that leads where only one of them has anything is one call
//! of that one. The format is overlayfs': whiteouts and opaque directories, nothing else. A
//! directory that is renamed is copied up whole, since that format has no other way to say it.
//!
//! What the upper says about the lowers is a value (`changes`), and an archive (`layer_tar`).
//! Layers are exchanged under a living overlay in `snapshot.rs`.
//!
//! Lock order: `Shared::tree`, then `link_groups`, `handles` or a directory's `seats`, then those
//! of the layers. No callback is called with any held.
//!
//! Deliberately absent: redirects; watching the lowers.

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

/// What two paths to one node have in common: the filesystem's number and the node's.
type Identity = (u64, u64);

/// A tree made of one layer that is written, and of lowers that are not. A clone is the same one.
///
/// - Its directories and files behave as those of a plain copy of the lowers: results, errors,
///   listings, identities, times and links. What differs: a directory's `nlink` and `size` are
///   those of one of its parts, and a file's `nlink` is its own lower's, which counts names that
///   another lower hides.
/// - Lowers are never written: not their bytes, not their times.
/// - A handle that was opened for reading sees what is written later, as for any file.
/// - An identity stays what it was when a node is copied up. What is new is of the filesystem of
///   the lowest directory, as its root is; only other lowers, and what is kept in a directory of
///   the host, may be of filesystems of their own.
#[derive(Clone)]
pub struct Overlay(Arc<OverlayState>);

/// What pays for the copies that an overlay makes of files of its lowers.
///
/// A guest that opens a file for writing makes the upper hold a copy of all of it, so a limit on
/// what the guest writes bounds nothing without this.
pub trait CopyBudget: Send + Sync {
    /// Takes `bytes`, before the copy is made.
    ///
    /// Errors: what the operation of the guest is refused with, such as `Dquot`.
    fn take(&self, bytes: u64) -> Result<()>;

    /// Gives back what was taken for a copy that was not made.
    fn give(&self, bytes: u64);
}

struct OverlayState {
    budget: OnceLock<Arc<dyn CopyBudget>>,
    table: RwLock<DirTable>,
    lower_files: LowerFiles,
    link_groups: Mutex<Option<Arc<LinkGroups>>>,
    /// Whether a layer that is or was part of it can wait for a disk or a device. Operations wait
    /// for each other, so this is about all of it and not about one directory's parts.
    may_block: AtomicBool,
}

impl OverlayState {
    /// Makes a copy of `bytes`, if there is budget for it.
    fn copy_in_budget<T>(&self, bytes: u64, copy: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(budget) = self.budget.get() else { return copy() };
        budget.take(bytes)?;
        copy().inspect_err(|_| budget.give(bytes))
    }

    fn may_block(&self) -> bool {
        self.may_block.load(Ordering::Relaxed)
    }

    /// A layer comes to be part of it.
    fn note_blocking(&self, table: &mut DirTable, layer: &dyn Dir) {
        if layer.may_block() {
            table.idle_max.get_or_insert(IDLE_MAX);
        }
        self.may_block.fetch_or(layer.may_block(), Ordering::Relaxed);
    }
}

impl Overlay {
    /// Stacks `upper`, which may hold changes already, upon `lowers`.
    ///
    /// Errors: `Inval` if `upper` is itself one of the lowers, or one lies in the other.
    pub fn new(upper: UpperRef, lowers: &Lowers) -> Result<Overlay> {
        let dev = lowers.root.dev_or(to_errno(upper.stat(Descent::HERE))?.dev)?;
        if lowers.root.is_entangled(&upper)? {
            return Err(Errno::Inval);
        }
        if is_empty_upper(&*upper)? {
            take_times(&*upper, &to_errno(lowers.root.stat(Descent::HERE))?)?;
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

    /// The root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::new(OverlayDir::hold(&self.0, &self.0.table.read(), ROOT))
    }

    /// Sets how many directories without a handle stay open for the next operation. By default that
    /// is 16 where a layer may take descriptors of the host, and all that are known otherwise.
    pub fn set_idle_max(&self, idle_max: usize) {
        let mut table = self.0.table.write();
        table.idle_max = Some(idle_max);
        table.evict_all();
    }

    /// Lets `budget` pay for every copy of a file of the lowers from now on: the length of the
    /// file, holes included, is taken before the copy is made, and stays taken. A file that is
    /// truncated by its open is not copied. The first budget stays; a fork has one of its own.
    pub fn set_copy_budget(&self, budget: Arc<dyn CopyBudget>) {
        let _ = self.0.budget.set(budget);
    }

    /// The root of the layer that is written now.
    ///
    /// Errors: none; `Io` would be a defect of the overlay.
    pub fn upper(&self) -> Result<UpperRef> {
        self.0.table.read().upper(ROOT).cloned()
    }

    /// What lies beneath that layer now.
    ///
    /// Errors: none; `Io` would be a defect of the overlay.
    pub fn lowers(&self) -> Result<Lowers> {
        self.0.table.read().visible_lowers()
    }
}

/// A number that nobody can guess: the standard library keys its hashes by the system's random
/// numbers.
pub(crate) fn fresh_token() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(fresh_ino()));
    half() << 64 | half()
}

/// Whether nothing has ever been kept in the layer.
fn is_empty_upper(upper: &dyn UpperDir) -> Result<bool> {
    let mut is_empty_upper = true;
    upper.read_dir(Cookie::START, &mut |_| {
        is_empty_upper = false;
        ControlFlow::Break(())
    })?;
    upper.whiteouts(&mut |_| is_empty_upper = false)?;
    Ok(is_empty_upper)
}

/// Gives the root of a layer the times of the root that it is going to stand for.
fn take_times(upper: &dyn UpperDir, stat: &Stat) -> Result<()> {
    to_errno(upper.set_times(Descent::HERE, stat.times()))
}
