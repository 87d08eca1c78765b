//! The hierarchical counters of a group.
//!
//! `reserve` adds an amount to a counter of each group from the innermost outward, or to none of
//! them. No counter exceeds its limit at any time. A [`Reservation`] is released on drop, except
//! for the amount that `commit` keeps. `release` subtracts an unused reservation, or the amount of
//! a removed node.

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_vfs::{Errno, Result, bug};
use parking_lot::RwLock;

use super::nodes::Nodes;
use super::{Quota, Usage, WhenFull};

/// The counters of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    Bytes,
    Inodes,
    Descriptors,
    Reads,
    Writes,
}

/// A counter with a limit. INVARIANT: `used` is at most `limit`.
struct Meter {
    limit: Option<u64>,
    used: AtomicU64,
}

impl Meter {
    fn new(limit: Option<u64>) -> Self {
        Meter { limit, used: AtomicU64::new(0) }
    }

    /// Reserves up to `n` and returns the reserved amount.
    fn reserve_up_to(&self, n: u64) -> u64 {
        let limit = self.limit.unwrap_or(u64::MAX);
        let more = |used: u64| Some(used + n.min(limit - used));
        let before = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        n.min(limit - before.unwrap_or(limit))
    }

    fn reserve(&self, n: u64) -> bool {
        let limit = self.limit.unwrap_or(u64::MAX);
        let more = |used: u64| used.checked_add(n).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn release(&self, n: u64) {
        let before = self.used.fetch_sub(n, Ordering::AcqRel);
        if before < n {
            // `used` wrapped around and exceeds every limit, so that further reservations fail.
            bug!((); "a meter released {n} of {before}");
        }
    }
}

/// A group: its limits, its counters, its nodes and its parent.
pub(super) struct Group {
    bytes: Meter,
    inodes: Meter,
    descriptors: Meter,
    reads: Meter,
    writes: Meter,
    when_full: WhenFull,
    parent: Option<Arc<Group>>,
    /// The smallest limit of this group and its ancestors.
    pub(super) file_size: Option<u64>,
    /// The smallest limit of this group and its ancestors, and the errno of reaching it.
    pub(super) entries: Option<(u64, Errno)>,
    /// Whether this group or an ancestor limits the bytes that are read.
    pub(super) meters_reads: bool,
    pub(super) meters_writes: bool,
    /// Whether a guarded directory of the group may block.
    pub(super) may_block: AtomicBool,
    /// Guards the directory entries: exclusive to change names, shared to open nodes.
    pub(super) names: RwLock<()>,
    pub(super) nodes: Nodes,
}

impl Group {
    pub(super) fn new(quota: Quota, parent: Option<Arc<Group>>) -> Arc<Self> {
        let above = parent.as_deref();
        let own_entries = quota.dir_entries.map(|limit| (limit, quota.when_full.errno()));
        let entries = [own_entries, above.and_then(|above| above.entries)];
        let sizes = [quota.file_size, above.and_then(|above| above.file_size)];
        Arc::new(Group {
            bytes: Meter::new(quota.bytes),
            inodes: Meter::new(quota.inodes),
            descriptors: Meter::new(quota.descriptors),
            reads: Meter::new(quota.read_bytes),
            writes: Meter::new(quota.write_bytes),
            when_full: quota.when_full,
            file_size: sizes.into_iter().flatten().min(),
            entries: entries.into_iter().flatten().min_by_key(|(limit, _)| *limit),
            meters_reads: quota.read_bytes.is_some() || above.is_some_and(|it| it.meters_reads),
            meters_writes: quota.write_bytes.is_some() || above.is_some_and(|it| it.meters_writes),
            may_block: AtomicBool::new(false),
            names: RwLock::new(()),
            nodes: Nodes::default(),
            parent,
        })
    }

    fn meter(&self, counter: Counter) -> &Meter {
        match counter {
            Counter::Bytes => &self.bytes,
            Counter::Inodes => &self.inodes,
            Counter::Descriptors => &self.descriptors,
            Counter::Reads => &self.reads,
            Counter::Writes => &self.writes,
        }
    }

