//! The nodes that a group knows: those that are open, those that it counts, and directories whose
//! entries it has counted.
//!
//! All others cost nothing. A node is counted from its creation until its last name and its last
//! handle are gone, once, whatever the number of its names. One that was there before is counted
//! with the bytes that it has grown by since it was first seen.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::quality::RandomState;
use palisade_vfs::{FileType, Stat};
use parking_lot::{Mutex, RwLock};

use super::meter::{Group, What};

/// What two names of one node have in common: the filesystem's number and the node's.
pub(super) type Identity = (u64, u64);

/// A node that a group knows.
pub(super) struct Node {
    pub(super) id: Identity,
    /// How long it is. The lock is held while the inner file changes it; shared, while bytes are
    /// written that are there already.
    pub(super) size: RwLock<u64>,
    /// The bytes of it that are free.
    base: u64,
}

impl Node {
    /// How many of `size` bytes are paid for.
    pub(super) fn paid(&self, size: u64) -> u64 {
        size.saturating_sub(self.base)
    }
}

struct Known {
    node: Arc<Node>,
    handles: usize,
    /// Whether it was created in the group, or counted by it.
    is_counted: bool,
    /// Whether its last name is gone.
    is_gone: bool,
    /// The number of a directory's entries, once they have been counted.
    entries: Option<u64>,
}

impl Known {
    fn new(stat: &Stat, base: u64, is_counted: bool) -> Self {
        let id = (stat.dev, stat.ino);
        let node = Arc::new(Node { id, size: RwLock::new(sized(stat)), base });
        Known { node, handles: 0, is_counted, is_gone: false, entries: None }
    }

    /// Gives back what it holds. Nobody has a handle, so nobody holds the size's lock.
    fn settle(&self, group: &Group) {
        group.give(What::Bytes, self.node.paid(*self.node.size.read()));
        group.give(What::Inodes, u64::from(self.is_counted));
    }

    /// Whether anything would be lost if it were forgotten.
    fn matters(&self) -> bool {
        let is_open = self.handles > 0;
        is_open
            || self.is_counted
            || self.entries.is_some()
            || *self.node.size.read() != self.node.base
    }
}

/// The bytes that a node is counted with.
pub(super) fn sized(stat: &Stat) -> u64 {
    match stat.kind {
        FileType::File | FileType::Symlink => stat.size,
        FileType::Dir
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket => 0,
    }
}

/// The nodes of a group.
#[derive(Default)]
pub(super) struct Nodes(Mutex<HashMap<Identity, Known, RandomState>>);

/// A node that is held: it is counted at least as long as this lives.
pub(super) struct Held {
    group: Arc<Group>,
    pub(super) node: Arc<Node>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut nodes = self.group.nodes.0.lock();
        let Entry::Occupied(mut known) = nodes.entry(self.node.id) else { return };
        if !Arc::ptr_eq(&known.get().node, &self.node) {
            return;
        }
        known.get_mut().handles -= 1;
        if known.get().handles > 0 {
            return;
        }
        if known.get().is_gone {
            known.remove().settle(&self.group);
        } else if !known.get().matters() {
            known.remove();
        }
    }
}

impl Group {
    /// Holds a node that there is. To be called while names cannot change.
    pub(super) fn attach(self: &Arc<Self>, stat: &Stat) -> Held {
        let mut nodes = self.nodes.0.lock();
        let known = nodes
            .entry((stat.dev, stat.ino))
            .or_insert_with(|| Known::new(stat, sized(stat), false));
        known.handles += 1;
        Held { group: Arc::clone(self), node: Arc::clone(&known.node) }
    }

    /// Counts a node that was just created, and holds it. An inode, and the bytes of a link, have
    /// been reserved.
    pub(super) fn created(self: &Arc<Self>, stat: &Stat) -> Held {
        let base = match stat.kind {
            FileType::Symlink => 0,
            // Whatever somebody else has put into it already is free.
            _ => sized(stat),
        };
        let fresh = Known { handles: 1, ..Known::new(stat, base, true) };
        let node = Arc::clone(&fresh.node);
        let mut nodes = self.nodes.0.lock();
        if let Some(stale) = nodes.insert(node.id, fresh) {
            // Its number was given again, so it is gone without our having been told.
            stale.settle(self);
        }
        Held { group: Arc::clone(self), node }
    }

    /// Whether the node is counted, or was there for free when it was first seen.
    pub(super) fn knows(&self, stat: &Stat) -> bool {
        self.nodes.0.lock().contains_key(&(stat.dev, stat.ino))
    }

    /// Counts a node that was there. What it takes has been reserved.
    pub(super) fn count(&self, stat: &Stat) {
        let known = Known::new(stat, 0, true);
        self.nodes.0.lock().insert(known.node.id, known);
    }

    /// A name of the node is gone; `stat` is what it was before.
    pub(super) fn lost_name(&self, stat: &Stat) {
        if stat.kind == FileType::Dir || stat.nlink <= 1 {
            self.lost((stat.dev, stat.ino));
        }
    }

    /// The last name of the node is gone.
    pub(super) fn lost(&self, id: Identity) {
        let mut nodes = self.nodes.0.lock();
        let Entry::Occupied(mut known) = nodes.entry(id) else { return };
        if known.get().handles > 0 {
            known.get_mut().is_gone = true;
        } else {
            known.remove().settle(self);
        }
    }

    /// How many entries the directory has, if they have been counted.
    pub(super) fn entries_of(&self, id: Identity) -> Option<u64> {
        self.nodes.0.lock().get(&id).and_then(|known| known.entries)
    }

    /// The directory, which has been counted, has `entries`.
    pub(super) fn set_entries(&self, stat: &Stat, entries: u64) {
        let mut nodes = self.nodes.0.lock();
        let known = nodes
            .entry((stat.dev, stat.ino))
            .or_insert_with(|| Known::new(stat, sized(stat), false));
        known.entries = Some(entries);
    }

    /// Counts an entry more or fewer in a directory, if its entries have been counted.
    pub(super) fn count_entry(&self, id: Identity, more: i64) {
        if let Some(known) = self.nodes.0.lock().get_mut(&id) {
            known.entries = known.entries.map(|entries| entries.saturating_add_signed(more));
        }
    }
}
