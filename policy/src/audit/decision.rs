//! What a decision depends on, and the decision: one function, for what is enforced, what is only
//! recorded, and what is replayed.
//!
//! The confining layer judges all that an operation takes and hands on what is granted; what is not
//! granted it looks at first, and an error that comes before the refusal is told instead. So an
//! operation that fails by itself is refused only to one who may not even know that: this file
//! alone says what knowing it takes. A test holds it to what the confining layer does.

use palisade_vfs::{Descent, Errno, Rights};

use crate::audit::event::{Act, Decision};
use crate::automaton::policy::{Movable, Policy, State};
use crate::enforce::verdict::Verdict;
use crate::rules::operation::Operation;
use crate::rules::rule::RuleId;

/// A path from a directory at a state of a policy.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) state: State,
    pub(crate) path: Descent<'a>,
}

/// What there is to know about an operation beside its names.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) act: Act,
    /// What it took, as things were.
    pub(crate) wanted: Rights,
    /// What came of it, or would have without a policy.
    pub(crate) result: Result<(), Errno>,
    /// Whether both names led to the same node.
    pub(crate) same: bool,
    /// Whether it is the rename of a directory.
    pub(crate) is_dir: bool,
}

/// A decision and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// Those of the wanted rights that are missing.
    pub missing: Rights,
    /// Whether it is refused because the new name grants more than the old one, or because a
    /// directory would get a name that grants something else.
    pub widens: bool,
    /// The rule that decides, if one does.
    pub rule: Option<RuleId>,
}

/// Rights that are taken at a second name.
const AT_THE_SECOND: Rights = Rights::RENAME_INTO.union(Rights::LINK_INTO);

impl Facts {
    /// The rights wanted at both names.
    pub(crate) fn wanted(&self) -> [Rights; 2] {
        if self.act.is_of_two() {
            [self.wanted - AT_THE_SECOND, (self.wanted & AT_THE_SECOND) | Rights::LOOKUP]
        } else {
            [self.wanted, Rights::empty()]
        }
    }

    fn opened_a_dir_as_a_file(&self) -> bool {
        matches!(self.act, Act::One(Operation::Open(how)) if !how.wants_dir())
            && self.wanted.contains(Rights::LIST)
    }

    /// The rights at both names with which the result is told to one who lacks what was wanted;
    /// `None` if it is not. Nothing at all is asked of a second name that is not looked at.
    pub(crate) fn told_with(&self) -> Option<[Option<Rights>; 2]> {
        let second = |rights| if self.act.is_of_two() { Some(rights) } else { None };
        let both = |first, at_second| Some([Some(first), second(at_second)]);
        let errno = match self.result {
            Err(errno) => errno,
            Ok(()) if self.same && self.act == Act::Rename => {
                let look = Rights::LOOKUP | Rights::STAT;
                return both(look, look);
            }
            // A directory is also opened by one who might have read a file there.
            Ok(()) if self.opened_a_dir_as_a_file() => {
                return both((self.wanted - Rights::LIST) | Rights::READ, Rights::empty());
            }
            Ok(()) => return None,
        };
        // What is done to an open file was looked at when it was opened.
        if matches!(self.act, Act::One(Operation::Read | Operation::Write | Operation::SetLen)) {
            return None;
        }
        match errno {
            Errno::Noent => Some([Some(Rights::LOOKUP), None]),
            // What is wrong with the types is not told of a rename.
            _ if self.act == Act::Rename => None,
            Errno::Exist | Errno::Isdir | Errno::Notdir | Errno::Nxio => {
                both(Rights::LOOKUP, Rights::LOOKUP)
            }
            Errno::Inval if self.act == Act::One(Operation::ReadLink) => {
                both(Rights::LOOKUP, Rights::LOOKUP)
            }
            Errno::Perm if self.act == Act::Link => both(Rights::LOOKUP, Rights::LOOKUP),
            // That a directory is not empty is told to one who may list it.
            Errno::Notempty => both(Rights::LOOKUP | Rights::LIST, Rights::empty()),
            _ => None,
        }
    }
}

