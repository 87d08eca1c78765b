//! Counts the open handles of a directory that is kept in a slab.
//!
//! The memory filesystem and the overlay keep their directories in a slab under one lock. A removed
//! directory stays in the slab until its last handle is closed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of open handles of one directory.
#[derive(Default)]
pub(crate) struct HandleCount(AtomicUsize);

impl HandleCount {
    /// Counts a new handle. The caller holds the lock of the slab, shared or exclusive.
    pub(crate) fn open(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a closed handle. Returns whether it was the last one.
    pub(crate) fn close(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Returns whether no handle is open. Under the exclusive lock the result stays true, since
    /// handles are opened under the lock.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}
