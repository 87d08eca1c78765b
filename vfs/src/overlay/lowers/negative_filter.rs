//! A Bloom filter of the names in the lowers' directories, for fast negative lookups.
//!
//! Most names that a guest creates, renames and removes are its own, and for each of them an
//! overlay must know that no lower has the name. Lowers do not change, so the filter is built once
//! per directory, from its listing. A name that the filter does not contain is absent; a name that
//! it contains may exist and is looked up.

use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::RandomState;

use super::part::LowerDir;
use crate::{Cookie, Name, Result};

/// Lookups in one directory before its filter is built: a listing costs more than a few lookups.
const LOOKUPS_BEFORE_BUILD: u32 = 4;
/// The most names of a filter (128 KiB of bits). A larger directory has no filter.
const NAMES_MAX: usize = 1 << 16;
const BITS_PER_NAME: usize = 16;

/// A Bloom filter of one directory's names, built on the fifth lookup.
#[derive(Default)]
pub(super) struct NegativeFilter {
    lookups: AtomicU32,
    /// `None` inside: the directory has too many names or cannot be listed.
    filter: OnceLock<Option<BloomFilter>>,
}

struct BloomFilter {
    bits: Box<[u64]>,
    hasher: RandomState,
}

impl NegativeFilter {
    /// Returns whether the filter proves that none of `parts` has `name`.
    #[inline]
    pub(super) fn excludes(&self, name: Name<'_>, parts: &[LowerDir]) -> bool {
        match self.filter.get() {
            Some(Some(filter)) => !filter.may_contain(name),
            Some(None) => false,
            None => {
                if self.lookups.fetch_add(1, Ordering::Relaxed) == LOOKUPS_BEFORE_BUILD {
                    let _ = self.filter.set(BloomFilter::build(parts));
                }
                false
            }
        }
    }
}

impl BloomFilter {
    fn build(parts: &[LowerDir]) -> Option<Self> {
        let mut names: Vec<Box<str>> = Vec::new();
        for part in parts {
            let listed: Result<()> = part.dir().read_dir(Cookie::START, &mut |entry| {
                names.push(entry.name.as_str().into());
                if names.len() > NAMES_MAX {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if listed.is_err() || names.len() > NAMES_MAX {
                return None;
            }
        }
        let words = (names.len() * BITS_PER_NAME).div_ceil(64).next_power_of_two();
        let mut filter =
            BloomFilter { bits: vec![0; words].into(), hasher: RandomState::default() };
        for name in &names {
            let (word, mask) = filter.bits_of(name);
            if let Some(bits) = filter.bits.get_mut(word) {
                *bits |= mask;
            }
        }
        Some(filter)
    }

    /// Returns the index of the word for a name, and the mask of its three bits count.
    #[inline]
    fn bits_of(&self, name: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        let mask = 1 << (hash >> 58) | 1 << (hash >> 52 & 63) | 1 << (hash >> 46 & 63);
        let word = hash & (self.bits.len() as u64 - 1);
        (usize::try_from(word).unwrap_or(usize::MAX), mask)
    }

    #[inline]
    fn may_contain(&self, name: Name<'_>) -> bool {
        let (word, mask) = self.bits_of(name.as_str());
        self.bits.get(word).is_none_or(|bits| bits & mask == mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, DirRef, MemFs, OpenFlags, OpenHow};

    fn dir_of(names: usize) -> DirRef {
        let root = MemFs::new().root();
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
        for nth in 0..names {
            let name = format!("file{nth}");
            root.open(Name::new(&name).unwrap().into(), how).unwrap();
        }
        root
    }

    #[test]
    fn filter_has_no_false_negatives_and_few_false_positives() {
        for count in [0, 1, 3, 1000] {
            let parts = [LowerDir::Plain(dir_of(count)), LowerDir::Plain(dir_of(count / 2))];
            let filter = NegativeFilter::default();
            let excluded = |name: &str| filter.excludes(Name::new(name).unwrap(), &parts);
            for _ in 0..=LOOKUPS_BEFORE_BUILD {
                assert!(!excluded("anything"));
            }
            assert!((0..count).all(|nth| !excluded(&format!("file{nth}"))));
            let found = (0..1000).filter(|nth| excluded(&format!("other{nth}"))).count();
            assert!(found > 950, "{found} with {count} names");
        }
    }

    #[test]
    fn filter_of_a_too_large_directory_excludes_nothing() {
        let parts: [LowerDir; 2] =
            std::array::from_fn(|_| LowerDir::Plain(dir_of(NAMES_MAX / 2 + 1)));
        let filter = NegativeFilter::default();
        let name = Name::new("missing").unwrap();
        assert!((0..100).all(|_| !filter.excludes(name, &parts)));
    }
}
