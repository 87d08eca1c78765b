//! Chunks of a file by number: a dense vector from the start, a map after the first hole.

use std::collections::BTreeMap;

/// Chunks by number. A missing chunk is empty.
#[derive(Default)]
pub(super) struct Chunks {
    /// Chunk 0 and all that follow it without a hole: found by index.
    dense: Vec<Vec<u8>>,
    /// The chunks after the first hole.
    ///
    /// INVARIANT: every key is greater than `dense.len()` or equal to it.
    sparse: BTreeMap<u64, Vec<u8>>,
}

impl Chunks {
    pub(super) fn get(&self, number: u64) -> &[u8] {
        match usize::try_from(number).ok().and_then(|at| self.dense.get(at)) {
            Some(chunk) => chunk,
            None => self.sparse.get(&number).map_or(&[], Vec::as_slice),
        }
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Vec<u8>> {
        match usize::try_from(number).ok().and_then(|at| self.dense.get_mut(at)) {
            Some(chunk) => Some(chunk),
            None => self.sparse.get_mut(&number),
        }
    }

    /// Returns the chunk, inserting an empty one if it is missing.
    pub(super) fn insert(&mut self, number: u64) -> &mut Vec<u8> {
        if number == self.dense.len() as u64 {
            let chunk = self.sparse.remove(&number).unwrap_or_default();
            self.dense.push(chunk);
            // The chunks that now follow without a hole move to the vector.
            while let Some(next) = self.sparse.remove(&(self.dense.len() as u64)) {
                self.dense.push(next);
            }
        }
        match usize::try_from(number).ok().and_then(|at| self.dense.get_mut(at)) {
            Some(chunk) => chunk,
            None => self.sparse.entry(number).or_default(),
        }
    }

    /// Removes the chunk if it is empty.
    pub(super) fn remove_empty(&mut self, number: u64) {
        if number + 1 == self.dense.len() as u64 {
            self.dense.pop_if(|chunk| chunk.is_empty());
        } else if self.sparse.get(&number).is_some_and(Vec::is_empty) {
            self.sparse.remove(&number);
        }
    }

    /// Removes the chunks from `number` on. Returns the sum of their capacities.
    pub(super) fn cut(&mut self, number: u64) -> u64 {
        let sparse = self.sparse.split_off(&number);
        let start = usize::try_from(number).unwrap_or(usize::MAX).min(self.dense.len());
        let dense = self.dense.drain(start..);
        dense.chain(sparse.into_values()).map(|chunk| chunk.capacity() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_inserted_in_any_order_are_found_by_number() {
        let mut chunks = Chunks::default();
        for number in [3, 1, 1 << 40, 0, 2, 4, 7] {
            let chunk = chunks.insert(number);
            assert!(chunk.is_empty());
            chunk.push(number as u8);
        }
        assert_eq!(chunks.dense.len(), 5);
        for number in [0, 1, 2, 3, 4, 7, 1 << 40] {
            assert_eq!(chunks.get(number), [number as u8], "{number}");
            assert_eq!(chunks.insert(number).len(), 1);
        }
        assert_eq!((chunks.get(5), chunks.get(6)), (&[][..], &[][..]));
        assert!(chunks.cut(3) > 0);
        assert_eq!((chunks.get(2).len(), chunks.get(3).len(), chunks.get(7).len()), (1, 0, 0));
        chunks.insert(3);
        chunks.remove_empty(3);
        chunks.insert(9);
        chunks.remove_empty(9);
        assert_eq!((chunks.dense.len(), chunks.sparse.len()), (3, 0));
    }
}
