//! The entries of one directory: a hash table by name over a vector in insertion order.
//!
//! Each entry has a position, which is its cookie. Positions ascend and are never reused, so a
//! cookie stays valid when entries come and go. A removal leaves a hole in the vector; the vector
//! is compacted when holes outnumber entries.
//!
//! perf: a name of at most 16 bytes is compared and hashed as two integers, which is faster than a
//! call of `memcmp`.

use std::hash::{BuildHasher, Hasher};

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::tree::Child;
use crate::Name;

/// Compaction starts above this number of holes.
const HOLES_MIN: usize = 32;

/// The entries of one directory.
#[derive(Default)]
pub(super) struct Entries {
    hasher: RandomState,
    /// Indices into `slots`.
    ///
    /// INVARIANT: exactly the indices of the slots that are not holes.
    index: HashTable<usize>,
    /// INVARIANT: sorted by position; the last slot is not a hole.
    slots: Vec<Slot>,
    position_next: u64,
}

struct Slot {
    /// The position in the directory's stream: the cookie after this entry.
    position: u64,
    /// `None` is a hole.
    entry: Option<(CompactString, Child)>,
}

impl Slot {
    fn is(&self, name: Name<'_>) -> bool {
        self.entry
            .as_ref()
            .is_some_and(|(own, _)| names_equal(own.as_bytes(), name.as_str().as_bytes()))
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, name: Name<'_>) -> Option<&Child> {
        let hash = hash(&self.hasher, name.as_str());
        let at =
            *self.index.find(hash, |at| self.slots.get(*at).is_some_and(|slot| slot.is(name)))?;
        Some(&self.slots.get(at)?.entry.as_ref()?.1)
    }

    /// Returns the entries after `position`.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, &str, &Child)> {
        let start = self.slots.partition_point(|slot| slot.position <= position);
        self.slots.iter().skip(start).filter_map(|slot| {
            let (name, child) = slot.entry.as_ref()?;
            Some((slot.position, name.as_str(), child))
        })
    }

    /// Inserts an entry. The name must be vacant.
    pub(super) fn insert(&mut self, name: Name<'_>, child: Child) {
        self.position_next += 1;
        let at = self.slots.len();
        let entry = Some((CompactString::default(), child));
        self.slots.push(Slot { position: self.position_next, entry });
        // perf: store forwarding, see docs/performance.md. The name is built in place.
        if let Some((own, _)) = self.slots.last_mut().and_then(|slot| slot.entry.as_mut()) {
            own.push_str(name.as_str());
        }
        let Entries { hasher, index, slots, .. } = self;
        index.insert_unique(hash(hasher, name.as_str()), at, |at| hash_at(hasher, slots, *at));
    }

    /// Removes an entry, and compacts the vector if holes outnumber entries.
    pub(super) fn remove(&mut self, name: Name<'_>) -> Option<Child> {
        let hash = hash(&self.hasher, name.as_str());
        let is_it = |at: &usize| self.slots.get(*at).is_some_and(|slot| slot.is(name));
        let (at, _) = self.index.find_entry(hash, is_it).ok()?.remove();
        let (_, child) = self.slots.get_mut(at)?.entry.take()?;
        while self.slots.pop_if(|slot| slot.entry.is_none()).is_some() {}
        let holes = self.slots.len() - self.index.len();
        if holes > HOLES_MIN && holes > self.slots.len() / 2 {
            self.compact();
        }
        Some(child)
    }

    fn compact(&mut self) {
        self.slots.retain(|slot| slot.entry.is_some());
        self.index.clear();
        let Entries { hasher, index, slots, .. } = self;
        for at in 0..slots.len() {
            index.insert_unique(hash_at(hasher, slots, at), at, |at| hash_at(hasher, slots, *at));
        }
    }
}

fn hash_at(hasher: &RandomState, slots: &[Slot], at: usize) -> u64 {
    let entry = slots.get(at).and_then(|slot| slot.entry.as_ref());
    hash(hasher, entry.map_or("", |(name, _)| name))
}

#[inline]
fn hash(hasher: &RandomState, name: &str) -> u64 {
    match as_integers(name.as_bytes()) {
        Some((first, last)) => {
            let mut hasher = hasher.build_hasher();
            hasher.write_u64(first);
            hasher.write_u64(last);
            hasher.finish()
        }
        None => hasher.hash_one(name),
    }
}

#[inline]
fn names_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (as_integers(one), as_integers(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Returns two integers that differ for any two names of the same length, or `None` for a name
/// longer than 16 bytes.
#[inline]
fn as_integers(name: &[u8]) -> Option<(u64, u64)> {
    if name.len() > 16 {
        return None;
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)));
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return Some((u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()));
    }
    let byte = |at| u64::from(name.get(at).copied().unwrap_or(0));
    Some((byte(0) | byte(1) << 8 | byte(2) << 16, 0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A name. Short names differ from others of their length in one byte.
    fn name() -> impl Strategy<Value = String> {
        (1usize..20, 0usize..20, "[abc]").prop_map(|(len, at, byte)| {
            let mut name = "a".repeat(len);
            name.replace_range(at % len..=at % len, &byte);
            name
        })
    }

    proptest! {
        #[test]
        fn integer_comparison_of_names_equals_byte_comparison(one in name(), other in name()) {
            let (a, b) = (one.as_bytes(), other.as_bytes());
            prop_assert_eq!(names_equal(a, b), one == other);
            let state = RandomState::default();
            prop_assert!(one != other || hash(&state, &one) == hash(&state, &other));
        }

        /// Compares with a map, including the order of the listing.
        #[test]
        fn entries_are_listed_in_insertion_order(
            operations in prop::collection::vec((name(), any::<bool>()), 0..300),
        ) {
            let (mut entries, mut model, mut count) = (Entries::default(), BTreeMap::new(), 0);
            for (text, is_insert) in &operations {
                let name = Name::new(text).unwrap();
                let model_key = match entries.get(name) {
                    Some(Child::Dir(key)) => Some(*key),
                    Some(Child::Leaf(_)) | None => None,
                };
                prop_assert_eq!(model_key, model.get(text).copied());
                if *is_insert && model_key.is_none() {
                    count += 1;
                    entries.insert(name, Child::Dir(count));
                    model.insert(text.clone(), count);
                } else if !*is_insert {
                    prop_assert_eq!(entries.remove(name).is_some(), model.remove(text).is_some());
                }
                prop_assert_eq!(entries.len(), model.len());
                prop_assert_eq!(entries.is_empty(), model.is_empty());
                let holes = entries.slots.len() - entries.len();
                prop_assert!(holes <= HOLES_MIN + entries.len());
            }
            let mut expected: Vec<_> = model.iter().map(|(name, key)| (*key, &name[..])).collect();
            expected.sort_unstable();
            let listed = entries.after(0).map(|(position, name, _)| (position as usize, name));
            let listed: Vec<_> = listed.collect();
            prop_assert_eq!(&listed, &expected);
            for (at, (position, _)) in listed.iter().enumerate() {
                let rest = entries.after(*position as u64).map(|(_, name, _)| name);
                let rest: Vec<_> = rest.collect();
                let after: Vec<_> = expected[at + 1..].iter().map(|(_, name)| *name).collect();
                prop_assert_eq!(rest, after);
            }
        }
    }
}
