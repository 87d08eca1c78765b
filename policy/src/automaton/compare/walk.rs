//! A breadth-first walk over the pairs of states of two tables.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use palisade_vfs::bug;

use super::joint::Joint;
use crate::automaton::table::Table;

/// A pair of states, with its predecessor.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) states: (u32, u32),
    /// The previous pair, and the name that leads from it to this pair.
    from: Option<(usize, String)>,
}

/// A breadth-first walk that skips pairs equivalent to a visited pair.
pub(crate) struct Walk<'t> {
    left: &'t Table,
    right: &'t Table,
    pairs: Vec<Pair>,
    known: HashSet<(u32, u32), FixedState>,
    joints: HashMap<(u32, u32), Joint, FixedState>,
    ahead: VecDeque<usize>,
    /// The remaining work.
    left_over: usize,
}

/// The error of a walk that exceeds its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl<'t> Walk<'t> {
    pub(crate) fn new(left: &'t Table, right: &'t Table, start: (u32, u32), most: usize) -> Self {
        let mut walk = Walk {
            left,
            right,
            pairs: Vec::new(),
            known: HashSet::default(),
            joints: HashMap::default(),
            ahead: VecDeque::new(),
            left_over: most,
        };
        walk.meet(start, None);
        walk
    }

    /// Returns the next pair.
    pub(crate) fn next(&mut self) -> Option<(usize, (u32, u32))> {
        let at = self.ahead.pop_front()?;
        Some((at, self.pairs.get(at)?.states))
    }

    /// Enqueues the pairs that names lead to from the pair `at`.
    pub(crate) fn go_on(&mut self, at: usize) -> Result<(), TooLong> {
        let Some(Pair { states: (left, right), .. }) = self.pairs.get(at).cloned() else {
            return Ok(());
        };
        let (Some(l), Some(r)) = (self.left.row(left), self.right.row(right)) else {
            return Ok(());
        };
        let edges = self.left.edges(l).chain(self.right.edges(r));
        let mut names: Vec<&'t str> = edges.map(|(name, _)| name).collect();
        self.spend(names.len() + 1)?;
        names.sort_unstable();
        names.dedup();
        for name in &names {
            let to = self.left.step(left, name).zip(self.right.step(right, name));
            if let Some(to) = to {
                self.meet(to, Some((at, *name)));
            }
        }
        let automata = (l.automaton, r.automaton);
        if !self.joints.contains_key(&automata) {
            let (l, r) = (self.left.automaton(l), self.right.automaton(r));
            let joint = Joint::new(l, r, self.left_over).ok_or(TooLong)?;
            self.spend(joint.size())?;
            self.joints.insert(automata, joint);
        }
        let Some(joint) = self.joints.remove(&automata) else {
            return Err(bug!(TooLong; "a joint automaton is gone"));
        };
        self.spend(joint.class_count())?;
        let targets = joint.classes().filter_map(|(at, (left, right))| {
            Some((at, (self.left.target(l, left)?, self.right.target(r, right)?)))
        });
        // Only a new pair needs a sample name.
        let new: Vec<_> =
            targets.filter(|(_, to)| !self.known.contains(&self.kinds(*to))).collect();
        for (class, to) in new {
            if let Some(name) = joint.sample(class, &names) {
                self.meet(to, Some((at, name)));
                continue;
            }
            self.spend(joint.size() + names.len())?;
            if let Some(name) = joint.beside(class, &names) {
                self.meet(to, Some((at, &name)));
            }
        }
        self.joints.insert(automata, joint);
        Ok(())
    }

    /// Returns the path to the pair `at`, joined by slashes.
    pub(crate) fn path(&self, at: usize) -> String {
        let mut names = Vec::new();
        let mut pair = self.pairs.get(at);
        while let Some((before, name)) = pair.and_then(|pair| pair.from.as_ref()) {
            names.push(name.as_str());
            pair = self.pairs.get(*before);
        }
        names.reverse();
        names.join("/")
    }

    fn kinds(&self, (left, right): (u32, u32)) -> (u32, u32) {
        (self.left.kind(left), self.right.kind(right))
    }

    fn meet(&mut self, states: (u32, u32), from: Option<(usize, &str)>) {
        if self.known.insert(self.kinds(states)) {
            self.ahead.push_back(self.pairs.len());
            let from = from.map(|(at, name)| (at, name.to_owned()));
            self.pairs.push(Pair { states, from });
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), TooLong> {
        self.left_over = self.left_over.checked_sub(steps).ok_or(TooLong)?;
        Ok(())
    }
}
