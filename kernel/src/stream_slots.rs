//! A counting semaphore for the open streams of a guest (`Limits::streams_max`).
//!
//! A stream owns a [`StreamSlot`], so a stream that outlives its descriptor, or that a call on
//! another thread still uses, is counted. The counter is the reference count of an `Arc`: acquiring
//! and releasing a slot is one atomic operation each.

use std::sync::Arc;

use palisade_vfs::{Errno, Result};

/// The stream slots of one guest.
pub(crate) struct StreamSlots {
    /// Has one reference here and one in each acquired slot.
    taken: Arc<()>,
    max: u32,
}

/// The slot of one open stream. Dropping it releases the slot.
pub(crate) struct StreamSlot {
    _taken: Arc<()>,
}

impl StreamSlots {
    pub(crate) fn new(max: u32) -> Self {
        StreamSlots { taken: Arc::new(()), max }
    }

    /// Acquires a slot, or returns `Mfile`.
    pub(crate) fn take(&self) -> Result<StreamSlot> {
        // Incremented before the comparison: if two calls race for the last slot, one or both fail,
        // but the limit is never exceeded.
        let slot = StreamSlot { _taken: Arc::clone(&self.taken) };
        if self.len() > self.max as usize { Err(Errno::Mfile) } else { Ok(slot) }
    }

    /// Returns the number of acquired slots.
    pub(crate) fn len(&self) -> usize {
        Arc::strong_count(&self.taken) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_and_released_on_drop() {
        let slots = StreamSlots::new(2);
        let first = slots.take().unwrap();
        let _second = slots.take().unwrap();
        assert_eq!(slots.take().map(drop), Err(Errno::Mfile));
        assert_eq!(slots.len(), 2, "a failed call acquires no slot");
        drop(first);
        let _third = slots.take().unwrap();
        assert_eq!(StreamSlots::new(0).take().map(drop), Err(Errno::Mfile));
    }
}
