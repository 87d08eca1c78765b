//! The tree of held names: the current path of every open handle under one live policy.
//!
//! A handle of a live policy is checked at the current path of its node, and a policy that is
//! narrowed later can distinguish two paths that are equivalent now. So the tree has a node for
//! each name on the path of a held file or directory, and a rename through the confinement moves
//! the node of the old name, with its subtree. Removing a name detaches its node, which keeps its
//! last path. Nodes are reference-counted and freed with the last handle at or under them, so
//! memory is bounded by the open handles.
//!
//! A rename is marked before it is checked. Until it completes, the state of every node under the
//! old name is unknown to all other threads, and a handle that needs it, which happens only after
//! the policy was narrowed, is denied. So a state that a handle has cached was computed before the
//! rename was marked, and the rename was checked by that policy or by a narrower one, in which both
//! paths are equivalent.
//!
//! A file handle follows renames of the name by which it was opened, and not those of other hard
//! links.
//!
//! Lock order:
//!
//! ```text
//! renames      held during a rename, including the rename of the inner filesystem; reentrant,
//!   |          because one live policy may wrap a filesystem twice
//!   nodes      held for one walk up the tree
//! ```

use std::hash::{BuildHasher, Hasher};
use std::thread::ThreadId;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::{Descent, Errno, Name, Result};
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::automaton::policy::{Policy, State};

/// The most names on the path of a node. It bounds host memory that a guest can take by opening a
/// path in many steps; a path that is opened in one step has at most 2,048 names.
const DEPTH_MAX: usize = 1 << 16;

/// The names of all handles under one live policy.
pub(crate) struct NameTree {
    nodes: Mutex<Nodes>,
    /// Serializes renames and the creation of directories.
    renames: ReentrantMutex<()>,
}

/// The index of a node that is held. [`NameTree::release`] releases it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

/// The root of the guest's filesystem, which is never freed.
const ROOT: usize = 0;

/// The arena of nodes.
struct Nodes {
    nodes: Vec<Node>,
    free: Vec<usize>,
    /// A hash table of the attached nodes, by parent and name.
    index: HashTable<usize>,
}

struct Node {
    parent: usize,
    name: Box<str>,
    depth: usize,
    /// The reference count: handles, child nodes, and pending renames of the node.
    uses: usize,
    /// The threads that are renaming it.
    renamed_by: Vec<ThreadId>,
}

/// A rename in progress. Dropping it without [`PendingRename::complete`] leaves the tree unchanged.
pub(crate) struct PendingRename<'p> {
    names: &'p NameTree,
    _one_at_a_time: ReentrantMutexGuard<'p, ()>,
    /// The node of the old name, if a handle is open at or under it.
    node: Option<usize>,
}

impl NameTree {
    pub(crate) fn new() -> Self {
        let nodes =
            Nodes { nodes: vec![Node::new(ROOT, "", 0)], free: vec![], index: HashTable::new() };
        NameTree { nodes: Mutex::new(nodes), renames: ReentrantMutex::new(()) }
    }

    /// Returns the held node of `guest_path`, the path of a preopen, or `None` if the path is not
    /// valid.
    pub(crate) fn node_at(&self, guest_path: &str) -> Option<NodeId> {
        let names = guest_path.split('/').filter(|name| !matches!(*name, "" | "."));
        let names = names.collect::<Vec<_>>().join("/");
        self.descend(NodeId(ROOT), Descent::new(&names).ok()?).ok()
    }

    /// Returns the held node at `path`, which starts at `from`.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: the node would have more than [`DEPTH_MAX`] names.
    pub(crate) fn descend(&self, from: NodeId, path: Descent<'_>) -> Result<NodeId> {
        let mut tree = self.nodes.lock();
        let depth = tree.nodes.get(from.0).map_or(0, |node| node.depth);
        if depth + path.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        let mut at = from.0;
        for name in path.names() {
            at = tree.find(at, name.as_str()).unwrap_or_else(|| tree.add(at, name.as_str()));
        }
        tree.hold(at);
        Ok(NodeId(at))
    }

    /// Releases a held node.
    pub(crate) fn release(&self, node: NodeId) {
        self.nodes.lock().release(node.0);
    }

