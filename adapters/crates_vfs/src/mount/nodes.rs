//! What is remembered of each path: a number, a place in a tree, a seat in a listing.
//!
//! Nothing here asks the filesystem. A number is never given twice, and neither is a seat of one
//! directory, so that a seat is the cookie. Directories know their children and children their
//! directory, so that a rename of a whole tree is one change, and a path is put together when it
//! is needed.

use std::collections::HashMap;

use palisade_vfs::{Errno, FileType, Result, Stat, Timestamp};

use super::bytes::Body;

/// The number of a node.
pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

/// All that is remembered.
pub(super) struct Nodes {
    of: HashMap<Ino, Node>,
    next: Ino,
    seats: usize,
    names_max: usize,
}

/// One node.
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) what: What,
    /// How many handles there are.
    pub(super) handles: usize,
    /// When something other than its bytes was last changed through the mount.
    pub(super) changed: Timestamp,
}

/// Where a node is.
pub(super) enum Place {
    Root,
    In {
        dir: Ino,
        name: Box<str>,
    },
    /// Nowhere; what it was when it went, which from then on is all that there is of it.
    Gone {
        last: Stat,
        how: Gone,
    },
}

/// How a node went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It was removed through the mount.
    Removed,
    /// The filesystem did not have it any more.
    Vanished,
}

/// What a node is.
pub(super) enum What {
    Dir(Entries),
    File(Body),
}

/// The names of a directory that were seen.
#[derive(Default)]
pub(super) struct Entries {
    of: HashMap<Box<str>, Entry>,
    last_seat: u64,
}

struct Entry {
    seat: u64,
    /// `None` until somebody looks at more than the name.
    ino: Option<Ino>,
}

impl What {
    pub(super) fn kind(&self) -> FileType {
        match self {
            What::Dir(_) => FileType::Dir,
            What::File(_) => FileType::File,
        }
    }
}

impl Nodes {
    /// Nothing but a root.
    pub(super) fn new(names_max: usize) -> Self {
        let root = Node::new(Place::Root, What::Dir(Entries::default()));
        Nodes { of: HashMap::from([(ROOT, root)]), next: ROOT + 1, seats: 0, names_max }
    }

    /// The node; `Stale` cannot happen while a handle or a directory holds it.
    pub(super) fn get(&self, ino: Ino) -> Result<&Node> {
        self.of.get(&ino).ok_or(Errno::Stale)
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.of.get_mut(&ino).ok_or(Errno::Stale)
    }

    pub(super) fn inos(&self) -> Vec<Ino> {
        self.of.keys().copied().collect()
    }

    pub(super) fn bodies_mut(&mut self) -> impl Iterator<Item = &mut Body> {
        self.of.values_mut().filter_map(|node| match &mut node.what {
            What::File(body) => Some(body),
            What::Dir(_) => None,
        })
    }

