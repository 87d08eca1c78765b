//! Accounting of the bytes and nodes of a memory filesystem.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Errno, Result};

/// The memory use of a [`MemFs`](crate::MemFs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemUsage {
    /// Bytes allocated for the contents of files, without holes.
    pub bytes: u64,
    /// Files, directories and links, including removed ones that are still open.
    pub nodes: u64,
}

/// Counters and their limits.
pub(super) struct Meter {
    bytes: AtomicU64,
    nodes: AtomicU64,
    bytes_max: u64,
    nodes_max: u64,
}

impl Meter {
    pub(super) fn new(bytes_max: u64, nodes_max: u64) -> Self {
        Meter { bytes: AtomicU64::new(0), nodes: AtomicU64::new(0), bytes_max, nodes_max }
    }

    pub(super) fn usage(&self) -> MemUsage {
        let (bytes, nodes) = (&self.bytes, &self.nodes);
        MemUsage { bytes: bytes.load(Ordering::Relaxed), nodes: nodes.load(Ordering::Relaxed) }
    }

    /// Charges bytes.
    ///
    /// # Errors
    ///
    /// - `ENOSPC`: the limit would be exceeded.
    pub(super) fn charge_bytes(&self, more: u64) -> Result<()> {
        charge(&self.bytes, more, self.bytes_max)
    }

    /// Charges bytes that the allocator returned beyond the request, without a check of the limit.
    pub(super) fn charge_surplus(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn release_bytes(&self, fewer: u64) {
        self.bytes.fetch_sub(fewer, Ordering::Relaxed);
    }

    /// Returns whether `more` bytes would fit.
    pub(super) fn has_room(&self, more: u64) -> bool {
        self.usage().bytes.checked_add(more).is_some_and(|bytes| bytes <= self.bytes_max)
    }
}

fn charge(count: &AtomicU64, more: u64, max: u64) -> Result<()> {
    let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| {
        have.checked_add(more).filter(|sum| *sum <= max)
    });
    taken.map(drop).map_err(|_| Errno::Nospc)
}

/// A charge for one node, released when the node is dropped.
pub(super) struct Counted(Arc<Meter>);

impl Counted {
    /// Charges one node.
    ///
    /// # Errors
    ///
    /// - `ENOSPC`: the limit would be exceeded.
    pub(super) fn new(meter: &Arc<Meter>) -> Result<Self> {
        charge(&meter.nodes, 1, meter.nodes_max)?;
        Ok(Counted(Arc::clone(meter)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.nodes.fetch_sub(1, Ordering::Relaxed);
    }
}
