//! What an event tells of its decision. A guest does few things in turns, so many events tell it
//! alike: it is made once for those, and who keeps events or writes them can tell by its address.

use std::sync::Arc;

use palisade_vfs::{Errno, Rights};

use crate::audit::decision::{Decided, Facts, allowed};
use crate::audit::event::{Act, Decision, HowDecided};
use crate::audit::writer::Happening;
use crate::automaton::policy::{Policy, State};
use crate::rules::rule::{Place, RuleId};

/// What was asked for, what was decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What was asked for.
    pub act: Act,
    /// The rights that it took, as things were: at the path, and with a second name those to be
    /// there, which are `RENAME_INTO` and `LINK_INTO`. `LOOKUP` is taken at both.
    pub wanted: Rights,
    /// What was decided.
    pub decision: Decision,
    /// Whether it was carried out.
    pub how: HowDecided,
    /// Those of the wanted rights that are missing.
    pub missing: Rights,
    /// Whether it was refused because the new name grants more than the old one, or because a
    /// directory would get a name that grants something else.
    pub widens: bool,
    /// The rule that decided, if one did.
    pub rule: Option<RuleId>,
    /// Where that was written.
    pub place: Option<Place>,
    /// What the guest was told.
    pub result: Result<(), Errno>,
    /// Whether both names led to the same node already.
    pub same: bool,
    /// Whether it is the rename of a directory.
    pub is_dir: bool,
}

/// What a ruling rests on.
#[derive(Clone, Copy)]
pub(crate) enum Basis<'a> {
    /// A place where all that was wanted is granted, of both names if there are two: what is
    /// allowed there, by which rule, is always the same.
    Granted {
        /// The number of a watch.
        watch: u64,
        /// Which of the policies that it knows.
        generation: u64,
        state: State,
    },
    /// A decision, whatever led to it.
    Decided(&'a Decided),
}

impl Basis<'_> {
    pub(crate) fn decision(&self) -> Decision {
        match self {
            Basis::Granted { .. } => Decision::Allow,
            Basis::Decided(decided) => decided.decision,
        }
    }
}

/// The rulings that were told last, each in one of a few places that what it is about tells.
pub(crate) struct Rulings {
    places: [Known; PLACES],
    /// Beyond the places; none is.
    beyond: Known,
}

/// One of them.
pub(crate) struct Known {
    /// Where it was granted the last time, if it was: a watch, a generation and a state.
    granted: Option<(u64, u64, State)>,
    pub(crate) ruling: Arc<Ruling>,
    /// The number of the batch that keeps it, and where in it.
    kept: (u64, u16),
}

/// Rulings that are remembered.
const PLACES: usize = 16;

impl Rulings {
    pub(crate) fn new() -> Self {
        let facts = Facts {
            act: Act::Follow,
            wanted: Rights::empty(),
            result: Ok(()),
            same: false,
            is_dir: false,
        };
        let none = Arc::new(Ruling::new(&facts, &allowed(None), HowDecided::Enforced, None));
        let known = || Known { granted: None, ruling: Arc::clone(&none), kept: (0, 0) };
        Rulings { places: std::array::from_fn(|_| known()), beyond: known() }
    }

    /// What is told of `what`.
    #[inline]
    pub(crate) fn of(&mut self, what: &Happening<'_>) -> &mut Known {
        let place = Self::place_of(what);
        if !self.at(place).is_of(what) {
            self.bring(place, what);
        }
        self.at(place)
    }

    #[inline]
    fn at(&mut self, place: usize) -> &mut Known {
        self.places.get_mut(place).unwrap_or(&mut self.beyond)
    }

    #[inline]
    fn place_of(what: &Happening<'_>) -> usize {
        let state = match what.basis {
            Basis::Granted { state, .. } => state.0,
            Basis::Decided(_) => 0,
        };
        let result = what.facts.result.map_or_else(|errno| 1 + errno as u32, |()| 0);
        let mixed = what.facts.wanted.bits() ^ state.rotate_left(16) ^ result.rotate_left(24);
        // The upper bits of a product depend on all bits.
        (mixed.wrapping_mul(0x9e37_79b9) >> (u32::BITS - PLACES.ilog2())) as usize
    }

