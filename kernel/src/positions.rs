//! Position tables: number the positions of one directory stream, for cookies below 2^31.
//!
//! A filesystem's cookies have up to 63 bits (on ext4 they are hashes of names), but `telldir` of a
//! C guest for Preview 1 returns a `long` of 32 bits. The positions of a directory stream are
//! therefore numbered in the order in which they are returned to the guest. Number 0 is the start
//! of the stream.
//!
//! A table is exact until it is full: each number has the cookie of its position. A pass over an
//! unchanged directory compares each cookie with the cookie of the next number and reuses that
//! number. A difference means that entries were created or removed since an earlier pass; from then
//! on a hash index finds the numbers of known cookies.
//!
//! A full table without an index belongs to a long directory. It becomes sparse: numbers then count
//! the entries from the start, and only the multiples of a stride keep their cookies. The stride
//! doubles whenever the table is full again. Another number is the multiple before it and a count
//! of entries to skip, so it is exact as long as the entries between the two do not change. A later
//! pass replaces the cookies that have changed.
//!
//! A full table with an index belongs to a directory that has changed often. It is emptied, and
//! the next numbers follow. The earlier numbers become invalid, since their positions cannot be
//! found by counting entries.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use palisade_vfs::{Cookie, Errno, Result, bug};

pub(crate) struct Positions {
    /// The cookies of the numbers `base + stride`, `base + 2 * stride` and so on, up to `end`.
    kept: Vec<Cookie>,
    /// The maximum length of `kept`.
    kept_max: usize,
    /// A power of two; 1 in an exact table. INVARIANT: `base` is 0 if it is not 1.
    stride: u32,
    /// The highest invalid number; 0 if none is.
    base: u32,
    /// The highest number plus 1.
    end: u32,
    /// The numbers by their cookies, in an exact table of a directory that has changed.
    index: Option<Index>,
}

