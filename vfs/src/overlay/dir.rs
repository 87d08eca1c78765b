//! Implements [`Dir`] for the directories of an overlay.
//!
//! An operation takes the lock of the [`DirTable`] shared where only one part of a directory is
//! concerned, and exclusive otherwise. `open.rs` and `rename.rs` hold the two operations with many
//! cases.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::OverlayState;
use super::dir_table::{DirKey, DirTable, MergedEntry, Resolution};
use super::lowers::{LowerDir, LowerNode, to_errno};
use super::upper::{UpperEntry, UpperRef};
use crate::dir::stop_at_link;
use crate::{
    Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenHow, Result, SetTimes, Stat,
    Stop, bug,
};

/// A handle on a directory of an overlay. It is counted in [`DirState`](super::dir_table::DirState)
/// while it lives.
pub(super) struct OverlayDir {
    pub(super) fs: Arc<OverlayState>,
    pub(super) key: DirKey,
}

impl OverlayDir {
    /// Opens a handle on the directory `key` of `table`, which belongs to `fs`.
    pub(super) fn hold(fs: &Arc<OverlayState>, table: &DirTable, key: DirKey) -> Self {
        match table.dirs.get(key) {
            Some(dir) => dir.handles.open(),
            // Every operation of the handle fails, since the table has no such directory.
            None => bug!((); "a handle on directory {key}, which the overlay does not have"),
        }
        OverlayDir { fs: Arc::clone(fs), key }
    }

