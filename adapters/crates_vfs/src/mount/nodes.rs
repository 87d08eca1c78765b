//! The node table: a tree of known paths with inode numbers and listing positions.
//!
//! Nothing here calls the filesystem. Inode numbers are never reused. Neither are the positions of
//! one directory, so that a position is a valid cookie. Parents and children refer to each other by
//! inode number, so that the rename of a tree is one change, and a path is computed on demand.

use std::collections::HashMap;

use palisade_vfs::{Errno, FileType, Result, Stat, Timestamp};

use super::contents::FileContents;

/// The inode number of a node.
pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

/// The node table.
pub(super) struct Nodes {
    of: HashMap<Ino, Node>,
    next: Ino,
    name_count: usize,
    names_max: usize,
}

/// A node of the tree.
pub(super) struct Node {
    pub(super) parent: NodeParent,
    pub(super) contents: NodeContents,
    /// The number of open handles.
    pub(super) handles: usize,
    /// The time of the last change of name or attributes through the mount.
    pub(super) changed: Timestamp,
}

/// The parent of a node.
pub(super) enum NodeParent {
    Root,
    In {
        dir: Ino,
        name: Box<str>,
    },
    /// Removed from the tree. `last` holds the attributes at the time of the removal.
    Removed {
        last: Stat,
        how: RemovalCause,
    },
}

/// The reason why a node was removed from the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemovalCause {
    /// It was removed through the mount.
    Removed,
    /// The filesystem no longer had it.
    Vanished,
}

/// The contents of a node.
pub(super) enum NodeContents {
    Dir(Entries),
    File(FileContents),
}

/// The known names of a directory.
#[derive(Default)]
pub(super) struct Entries {
    of: HashMap<Box<str>, Entry>,
    last_position: u64,
}

struct Entry {
    position: u64,
    /// `None` until the node is looked up.
    ino: Option<Ino>,
}

impl NodeContents {
    pub(super) fn kind(&self) -> FileType {
        match self {
            NodeContents::Dir(_) => FileType::Dir,
            NodeContents::File(_) => FileType::File,
        }
    }
}

impl Nodes {
    /// Creates a table with the root directory.
    pub(super) fn new(names_max: usize) -> Self {
        let root = Node::new(NodeParent::Root, NodeContents::Dir(Entries::default()));
        Nodes { of: HashMap::from([(ROOT, root)]), next: ROOT + 1, name_count: 0, names_max }
    }

    /// Returns a node. It cannot be `Stale` while a handle or a directory refers to it.
    pub(super) fn get(&self, ino: Ino) -> Result<&Node> {
        self.of.get(&ino).ok_or(Errno::Stale)
    }

