//! The directory tree: a slab of directories and their children.
//!
//! One lock guards all of it ([`super::FsState::tree`]); a leaf has a lock of its own, which is
//! taken only inside. A directory is referred to by its slab key. Handles are counted in `handles`,
//! so a removed directory stays in the slab until its last handle is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use slab::Slab;

use super::entries::Entries;
use super::leaf::{Leaf, Times, not_a_dir};
use super::meter::Counted;
use crate::handle_count::HandleCount;
use crate::{Descent, Errno, FileType, Name, Result, Stat, Stop, Timestamp, bug};

pub(super) type DirKey = usize;

/// The key of the root: the first of the slab, never freed.
pub(super) const ROOT: DirKey = 0;

/// The node at a name.
#[derive(Clone)]
pub(super) enum Child {
    Dir(DirKey),
    Leaf(Arc<Leaf>),
}

/// The overlay marks of a directory, for names without an entry.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) is_opaque: bool,
    /// INVARIANT: disjoint from the entries of the directory.
    pub(super) whiteouts: BTreeSet<Box<str>>,
}

pub(super) struct DirData {
    /// As for [`Leaf`].
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) parent: DirKey,
    pub(super) times: Times,
    pub(super) handles: HandleCount,
    pub(super) is_removed: bool,
    entries: Entries,
    subdirs: u64,
    /// `None` except for directories of an overlay's upper with marks.
    pub(super) marks: Option<Box<Marks>>,
    _counted: Counted,
}

impl DirData {
    pub(super) fn new(
        (dev, ino): (u64, u64),
        parent: DirKey,
        now: Timestamp,
        counted: Counted,
    ) -> Self {
        DirData {
            dev,
            ino,
            parent,
            times: Times::all(now),
            handles: HandleCount::default(),
            is_removed: false,
            entries: Entries::default(),
            subdirs: 0,
            marks: None,
            _counted: counted,
        }
    }

    #[inline]
    pub(super) fn get(&self, name: Name<'_>) -> Option<&Child> {
        self.entries.get(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the entries after `position`.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, &str, &Child)> {
        self.entries.after(position)
    }

    pub(super) fn insert(&mut self, name: Name<'_>, child: Child, now: Timestamp) {
        self.insert_quietly(name, child);
        self.times.touch(now);
    }

    /// Inserts an entry without a change of times, for a node that was visible here through an
    /// overlay.
    pub(super) fn insert_quietly(&mut self, name: Name<'_>, child: Child) {
        if let Some(marks) = &mut self.marks {
            marks.whiteouts.remove(name.as_str());
        }
        self.subdirs += u64::from(matches!(child, Child::Dir(_)));
        self.entries.insert(name, child);
    }

    /// Adds a whiteout for a name, which must have no entry.
    pub(super) fn create_whiteout(&mut self, name: Name<'_>, now: Timestamp) {
        self.marks.get_or_insert_default().whiteouts.insert(name.as_str().into());
        self.times.touch(now);
    }

    pub(super) fn remove(&mut self, name: Name<'_>, now: Timestamp) -> Option<Child> {
        let child = self.entries.remove(name)?;
        self.subdirs -= u64::from(matches!(child, Child::Dir(_)));
        self.times.touch(now);
        Some(child)
    }

    pub(super) fn stat(&self) -> Stat {
        Stat {
            kind: FileType::Dir,
            dev: self.dev,
            ino: self.ino,
            nlink: if self.is_removed { 0 } else { 2 + self.subdirs },
            // The size that Linux's tmpfs reports: 20 bytes per entry.
            size: 40 + 20 * self.entries.len() as u64,
            accessed: self.times.accessed,
            modified: self.times.modified,
            changed: self.times.changed,
        }
    }
}

#[derive(Default)]
pub(super) struct Tree {
    pub(super) dirs: Slab<DirData>,
}

impl Tree {
    /// Returns the directory of a key that a handle or an entry refers to.
    pub(super) fn dir(&self, key: DirKey) -> Result<&DirData> {
        self.dirs.get(key).ok_or_else(|| bug!("the tree has no directory {key}"))
    }

    pub(super) fn dir_mut(&mut self, key: DirKey) -> Result<&mut DirData> {
        self.dirs.get_mut(key).ok_or_else(|| bug!("the tree has no directory {key}"))
    }

    /// Returns the directory at `path`, relative to `key`.
    #[inline]
    pub(super) fn descend(&self, key: DirKey, path: Descent<'_>) -> Result<DirKey, Stop> {
        let mut at = key;
        for (depth, name) in path.names().enumerate() {
            at = match self.dir(at)?.get(name) {
                None => return Err(Errno::Noent.into()),
                Some(Child::Dir(key)) => *key,
                Some(Child::Leaf(leaf)) => return Err(not_a_dir(leaf, depth)),
            };
        }
        Ok(at)
    }

    /// Returns whether `key` is `ancestor` or a descendant of it.
    pub(super) fn is_at_or_under(&self, key: DirKey, ancestor: DirKey) -> Result<bool> {
        let mut at = key;
        loop {
            if at == ancestor {
                return Ok(true);
            }
            if at == ROOT {
                return Ok(false);
            }
            let dir = self.dir(at)?;
            if dir.is_removed {
                return Ok(false);
            }
            at = dir.parent;
        }
    }

    /// Marks a directory without a name as removed, and frees it now or with its last handle.
    pub(super) fn remove_dir(&mut self, key: DirKey, now: Timestamp) -> Result<()> {
        let dir = self.dir_mut(key)?;
        dir.is_removed = true;
        dir.times.changed = now;
        self.free_unused(key);
        Ok(())
    }

    /// Frees a removed directory if it has no handles.
    pub(super) fn free_unused(&mut self, key: DirKey) {
        let is_unused = |dir: &DirData| dir.is_removed && dir.handles.is_zero();
        if self.dirs.get(key).is_some_and(is_unused) {
            self.dirs.remove(key);
        }
    }
}