    /// The path of a node as the crate writes it; `None` for one that is gone.
    pub(super) fn path(&self, ino: Ino) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        let mut at = ino;
        // The tree has no loop, and no more nodes than this.
        for _ in 0..=self.of.len() {
            match &self.of.get(&at)?.place {
                Place::Gone { .. } => return None,
                Place::Root => {
                    return Some(names.into_iter().rev().flat_map(|name| ["/", name]).collect());
                }
                Place::In { dir, name } => {
                    names.push(&**name);
                    at = *dir;
                }
            }
        }
        None
    }

    /// Whether `ino` is `above` or lies beneath it.
    pub(super) fn is_beneath(&self, ino: Ino, above: Ino) -> bool {
        let mut at = ino;
        for _ in 0..=self.of.len() {
            match self.of.get(&at).map(|node| &node.place) {
                _ if at == above => return true,
                Some(Place::In { dir, .. }) => at = *dir,
                Some(Place::Root | Place::Gone { .. }) | None => return false,
            }
        }
        false
    }

    /// The node of a name, if more than the name was ever looked at.
    pub(super) fn child(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.entries(dir)?.of.get(name)?.ino
    }

    /// Remembers that `name` leads to a node of this kind, and answers its number. Errors: `Nomem`.
    pub(super) fn enter(&mut self, dir: Ino, name: &str, what: What) -> Result<Ino> {
        self.seat(dir, name)?;
        let ino = self.next;
        self.next += 1;
        let place = Place::In { dir, name: name.into() };
        self.of.insert(ino, Node::new(place, what));
        if let Some(entry) = self.entries_mut(dir).and_then(|entries| entries.of.get_mut(name)) {
            entry.ino = Some(ino);
        }
        Ok(ino)
    }

    /// Gives a name its seat, if it has none. Errors: `Nomem`.
    pub(super) fn seat(&mut self, dir: Ino, name: &str) -> Result<()> {
        let full = self.seats >= self.names_max;
        let entries = self.entries_mut(dir).ok_or(Errno::Notdir)?;
        if entries.of.contains_key(name) {
            return Ok(());
        }
        if full {
            return Err(Errno::Nomem);
        }
        entries.last_seat += 1;
        let seat = entries.last_seat;
        entries.of.insert(name.into(), Entry { seat, ino: None });
        self.seats += 1;
        Ok(())
    }

    /// The last seat that was given.
    pub(super) fn last_seat(&self, dir: Ino) -> u64 {
        self.entries(dir).map_or(0, |entries| entries.last_seat)
    }

    /// All names with their seats and their nodes, in no order.
    pub(super) fn seats(&self, dir: Ino) -> impl Iterator<Item = (u64, &str, Option<Ino>)> {
        let entries = self.entries(dir).into_iter().flat_map(|entries| &entries.of);
        entries.map(|(name, entry)| (entry.seat, &**name, entry.ino))
    }

    /// Takes a name away, and its node with all that lies beneath; `last` says what an open one
    /// was.
    pub(super) fn drop_name(
        &mut self,
        dir: Ino,
        name: &str,
        how: Gone,
        last: impl Fn(&Node, Ino) -> Stat,
    ) {
        let Some(first) = self.take_name(dir, name) else { return };
        let mut pending = vec![first];
        while let Some(ino) = pending.pop() {
            let Some(node) = self.of.get_mut(&ino) else { continue };
            if let What::Dir(entries) = &mut node.what {
                self.seats = self.seats.saturating_sub(entries.of.len());
                pending.extend(entries.of.drain().filter_map(|(_, entry)| entry.ino));
            }
            if node.handles == 0 {
                self.of.remove(&ino);
            } else {
                node.place = Place::Gone { last: last(node, ino), how };
            }
        }
    }

    /// Gives a node another name, whose own must have been taken away. The seat is a new one.
    pub(super) fn moved(&mut self, from: (Ino, &str), into: (Ino, &str)) -> Result<()> {
        let ino = self.take_name(from.0, from.1).ok_or(Errno::Noent)?;
        self.seat(into.0, into.1)?;
        if let Some(entry) = self.entries_mut(into.0).and_then(|it| it.of.get_mut(into.1)) {
            entry.ino = Some(ino);
        }
        self.get_mut(ino)?.place = Place::In { dir: into.0, name: into.1.into() };
        Ok(())
    }

    /// Forgets a node that is gone, once nobody has it open.
    pub(super) fn forget_gone(&mut self, ino: Ino) {
        let is_over = |node: &Node| node.handles == 0 && matches!(node.place, Place::Gone { .. });
        if self.of.get(&ino).is_some_and(is_over) {
            self.of.remove(&ino);
        }
    }

    fn take_name(&mut self, dir: Ino, name: &str) -> Option<Ino> {
        let entry = self.entries_mut(dir)?.of.remove(name)?;
        self.seats = self.seats.saturating_sub(1);
        entry.ino
    }

    fn entries(&self, dir: Ino) -> Option<&Entries> {
        match &self.of.get(&dir)?.what {
            What::Dir(entries) => Some(entries),
            What::File(_) => None,
        }
    }

    fn entries_mut(&mut self, dir: Ino) -> Option<&mut Entries> {
        match &mut self.of.get_mut(&dir)?.what {
            What::Dir(entries) => Some(entries),
            What::File(_) => None,
        }
    }
}

impl Node {
    fn new(place: Place, what: What) -> Self {
        Node { place, what, handles: 0, changed: Timestamp::EPOCH }
    }
}
