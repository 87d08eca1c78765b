//! A cache of the entries of an open directory, which makes negative lookups free.
//!
//! An upper belongs to one overlay, so a directory is read once, on the first lookup in it, and
//! every later change updates the cache. A lookup of an absent name makes no system call. All
//! caches of an upper together hold [`NAMES_MAX`] names; a directory beyond the limit is not
//! cached.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::HeldDir;
use super::xattrs::{DirXattrs, EntryType, NodeId};
use crate::{FileType, Timestamp};

/// The most names in all caches of an upper: about 100 bytes each.
pub(super) const NAMES_MAX: usize = 1 << 18;

/// The origin of a node, which determines its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Created in the upper. Also the value for symbolic links, whose origins are in
    /// [`UpperState`](super::UpperState).
    Own,
    /// Copied up from the lower's node with this identity.
    Lower(NodeId),
    /// Not read from the xattr yet.
    Unknown,
}

/// A node in the cache.
#[derive(Clone)]
pub(super) struct CachedNode {
    pub(super) kind: FileType,
    pub(super) origin: Origin,
    /// The directory, if it is open.
    pub(super) dir: Weak<HeldDir>,
}

impl CachedNode {
    pub(super) fn new(kind: FileType, origin: Origin) -> Self {
        CachedNode { kind, origin, dir: Weak::new() }
    }
}

/// The entry of a directory under a name.
#[derive(Clone)]
pub(super) enum CachedEntry {
    Absent,
    /// A leftover of a failed rollback: the name is taken by a node that could not be removed.
    /// Absent for callers. A new node replaces it.
    Debris,
    Whiteout,
    Node(CachedNode),
}

impl CachedEntry {
    /// Returns the type of the entry; `None` if it is absent.
    pub(super) fn entry_type(&self) -> Option<EntryType> {
        match self {
            CachedEntry::Absent => None,
            CachedEntry::Debris => Some(EntryType::Debris),
            CachedEntry::Whiteout => Some(EntryType::Whiteout),
            CachedEntry::Node(entry) => Some(EntryType::Node(entry.kind)),
        }
    }
}

/// The names of one directory.
#[derive(Default)]
pub(super) struct CachedNames {
    /// Never [`CachedEntry::Absent`].
    pub(super) entries: BTreeMap<Box<str>, CachedEntry>,
    pub(super) nodes: usize,
    /// Whether there are nodes with names that are no [`Name`](crate::Name).
    pub(super) has_unnamed: bool,
}

impl CachedNames {
    pub(super) fn find(&self, name: &str) -> CachedEntry {
        self.entries.get(name).cloned().unwrap_or(CachedEntry::Absent)
    }

    pub(super) fn set(&mut self, name: &str, found: CachedEntry) {
        self.nodes += usize::from(matches!(found, CachedEntry::Node(_)));
        let before = match found {
            CachedEntry::Absent => self.entries.remove(name),
            CachedEntry::Debris | CachedEntry::Whiteout | CachedEntry::Node(_) => {
                self.entries.insert(name.into(), found)
            }
        };
        self.nodes -= usize::from(matches!(before, Some(CachedEntry::Node(_))));
    }

    pub(super) fn has_nodes(&self) -> bool {
        self.nodes > 0 || self.has_unnamed
    }
}

/// The cached names of a directory.
#[derive(Default)]
pub(super) enum NameCache {
    /// Not read yet.
    #[default]
    Unread,
    Read(CachedNames),
    /// Not cached, since the limit is reached.
    TooLarge,
}

/// The settable times of a directory.
#[derive(Clone, Copy)]
pub(super) struct DirTimes {
    pub(super) accessed: Timestamp,
    pub(super) modified: Timestamp,
}

/// The cache of an open directory. Guarded by `HeldDir::cache`.
#[derive(Default)]
pub(super) struct DirCache {
    pub(super) names: NameCache,
    pub(super) xattrs: Option<DirXattrs>,
    /// The times to set, after they could not be set back after an invisible change.
    pub(super) deferred: Option<DirTimes>,
}
