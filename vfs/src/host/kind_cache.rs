//! A direct-mapped cache of node types: which descents led to regular files or links.
//!
//! A cached type saves the `statat` before an open. A file is opened without it only if one was
//! made before, so no special file that existed when a guest first used its name is ever opened.
//! Every use of the cache is verified, on the open descriptor or by reading the link: a stale entry
//! costs a system call and never a wrong type. See docs/performance.md.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use crate::Descent;

const FILE_BIT: u64 = 1 << 63;
const LINK_BIT: u64 = 1 << 62;

/// Slots per directory: 2 KiB.
const SLOTS: usize = 256;

/// The cached type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// The cache of one held directory, allocated when the first file is opened.
#[derive(Default)]
pub(super) struct KindCache(OnceLock<Box<Table>>);

struct Table {
    /// Keyed per table, so that guests cannot choose collisions.
    hasher: RandomState,
    slots: [AtomicU64; SLOTS],
}

impl Table {
    #[expect(clippy::indexing_slicing, reason = "a byte is less than 256")]
    fn slot(&self, path: Descent<'_>) -> (u64, &AtomicU64) {
        // The two highest bits encode the type; both are 0 in an empty slot.
        let hash = self.hasher.hash_one(path.as_str()) & !(FILE_BIT | LINK_BIT);
        let [low, ..] = hash.to_le_bytes();
        (hash, &self.slots[usize::from(low)])
    }
}

impl KindCache {
    /// Returns the type of the node at `path` when it was last opened.
    pub(super) fn get(&self, path: Descent<'_>) -> Option<CachedKind> {
        let (hash, slot) = self.0.get()?.slot(path);
        match slot.load(Ordering::Relaxed) ^ hash {
            FILE_BIT => Some(CachedKind::File),
            LINK_BIT => Some(CachedKind::Link),
            _ => None,
        }
    }

    /// Inserts the type of the node at `path`.
    pub(super) fn insert(&self, path: Descent<'_>, kind: CachedKind) {
        let table = self.0.get_or_init(|| {
            let slots = [const { AtomicU64::new(0) }; SLOTS];
            Box::new(Table { hasher: RandomState::default(), slots })
        });
        let (hash, slot) = table.slot(path);
        let kind = match kind {
            CachedKind::File => FILE_BIT,
            CachedKind::Link => LINK_BIT,
        };
        slot.store(hash | kind, Ordering::Relaxed);
    }

    /// Removes the entry of `path`, if any. May remove the entry of another path in the same slot.
    pub(super) fn remove(&self, path: Descent<'_>) {
        if let Some(table) = self.0.get() {
            table.slot(path).1.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_cache_returns_only_inserted_entries() {
        let cache = KindCache::default();
        let path = |text| Descent::new(text).unwrap();
        assert_eq!(cache.get(path("a")), None);
        cache.remove(path("a"));
        cache.insert(path("a"), CachedKind::File);
        cache.insert(path("a/b"), CachedKind::Link);
        assert_eq!(cache.get(path("a")), Some(CachedKind::File));
        assert_eq!(cache.get(path("a/b")), Some(CachedKind::Link));
        assert_eq!((cache.get(path("b")), cache.get(path("a/c"))), (None, None));
        cache.remove(path("a"));
        assert_eq!(cache.get(path("a")), None);
        assert_eq!(cache.get(path("a/b")), Some(CachedKind::Link));
    }
}
