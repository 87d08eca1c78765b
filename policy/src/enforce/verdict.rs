//! The verdict: whether a policy grants rights at a path, and which rule decides.
//!
//! [`Policy::judge`] is the only function that evaluates a policy for a path. Enforcement,
//! `explain`, dry runs and audit logs all use it, so their decisions agree. Enforcement evaluates
//! it once for each operation and passes the [`CheckOutcome`] on to a [`Recorder`].

use palisade_vfs::{Descent, Errno, Rights};

use crate::automaton::policy::{Policy, State};
use crate::rules::rule::{Effect, RuleId};

/// The result of [`Policy::judge`].
///
/// The deciding rule and the errno are computed on demand, so a verdict costs only the automaton
/// steps.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'p> {
    policy: &'p Policy,
    state: State,
    passed: usize,
    wanted: Rights,
    missing: Rights,
}

/// The decision that enforcement made about one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckOutcome {
    /// All needed rights are granted at this state. The inner directory was called.
    Granted(State),
    /// A right is missing, but the operation returned an error that precedes the denial, or was a
    /// rename between two names of one node, which does nothing.
    Preempted,
    /// The operation was denied.
    Denied(Denial),
    /// The operation failed with `EXDEV`: the new name would grant these rights, which the old name
    /// does not grant. Empty if a directory would move between states that are not equivalent.
    Widens {
        /// The rights that the new name would add.
        gained: Rights,
    },
}

/// Where and why an operation was denied, without a borrow of the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denial {
    pub(crate) state: State,
    pub(crate) missing: Rights,
}

/// Receives the outcome of each checked operation. `()` discards it.
pub(crate) trait Recorder {
    /// Called once for each operation.
    fn decided(&mut self, outcome: CheckOutcome);
}

impl Recorder for () {
    #[inline]
    fn decided(&mut self, _outcome: CheckOutcome) {}
}

/// Keeps the last outcome.
impl Recorder for Option<CheckOutcome> {
    #[inline]
    fn decided(&mut self, outcome: CheckOutcome) {
        *self = Some(outcome);
    }
}

impl Policy {
    /// Evaluates `wanted` at the end of `path`, which starts at the state `from`, and `LOOKUP` on
    /// each directory of the path. Does not allocate.
    #[must_use]
    pub fn judge(&self, from: State, path: Descent<'_>, wanted: Rights) -> Verdict<'_> {
        let (mut state, mut passed, mut rest) = (from, 0, path);
        loop {
            if let Some(state) = self.state_if_constant(state, rest, wanted) {
                let (passed, missing) = (passed + rest.depth(), Rights::empty());
                return Verdict { policy: self, state, passed, wanted, missing };
            }
            self.visit(state);
            let rights = self.rights(state);
            let Some((name, remaining)) = rest.split_first() else {
                let missing = wanted - rights;
                return Verdict { policy: self, state, passed, wanted, missing };
            };
            // A hidden state grants no rights, so the loop ends there too.
            let missing = Rights::LOOKUP - rights;
            if !missing.is_empty() {
                return Verdict { policy: self, state, passed, wanted: Rights::LOOKUP, missing };
            }
            state = self.step(state, name);
            passed += 1;
            rest = remaining;
        }
    }

    /// Returns the first rule at `state` that allows a right of `wanted`, which must be granted.
    pub(crate) fn allowing_rule(&self, state: State, wanted: Rights) -> Option<RuleId> {
        let allows = |id: &RuleId| match self.rule(*id).map(|rule| rule.effect) {
            Some(Effect::Allow(rights)) if !rights.is_empty() => {
                wanted.intersects(rights | Rights::LOOKUP)
            }
            Some(Effect::Allow(_) | Effect::Deny(_) | Effect::Hide) | None => false,
        };
        self.matched(state).iter().copied().find(allows)
    }

    /// Returns the first rule at `state` that hides it, or else denies a right of `missing`.
    pub(crate) fn denying_rule(&self, state: State, missing: Rights) -> Option<RuleId> {
        let hidden = self.is_hidden(state);
        let decides = |id: &RuleId| match self.rule(*id).map(|rule| rule.effect) {
            Some(Effect::Hide) => hidden,
            Some(Effect::Deny(rights)) => !hidden && rights.intersects(missing),
            Some(Effect::Allow(_)) | None => false,
        };
        self.matched(state).iter().copied().find(decides)
    }

    /// Fast path: returns the state at the end of `path` if `from` is constant and grants
    /// `wanted`. A constant state has one successor for all names, so no name is hashed. `None`
    /// means that the names have to be walked.
    #[inline]
    pub(crate) fn state_if_constant(
        &self,
        from: State,
        path: Descent<'_>,
        wanted: Rights,
    ) -> Option<State> {
        let row = self.table.row(from.0)?;
        if !row.constant || !row.rights.contains(wanted | Rights::LOOKUP) {
            return None;
        }
        let state = if path.is_here() { from } else { State(row.others) };
        if self.visited.is_some() {
            self.visit(from);
            self.visit(state);
        }
        Some(state)
    }
}

impl<'p> Verdict<'p> {
    /// Whether all wanted rights are granted.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.missing.is_empty() && !self.is_hidden()
    }

    /// Whether the path, or a directory of it, is hidden.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.policy.is_hidden(self.state)
    }

    /// Returns the errno of the denial, or `None` if all wanted rights are granted.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        if self.is_hidden() {
            return Some(Errno::Noent);
        }
        self.policy.require(self.state, self.wanted).err()
    }

    /// The deciding state: that of the end of the path, or of the directory that denies `LOOKUP`.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The number of names from the start to [`Verdict::state`].
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// The rights that the deciding state must grant: `LOOKUP` for a directory of the path.
    #[must_use]
    pub fn wanted(&self) -> Rights {
        self.wanted
    }

    /// The rights of [`Verdict::wanted`] that are not granted.
    #[must_use]
    pub fn missing(&self) -> Rights {
        self.missing
    }

    /// Returns the deciding rule.
    ///
    /// A hidden path: the first rule that hides it. A denied one: the first rule that denies a
    /// missing right, or `None` if no rule allows it. A granted one: the first rule that allows a
    /// wanted right, or `None` for `LOOKUP` on a directory that leads to an allowed path.
    #[must_use]
    pub fn rule(&self) -> Option<RuleId> {
        if self.is_allowed() {
            return self.policy.allowing_rule(self.state, self.wanted);
        }
        self.policy.denying_rule(self.state, self.missing)
    }

    /// All rules that match at the deciding state, in ascending order; under a hidden directory,
    /// the rules that hide it.
    #[must_use]
    pub fn matched(&self) -> &'p [RuleId] {
        self.policy.matched(self.state)
    }

    /// The smallest set of rights that would have to be allowed there, if no rule denies them.
    #[must_use]
    pub fn grant(&self) -> Rights {
        if self.is_hidden() { self.wanted } else { self.missing }
    }

    /// Evaluates other rights at the same state.
    pub(crate) fn with_wanted(self, wanted: Rights) -> Self {
        Verdict { wanted, missing: wanted - self.policy.rights(self.state), ..self }
    }

    pub(crate) fn denial(&self) -> Denial {
        Denial { state: self.state, missing: self.missing }
    }
}
