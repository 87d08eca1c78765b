//! The descriptor table: a vector of slots, and a heap of free numbers.
//!
//! A new descriptor gets the lowest free number, as in POSIX.
//!
//! INVARIANT: `free` contains the index of each empty slot exactly once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use palisade_vfs::{Errno, Result};

use crate::FdRights;
use crate::descriptor::Descriptor;

/// The number of a descriptor.
pub type Fd = u32;

/// The descriptor table of one guest.
pub(crate) struct Table {
    slots: Vec<Option<Descriptor>>,
    free: BinaryHeap<Reverse<Fd>>,
    max: u32,
}

impl Table {
    /// Creates an empty table for at most `max` descriptors.
    pub(crate) fn new(max: u32) -> Self {
        Table { slots: Vec::new(), free: BinaryHeap::new(), max }
    }

    /// Returns a descriptor, or `Badf`.
    #[inline(always)]
    pub(crate) fn get(&self, fd: Fd) -> Result<&Descriptor> {
        match self.slots.get(fd as usize) {
            Some(Some(descriptor)) => Ok(descriptor),
            Some(None) | None => Err(Errno::Badf),
        }
    }

    /// Returns a descriptor that has all of `rights`.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: a right is missing.
    pub(crate) fn with(&self, fd: Fd, rights: FdRights) -> Result<&Descriptor> {
        let descriptor = self.get(fd)?;
        if !descriptor.base.contains(rights) {
            return Err(Errno::Notcapable);
        }
        Ok(descriptor)
    }

