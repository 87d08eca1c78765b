//! Nodes that are no directories, and what can be seen of them without a lock.
//!
//! A leaf's bytes and times are under its lock. Whoever changes them does so through [`Changing`],
//! which shows at its end what a `stat` tells: under a version that is odd meanwhile, so that who
//! looks needs no lock and tells by the version whether what was seen belongs together.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bytes::Bytes;
use super::meter::Counted;
use crate::{Errno, FileType, SetTime, SetTimes, Stat, Stop, Timestamp, bug};

/// Looks that a change may spoil before the next one waits for it.
const LOOKS_MAX: u32 = 8;

/// The times of a node. Reading does not change the time of access: a guest's read must not be a
/// write.
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

    /// The content changed.
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

/// What a leaf is.
pub(super) enum Body {
    File,
    Link(Box<str>),
    /// `/dev/null`.
    Null,
}

/// A node that is no directory.
pub(super) struct Leaf {
    /// Another filesystem's, and its number there, for a node that stands for one of a lower.
    dev: u64,
    pub(super) ino: u64,
    pub(super) body: Body,
    pub(super) nlink: AtomicU64,
    state: RwLock<LeafState>,
    shown: Shown,
    _counted: Counted,
}

pub(super) struct LeafState {
    pub(super) bytes: Bytes,
    pub(super) times: Times,
}

/// The state of a leaf, to be changed; when it is dropped, others see the change.
pub(super) struct Changing<'l> {
    leaf: &'l Leaf,
    state: RwLockWriteGuard<'l, LeafState>,
}

/// What was last shown: numbers, of which those of one version belong together.
#[derive(Default)]
struct Shown {
    /// Odd while it is changed.
    version: AtomicU64,
    len: AtomicU64,
    /// Seconds and nanoseconds of each time.
    times: [(AtomicU64, AtomicU64); 3],
}

impl Shown {
    /// Shows `state`, which must be locked by the caller.
    fn show(&self, state: &LeafState) {
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

    /// What was shown; `None` if it was being changed.
    #[inline]
    fn look(&self) -> Option<(u64, Times)> {
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
    /// A leaf of this identity with one name that it has yet to be given.
    pub(super) fn new(
        (dev, ino): (u64, u64),
        body: Body,
        state: LeafState,
        counted: Counted,
    ) -> Self {
        let (nlink, shown) = (AtomicU64::new(1), Shown::default());
        shown.show(&state);
        Leaf { dev, ino, body, nlink, state: RwLock::new(state), shown, _counted: counted }
    }

    #[inline]
    pub(super) fn kind(&self) -> FileType {
        match self.body {
            Body::File => FileType::File,
            Body::Link(_) => FileType::Symlink,
            Body::Null => FileType::CharDevice,
        }
    }

    /// The state, to be read.
    #[inline]
    pub(super) fn read(&self) -> RwLockReadGuard<'_, LeafState> {
        self.state.read()
    }

    /// The state, to be changed.
    #[inline]
    pub(super) fn change(&self) -> Changing<'_> {
        Changing { leaf: self, state: self.state.write() }
    }

    #[inline]
    pub(super) fn stat(&self) -> Stat {
        let (len, times) = self.look();
        let size = match &self.body {
            Body::File => len,
            Body::Link(target) => target.len() as u64,
            Body::Null => 0,
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

    /// The length of the bytes, and the times.
    #[inline]
    fn look(&self) -> (u64, Times) {
        for _ in 0..LOOKS_MAX {
            if let Some(shown) = self.shown.look() {
                return shown;
            }
            std::hint::spin_loop();
        }
        let state = self.state.read();
        (state.bytes.len(), state.times)
    }

    /// One name more or fewer.
    pub(super) fn count_name(&self, more: i64, now: Timestamp) {
        // Only under the tree's lock, so that no count is lost.
        let nlink = self.nlink.load(Ordering::Relaxed).saturating_add_signed(more);
        self.nlink.store(nlink, Ordering::Relaxed);
        self.change().times.changed = now;
    }
}

impl Deref for Changing<'_> {
    type Target = LeafState;

    fn deref(&self) -> &LeafState {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut LeafState {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        // Still under the lock.
        self.leaf.shown.show(&self.state);
    }
}

/// Why a descent ends at a leaf after `depth` names.
pub(super) fn not_a_dir(leaf: &Leaf, depth: usize) -> Stop {
    match &leaf.body {
        Body::Link(target) => Stop::Link { at: depth, target: target.clone() },
        Body::File | Body::Null => Errno::Notdir.into(),
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
        Leaf::new((1, 2), Body::File, state, Counted::new(&meter).unwrap())
    }

    #[test]
    fn what_is_seen_without_a_lock_belongs_together() {
        let leaf = leaf();
        let rounds = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=rounds {
                    let mut state = leaf.change();
                    state.bytes.write_at(&[IoSlice::new(b"x")], round - 1).unwrap();
                    state.times = Times::all(Timestamp::from_nanos(round * 999_999_999));
                }
            });
            let mut seen = 0;
            while seen < rounds {
                let stat = leaf.stat();
                assert!(stat.size >= seen, "{} after {seen}", stat.size);
                seen = stat.size;
                for time in [stat.accessed, stat.modified, stat.changed] {
                    assert_eq!(time, Timestamp::from_nanos(seen * 999_999_999));
                }
            }
        });
    }

    #[test]
    fn a_change_that_is_not_shown_yet_is_waited_for() {
        let leaf = leaf();
        let version = leaf.shown.version.load(Ordering::Relaxed);
        leaf.shown.version.store(version + 1, Ordering::Relaxed);
        assert_eq!(leaf.shown.look().map(|(len, _)| len), None);
        assert_eq!(leaf.stat().size, 0);
    }
}
