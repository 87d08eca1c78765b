//! The positions of held nodes in the guest's world: a tree of names that renames move.
//!
//! A handle of a live policy is judged by where its node is, and a policy that is narrowed later
//! can tell apart two places that are equivalent now. So the tree has a node for each name on the
//! way to a held file or directory, and a rename through the confinement moves the node that has
//! the old name, with everything beneath it. A name that is removed leaves its node where it was
//! last. A node is freed with the last handle at or beneath it, so memory is bounded by what is
//! held.
//!
//! A rename is announced before it is judged, and until it has ended no position beneath the old
//! name is known, but to the thread that renames. A handle that looks up its state meanwhile, which
//! it only does after the policy was narrowed, is refused. So a state that a handle has cached was
//! looked up before the rename was announced, and the rename was judged by that policy or by a
//! later one: under it both places are equivalent.
//!
//! Lock order: `renames > tree`. `renames` is held while a node is renamed, also by the filesystem
//! beneath, and can be taken again by the same thread, because a live policy may be laid over a
//! filesystem twice. `tree` is held for a walk up the tree. Handles of files are moved by the name
//! that they were opened by, whatever further names the file has.

use std::hash::{BuildHasher, Hasher};
use std::thread::ThreadId;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::{Descent, Errno, Name, Result};
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard};

use crate::automaton::policy::{Policy, State};

/// Most names above a node: what a guest opens piece by piece costs memory of the host. A path that
/// is opened at once has at most 2,048.
const DEPTH_MAX: usize = 1 << 16;

/// The positions of all that is held under one live policy.
pub(crate) struct Positions {
    tree: Mutex<Tree>,
    renames: ReentrantMutex<()>,
}

/// A node of the tree. It is freed by [`Positions::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(usize);

/// The root of the guest's world, which is never freed.
const ROOT: usize = 0;

struct Tree {
    nodes: Vec<Node>,
    free: Vec<usize>,
    /// The nodes that can be found by their names.
    index: HashTable<usize>,
}

struct Node {
    above: usize,
    name: Box<str>,
    depth: usize,
    /// Handles of it, nodes beneath it, and renames of it that have not ended.
    uses: usize,
    /// The threads that are renaming it.
    renamed_by: Vec<ThreadId>,
}

/// A rename that was announced. It ends when it is dropped.
pub(crate) struct Renaming<'p> {
    positions: &'p Positions,
    _one_at_a_time: ReentrantMutexGuard<'p, ()>,
    /// The node that has the old name, if anything is held at it or beneath it.
    node: Option<usize>,
}

impl Positions {
    pub(crate) fn new() -> Self {
        let tree =
            Tree { nodes: vec![Node::new(ROOT, "", 0)], free: vec![], index: HashTable::new() };
        Positions { tree: Mutex::new(tree), renames: ReentrantMutex::new(()) }
    }

    /// The position of `guest_path`, a path of the guest's world as a preopen is named. `None` for
    /// what is no such path.
    pub(crate) fn of(&self, guest_path: &str) -> Option<Position> {
        let names = guest_path.split('/').filter(|name| !matches!(*name, "" | "."));
        let names = names.collect::<Vec<_>>().join("/");
        self.beneath(Position(ROOT), Descent::new(&names).ok()?).ok()
    }

    /// The position of what `path` leads to.
    ///
    /// Errors: `Nametoolong` with more than [`DEPTH_MAX`] names.
    pub(crate) fn beneath(&self, from: Position, path: Descent<'_>) -> Result<Position> {
        let mut tree = self.tree.lock();
        let depth = tree.nodes.get(from.0).map_or(0, |node| node.depth);
        if depth + path.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        let mut at = from.0;
        for name in path.names() {
            at = tree.find(at, name.as_str()).unwrap_or_else(|| tree.add(at, name.as_str()));
        }
        tree.hold(at);
        Ok(Position(at))
    }

    /// Lets go of a position.
    pub(crate) fn release(&self, position: Position) {
        self.tree.lock().release(position.0);
    }

