//! The product of two name automata: pairs of name classes, each with a sample name.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use palisade_vfs::{Name, bug};

use crate::automaton::compile::names::NameAutomaton;
use crate::automaton::compile::trie::number;

/// The product of two name automata. A missing automaton has one class for all names.
pub(crate) struct Joint {
    letters: Vec<Letter>,
    states: Vec<(u32, u32)>,
    /// The transition table: the target of each state for each letter.
    next: Vec<u32>,
    /// The classes of the names that end in each state.
    classes: Vec<(u32, u32)>,
    /// The reachable pairs of classes, each with one of its shortest texts.
    samples: Vec<((u32, u32), String)>,
}

/// An equivalence class of the characters that neither automaton distinguishes.
struct Letter {
    kinds: (u32, u32),
    /// A character with the fewest bytes, a legible one if possible.
    sample: char,
    ranges: Vec<(char, char)>,
}

/// The distance of an unreachable state.
const FAR: usize = usize::MAX;

impl Joint {
    /// Builds the product, or returns `None` if it takes more than `most` transitions.
    pub(crate) fn new(
        left: Option<&NameAutomaton>,
        right: Option<&NameAutomaton>,
        most: usize,
    ) -> Option<Self> {
        let mut joint = Joint {
            letters: letters(left, right),
            states: vec![(NameAutomaton::START, NameAutomaton::START)],
            next: Vec::new(),
            classes: Vec::new(),
            samples: Vec::new(),
        };
        let mut known: HashMap<(u32, u32), u32, FixedState> = HashMap::default();
        known.insert((NameAutomaton::START, NameAutomaton::START), 0);
        let step = |automaton: Option<&NameAutomaton>, state, kind| {
            automaton.map_or(0, |automaton| automaton.step_kind(state, kind))
        };
        let class = |automaton: Option<&NameAutomaton>, state| {
            automaton.map_or(0, |automaton| automaton.class_at(state))
        };
        let mut at = 0;
        while let Some((l, r)) = joint.states.get(at).copied() {
            joint.classes.push((class(left, l), class(right, r)));
            for letter in &joint.letters {
                let to = (step(left, l, letter.kinds.0), step(right, r, letter.kinds.1));
                let next = number(joint.states.len());
                let id = *known.entry(to).or_insert(next);
                if id == next {
                    joint.states.push(to);
                }
                joint.next.push(id);
            }
            if joint.next.len() > most {
                return None;
            }
            at += 1;
        }
        joint.samples = joint.samples();
        Some(joint)
    }

