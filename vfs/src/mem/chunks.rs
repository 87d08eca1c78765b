//! The chunks of a file by their number: in a row from the start as far as they follow one
//! another, and in a map behind the first hole.

use std::collections::BTreeMap;

/// Chunks by their number. One that is not there is empty.
#[derive(Default)]
pub(super) struct Chunks {
    /// Chunk 0 and all that follow it without a hole: found without a search.
    row: Vec<Vec<u8>>,
    /// INVARIANT: no number in it is below the length of the row.
    scattered: BTreeMap<u64, Vec<u8>>,
}

impl Chunks {
    pub(super) fn get(&self, number: u64) -> &[u8] {
        match usize::try_from(number).ok().and_then(|at| self.row.get(at)) {
            Some(chunk) => chunk,
            None => self.scattered.get(&number).map_or(&[], Vec::as_slice),
        }
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Vec<u8>> {
        match usize::try_from(number).ok().and_then(|at| self.row.get_mut(at)) {
            Some(chunk) => Some(chunk),
            None => self.scattered.get_mut(&number),
        }
    }

    /// The chunk, which is there from now on.
    pub(super) fn insert(&mut self, number: u64) -> &mut Vec<u8> {
        if number == self.row.len() as u64 {
            let chunk = self.scattered.remove(&number).unwrap_or_default();
            self.row.push(chunk);
            // What came to follow the row belongs to it.
            while let Some(next) = self.scattered.remove(&(self.row.len() as u64)) {
                self.row.push(next);
            }
        }
        match usize::try_from(number).ok().and_then(|at| self.row.get_mut(at)) {
            Some(chunk) => chunk,
            None => self.scattered.entry(number).or_default(),
        }
    }

    /// Takes the chunk away if nothing is in it.
    pub(super) fn remove_empty(&mut self, number: u64) {
        if number + 1 == self.row.len() as u64 {
            self.row.pop_if(|chunk| chunk.is_empty());
        } else if self.scattered.get(&number).is_some_and(Vec::is_empty) {
            self.scattered.remove(&number);
        }
    }

    /// Takes away the chunks from `number` on, and answers what they held.
    pub(super) fn cut(&mut self, number: u64) -> u64 {
        let scattered = self.scattered.split_off(&number);
        let start = usize::try_from(number).unwrap_or(usize::MAX).min(self.row.len());
        let row = self.row.drain(start..);
        row.chain(scattered.into_values()).map(|chunk| chunk.capacity() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_found_where_it_was_put_in_whatever_order() {
        let mut chunks = Chunks::default();
        for number in [3, 1, 1 << 40, 0, 2, 4, 7] {
            let chunk = chunks.insert(number);
            assert!(chunk.is_empty());
            chunk.push(number as u8);
        }
        assert_eq!(chunks.row.len(), 5);
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
        assert_eq!((chunks.row.len(), chunks.scattered.len()), (3, 0));
    }
}