    /// Returns the state of `node` in `policy`, or `None` while another thread renames it or a
    /// directory above it.
    pub(crate) fn state(&self, node: NodeId, policy: &Policy) -> Option<State> {
        let tree = self.nodes.lock();
        let (mut names, mut at) = (Vec::new(), node.0);
        while at != ROOT {
            let node = tree.nodes.get(at)?;
            if !node.renamed_by.is_empty() {
                let this = std::thread::current().id();
                if node.renamed_by.iter().any(|thread| *thread != this) {
                    return None;
                }
            }
            names.push(&*node.name);
            at = node.parent;
        }
        let mut state = Policy::START;
        for name in names.into_iter().rev() {
            state = policy.step(state, Name::new(name).ok()?);
        }
        Some(state)
    }

    /// Marks the node `name` in `from` as being renamed, before the rename is checked.
    pub(crate) fn begin_rename(&self, from: NodeId, name: Name<'_>) -> PendingRename<'_> {
        let one_at_a_time = self.renames.lock();
        let mut tree = self.nodes.lock();
        let node = tree.find(from.0, name.as_str());
        if let Some(node) = node.and_then(|at| tree.nodes.get_mut(at)) {
            node.uses += 1;
            node.renamed_by.push(std::thread::current().id());
        }
        PendingRename { names: self, _one_at_a_time: one_at_a_time, node }
    }

    /// Blocks renames, and the creation of directories, until the guard is dropped.
    pub(crate) fn block_renames(&self) -> ReentrantMutexGuard<'_, ()> {
        self.renames.lock()
    }

    /// Detaches the node `name` in `from` after its removal: a new node of that name is another
    /// one.
    pub(crate) fn remove(&self, from: NodeId, name: Name<'_>) {
        self.nodes.lock().remove(from.0, name.as_str());
    }
}

impl PendingRename<'_> {
    /// Moves the node to `new_name` in `into`, and detaches the node that had that name.
    pub(crate) fn complete(self, into: NodeId, new_name: Name<'_>) {
        let mut tree = self.names.nodes.lock();
        tree.remove(into.0, new_name.as_str());
        if let Some(node) = self.node {
            tree.rename(node, into.0, new_name.as_str());
        }
    }
}

impl Drop for PendingRename<'_> {
    fn drop(&mut self) {
        let Some(at) = self.node else { return };
        let mut tree = self.names.nodes.lock();
        if let Some(node) = tree.nodes.get_mut(at) {
            let this = std::thread::current().id();
            if let Some(mark) = node.renamed_by.iter().position(|thread| *thread == this) {
                node.renamed_by.swap_remove(mark);
            }
        }
        tree.release(at);
    }
}

impl Node {
    fn new(parent: usize, name: &str, depth: usize) -> Self {
        let name = name.into();
        Node { parent, name, depth, uses: 0, renamed_by: Vec::new() }
    }
}

fn hash(parent: usize, name: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_usize(parent);
    hasher.write(name.as_bytes());
    hasher.finish()
}

impl Nodes {
    fn find(&self, parent: usize, name: &str) -> Option<usize> {
        let is_it = |at: &usize| {
            self.nodes.get(*at).is_some_and(|node| node.parent == parent && *node.name == *name)
        };
        self.index.find(hash(parent, name), is_it).copied()
    }

