//! The table of an overlay's known directories, with the merged lookup of names.
//!
//! The table holds the directories with a handle, their ancestors, and recently used directories
//! that the upper and the lowers share. One lock guards it ([`super::OverlayState::table`]), and
//! the upper and the lowers are called with the lock held. A path under a directory that only the
//! upper or only the lowers have is not resolved name by name: it is passed to that side in one
//! call.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use slab::Slab;

use super::Identity;
use super::dir_cache::{Closed, IDLE_MAX, IdleQueue};
use super::lowers::{LowerNode, Lowers, MergedDir, not_a_dir, to_errno};
use super::lowers::{MergedList, UpperCookies};
use super::upper::{CopyUp, NewName, UpperEntry, UpperRef};
use crate::handle_count::HandleCount;
use crate::{Descent, Dir, Errno, FileType, Name, Result, Stat, Stop, bug};

pub(super) type DirKey = usize;

/// The key of the root: the first key of the slab, never freed.
pub(super) const ROOT: DirKey = 0;

/// A table with fewer directories is not searched for idle ones.
const EVICT_MIN: usize = 256;

/// A directory of the overlay. Guarded by [`super::OverlayState::table`].
///
/// INVARIANT: unless the directory is closed, `upper` or `lower` is set. The parent of a directory
/// with an upper has an upper.
pub(super) struct DirState {
    pub(super) parent: DirKey,
    pub(super) name: Box<str>,
    pub(super) upper: Option<UpperRef>,
    /// `None` if the upper hides the lowers' directory.
    pub(super) lower: Option<Arc<MergedDir>>,
    /// The sides of a closed directory: see `dir_cache.rs`.
    pub(super) closed: Option<Closed>,
    /// Whether the key is in [`DirTable::idle`].
    pub(super) is_queued: bool,
    pub(super) children: HashMap<Box<str>, DirKey, RandomState>,
    pub(super) handles: HandleCount,
    pub(super) is_removed: bool,
    /// The listing of the lowers at the first `read_dir`. The order of the entries persists, even
    /// after the upper hides the lowers.
    pub(super) list: Option<Arc<MergedList>>,
    /// The cookies of the upper's entries, which follow the lowers'. Has a lock of its own, since
    /// listings hold the table lock shared.
    pub(super) upper_cookies: Mutex<UpperCookies>,
}

impl DirState {
    pub(super) fn new(
        parent: DirKey,
        name: &str,
        upper: Option<UpperRef>,
        lower: Option<Arc<MergedDir>>,
    ) -> Self {
        DirState {
            parent,
            name: name.into(),
            upper,
            lower,
            closed: None,
            is_queued: false,
            children: HashMap::default(),
            handles: HandleCount::default(),
            is_removed: false,
            list: None,
            upper_cookies: Mutex::default(),
        }
    }
}

impl DirState {
    /// Invalidates all cookies of earlier listings.
    pub(super) fn forget_listing(&mut self) {
        self.list = None;
        *self.upper_cookies.get_mut() = UpperCookies::default();
    }
}

/// The result of [`DirTable::resolve`]: the side that has the rest of a path.
pub(super) enum Resolution<'t, 'p> {
    /// The path ends at this directory of the table.
    Here(DirKey),
    /// The upper: no lower has the directory `dir`.
    Upper { dir: &'t UpperRef, rest: Descent<'p>, consumed: usize },
    /// The lowers: the upper does not have the directory `dir`.
    Lower { dir: &'t Arc<MergedDir>, rest: Descent<'p>, consumed: usize },
    /// A directory that the upper and the lowers have. Its entry `name`, the first of `rest`, has
    /// not been looked up.
    Merged { parts: MergedParts<'t>, name: Name<'p>, rest: Descent<'p>, consumed: usize },
    /// A closed directory, which must be opened under the exclusive lock.
    Closed,
}

/// The two sides of a merged directory.
#[derive(Clone, Copy)]
pub(super) struct MergedParts<'t> {
    pub(super) upper: &'t UpperRef,
    pub(super) lower: &'t Arc<MergedDir>,
}

/// The entry of a name in the merged tree.
pub(super) enum MergedEntry {
    Absent,
    Upper(Stat),
    Lower(LowerNode),
}

impl MergedEntry {
    pub(super) fn is_dir(&self) -> bool {
        match self {
            MergedEntry::Upper(stat) => stat.kind == FileType::Dir,
            MergedEntry::Lower(LowerNode::Dir(_)) => true,
            MergedEntry::Lower(LowerNode::Leaf(_)) | MergedEntry::Absent => false,
        }
    }

