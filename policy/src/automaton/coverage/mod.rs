//! Rule coverage: which rules of a policy have matched a path, and which never did.
//!
//! A tracked [`Policy`] has a bitmap of its states. Judging a path sets the bit of each state on
//! the way with relaxed atomics, and only the first visit of a state looks at the rules that match
//! there. So an access that was seen before costs one load and one test, and a policy that is not
//! tracked one test of an `Option`.
//!
//! A bit that is set is never cleared, and no other memory depends on it: relaxed order suffices.
//! Deliberately absent: counts. Whether a rule matched is what a typo changes.

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

/// The states of one policy that were visited.
#[derive(Debug)]
pub(crate) struct Visited {
    states: Box<[AtomicU64]>,
    rules: Arc<MatchedRules>,
}

/// The rules of one policy that matched a path.
#[derive(Debug)]
struct MatchedRules {
    matched: Box<[AtomicBool]>,
    /// Those of the policy that was narrowed to this one, whose rules come first here.
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

    /// The word and the bit of `state`; `None` for a state that the policy does not have.
    #[inline]
    fn place(&self, state: State) -> Option<(&AtomicU64, u64)> {
        let word = self.states.get((state.0 / u64::BITS) as usize)?;
        Some((word, 1 << (state.0 % u64::BITS)))
    }

    fn has(&self, state: State) -> bool {
        self.place(state).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    #[inline]
    pub(crate) fn visit(&self, policy: &Policy, state: State) {
        if let Some((word, bit)) = self.place(state)
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
    /// Records from now on which rules match a path that is judged, for
    /// [`Policy::unmatched_rules`]. A policy that [`Policy::attenuate`] makes of this one records
    /// too, for itself and for this one; so does what [`Live::narrow`](crate::Live::narrow) makes.
    #[must_use]
    pub fn track_rules(mut self) -> Self {
        self.visited = Some(Visited::new(&self, None));
        self
    }

    /// This policy, which was made by narrowing `wider`, tracked if `wider` is.
    pub(crate) fn tracked_as(mut self, wider: &Policy) -> Self {
        if let Some(visited) = &wider.visited {
            self.visited = Some(Visited::new(&self, Some(Arc::clone(&visited.rules))));
        }
        self
    }

    /// The rules that matched no path that was judged since [`Policy::track_rules`], lowest first;
    /// `None` if the policy does not track them.
    ///
    /// A path counts as judged with each directory on the way to it. A name that a listing leaves
    /// out because it is hidden counts too; names that a listing shows do not.
    #[must_use]
    pub fn unmatched_rules(&self) -> Option<Vec<RuleId>> {
        let visited = self.visited.as_ref()?;
        let all = (0..number(self.rules().len())).map(RuleId::new);
        Some(all.filter(|rule| !visited.rules.has(*rule)).collect())
    }

    /// Whether a walk beneath a directory at `state`, which was visited, visits no new state.
    pub(crate) fn is_covered_beneath(&self, state: State) -> bool {
        let (Some(visited), Some(row)) = (&self.visited, self.table.row(state.0)) else {
            return bug!(true; "a walk at a state that is not tracked");
        };
        row.hidden || (row.constant && visited.has(State(row.others)))
    }
}