/// What `policy` decides.
#[inline]
pub(crate) fn decide(
    policy: &Policy,
    from: Spot<'_>,
    to: Option<Spot<'_>>,
    facts: &Facts,
) -> Decided {
    // What is mostly told, at the least cost.
    if to.is_none()
        && let Some(state) = policy.grants_beneath(from.state, from.path, facts.wanted)
    {
        return allowed(policy.allowed_by(state, facts.wanted));
    }
    decide_by_all(policy, from, to, facts)
}

fn decide_by_all(policy: &Policy, from: Spot<'_>, to: Option<Spot<'_>>, facts: &Facts) -> Decided {
    let [wanted, wanted_there] = facts.wanted();
    let movable = to.map_or(Movable::Everything, |to| movable(policy, facts.act, from, to));
    if let (Movable::Nothing, Some(to)) = (movable, to) {
        return widens(policy, from, to);
    }
    let here = policy.judge(from.state, from.path, wanted);
    let there = to.map(|to| policy.judge(to.state, to.path, wanted_there));
    let refused = match there {
        _ if !here.is_allowed() => here,
        Some(there) if !there.is_allowed() => there,
        Some(_) if movable == Movable::Leaves && facts.is_dir => {
            return to.map_or(allowed(here.rule()), |to| widens(policy, from, to));
        }
        _ => return allowed(here.rule()),
    };
    if let Some(needed) = facts.told_with() {
        let is_granted =
            |spot: Spot<'_>, rights| policy.judge(spot.state, spot.path, rights).is_allowed();
        let [first, second] = needed;
        let may_know = first.is_none_or(|rights| is_granted(from, rights))
            && to.zip(second).is_none_or(|(to, rights)| is_granted(to, rights));
        if may_know {
            return allowed(None);
        }
    }
    if is_no_refusal(facts, &refused) {
        return allowed(None);
    }
    let decision = if refused.is_hidden() { Decision::Hide } else { Decision::Deny };
    Decided { decision, missing: refused.missing(), widens: false, rule: refused.rule() }
}

pub(crate) fn allowed(rule: Option<RuleId>) -> Decided {
    Decided { decision: Decision::Allow, missing: Rights::empty(), widens: false, rule }
}

/// A handle without the right to the bytes was not opened for them, and that is what it says.
fn is_no_refusal(facts: &Facts, refused: &Verdict<'_>) -> bool {
    matches!(facts.act, Act::One(Operation::Read | Operation::Write | Operation::SetLen))
        && refused.missing().intersects(Rights::READ | Rights::WRITE)
        && matches!(facts.result, Err(Errno::Badf | Errno::Inval))
}

/// The state of the end of a path.
fn end(policy: &Policy, spot: Spot<'_>) -> State {
    spot.path.names().fold(spot.state, |at, name| policy.step(at, name))
}

/// What may get the new name, as the confining layer has it. What is hidden is not there.
fn movable(policy: &Policy, act: Act, from: Spot<'_>, to: Spot<'_>) -> Movable {
    let (old, new) = (end(policy, from), end(policy, to));
    match act {
        _ if policy.is_hidden(old) => Movable::Everything,
        Act::Rename => policy.movable(old, new),
        Act::Link if !policy.rights(old).contains(policy.rights(new)) => Movable::Nothing,
        Act::Link | Act::One(_) | Act::Follow => Movable::Everything,
    }
}

/// The refusal of a new name because of what the old one grants; what is missing is what the new
/// one grants beyond it.
fn widens(policy: &Policy, from: Spot<'_>, to: Spot<'_>) -> Decided {
    let gained = policy.rights(end(policy, to)) - policy.rights(end(policy, from));
    Decided { decision: Decision::Deny, missing: gained, widens: true, rule: None }
}
