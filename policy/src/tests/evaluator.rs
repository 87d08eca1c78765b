//! The reference evaluator: matches each glob against a path and combines the effects.
//!
//! It defines the semantics of the rules; the compiled policy is tested against it.

use palisade_vfs::{Descent, Rights};
use proptest::prelude::*;

use crate::{Effect, Glob, Policy, Rule, RuleId};

/// The effect of all rules on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) rights: Rights,
    pub(super) hidden: bool,
    pub(super) matched: Vec<RuleId>,
}

impl Meaning {
    /// Returns the effect of both policies together.
    pub(super) fn and(self, other: Meaning, rules_before: u32) -> Meaning {
        let hidden = self.hidden || other.hidden;
        let rights = if hidden { Rights::empty() } else { self.rights & other.rights };
        let appended = other.matched.iter().map(|id| RuleId::new(id.index() as u32 + rules_before));
        // If only one policy hides the path, the rules of the other are irrelevant.
        let matched = match (self.hidden, other.hidden) {
            (true, false) => self.matched,
            (false, true) => appended.collect(),
            _ => self.matched.into_iter().chain(appended).collect(),
        };
        Meaning { rights, hidden, matched }
    }

    /// Returns whether it makes the path visible, or grants more rights, where `other` does not.
    pub(super) fn exceeds(&self, other: &Meaning) -> bool {
        !self.hidden && (other.hidden || !other.rights.contains(self.rights))
    }
}

pub(super) fn meaning(rules: &[Rule], path: Descent<'_>) -> Meaning {
    let ids = || (0..).map(RuleId::new).zip(rules);
    // The first hidden ancestor from the top hides all its descendants.
    for depth in 0..=path.depth() {
        let (above, _) = path.split_at(depth);
        let hides = |rule: &Rule| rule.effect == Effect::Hide && rule.glob.matches(above);
        let matched: Vec<_> = ids().filter(|(_, rule)| hides(rule)).map(|(id, _)| id).collect();
        if !matched.is_empty() {
            return Meaning { rights: Rights::empty(), hidden: true, matched };
        }
    }
    let (mut allowed, mut denied) = (Rights::empty(), Rights::empty());
    let mut matched = Vec::new();
    for (id, rule) in ids() {
        if let Effect::Allow(rights) = rule.effect
            && !rights.is_empty()
            && rule.glob.matches_under(path)
        {
            allowed |= Rights::LOOKUP;
        }
        if !rule.glob.matches(path) {
            continue;
        }
        matched.push(id);
        match rule.effect {
            Effect::Allow(rights) if rights.is_empty() => {}
            Effect::Allow(rights) => allowed |= rights | Rights::LOOKUP,
            Effect::Deny(rights) => denied |= rights,
            Effect::Hide => unreachable!("looked for above"),
        }
    }
    Meaning { rights: allowed - denied, hidden: false, matched }
}

/// Returns the effect of a compiled policy on one path.
pub(super) fn compiled(policy: &Policy, path: Descent<'_>) -> Meaning {
    let state = path.names().fold(Policy::START, |state, name| policy.step(state, name));
    Meaning {
        rights: policy.rights(state),
        hidden: policy.is_hidden(state),
        matched: policy.matched(state).to_vec(),
    }
}

pub(super) fn build(rules: &[Rule]) -> Policy {
    rules
        .iter()
        .cloned()
        .fold(Policy::builder(), |builder, rule| builder.rule(rule))
        .build()
        .unwrap()
}

/// Names that the patterns below distinguish, and names that no pattern matches.
const NAMES: &[&str] = &[
    "a",
    "b",
    "ab",
    "ba",
    "aa",
    "aba",
    "c",
    "A",
    ".git",
    "é",
    "e\u{301}",
    "*",
    "a.txt",
    ".txt",
    "...",
    "zz",
    "[",
    "\u{10ffff}",
];

const PARTS: &[&str] = &[
    "a", "b", "ab", "c", ".git", "é", "\\*", "a.txt", "**", "**", "**", "*", "?", "??", "a*", "*a",
    "*b*", "*.txt", "[ab]", "[!a]", "[a-c]*", "{a,b}", "{a,.git}", "{a*,b}", "{,a}b", "[.]*", "é*",
    "{?,*a}b", "[!a-z]",
];

pub(super) fn some_glob() -> impl Strategy<Value = Glob> {
    prop::collection::vec(prop::sample::select(PARTS), 0..4)
        .prop_map(|parts| Glob::new(&format!("/{}", parts.join("/"))).unwrap())
}

pub(super) fn some_rule() -> impl Strategy<Value = Rule> {
    // Few rights, so that the rights of different rules overlap.
    let rights = (0..8_u32).prop_map(Rights::from_bits_truncate);
    (some_glob(), 0..7u8, rights).prop_map(|(glob, kind, rights)| {
        let effect = match kind {
            0..=3 => Effect::Allow(rights),
            4..=5 => Effect::Deny(rights),
            _ => Effect::Hide,
        };
        Rule { glob, effect, place: None }
    })
}

pub(super) fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(some_rule(), 0..8)
}

pub(super) fn some_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(NAMES), 0..5).prop_map(|names| names.join("/"))
}
