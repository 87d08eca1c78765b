//! Limits the total size of a guest's memories, tables and instances, for both engines.
//!
//! Both engines call the same limiter before a memory or a table is created or grows. Granted bytes
//! are never returned, because no engine frees a memory before its store ends. Instances are
//! charged once, before the guest starts, because the engines do not call the limiter for them.
//!
//! Deliberately absent: shared memories and the heap of the GC proposal. Neither engine is built
//! with them, so a guest that needs one is refused.

use wasmi_core::LimiterError;

use super::{Bounds, Ended};

/// The bytes charged for a table element: the larger size of both engines.
const TABLE_ELEMENT_BYTES: u64 = 16;
/// The bytes of tables and instances that are not charged, so that a guest whose memory just fits
/// is not refused because of a few KiB.
const FREE_BYTES: u64 = 1 << 20;
/// The default of `--max-memory`: a full 32-bit memory plus tables.
pub(crate) const MEMORY_DEFAULT_BYTES: u64 = 5 << 30;
/// The maximum number of core instances, memories and tables of a guest, the default of wasmtime:
/// each takes address space of the host and a few mappings.
pub(crate) const INSTANCES_MAX: usize = 10_000;

/// The memory budget of a guest.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    max: u64,
    /// Charged bytes of memories.
    memories: u64,
    /// Charged bytes of tables and instances.
    others: u64,
    /// The total that the last refused memory or table would have needed.
    refused: Option<u64>,
}

impl MemoryBudget {
    /// Creates the budget of a guest and charges its instances.
    ///
    /// # Errors
    ///
    /// [`Ended::OverMemory`]: the instances exceed the limit.
    pub(super) fn new(bounds: &Bounds) -> Result<Self, Ended> {
        let max = bounds.memory_bytes.unwrap_or(MEMORY_DEFAULT_BYTES);
        let mut budget = MemoryBudget { max, memories: 0, others: 0, refused: None };
        if budget.charge(0, bounds.instance_bytes) {
            return Ok(budget);
        }
        Err(budget.over().unwrap_or(Ended::OverMemory { needed: u64::MAX }))
    }

    /// Returns the end of a guest whose start failed, if the budget was the reason.
    pub(super) fn over(&self) -> Option<Ended> {
        self.refused.map(|needed| Ended::OverMemory { needed })
    }

    /// Charges bytes and returns whether they are within the limit.
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
    fn memory_of_exactly_the_limit_is_granted() {
        let mut budget = budget(MIB);
        assert!(budget.grow_table(0, 1000, None));
        assert!(budget.grow_memory(0, MIB, None));
    }

    #[test]
    fn growth_over_the_declared_maximum_is_not_charged() {
        let mut budget = budget(10 * MIB);
        for _ in 0..100 {
            assert!(!budget.grow_memory(0, 2 * MIB, Some(MIB)));
            assert!(!budget.grow_table(0, MIB, Some(10)));
        }
        assert!(budget.grow_memory(0, 10 * MIB, None));
        assert!(budget.over().is_none());
    }

    #[test]
    fn growth_by_usize_max_is_refused() {
        let mut budget = budget(10 * MIB);
        assert!(!budget.grow_memory(0, usize::MAX, None));
        assert!(!budget.grow_table(0, usize::MAX, None));
        assert!(budget.grow_memory(0, 10 * MIB, None));
        assert!(!budget.grow_memory(0, usize::MAX, None));
    }
}