    /// Puts the ruling of `what` to its place.
    #[cold]
    fn bring(&mut self, place: usize, what: &Happening<'_>) {
        let granted;
        let (decided, granted) = match what.basis {
            Basis::Decided(decided) => (decided, None),
            Basis::Granted { watch, generation, state } => {
                let [wanted, _] = what.facts.wanted();
                granted = allowed(what.policy.allowed_by(state, wanted));
                (&granted, Some((watch, generation, state)))
            }
        };
        let alike = self.places.iter().find(|known| known.is_decided(decided, what));
        let ruling = alike.map(|known| Arc::clone(&known.ruling)).unwrap_or_else(|| {
            let place = place_of_rule(decided.rule, what.policy);
            Arc::new(Ruling::new(what.facts, decided, what.how, place))
        });
        let known = self.at(place);
        if !Arc::ptr_eq(&known.ruling, &ruling) {
            known.kept = (0, 0);
        }
        (known.ruling, known.granted) = (ruling, granted);
    }
}

impl Known {
    /// Where the batch of this number keeps it, if it does.
    #[inline]
    pub(crate) fn kept_in(&self, batch: u64) -> Option<u16> {
        if self.kept.0 == batch { Some(self.kept.1) } else { None }
    }

    pub(crate) fn keep_in(&mut self, batch: u64, at: u16) {
        self.kept = (batch, at);
    }

    /// Whether it is seen at once to be that of `what`.
    #[inline]
    fn is_of(&self, what: &Happening<'_>) -> bool {
        let (watch, generation, state) = match what.basis {
            Basis::Granted { watch, generation, state } => (watch, generation, state),
            Basis::Decided(decided) => return self.is_decided(decided, what),
        };
        let Ruling { act, wanted, result, same, is_dir, how, .. } = &*self.ruling;
        let is_there = self
            .granted
            .as_ref()
            .is_some_and(|at| (at.0 == watch) & (at.1 == generation) & (at.2 == state));
        is_there
            && *wanted == what.facts.wanted
            && *act == what.facts.act
            && *result == what.facts.result
            && *same == what.facts.same
            && *is_dir == what.facts.is_dir
            && *how == what.how
    }

    fn is_decided(&self, decided: &Decided, what: &Happening<'_>) -> bool {
        let place = place_of_rule(decided.rule, what.policy);
        self.ruling.is_of(what.facts, decided, what.how, place)
    }
}

/// Where `rule` of `policy` was written.
fn place_of_rule(rule: Option<RuleId>, policy: &Policy) -> Option<&Place> {
    policy.rule(rule?)?.place.as_ref()
}

impl Ruling {
    fn new(facts: &Facts, decided: &Decided, how: HowDecided, place: Option<&Place>) -> Self {
        Ruling {
            act: facts.act,
            wanted: facts.wanted,
            decision: decided.decision,
            how,
            missing: decided.missing,
            widens: decided.widens,
            rule: decided.rule,
            place: place.cloned(),
            result: facts.result,
            same: facts.same,
            is_dir: facts.is_dir,
        }
    }

    #[inline]
    fn is_of(
        &self,
        facts: &Facts,
        decided: &Decided,
        how: HowDecided,
        place: Option<&Place>,
    ) -> bool {
        self.act == facts.act
            && self.wanted == facts.wanted
            && self.result == facts.result
            && self.same == facts.same
            && self.is_dir == facts.is_dir
            && self.how == how
            && self.decision == decided.decision
            && self.missing == decided.missing
            && self.widens == decided.widens
            && self.rule == decided.rule
            && is_one_place(self.place.as_ref(), place)
    }
}

/// Whether both are one place, told without a look at the name of its file. Rules that were read
/// together share that.
fn is_one_place(one: Option<&Place>, other: Option<&Place>) -> bool {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (None, None) => return true,
        (Some(_), None) | (None, Some(_)) => return false,
    };
    let is_one_file = match (&one.file, &other.file) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    one.line == other.line && is_one_file
}