    /// The state of `position` in `policy`; `None` while it is renamed by another thread.
    pub(crate) fn state(&self, position: Position, policy: &Policy) -> Option<State> {
        let tree = self.tree.lock();
        let (mut names, mut at) = (Vec::new(), position.0);
        while at != ROOT {
            let node = tree.nodes.get(at)?;
            if !node.renamed_by.is_empty() {
                let this = std::thread::current().id();
                if node.renamed_by.iter().any(|thread| *thread != this) {
                    return None;
                }
            }
            names.push(&*node.name);
            at = node.above;
        }
        let mut state = Policy::START;
        for name in names.into_iter().rev() {
            state = policy.step(state, Name::new(name).ok()?);
        }
        Some(state)
    }

    /// Announces a rename of `name` in `from`, before it is judged.
    pub(crate) fn begin_rename(&self, from: Position, name: Name<'_>) -> Renaming<'_> {
        let one_at_a_time = self.renames.lock();
        let mut tree = self.tree.lock();
        let node = tree.find(from.0, name.as_str());
        if let Some(node) = node.and_then(|at| tree.nodes.get_mut(at)) {
            node.uses += 1;
            node.renamed_by.push(std::thread::current().id());
        }
        Renaming { positions: self, _one_at_a_time: one_at_a_time, node }
    }

    /// Keeps renames from being made, and directories from being created, until it is dropped.
    pub(crate) fn hold_renames(&self) -> ReentrantMutexGuard<'_, ()> {
        self.renames.lock()
    }

    /// `name` in `from` was removed: whatever gets that name now is something else.
    pub(crate) fn remove(&self, from: Position, name: Name<'_>) {
        self.tree.lock().remove(from.0, name.as_str());
    }
}

impl Renaming<'_> {
    /// The node has the name `new_name` in `into` now, and what had it is gone.
    pub(crate) fn moved(self, into: Position, new_name: Name<'_>) {
        let mut tree = self.positions.tree.lock();
        tree.remove(into.0, new_name.as_str());
        if let Some(node) = self.node {
            tree.rename(node, into.0, new_name.as_str());
        }
    }
}

impl Drop for Renaming<'_> {
    fn drop(&mut self) {
        let Some(at) = self.node else { return };
        let mut tree = self.positions.tree.lock();
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
    fn new(above: usize, name: &str, depth: usize) -> Self {
        let name = name.into();
        Node { above, name, depth, uses: 0, renamed_by: Vec::new() }
    }
}

fn hash(above: usize, name: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_usize(above);
    hasher.write(name.as_bytes());
    hasher.finish()
}

impl Tree {
    fn find(&self, above: usize, name: &str) -> Option<usize> {
        let is_it = |at: &usize| {
            self.nodes.get(*at).is_some_and(|node| node.above == above && *node.name == *name)
        };
        self.index.find(hash(above, name), is_it).copied()
    }

