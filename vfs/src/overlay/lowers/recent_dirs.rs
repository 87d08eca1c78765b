//! A ring buffer that keeps the merged directories opened last alive for the next descent.

use std::sync::Arc;

use parking_lot::Mutex;

use super::MergedDir;

/// Merged directories that are kept alive.
const RECENT_MAX: usize = 128;
/// The limit where directories may hold file descriptors: up to two for each lower, so the limit is
/// divided by the number of lowers.
const RECENT_PARTS_MAX: usize = 32;

/// Keeps the merged directories opened last alive, at most `max` of them.
pub(super) struct RecentDirs {
    max: usize,
    ring: Mutex<Ring>,
}

/// Guarded by [`RecentDirs::ring`].
#[derive(Default)]
struct Ring {
    dirs: Vec<Arc<MergedDir>>,
    /// The index replaced last.
    last: usize,
}

impl RecentDirs {
    /// Creates the ring for a stack of `lowers` directories.
    pub(super) fn new(lowers: usize, may_block: bool) -> Self {
        let max = match may_block {
            true => (RECENT_PARTS_MAX / lowers.max(1)).max(1),
            false => RECENT_MAX,
        };
        RecentDirs { max, ring: Mutex::default() }
    }

    /// Inserts `dir`; replaces the oldest entry of a full ring.
    pub(super) fn insert(&self, dir: &Arc<MergedDir>) {
        let replaced = {
            let mut guard = self.ring.lock();
            let Ring { dirs, last } = &mut *guard;
            if dirs.len() < self.max {
                dirs.push(Arc::clone(dir));
                return;
            }
            *last = (*last + 1) % self.max;
            dirs.get_mut(*last).map(|slot| std::mem::replace(slot, Arc::clone(dir)))
        };
        // Dropping the last reference closes descriptors of the host, so the lock is released
        // first.
        drop(replaced);
    }
}