    /// Returns the [`Stat`] of the node, or `None` if the entry is absent. `name` is the name that
    /// was looked up.
    pub(super) fn stat(&self, name: Name<'_>) -> Result<Option<Stat>> {
        match self {
            MergedEntry::Absent => Ok(None),
            MergedEntry::Upper(stat) => Ok(Some(*stat)),
            MergedEntry::Lower(LowerNode::Dir(dir)) => to_errno(dir.stat(Descent::HERE)).map(Some),
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                to_errno(part.dir().stat(name.into())).map(Some)
            }
        }
    }

    /// Returns the identity of the node. `name` is the name that was looked up.
    ///
    /// # Errors
    /// - `ENOENT`: the entry is absent.
    pub(super) fn id(&self, name: Name<'_>) -> Result<Identity> {
        let stat = self.stat(name)?.ok_or(Errno::Noent)?;
        Ok((stat.dev, stat.ino))
    }
}

/// Reports a violation of the invariant of [`DirState`].
#[cold]
pub(super) fn no_backing_dir() -> Errno {
    bug!("a directory of the overlay has neither an upper nor a lower")
}

/// Reports a directory without an upper after [`DirTable::ensure_upper`], or with a node in a
/// missing upper.
#[cold]
pub(super) fn missing_upper() -> Errno {
    bug!("a raised directory of the overlay has no upper")
}

pub(super) struct DirTable {
    pub(super) dirs: Slab<DirState>,
    /// The lowers under the root, with their lookup cache.
    pub(super) lowers: Lowers,
    /// The identity of the root. The overlay keeps it, since each upper has a root of its own.
    root_id: Identity,
    evict_at: usize,
    pub(super) idle: IdleQueue,
    /// The most open directories without a handle. `None` if neither the upper nor a lower holds
    /// descriptors.
    pub(super) idle_max: Option<usize>,
}

impl DirTable {
    pub(super) fn new(root: DirState, root_id: Identity, lowers: Lowers) -> Self {
        let may_block =
            root.upper.as_ref().is_some_and(|upper| upper.may_block()) || lowers.root.may_block();
        let mut dirs = Slab::new();
        dirs.insert(root);
        DirTable {
            dirs,
            lowers,
            root_id,
            evict_at: 0,
            idle: IdleQueue::default(),
            idle_max: may_block.then_some(IDLE_MAX),
        }
    }

    /// Returns the lowers that the root shows: none if the upper's root is opaque.
    pub(super) fn visible_lowers(&self) -> Result<Lowers> {
        let is_visible = self.dir(ROOT)?.lower.is_some();
        Ok(if is_visible { self.lowers.clone() } else { Lowers::none() })
    }

    /// Returns the directory `key`. A missing key is an internal error: directories with a handle
    /// and their ancestors are never evicted.
    pub(super) fn dir(&self, key: DirKey) -> Result<&DirState> {
        self.dirs.get(key).ok_or_else(|| bug!("the overlay has no directory {key}"))
    }

    pub(super) fn dir_mut(&mut self, key: DirKey) -> Result<&mut DirState> {
        self.dirs.get_mut(key).ok_or_else(|| bug!("the overlay has no directory {key}"))
    }

