//! An immutable path as a linked list of names that share their parents.
//!
//! A walk of a deep tree that stored the full text of each path would take memory quadratic in the
//! depth. A `SharedPath` costs its last name and a reference to its parent.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, OnceLock};

/// A sequence of names relative to a root. The default is the root. A clone copies one reference.
///
/// Equality, order and hash are those of the text: names joined by slashes, compared as bytes.
#[derive(Clone, Default)]
pub(crate) struct SharedPath(Option<Arc<PathNode>>);

struct PathNode {
    parent: SharedPath,
    name: Box<str>,
    depth: usize,
    /// Length of the text in bytes.
    len: usize,
    /// Hash of the whole path, so that hashing a child costs its last name only. Keyed, since
    /// guests choose the names.
    hash: u64,
}

impl SharedPath {
    /// Returns the path of `name` in this directory.
    pub(crate) fn join(&self, name: &str) -> SharedPath {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let hash = HASHER.get_or_init(RandomState::new).hash_one((self.hash_value(), name));
        let (depth, len) = match &self.0 {
            None => (1, name.len()),
            Some(parent) => (parent.depth + 1, parent.len + 1 + name.len()),
        };
        let parent = self.clone();
        SharedPath(Some(Arc::new(PathNode { parent, name: name.into(), depth, len, hash })))
    }

    /// Returns the parent and the last name, or `None` for the root.
    pub(crate) fn split_last(&self) -> Option<(&SharedPath, &str)> {
        self.0.as_deref().map(|node| (&node.parent, &*node.name))
    }

    /// Returns the last name; empty for the root.
    pub(crate) fn name(&self) -> &str {
        self.0.as_deref().map_or("", |node| &node.name)
    }

    /// Returns the names, from the root down.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::with_capacity(self.depth());
        let mut at = self;
        while let Some((parent, name)) = at.split_last() {
            names.push(name);
            at = parent;
        }
        names.into_iter().rev()
    }

    /// Returns the number of names.
    pub(crate) fn depth(&self) -> usize {
        self.0.as_deref().map_or(0, |node| node.depth)
    }

    /// Returns the names joined by slashes; empty for the root.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.0.as_deref().map_or(0, |node| node.len));
        for name in self.names() {
            if !text.is_empty() {
                text.push('/');
            }
            text.push_str(name);
        }
        text
    }

    fn hash_value(&self) -> u64 {
        self.0.as_deref().map_or(0, |node| node.hash)
    }

    fn is_same_node(&self, other: &SharedPath) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Returns the path of the first `depth` names.
    fn ancestor(&self, depth: usize) -> &SharedPath {
        let mut at = self;
        while at.depth() > depth
            && let Some((parent, _)) = at.split_last()
        {
            at = parent;
        }
        at
    }
}

impl Drop for PathNode {
    /// Drops the ancestors iteratively: a path may have more names than a recursion has stack.
    fn drop(&mut self) {
        let mut next = self.parent.0.take();
        while let Some(node) = next {
            next = Arc::into_inner(node).and_then(|mut node| node.parent.0.take());
        }
    }
}

impl PartialEq for SharedPath {
    fn eq(&self, other: &SharedPath) -> bool {
        if (self.hash_value(), self.depth()) != (other.hash_value(), other.depth()) {
            return false;
        }
        let (mut one, mut other) = (self, other);
        loop {
            if one.is_same_node(other) {
                return true;
            }
            match (one.split_last(), other.split_last()) {
                (Some((parent, name)), Some((other_parent, other_name))) if name == other_name => {
                    (one, other) = (parent, other_parent);
                }
                _ => return false,
            }
        }
    }
}

impl Eq for SharedPath {}

impl Hash for SharedPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash_value());
    }
}

impl Ord for SharedPath {
    fn cmp(&self, other: &SharedPath) -> Ordering {
        let depth = self.depth().min(other.depth());
        let (mut one, mut two) = (self.ancestor(depth), other.ancestor(depth));
        let mut ordering = self.depth().cmp(&other.depth());
        let (mut one_continues, mut two_continues) = (self.depth() > depth, other.depth() > depth);
        while !one.is_same_node(two)
            && let (Some((one_parent, one_name)), Some((two_parent, two_name))) =
                (one.split_last(), two.split_last())
        {
            // The topmost difference decides, and the loop finds it last.
            if one_name != two_name {
                ordering = bytes(one_name, one_continues).cmp(bytes(two_name, two_continues));
            }
            (one, two) = (one_parent, two_parent);
            (one_continues, two_continues) = (true, true);
        }
        ordering
    }
}

/// Returns the bytes of a name, with the slash after it if the path continues.
fn bytes(name: &str, continues: bool) -> impl Iterator<Item = u8> {
    name.bytes().chain(continues.then_some(b'/'))
}

impl PartialOrd for SharedPath {
    fn partial_cmp(&self, other: &SharedPath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for SharedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    fn path(names: &[String]) -> SharedPath {
        names.iter().fold(SharedPath::default(), |path, name| path.join(name))
    }

    fn hash(path: &SharedPath) -> u64 {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn shared_paths_compare_as_their_text(
            start in prop::collection::vec("[a./0]{1,2}", 0..3),
            one in prop::collection::vec("[a.0-]{1,2}", 0..4),
            other in prop::collection::vec("[a.0-]{1,2}", 0..4),
        ) {
            let start: Vec<_> = start.iter().map(|name| name.replace('/', "b")).collect();
            let shared = path(&start);
            let below = |names: &[String]| {
                names.iter().fold(shared.clone(), |path, name| path.join(name))
            };
            let unshared = path(&[&start[..], &other[..]].concat());
            let (one, other) = (below(&one), below(&other));
            for other in [other, unshared] {
                let (text, other_text) = (one.to_text(), other.to_text());
                prop_assert_eq!(one.cmp(&other), text.cmp(&other_text), "{} {}", text, other_text);
                prop_assert_eq!(one == other, text == other_text);
                prop_assert!(one != other || hash(&one) == hash(&other));
                prop_assert_eq!(one.names().collect::<Vec<_>>().join("/"), text);
            }
        }
    }

    #[test]
    fn dropping_a_path_of_a_million_names_does_not_recurse() {
        let mut path = SharedPath::default();
        for _ in 0..1_000_000 {
            path = path.join("d");
        }
        let branch = path.join("other");
        drop(path);
        assert_eq!(branch.depth(), 1_000_001);
        drop(branch);
    }
}
