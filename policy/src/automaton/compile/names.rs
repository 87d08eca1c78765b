//! A deterministic automaton that matches a name against a set of patterns in one pass.
//!
//! Characters that no pattern distinguishes form one kind. The states are sets of NFA nodes (the
//! subset construction) and are built in advance, so that matching only looks up transitions.

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use palisade_vfs::bug;

use super::budget::{Budget, Spent};
use super::lists::Lists;
use super::trie::number;
use crate::rules::glob::pattern::{Atom, Pattern};

/// A deterministic automaton for a set of patterns.
#[derive(Debug)]
pub(crate) struct NameAutomaton {
    /// The kinds of the ASCII characters.
    ascii: [u8; 128],
    /// The first character and the kind of each interval of other characters, starting at 128.
    beyond: Box<[(u32, u32)]>,
    /// The number of kinds.
    kinds: u32,
    /// The states, in sequence: the target state for each kind, then the class of the names that
    /// end in the state. A state is identified by its offset.
    states: Box<[u32]>,
    /// For each class, the indices of the patterns that match its names. Class 0 holds the names
    /// that match no pattern.
    pub(crate) matched: Lists,
}

impl NameAutomaton {
    pub(crate) const START: u32 = 0;

    pub(crate) fn new(patterns: &[&Pattern], budget: &mut Budget) -> Result<Self, Spent> {
        let mut nfa = Nfa::default();
        for (id, pattern) in patterns.iter().enumerate() {
            nfa.add(number(id), pattern);
        }
        let kinds = Kinds::new(&nfa.sets, budget)?;
        let (next, accepted) = nfa.determinize(&kinds, budget)?;
        let mut matched = Lists::default();
        matched.intern(&[]);
        let mut states = Vec::with_capacity(next.len() + accepted.len());
        for (leads, list) in next.chunks(kinds.count as usize).zip(&accepted) {
            states.extend(leads.iter().map(|to| to * (kinds.count + 1)));
            states.push(matched.intern(list));
        }
        let (ascii, beyond) = (kinds.ascii, kinds.beyond.into());
        Ok(NameAutomaton { ascii, beyond, kinds: kinds.count, states: states.into(), matched })
    }

    /// Returns the class of `name`. Does not allocate.
    pub(crate) fn class(&self, name: &str) -> u32 {
        let step = |state, c| self.step_kind(state, self.kind(c));
        self.class_at(name.chars().fold(Self::START, step))
    }

    pub(crate) fn step_kind(&self, state: u32, kind: u32) -> u32 {
        let next = self.states.get(state as usize + kind as usize).copied();
        next.unwrap_or_else(|| bug!(Self::START; "the automaton has no state {state}"))
    }

    pub(crate) fn class_at(&self, state: u32) -> u32 {
        self.step_kind(state, self.kinds)
    }

    pub(crate) fn class_count(&self) -> usize {
        self.matched.len()
    }

    /// Returns the characters where the kind may change: the first character of each interval.
    pub(crate) fn starts(&self) -> impl Iterator<Item = u32> {
        (0..128).chain(self.beyond.iter().map(|(start, _)| *start))
    }

    pub(crate) fn kind(&self, c: char) -> u32 {
        if let Some(kind) = self.ascii.get(c as usize) {
            return u32::from(*kind);
        }
        let next = self.beyond.partition_point(|(start, _)| *start <= u32::from(c));
        next.checked_sub(1).and_then(|at| self.beyond.get(at)).map_or(0, |(_, kind)| *kind)
    }

    /// Returns the memory use in bytes.
    #[cfg(test)]
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + 8 * self.beyond.len() + 4 * self.states.len()
    }
}

/// The patterns as a nondeterministic automaton (Thompson's construction).
#[derive(Default)]
struct Nfa {
    nodes: Vec<NfaNode>,
    /// The distinct character sets, by number.
    sets: Vec<Set>,
    set_ids: HashMap<Set, u32, FixedState>,
    starts: Vec<u32>,
}

