//! The modification times of an archive's directories, set after all entries are written.
//!
//! The directories are a tree of names in a hash table. A directory takes memory for its last name
//! only, so a deep tree does not take memory quadratic in its depth.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::super::changes::PathError;
use super::super::lowers::to_errno;
use super::super::upper::UpperRef;
use super::import::times;
use crate::tree_walk::{At, Entered, Leave, Visit, Visitor, WalkDir, walk};
use crate::{Descent, Errno, Name, Timestamp, bug};

/// The index of a node. The root is the first.
type Key = u32;

const ROOT: Key = 0;

struct Node {
    parent: Key,
    name: Box<str>,
    modified: Option<Timestamp>,
}

pub(super) struct DirTimes {
    nodes: Vec<Node>,
    /// Keys of nodes, by parent and name.
    index: HashTable<Key>,
    hasher: RandomState,
}

impl Default for DirTimes {
    fn default() -> Self {
        let nodes = vec![Node { parent: ROOT, name: Box::default(), modified: None }];
        DirTimes { nodes, index: HashTable::new(), hasher: RandomState::default() }
    }
}

impl DirTimes {
    /// Remembers the time of the directory `path`.
    pub(super) fn set(&mut self, path: Descent<'_>, modified: Timestamp) {
        let key = path.names().fold(ROOT, |parent, name| self.child(parent, name));
        if let Some(node) = self.nodes.get_mut(key as usize) {
            node.modified = Some(modified);
        }
    }

    fn child(&mut self, parent: Key, name: Name<'_>) -> Key {
        let DirTimes { nodes, index, hasher } = self;
        let hash = hasher.hash_one((parent, name.as_str()));
        let is_it = |key: &Key| {
            let node = nodes.get(*key as usize);
            node.is_some_and(|node| node.parent == parent && *node.name == *name.as_str())
        };
        if let Some(key) = index.find(hash, is_it) {
            return *key;
        }
        let key = Key::try_from(nodes.len()).unwrap_or(Key::MAX);
        nodes.push(Node { parent, name: name.as_str().into(), modified: None });
        index.insert_unique(hash, key, |key| {
            let node = nodes.get(*key as usize);
            hasher.hash_one(node.map_or((ROOT, ""), |node| (node.parent, &*node.name)))
        });
        key
    }

    /// Sets all times in the layer. Directories that later entries have replaced are skipped.
    pub(super) fn apply(self, into: &UpperRef) -> Result<(), PathError> {
        let keys = 0..Key::try_from(self.nodes.len()).unwrap_or(Key::MAX);
        let mut by_parent: Vec<Key> = keys.filter(|key| *key != ROOT).collect();
        let parent = |key: &Key| self.nodes.get(*key as usize).map_or(ROOT, |node| node.parent);
        by_parent.sort_by_key(parent);
        let mut apply = Apply { times: &self, by_parent: &by_parent };
        let root = apply.entered(Arc::clone(into), ROOT);
        walk(root, &mut apply)
    }
}

struct Apply<'a> {
    times: &'a DirTimes,
    by_parent: &'a [Key],
}

impl Apply<'_> {
    fn entry(&self, key: Key) -> Option<&Node> {
        self.times.nodes.get(key as usize)
    }

    fn entered(&self, dir: UpperRef, key: Key) -> Entered<UpperRef, Dir> {
        let parent = |key: &Key| self.entry(*key).map_or(ROOT, |node| node.parent);
        let first = self.by_parent.partition_point(|child| parent(child) < key);
        let children = self.by_parent.get(first..);
        let children = children.unwrap_or_else(|| bug!(&[]; "no children from {first}"));
        let names = children.iter().take_while(|child| parent(child) == key);
        let names = names.filter_map(|child| Some(self.entry(*child)?.name.clone())).collect();
        Entered { dir, names, data: Dir { key, next: first } }
    }
}

struct Dir {
    key: Key,
    /// The index of the next child in the order of the walk.
    next: usize,
}

impl Visitor for Apply<'_> {
    type Dir = UpperRef;
    type Data = Dir;
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, UpperRef, Dir>,
    ) -> Result<Option<Entered<UpperRef, Dir>>, PathError> {
        let Some(key) = self.by_parent.get(at.data.next) else { return Ok(None) };
        at.data.next += 1;
        match WalkDir::enter(at.dir, at.name) {
            Ok(dir) => Ok(Some(self.entered(dir, *key))),
            Err(Errno::Noent | Errno::Notdir) => Ok(None),
            Err(errno) => Err(errno).at(at.path),
        }
    }

    fn leave(&mut self, at: Leave<'_, UpperRef, Dir>) -> Result<(), PathError> {
        match self.entry(at.data.key).and_then(|node| node.modified) {
            Some(modified) => {
                to_errno(at.dir.set_times(Descent::HERE, times(modified))).at(at.path)
            }
            None => Ok(()),
        }
    }
}
