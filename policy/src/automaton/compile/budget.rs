//! A work budget that bounds the size of compiled policies, in proportion to the rules.
//!
//! Practical policies stay far below the budget. Rules that multiply each other end in an error
//! instead of exhausting the memory.

/// The error of an exhausted budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent;

/// The remaining budget.
#[derive(Debug)]
pub(crate) struct Budget(u64);

/// The minimum budget, for small policies.
const LEAST: u64 = 4 << 20;

/// The budget that each component of each glob adds. It suffices for a hundred thousand rules
/// `/srv/u1/data/**` together with ten patterns that are denied at any depth, each of which needs
/// a state in each; except if the patterns overlap, so that names match many sets of them.
const PER_PART: u64 = 128;

impl Budget {
    /// Creates the budget for rules with `parts` components and pattern characters in total.
    pub(crate) fn new(parts: usize) -> Self {
        let parts = u64::try_from(parts).unwrap_or(u64::MAX);
        Budget(parts.saturating_mul(PER_PART).saturating_add(LEAST))
    }

    pub(crate) fn spend(&mut self, amount: usize) -> Result<(), Spent> {
        let amount = u64::try_from(amount).map_err(|_| Spent)?;
        self.0 = self.0.checked_sub(amount).ok_or(Spent)?;
        Ok(())
    }
}
