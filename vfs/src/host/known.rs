//! Which descents have led to regular files or to links, so that their type need not be asked
//! before they are opened again.
//!
//! A file is opened without a look before only if there has been one: no special file that was
//! there when a guest first named it is ever opened. What the memory is worth is checked every
//! time, on the open handle or by reading the link, so that a wrong answer costs a system call,
//! and never a wrong type.

use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use crate::Descent;

const SEEN_FILE: u64 = 1 << 63;
const SEEN_LINK: u64 = 1 << 62;

/// Descents that are remembered for one directory: 2 KiB.
const SLOTS: usize = 256;

/// What a descent has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// The memory of one held directory; empty until the first file is opened.
#[derive(Default)]
pub(super) struct Known(OnceLock<Box<Table>>);

struct Table {
    /// Keyed anew for every table, so that no guest can choose what collides.
    hasher: RandomState,
    slots: [AtomicU64; SLOTS],
}

impl Table {
    #[expect(clippy::indexing_slicing, reason = "a byte is less than 256")]
    fn find(&self, path: Descent<'_>) -> (u64, &AtomicU64) {
        // The two highest bits say what was seen; both are 0 in an empty slot.
        let hash = self.hasher.hash_one(path.as_str()) & !(SEEN_FILE | SEEN_LINK);
        let [low, ..] = hash.to_le_bytes();
        (hash, &self.slots[usize::from(low)])
    }
}

impl Known {
    /// What `path` led to when it was last opened.
    pub(super) fn recall(&self, path: Descent<'_>) -> Option<Seen> {
        let (hash, slot) = self.0.get()?.find(path);
        match slot.load(Ordering::Relaxed) ^ hash {
            SEEN_FILE => Some(Seen::File),
            SEEN_LINK => Some(Seen::Link),
            _ => None,
        }
    }

    /// What `path` leads to.
    pub(super) fn learn(&self, path: Descent<'_>, seen: Seen) {
        let table = self.0.get_or_init(|| {
            let slots = [const { AtomicU64::new(0) }; SLOTS];
            Box::new(Table { hasher: RandomState::default(), slots })
        });
        let (hash, slot) = table.find(path);
        let seen = match seen {
            Seen::File => SEEN_FILE,
            Seen::Link => SEEN_LINK,
        };
        slot.store(hash | seen, Ordering::Relaxed);
    }

    /// `path` may lead to anything.
    pub(super) fn forget(&self, path: Descent<'_>) {
        if let Some(table) = self.0.get() {
            table.find(path).1.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_learnt_is_known() {
        let known = Known::default();
        let path = |text| Descent::new(text).unwrap();
        assert_eq!(known.recall(path("a")), None);
        known.forget(path("a"));
        known.learn(path("a"), Seen::File);
        known.learn(path("a/b"), Seen::Link);
        assert_eq!(known.recall(path("a")), Some(Seen::File));
        assert_eq!(known.recall(path("a/b")), Some(Seen::Link));
        assert_eq!((known.recall(path("b")), known.recall(path("a/c"))), (None, None));
        known.forget(path("a"));
        assert_eq!(known.recall(path("a")), None);
        assert_eq!(known.recall(path("a/b")), Some(Seen::Link));
    }
}
