//! An interner for lists of numbers.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::bug;

use super::trie::number;

/// Interned lists: equal lists have the same number.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    flat: Vec<u32>,
    /// The end of each list in `flat`; a list starts where the previous list ends.
    ends: Vec<u32>,
    index: HashTable<u32>,
}

impl Lists {
    /// Returns the number of `list`, inserting it if it is new.
    pub(crate) fn intern(&mut self, list: &[u32]) -> u32 {
        let hash = hash(list);
        if let Some(id) = self.index.find(hash, |id| get(&self.flat, &self.ends, *id) == list) {
            return *id;
        }
        let id = number(self.ends.len());
        self.flat.extend_from_slice(list);
        self.ends.push(number(self.flat.len()));
        let (flat, ends) = (&self.flat, &self.ends);
        self.index.insert_unique(hash, id, |id| self::hash(get(flat, ends, *id)));
        id
    }

    pub(crate) fn get(&self, id: u32) -> &[u32] {
        get(&self.flat, &self.ends, id)
    }

    /// Returns the number of lists.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

fn get<'a>(flat: &'a [u32], ends: &[u32], id: u32) -> &'a [u32] {
    let end_of = |id: u32| ends.get(id as usize).map(|end| *end as usize);
    let start = id.checked_sub(1).map_or(Some(0), end_of);
    let list = start.zip(end_of(id)).and_then(|(start, end)| flat.get(start..end));
    list.unwrap_or_else(|| bug!(&[]; "there is no list {id}"))
}

fn hash(list: &[u32]) -> u64 {
    // A fixed seed suffices: only the author of the policy chooses the hashed values.
    let mut hasher = FixedState::default().build_hasher();
    for number in list {
        hasher.write_u32(*number);
    }
    hasher.finish()
}