    /// Returns `Mfile` if the table is full. Called before a node is created, so that a full table
    /// has no side effects.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.free.is_empty() && self.slots.len() >= self.max as usize {
            return Err(Errno::Mfile);
        }
        Ok(())
    }

    /// Inserts a descriptor at the lowest free number and returns it, or `Mfile`.
    #[inline(always)]
    pub(crate) fn open(&mut self, descriptor: Descriptor) -> Result<Fd> {
        self.check_room()?;
        if let Some(Reverse(fd)) = self.free.pop() {
            // perf: the pattern shows that there is no old value to drop.
            if let Some(slot @ None) = self.slots.get_mut(fd as usize) {
                *slot = Some(descriptor);
            }
            return Ok(fd);
        }
        let fd = Fd::try_from(self.slots.len()).map_err(|_| Errno::Mfile)?;
        self.slots.push(Some(descriptor));
        Ok(fd)
    }

    /// Duplicates a descriptor and returns the new number. The duplicate is not preopened.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Mfile`: the table is full.
    pub(crate) fn duplicate(&mut self, fd: Fd) -> Result<Fd> {
        self.get(fd)?;
        self.check_room()?;
        let slot = self.slots.get_mut(fd as usize).ok_or(Errno::Badf)?;
        let (this, other) = slot.take().ok_or(Errno::Badf)?.duplicate();
        *slot = Some(this);
        self.open(other)
    }

    /// Closes a descriptor, or returns `Badf`.
    #[inline]
    pub(crate) fn close(&mut self, fd: Fd) -> Result<()> {
        match self.slots.get_mut(fd as usize) {
            // perf: dropped in place; moving it out first takes longer than the close.
            Some(slot @ Some(_)) => *slot = None,
            Some(None) | None => return Err(Errno::Badf),
        }
        self.free.push(Reverse(fd));
        Ok(())
    }

    /// Moves the descriptor `from` to the number `to` and closes the descriptor `to`. Returns
    /// `Badf` unless both are open.
    pub(crate) fn renumber(&mut self, from: Fd, to: Fd) -> Result<()> {
        self.get(to)?;
        self.get(from)?;
        if from == to {
            return Ok(());
        }
        let descriptor = self.take(from)?;
        if let Some(slot) = self.slots.get_mut(to as usize) {
            *slot = Some(descriptor);
        }
        Ok(())
    }

    /// Replaces the rights of a descriptor by a subset.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: not a subset.
    pub(crate) fn attenuate(&mut self, fd: Fd, base: FdRights, inheriting: FdRights) -> Result<()> {
        let Some(Some(descriptor)) = self.slots.get_mut(fd as usize) else {
            return Err(Errno::Badf);
        };
        if !descriptor.base.contains(base) || !descriptor.inheriting.contains(inheriting) {
            return Err(Errno::Notcapable);
        }
        descriptor.base = base;
        descriptor.inheriting = inheriting;
        // A reduced descriptor no longer gets `SET_LEN_AT` from an inheriting `SET_LEN`.
        descriptor.open_rights = base;
        Ok(())
    }

    /// Closes all descriptors.
    pub(crate) fn close_all(&mut self) {
        self.slots.clear();
        self.free.clear();
    }

    /// Returns the open descriptors in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Fd, &Descriptor)> {
        (0..).zip(&self.slots).filter_map(|(fd, slot)| Some((fd, slot.as_ref()?)))
    }

    /// Returns the number of open descriptors.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn take(&mut self, fd: Fd) -> Result<Descriptor> {
        let descriptor = self.slots.get_mut(fd as usize).and_then(Option::take);
        let descriptor = descriptor.ok_or(Errno::Badf)?;
        self.free.push(Reverse(fd));
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use palisade_vfs::{DirRef, MemFs};
    use proptest::prelude::*;

    use super::*;
    use crate::descriptor::{Resource, Status};

    fn descriptor(dir: DirRef) -> Descriptor {
        let dir = Resource::Dir(dir);
        Descriptor::new(dir, Status::empty(), FdRights::all(), FdRights::all())
    }

    #[derive(Clone, Debug)]
    enum Act {
        Open,
        Duplicate(Fd),
        Close(Fd),
        Renumber(Fd, Fd),
        Attenuate(Fd, u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        let fd = || prop_oneof![8 => 0..12u32, 1 => Just(u32::MAX)];
        prop_oneof![
            3 => Just(Act::Open),
            2 => fd().prop_map(Act::Duplicate),
            3 => fd().prop_map(Act::Close),
            2 => (fd(), fd()).prop_map(|(from, to)| Act::Renumber(from, to)),
            1 => (fd(), any::<u32>()).prop_map(|(fd, bits)| Act::Attenuate(fd, bits)),
        ]
    }

    proptest! {
        // Regression class of GHSA-fm79-3f68-h2fc and GHSA-3p27-qvp9-27qf: a renumber that corrupts
        // the free list or leaks its target. The model is a map without a free list.
        #[test]
        fn the_table_behaves_as_a_map(acts in prop::collection::vec(act(), 0..80)) {
            const MAX: u32 = 8;
            let mut table = Table::new(MAX);
            let mut model: BTreeMap<Fd, (usize, FdRights)> = BTreeMap::new();
            let mut alive = Vec::new();
            for act in acts {
                match act {
                    Act::Open => {
                        let lowest = (0..MAX).find(|fd| !model.contains_key(fd));
                        let dir = MemFs::new().root();
                        let weak = std::sync::Arc::downgrade(&dir);
                        let descriptor = descriptor(dir);
                        let rights = descriptor.base;
                        prop_assert_eq!(table.open(descriptor), lowest.ok_or(Errno::Mfile));
                        if let Some(fd) = lowest {
                            alive.push(weak);
                            model.insert(fd, (alive.len() - 1, rights));
                        }
                    }
                    Act::Duplicate(fd) => {
                        let lowest = (0..MAX).find(|fd| !model.contains_key(fd));
                        let have = model.get(&fd).copied().ok_or(Errno::Badf);
                        let want = have.and_then(|_| lowest.ok_or(Errno::Mfile));
                        prop_assert_eq!(table.duplicate(fd), want);
                        if let (Ok(entry), Some(lowest)) = (have, lowest) {
                            model.insert(lowest, entry);
                        }
                    }
                    Act::Close(fd) => {
                        let want = model.remove(&fd).map(drop).ok_or(Errno::Badf);
                        prop_assert_eq!(table.close(fd), want);
                    }
                    Act::Renumber(from, to) => {
                        let both = model.contains_key(&from) && model.contains_key(&to);
                        let want = if both { Ok(()) } else { Err(Errno::Badf) };
                        prop_assert_eq!(table.renumber(from, to), want);
                        if both {
                            let moved = model.remove(&from).unwrap();
                            model.insert(to, moved);
                        }
                    }
                    Act::Attenuate(fd, bits) => {
                        let rights = FdRights::from_bits_truncate(bits);
                        let want = match model.get_mut(&fd) {
                            None => Err(Errno::Badf),
                            Some((_, have)) if !have.contains(rights) => Err(Errno::Notcapable),
                            Some((_, have)) => { *have = rights; Ok(()) }
                        };
                        prop_assert_eq!(table.attenuate(fd, rights, FdRights::empty()), want);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for fd in 0..MAX {
                    let (have, want) = (table.get(fd).ok(), model.get(&fd));
                    prop_assert_eq!(have.map(|d| d.base), want.map(|m| m.1));
                }
                // A directory is alive exactly as long as a descriptor refers to it.
                for (index, weak) in alive.iter().enumerate() {
                    let open = model.values().any(|(it, _)| *it == index);
                    prop_assert_eq!(weak.strong_count() > 0, open);
                }
            }
            table.close_all();
            prop_assert!(alive.iter().all(|weak| weak.strong_count() == 0));
        }
    }
}
