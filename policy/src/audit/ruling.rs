//! What an event tells of its decision. A guest does few things in turns, so many events tell it
//! alike: it is made once for those, and who keeps events or writes them can tell by its address.

use std::mem;
use std::sync::Arc;

use palisade_vfs::{Errno, Rights};

use super::auditor::Happening;
use super::event::{Act, Decision, HowDecided};
use super::facts::{Decided, Facts, allowed};
use crate::{Place, Policy, RuleId, State};

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
    /// Whether it was refused because the new name grants more than the old one.
    pub widens: bool,
    /// The rule that decided, if one did.
    pub rule: Option<RuleId>,
    /// Where that was written.
    pub place: Option<Place>,
    /// What the guest was told.
    pub result: Result<(), Errno>,
    /// Whether both names led to the same node already.
    pub same: bool,
}

/// What a ruling rests on.
#[derive(Clone, Copy)]
pub(super) enum Basis<'a> {
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
    pub(super) fn decision(&self) -> Decision {
        match self {
            Basis::Granted { .. } => Decision::Allow,
            Basis::Decided(decided) => decided.decision,
        }
    }
}

/// The rulings that were told last.
pub(super) struct Rulings {
    last: Known,
    before: Vec<Known>,
    /// Where the next one replaces an older one of those before.
    turn: usize,
}

struct Known {
    /// Where it was granted the last time, if it was: a watch, a generation and a state.
    granted: Option<(u64, u64, State)>,
    ruling: Arc<Ruling>,
}

/// Most rulings that are remembered beside the last one.
const BEFORE_MAX: usize = 7;

impl Rulings {
    pub(super) fn new() -> Self {
        let facts =
            Facts { act: Act::Follow, wanted: Rights::empty(), result: Ok(()), same: false };
        let ruling = Ruling::new(&facts, &allowed(None), HowDecided::Enforced, None);
        let last = Known { granted: None, ruling: Arc::new(ruling) };
        Rulings { last, before: Vec::new(), turn: 0 }
    }

    /// What is told of `what`.
    #[inline]
    pub(super) fn of(&mut self, what: &Happening<'_>) -> &Arc<Ruling> {
        if !self.last.is_of(what) {
            self.bring(what);
        }
        &self.last.ruling
    }

    /// Makes the ruling of `what` the last one.
    fn bring(&mut self, what: &Happening<'_>) {
        if let Some(known) = self.before.iter_mut().find(|known| known.is_of(what)) {
            return mem::swap(&mut self.last, known);
        }
        match what.basis {
            Basis::Decided(decided) => self.add(decided, what),
            Basis::Granted { watch, generation, state } => {
                let [wanted, _] = what.facts.wanted();
                let decided = allowed(what.policy.allowed_by(state, wanted));
                if !self.last.is_decided(&decided, what) {
                    match self.before.iter_mut().find(|known| known.is_decided(&decided, what)) {
                        Some(known) => mem::swap(&mut self.last, known),
                        None => self.add(&decided, what),
                    }
                }
                self.last.granted = Some((watch, generation, state));
            }
        }
    }

    fn add(&mut self, decided: &Decided, what: &Happening<'_>) {
        let place = place(decided.rule, what.policy);
        let ruling = Arc::new(Ruling::new(what.facts, decided, what.how, place));
        let last = mem::replace(&mut self.last, Known { granted: None, ruling });
        match self.before.get_mut(self.turn) {
            Some(oldest) => *oldest = last,
            None => self.before.push(last),
        }
        self.turn = (self.turn + 1) % BEFORE_MAX;
    }
}

impl Known {
    /// Whether it is seen at once to be that of `what`.
    #[inline]
    fn is_of(&self, what: &Happening<'_>) -> bool {
        let (watch, generation, state) = match what.basis {
            Basis::Granted { watch, generation, state } => (watch, generation, state),
            Basis::Decided(decided) => return self.is_decided(decided, what),
        };
        let Ruling { act, wanted, result, same, how, .. } = &*self.ruling;
        let is_there = self
            .granted
            .as_ref()
            .is_some_and(|at| (at.0 == watch) & (at.1 == generation) & (at.2 == state));
        is_there
            && *wanted == what.facts.wanted
            && *act == what.facts.act
            && *result == what.facts.result
            && *same == what.facts.same
            && *how == what.how
    }

    #[inline]
    fn is_decided(&self, decided: &Decided, what: &Happening<'_>) -> bool {
        let place = place(decided.rule, what.policy);
        self.ruling.is_of(what.facts, decided, what.how, place)
    }
}

/// Where `rule` of `policy` was written.
fn place(rule: Option<RuleId>, policy: &Policy) -> Option<&Place> {
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
