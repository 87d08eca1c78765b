//! Which descents have led to regular files, so that their type need not be asked before they are
//! opened again.
//!
//! A file is opened without a look before only if there has been one: no special file that was
//! there when a guest first named it is ever opened. What the memory is worth is checked on the
//! open handle every time, so that a wrong answer costs a system call, and never a wrong type.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Descent;

/// Descents that are remembered for one directory: 2 KiB.
const SLOTS: usize = 256;

/// The memory of one held directory; empty until the first file is opened.
#[derive(Default)]
pub(super) struct Known(OnceLock<Box<Table>>);

struct Table {
    /// Keyed anew for every table, so that no guest can choose what collides.
    hasher: RandomState,
    slots: [AtomicU64; SLOTS],
}

impl Table {
    fn find(&self, path: Descent<'_>) -> (u64, &AtomicU64) {
        // 0 is an empty slot.
        let hash = self.hasher.hash_one(path.as_str()) | 1 << 63;
        let [low, ..] = hash.to_le_bytes();
        (hash, &self.slots[usize::from(low)])
    }
}

impl Known {
    /// Whether `path` led to a regular file when it was last opened.
    pub(super) fn has(&self, path: Descent<'_>) -> bool {
        self.0.get().is_some_and(|table| {
            let (hash, slot) = table.find(path);
            slot.load(Ordering::Relaxed) == hash
        })
    }

    /// `path` leads to a regular file.
    pub(super) fn learn(&self, path: Descent<'_>) {
        let table = self.0.get_or_init(|| {
            let slots = [const { AtomicU64::new(0) }; SLOTS];
            Box::new(Table { hasher: RandomState::new(), slots })
        });
        let (hash, slot) = table.find(path);
        slot.store(hash, Ordering::Relaxed);
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
        assert!(!known.has(path("a")));
        known.forget(path("a"));
        known.learn(path("a"));
        known.learn(path("a/b"));
        assert!(known.has(path("a")) && known.has(path("a/b")));
        assert!(!known.has(path("b")) && !known.has(path("a/c")));
        known.forget(path("a"));
        assert!(!known.has(path("a")) && known.has(path("a/b")));
    }
}
