//! Counts the open streams of a guest against `Limits::streams_max`.
//!
//! A stream holds its [`StreamSlot`] for as long as it lives, so a stream that outlives its
//! descriptor, or that a call on another thread still holds, is counted. The reference count of one
//! `Arc` is the counter: taking a slot and giving it back is one atomic operation each.

use std::sync::Arc;

use palisade_vfs::{Errno, Result};

/// The slots of one guest.
pub(crate) struct StreamSlots {
    /// One reference here, and one in each slot that is taken.
    taken: Arc<()>,
    max: u32,
}

/// One open stream. The slot is free again when this is dropped.
pub(crate) struct StreamSlot {
    _taken: Arc<()>,
}

impl StreamSlots {
    pub(crate) fn new(max: u32) -> Self {
        StreamSlots { taken: Arc::new(()), max }
    }

    /// Takes a slot. `Mfile` if all are taken.
    pub(crate) fn take(&self) -> Result<StreamSlot> {
        // Counted before the comparison: of two calls that race for the last slot, one or both
        // fail, and the limit holds.
        let slot = StreamSlot { _taken: Arc::clone(&self.taken) };
        if self.len() > self.max as usize { Err(Errno::Mfile) } else { Ok(slot) }
    }

    /// How many slots are taken.
    pub(crate) fn len(&self) -> usize {
        Arc::strong_count(&self.taken) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_and_free_again_when_dropped() {
        let slots = StreamSlots::new(2);
        let first = slots.take().unwrap();
        let _second = slots.take().unwrap();
        assert_eq!(slots.take().map(drop), Err(Errno::Mfile));
        assert_eq!(slots.len(), 2, "a refusal takes no slot");
        drop(first);
        let _third = slots.take().unwrap();
        assert_eq!(StreamSlots::new(0).take().map(drop), Err(Errno::Mfile));
    }
}