#[derive(Default)]
struct Index {
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Positions {
    /// The highest number. With the cookies of `.` and `..` every cookie fits into an `i32`.
    pub(crate) const NUMBER_MAX: u32 = i32::MAX as u32 - 2;

    pub(crate) fn new(kept_max: u32) -> Self {
        let kept_max = kept_max.max(1) as usize;
        Positions { kept: Vec::new(), kept_max, stride: 1, base: 0, end: 1, index: None }
    }

    /// Prepares for a pass from the start.
    ///
    /// A table that was emptied starts again at number 1, so that a small directory that changes
    /// often cannot use up the numbers. POSIX permits this: `rewinddir` invalidates the results of
    /// `telldir`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/seekdir.html>
    pub(crate) fn rewind(&mut self) {
        if self.base > 0 {
            self.kept.clear();
            (self.base, self.end, self.index) = (0, 1, None);
        }
    }

    /// Returns the nearest position at or before `number` whose cookie is kept, and the number of
    /// entries between the two, which is less than the stride.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: no position has this number.
    pub(crate) fn resolve(&self, number: u32) -> Result<(Cookie, u32)> {
        if number == 0 {
            return Ok((Cookie::START, 0));
        }
        if number <= self.base || number >= self.end {
            return Err(Errno::Inval);
        }
        let skipped = number % self.stride;
        if number == skipped {
            return Ok((Cookie::START, skipped));
        }
        match self.kept_cookie(number - skipped) {
            Some(cookie) => Ok((cookie, skipped)),
            None => Err(bug!("position {number} has no cookie")),
        }
    }

    /// Returns the number of the position `cookie`, which is one entry after the position `before`.
    ///
    /// # Errors
    ///
    /// - `EOVERFLOW`: the number would exceed [`Positions::NUMBER_MAX`].
    #[inline]
    pub(crate) fn number_after(&mut self, before: u32, cookie: Cookie) -> Result<u32> {
        let number = before + 1;
        if self.stride > 1 {
            return self.number_in_sparse(number, cookie);
        }
        if number < self.end {
            if self.kept_cookie(number) == Some(cookie) {
                return Ok(number);
            }
            self.build_index();
        }
        if let Some(known) = self.lookup(cookie) {
            return Ok(known);
        }
        if self.kept.len() >= self.kept_max {
            match &mut self.index {
                None => return self.number_in_sparse(number, cookie),
                Some(index) => index.numbers.clear(),
            }
            self.kept.clear();
            self.base = self.end - 1;
        }
        let number = self.end;
        if number > Self::NUMBER_MAX {
            return Err(Errno::Overflow);
        }
        self.kept.push(cookie);
        self.end = number + 1;
        self.insert(number, cookie);
        Ok(number)
    }

    /// Sets the cookie of `number`, which is at most `end`, in a sparse or full table.
    fn number_in_sparse(&mut self, number: u32, cookie: Cookie) -> Result<u32> {
        if number > Self::NUMBER_MAX {
            return Err(Errno::Overflow);
        }
        if number >= self.end {
            if number.is_multiple_of(self.stride) && self.kept.len() >= self.kept_max {
                self.halve();
            }
            if number.is_multiple_of(self.stride) {
                self.kept.push(cookie);
            }
            self.end = number + 1;
        } else if number.is_multiple_of(self.stride)
            && let Some(kept) = self.slot(number).and_then(|slot| self.kept.get_mut(slot))
        {
            *kept = cookie;
        }
        Ok(number)
    }

    /// Returns the index in `kept` of a valid multiple of the stride.
    fn slot(&self, number: u32) -> Option<usize> {
        Some((number.checked_sub(self.base)? / self.stride).checked_sub(1)? as usize)
    }

    fn kept_cookie(&self, number: u32) -> Option<Cookie> {
        self.kept.get(self.slot(number)?).copied()
    }

    /// Removes the cookies of every second kept number.
    fn halve(&mut self) {
        let mut is_multiple = true;
        self.kept.retain(|_| {
            is_multiple = !is_multiple;
            is_multiple
        });
        self.stride *= 2;
    }

    /// Builds the index if there is none.
    fn build_index(&mut self) {
        if self.index.is_none() {
            self.index = Some(Index::default());
            for (number, nth) in (self.base + 1..).zip(0..self.kept.len()) {
                if let Some(cookie) = self.kept.get(nth) {
                    self.insert(number, *cookie);
                }
            }
        }
    }

    /// Returns the number of `cookie` from the index.
    fn lookup(&self, cookie: Cookie) -> Option<u32> {
        let Index { numbers, hasher } = self.index.as_ref()?;
        let has_cookie = |number: &u32| self.kept_cookie(*number) == Some(cookie);
        numbers.find(hasher.hash_one(cookie), has_cookie).copied()
    }

    /// Adds the number of `cookie` to the index, if there is one.
    fn insert(&mut self, number: u32, cookie: Cookie) {
        let Some(mut index) = self.index.take() else { return };
        let Index { numbers, hasher } = &mut index;
        let hash_of = |number: &u32| hasher.hash_one(self.kept_cookie(*number).unwrap_or(cookie));
        numbers.insert_unique(hasher.hash_one(cookie), number, hash_of);
        self.index = Some(index);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Numbers the positions after `cookies`, from the start on.
    fn pass(positions: &mut Positions, cookies: &[u64]) -> Vec<u32> {
        let mut number = 0;
        let after = |cookie: &u64| {
            number = positions.number_after(number, Cookie(*cookie)).unwrap();
            number
        };
        cookies.iter().map(after).collect()
    }

    #[test]
    fn passes_over_an_unchanged_directory_give_equal_numbers() {
        for kept_max in [0, 1, 2, 3, 7, 100] {
            let mut positions = Positions::new(kept_max);
            let cookies: Vec<u64> = (1..=50).map(|n| n << 40).collect();
            let numbers: Vec<u32> = (1..=50).collect();
            for _ in 0..3 {
                positions.rewind();
                assert_eq!(pass(&mut positions, &cookies), numbers, "{kept_max}");
            }
            for number in 1..=50 {
                let (cookie, skipped) = positions.resolve(number).unwrap();
                let kept = number - skipped;
                assert_eq!(cookie.0 >> 40, u64::from(kept), "{kept_max} {number}");
                assert!(skipped < positions.stride, "{kept_max} {number}");
            }
            assert_eq!(positions.resolve(51), Err(Errno::Inval), "{kept_max}");
        }
    }

    #[test]
    fn numbers_keep_their_cookies_after_changes() {
        let mut positions = Positions::new(100);
        assert_eq!(pass(&mut positions, &[10, 20, 30, 40]), [1, 2, 3, 4]);
        assert_eq!(pass(&mut positions, &[10, 30, 40]), [1, 3, 4]);
        assert_eq!(pass(&mut positions, &[5, 10, 20, 35, 40, 50]), [5, 1, 2, 6, 4, 7]);
        for (number, cookie) in (0..).zip([0, 10, 20, 30, 40, 5, 35, 50]) {
            assert_eq!(positions.resolve(number), Ok((Cookie(cookie), 0)));
        }
        assert_eq!(positions.resolve(8), Err(Errno::Inval));
    }

    /// No number of a directory that changes often has the cookie of another position.
    #[test]
    fn full_table_of_a_changed_directory_invalidates_earlier_numbers() {
        let mut positions = Positions::new(16);
        let mut cookies = HashMap::new();
        let mut invalid = 0;
        for round in 0..200_u64 {
            // One entry is removed and one is created in each round; none is the guest's rewind.
            let listed: Vec<u64> = (round..round + 10).map(|n| n + 1).collect();
            cookies.extend(pass(&mut positions, &listed).into_iter().zip(listed));
            assert!(positions.kept.len() <= 16 && positions.kept.capacity() <= 16, "{round}");
            for (number, cookie) in &cookies {
                match positions.resolve(*number) {
                    Ok(resolved) => assert_eq!(resolved, (Cookie(*cookie), 0), "{round}"),
                    Err(errno) => {
                        assert_eq!(errno, Errno::Inval);
                        invalid += 1;
                    }
                }
            }
        }
        assert!(invalid > 0 && positions.end < 500);
        positions.rewind();
        assert_eq!(pass(&mut positions, &[7, 8, 9]), [1, 2, 3]);
    }

    #[test]
    fn sparse_table_follows_a_changed_directory() {
        let mut positions = Positions::new(4);
        let mut cookies: Vec<u64> = (1..=30).map(|n| n * 10).collect();
        pass(&mut positions, &cookies);
        assert_eq!((positions.stride, positions.kept.len()), (8, 3));
        cookies.remove(2);
        cookies.insert(20, 205);
        assert_eq!(pass(&mut positions, &cookies), (1..=30).collect::<Vec<u32>>());
        for number in [8, 16, 24] {
            let expected = (Cookie(cookies[number as usize - 1]), 0);
            assert_eq!(positions.resolve(number), Ok(expected), "{number}");
        }
    }

    #[test]
    fn number_above_the_limit_is_eoverflow() {
        for kept_max in [1, 100] {
            let mut positions = Positions::new(kept_max);
            let max = Positions::NUMBER_MAX;
            positions.index = Some(Index::default());
            (positions.base, positions.end) = (max - 1, max);
            assert_eq!(positions.number_after(max - 1, Cookie(2)), Ok(max), "{kept_max}");
            let number = positions.number_after(max, Cookie(3));
            assert_eq!(number, Err(Errno::Overflow), "{kept_max}");
        }
    }
}
