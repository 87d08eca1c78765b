//! The `Dir` of the memory filesystem. Each operation takes the tree lock once.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::FsState;
use super::file::MemFile;
use super::leaf::{Leaf, LeafContent, not_a_dir};
use super::meter::Counted;
use super::tree::{Child, DirData, DirKey, Tree};
use crate::{
    Cookie, Descent, Dir, Entry, Errno, FileRef, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop, bug,
};

/// The number of entries that a listing copies per acquisition of the tree lock.
const BATCH: usize = 256;

/// The effect of a rename on the old name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Nothing,
    Whiteout,
}

/// A held directory. Counts as one of the directory's handles until it is dropped.
pub(super) struct MemDir {
    pub(super) fs: Arc<FsState>,
    pub(super) key: DirKey,
}

impl MemDir {
    /// Holds the directory `key` of `tree`, the tree of `fs`.
    pub(super) fn hold(fs: &Arc<FsState>, tree: &Tree, key: DirKey) -> Self {
        if let Some(dir) = tree.dirs.get(key) {
            dir.handles.open();
        }
        MemDir { fs: Arc::clone(fs), key }
    }

    pub(super) fn create_leaf(&self, name: Name<'_>, content: LeafContent) -> Result<Arc<Leaf>> {
        let mut tree = self.fs.write_tree()?;
        let dir = tree.dir_mut(self.key)?;
        check_vacant(dir, name)?;
        self.create_leaf_in(dir, name, content)
    }

    /// Creates a leaf with one name, which must be vacant.
    fn create_leaf_in(
        &self,
        dir: &mut DirData,
        name: Name<'_>,
        content: LeafContent,
    ) -> Result<Arc<Leaf>> {
        let now = self.fs.now();
        let leaf = self.fs.fresh_leaf(content, now)?;
        dir.insert(name, Child::Leaf(Arc::clone(&leaf)), now);
        Ok(leaf)
    }

    #[inline]
    fn open_dir(&self, tree: &Tree, key: DirKey, how: OpenHow) -> Result<Node> {
        if how.refuses_dir() {
            return Err(Errno::Isdir);
        }
        Ok(Node::Dir(Arc::new(MemDir::hold(&self.fs, tree, key))))
    }

    #[inline(always)]
    pub(super) fn open_leaf_as(&self, leaf: &Arc<Leaf>, how: OpenHow) -> Result<FileRef> {
        if how.wants_dir() {
            return Err(Errno::Notdir);
        }
        let changes = how.access.writes() || how.flags.contains(OpenFlags::TRUNCATE);
        if changes && self.fs.env.is_frozen() && !matches!(leaf.content, LeafContent::Null) {
            return Err(Errno::Rofs);
        }
        if how.flags.contains(OpenFlags::TRUNCATE) && matches!(leaf.content, LeafContent::File) {
            self.empty(leaf)?;
        }
        let (env, leaf) = (Arc::clone(&self.fs.env), Arc::clone(leaf));
        Ok(Arc::new(MemFile::new(env, leaf, how.access)))
    }

    fn empty(&self, leaf: &Leaf) -> Result<()> {
        let now = self.fs.now();
        let mut state = leaf.write();
        state.bytes.set_len(0)?;
        state.times.touch(now);
        Ok(())
    }

    /// Opens an existing node. `None` if the node is missing and `how` creates it.
    #[inline(always)]
    fn open_existing(
        &self,
        tree: &Tree,
        path: Descent<'_>,
        how: OpenHow,
    ) -> Result<Option<Node>, Stop> {
        let Some((parent, name)) = path.split_last() else {
            return Ok(Some(self.open_dir(tree, self.key, how)?));
        };
        let parent_key = tree.descend(self.key, parent)?;
        match tree.dir(parent_key)?.get(name) {
            None if how.creates() => Ok(None),
            None => Err(Errno::Noent.into()),
            Some(_) if how.is_exclusive() => Err(Errno::Exist.into()),
            Some(Child::Dir(key)) => Ok(Some(self.open_dir(tree, *key, how)?)),
            Some(Child::Leaf(leaf)) => match leaf.content {
                LeafContent::Link(_) => Err(not_a_dir(leaf, path.depth() - 1)),
                LeafContent::File | LeafContent::Null => {
                    Ok(Some(Node::File(self.open_leaf_as(leaf, how)?)))
                }
            },
        }
    }

    /// Opens an existing node, or creates a file.
    fn open_or_create(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let mut tree = self.fs.write_tree()?;
        // Another thread may have created it since the read lock was released.
        if let Some(node) = self.open_existing(&tree, path, how)? {
            return Ok(node);
        }
        let (parent, name) = path.split_last().ok_or(Errno::Isdir)?;
        let key = tree.descend(self.key, parent)?;
        let dir = tree.dir_mut(key)?;
        if dir.is_removed {
            return Err(Errno::Noent.into());
        }
        let leaf = self.create_leaf_in(dir, name, LeafContent::File)?;
        let env = Arc::clone(&self.fs.env);
        Ok(Node::File(Arc::new(MemFile::new(env, leaf, how.access))))
    }

