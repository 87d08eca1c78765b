//! The hierarchical counters of a group.
//!
//! `take` reserves an amount in each group from the innermost outward, or in none of them. No
//! counter exceeds its limit at any time. `give` gives back a reservation that was not used, or
//! the amount of a removed node.

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_vfs::{Errno, Result, bug};
use parking_lot::RwLock;

use super::nodes::Nodes;
use super::{Quota, Usage, WhenFull};

/// The resources that are counted for a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
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
    fn take_some(&self, n: u64) -> u64 {
        let limit = self.limit.unwrap_or(u64::MAX);
        let more = |used: u64| Some(used + n.min(limit - used));
        let before = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        n.min(limit - before.unwrap_or(limit))
    }

    fn take(&self, n: u64) -> bool {
        let limit = self.limit.unwrap_or(u64::MAX);
        let more = |used: u64| used.checked_add(n).filter(|sum| *sum <= limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn give(&self, n: u64) {
        let before = self.used.fetch_sub(n, Ordering::AcqRel);
        if before < n {
            // `used` wrapped around and exceeds every limit, so that further reservations fail.
            bug!((); "a meter gave back {n} of {before}");
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

    fn meter(&self, what: What) -> &Meter {
        match what {
            What::Bytes => &self.bytes,
            What::Inodes => &self.inodes,
            What::Descriptors => &self.descriptors,
            What::Reads => &self.reads,
            What::Writes => &self.writes,
        }
    }

    pub(super) fn usage(&self, what: What) -> Usage {
        let meter = self.meter(what);
        Usage { limit: meter.limit, used: meter.used.load(Ordering::Acquire) }
    }

    /// Returns this group and its ancestors, from the innermost outward.
    fn chain(&self) -> impl Iterator<Item = &Group> {
        successors(Some(self), |group| group.parent.as_deref())
    }

    /// Reserves `n`, or nothing.
    pub(super) fn take(&self, what: What, n: u64) -> Result<()> {
        for (depth, group) in self.chain().enumerate() {
            if group.meter(what).take(n) {
                continue;
            }
            self.chain().take(depth).for_each(|taken| taken.meter(what).give(n));
            return Err(match what {
                What::Bytes | What::Inodes => group.when_full.errno(),
                What::Descriptors => Errno::Mfile,
                What::Reads | What::Writes => Errno::Dquot,
            });
        }
        Ok(())
    }

    /// Reserves up to `n` and returns the reserved amount.
    pub(super) fn take_some(&self, what: What, n: u64) -> u64 {
        let mut most = n;
        for (depth, group) in self.chain().enumerate() {
            let taken = group.meter(what).take_some(most);
            let over = most - taken;
            self.chain().take(depth).for_each(|below| below.meter(what).give(over));
            most = taken;
        }
        most
    }

    /// Gives back a reservation.
    pub(super) fn give(&self, what: What, n: u64) {
        if n > 0 {
            self.chain().for_each(|group| group.meter(what).give(n));
        }
    }

    /// Returns a reservation of `n`, which is given back on drop unless it is kept.
    pub(super) fn reserve(&self, what: What, n: u64) -> Result<Reserved<'_>> {
        self.take(what, n)?;
        Ok(Reserved { group: self, what, n })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(parent) = &self.parent else { return };
        for what in [What::Bytes, What::Inodes, What::Descriptors] {
            parent.give(what, self.usage(what).used);
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

/// A reservation that is given back on drop.
pub(super) struct Reserved<'g> {
    group: &'g Group,
    what: What,
    n: u64,
}

impl Reserved<'_> {
    /// Keeps `n` for good and gives back the rest.
    pub(super) fn keep(mut self, n: u64) {
        let n = n.min(self.n);
        self.group.give(self.what, self.n - n);
        self.n = 0;
    }

    /// Keeps the whole reservation for good.
    pub(super) fn keep_all(self) {
        let n = self.n;
        self.keep(n);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.group.give(self.what, self.n);
    }
}

/// The reservation of one open descriptor, given back on drop.
pub(super) struct Permit(Arc<Group>);

impl Permit {
    pub(super) fn new(group: &Arc<Group>) -> Result<Self> {
        group.take(What::Descriptors, 1)?;
        Ok(Permit(Arc::clone(group)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give(What::Descriptors, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn concurrent_takes_never_exceed_the_limit() {
        let (meter, inside) = (Meter::new(Some(1)), AtomicU64::new(0));
        let enter = |taken: u64| {
            if taken > 0 {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                assert!(!meter.take(1) && meter.take_some(3) == 0);
                inside.fetch_sub(1, Ordering::SeqCst);
                meter.give(1);
            }
            taken
        };
        let taken: u64 = thread::scope(|scope| {
            let one = || (0..100_000).map(|_| enter(u64::from(meter.take(1)))).sum::<u64>();
            let some = || (0..100_000).map(|_| enter(meter.take_some(5))).sum::<u64>();
            let threads = [scope.spawn(one), scope.spawn(one), scope.spawn(some)];
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert!(taken > 1000 && meter.used.load(Ordering::SeqCst) == 0, "{taken}");
    }
}
