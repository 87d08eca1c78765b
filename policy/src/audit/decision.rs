//! The recorded decision: which decision a policy makes about an operation with a known result.
//!
//! In enforcing mode the decision is the outcome that enforcement reports. This module derives it
//! for dry runs, replays and open files, where no directory operation is checked.
//!
//! Enforcement returns an error that precedes the denial in its place. So a failed operation counts
//! as denied only if the policy does not even grant the rights that are needed to see that error,
//! which [`Observation::rights_to_see_result`] lists. A test compares the result with enforcement.

use palisade_vfs::{Descent, Errno, Rights};

use crate::audit::event::{Action, Decision};
use crate::automaton::policy::{Movable, Policy, State};
use crate::enforce::verdict::{CheckOutcome, Verdict};
use crate::rules::operation::Operation;
use crate::rules::rule::RuleId;

/// A path that starts at a state of a policy.
#[derive(Clone, Copy)]
pub(crate) struct JudgedPath<'a> {
    pub(crate) state: State,
    pub(crate) path: Descent<'a>,
}

/// The properties of an operation that a decision depends on, except for its paths.
#[derive(Clone, Copy)]
pub(crate) struct Observation {
    pub(crate) action: Action,
    /// The rights that the operation needed, given the nodes that existed.
    pub(crate) wanted: Rights,
    /// The result, or in a dry run the result without a policy.
    pub(crate) result: Result<(), Errno>,
    /// Whether both names led to one node.
    pub(crate) same: bool,
    /// Whether it is the rename of a directory.
    pub(crate) is_dir: bool,
}

impl Observation {
    /// A symbolic link was followed, which needs no right.
    pub(crate) const FOLLOW: Observation = Observation {
        action: Action::Follow,
        wanted: Rights::empty(),
        result: Ok(()),
        same: false,
        is_dir: false,
    };
}

/// A decision and its reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionDetails {
    /// The decision.
    pub decision: Decision,
    /// The wanted rights that are not granted.
    pub missing: Rights,
    /// Whether the operation is denied because the new name grants more than the old one, or
    /// because a directory would move between paths that are not equivalent.
    pub widens: bool,
    /// The deciding rule, if there is one.
    pub rule: Option<RuleId>,
}

impl DecisionDetails {
    pub(crate) fn allowed(rule: Option<RuleId>) -> Self {
        let missing = Rights::empty();
        DecisionDetails { decision: Decision::Allow, missing, widens: false, rule }
    }

    /// The denial of a new name that would add the rights `gained`.
    fn widens(gained: Rights) -> Self {
        let decision = Decision::Deny;
        DecisionDetails { decision, missing: gained, widens: true, rule: None }
    }

    /// Denies `missing` at `state` of `policy`.
    fn denied(policy: &Policy, state: State, missing: Rights) -> Self {
        let decision = if policy.is_hidden(state) { Decision::Hide } else { Decision::Deny };
        let rule = policy.denying_rule(state, missing);
        DecisionDetails { decision, missing, widens: false, rule }
    }

    /// The record of an outcome of enforcement under `policy`. For a granted operation the rule is
    /// not determined: a file right also opens a directory, whose recorded rights are those of a
    /// directory.
    pub(crate) fn of_outcome(policy: &Policy, outcome: CheckOutcome) -> Self {
        match outcome {
            CheckOutcome::Granted(_) | CheckOutcome::Preempted => Self::allowed(None),
            CheckOutcome::Denied(denial) => Self::denied(policy, denial.state, denial.missing),
            CheckOutcome::Widens { gained } => Self::widens(gained),
        }
    }
}

/// The rights that an operation needs at its second name.
const AT_SECOND_NAME: Rights = Rights::RENAME_INTO.union(Rights::LINK_INTO);

impl Observation {
    /// The rights wanted at both names.
    pub(crate) fn wanted(&self) -> [Rights; 2] {
        if self.action.has_two_names() {
            [self.wanted - AT_SECOND_NAME, (self.wanted & AT_SECOND_NAME) | Rights::LOOKUP]
        } else {
            [self.wanted, Rights::empty()]
        }
    }

    fn opened_a_dir_as_a_file(&self) -> bool {
        matches!(self.action, Action::One(Operation::Open(how)) if !how.wants_dir())
            && self.wanted.contains(Rights::LIST)
    }