#[derive(Default)]
struct NfaNode {
    /// The targets of epsilon transitions.
    free: Vec<u32>,
    /// A transition: a character set and its target.
    on: Option<(u32, u32)>,
    /// The pattern that accepts at this node.
    accepts: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Set {
    All,
    Of(Box<[(char, char)]>),
}

impl Nfa {
    fn add(&mut self, id: u32, pattern: &Pattern) {
        let start = self.node();
        self.starts.push(start);
        let end = self.sequence(start, &pattern.atoms);
        self.change(end, |end| end.accepts = Some(id));
    }

    fn node(&mut self) -> u32 {
        self.nodes.push(NfaNode::default());
        number(self.nodes.len() - 1)
    }

    fn change(&mut self, node: u32, change: impl FnOnce(&mut NfaNode)) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            change(node);
        }
    }

    /// Adds `atoms` after the node `at` and returns the node after them, which is new.
    fn sequence(&mut self, mut at: u32, atoms: &[Atom]) -> u32 {
        for atom in atoms {
            let end = self.node();
            match atom {
                Atom::Char(c) => self.lead(at, Set::Of([(*c, *c)].into()), end),
                Atom::One => self.lead(at, Set::All, end),
                Atom::Class(ranges) => self.lead(at, Set::Of(ranges.clone()), end),
                Atom::Run => {
                    let turn = self.node();
                    self.change(at, |at| at.free.push(turn));
                    self.lead(turn, Set::All, turn);
                    self.change(turn, |turn| turn.free.push(end));
                }
                Atom::Either(choices) => {
                    for choice in choices {
                        let start = self.node();
                        self.change(at, |at| at.free.push(start));
                        let last = self.sequence(start, choice);
                        self.change(last, |last| last.free.push(end));
                    }
                }
            }
            at = end;
        }
        at
    }

    fn lead(&mut self, from: u32, set: Set, to: u32) {
        let id = match self.set_ids.get(&set) {
            Some(id) => *id,
            None => {
                let id = number(self.sets.len());
                self.sets.push(set.clone());
                self.set_ids.insert(set, id);
                id
            }
        };
        self.change(from, |from| from.on = Some((id, to)));
    }

    /// Replaces `nodes` by its epsilon closure, sorted: the nodes with a transition or a pattern.
    fn close(&self, nodes: &mut Vec<u32>, visited: &mut VisitedNodes) {
        visited.kept.clear();
        visited.round += 1;
        while let Some(at) = nodes.pop() {
            // Visits each node once; nested alternatives would otherwise take exponential time.
            if !visited.insert(at) {
                continue;
            }
            let Some(node) = self.nodes.get(at as usize) else {
                bug!((); "the NFA has no node {at}");
                continue;
            };
            nodes.extend(&node.free);
            if node.on.is_some() || node.accepts.is_some() {
                visited.kept.push(at);
            }
        }
        visited.kept.sort_unstable();
        nodes.extend(&visited.kept);
    }

    /// Returns the transition table (states by kinds), and the patterns that each state accepts.
    fn determinize(
        &self,
        kinds: &Kinds,
        budget: &mut Budget,
    ) -> Result<(Vec<u32>, Vec<Vec<u32>>), Spent> {
        let mut states = Lists::default();
        let mut visited =
            VisitedNodes { rounds: vec![0; self.nodes.len()], ..VisitedNodes::default() };
        let mut start = self.starts.clone();
        self.close(&mut start, &mut visited);
        states.intern(&start);
        let (mut next, mut accepted) = (Vec::new(), Vec::new());
        let mut buckets = vec![Vec::new(); kinds.count as usize];
        while accepted.len() < states.len() {
            let mut accepts = Vec::new();
            for at in states.get(number(accepted.len())) {
                let Some(node) = self.nodes.get(*at as usize) else {
                    return Err(bug!(Spent; "the NFA has no node {at}"));
                };
                accepts.extend(node.accepts);
                let Some((set, to)) = node.on else { continue };
                let Some(by) = kinds.of_sets.get(set as usize) else {
                    return Err(bug!(Spent; "the NFA has no character set {set}"));
                };
                budget.spend(by.len())?;
                for kind in by {
                    if let Some(bucket) = buckets.get_mut(*kind as usize) {
                        bucket.push(to);
                    }
                }
            }
            accepts.sort_unstable();
            accepts.dedup();
            accepted.push(accepts);
            budget.spend(4 * buckets.len())?;
            for bucket in &mut buckets {
                let before = bucket.len();
                self.close(bucket, &mut visited);
                budget.spend(before + bucket.len())?;
                next.push(states.intern(bucket));
                bucket.clear();
            }
        }
        Ok((next, accepted))
    }
}