    /// Returns the reachable pairs of classes, with their numbers.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (usize, (u32, u32))> {
        self.samples.iter().map(|(classes, _)| *classes).enumerate()
    }

    pub(crate) fn class_count(&self) -> usize {
        self.samples.len()
    }

    /// Returns the number of transitions, as a measure of the work.
    pub(crate) fn size(&self) -> usize {
        self.next.len()
    }

    /// Returns the sample of the pair of classes `class`, if it is a valid name outside `names`.
    pub(crate) fn sample(&self, class: usize, names: &[&str]) -> Option<&str> {
        let (_, sample) = self.samples.get(class)?;
        let is_free = names.binary_search(&sample.as_str()).is_err() && Name::new(sample).is_ok();
        is_free.then_some(sample)
    }

    /// Returns a name of the pair of classes `class` outside `names`, which are sorted. Takes time
    /// proportional to the names and to the size of the product.
    pub(crate) fn beside(&self, class: usize, names: &[&str]) -> Option<String> {
        let (classes, _) = self.samples.get(class)?;
        let mut taken = [names, &[".", ".."]].concat();
        taken.sort_unstable();
        taken.dedup();
        let search = Search { joint: self, classes: *classes, ahead: self.ahead(*classes) };
        search.find(&mut String::new(), 0, &taken)
    }

    /// Returns a shortest text for each pair of classes: of at most the length of a name, but
    /// possibly `.` or `..`.
    fn samples(&self) -> Vec<((u32, u32), String)> {
        // The shortest path to each state (Dijkstra): its length in bytes, predecessor and letter.
        let mut ways: Vec<(usize, u32, usize)> = vec![(FAR, 0, 0); self.states.len()];
        let mut ahead = BinaryHeap::from([Reverse((0, 0, 0, 0))]);
        let mut samples: HashSet<(u32, u32), FixedState> = HashSet::default();
        let mut order = Vec::new();
        while let Some(Reverse((bytes, state, from, by))) = ahead.pop() {
            let Some(way) = ways.get_mut(state as usize).filter(|way| way.0 == FAR) else {
                continue;
            };
            *way = (bytes, from, by);
            for (by, (letter, to)) in self.letters.iter().zip(self.from(state)).enumerate() {
                let longer = bytes + letter.sample.len_utf8();
                if longer > Name::LEN_MAX {
                    continue;
                }
                // The empty text is not a name, so classes are collected only after a letter.
                let classes = self.class(*to);
                if samples.insert(classes) {
                    order.push((classes, state, by));
                }
                if ways.get(*to as usize).is_some_and(|way| way.0 == FAR) {
                    ahead.push(Reverse((longer, *to, state, by)));
                }
            }
        }
        let text = |state: u32, by: usize| {
            let mut reversed: Vec<usize> = vec![by];
            let mut at = state;
            while at != 0 {
                let Some((_, from, by)) = ways.get(at as usize) else { break };
                reversed.push(*by);
                at = *from;
            }
            let letters = reversed.iter().rev().filter_map(|by| self.letters.get(*by));
            letters.map(|letter| letter.sample).collect()
        };
        order.into_iter().map(|(classes, state, by)| (classes, text(state, by))).collect()
    }

    /// Returns the minimum number of bytes from each state to a name of `classes`.
    fn ahead(&self, classes: (u32, u32)) -> Vec<usize> {
        let mut ahead = vec![FAR; self.states.len()];
        for (slot, here) in ahead.iter_mut().zip(&self.classes) {
            if *here == classes {
                *slot = 0;
            }
        }
        // Each round settles the states one letter further away (Bellman-Ford); the length limit of
        // names bounds the rounds.
        for _ in 0..Name::LEN_MAX {
            let mut changed = false;
            for state in (0..number(self.states.len())).rev() {
                let over = |(letter, to): (&Letter, &u32)| {
                    let rest = ahead.get(*to as usize).copied().unwrap_or(FAR);
                    rest.saturating_add(letter.sample.len_utf8())
                };
                let least = self.letters.iter().zip(self.from(state)).map(over).min();
                let least = least.unwrap_or(FAR);
                if let Some(slot) = ahead.get_mut(state as usize)
                    && least < *slot
                {
                    *slot = least;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        ahead
    }

    fn step(&self, state: u32, c: char) -> Option<u32> {
        let holds = |letter: &Letter| {
            letter.ranges.iter().any(|(first, last)| (*first..=*last).contains(&c))
        };
        let by = self.letters.iter().position(holds)?;
        self.from(state).get(by).copied()
    }

    fn from(&self, state: u32) -> &[u32] {
        let start = state as usize * self.letters.len();
        let next = self.next.get(start..start + self.letters.len());
        next.unwrap_or_else(|| bug!(&[]; "there is no joint state {state}"))
    }

    fn class(&self, state: u32) -> (u32, u32) {
        let classes = self.classes.get(state as usize).copied();
        classes.unwrap_or_else(|| bug!((0, 0); "there is no joint state {state}"))
    }
}

/// A search for a name of given classes that is not taken.
struct Search<'j> {
    joint: &'j Joint,
    classes: (u32, u32),
    /// The minimum number of bytes from each state to a name of the classes.
    ahead: Vec<usize>,
}

impl Search<'_> {
    /// Returns a name that begins with `prefix`, which leads to `state`. `taken` holds the taken
    /// names with this prefix, sorted. The recursion depth is at most the length of a taken name.
    fn find(&self, prefix: &mut String, state: u32, taken: &[&str]) -> Option<String> {
        let is_taken = taken.first() == Some(&prefix.as_str());
        if !prefix.is_empty() && !is_taken && self.joint.class(state) == self.classes {
            return Some(prefix.clone());
        }
        let at = prefix.len();
        let next = |name: &&str| name.get(at..).and_then(|rest| rest.chars().next());
        let mut used: Vec<char> = taken.iter().filter_map(next).collect();
        used.dedup();
        for (letter, to) in self.joint.letters.iter().zip(self.joint.from(state)) {
            let Some(rest) = self.ahead.get(*to as usize).filter(|rest| **rest != FAR) else {
                continue;
            };
            // Characters with the fewest bytes come first.
            let mut all = letter.ranges.iter().flat_map(|(first, last)| *first..=*last);
            let Some(free) = all.find(|c| used.binary_search(c).is_err()) else { continue };
            if at + free.len_utf8() + rest <= Name::LEN_MAX {
                prefix.push(free);
                self.complete(prefix, *to);
                return Some(prefix.clone());
            }
        }
        for same in taken.chunk_by(|left, right| next(left) == next(right)) {
            let Some(c) = same.first().and_then(next) else { continue };
            let Some(to) = self.joint.step(state, c) else { continue };
            let rest = self.ahead.get(to as usize).copied().unwrap_or(FAR);
            if rest.saturating_add(at + c.len_utf8()) > Name::LEN_MAX {
                continue;
            }
            prefix.push(c);
            if let Some(found) = self.find(prefix, to, same) {
                return Some(found);
            }
            prefix.truncate(at);
        }
        None
    }

    /// Appends the shortest text that leads from `state` to a name of the classes.
    fn complete(&self, prefix: &mut String, mut state: u32) {
        let ahead = |state: u32| self.ahead.get(state as usize).copied().unwrap_or(FAR);
        while ahead(state) > 0 && prefix.len() < Name::LEN_MAX {
            let mut steps = self.joint.letters.iter().zip(self.joint.from(state));
            let nearer = |(letter, to): &(&Letter, &u32)| {
                ahead(**to).saturating_add(letter.sample.len_utf8()) == ahead(state)
            };
            let Some((letter, to)) = steps.find(nearer) else { return };
            prefix.push(letter.sample);
            state = *to;
        }
    }
}

