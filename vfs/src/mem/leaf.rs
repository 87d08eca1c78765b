//! Leaves (files, symbolic links, the null device), with metadata published through a seqlock.
//!
//! The bytes and times of a leaf are guarded by its lock. Writers hold a [`LeafWriteGuard`], which
//! publishes size and times when it is dropped. A `stat` reads these without the lock: the version
//! is odd while a writer publishes, and a reader that sees an odd version or a changed one retries.
//!
//! Locks: `Leaf::state` is a leaf lock.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bytes::Bytes;
use super::meter::Counted;
use crate::{Errno, FileType, SetTime, SetTimes, Stat, Stop, Timestamp, bug};

/// Lock-free reads that concurrent writers may invalidate before the reader takes the lock.
const SEQLOCK_READS_MAX: u32 = 8;

/// The times of a node. Reads do not update the access time: a guest's read must not be a write.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) accessed: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) changed: Timestamp,
}

impl Times {
    pub(super) fn all(now: Timestamp) -> Self {
        Times { accessed: now, modified: now, changed: now }
    }

    /// Records a change of the content.
    pub(super) fn touch(&mut self, now: Timestamp) {
        (self.modified, self.changed) = (now, now);
    }

    pub(super) fn set(&mut self, times: SetTimes, now: Timestamp) {
        let set = |time: &mut Timestamp, how| match how {
            SetTime::Keep => {}
            SetTime::Now => *time = now,
            SetTime::At(at) => *time = at,
        };
        set(&mut self.accessed, times.accessed);
        set(&mut self.modified, times.modified);
        self.changed = now;
    }
}

/// The content of a leaf.
pub(super) enum LeafContent {
    File,
    Link(Box<str>),
    /// A character device like `/dev/null`.
    Null,
}

/// A node that is not a directory.
pub(super) struct Leaf {
    /// `dev` and `ino` are those of the lower's node, for a node that an overlay has copied up.
    dev: u64,
    pub(super) ino: u64,
    pub(super) content: LeafContent,
    /// Written under `FsState::tree`.
    pub(super) nlink: AtomicU64,
    /// The lock of the bytes and times.
    state: RwLock<LeafState>,
    /// Written under `state`, read without a lock.
    published: StatSeqlock,
    _counted: Counted,
}

pub(super) struct LeafState {
    pub(super) bytes: Bytes,
    pub(super) times: Times,
}

/// A write guard of a leaf. Publishes the state when it is dropped.
pub(super) struct LeafWriteGuard<'l> {
    leaf: &'l Leaf,
    state: RwLockWriteGuard<'l, LeafState>,
}

/// A seqlock of the size and times of a leaf.
#[derive(Default)]
struct StatSeqlock {
    /// Odd while a writer publishes.
    version: AtomicU64,
    len: AtomicU64,
    /// Seconds and nanoseconds of each time.
    times: [(AtomicU64, AtomicU64); 3],
}

impl StatSeqlock {
    /// Publishes `state`. The caller holds the lock of the leaf.
    fn publish(&self, state: &LeafState) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.len.store(state.bytes.len(), Ordering::Relaxed);
        let Times { accessed, modified, changed } = state.times;
        for ((seconds, nanos), time) in self.times.iter().zip([accessed, modified, changed]) {
            seconds.store(time.seconds().cast_unsigned(), Ordering::Relaxed);
            nanos.store(time.nanos().into(), Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// Returns the published size and times, or `None` if a writer is publishing.
    #[inline]
    fn load(&self) -> Option<(u64, Times)> {
        let version = self.version.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Relaxed);
        let [accessed, modified, changed] = self.times.each_ref().map(|(seconds, nanos)| {
            let nanos = u32::try_from(nanos.load(Ordering::Relaxed));
            let nanos = nanos.unwrap_or_else(|_| bug!(0; "a time has too many nanoseconds"));
            Timestamp::new(seconds.load(Ordering::Relaxed).cast_signed(), nanos)
        });
        fence(Ordering::Acquire);
        if version % 2 == 1 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        Some((len, Times { accessed, modified, changed }))
    }
}

impl Leaf {
    /// Creates a leaf of this identity. Its link count is 1 for the name that the caller will
    /// insert.
    pub(super) fn new(
        (dev, ino): (u64, u64),
        content: LeafContent,
        state: LeafState,
        counted: Counted,
    ) -> Self {
        let (nlink, published) = (AtomicU64::new(1), StatSeqlock::default());
        published.publish(&state);
        Leaf { dev, ino, content, nlink, state: RwLock::new(state), published, _counted: counted }
    }