    /// Returns `other` as a directory of this overlay.
    ///
    /// # Errors
    /// - `EXDEV`: `other` belongs to another filesystem.
    fn same_overlay<'d>(&self, other: &'d dyn Dir) -> Result<&'d OverlayDir> {
        match (other as &dyn Any).downcast_ref::<OverlayDir>() {
            Some(other) if Arc::ptr_eq(&self.fs, &other.fs) => Ok(other),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// Checks that an entry `name` can be created in the directory `key`.
    ///
    /// # Errors
    /// - `ENOENT`: the directory is removed.
    /// - `EEXIST`: the name exists.
    fn check_vacant(table: &DirTable, key: DirKey, name: Name<'_>) -> Result<()> {
        if table.dir(key)?.is_removed {
            return Err(Errno::Noent);
        }
        match table.lookup(key, name)? {
            MergedEntry::Absent => Ok(()),
            MergedEntry::Upper(_) | MergedEntry::Lower(_) => Err(Errno::Exist),
        }
    }

    /// Calls `make` with the upper's directory and its entry `name`: absent or a whiteout.
    fn create(
        &self,
        name: Name<'_>,
        make: impl FnOnce(&UpperRef, UpperEntry) -> Result<()>,
    ) -> Result<()> {
        let mut table = self.fs.write_table();
        Self::check_vacant(&table, self.key, name)?;
        let upper = table.ensure_upper(self.key)?;
        let entry = upper.lookup(name)?;
        make(&upper, entry)
    }

    /// Calls `stat` on the directory that has the node at `path`. For a symlink of the upper the
    /// result may be the [`Stat`] of the link itself.
    #[inline]
    fn stat_with(
        &self,
        path: Descent<'_>,
        stat: impl Fn(&dyn Dir, Descent<'_>) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        // perf: store forwarding: at depth 0 the result is returned in place.
        let stat_below = |dir: &dyn Dir, rest, consumed| match consumed {
            0 => stat(dir, rest),
            consumed => stat(dir, rest).map_err(|stop| stop.shifted_by(consumed)),
        };
        {
            let table = self.fs.table.read();
            match table.resolve(self.key, path)? {
                // The path ends at a directory of the table.
                Resolution::Here(key) => return Ok(table.stat_dir(key)?),
                Resolution::Upper { dir, rest, consumed } => {
                    return stat_below(&**dir, rest, consumed);
                }
                Resolution::Lower { dir, rest, consumed } => {
                    return stat_below(&**dir, rest, consumed);
                }
                // A directory on the path must be opened first, under the exclusive lock.
                Resolution::Closed => {}
                // The upper and the lowers have the parent: the upper takes precedence.
                Resolution::Merged { parts, name, rest, consumed } => {
                    match parts.upper.lookup(name)? {
                        UpperEntry::Absent if parts.lower.excludes(name) => {
                            return Err(Errno::Noent.into());
                        }
                        UpperEntry::Absent => return stat_below(&**parts.lower, rest, consumed),
                        UpperEntry::Whiteout => return Err(Errno::Noent.into()),
                        UpperEntry::Node(node) if node.kind == FileType::Symlink => {
                            return stat_below(&**parts.upper, rest, consumed);
                        }
                        UpperEntry::Node(node) if rest.as_name().is_some() => return Ok(node),
                        // The directory may be merged with one of the lowers.
                        UpperEntry::Node(node) if node.kind == FileType::Dir => {}
                        UpperEntry::Node(_) => return stat_below(&**parts.upper, rest, consumed),
                    }
                }
            }
        }
        self.stat_exclusive(path, stat)
    }

    /// Stats `path` after its parent directories have been entered into the table.
    fn stat_exclusive(
        &self,
        path: Descent<'_>,
        stat: impl Fn(&dyn Dir, Descent<'_>) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        let mut table = self.fs.write_table();
        let (parent, name) = path.split_last().ok_or_else(|| bug!("`resolve` left no name"))?;
        let key = table.descend(self.key, parent)?;
        match table.lookup(key, name)? {
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                stat(part.dir(), name.into()).map_err(|stop| stop.shifted_by(path.depth() - 1))
            }
            entry @ (MergedEntry::Absent
            | MergedEntry::Upper(_)
            | MergedEntry::Lower(LowerNode::Dir(_))) => {
                Ok(entry.stat(name)?.ok_or(Errno::Noent)?)
            }
        }
    }
}

impl OverlayState {
    /// Takes the exclusive lock of the directory table, and evicts idle directories from it.
    pub(super) fn write_table(&self) -> parking_lot::RwLockWriteGuard<'_, DirTable> {
        let mut table = self.table.write();
        table.evict();
        table
    }

    /// Removes the name of a file or symlink in one step of the upper. `lower` is its lower, if the
    /// upper has no copy.
    fn remove_leaf(
        &self,
        table: &mut DirTable,
        key: DirKey,
        name: Name<'_>,
        lower: Option<&LowerDir>,
    ) -> Result<()> {
        let hidden = match lower {
            Some(part) => self.detach_before_hiding(table, (key, name), part)?,
            None => None,
        };
        table.ensure_upper(key)?;
        if table.has_lower(key, name)? {
            table.upper(key)?.create_whiteout(name)?;
        } else {
            table.upper(key)?.remove_file(name)?;
        }
        if let Some(id) = hidden {
            self.lower_files.hide(id);
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for OverlayDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        // A single name that the open may create is looked up under the exclusive lock right away.
        if how.creates()
            && let Some(name) = path.as_name()
        {
            if let Some(upper) = self.fs.table.read().upper_only(self.key, name)? {
                return upper.open(path, how);
            }
            return self.open_exclusive(path, how);
        }
        match self.open_shared(path, how)? {
            Some(node) => Ok(node),
            None => self.open_exclusive(path, how),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat_with(path, |dir, path| dir.stat(path))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.stat_with(path, |dir, path| dir.stat_following(path)) {
            // `UpperDir::lookup` does not follow links.
            Ok(stat) if stat.kind == FileType::Symlink => stop_at_link(self, path, stat),
            result => result,
        }
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let table = self.fs.table.read();
        match table.lookup(self.key, name)? {
            MergedEntry::Absent => Err(Errno::Noent),
            MergedEntry::Upper(_) => table.upper(self.key)?.read_link(name),
            MergedEntry::Lower(LowerNode::Dir(_)) => Err(Errno::Inval),
            MergedEntry::Lower(LowerNode::Leaf(part)) => part.dir().read_link(name),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.table.read().upper_only(self.key, name)? {
            return upper.create_dir(name);
        }
        self.create(name, |upper, entry| match entry {
            UpperEntry::Whiteout => upper.create_opaque_dir(name),
            UpperEntry::Absent | UpperEntry::Node(_) => upper.create_dir(name),
        })
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.create(name, |upper, _| upper.create_symlink(name, target))
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.table.read().upper_only(self.key, name)? {
            return upper.remove_file(name);
        }
        let mut table = self.fs.write_table();
        match table.lookup(self.key, name)? {
            MergedEntry::Absent => Err(Errno::Noent),
            MergedEntry::Lower(LowerNode::Dir(_)) => Err(Errno::Isdir),
            MergedEntry::Upper(stat) if stat.kind == FileType::Dir => Err(Errno::Isdir),
            MergedEntry::Upper(_) => self.fs.remove_leaf(&mut table, self.key, name, None),
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                self.fs.remove_leaf(&mut table, self.key, name, Some(&part))
            }
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.table.read().upper_only(self.key, name)? {
            return upper.remove_dir(name);
        }
        let mut table = self.fs.write_table();
        let entry = table.lookup(self.key, name)?;
        if matches!(entry, MergedEntry::Absent) {
            return Err(Errno::Noent);
        }
        if !entry.is_dir() {
            return Err(Errno::Notdir);
        }
        if table.has_lower(self.key, name)? {
            let child = to_errno(table.child(self.key, name, &entry))?;
            if !table.is_empty(child)? {
                return Err(Errno::Notempty);
            }
            table.ensure_upper(self.key)?.create_whiteout(name)?;
        } else {
            // Only the upper has the directory, so the upper checks that it is empty.
            table.ensure_upper(self.key)?.remove_dir(name)?;
        }
        table.forget(self.key, name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_overlay(into)?.key;
        self.fs.rename((self.key, name), (into, new_name))
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_overlay(into)?.key;
        let mut table = self.fs.write_table();
        let entry = table.lookup(self.key, name)?;
        let stat = entry.stat(name)?.ok_or(Errno::Noent)?;
        Self::check_vacant(&table, into, new_name)?;
        if stat.kind == FileType::Dir {
            return Err(Errno::Perm);
        }
        self.fs.copy_up(&mut table, (self.key, name), &entry)?;
        let upper = table.ensure_upper(self.key)?;
        let into = table.ensure_upper(into)?;
        upper.link(name, &*into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let mut table = self.fs.write_table();
        let Some((parent, name)) = path.split_last() else {
            if table.dir(self.key)?.is_removed {
                return match &table.dir(self.key)?.upper {
                    Some(upper) => upper.set_times(path, times),
                    None => Ok(()),
                };
            }
            return table.ensure_upper(self.key)?.set_times(path, times);
        };
        let key = table.descend(self.key, parent)?;
        let entry = table.lookup(key, name)?;
        if let MergedEntry::Lower(LowerNode::Leaf(part)) = &entry
            && let Err(stop) = part.dir().stat(name.into())
        {
            return Err(stop.shifted_by(path.depth() - 1));
        }
        self.fs.copy_up(&mut table, (key, name), &entry)?;
        let upper = table.ensure_upper(key)?;
        upper.set_times(name.into(), times)
    }

    fn sync(&self) -> Result<()> {
        let upper = self.fs.table.read().dir(self.key)?.upper.clone();
        upper.map_or(Ok(()), |upper| upper.sync())
    }

    fn may_block(&self) -> bool {
        self.fs.may_block()
    }

    fn epoch(&self) -> u64 {
        0
    }
}

impl Drop for OverlayDir {
    fn drop(&mut self) {
        let is_last = {
            let table = self.fs.table.read();
            match table.dirs.get(self.key) {
                Some(dir) => dir.handles.close(),
                None => bug!(false; "a handle outlived its directory {}", self.key),
            }
        };
        if is_last {
            self.fs.table.write().release(self.key);
        }
    }
}
