//! The tree: directories in a slab, and what their names lead to.
//!
//! One lock is around all of it ([`super::Shared::tree`]); a file's bytes have a lock of their own,
//! which is only ever taken inside. A directory is known by its key; a handle counts itself in
//! `handles`, so that a removed directory stays until its last handle goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slab::Slab;

use super::entries::Entries;
use super::leaf::{Leaf, Times, not_a_dir};
use super::meter::Counted;
use crate::{Descent, Errno, FileType, Name, Result, Stat, Stop, Timestamp, bug};

pub(super) type DirKey = usize;

/// The root's key: the first of the slab, and never freed.
pub(super) const ROOT: DirKey = 0;

/// What a name leads to.
#[derive(Clone)]
pub(super) enum Child {
    Dir(DirKey),
    Leaf(Arc<Leaf>),
}

/// What a layer's directory says of names that it does not have.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) is_opaque: bool,
    /// INVARIANT: none of them is an entry of the directory.
    pub(super) whiteouts: BTreeSet<Box<str>>,
}

pub(super) struct DirData {
    /// As for a leaf.
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) parent: DirKey,
    pub(super) times: Times,
    pub(super) handles: AtomicUsize,
    pub(super) is_removed: bool,
    entries: Entries,
    subdirs: u64,
    /// None for nearly all.
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
            handles: AtomicUsize::new(0),
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

    /// The entries behind `place`.
    pub(super) fn behind(&self, place: u64) -> impl Iterator<Item = (u64, &str, &Child)> {
        self.entries.behind(place)
    }

    pub(super) fn insert(&mut self, name: Name<'_>, child: Child, now: Timestamp) {
        self.insert_quietly(name, child);
        self.times.touch(now);
    }

    /// Inserts what was visible here before, so that no time changes.
    pub(super) fn insert_quietly(&mut self, name: Name<'_>, child: Child) {
        if let Some(marks) = &mut self.marks {
            marks.whiteouts.remove(name.as_str());
        }
        self.subdirs += u64::from(matches!(child, Child::Dir(_)));
        self.entries.insert(name, child);
    }

    /// Says that a name is gone. There must be no entry of that name.
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
            // What Linux's tmpfs says, in bytes: 20 for each entry.
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
    /// A directory that someone holds or that a name leads to. `Io` cannot happen.
    pub(super) fn dir(&self, key: DirKey) -> Result<&DirData> {
        self.dirs.get(key).ok_or_else(|| bug!("the tree has no directory {key}"))
    }

    pub(super) fn dir_mut(&mut self, key: DirKey) -> Result<&mut DirData> {
        self.dirs.get_mut(key).ok_or_else(|| bug!("the tree has no directory {key}"))
    }

    /// The directory that `path` leads to, below `key`.
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

    /// Whether `key` is `above`, or lies below it.
    pub(super) fn is_below(&self, key: DirKey, above: DirKey) -> Result<bool> {
        let mut at = key;
        loop {
            if at == above {
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

    /// Takes a directory that no name leads to any more out of the tree, now or with its last
    /// handle.
    pub(super) fn remove_dir(&mut self, key: DirKey, now: Timestamp) -> Result<()> {
        let dir = self.dir_mut(key)?;
        dir.is_removed = true;
        dir.times.changed = now;
        self.free_unused(key);
        Ok(())
    }

    /// Frees a removed directory without handles.
    pub(super) fn free_unused(&mut self, key: DirKey) {
        let is_unused = |dir: &DirData| dir.is_removed && dir.handles.load(Ordering::Acquire) == 0;
        if self.dirs.get(key).is_some_and(is_unused) {
            self.dirs.remove(key);
        }
    }
}
