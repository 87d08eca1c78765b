//! Lists of numbers, each kept once.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::bug;

use super::trie::number;

/// Lists by number. The same list has the same number.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    flat: Vec<u32>,
    /// Where each list ends in `flat`; it starts where the one before ends.
    ends: Vec<u32>,
    index: HashTable<u32>,
}

impl Lists {
    /// The number of `list`.
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

    /// How many lists there are.
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
    // Nobody but the author of the policy chooses what is hashed.
    let mut hasher = FixedState::default().build_hasher();
    for number in list {
        hasher.write_u32(*number);
    }
    hasher.finish()
}
