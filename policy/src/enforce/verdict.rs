//! Judging: one question to a policy, and the answer with what it rests on.
//!
//! Enforcing, explaining, dry-running and auditing all ask here, so that none of them can say
//! anything else than what is done.

use palisade_vfs::{Descent, Errno, Rights};

use crate::automaton::policy::{Policy, State};
use crate::rules::rule::{Effect, RuleId};

/// The answer of [`Policy::judge`].
///
/// What it says beyond the answer is looked up when it is asked for, so that an answer costs
/// nothing but the steps.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'p> {
    policy: &'p Policy,
    state: State,
    passed: usize,
    wanted: Rights,
    missing: Rights,
}

impl Policy {
    /// Whether `wanted` is granted at the end of `path`, which starts at `from`, and `LOOKUP` on
    /// each directory on the way. Does not allocate.
    #[must_use]
    pub fn judge(&self, from: State, path: Descent<'_>, wanted: Rights) -> Verdict<'_> {
        let (mut state, mut passed, mut rest) = (from, 0, path);
        loop {
            if let Some(state) = self.grants_beneath(state, rest, wanted) {
                let (passed, missing) = (passed + rest.depth(), Rights::empty());
                return Verdict { policy: self, state, passed, wanted, missing };
            }
            self.visit(state);
            let rights = self.rights(state);
            let Some((name, beneath)) = rest.split_first() else {
                let missing = wanted - rights;
                return Verdict { policy: self, state, passed, wanted, missing };
            };
            // What is hidden grants nothing, so this stops there too.
            let missing = Rights::LOOKUP - rights;
            if !missing.is_empty() {
                return Verdict { policy: self, state, passed, wanted: Rights::LOOKUP, missing };
            }
            state = self.step(state, name);
            passed += 1;
            rest = beneath;
        }
    }

    /// The first rule at `state` that allows something of `wanted`, which is granted there.
    pub(crate) fn allowed_by(&self, state: State, wanted: Rights) -> Option<RuleId> {
        let allows = |id: &RuleId| match self.rule(*id).map(|rule| rule.effect) {
            Some(Effect::Allow(rights)) if !rights.is_empty() => {
                wanted.intersects(rights | Rights::LOOKUP)
            }
            Some(Effect::Allow(_) | Effect::Deny(_) | Effect::Hide) | None => false,
        };
        self.matched(state).iter().copied().find(allows)
    }

    /// The state that `path` leads to from `from`, if no name on it matters and `wanted` is
    /// granted: what most questions come to, without a look at a name. `None` says nothing.
    #[inline]
    pub(crate) fn grants_beneath(
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
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.missing.is_empty() && !self.is_hidden()
    }

    /// Whether it is refused as if nothing were there.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.policy.is_hidden(self.state)
    }

    /// The error that tells it: none if it is allowed.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        if self.is_hidden() {
            return Some(Errno::Noent);
        }
        self.policy.require(self.state, self.wanted).err()
    }

    /// Where it was decided: at the end of the path, or at what on the way was refused.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How many names were passed to get to [`Verdict::state`].
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// The rights that were wanted there: `LOOKUP` for a directory on the way.
    #[must_use]
    pub fn wanted(&self) -> Rights {
        self.wanted
    }

    /// Those of [`Verdict::wanted`] that are not granted there.
    #[must_use]
    pub fn missing(&self) -> Rights {
        self.missing
    }

    /// The rule that decided: the first that hides it; else the first that denies what is missing;
    /// else, if it is allowed, the first that allows something of what was wanted. None if nothing
    /// allows what is missing, or if it is a way to what may be done further down.
    #[must_use]
    pub fn rule(&self) -> Option<RuleId> {
        if self.is_allowed() {
            return self.policy.allowed_by(self.state, self.wanted);
        }
        let hidden = self.is_hidden();
        let decides = |id: &RuleId| match self.policy.rule(*id).map(|rule| rule.effect) {
            Some(Effect::Hide) => hidden,
            Some(Effect::Deny(rights)) => !hidden && rights.intersects(self.missing),
            Some(Effect::Allow(_)) | None => false,
        };
        self.matched().iter().copied().find(decides)
    }

    /// All rules that match there, lowest first; below what is hidden, the rules that hide it.
    #[must_use]
    pub fn matched(&self) -> &'p [RuleId] {
        self.policy.matched(self.state)
    }

    /// The smallest grant there that would allow it, if nothing denies it.
    #[must_use]
    pub fn grant(&self) -> Rights {
        if self.is_hidden() { self.wanted } else { self.missing }
    }
}
