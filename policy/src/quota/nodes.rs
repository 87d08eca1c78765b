//! The tracked nodes of a group: open nodes, counted nodes, and directories with counted entries.
//!
//! All other nodes take no memory. A node is counted once, from its creation until its last name
//! and its last handle are gone, regardless of its number of names. An existing node counts for
//! the bytes by which it has grown since it was first observed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::quality::RandomState;
use palisade_vfs::{FileType, Stat};
use parking_lot::{Mutex, RwLock};

use super::meter::{Counter, Group};

/// The identity of a node: device and inode number. All names of a node share it.
pub(super) type Identity = (u64, u64);

/// A tracked node.
pub(super) struct CountedNode {
    pub(super) id: Identity,
    /// The length. Held exclusively while the inner file changes the length, and shared while
    /// existing bytes are overwritten.
    pub(super) size: RwLock<u64>,
    /// The bytes that are free, because they existed when the node was first observed.
    base: u64,
}

impl CountedNode {
    /// Returns the part of a length of `size` bytes that counts against the quota.
    pub(super) fn counted_bytes(&self, size: u64) -> u64 {
        size.saturating_sub(self.base)
    }
}

/// The entry of a node in [`Nodes`].
struct TrackedNode {
    node: Arc<CountedNode>,
    handles: usize,
    /// Whether the group counts the node as an inode.
    is_counted: bool,
    /// Whether the last name is gone.
    is_gone: bool,
    /// The number of entries of a directory, once counted.
    entries: Option<u64>,
}

impl TrackedNode {
    fn new(stat: &Stat, base: u64, is_counted: bool) -> Self {
        let id = (stat.dev, stat.ino);
        let node = Arc::new(CountedNode { id, size: RwLock::new(sized(stat)), base });
        TrackedNode { node, handles: 0, is_counted, is_gone: false, entries: None }
    }

    /// Releases the counts of the node. The node has no handle, so the size lock is free.
    fn release_counts(&self, group: &Group) {
        group.release(Counter::Bytes, self.node.counted_bytes(*self.node.size.read()));
        group.release(Counter::Inodes, u64::from(self.is_counted));
    }

    /// Returns whether the entry carries information that dropping it would lose.
    fn matters(&self) -> bool {
        let is_open = self.handles > 0;
        is_open
            || self.is_counted
            || self.entries.is_some()
            || *self.node.size.read() != self.node.base
    }
}

/// Returns the bytes for which a node counts.
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

/// The tracked nodes of a group, by identity.
#[derive(Default)]
pub(super) struct Nodes(Mutex<HashMap<Identity, TrackedNode, RandomState>>);

/// A reference to a tracked node, which stays counted at least as long.
pub(super) struct NodeRef {
    group: Arc<Group>,
    pub(super) node: Arc<CountedNode>,
}

impl Drop for NodeRef {
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
            known.remove().release_counts(&self.group);
        } else if !known.get().matters() {
            known.remove();
        }
    }
}

impl Group {
    /// Tracks an existing node. `names` must be held.
    pub(super) fn attach(self: &Arc<Self>, stat: &Stat) -> NodeRef {
        let mut nodes = self.nodes.0.lock();
        let known = nodes
            .entry((stat.dev, stat.ino))
            .or_insert_with(|| TrackedNode::new(stat, sized(stat), false));
        known.handles += 1;
        NodeRef { group: Arc::clone(self), node: Arc::clone(&known.node) }
    }

    /// Tracks a newly created node. Its inode, and the bytes of a symlink target, are reserved.
    pub(super) fn created(self: &Arc<Self>, stat: &Stat) -> NodeRef {
        let base = match stat.kind {
            FileType::Symlink => 0,
            // Bytes that another process has written to the new file already are free.
            _ => sized(stat),
        };
        let fresh = TrackedNode { handles: 1, ..TrackedNode::new(stat, base, true) };
        let node = Arc::clone(&fresh.node);
        let mut nodes = self.nodes.0.lock();
        if let Some(stale) = nodes.insert(node.id, fresh) {
            // The inode number was reused, so the old node was removed outside the group.
            stale.release_counts(self);
        }
        NodeRef { group: Arc::clone(self), node }
    }

    /// Returns whether the node is tracked.
    pub(super) fn knows(&self, stat: &Stat) -> bool {
        self.nodes.0.lock().contains_key(&(stat.dev, stat.ino))
    }

    /// Counts an existing node, whose inode and bytes are reserved.
    pub(super) fn count(&self, stat: &Stat) {
        let known = TrackedNode::new(stat, 0, true);
        self.nodes.0.lock().insert(known.node.id, known);
    }

    /// Accounts for a removed name of a node; `stat` is from before the removal.
    pub(super) fn lost_name(&self, stat: &Stat) {
        if stat.kind == FileType::Dir || stat.nlink <= 1 {
            self.lost((stat.dev, stat.ino));
        }
    }

    /// Accounts for the removal of the last name of a node.
    pub(super) fn lost(&self, id: Identity) {
        let mut nodes = self.nodes.0.lock();
        let Entry::Occupied(mut known) = nodes.entry(id) else { return };
        if known.get().handles > 0 {
            known.get_mut().is_gone = true;
        } else {
            known.remove().release_counts(self);
        }
    }

    /// Returns the number of entries of a directory, if it has been counted.
    pub(super) fn entries_of(&self, id: Identity) -> Option<u64> {
        self.nodes.0.lock().get(&id).and_then(|known| known.entries)
    }

    /// Records the counted number of entries of a directory.
    pub(super) fn set_entries(&self, stat: &Stat, entries: u64) {
        let mut nodes = self.nodes.0.lock();
        let known = nodes
            .entry((stat.dev, stat.ino))
            .or_insert_with(|| TrackedNode::new(stat, sized(stat), false));
        known.entries = Some(entries);
    }

    /// Adds `more` to the number of entries of a directory, if it has been counted.
    pub(super) fn count_entry(&self, id: Identity, more: i64) {
        if let Some(known) = self.nodes.0.lock().get_mut(&id) {
            known.entries = known.entries.map(|entries| entries.saturating_add_signed(more));
        }
    }
}
