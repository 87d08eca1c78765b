//! The tree: directories in a slab, and what their names lead to.
//!
//! One lock is around all of it ([`super::Shared::tree`]); a file's bytes have a lock of their own,
//! which is only ever taken inside. A directory is known by its key; a handle counts itself in
//! `handles`, so that a removed directory stays until its last handle goes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use slab::Slab;

use super::bytes::Bytes;
use super::meter::Counted;
use crate::{Descent, Errno, FileType, Name, Result, SetTime, SetTimes, Stat, Stop, Timestamp};

pub(super) type DirKey = usize;

/// Holes in a directory's order that are not worth closing.
const HOLES_MIN: usize = 32;

/// The root's key: the first of the slab, and never freed.
pub(super) const ROOT: DirKey = 0;

/// The times of a node. Reading does not change the time of access: a guest's read must not be a
/// write.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) accessed: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) changed: Timestamp,
}

impl Times {
    pub(super) fn all(now: Timestamp) -> Self {
        Times { accessed: now, modified: now, changed: now }
    }

    /// The content changed.
    pub(super) fn touch(&mut self, now: Timestamp) {
        (self.modified, self.changed) = (now, now);
    }

    pub(super) fn set(&mut self, times: SetTimes, now: Timestamp) {
        let set = |time: &mut Timestamp, how| match how {
            SetTime::Keep => {}
            SetTime::Now => *time = now,
            SetTime::At(at) => *time = at,
        };
        set(&mut self.accessed, times.accessed);
        set(&mut self.modified, times.modified);
        self.changed = now;
    }
}

/// What a leaf is.
pub(super) enum Body {
    File,
    Link(Box<str>),
    /// `/dev/null`.
    Null,
}

/// A node that is no directory.
pub(super) struct Leaf {
    /// Another filesystem's, and its number there, for a node that stands for one of a lower.
    pub(super) dev: u64,
    pub(super) ino: u64,
    pub(super) body: Body,
    pub(super) nlink: AtomicU64,
    pub(super) state: RwLock<LeafState>,
    pub(super) _counted: Counted,
}

pub(super) struct LeafState {
    pub(super) bytes: Bytes,
    pub(super) times: Times,
}

impl Leaf {
    pub(super) fn kind(&self) -> FileType {
        match self.body {
            Body::File => FileType::File,
            Body::Link(_) => FileType::Symlink,
            Body::Null => FileType::CharDevice,
        }
    }

    pub(super) fn stat(&self) -> Stat {
        let state = self.state.read();
        let size = match &self.body {
            Body::File => state.bytes.len(),
            Body::Link(target) => target.len() as u64,
            Body::Null => 0,
        };
        Stat {
            kind: self.kind(),
            dev: self.dev,
            ino: self.ino,
            nlink: self.nlink.load(Ordering::Relaxed),
            size,
            accessed: state.times.accessed,
            modified: state.times.modified,
            changed: state.times.changed,
        }
    }

    /// One name more or fewer.
    pub(super) fn count_name(&self, more: i64, now: Timestamp) {
        // Only under the tree's lock, so that no count is lost.
        let nlink = self.nlink.load(Ordering::Relaxed).saturating_add_signed(more);
        self.nlink.store(nlink, Ordering::Relaxed);
        self.state.write().times.changed = now;
    }
}

/// What a name leads to.
#[derive(Clone)]
pub(super) enum Child {
    Dir(DirKey),
    Leaf(Arc<Leaf>),
}

pub(super) struct Slot {
    /// The place in the directory's stream, which is its cookie.
    pub(super) place: u64,
    pub(super) child: Child,
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
    entries: HashMap<Arc<str>, Slot, RandomState>,
    /// The entries in the order of their places, with holes where some have gone. A place is never
    /// given twice, so a cookie stays good whatever comes and goes.
    order: Vec<(u64, Option<Arc<str>>)>,
    holes: usize,
    place_next: u64,
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
            entries: HashMap::default(),
            order: Vec::new(),
            holes: 0,
            place_next: 1,
            subdirs: 0,
            marks: None,
            _counted: counted,
        }
    }

    pub(super) fn get(&self, name: Name<'_>) -> Option<&Child> {
        self.entries.get(name.as_str()).map(|slot| &slot.child)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries behind `place`.
    pub(super) fn behind(&self, place: u64) -> impl Iterator<Item = (u64, &Arc<str>, &Child)> {
        let start = self.order.partition_point(|(at, _)| *at <= place);
        self.order.iter().skip(start).filter_map(|(place, name)| {
            let name = name.as_ref()?;
            self.entries.get(name).map(|slot| (*place, name, &slot.child))
        })
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
        let name: Arc<str> = name.as_str().into();
        let place = self.place_next;
        self.place_next += 1;
        self.subdirs += u64::from(matches!(child, Child::Dir(_)));
        self.order.push((place, Some(Arc::clone(&name))));
        self.entries.insert(name, Slot { place, child });
    }

    /// Says that a name is gone. There must be no entry of that name.
    pub(super) fn white_out(&mut self, name: Name<'_>, now: Timestamp) {
        self.marks.get_or_insert_default().whiteouts.insert(name.as_str().into());
        self.times.touch(now);
    }

    pub(super) fn remove(&mut self, name: Name<'_>, now: Timestamp) -> Option<Child> {
        let slot = self.entries.remove(name.as_str())?;
        self.leave_hole(slot.place);
        self.subdirs -= u64::from(matches!(slot.child, Child::Dir(_)));
        self.times.touch(now);
        Some(slot.child)
    }

    /// Takes a place out of the order. Holes never outnumber the entries for long.
    fn leave_hole(&mut self, place: u64) {
        let Ok(at) = self.order.binary_search_by_key(&place, |(at, _)| *at) else { return };
        if let Some((_, name)) = self.order.get_mut(at) {
            *name = None;
            self.holes += 1;
        }
        while self.order.pop_if(|(_, name)| name.is_none()).is_some() {
            self.holes -= 1;
        }
        if self.holes > HOLES_MIN && self.holes > self.order.len() / 2 {
            self.order.retain(|(_, name)| name.is_some());
            self.holes = 0;
        }
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
        self.dirs.get(key).ok_or(Errno::Io)
    }

    pub(super) fn dir_mut(&mut self, key: DirKey) -> Result<&mut DirData> {
        self.dirs.get_mut(key).ok_or(Errno::Io)
    }

    /// The directory that `path` leads to, below `key`.
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

/// Why a descent ends at a leaf after `depth` names.
pub(super) fn not_a_dir(leaf: &Leaf, depth: usize) -> Stop {
    match &leaf.body {
        Body::Link(target) => Stop::Link { at: depth, target: target.clone() },
        Body::File | Body::Null => Errno::Notdir.into(),
    }
}
