//! Lists of numbers, each kept once.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

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
        let id = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.flat.extend_from_slice(list);
        self.ends.push(u32::try_from(self.flat.len()).unwrap_or(u32::MAX));
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
    let id = id as usize;
    let end = ends.get(id).map_or(0, |end| *end as usize);
    let start = match id.checked_sub(1) {
        Some(before) => ends.get(before).map_or(0, |end| *end as usize),
        None => 0,
    };
    flat.get(start..end).unwrap_or_default()
}

fn hash(list: &[u32]) -> u64 {
    // Nobody but the author of the policy chooses what is hashed.
    let mut hasher = FixedState::default().build_hasher();
    for number in list {
        hasher.write_u32(*number);
    }
    hasher.finish()
}
