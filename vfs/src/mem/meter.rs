//! What a memory filesystem holds, counted where it is taken and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Errno, Result};

/// What a memory filesystem holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemUsage {
    /// Bytes held for the contents of files; holes are not held.
    pub bytes: u64,
    /// Files, directories and links, those that are only open included.
    pub nodes: u64,
}

/// Counts, with their limits.
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

    /// Takes bytes, or `Nospc`.
    pub(super) fn take_bytes(&self, more: u64) -> Result<()> {
        take(&self.bytes, more, self.bytes_max)
    }

    /// Counts bytes that were given unasked.
    pub(super) fn take_given(&self, more: u64) {
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn release_bytes(&self, fewer: u64) {
        self.bytes.fetch_sub(fewer, Ordering::Relaxed);
    }

    /// Whether so many more bytes would fit.
    pub(super) fn has_room(&self, more: u64) -> bool {
        self.usage().bytes.checked_add(more).is_some_and(|bytes| bytes <= self.bytes_max)
    }
}

fn take(count: &AtomicU64, more: u64, max: u64) -> Result<()> {
    let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| {
        have.checked_add(more).filter(|sum| *sum <= max)
    });
    taken.map(drop).map_err(|_| Errno::Nospc)
}

/// The place of one node in the count, given back when the node is dropped.
pub(super) struct Counted(Arc<Meter>);

impl Counted {
    /// A place, or `Nospc`.
    pub(super) fn new(meter: &Arc<Meter>) -> Result<Self> {
        take(&meter.nodes, 1, meter.nodes_max)?;
        Ok(Counted(Arc::clone(meter)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.nodes.fetch_sub(1, Ordering::Relaxed);
    }
}