/// Returns the characters that a name can contain, partitioned by both automata.
fn letters(left: Option<&NameAutomaton>, right: Option<&NameAutomaton>) -> Vec<Letter> {
    let mut starts: Vec<u32> =
        [left, right].into_iter().flatten().flat_map(NameAutomaton::starts).collect();
    // A letter holds characters of one encoded length, so each of them is equally short.
    starts.extend([1, 0x2f, 0x30, 0x80, 0x800, 0xe000, 0x1_0000]);
    starts.sort_unstable();
    starts.dedup();
    let kind = |automaton: Option<&NameAutomaton>, c| automaton.map_or(0, |a| a.kind(c));
    let mut letters: Vec<Letter> = Vec::new();
    let mut known: HashMap<(u32, u32, usize), usize, FixedState> = HashMap::default();
    let ends = starts.iter().skip(1).copied().chain([0x11_0000]);
    for (start, end) in starts.iter().zip(ends) {
        // Surrogates are not characters; NUL and `/` occur in no name.
        let (Some(first), Some(last)) =
            (char::from_u32(*start), char::from_u32(end - 1).or(Some('\u{d7ff}')))
        else {
            continue;
        };
        if matches!(first, '\0' | '/') || last < first {
            continue;
        }
        let kinds = (kind(left, first), kind(right, first));
        let at = *known.entry((kinds.0, kinds.1, first.len_utf8())).or_insert(letters.len());
        match letters.get_mut(at) {
            Some(letter) => letter.ranges.push((first, last)),
            None => letters.push(Letter { kinds, sample: first, ranges: vec![(first, last)] }),
        }
    }
    for letter in &mut letters {
        letter.sample = legible(letter);
    }
    letters
}

/// Returns a legible character of the letter, if it has one.
fn legible(letter: &Letter) -> char {
    let holds = |c: &char| letter.ranges.iter().any(|(first, last)| (*first..=*last).contains(c));
    let mut good = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("_-.é中".chars());
    good.find(holds).unwrap_or(letter.sample)
}