    fn hold(&mut self, at: usize) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.uses += 1;
        }
    }

    /// Adds a node that nothing uses yet.
    fn add(&mut self, above: usize, name: &str) -> usize {
        let depth = self.nodes.get(above).map_or(0, |node| node.depth) + 1;
        let node = Node::new(above, name, depth);
        let at = match self.free.pop() {
            Some(at) => at,
            None => self.nodes.len(),
        };
        match self.nodes.get_mut(at) {
            Some(slot) => *slot = node,
            None => self.nodes.push(node),
        }
        self.hold(above);
        self.insert(at);
        at
    }

    /// Makes a node be found by its name.
    fn insert(&mut self, at: usize) {
        let Tree { nodes, index, .. } = self;
        let of = |at: &usize| nodes.get(*at).map_or(0, |node| hash(node.above, &node.name));
        index.insert_unique(of(&at), at, of);
    }

    /// Makes a node not be found by its name any more.
    fn unlink(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else { return };
        if let Ok(entry) = self.index.find_entry(hash(node.above, &node.name), |it| *it == at) {
            entry.remove();
        }
    }

    fn remove(&mut self, above: usize, name: &str) {
        if let Some(at) = self.find(above, name) {
            self.unlink(at);
        }
    }

    fn rename(&mut self, at: usize, into: usize, new_name: &str) {
        self.unlink(at);
        let depth = self.nodes.get(into).map_or(0, |node| node.depth) + 1;
        let Some(node) = self.nodes.get_mut(at) else { return };
        let before = std::mem::replace(&mut node.above, into);
        (node.name, node.depth) = (new_name.into(), depth);
        self.insert(at);
        self.hold(into);
        self.release(before);
    }

    /// One use of a node less. The last frees it, and is one less of the node above.
    fn release(&mut self, at: usize) {
        let mut at = at;
        while at != ROOT {
            let Some(node) = self.nodes.get_mut(at) else { return };
            node.uses = node.uses.saturating_sub(1);
            if node.uses > 0 {
                return;
            }
            let above = node.above;
            self.unlink(at);
            self.free.push(at);
            at = above;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name<'_> {
        Name::new(name).unwrap()
    }

    fn beneath(positions: &Positions, from: Position, path: &str) -> Position {
        positions.beneath(from, Descent::new(path).unwrap()).unwrap()
    }

    /// The path of a position, by a policy in which each name has a state of its own.
    fn is_at(positions: &Positions, position: Position, path: &str) -> bool {
        let policy = Policy::builder().allow(path, palisade_vfs::Rights::READ).build().unwrap();
        positions.state(position, &policy) == Some(policy.at(path))
            && policy.rights(policy.at(path)).contains(palisade_vfs::Rights::READ)
    }

    #[test]
    fn positions_follow_renames_of_them_and_of_what_is_above() {
        let positions = Positions::new();
        let root = positions.of("/").unwrap();
        let (d, f) = (beneath(&positions, root, "a/b/d"), beneath(&positions, root, "a/b/d/f"));
        positions.begin_rename(root, name("a")).moved(root, name("x"));
        assert!(is_at(&positions, d, "/x/b/d") && is_at(&positions, f, "/x/b/d/f"));
        positions.begin_rename(d, name("f")).moved(root, name("g"));
        assert!(is_at(&positions, d, "/x/b/d") && is_at(&positions, f, "/g"));
        // One that does not come about.
        drop(positions.begin_rename(root, name("g")));
        assert!(is_at(&positions, f, "/g"));
    }

    #[test]
    fn a_removed_or_replaced_name_is_no_longer_moved() {
        let positions = Positions::new();
        let root = positions.of("").unwrap();
        let (old, replaced) = (beneath(&positions, root, "a"), beneath(&positions, root, "b"));
        positions.remove(root, name("a"));
        let new = beneath(&positions, root, "a");
        assert_ne!(old, new);
        positions.begin_rename(root, name("a")).moved(root, name("b"));
        positions.begin_rename(root, name("b")).moved(root, name("c"));
        assert!(is_at(&positions, old, "/a"));
        assert!(is_at(&positions, replaced, "/b"));
        assert!(is_at(&positions, new, "/c"));
    }

    #[test]
    fn a_position_is_unknown_to_other_threads_while_it_is_renamed() {
        let positions = Positions::new();
        let root = positions.of("").unwrap();
        let d = beneath(&positions, root, "a/d");
        let policy = Policy::read_only();
        let elsewhere = || {
            std::thread::scope(|scope| scope.spawn(|| positions.state(d, &policy)).join().unwrap())
        };
        let renaming = positions.begin_rename(root, name("a"));
        assert_eq!(elsewhere(), None);
        assert!(positions.state(d, &policy).is_some());
        // As where a live policy is laid over a filesystem twice.
        positions.begin_rename(root, name("a")).moved(root, name("b"));
        assert_eq!(elsewhere(), None);
        renaming.moved(root, name("b"));
        assert!(elsewhere().is_some());
        assert!(is_at(&positions, d, "/b/d"));
    }

    #[test]
    fn nothing_is_kept_of_what_is_no_longer_held() {
        let positions = Positions::new();
        let root = positions.of("/w").unwrap();
        for round in 0..100 {
            let paths = ["a/b/c", "a/b", "a/d", "e"];
            let held = paths.map(|path| beneath(&positions, root, path));
            positions.begin_rename(held[1], name("c")).moved(root, name("f"));
            positions.begin_rename(root, name("e")).moved(held[1], name("e"));
            if round % 2 == 0 {
                positions.remove(root, name("f"));
            }
            held.into_iter().for_each(|position| positions.release(position));
        }
        positions.release(root);
        let tree = positions.tree.lock();
        assert!(tree.nodes.len() <= 8, "{}", tree.nodes.len());
        assert_eq!(tree.free.len(), tree.nodes.len() - 1);
        assert_eq!(tree.index.len(), 0);
    }
}