    pub(super) fn get_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.of.get_mut(&ino).ok_or(Errno::Stale)
    }

    pub(super) fn ids(&self) -> Vec<Ino> {
        self.of.keys().copied().collect()
    }

    pub(super) fn file_contents_mut(&mut self) -> impl Iterator<Item = &mut FileContents> {
        self.of.values_mut().filter_map(|node| match &mut node.contents {
            NodeContents::File(body) => Some(body),
            NodeContents::Dir(_) => None,
        })
    }

    /// Returns the path of a node in the crate's syntax, or `None` if it was removed.
    pub(super) fn path(&self, ino: Ino) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        let mut at = ino;
        // Bound: a path has at most as many components as the tree has nodes.
        for _ in 0..=self.of.len() {
            match &self.of.get(&at)?.parent {
                NodeParent::Removed { .. } => return None,
                NodeParent::Root => {
                    return Some(names.into_iter().rev().flat_map(|name| ["/", name]).collect());
                }
                NodeParent::In { dir, name } => {
                    names.push(&**name);
                    at = *dir;
                }
            }
        }
        None
    }

    /// Returns whether `ino` is `above` or under it.
    pub(super) fn is_under(&self, ino: Ino, above: Ino) -> bool {
        let mut at = ino;
        for _ in 0..=self.of.len() {
            match self.of.get(&at).map(|node| &node.parent) {
                _ if at == above => return true,
                Some(NodeParent::In { dir, .. }) => at = *dir,
                Some(NodeParent::Root | NodeParent::Removed { .. }) | None => return false,
            }
        }
        false
    }

    /// Returns the node of a name, if it was looked up before.
    pub(super) fn child(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.entries(dir)?.of.get(name)?.ino
    }

    /// Inserts a node at `name` and returns its inode number.
    ///
    /// # Errors
    ///
    /// - Those of [`Nodes::assign_position`].
    pub(super) fn insert(&mut self, dir: Ino, name: &str, contents: NodeContents) -> Result<Ino> {
        self.assign_position(dir, name)?;
        let ino = self.next;
        self.next += 1;
        let parent = NodeParent::In { dir, name: name.into() };
        self.of.insert(ino, Node::new(parent, contents));
        if let Some(entry) = self.entries_mut(dir).and_then(|entries| entries.of.get_mut(name)) {
            entry.ino = Some(ino);
        }
        Ok(ino)
    }

    /// Assigns a listing position to a name that has none.
    ///
    /// # Errors
    ///
    /// - `Notdir`: `dir` is not a directory.
    /// - `Nomem`: more than `Limits::names` names.
    pub(super) fn assign_position(&mut self, dir: Ino, name: &str) -> Result<()> {
        let full = self.name_count >= self.names_max;
        let entries = self.entries_mut(dir).ok_or(Errno::Notdir)?;
        if entries.of.contains_key(name) {
            return Ok(());
        }
        if full {
            return Err(Errno::Nomem);
        }
        entries.last_position += 1;
        let position = entries.last_position;
        entries.of.insert(name.into(), Entry { position, ino: None });
        self.name_count += 1;
        Ok(())
    }

    /// Returns the last assigned position of a directory.
    pub(super) fn last_position(&self, dir: Ino) -> u64 {
        self.entries(dir).map_or(0, |entries| entries.last_position)
    }

    /// Returns all names with positions and nodes, unordered.
    pub(super) fn positions(&self, dir: Ino) -> impl Iterator<Item = (u64, &str, Option<Ino>)> {
        let entries = self.entries(dir).into_iter().flat_map(|entries| &entries.of);
        entries.map(|(name, entry)| (entry.position, &**name, entry.ino))
    }

    /// Removes a name, its node and all nodes under it. `last` returns the final attributes of an
    /// open node.
    pub(super) fn drop_name(
        &mut self,
        dir: Ino,
        name: &str,
        how: RemovalCause,
        last: impl Fn(&Node, Ino) -> Stat,
    ) {
        let Some(first) = self.take_name(dir, name) else { return };
        let mut pending = vec![first];
        while let Some(ino) = pending.pop() {
            let Some(node) = self.of.get_mut(&ino) else { continue };
            if let NodeContents::Dir(entries) = &mut node.contents {
                self.name_count = self.name_count.saturating_sub(entries.of.len());
                pending.extend(entries.of.drain().filter_map(|(_, entry)| entry.ino));
            }
            if node.handles == 0 {
                self.of.remove(&ino);
            } else {
                node.parent = NodeParent::Removed { last: last(node, ino), how };
            }
        }
    }

    /// Renames a node and assigns a new position. The new name must be unused.
    pub(super) fn moved(&mut self, from: (Ino, &str), into: (Ino, &str)) -> Result<()> {
        let ino = self.take_name(from.0, from.1).ok_or(Errno::Noent)?;
        self.assign_position(into.0, into.1)?;
        if let Some(entry) = self.entries_mut(into.0).and_then(|it| it.of.get_mut(into.1)) {
            entry.ino = Some(ino);
        }
        self.get_mut(ino)?.parent = NodeParent::In { dir: into.0, name: into.1.into() };
        Ok(())
    }

    /// Frees a removed node that has no open handle.
    pub(super) fn free_if_closed(&mut self, ino: Ino) {
        let is_over =
            |node: &Node| node.handles == 0 && matches!(node.parent, NodeParent::Removed { .. });
        if self.of.get(&ino).is_some_and(is_over) {
            self.of.remove(&ino);
        }
    }

    fn take_name(&mut self, dir: Ino, name: &str) -> Option<Ino> {
        let entry = self.entries_mut(dir)?.of.remove(name)?;
        self.name_count = self.name_count.saturating_sub(1);
        entry.ino
    }

    fn entries(&self, dir: Ino) -> Option<&Entries> {
        match &self.of.get(&dir)?.contents {
            NodeContents::Dir(entries) => Some(entries),
            NodeContents::File(_) => None,
        }
    }

    fn entries_mut(&mut self, dir: Ino) -> Option<&mut Entries> {
        match &mut self.of.get_mut(&dir)?.contents {
            NodeContents::Dir(entries) => Some(entries),
            NodeContents::File(_) => None,
        }
    }
}

impl Node {
    fn new(parent: NodeParent, contents: NodeContents) -> Self {
        Node { parent, contents, handles: 0, changed: Timestamp::EPOCH }
    }
}
