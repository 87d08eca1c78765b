//! What a directory of the lowers certainly does not have.
//!
//! Most names that a guest creates, moves and removes are its own, and for each of them an overlay
//! must know that nothing lies beneath. Lowers do not change, so this can be learned once: a few
//! bits a name, set for all that is there. A name without its bits is not there; one with them may
//! be, and is looked for.

use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::RandomState;

use super::lowers::LowerDir;
use crate::{Cookie, Name, Result};

/// Questions about one directory before it is listed for an answer.
const ASKED_FIRST: u32 = 4;
/// Names beyond which a directory is not listed for this.
const NAMES_MAX: usize = 1 << 16;
const BITS_PER_NAME: usize = 16;

/// Says of names that a directory does not have them, once it was asked often enough.
#[derive(Default)]
pub(super) struct NegativeFilter {
    asked: AtomicU32,
    /// None inside: it cannot be learned, for the directory is too large or does not let itself be
    /// listed.
    filter: OnceLock<Option<Filter>>,
}

struct Filter {
    bits: Box<[u64]>,
    hasher: RandomState,
}

impl NegativeFilter {
    /// Whether none of `parts` has `name`; false if that is not known.
    #[inline]
    pub(super) fn is_sure_of(&self, name: Name<'_>, parts: &[LowerDir]) -> bool {
        match self.filter.get() {
            Some(Some(filter)) => !filter.may_have(name),
            Some(None) => false,
            None => {
                if self.asked.fetch_add(1, Ordering::Relaxed) == ASKED_FIRST {
                    let _ = self.filter.set(Filter::learn(parts));
                }
                false
            }
        }
    }
}

impl Filter {
    fn learn(parts: &[LowerDir]) -> Option<Self> {
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
        let mut filter = Filter { bits: vec![0; words].into(), hasher: RandomState::default() };
        for name in &names {
            let (word, mask) = filter.place(name);
            if let Some(bits) = filter.bits.get_mut(word) {
                *bits |= mask;
            }
        }
        Some(filter)
    }

    /// The word of a name, and its bits there.
    #[inline]
    fn place(&self, name: &str) -> (usize, u64) {
        let hash = self.hasher.hash_one(name);
        let mask = 1 << (hash >> 58) | 1 << (hash >> 52 & 63) | 1 << (hash >> 46 & 63);
        let word = hash & (self.bits.len() as u64 - 1);
        (usize::try_from(word).unwrap_or(usize::MAX), mask)
    }

    #[inline]
    fn may_have(&self, name: Name<'_>) -> bool {
        let (word, mask) = self.place(name.as_str());
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
    fn what_is_there_is_never_said_to_be_absent_and_most_of_what_is_not_is() {
        for there in [0, 1, 3, 1000] {
            let parts = [LowerDir::Plain(dir_of(there)), LowerDir::Plain(dir_of(there / 2))];
            let absent = NegativeFilter::default();
            let sure = |name: &str| absent.is_sure_of(Name::new(name).unwrap(), &parts);
            for _ in 0..=ASKED_FIRST {
                assert!(!sure("anything"));
            }
            assert!((0..there).all(|nth| !sure(&format!("file{nth}"))));
            let known = (0..1000).filter(|nth| sure(&format!("other{nth}"))).count();
            assert!(known > 950, "{known} with {there} names");
        }
    }

    #[test]
    fn a_directory_that_is_too_large_is_never_said_to_lack_anything() {
        let parts: [LowerDir; 2] =
            std::array::from_fn(|_| LowerDir::Plain(dir_of(NAMES_MAX / 2 + 1)));
        let absent = NegativeFilter::default();
        let name = Name::new("missing").unwrap();
        assert!((0..100).all(|_| !absent.is_sure_of(name, &parts)));
    }
}