    #[inline]
    pub(super) fn kind(&self) -> FileType {
        match self.content {
            LeafContent::File => FileType::File,
            LeafContent::Link(_) => FileType::Symlink,
            LeafContent::Null => FileType::CharDevice,
        }
    }

    /// Locks the state for reading.
    #[inline]
    pub(super) fn read(&self) -> RwLockReadGuard<'_, LeafState> {
        self.state.read()
    }

    /// Locks the state for writing.
    #[inline]
    pub(super) fn write(&self) -> LeafWriteGuard<'_> {
        LeafWriteGuard { leaf: self, state: self.state.write() }
    }

    #[inline]
    pub(super) fn stat(&self) -> Stat {
        let (len, times) = self.len_and_times();
        let size = match &self.content {
            LeafContent::File => len,
            LeafContent::Link(target) => target.len() as u64,
            LeafContent::Null => 0,
        };
        Stat {
            kind: self.kind(),
            dev: self.dev,
            ino: self.ino,
            nlink: self.nlink.load(Ordering::Relaxed),
            size,
            accessed: times.accessed,
            modified: times.modified,
            changed: times.changed,
        }
    }

    /// Returns the length and the times.
    #[inline]
    fn len_and_times(&self) -> (u64, Times) {
        for _ in 0..SEQLOCK_READS_MAX {
            if let Some(published) = self.published.load() {
                return published;
            }
            std::hint::spin_loop();
        }
        let state = self.state.read();
        (state.bytes.len(), state.times)
    }

    /// Adds `more` to the link count and sets `ctime`.
    pub(super) fn adjust_nlink(&self, more: i64, now: Timestamp) {
        // The caller holds the tree lock, so no update is lost.
        let nlink = self.nlink.load(Ordering::Relaxed).saturating_add_signed(more);
        self.nlink.store(nlink, Ordering::Relaxed);
        self.write().times.changed = now;
    }
}

impl Deref for LeafWriteGuard<'_> {
    type Target = LeafState;

    fn deref(&self) -> &LeafState {
        &self.state
    }
}

impl DerefMut for LeafWriteGuard<'_> {
    fn deref_mut(&mut self) -> &mut LeafState {
        &mut self.state
    }
}

impl Drop for LeafWriteGuard<'_> {
    fn drop(&mut self) {
        // Runs before the lock is released.
        self.leaf.published.publish(&self.state);
    }
}

/// Returns why a descent through a leaf stops after `depth` names.
pub(super) fn not_a_dir(leaf: &Leaf, depth: usize) -> Stop {
    match &leaf.content {
        LeafContent::Link(target) => Stop::Link { at: depth, target: target.clone() },
        LeafContent::File | LeafContent::Null => Errno::Notdir.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;

    use super::super::meter::Meter;
    use super::*;

    fn leaf() -> Leaf {
        let meter = Arc::new(Meter::new(u64::MAX, u64::MAX));
        let bytes = Bytes::new(Arc::clone(&meter));
        let state = LeafState { bytes, times: Times::all(Timestamp::EPOCH) };
        Leaf::new((1, 2), LeafContent::File, state, Counted::new(&meter).unwrap())
    }

    #[test]
    fn seqlock_reads_are_consistent() {
        let leaf = leaf();
        let rounds = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    let mut state = leaf.write();
                    state.bytes.write_at(&[IoSlice::new(b"x")], round - 1).unwrap();
                    state.times = Times::all(Timestamp::from_nanos(round * 999_999_999));
                }
            });
            let mut last_size = 0;
            while last_size < rounds {
                let stat = leaf.stat();
                assert!(stat.size >= last_size, "{} after {last_size}", stat.size);
                last_size = stat.size;
                for time in [stat.accessed, stat.modified, stat.changed] {
                    assert_eq!(time, Timestamp::from_nanos(last_size * 999_999_999));
                }
            }
        });
    }

    #[test]
    fn stat_takes_the_lock_during_a_publication() {
        let leaf = leaf();
        let version = leaf.published.version.load(Ordering::Relaxed);
        leaf.published.version.store(version + 1, Ordering::Relaxed);
        assert_eq!(leaf.published.load().map(|(len, _)| len), None);
        assert_eq!(leaf.stat().size, 0);
    }
}
