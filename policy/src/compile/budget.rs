//! How much may be built from rules: so much per rule that no sensible policy gets near it, and no
//! more, so that rules which multiply each other end in an error and not in a full memory.

/// What was asked for is more than the rules are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent;

/// What is left to be spent.
#[derive(Debug)]
pub(crate) struct Budget(u64);

/// What even a small policy may cost.
const LEAST: u64 = 4 << 20;

/// What each component of each glob adds to it. A hundred thousand rules `/srv/u1/data/**` and ten
/// patterns that are denied at any depth get by with it, each of which needs a state in each;
/// unless the patterns overlap, so that names match many sets of them.
const PER_PART: u64 = 128;

impl Budget {
    /// For rules with so many components, or characters in patterns, altogether.
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
