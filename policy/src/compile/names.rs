//! The automaton of a set of patterns: one pass over a name tells which of them match it.
//!
//! Characters that no pattern tells apart are one kind. States are sets of places in the patterns,
//! made before they are needed, so that a pass only looks up.

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use palisade_vfs::bug;

use super::budget::{Budget, Spent};
use super::lists::Lists;
use super::trie::number;
use crate::glob::pattern::{Atom, Pattern};

/// The automaton of some patterns.
#[derive(Debug)]
pub(crate) struct NameAutomaton {
    /// The kinds of the ASCII characters.
    ascii: [u8; 128],
    /// Where the intervals of the other characters start, and their kinds; the first at 128.
    beyond: Box<[(u32, u32)]>,
    /// How many kinds there are.
    kinds: u32,
    /// The states, one after the other: where each leads by each kind, and at its end the class of
    /// the names that end in it. A state is the place where it starts.
    states: Box<[u32]>,
    /// For each class, the patterns that match its names, as indices into what it was made of. That
    /// of names which none matches is the first.
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

    /// The class of `name`. Does not allocate.
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

    /// Where the kind of characters may change: the first characters of intervals.
    pub(crate) fn starts(&self) -> impl Iterator<Item = u32> {
        (0..128).chain(self.beyond.iter().map(|(start, _)| *start))
    }

    pub(crate) fn kind(&self, c: char) -> u32 {
        if let Some(kind) = self.ascii.get(c as usize) {
            return u32::from(*kind);
        }
        let behind = self.beyond.partition_point(|(start, _)| *start <= u32::from(c));
        behind.checked_sub(1).and_then(|at| self.beyond.get(at)).map_or(0, |(_, kind)| *kind)
    }

    /// The bytes that it takes.
    #[cfg(test)]
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + 8 * self.beyond.len() + 4 * self.states.len()
    }
}

/// The patterns as one automaton that may be at many places at once.
#[derive(Default)]
struct Nfa {
    nodes: Vec<Place>,
    /// The sets of characters, by number.
    sets: Vec<Set>,
    set_ids: HashMap<Set, u32, FixedState>,
    starts: Vec<u32>,
}

#[derive(Default)]
struct Place {
    /// Where one can be without a character.
    free: Vec<u32>,
    /// A set of characters and where they lead.
    on: Option<(u32, u32)>,
    /// The pattern that ends here.
    accepts: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Set {
    All,
    Of(Box<[(char, char)]>),
}

impl Nfa {
    fn add(&mut self, id: u32, pattern: &Pattern) {
        let start = self.place();
        self.starts.push(start);
        let end = self.sequence(start, &pattern.atoms);
        self.change(end, |end| end.accepts = Some(id));
    }

    fn place(&mut self) -> u32 {
        self.nodes.push(Place::default());
        number(self.nodes.len() - 1)
    }

    fn change(&mut self, place: u32, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.nodes.get_mut(place as usize) {
            change(place);
        }
    }

    /// The place behind `atoms`. It is a new one.
    fn sequence(&mut self, mut at: u32, atoms: &[Atom]) -> u32 {
        for atom in atoms {
            let end = self.place();
            match atom {
                Atom::Char(c) => self.lead(at, Set::Of([(*c, *c)].into()), end),
                Atom::One => self.lead(at, Set::All, end),
                Atom::Class(ranges) => self.lead(at, Set::Of(ranges.clone()), end),
                Atom::Run => {
                    let turn = self.place();
                    self.change(at, |at| at.free.push(turn));
                    self.lead(turn, Set::All, turn);
                    self.change(turn, |turn| turn.free.push(end));
                }
                Atom::Either(choices) => {
                    for choice in choices {
                        let start = self.place();
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

    /// `places` and what is reached from them without a character: those that matter, sorted.
    fn close(&self, places: &mut Vec<u32>, seen: &mut Seen) {
        seen.places.clear();
        seen.round += 1;
        while let Some(at) = places.pop() {
            // Each once, or choices of choices would be gone through again and again.
            if !seen.is_new(at) {
                continue;
            }
            let Some(place) = self.nodes.get(at as usize) else {
                bug!((); "the patterns have no place {at}");
                continue;
            };
            places.extend(&place.free);
            if place.on.is_some() || place.accepts.is_some() {
                seen.places.push(at);
            }
        }
        seen.places.sort_unstable();
        places.extend(&seen.places);
    }

    /// The table of all states by all kinds, and what each state accepts.
    fn determinize(
        &self,
        kinds: &Kinds,
        budget: &mut Budget,
    ) -> Result<(Vec<u32>, Vec<Vec<u32>>), Spent> {
        let mut states = Lists::default();
        let mut seen = Seen { rounds: vec![0; self.nodes.len()], ..Seen::default() };
        let mut start = self.starts.clone();
        self.close(&mut start, &mut seen);
        states.intern(&start);
        let (mut next, mut accepted) = (Vec::new(), Vec::new());
        let mut buckets = vec![Vec::new(); kinds.count as usize];
        while accepted.len() < states.len() {
            let mut accepts = Vec::new();
            for at in states.get(number(accepted.len())) {
                let Some(place) = self.nodes.get(*at as usize) else {
                    return Err(bug!(Spent; "the patterns have no place {at}"));
                };
                accepts.extend(place.accepts);
                let Some((set, to)) = place.on else { continue };
                let Some(by) = kinds.of_sets.get(set as usize) else {
                    return Err(bug!(Spent; "there is no set {set} of characters"));
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
                self.close(bucket, &mut seen);
                budget.spend(before + bucket.len())?;
                next.push(states.intern(bucket));
                bucket.clear();
            }
        }
        Ok((next, accepted))
    }
}

/// The places that were met in this round.
#[derive(Default)]
struct Seen {
    /// The last round in which each was met.
    rounds: Vec<u32>,
    round: u32,
    places: Vec<u32>,
}

impl Seen {
    fn is_new(&mut self, place: u32) -> bool {
        match self.rounds.get_mut(place as usize) {
            Some(round) if *round != self.round => {
                *round = self.round;
                true
            }
            Some(_) | None => false,
        }
    }
}

/// The kinds of characters that some sets tell apart.
struct Kinds {
    ascii: [u8; 128],
    beyond: Vec<(u32, u32)>,
    count: u32,
    /// The kinds that are in each set.
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
        // The sets that hold each interval.
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
        // ASCII comes first, so that its kinds are below 128.
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
