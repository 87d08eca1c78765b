//! What an event tells of its decision. A guest does few things in turns, so many events tell it
//! alike: it is made once for those, and who keeps events or writes them can tell by its address.

use std::sync::Arc;

use palisade_vfs::{Errno, Rights};

use super::event::{Act, Decision, HowDecided};
use super::facts::{Decided, Facts};
use crate::{Place, Policy, RuleId};

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

/// The rulings that were told last.
#[derive(Default)]
pub(super) struct Rulings {
    last: Option<Arc<Ruling>>,
    /// Those before it, each once, the one longest ago first.
    before: Vec<Arc<Ruling>>,
}

/// Most rulings that are remembered beside the last one.
const BEFORE_MAX: usize = 7;

impl Rulings {
    /// What is told of `decided`, by rules of `policy`.
    #[inline]
    pub(super) fn of(
        &mut self,
        facts: &Facts,
        decided: &Decided,
        how: HowDecided,
        policy: &Policy,
    ) -> &Arc<Ruling> {
        let place = decided.rule.and_then(|id| policy.rule(id)?.place.as_ref());
        let is_it = |known: &Arc<Ruling>| known.is_of(facts, decided, how, place);
        let ruling = match self.last.take() {
            Some(last) if is_it(&last) => last,
            last => {
                let at = self.before.iter().position(is_it);
                let new = || Arc::new(Ruling::new(facts, decided, how, place));
                let ruling = at.map_or_else(new, |at| self.before.remove(at));
                if self.before.len() >= BEFORE_MAX {
                    self.before.remove(0);
                }
                self.before.extend(last);
                ruling
            }
        };
        self.last.insert(ruling)
    }
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