    fn hold(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.uses += 1;
        }
    }

    /// Adds a node with no references.
    fn add(&mut self, parent: usize, name: &str) -> usize {
        let depth = self.nodes.get(parent).map_or(0, |node| node.depth) + 1;
        let node = Node::new(parent, name, depth);
        let at = match self.free.pop() {
            Some(at) => at,
            None => self.nodes.len(),
        };
        match self.nodes.get_mut(at) {
            Some(slot) => *slot = node,
            None => self.nodes.push(node),
        }
        self.hold(parent);
        self.attach(at);
        at
    }

    /// Adds a node to the index.
    fn attach(&mut self, at: usize) {
        let Nodes { nodes, index, .. } = self;
        let of = |at: &usize| nodes.get(*at).map_or(0, |node| hash(node.parent, &node.name));
        index.insert_unique(of(&at), at, of);
    }

    /// Removes a node from the index.
    fn detach(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else { return };
        if let Ok(entry) = self.index.find_entry(hash(node.parent, &node.name), |it| *it == at) {
            entry.remove();
        }
    }

    fn remove(&mut self, parent: usize, name: &str) {
        if let Some(at) = self.find(parent, name) {
            self.detach(at);
        }
    }

    fn rename(&mut self, at: usize, into: usize, new_name: &str) {
        self.detach(at);
        let depth = self.nodes.get(into).map_or(0, |node| node.depth) + 1;
        let Some(node) = self.nodes.get_mut(at) else { return };
        let old_parent = std::mem::replace(&mut node.parent, into);
        (node.name, node.depth) = (new_name.into(), depth);
        self.attach(at);
        self.hold(into);
        self.release(old_parent);
    }

    /// Releases one reference. The last one frees the node and releases its parent.
    fn release(&mut self, at: usize) {
        let mut at = at;
        while at != ROOT {
            let Some(node) = self.nodes.get_mut(at) else { return };
            node.uses = node.uses.saturating_sub(1);
            if node.uses > 0 {
                return;
            }
            let parent = node.parent;
            self.detach(at);
            self.free.push(at);
            at = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name<'_> {
        Name::new(name).unwrap()
    }

    fn descend(names: &NameTree, from: NodeId, path: &str) -> NodeId {
        names.descend(from, Descent::new(path).unwrap()).unwrap()
    }

    /// Whether a node has this path, by a policy in which each name of it has its own state.
    fn is_at(names: &NameTree, node: NodeId, path: &str) -> bool {
        let policy = Policy::builder().allow(path, palisade_vfs::Rights::READ).build().unwrap();
        names.state(node, &policy) == Some(policy.at(path))
            && policy.rights(policy.at(path)).contains(palisade_vfs::Rights::READ)
    }

    #[test]
    fn node_follows_renames_of_itself_and_of_parents() {
        let names = NameTree::new();
        let root = names.node_at("/").unwrap();
        let (d, f) = (descend(&names, root, "a/b/d"), descend(&names, root, "a/b/d/f"));
        names.begin_rename(root, name("a")).complete(root, name("x"));
        assert!(is_at(&names, d, "/x/b/d") && is_at(&names, f, "/x/b/d/f"));
        names.begin_rename(d, name("f")).complete(root, name("g"));
        assert!(is_at(&names, d, "/x/b/d") && is_at(&names, f, "/g"));
        // A rename that fails.
        drop(names.begin_rename(root, name("g")));
        assert!(is_at(&names, f, "/g"));
    }

    #[test]
    fn removed_or_replaced_node_is_detached() {
        let names = NameTree::new();
        let root = names.node_at("").unwrap();
        let (old, replaced) = (descend(&names, root, "a"), descend(&names, root, "b"));
        names.remove(root, name("a"));
        let new = descend(&names, root, "a");
        assert_ne!(old, new);
        names.begin_rename(root, name("a")).complete(root, name("b"));
        names.begin_rename(root, name("b")).complete(root, name("c"));
        assert!(is_at(&names, old, "/a"));
        assert!(is_at(&names, replaced, "/b"));
        assert!(is_at(&names, new, "/c"));
    }

    #[test]
    fn state_is_unknown_to_other_threads_during_a_rename() {
        let names = NameTree::new();
        let root = names.node_at("").unwrap();
        let d = descend(&names, root, "a/d");
        let policy = Policy::read_only();
        let elsewhere =
            || std::thread::scope(|scope| scope.spawn(|| names.state(d, &policy)).join().unwrap());
        let renaming = names.begin_rename(root, name("a"));
        assert_eq!(elsewhere(), None);
        assert!(names.state(d, &policy).is_some());
        // As if one live policy wraps a filesystem twice.
        names.begin_rename(root, name("a")).complete(root, name("b"));
        assert_eq!(elsewhere(), None);
        renaming.complete(root, name("b"));
        assert!(elsewhere().is_some());
        assert!(is_at(&names, d, "/b/d"));
    }

    #[test]
    fn released_nodes_are_freed() {
        let names = NameTree::new();
        let root = names.node_at("/w").unwrap();
        for round in 0..100 {
            let paths = ["a/b/c", "a/b", "a/d", "e"];
            let held = paths.map(|path| descend(&names, root, path));
            names.begin_rename(held[1], name("c")).complete(root, name("f"));
            names.begin_rename(root, name("e")).complete(held[1], name("e"));
            if round % 2 == 0 {
                names.remove(root, name("f"));
            }
            held.into_iter().for_each(|node| names.release(node));
        }
        names.release(root);
        let tree = names.nodes.lock();
        assert!(tree.nodes.len() <= 8, "{}", tree.nodes.len());
        assert_eq!(tree.free.len(), tree.nodes.len() - 1);
        assert_eq!(tree.index.len(), 0);
    }
}