    /// Resolves the leading names of `path` that the table knows.
    pub(super) fn resolve<'p>(
        &self,
        key: DirKey,
        path: Descent<'p>,
    ) -> Result<Resolution<'_, 'p>, Stop> {
        let (mut at, mut left, mut consumed) = (key, path, 0);
        loop {
            let dir = self.dir(at)?;
            let Some((name, rest)) = left.split_first() else {
                return Ok(if dir.closed.is_some() {
                    Resolution::Closed
                } else {
                    Resolution::Here(at)
                });
            };
            if dir.is_removed {
                return Err(Errno::Noent.into());
            }
            if dir.closed.is_some() {
                let Some(child) = dir.children.get(name.as_str()) else {
                    return Ok(Resolution::Closed);
                };
                (at, left, consumed) = (*child, rest, consumed + 1);
                continue;
            }
            let (upper, lower) = match (&dir.upper, &dir.lower) {
                (Some(dir), None) => return Ok(Resolution::Upper { dir, rest: left, consumed }),
                (None, Some(dir)) => return Ok(Resolution::Lower { dir, rest: left, consumed }),
                (Some(upper), Some(lower)) => (upper, lower),
                (None, None) => return Err(no_backing_dir().into()),
            };
            if let Some(child) = dir.children.get(name.as_str()) {
                (at, left, consumed) = (*child, rest, consumed + 1);
                continue;
            }
            let parts = MergedParts { upper, lower };
            return Ok(Resolution::Merged { parts, name, rest: left, consumed });
        }
    }

    /// Looks up `name` in the directory `key`.
    pub(super) fn lookup(&self, key: DirKey, name: Name<'_>) -> Result<MergedEntry> {
        let dir = self.dir(key)?;
        if dir.is_removed {
            return Ok(MergedEntry::Absent);
        }
        if let Some(upper) = &dir.upper {
            match upper.lookup(name)? {
                UpperEntry::Absent => {}
                UpperEntry::Whiteout => return Ok(MergedEntry::Absent),
                UpperEntry::Node(stat) => return Ok(MergedEntry::Upper(stat)),
            }
        }
        match &dir.lower {
            Some(lower) => Ok(lower.lookup(name)?.map_or(MergedEntry::Absent, MergedEntry::Lower)),
            None => Ok(MergedEntry::Absent),
        }
    }

    /// Returns the upper's directory of `key` if an operation on `name` concerns the upper alone:
    /// no lower has the name, and the table has no directory of that name. The upper's operation
    /// and its errors are then those of the overlay, and the shared lock suffices.
    pub(super) fn upper_only(&self, key: DirKey, name: Name<'_>) -> Result<Option<&UpperRef>> {
        let dir = self.dir(key)?;
        let may_have_lower = dir.lower.as_ref().is_some_and(|lower| !lower.excludes(name));
        if dir.is_removed || may_have_lower || dir.children.contains_key(name.as_str()) {
            return Ok(None);
        }
        Ok(dir.upper.as_ref())
    }

    /// Returns the device number of the merged tree.
    pub(super) fn dev(&self) -> u64 {
        self.root_id.0
    }

    /// Returns the [`Stat`] of the directory itself.
    pub(super) fn stat_dir(&self, key: DirKey) -> Result<Stat> {
        let dir = self.dir(key)?;
        let stat = match (&dir.upper, &dir.lower) {
            (Some(upper), _) => to_errno(upper.stat(Descent::HERE))?,
            (None, Some(lower)) => to_errno(lower.stat(Descent::HERE))?,
            (None, None) => return Err(no_backing_dir()),
        };
        let (dev, ino) = if key == ROOT { self.root_id } else { (stat.dev, stat.ino) };
        let nlink = if dir.is_removed { 0 } else { stat.nlink };
        Ok(Stat { dev, ino, nlink, ..stat })
    }

    /// Returns whether a lower has `name`, which a whiteout must hide once the upper's node is
    /// gone.
    pub(super) fn has_lower(&self, key: DirKey, name: Name<'_>) -> Result<bool> {
        match &self.dir(key)?.lower {
            Some(lower) => Ok(lower.lookup(name)?.is_some()),
            None => Ok(false),
        }
    }

    /// Returns the key of the directory `name`, whose lookup returned `entry`. Enters the directory
    /// into the table and opens it.
    ///
    /// # Errors
    /// - `ENOENT`: `entry` is absent.
    /// - `ENOTDIR` or [`Stop::Link`] at 0: `entry` is not a directory.
    pub(super) fn child(
        &mut self,
        key: DirKey,
        name: Name<'_>,
        entry: &MergedEntry,
    ) -> Result<DirKey, Stop> {
        let child = match self.dir(key)?.children.get(name.as_str()) {
            Some(child) => *child,
            None => self.insert_child(key, name, entry)?,
        };
        self.open(child)?;
        self.queue_idle(child);
        Ok(child)
    }

    /// Looks up the directory `name` and enters it into the table. It may stay closed.
    fn lookup_child(&mut self, key: DirKey, name: Name<'_>) -> Result<DirKey, Stop> {
        if let Some(child) = self.dir(key)?.children.get(name.as_str()) {
            return Ok(*child);
        }
        self.open(key)?;
        let entry = self.lookup(key, name)?;
        self.insert_child(key, name, &entry)
    }

    fn insert_child(
        &mut self,
        key: DirKey,
        name: Name<'_>,
        entry: &MergedEntry,
    ) -> Result<DirKey, Stop> {
        // The directory can have been closed since `entry` was looked up.
        self.open(key)?;
        let (upper, lower) = match entry {
            MergedEntry::Absent => return Err(Errno::Noent.into()),
            MergedEntry::Lower(LowerNode::Dir(dir)) => (None, Some(Arc::clone(dir))),
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                return Err(not_a_dir(part.dir(), name, 0));
            }
            MergedEntry::Upper(stat) => {
                let dir = self.dir(key)?;
                let upper = dir.upper.as_ref().ok_or_else(missing_upper)?;
                if stat.kind != FileType::Dir {
                    return Err(not_a_dir(&**upper, name, 0));
                }
                let entered = upper.enter(name)?;
                let lower = match &dir.lower {
                    Some(lower) if !entered.is_opaque()? => match lower.lookup(name)? {
                        Some(LowerNode::Dir(dir)) => Some(dir),
                        Some(LowerNode::Leaf(_)) | None => None,
                    },
                    Some(_) | None => None,
                };
                (Some(entered), lower)
            }
        };
        let child = self.dirs.insert(DirState::new(key, name.as_str(), upper, lower));
        self.dir_mut(key)?.children.insert(name.as_str().into(), child);
        Ok(child)
    }

    /// Enters the directory at `path` into the table and opens it. Directories on the way that were
    /// closed before are closed again.
    pub(super) fn descend(&mut self, key: DirKey, path: Descent<'_>) -> Result<DirKey, Stop> {
        let (mut at, mut is_new) = (key, false);
        for (depth, name) in path.names().enumerate() {
            let (was_open, known) = (self.dir(at)?.closed.is_none(), self.dirs.len());
            let child = self.lookup_child(at, name).map_err(|stop| stop.shifted_by(depth))?;
            if is_new || !was_open {
                self.close(at);
            }
            (at, is_new) = (child, self.dirs.len() > known);
        }
        self.open(at)?;
        self.queue_idle(at);
        Ok(at)
    }

    /// Returns the upper's directory of `key`, after [`DirTable::ensure_upper`].
    pub(super) fn upper(&self, key: DirKey) -> Result<&UpperRef> {
        self.dir(key)?.upper.as_ref().ok_or_else(missing_upper)
    }

    /// Returns the upper's directory of `key`. Copies up the directory and its ancestors if they
    /// are missing, which changes nothing visible.
    ///
    /// # Errors
    /// - `ENOENT`: the directory is removed.
    /// - Those of [`UpperDir::copy_up`](super::UpperDir::copy_up).
    pub(super) fn ensure_upper(&mut self, key: DirKey) -> Result<UpperRef> {
        match self.dir(key)? {
            DirState { is_removed: true, .. } => return Err(Errno::Noent),
            DirState { upper: Some(upper), .. } => return Ok(Arc::clone(upper)),
            DirState { upper: None, .. } => {}
        }
        let (mut chain, mut at) = (Vec::new(), key);
        loop {
            let dir = self.dir(at)?;
            if dir.is_removed {
                return Err(Errno::Noent);
            }
            if dir.upper.is_some() || dir.closed.is_some_and(|closed| closed.has_upper) {
                break;
            }
            if at == ROOT {
                return Err(missing_upper());
            }
            chain.push(at);
            at = dir.parent;
        }
        let mut was_open = self.dir(at)?.closed.is_none();
        self.open(at)?;
        let mut upper = Arc::clone(self.upper(at)?);
        while let Some(next) = chain.pop() {
            let is_open = self.dir(next)?.closed.is_none();
            self.open(next)?;
            upper = self.copy_up_dir(next, &upper)?;
            if !was_open {
                self.close(at);
            }
            (at, was_open) = (next, is_open);
        }
        Ok(upper)
    }

    fn copy_up_dir(&mut self, key: DirKey, above: &UpperRef) -> Result<UpperRef> {
        let dir = self.dir_mut(key)?;
        let name = Name::new(&dir.name)?;
        let lower = dir.lower.as_ref().ok_or_else(no_backing_dir)?;
        let stat = to_errno(lower.stat(Descent::HERE))?;
        match above.copy_up(&[NewName { dir: &**above, name }], &stat, CopyUp::Dir) {
            // `EEXIST`: an earlier operation copied the directory up and failed right after.
            Ok(_) | Err(Errno::Exist) => {}
            Err(errno) => return Err(errno),
        }
        let made = above.enter(name)?;
        dir.upper = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Returns whether `key` is the directory `above` or a descendant of it.
    pub(super) fn is_within(&self, key: DirKey, above: DirKey) -> Result<bool> {
        let mut at = key;
        loop {
            if at == above {
                return Ok(true);
            }
            let dir = self.dir(at)?;
            if at == ROOT || dir.is_removed {
                return Ok(false);
            }
            at = dir.parent;
        }
    }

    /// Returns whether the directory `key` has no visible entries.
    pub(super) fn is_empty(&self, key: DirKey) -> Result<bool> {
        let dir = self.dir(key)?;
        let mut has_node = false;
        if let Some(upper) = &dir.upper {
            upper.read_dir(crate::Cookie::START, &mut |_| {
                has_node = true;
                std::ops::ControlFlow::Break(())
            })?;
        }
        if has_node {
            return Ok(false);
        }
        let Some(lower) = &dir.lower else { return Ok(true) };
        for entry in lower.list()?.after(0) {
            let upper_entry = match &dir.upper {
                Some(upper) => upper.lookup(entry.name)?,
                None => UpperEntry::Absent,
            };
            if upper_entry != UpperEntry::Whiteout {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the empty directory `name` of the upper opaque, before a rename replaces it. An upper
    /// that removes the whiteouts in it, to make room for the other directory, thereby reveals
    /// nothing. Has no effect if `name` leads to anything else.
    pub(super) fn hide_target_lowers(&mut self, key: DirKey, name: Name<'_>) -> Result<()> {
        let Some(child) = self.dir(key)?.children.get(name.as_str()).copied() else {
            return Ok(());
        };
        self.open(child)?;
        let dir = self.dir_mut(child)?;
        if let (Some(upper), Some(_)) = (&dir.upper, &dir.lower) {
            upper.set_opaque()?;
            dir.lower = None;
        }
        Ok(())
    }

    /// Marks the directory `name` as removed and drops its name.
    pub(super) fn forget(&mut self, key: DirKey, name: Name<'_>) -> Result<()> {
        let Some(child) = self.dir_mut(key)?.children.remove(name.as_str()) else { return Ok(()) };
        self.dir_mut(child)?.is_removed = true;
        self.free_unused(child);
        Ok(())
    }

    /// Updates the table after the directory `moved` was renamed.
    pub(super) fn relocate(&mut self, moved: DirKey, into: DirKey, name: Name<'_>) -> Result<()> {
        let dir = self.dir_mut(moved)?;
        let old_name = std::mem::replace(&mut dir.name, name.as_str().into());
        let old = std::mem::replace(&mut dir.parent, into);
        self.dir_mut(old)?.children.remove(&old_name);
        self.dir_mut(into)?.children.insert(name.as_str().into(), moved);
        Ok(())
    }

    /// Handles the close of the last handle: drops the cookies of listings.
    pub(super) fn release(&mut self, key: DirKey) {
        if let Some(dir) = self.dirs.get_mut(key)
            && dir.handles.is_zero()
        {
            dir.forget_listing();
        }
        self.free_unused(key);
        self.queue_idle(key);
        self.close_idle();
    }

    /// Frees a removed directory without handles.
    pub(super) fn free_unused(&mut self, key: DirKey) {
        let is_unused = |dir: &DirState| dir.is_removed && dir.handles.is_zero();
        if key != ROOT && self.dirs.get(key).is_some_and(is_unused) {
            self.dirs.remove(key);
        }
    }

    /// Evicts idle directories if there are many, and closes all but [`DirTable::idle_max`] of
    /// them. Must be called before an operation: an operation relies on the keys that it has looked
    /// up.
    pub(super) fn evict(&mut self) {
        self.close_idle();
        if self.dirs.len() <= self.evict_at.max(EVICT_MIN) {
            return;
        }
        self.evict_all();
        self.evict_at = self.dirs.len() * 2;
    }

    /// Evicts all directories without a handle that are no ancestors of one with a handle.
    pub(super) fn evict_all(&mut self) {
        let mut idle: Vec<DirKey> = self.dirs.iter().map(|(key, _)| key).collect();
        while let Some(key) = idle.pop() {
            idle.extend(self.forget_idle(key));
        }
    }

    /// Evicts a directory without a handle and without children in the table. Returns its parent,
    /// which may be idle now.
    pub(super) fn forget_idle(&mut self, key: DirKey) -> Option<DirKey> {
        let is_idle = |dir: &DirState| dir.children.is_empty() && dir.handles.is_zero();
        if key == ROOT || !self.dirs.get(key).is_some_and(is_idle) {
            return None;
        }
        let dir = self.dirs.remove(key);
        if dir.is_removed {
            return None;
        }
        self.dirs.get_mut(dir.parent)?.children.remove(&dir.name);
        Some(dir.parent)
    }
}
