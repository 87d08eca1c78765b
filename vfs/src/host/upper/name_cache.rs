//! What a held directory remembers of its names.
//!
//! A layer belongs to one overlay alone, so a directory is read once, when a name is first looked
//! for in it, and from then on every change is made here too. A name that is not there costs no
//! call. All images of a layer together hold [`NAMES_MAX`] names; a directory that would go beyond
//! is asked anew each time.

use std::collections::BTreeMap;
use std::sync::Weak;

use super::Held;
use super::xattrs::{Id, Marks, Sort};
use crate::{FileType, Timestamp};

/// Names that all images of a layer hold together: about 100 bytes each.
pub(super) const NAMES_MAX: usize = 1 << 18;

/// Which identity a node has, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its own. Links are always in here: what they were adopted from is remembered elsewhere.
    Own,
    /// That of the node that it was adopted from.
    Lower(Id),
    /// It has to be asked.
    Unknown,
}

/// A node that a name leads to.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) kind: FileType,
    pub(super) origin: Origin,
    /// The directory, if it is held.
    pub(super) dir: Weak<Held>,
}

impl Entry {
    pub(super) fn new(kind: FileType, origin: Origin) -> Self {
        Entry { kind, origin, dir: Weak::new() }
    }
}

/// What a directory says of a name.
#[derive(Clone)]
pub(super) enum Found {
    Nothing,
    /// Nothing either, but the name is taken by what a failed operation could not remove: whatever
    /// comes there replaces it.
    Debris,
    Whiteout,
    Node(Entry),
}

impl Found {
    /// What it is apart from all else.
    pub(super) fn sort(&self) -> Option<Sort> {
        match self {
            Found::Nothing => None,
            Found::Debris => Some(Sort::Debris),
            Found::Whiteout => Some(Sort::Whiteout),
            Found::Node(entry) => Some(Sort::Node(entry.kind)),
        }
    }
}

/// The names of one directory.
#[derive(Default)]
pub(super) struct Names {
    /// Never [`Found::Nothing`].
    pub(super) found: BTreeMap<Box<str>, Found>,
    pub(super) nodes: usize,
    /// Whether there are nodes that no [`Name`](crate::Name) leads to.
    pub(super) has_unnamed: bool,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Found {
        self.found.get(name).cloned().unwrap_or(Found::Nothing)
    }

    pub(super) fn set(&mut self, name: &str, found: Found) {
        self.nodes += usize::from(matches!(found, Found::Node(_)));
        let before = match found {
            Found::Nothing => self.found.remove(name),
            Found::Debris | Found::Whiteout | Found::Node(_) => {
                self.found.insert(name.into(), found)
            }
        };
        self.nodes -= usize::from(matches!(before, Some(Found::Node(_))));
    }

    pub(super) fn has_nodes(&self) -> bool {
        self.nodes > 0 || self.has_unnamed
    }
}

/// The image of a directory.
#[derive(Default)]
pub(super) enum Image {
    /// Nobody has looked yet.
    #[default]
    Unread,
    Read(Names),
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
pub(super) struct Memory {
    pub(super) image: Image,
    pub(super) marks: Option<Marks>,
    /// The times that the directory should have: it could not be given them when a change was made
    /// that is not to be seen.
    pub(super) owed: Option<DirTimes>,
}