    /// Returns the rights at both names that suffice for the guest to get this result although a
    /// wanted right is missing; `None` if none do. A second name that is not looked up needs none.
    pub(crate) fn rights_to_see_result(&self) -> Option<[Option<Rights>; 2]> {
        let second = |rights| if self.action.has_two_names() { Some(rights) } else { None };
        let both = |first, at_second| Some([Some(first), second(at_second)]);
        let errno = match self.result {
            Err(errno) => errno,
            Ok(()) if self.same && self.action == Action::Rename => {
                let stat = Rights::LOOKUP | Rights::STAT;
                return both(stat, stat);
            }
            // The right to read a file at this path also opens a directory.
            Ok(()) if self.opened_a_dir_as_a_file() => {
                return both((self.wanted - Rights::LIST) | Rights::READ, Rights::empty());
            }
            Ok(()) => return None,
        };
        // An open file was looked up by its open.
        if self.is_on_content() {
            return None;
        }
        match errno {
            Errno::Noent => Some([Some(Rights::LOOKUP), None]),
            // The denial of a rename precedes errors about the types of the nodes.
            _ if self.action == Action::Rename => None,
            Errno::Exist | Errno::Isdir | Errno::Notdir | Errno::Nxio => {
                both(Rights::LOOKUP, Rights::LOOKUP)
            }
            Errno::Inval if self.action == Action::One(Operation::ReadLink) => {
                both(Rights::LOOKUP, Rights::LOOKUP)
            }
            Errno::Perm if self.action == Action::Link => both(Rights::LOOKUP, Rights::LOOKUP),
            Errno::Notempty => both(Rights::LOOKUP | Rights::LIST, Rights::empty()),
            _ => None,
        }
    }

    /// Whether it is a read, a write or a change of size of an open file.
    fn is_on_content(&self) -> bool {
        matches!(self.action, Action::One(Operation::Read | Operation::Write | Operation::SetLen))
    }

    /// Whether the handle was not opened for the operation, which is not a denial.
    fn was_not_opened_for_it(&self, refused: &Verdict<'_>) -> bool {
        self.is_on_content()
            && refused.missing().intersects(Rights::READ | Rights::WRITE)
            && matches!(self.result, Err(Errno::Badf | Errno::Inval))
    }
}

/// Returns the decision of `policy`.
#[inline]
pub(crate) fn decide(
    policy: &Policy,
    from: JudgedPath<'_>,
    to: Option<JudgedPath<'_>>,
    observation: &Observation,
) -> DecisionDetails {
    if to.is_none()
        && let Some(state) = policy.state_if_constant(from.state, from.path, observation.wanted)
    {
        return DecisionDetails::allowed(policy.allowing_rule(state, observation.wanted));
    }
    decide_on_paths(policy, from, to, observation)
}

fn decide_on_paths(
    policy: &Policy,
    from: JudgedPath<'_>,
    to: Option<JudgedPath<'_>>,
    observation: &Observation,
) -> DecisionDetails {
    let [wanted, wanted_there] = observation.wanted();
    let movable =
        to.map_or(Movable::Everything, |to| movable(policy, observation.action, from, to));
    if let (Movable::Nothing, Some(to)) = (movable, to) {
        return widens(policy, from, to);
    }
    let here = policy.judge(from.state, from.path, wanted);
    let there = to.map(|to| policy.judge(to.state, to.path, wanted_there));
    let refused = match there {
        _ if !here.is_allowed() => here,
        Some(there) if !there.is_allowed() => there,
        Some(_) if movable == Movable::Leaves && observation.is_dir => {
            return to.map_or(DecisionDetails::allowed(here.rule()), |to| widens(policy, from, to));
        }
        _ => return DecisionDetails::allowed(here.rule()),
    };
    // Every error of a rename or link into a hidden directory counts as the denial.
    let is_into_hidden = to.is_some_and(|to| policy.is_hidden(to.state));
    if !is_into_hidden && let Some([first, second]) = observation.rights_to_see_result() {
        let is_granted =
            |at: JudgedPath<'_>, rights| policy.judge(at.state, at.path, rights).is_allowed();
        if first.is_none_or(|rights| is_granted(from, rights))
            && to.zip(second).is_none_or(|(to, rights)| is_granted(to, rights))
        {
            return DecisionDetails::allowed(None);
        }
    }
    if observation.was_not_opened_for_it(&refused) {
        return DecisionDetails::allowed(None);
    }
    DecisionDetails::denied(policy, refused.state(), refused.missing())
}

/// Returns the state at the end of a path.
fn end(policy: &Policy, at: JudgedPath<'_>) -> State {
    at.path.names().fold(at.state, |state, name| policy.step(state, name))
}

/// Returns which nodes may get the new name. A hidden node does not exist for the guest.
fn movable(policy: &Policy, action: Action, from: JudgedPath<'_>, to: JudgedPath<'_>) -> Movable {
    let (old, new) = (end(policy, from), end(policy, to));
    match action {
        _ if policy.is_hidden(old) => Movable::Everything,
        Action::Rename => policy.movable(old, new),
        Action::Link if !policy.rights(old).contains(policy.rights(new)) => Movable::Nothing,
        Action::Link | Action::One(_) | Action::Follow => Movable::Everything,
    }
}

fn widens(policy: &Policy, from: JudgedPath<'_>, to: JudgedPath<'_>) -> DecisionDetails {
    let gained = policy.rights(end(policy, to)) - policy.rights(end(policy, from));
    DecisionDetails::widens(gained)
}
