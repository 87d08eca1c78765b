//! One budget for the memory of a guest: all memories, tables and instances, on both engines.
//!
//! Both engines ask the same limiter before a memory or a table is created or grows, and what it
//! grants is never given back: no engine frees a memory before its store ends. Instances are
//! charged once, before the guest starts, because no engine asks about them one by one.
//!
//! Deliberately absent: shared memories and the heap of the GC proposal, which neither engine is
//! built with; a guest that needs one is refused.

use wasmi_core::LimiterError;

use super::{Bounds, Ended};

/// Bytes that one element of a table is charged: the most that either engine takes for one.
const TABLE_ELEMENT_BYTES: u64 = 16;
/// Bytes of tables and instances that are not charged, so that a guest whose memory just fits is
/// not refused for the few KiB beside it.
const FREE_BYTES: u64 = 1 << 20;
/// Bytes of a guest that has no limit of its own: a whole 32-bit memory, and tables beside it.
pub(crate) const MEMORY_DEFAULT_BYTES: u64 = 5 << 30;
/// Core instances, memories and tables of one guest: each takes address space of the host, and a
/// mapping or a few. As wasmtime has it.
pub(crate) const INSTANCES_MAX: usize = 10_000;

/// What a guest has taken of its limit.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    max: u64,
    /// Bytes of memories.
    memories: u64,
    /// Bytes of tables and instances.
    others: u64,
    /// Bytes that a refused memory or table would have needed in all.
    refused: Option<u64>,
}

impl MemoryBudget {
    /// The budget of a guest that is about to start, with its instances charged.
    ///
    /// # Errors
    ///
    /// [`Ended::OverMemory`] if these alone are too much.
    pub(super) fn new(bounds: &Bounds) -> Result<Self, Ended> {
        let max = bounds.memory_bytes.unwrap_or(MEMORY_DEFAULT_BYTES);
        let mut budget = MemoryBudget { max, memories: 0, others: 0, refused: None };
        if budget.charge(0, bounds.instance_bytes) {
            return Ok(budget);
        }
        Err(budget.over().unwrap_or(Ended::OverMemory { needed: u64::MAX }))
    }

    /// How a guest ended that was refused before it ran, if the budget is why.
    pub(super) fn over(&self) -> Option<Ended> {
        self.refused.map(|needed| Ended::OverMemory { needed })
    }

    /// Charges bytes, unless that is too much.
    fn charge(&mut self, memories: u64, others: u64) -> bool {
        let memories = self.memories.saturating_add(memories);
        let others = self.others.saturating_add(others);
        let needed = memories.saturating_add(others.saturating_sub(FREE_BYTES));
        if needed > self.max {
            self.refused = Some(needed);
            return false;
        }
        (self.memories, self.others) = (memories, others);
        true
    }

    fn grow_memory(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        self.charge(desired.saturating_sub(current) as u64, 0)
    }

    fn grow_table(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let elements = desired.saturating_sub(current) as u64;
        self.charge(0, elements.saturating_mul(TABLE_ELEMENT_BYTES))
    }
}

impl wasmtime::ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow_memory(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow_table(current, desired, maximum))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

impl wasmi::ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.grow_memory(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(self.grow_table(current, desired, maximum))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget(max: usize) -> MemoryBudget {
        MemoryBudget { max: max as u64, memories: 0, others: 0, refused: None }
    }

    #[test]
    fn memories_and_tables_share_one_budget() {
        let mut budget = budget(10 * MIB);
        assert!(budget.grow_memory(0, 4 * MIB, None));
        assert!(budget.grow_memory(0, 4 * MIB, None), "another memory");
        assert!(!budget.grow_memory(4 * MIB, 7 * MIB, None));
        // 3 MiB of elements, of which 1 MiB is free.
        assert!(budget.grow_table(0, 3 * MIB / 16, None));
        assert!(!budget.grow_table(3 * MIB / 16, 3 * MIB / 16 + 1, None));
        assert!(!budget.grow_memory(4 * MIB, 4 * MIB + 1, None));
        assert!(matches!(budget.over(), Some(Ended::OverMemory { needed: 10_485_761 })));
    }

    #[test]
    fn a_memory_that_just_fits_is_granted() {
        let mut budget = budget(MIB);
        assert!(budget.grow_table(0, 1000, None));
        assert!(budget.grow_memory(0, MIB, None));
    }

    #[test]
    fn growth_beyond_the_own_maximum_of_a_memory_or_table_is_not_charged() {
        let mut budget = budget(10 * MIB);
        for _ in 0..100 {
            assert!(!budget.grow_memory(0, 2 * MIB, Some(MIB)));
            assert!(!budget.grow_table(0, MIB, Some(10)));
        }
        assert!(budget.grow_memory(0, 10 * MIB, None));
        assert!(budget.over().is_none());
    }

    #[test]
    fn sizes_beyond_every_number_are_refused() {
        let mut budget = budget(10 * MIB);
        assert!(!budget.grow_memory(0, usize::MAX, None));
        assert!(!budget.grow_table(0, usize::MAX, None));
        assert!(budget.grow_memory(0, 10 * MIB, None));
        assert!(!budget.grow_memory(0, usize::MAX, None));
    }
}
