//! What a held directory remembers of its names.
//!
//! A layer belongs to one overlay alone, so a directory is read once, when a name is first looked
//! for in it, and from then on every change is made here too. A name that is not there costs no
//! call. All images of a layer together hold [`NAMES_MAX`] names; a directory that would go beyond
//! is asked anew each time.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::HeldDir;
use super::xattrs::{DirXattrs, EntryType, NodeId};
use crate::{FileType, Timestamp};

/// Names that all images of a layer hold together: about 100 bytes each.
pub(super) const NAMES_MAX: usize = 1 << 18;

/// Which identity a node has, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its own. Links are always in here: what they were adopted from is remembered elsewhere.
    Own,
    /// That of the node that it was adopted from.
    Lower(NodeId),
    /// It has to be asked.
    Unknown,
}

/// A node that a name leads to.
#[derive(Clone)]
pub(super) struct CachedNode {
    pub(super) kind: FileType,
    pub(super) origin: Origin,
    /// The directory, if it is held.
    pub(super) dir: Weak<HeldDir>,
}

impl CachedNode {
    pub(super) fn new(kind: FileType, origin: Origin) -> Self {
        CachedNode { kind, origin, dir: Weak::new() }
    }
}

/// What a directory says of a name.
#[derive(Clone)]
pub(super) enum CachedEntry {
    Absent,
    /// Nothing either, but the name is taken by what a failed operation could not remove: whatever
    /// comes there replaces it.
    Debris,
    Whiteout,
    Node(CachedNode),
}

impl CachedEntry {
    /// What it is apart from all else.
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
    /// Never [`Found::Nothing`].
    pub(super) entries: BTreeMap<Box<str>, CachedEntry>,
    pub(super) nodes: usize,
    /// Whether there are nodes that no [`Name`](crate::Name) leads to.
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

/// The image of a directory.
#[derive(Default)]
pub(super) enum NameCache {
    /// Nobody has looked yet.
    #[default]
    Unread,
    Read(CachedNames),
    /// There are too many names to remember them.
    TooLarge,
}

/// The times of a directory that can be set.
#[derive(Clone, Copy)]
pub(super) struct DirTimes {
    pub(super) accessed: Timestamp,
    pub(super) modified: Timestamp,
}

/// What is remembered of a held directory.
#[derive(Default)]
pub(super) struct DirCache {
    pub(super) names: NameCache,
    pub(super) xattrs: Option<DirXattrs>,
    /// The times that the directory should have: it could not be given them when a change was made
    /// that is not to be seen.
    pub(super) deferred: Option<DirTimes>,
}
