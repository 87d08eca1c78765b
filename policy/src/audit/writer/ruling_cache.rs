//! A direct-mapped cache of recent rulings.
//!
//! A guest performs few kinds of operations in alternation, so most events share the ruling of a
//! recent one. The slot of a ruling is a hash of rights, state and result.

use std::sync::Arc;

use crate::audit::decision::{DecisionDetails, Observation};
use crate::audit::event::{Decision, Mode, Ruling};
use crate::audit::writer::PendingEvent;
use crate::automaton::policy::{Policy, State};
use crate::rules::rule::{RuleId, SourceLine};

/// The reason of a decision, as far as the caller knows it.
#[derive(Clone, Copy)]
pub(crate) enum Basis<'a> {
    /// All wanted rights are granted. The rule is a function of the state and is computed on a
    /// cache miss.
    Granted {
        /// The number of the observer, which identifies the policy.
        observer: u64,
        /// The generation of a live policy.
        generation: u64,
        /// The state at the first path.
        state: State,
    },
    /// Any other decision.
    Decided(&'a DecisionDetails),
}

impl Basis<'_> {
    pub(crate) fn decision(&self) -> Decision {
        match self {
            Basis::Granted { .. } => Decision::Allow,
            Basis::Decided(details) => details.decision,
        }
    }
}

/// The cache.
pub(crate) struct RulingCache {
    slots: [CachedRuling; SLOTS],
    /// For an index outside of `slots`, which the hash function never returns.
    overflow: CachedRuling,
}

/// One slot.
pub(crate) struct CachedRuling {
    /// The observer, generation and state of a granted operation.
    granted: Option<(u64, u64, State)>,
    pub(crate) ruling: Arc<Ruling>,
    /// The number of the last batch that contains the ruling, and its index there.
    batch_index: (u64, u16),
}

/// The number of slots, a power of two.
const SLOTS: usize = 16;

impl RulingCache {
    pub(crate) fn new() -> Self {
        let observation = Observation::FOLLOW;
        let allowed = DecisionDetails::allowed(None);
        let placeholder = Arc::new(new_ruling(&observation, &allowed, Mode::Enforce, None));
        let empty = || {
            let ruling = Arc::clone(&placeholder);
            CachedRuling { granted: None, ruling, batch_index: (0, 0) }
        };
        RulingCache { slots: std::array::from_fn(|_| empty()), overflow: empty() }
    }

    /// Returns the cached ruling for this event, inserting it on a miss.
    #[inline]
    pub(crate) fn get(&mut self, event: &PendingEvent<'_>) -> &mut CachedRuling {
        let slot = Self::slot_of(event);
        if !self.slot(slot).matches(event) {
            self.insert(slot, event);
        }
        self.slot(slot)
    }

    #[inline]
    fn slot(&mut self, slot: usize) -> &mut CachedRuling {
        self.slots.get_mut(slot).unwrap_or(&mut self.overflow)
    }

    #[inline]
    fn slot_of(event: &PendingEvent<'_>) -> usize {
        let state = match event.basis {
            Basis::Granted { state, .. } => state.0,
            Basis::Decided(_) => 0,
        };
        let result = event.observation.result.map_or_else(|errno| 1 + errno as u32, |()| 0);
        let wanted = event.observation.wanted.bits();
        let mixed = wanted ^ state.rotate_left(16) ^ result.rotate_left(24);
        // Multiplicative hashing: the upper bits of the product depend on all bits.
        (mixed.wrapping_mul(0x9e37_79b9) >> (u32::BITS - SLOTS.ilog2())) as usize
    }

    #[cold]
    fn insert(&mut self, slot: usize, event: &PendingEvent<'_>) {
        let of_state;
        let (details, granted) = match event.basis {
            Basis::Decided(details) => (details, None),
            Basis::Granted { observer, generation, state } => {
                let [wanted, _] = event.observation.wanted();
                of_state = DecisionDetails::allowed(event.policy.allowing_rule(state, wanted));
                (&of_state, Some((observer, generation, state)))
            }
        };
        // Another slot may have an equal ruling, of another state.
        let equal = self.slots.iter().find(|cached| cached.matches_details(details, event));
        let ruling = equal.map(|cached| Arc::clone(&cached.ruling)).unwrap_or_else(|| {
            let place = place_of_rule(details.rule, event.policy);
            Arc::new(new_ruling(event.observation, details, event.mode, place))
        });
        let cached = self.slot(slot);
        if !Arc::ptr_eq(&cached.ruling, &ruling) {
            cached.batch_index = (0, 0);
        }
        (cached.ruling, cached.granted) = (ruling, granted);
    }
}

impl CachedRuling {
    /// Returns the index of the ruling in the batch with this number, if the batch contains it.
    #[inline]
    pub(crate) fn index_in(&self, batch: u64) -> Option<u16> {
        if self.batch_index.0 == batch { Some(self.batch_index.1) } else { None }
    }

    pub(crate) fn set_index_in(&mut self, batch: u64, index: u16) {
        self.batch_index = (batch, index);
    }

    #[inline]
    fn matches(&self, event: &PendingEvent<'_>) -> bool {
        let (observer, generation, state) = match event.basis {
            Basis::Granted { observer, generation, state } => (observer, generation, state),
            Basis::Decided(details) => return self.matches_details(details, event),
        };
        let Ruling { action, wanted, result, same, is_dir, mode, .. } = &*self.ruling;
        let is_same_state = self
            .granted
            .as_ref()
            .is_some_and(|at| (at.0 == observer) & (at.1 == generation) & (at.2 == state));
        is_same_state
            && *wanted == event.observation.wanted
            && *action == event.observation.action
            && *result == event.observation.result
            && *same == event.observation.same
            && *is_dir == event.observation.is_dir
            && *mode == event.mode
    }

    fn matches_details(&self, details: &DecisionDetails, event: &PendingEvent<'_>) -> bool {
        let place = place_of_rule(details.rule, event.policy);
        let Ruling { action, wanted, result, same, is_dir, .. } = &*self.ruling;
        *action == event.observation.action
            && *wanted == event.observation.wanted
            && *result == event.observation.result
            && *same == event.observation.same
            && *is_dir == event.observation.is_dir
            && self.ruling.mode == event.mode
            && self.ruling.decision == details.decision
            && self.ruling.missing == details.missing
            && self.ruling.widens == details.widens
            && self.ruling.rule == details.rule
            && is_same_place(self.ruling.place.as_ref(), place)
    }
}

/// Returns the source line of `rule`.
fn place_of_rule(rule: Option<RuleId>, policy: &Policy) -> Option<&SourceLine> {
    policy.rule(rule?)?.place.as_ref()
}

fn new_ruling(
    observation: &Observation,
    details: &DecisionDetails,
    mode: Mode,
    place: Option<&SourceLine>,
) -> Ruling {
    Ruling {
        action: observation.action,
        wanted: observation.wanted,
        decision: details.decision,
        mode,
        missing: details.missing,
        widens: details.widens,
        rule: details.rule,
        place: place.cloned(),
        result: observation.result,
        same: observation.same,
        is_dir: observation.is_dir,
    }
}

/// Compares two source lines, their files by address: rules of one document share the file name.
fn is_same_place(one: Option<&SourceLine>, other: Option<&SourceLine>) -> bool {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (None, None) => return true,
        (Some(_), None) | (None, Some(_)) => return false,
    };
    let is_same_file = match (&one.file, &other.file) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    one.line == other.line && is_same_file
}
