//! Rule coverage: tracks which rules of a policy have matched a path.
//!
//! A tracked [`Policy`] has a bitmap of visited states. Evaluating a path sets the bit of each
//! state of the path, and only the first visit of a state marks its rules. So a repeated access
//! costs one load and one test, and an untracked policy one test of an `Option`.
//!
//! A bit is never cleared and no other memory depends on it, so relaxed atomics suffice.
//! Deliberately absent: counts. A rule with a typo is one that never matches.

#[cfg(feature = "document")]
mod nearest;
mod tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_vfs::bug;

use crate::automaton::compile::trie::number;
use crate::automaton::policy::{Policy, State};
use crate::rules::rule::RuleId;

pub use tree::{TreeVisit, Unread};

/// The visited states of one policy.
#[derive(Debug)]
pub(crate) struct Visited {
    states: Box<[AtomicU64]>,
    rules: Arc<MatchedRules>,
}

/// The rules of one policy that have matched a path.
#[derive(Debug)]
struct MatchedRules {
    matched: Box<[AtomicBool]>,
    /// Those of the wider policy from which this one was narrowed, whose rules come first here.
    wider: Option<Arc<MatchedRules>>,
}

impl MatchedRules {
    fn new(rules: usize, wider: Option<Arc<MatchedRules>>) -> Arc<Self> {
        let matched = (0..rules).map(|_| AtomicBool::new(false)).collect();
        Arc::new(MatchedRules { matched, wider })
    }

    fn set(&self, rule: RuleId) {
        let mut next = Some(self);
        while let Some(rules) = next {
            if let Some(matched) = rules.matched.get(rule.index()) {
                matched.store(true, Ordering::Relaxed);
            }
            next = rules.wider.as_deref();
        }
    }

    fn has(&self, rule: RuleId) -> bool {
        let mut next = Some(self);
        while let Some(rules) = next {
            let matched = rules.matched.get(rule.index());
            if matched.is_some_and(|matched| matched.load(Ordering::Relaxed)) {
                return true;
            }
            next = rules.wider.as_deref();
        }
        false
    }
}

impl Visited {
    fn new(policy: &Policy, wider: Option<Arc<MatchedRules>>) -> Self {
        let words = policy.table.rows.len().div_ceil(u64::BITS as usize);
        let states = (0..words).map(|_| AtomicU64::new(0)).collect();
        Visited { states, rules: MatchedRules::new(policy.rules().len(), wider) }
    }

    /// Returns the word and the mask of `state`, or `None` for an unknown state.
    #[inline]
    fn bit(&self, state: State) -> Option<(&AtomicU64, u64)> {
        let word = self.states.get((state.0 / u64::BITS) as usize)?;
        Some((word, 1 << (state.0 % u64::BITS)))
    }

    fn has(&self, state: State) -> bool {
        self.bit(state).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    #[inline]
    pub(crate) fn visit(&self, policy: &Policy, state: State) {
        if let Some((word, bit)) = self.bit(state)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            self.visit_first(policy, state, (word, bit));
        }
    }

    #[cold]
    fn visit_first(&self, policy: &Policy, state: State, (word, bit): (&AtomicU64, u64)) {
        for rule in policy.matched(state) {
            self.rules.set(*rule);
        }
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

impl Policy {
    /// Enables tracking for [`Policy::unmatched_rules`]. Policies that [`Policy::attenuate`] or
    /// [`Live::narrow`](crate::Live::narrow) derive from this one are tracked too, and also mark
    /// the rules of this one.
    #[must_use]
    pub fn track_rules(mut self) -> Self {
        self.visited = Some(Visited::new(&self, None));
        self
    }

    /// Enables tracking for a policy that was narrowed from `wider`, if `wider` is tracked.
    pub(crate) fn tracked_as(mut self, wider: &Policy) -> Self {
        if let Some(visited) = &wider.visited {
            self.visited = Some(Visited::new(&self, Some(Arc::clone(&visited.rules))));
        }
        self
    }

    /// Returns the rules that matched no evaluated path since [`Policy::track_rules`], in ascending
    /// order; `None` if tracking is not enabled.
    ///
    /// Evaluating a path includes each of its directories. A hidden name that a listing omits
    /// counts as evaluated; names that a listing returns do not.
    #[must_use]
    pub fn unmatched_rules(&self) -> Option<Vec<RuleId>> {
        let visited = self.visited.as_ref()?;
        let all = (0..number(self.rules().len())).map(RuleId::new);
        Some(all.filter(|rule| !visited.rules.has(*rule)).collect())
    }

    /// Whether a walk under a directory at `state`, which was visited, visits no new state.
    pub(crate) fn is_covered_under(&self, state: State) -> bool {
        let (Some(visited), Some(row)) = (&self.visited, self.table.row(state.0)) else {
            return bug!(true; "a walk at a state that is not tracked");
        };
        row.hidden || (row.constant && visited.has(State(row.others)))
    }
}
