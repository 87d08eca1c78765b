//! The entries of one directory: found by name, and listed in the order in which they came.
//!
//! They stand in a row by their places. A place is never given twice, so it is a cookie that stays
//! good whatever comes and goes; what goes leaves a hole, and holes are closed when they are many.
//! The index says where in the row a name stands.
//!
//! Most names are short, and a name of at most 16 bytes is two numbers: comparing and hashing these
//! takes less than calling for a comparison of memory.

use std::hash::{BuildHasher, Hasher};

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::tree::Child;
use crate::Name;

/// Holes in the row that are not worth closing.
const HOLES_MIN: usize = 32;

/// The entries of one directory.
#[derive(Default)]
pub(super) struct Entries {
    hasher: RandomState,
    /// Indices into `row`.
    /// INVARIANT: exactly those of the slots that are no holes.
    index: HashTable<usize>,
    /// INVARIANT: by ascending places, the last one no hole.
    row: Vec<Slot>,
    place_next: u64,
}

struct Slot {
    /// The place in the directory's stream, which is its cookie.
    place: u64,
    /// `None` is a hole.
    entry: Option<(CompactString, Child)>,
}

impl Slot {
    fn is(&self, name: Name<'_>) -> bool {
        self.entry
            .as_ref()
            .is_some_and(|(own, _)| is_same(own.as_bytes(), name.as_str().as_bytes()))
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
            *self.index.find(hash, |at| self.row.get(*at).is_some_and(|slot| slot.is(name)))?;
        Some(&self.row.get(at)?.entry.as_ref()?.1)
    }

    /// The entries behind `place`.
    pub(super) fn behind(&self, place: u64) -> impl Iterator<Item = (u64, &str, &Child)> {
        let start = self.row.partition_point(|slot| slot.place <= place);
        self.row.iter().skip(start).filter_map(|slot| {
            let (name, child) = slot.entry.as_ref()?;
            Some((slot.place, name.as_str(), child))
        })
    }

    /// There must be no entry of that name.
    pub(super) fn insert(&mut self, name: Name<'_>, child: Child) {
        self.place_next += 1;
        let at = self.row.len();
        let entry = Some((CompactString::default(), child));
        self.row.push(Slot { place: self.place_next, entry });
        // Where it is to stay: a name that was put together elsewhere would be copied at once, and
        // the copy would wait for its bytes.
        if let Some((own, _)) = self.row.last_mut().and_then(|slot| slot.entry.as_mut()) {
            own.push_str(name.as_str());
        }
        let Entries { hasher, index, row, .. } = self;
        index.insert_unique(hash(hasher, name.as_str()), at, |at| hash_at(hasher, row, *at));
    }

    /// Holes never outnumber the entries for long.
    pub(super) fn remove(&mut self, name: Name<'_>) -> Option<Child> {
        let hash = hash(&self.hasher, name.as_str());
        let is_it = |at: &usize| self.row.get(*at).is_some_and(|slot| slot.is(name));
        let (at, _) = self.index.find_entry(hash, is_it).ok()?.remove();
        let (_, child) = self.row.get_mut(at)?.entry.take()?;
        while self.row.pop_if(|slot| slot.entry.is_none()).is_some() {}
        let holes = self.row.len() - self.index.len();
        if holes > HOLES_MIN && holes > self.row.len() / 2 {
            self.close_holes();
        }
        Some(child)
    }

    fn close_holes(&mut self) {
        self.row.retain(|slot| slot.entry.is_some());
        self.index.clear();
        let Entries { hasher, index, row, .. } = self;
        for at in 0..row.len() {
            index.insert_unique(hash_at(hasher, row, at), at, |at| hash_at(hasher, row, *at));
        }
    }
}

fn hash_at(hasher: &RandomState, row: &[Slot], at: usize) -> u64 {
    let entry = row.get(at).and_then(|slot| slot.entry.as_ref());
    hash(hasher, entry.map_or("", |(name, _)| name))
}

#[inline]
fn hash(hasher: &RandomState, name: &str) -> u64 {
    match numbers(name.as_bytes()) {
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
fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    match (numbers(one), numbers(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Two numbers that no other name of the same length has; `None` for a long one.
#[inline]
fn numbers(name: &[u8]) -> Option<(u64, u64)> {
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

    /// A name, for short ones in all ways of being alike but for a byte.
    fn name() -> impl Strategy<Value = String> {
        (1usize..20, 0usize..20, "[abc]").prop_map(|(len, at, byte)| {
            let mut name = "a".repeat(len);
            name.replace_range(at % len..=at % len, &byte);
            name
        })
    }

    proptest! {
        #[test]
        fn names_of_one_length_are_the_same_by_their_numbers(one in name(), other in name()) {
            let (a, b) = (one.as_bytes(), other.as_bytes());
            prop_assert_eq!(is_same(a, b), one == other);
            let state = RandomState::default();
            prop_assert!(one != other || hash(&state, &one) == hash(&state, &other));
        }

        /// Against a map, with the order by which it lists.
        #[test]
        fn entries_are_found_and_listed_in_the_order_in_which_they_came(
            acts in prop::collection::vec((name(), any::<bool>()), 0..300),
        ) {
            let (mut entries, mut known, mut count) = (Entries::default(), BTreeMap::new(), 0);
            for (text, comes) in &acts {
                let name = Name::new(text).unwrap();
                let known_key = match entries.get(name) {
                    Some(Child::Dir(key)) => Some(*key),
                    Some(Child::Leaf(_)) | None => None,
                };
                prop_assert_eq!(known_key, known.get(text).copied());
                if *comes && known_key.is_none() {
                    count += 1;
                    entries.insert(name, Child::Dir(count));
                    known.insert(text.clone(), count);
                } else if !*comes {
                    prop_assert_eq!(entries.remove(name).is_some(), known.remove(text).is_some());
                }
                prop_assert_eq!(entries.len(), known.len());
                prop_assert_eq!(entries.is_empty(), known.is_empty());
                let holes = entries.row.len() - entries.len();
                prop_assert!(holes <= HOLES_MIN + entries.len());
            }
            let mut wanted: Vec<_> = known.iter().map(|(name, key)| (*key, &name[..])).collect();
            wanted.sort_unstable();
            let listed = entries.behind(0).map(|(place, name, _)| (place as usize, name));
            let listed: Vec<_> = listed.collect();
            prop_assert_eq!(&listed, &wanted);
            for (at, (place, _)) in listed.iter().enumerate() {
                let rest: Vec<_> = entries.behind(*place as u64).map(|(_, name, _)| name).collect();
                let behind: Vec<_> = wanted[at + 1..].iter().map(|(_, name)| *name).collect();
                prop_assert_eq!(rest, behind);
            }
        }
    }
}