    pub(super) fn usage(&self, counter: Counter) -> Usage {
        let meter = self.meter(counter);
        Usage { limit: meter.limit, used: meter.used.load(Ordering::Acquire) }
    }

    /// Returns this group and its ancestors, from the innermost outward.
    fn chain(&self) -> impl Iterator<Item = &Group> {
        successors(Some(self), |group| group.parent.as_deref())
    }

    /// Reserves `n`, or nothing.
    pub(super) fn reserve(&self, counter: Counter, n: u64) -> Result<()> {
        for (depth, group) in self.chain().enumerate() {
            if group.meter(counter).reserve(n) {
                continue;
            }
            self.chain().take(depth).for_each(|reserved| reserved.meter(counter).release(n));
            return Err(match counter {
                Counter::Bytes | Counter::Inodes => group.when_full.errno(),
                Counter::Descriptors => Errno::Mfile,
                Counter::Reads | Counter::Writes => Errno::Dquot,
            });
        }
        Ok(())
    }

    /// Reserves up to `n` and returns the reserved amount.
    pub(super) fn reserve_up_to(&self, counter: Counter, n: u64) -> u64 {
        let mut most = n;
        for (depth, group) in self.chain().enumerate() {
            let reserved = group.meter(counter).reserve_up_to(most);
            let over = most - reserved;
            self.chain().take(depth).for_each(|below| below.meter(counter).release(over));
            most = reserved;
        }
        most
    }

    /// Releases a reserved or counted amount.
    pub(super) fn release(&self, counter: Counter, n: u64) {
        if n > 0 {
            self.chain().for_each(|group| group.meter(counter).release(n));
        }
    }

    /// Returns a reservation of `n`, which is released on drop unless it is committed.
    pub(super) fn reservation(&self, counter: Counter, n: u64) -> Result<Reservation<'_>> {
        self.reserve(counter, n)?;
        Ok(Reservation { group: self, counter, n })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(parent) = &self.parent else { return };
        for counter in [Counter::Bytes, Counter::Inodes, Counter::Descriptors] {
            parent.release(counter, self.usage(counter).used);
        }
    }
}

impl WhenFull {
    fn errno(self) -> Errno {
        match self {
            WhenFull::Quota => Errno::Dquot,
            WhenFull::Disk => Errno::Nospc,
        }
    }
}

/// A reservation that is released on drop.
pub(super) struct Reservation<'g> {
    group: &'g Group,
    counter: Counter,
    n: u64,
}

impl Reservation<'_> {
    /// Commits `n`, which stays counted, and releases the rest.
    pub(super) fn commit(mut self, n: u64) {
        let n = n.min(self.n);
        self.group.release(self.counter, self.n - n);
        self.n = 0;
    }

    /// Commits the whole reservation.
    pub(super) fn commit_all(self) {
        let n = self.n;
        self.commit(n);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.group.release(self.counter, self.n);
    }
}

/// The reservation of one open descriptor, released on drop.
pub(super) struct DescriptorSlot(Arc<Group>);

impl DescriptorSlot {
    pub(super) fn new(group: &Arc<Group>) -> Result<Self> {
        group.reserve(Counter::Descriptors, 1)?;
        Ok(DescriptorSlot(Arc::clone(group)))
    }
}

impl Drop for DescriptorSlot {
    fn drop(&mut self) {
        self.0.release(Counter::Descriptors, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn concurrent_reservations_never_exceed_the_limit() {
        let (meter, inside) = (Meter::new(Some(1)), AtomicU64::new(0));
        let enter = |reserved: u64| {
            if reserved > 0 {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                assert!(!meter.reserve(1) && meter.reserve_up_to(3) == 0);
                inside.fetch_sub(1, Ordering::SeqCst);
                meter.release(1);
            }
            reserved
        };
        let reserved: u64 = thread::scope(|scope| {
            let one = || (0..100_000).map(|_| enter(u64::from(meter.reserve(1)))).sum::<u64>();
            let some = || (0..100_000).map(|_| enter(meter.reserve_up_to(5))).sum::<u64>();
            let threads = [scope.spawn(one), scope.spawn(one), scope.spawn(some)];
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert!(reserved > 1000 && meter.used.load(Ordering::SeqCst) == 0, "{reserved}");
    }
}