    /// Returns the metadata of the node at `path`: of a leaf, the result of `leaf`.
    #[inline]
    fn stat_with(
        &self,
        path: Descent<'_>,
        leaf: impl FnOnce(&Leaf) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        let tree = self.fs.tree.read();
        let Some((parent, name)) = path.split_last() else {
            return Ok(tree.dir(self.key)?.stat());
        };
        let parent = tree.descend(self.key, parent)?;
        match tree.dir(parent)?.get(name) {
            None => Err(Errno::Noent.into()),
            Some(Child::Dir(key)) => Ok(tree.dir(*key)?.stat()),
            Some(Child::Leaf(child)) => leaf(child),
        }
    }

    /// Returns `other` as a directory of this filesystem.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: `other` is of another filesystem.
    pub(super) fn same_fs<'d>(&self, other: &'d dyn Dir) -> Result<&'d MemDir> {
        match (other as &dyn Any).downcast_ref::<MemDir>() {
            Some(other) if Arc::ptr_eq(&self.fs, &other.fs) => Ok(other),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// Checks a rename in the order of the errors of [`Dir::rename`]. Returns the moved node and
    /// the replaced node, or `None` if both names lead to the same node.
    fn check_rename(
        tree: &Tree,
        (from, name): (DirKey, Name<'_>),
        (into, new_name): (DirKey, Name<'_>),
    ) -> Result<Option<(Child, Option<Child>)>> {
        let moved = tree.dir(from)?.get(name).ok_or(Errno::Noent)?;
        if tree.dir(into)?.is_removed {
            return Err(Errno::Noent);
        }
        let target = tree.dir(into)?.get(new_name);
        if let Child::Dir(key) = moved
            && tree.is_at_or_under(into, *key)?
        {
            return Err(Errno::Inval);
        }
        if let Some(Child::Dir(key)) = target
            && tree.is_at_or_under(from, *key)?
        {
            return Err(Errno::Notempty);
        }
        match (moved, target) {
            (_, None) => {}
            (Child::Dir(one), Some(Child::Dir(other))) if one == other => return Ok(None),
            (Child::Leaf(one), Some(Child::Leaf(other))) if Arc::ptr_eq(one, other) => {
                return Ok(None);
            }
            (Child::Dir(_), Some(Child::Leaf(_))) => return Err(Errno::Notdir),
            (Child::Leaf(_), Some(Child::Dir(_))) => return Err(Errno::Isdir),
            (Child::Dir(_), Some(Child::Dir(key))) if !tree.dir(*key)?.is_empty() => {
                return Err(Errno::Notempty);
            }
            (Child::Dir(_), Some(Child::Dir(_))) | (Child::Leaf(_), Some(Child::Leaf(_))) => {}
        }
        Ok(Some((moved.clone(), target.cloned())))
    }

    /// Renames a node and leaves `leave` at the old name.
    pub(super) fn rename_leaving(
        &self,
        leave: Leave,
        name: Name<'_>,
        into: &MemDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        let into = into.key;
        let mut tree = self.fs.write_tree()?;
        let checked = MemDir::check_rename(&tree, (self.key, name), (into, new_name))?;
        let Some((moved, target)) = checked else { return Ok(()) };
        let now = self.fs.now();
        if target.is_some() {
            tree.dir_mut(into)?.remove(new_name, now);
        }
        match &target {
            None => {}
            Some(Child::Leaf(leaf)) => leaf.adjust_nlink(-1, now),
            Some(Child::Dir(key)) => tree.remove_dir(*key, now)?,
        }
        tree.dir_mut(self.key)?.remove(name, now);
        match &moved {
            Child::Leaf(leaf) => leaf.adjust_nlink(0, now),
            Child::Dir(key) => {
                let dir = tree.dir_mut(*key)?;
                dir.parent = into;
                dir.times.changed = now;
            }
        }
        tree.dir_mut(into)?.insert(new_name, moved, now);
        if leave == Leave::Whiteout {
            tree.dir_mut(self.key)?.create_whiteout(name, now);
        }
        drop(tree);
        drop(target);
        Ok(())
    }
}

/// Checks that a name can be created.
///
/// # Errors
///
/// - `ENOENT`: the directory is removed.
/// - `EEXIST`: the name exists.
pub(super) fn check_vacant(dir: &DirData, name: Name<'_>) -> Result<()> {
    if dir.is_removed {
        return Err(Errno::Noent);
    }
    if dir.get(name).is_some() {
        return Err(Errno::Exist);
    }
    Ok(())
}

impl Dir for MemDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        // An exclusive create needs no lookup under the read lock first.
        if how.is_exclusive() {
            return self.open_or_create(path, how);
        }
        if let Some(node) = self.open_existing(&self.fs.tree.read(), path, how)? {
            return Ok(node);
        }
        self.open_or_create(path, how)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat_with(path, |leaf| Ok(leaf.stat()))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat_with(path, |leaf| match leaf.content {
            LeafContent::Link(_) => Err(not_a_dir(leaf, path.depth() - 1)),
            LeafContent::File | LeafContent::Null => Ok(leaf.stat()),
        })
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let tree = self.fs.tree.read();
        match tree.dir(self.key)?.get(name).ok_or(Errno::Noent)? {
            Child::Dir(_) => Err(Errno::Inval),
            Child::Leaf(leaf) => match &leaf.content {
                LeafContent::Link(target) => Ok(target.clone()),
                LeafContent::File | LeafContent::Null => Err(Errno::Inval),
            },
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut from = from.0;
        let mut batch: Vec<(u64, usize, FileType, u64)> = Vec::new();
        let mut names = String::new();
        loop {
            names.clear();
            {
                let tree = self.fs.tree.read();
                for (position, name, child) in tree.dir(self.key)?.after(from).take(BATCH) {
                    let (kind, ino) = match child {
                        Child::Dir(key) => (FileType::Dir, tree.dir(*key)?.ino),
                        Child::Leaf(leaf) => (leaf.kind(), leaf.ino),
                    };
                    names.push_str(name);
                    batch.push((position, name.len(), kind, ino));
                }
            }
            let Some((last, ..)) = batch.last() else { return Ok(()) };
            from = *last;
            let mut rest = names.as_str();
            for (position, len, kind, ino) in batch.drain(..) {
                let split = rest.split_at_checked(len);
                let (name, after) =
                    split.unwrap_or_else(|| bug!(("", ""); "a batch of names is too short"));
                rest = after;
                let (name, next) = (Name::new(name)?, Cookie(position));
                if each(Entry { name, kind, ino, next }).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        let mut tree = self.fs.write_tree()?;
        check_vacant(tree.dir(self.key)?, name)?;
        let counted = Counted::new(&self.fs.env.meter)?;
        let now = self.fs.now();
        let id = self.fs.fresh_id();
        let dir = DirData::new(id, self.key, now, counted);
        let key = tree.dirs.insert(dir);
        tree.dir_mut(self.key)?.insert(name, Child::Dir(key), now);
        Ok(())
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.create_leaf(name, LeafContent::Link(target.into())).map(drop)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let now = self.fs.now();
        let mut tree = self.fs.write_tree()?;
        let dir = tree.dir_mut(self.key)?;
        match dir.get(name).ok_or(Errno::Noent)? {
            Child::Dir(_) => return Err(Errno::Isdir),
            Child::Leaf(leaf) => leaf.adjust_nlink(-1, now),
        }
        let removed = dir.remove(name, now);
        // Free a large file after the tree lock is released.
        drop(tree);
        drop(removed);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let mut tree = self.fs.write_tree()?;
        let key = match tree.dir(self.key)?.get(name).ok_or(Errno::Noent)? {
            Child::Leaf(_) => return Err(Errno::Notdir),
            Child::Dir(key) => *key,
        };
        if !tree.dir(key)?.is_empty() {
            return Err(Errno::Notempty);
        }
        let now = self.fs.now();
        tree.dir_mut(self.key)?.remove(name, now);
        tree.remove_dir(key, now)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.rename_leaving(Leave::Nothing, name, self.same_fs(into)?, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_fs(into)?.key;
        let mut tree = self.fs.write_tree()?;
        let child = tree.dir(self.key)?.get(name).ok_or(Errno::Noent)?.clone();
        check_vacant(tree.dir(into)?, new_name)?;
        let Child::Leaf(leaf) = &child else { return Err(Errno::Perm) };
        let now = self.fs.now();
        leaf.adjust_nlink(1, now);
        tree.dir_mut(into)?.insert(new_name, child, now);
        Ok(())
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let now = self.fs.now();
        let mut tree = self.fs.write_tree()?;
        let child = match path.split_last() {
            None => Child::Dir(self.key),
            Some((parent, name)) => {
                let parent = tree.descend(self.key, parent)?;
                tree.dir(parent)?.get(name).ok_or(Errno::Noent)?.clone()
            }
        };
        match child {
            Child::Dir(key) => tree.dir_mut(key)?.times.set(times, now),
            Child::Leaf(leaf) => leaf.write().times.set(times, now),
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl Drop for MemDir {
    fn drop(&mut self) {
        let is_last_of_removed = {
            let tree = self.fs.tree.read();
            tree.dirs.get(self.key).is_some_and(|dir| dir.handles.close() && dir.is_removed)
        };
        if is_last_of_removed {
            self.fs.tree.write().free_unused(self.key);
        }
    }
}