/// The nodes that the current closure has visited.
#[derive(Default)]
struct VisitedNodes {
    /// The last round in which each node was visited.
    rounds: Vec<u32>,
    round: u32,
    /// The nodes that the closure keeps.
    kept: Vec<u32>,
}

impl VisitedNodes {
    /// Marks `node` and returns whether it was not visited in this round before.
    fn insert(&mut self, node: u32) -> bool {
        match self.rounds.get_mut(node as usize) {
            Some(round) if *round != self.round => {
                *round = self.round;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// A partition of the characters into kinds: the equivalence classes of some character sets.
struct Kinds {
    ascii: [u8; 128],
    beyond: Vec<(u32, u32)>,
    count: u32,
    /// The kinds that each set consists of.
    of_sets: Vec<Vec<u32>>,
}

impl Kinds {
    fn new(sets: &[Set], budget: &mut Budget) -> Result<Self, Spent> {
        let mut starts = vec![0, 128];
        for set in sets {
            if let Set::Of(ranges) = set {
                let bounds = |(first, last): &(char, char)| [*first as u32, *last as u32 + 1];
                starts.extend(ranges.iter().flat_map(bounds));
            }
        }
        starts.sort_unstable();
        starts.dedup();
        // The sets that contain each interval.
        let mut holders = vec![Vec::new(); starts.len()];
        for (id, set) in sets.iter().enumerate() {
            let all = [('\0', char::MAX)];
            let ranges: &[(char, char)] = match set {
                Set::All => &all,
                Set::Of(ranges) => ranges,
            };
            for (first, last) in ranges {
                let Range { start, end } = Range {
                    start: starts.partition_point(|at| *at < *first as u32),
                    end: starts.partition_point(|at| *at <= *last as u32),
                };
                budget.spend(end - start)?;
                for holder in holders.iter_mut().take(end).skip(start) {
                    holder.push(number(id));
                }
            }
        }
        let mut signatures = Lists::default();
        let (mut ascii, mut beyond) = ([0; 128], Vec::new());
        // ASCII is numbered first, so its kinds are below 128.
        let ends = starts.iter().skip(1).copied().chain([u32::MAX]);
        for ((start, end), holder) in starts.iter().zip(ends).zip(&holders) {
            let kind = signatures.intern(holder);
            if *start >= 128 {
                beyond.push((*start, kind));
            }
            for slot in ascii.iter_mut().take(end as usize).skip(*start as usize) {
                let kind = u8::try_from(kind);
                *slot = kind.unwrap_or_else(|_| bug!(u8::MAX; "ASCII has too many kinds"));
            }
        }
        let mut of_sets = vec![Vec::new(); sets.len()];
        for kind in 0..number(signatures.len()) {
            for set in signatures.get(kind) {
                if let Some(kinds) = of_sets.get_mut(*set as usize) {
                    kinds.push(kind);
                }
            }
        }
        Ok(Kinds { ascii, beyond, count: number(signatures.len()), of_sets })
    }
}
