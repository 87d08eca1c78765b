//! The policy compiler: turns the globs of the rules into a deterministic transition table.
//!
//! The rules form a nondeterministic automaton, a [`trie`] in which a path can reach several
//! nodes at once. A state of the table is a set of these nodes (the subset construction). All
//! reachable states are built here, so that a step at run time builds none. A [`budget`] in
//! proportion to the rules bounds the number of states.
//!
//! A state has an edge for each literal name of its nodes. Under a `**` that would repeat all
//! literal names under the `**` for each state. Therefore the names that a `**` hides are stored
//! once, as a group that all states of the `**` share; that is sound because no other rule can
//! make a hidden path visible. Nodes without children do not affect where a state leads, so
//! states that differ only in such nodes share their edges.

pub(crate) mod budget;
pub(crate) mod lists;
pub(crate) mod merge;
pub(crate) mod names;
mod source;
pub(crate) mod trie;

use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use palisade_vfs::{Rights, bug};

use crate::automaton::table::{Detail, NONE, Row, Table};
use crate::rules::glob::Part;
use crate::rules::rule::{Effect, RuleId};
use budget::{Budget, Spent};
use lists::Lists;
use names::NameAutomaton;
pub(crate) use source::{CONJUNCTS_MAX, Source};
use trie::{Trie, number};

/// The error of rules that need more states than the budget allows.
#[derive(Debug)]
pub(crate) struct Explosion {
    /// Some of the rules that met in the state where compilation stopped.
    pub(crate) rules: Vec<RuleId>,
}

/// The maximum number of rules that an error names.
const NAMED_MAX: usize = 4;

pub(crate) fn compile(source: &Source) -> Result<Table, Explosion> {
    let parts = source.rules.iter().flat_map(|rule| rule.glob.parts());
    let size = parts.map(|part| match part {
        Part::Deep | Part::Literal(_) => 1,
        Part::Words(words) => words.len(),
        Part::Pattern(pattern) => pattern.size(),
    });
    let mut budget = Budget::new(size.sum());
    let trie = Trie::new(&source.rules, &source.of);
    let mut maker = Maker::new(source, &trie);
    if let Err(Spent) = maker.run(&mut budget) {
        return Err(Explosion { rules: maker.culprits() });
    }
    Ok(maker.finish())
}

/// Returns the table of a policy without rules.
pub(crate) fn uniform(source: &Source) -> Table {
    let granted = source.granted(&[], 0);
    let (rights, rofs) = (granted - source.rofs, granted & source.rofs);
    Table::of_one(Row { rights, rofs, ..Row::NOTHING })
}

struct Maker<'s> {
    source: &'s Source,
    trie: &'s Trie<'s>,
    table: Table,
    /// The set of nodes of each state.
    states: Lists,
    /// The nodes of each state that have children, and the first state with these nodes.
    cores: Lists,
    owners: Vec<u32>,
    automata: HashMap<Box<[u32]>, u32, FixedState>,
    /// For each `**`, the number of names that it hides, and their group once it is built.
    hiders: HashMap<u32, Hider, FixedState>,
    /// The range of each name in the table's text.
    texts: Vec<Range<u32>>,
    scratch: Scratch,
    /// The state that is being compiled.
    current: u32,
}

/// A `**` node that hides literal names.
#[derive(Clone, Copy)]
struct Hider {
    names: u32,
    group: u32,
}

/// Reused buffers: allocating them for each state takes longer than filling them.
#[derive(Default)]
struct Scratch {
    nodes: Vec<u32>,
    set: Vec<u32>,
    /// The nodes that all names lead to.
    base: Vec<u32>,
    literals: Vec<(u32, u32)>,
    by_pattern: Vec<(u32, u32)>,
    patterns: Vec<u32>,
    targets: Vec<u32>,
    rules: Vec<u32>,
}

impl<'s> Maker<'s> {
    fn new(source: &'s Source, trie: &'s Trie<'s>) -> Self {
        let hides = |node: &u32| {
            let names = trie.literals(*node).iter().filter(|(_, child)| trie.hides(*child)).count();
            (names > 0).then_some((*node, Hider { names: number(names), group: NONE }))
        };
        let loops = (0..number(trie.nodes.len())).filter(|node| trie.node(*node).loops);
        Maker {
            source,
            trie,
            table: Table::default(),
            states: Lists::default(),
            cores: Lists::default(),
            owners: Vec::new(),
            automata: HashMap::default(),
            hiders: loops.filter_map(|node| hides(&node)).collect(),
            texts: vec![0..0; trie.names.len()],
            scratch: Scratch::default(),
            current: 0,
        }
    }

    fn run(&mut self, budget: &mut Budget) -> Result<(), Spent> {
        let mut start = vec![Trie::ROOT];
        self.state_of(&mut start, budget)?;
        while (self.current as usize) < self.states.len() {
            let mut scratch = std::mem::take(&mut self.scratch);
            let row = self.row(&mut scratch, budget);
            self.scratch = scratch;
            self.table.rows.push(row?);
            self.current += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Table {
        self.table.make_index();
        merge::set_kinds(&mut self.table);
        self.table.shrink();
        self.table
    }

    /// Returns the state of `nodes` and of the nodes that `**` reaches without a name.
    fn state_of(&mut self, nodes: &mut Vec<u32>, budget: &mut Budget) -> Result<u32, Spent> {
        for at in 0..nodes.len() {
            let deep = nodes.get(at).map_or(NONE, |node| self.trie.node(*node).deep);
            nodes.extend((deep != NONE).then_some(deep));
        }
        if nodes.iter().any(|node| self.trie.node(*node).hides) {
            // Hiding overrides every other rule, here and in all descendants.
            nodes.retain(|node| self.trie.node(*node).hides);
        }
        nodes.sort_unstable();
        nodes.dedup();
        let before = self.states.len();
        let state = self.states.intern(nodes);
        let new = self.states.len() - before;
        budget.spend(nodes.len() + 16 * new)?;
        Ok(state)
    }

    /// Compiles the rights and the transitions of the current state.
    fn row(&mut self, scratch: &mut Scratch, budget: &mut Budget) -> Result<Row, Spent> {
        scratch.nodes.clear();
        scratch.nodes.extend(self.states.get(self.current));
        let row = self.judge(scratch, budget)?;
        if row.hidden {
            return Ok(Row { owner: self.current, others: self.current, ..row });
        }
        // Nodes without children do not affect the transitions.
        scratch.nodes.retain(|node| self.trie.leads_on(*node));
        let known = self.owners.len();
        let core = self.cores.intern(&scratch.nodes);
        if (core as usize) < known {
            let owner = self.owners.get(core as usize).copied();
            let Some(like) = owner.and_then(|owner| self.table.row(owner)).cloned() else {
                return Err(bug!(Spent; "nobody owns core {core}"));
            };
            budget.spend(like.edges.len() / 8)?;
            let Row { rights, rofs, hides_beneath, .. } = row;
            return Ok(Row { rights, rofs, hides_beneath, ..like });
        }
        self.owners.push(self.current);
        self.lead_on(row, scratch, budget)
    }

    /// Compiles the transitions of nodes that no earlier state has.
    fn lead_on(
        &mut self,
        mut row: Row,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<Row, Spent> {
        row.owner = self.current;
        let hider = self.hider(&scratch.nodes);
        if let Some(hider) = hider {
            row.group = self.group(hider, scratch, budget)?;
        }
        // Compiling a new group may have appended edges before these.
        let start = number(self.table.edges.len());
        self.gather(hider, scratch);
        let Scratch { nodes, literals, by_pattern, .. } = &scratch;
        budget.spend(nodes.len() + 2 * literals.len() + by_pattern.len())?;
        row.automaton = self.automaton(&scratch.patterns, budget)?;
        self.make_targets(row.automaton, scratch, budget)?;
        self.make_edges(&row, hider, scratch, budget)?;
        row.edges = start..number(self.table.edges.len());
        if row.automaton == NONE {
            let all = scratch.targets.first().copied();
            row.others = all.unwrap_or_else(|| bug!(NONE; "names lead nowhere"));
        } else {
            row.others = number(self.table.targets.len());
            self.table.targets.extend(&scratch.targets);
        }
        Ok(row)
    }

    /// Computes the rights of the nodes and the matching rules.
    fn judge(&mut self, scratch: &mut Scratch, budget: &mut Budget) -> Result<Row, Spent> {
        let Scratch { nodes, rules, .. } = scratch;
        rules.clear();
        let (mut ways, mut hidden, mut hides_beneath) = (0, false, false);
        for node in nodes.iter() {
            let here = self.trie.node(*node);
            ways |= here.leads;
            hidden |= here.hides;
            hides_beneath |= here.hides_beneath;
            rules.extend(self.trie.accepts(*node));
        }
        // Each state stores the matching rules, and evaluates them once per conjunct.
        budget.spend(rules.len() * usize::from(self.source.conjuncts))?;
        rules.sort_unstable();
        if hidden {
            let hides = |id: &u32| {
                let rule = self.source.rules.get(*id as usize);
                rule.is_some_and(|rule| rule.effect == Effect::Hide)
            };
            rules.retain(hides);
        }
        let start = number(self.table.matched.len());
        self.table.matched.extend(rules.iter().map(|id| RuleId::new(*id)));
        let matched = start..number(self.table.matched.len());
        self.table.details.push(Detail { matched, kind: NONE });
        let (mut rights, mut rofs) = (Rights::empty(), Rights::empty());
        if !hidden {
            let granted = self.source.granted(rules, ways);
            rights = granted - self.source.rofs;
            rofs = granted & self.source.rofs;
        }
        Ok(Row { rights, rofs, hidden, hides_beneath, ..Row::NOTHING })
    }

    /// Returns the `**` node in `nodes` whose hidden names are shared, unless a pattern hides names
    /// as well.
    fn hider(&self, nodes: &[u32]) -> Option<u32> {
        if self.hiders.is_empty() {
            return None;
        }
        let count = |node: &u32| self.hiders.get(node).map(|hider| (hider.names, *node));
        let (_, hider) = nodes.iter().filter_map(count).max()?;
        let by_pattern = |node: &u32| {
            let star = self.trie.node(*node).star;
            let patterns = self.trie.by_pattern(*node).iter().map(|(_, child)| *child);
            patterns.chain((star != NONE).then_some(star)).any(|child| self.trie.hides(child))
        };
        (!nodes.iter().any(by_pattern)).then_some(hider)
    }

    /// Returns the group of the names that `hider` hides, building it on the first call.
    fn group(
        &mut self,
        hider: u32,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<u32, Spent> {
        if let Some(known) = self.hiders.get(&hider).filter(|known| known.group != NONE) {
            return Ok(known.group);
        }
        let start = number(self.table.edges.len());
        let trie = self.trie;
        for same in trie.literals(hider).chunk_by(|(left, _), (right, _)| left == right) {
            let Some((name, _)) = same.first() else {
                return Err(bug!(Spent; "a group of names is empty"));
            };
            let hides = same.iter().map(|(_, child)| *child).filter(|child| trie.hides(*child));
            scratch.set.clear();
            scratch.set.extend(hides);
            if scratch.set.is_empty() {
                continue;
            }
            let to = self.state_of(&mut scratch.set, budget)?;
            let text = self.text(*name);
            self.table.push_edge(text, to);
        }
        let group = number(self.table.groups.len());
        self.table.groups.push(start..number(self.table.edges.len()));
        if let Some(hider) = self.hiders.get_mut(&hider) {
            hider.group = group;
        }
        Ok(group)
    }

    /// Collects the transitions of the nodes, except for the names that `hider` hides.
    fn gather(&self, hider: Option<u32>, scratch: &mut Scratch) {
        let Scratch { nodes, base, literals, by_pattern, patterns, .. } = scratch;
        base.clear();
        literals.clear();
        by_pattern.clear();
        for node in nodes.iter() {
            let here = self.trie.node(*node);
            base.extend((here.star != NONE).then_some(here.star));
            base.extend(here.loops.then_some(*node));
            by_pattern.extend(self.trie.by_pattern(*node));
            let names = self.trie.literals(*node).iter();
            if Some(*node) == hider {
                literals.extend(names.filter(|(_, child)| !self.trie.hides(*child)));
            } else {
                literals.extend(names);
            }
        }
        literals.sort_unstable();
        by_pattern.sort_unstable();
        patterns.clear();
        patterns.extend(by_pattern.iter().map(|(pattern, _)| *pattern));
        patterns.dedup();
    }

    fn automaton(&mut self, patterns: &[u32], budget: &mut Budget) -> Result<u32, Spent> {
        if patterns.is_empty() {
            return Ok(NONE);
        }
        if let Some(known) = self.automata.get(patterns) {
            return Ok(*known);
        }
        let texts = patterns.iter().map(|id| self.trie.patterns.get(*id as usize).copied());
        let Some(texts) = texts.collect::<Option<Vec<_>>>() else {
            return Err(bug!(Spent; "the rules have no such patterns: {patterns:?}"));
        };
        let automaton = NameAutomaton::new(&texts, budget)?;
        let id = number(self.table.automata.len());
        self.table.automata.push(automaton);
        self.automata.insert(patterns.into(), id);
        Ok(id)
    }

    /// Computes the target state for each class of the names that have no edge of their own.
    fn make_targets(
        &mut self,
        automaton: u32,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        let Scratch { set, base, by_pattern, patterns, targets, .. } = scratch;
        targets.clear();
        let classes = self.table.automata.get(automaton as usize).map_or(1, |a| a.class_count());
        budget.spend(classes)?;
        for class in 0..number(classes) {
            set.clear();
            set.extend(&*base);
            let automaton = self.table.automata.get(automaton as usize);
            for at in automaton.map_or(&[][..], |automaton| automaton.matched.get(class)) {
                let Some(pattern) = patterns.get(*at as usize) else {
                    return Err(bug!(Spent; "class {class} has no pattern {at}"));
                };
                let start = by_pattern.partition_point(|(other, _)| other < pattern);
                let children = by_pattern.iter().skip(start);
                let children = children.take_while(|(other, _)| other == pattern);
                set.extend(children.map(|(_, child)| *child));
            }
            let to = self.state_of(set, budget)?;
            targets.push(to);
        }
        Ok(())
    }

    /// Adds an edge for each literal name that leads elsewhere than its class.
    fn make_edges(
        &mut self,
        row: &Row,
        hider: Option<u32>,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        let Scratch { set, literals, targets, .. } = scratch;
        for same in literals.chunk_by(|(left, _), (right, _)| left == right) {
            let Some((name, _)) = same.first() else {
                return Err(bug!(Spent; "a group of names is empty"));
            };
            let automaton = self.table.automata.get(row.automaton as usize);
            let class = automaton.map_or(0, |a| a.class(self.trie.names.text(*name)));
            let Some(rest) = targets.get(class as usize).copied() else {
                return Err(bug!(Spent; "class {class} leads nowhere"));
            };
            set.clear();
            // A literal name also leads to the targets of its class.
            set.extend(self.states.get(rest));
            set.extend(same.iter().map(|(_, child)| *child));
            let grouped = hider.map_or(&[][..], |hider| self.trie.literal(hider, *name));
            set.extend(grouped.iter().map(|(_, child)| *child));
            let to = self.state_of(set, budget)?;
            let in_group = grouped.iter().any(|(_, child)| self.trie.hides(*child));
            if to != rest || in_group {
                let text = self.text(*name);
                self.table.push_edge(text, to);
            }
        }
        Ok(())
    }

    /// Returns the range of `name` in the table's text, appending it if it is new.
    fn text(&mut self, name: u32) -> Range<u32> {
        let Some(range) = self.texts.get_mut(name as usize) else {
            return bug!(0..0; "the rules have no name {name}");
        };
        if range.start == range.end {
            *range = self.table.push_text(self.trie.names.text(name));
        }
        range.clone()
    }

    /// Returns some rules of the current state, preferring rules with patterns, which multiply.
    fn culprits(&self) -> Vec<RuleId> {
        let nodes = self.states.get(self.current);
        let of = |node: u32| self.trie.node(node).rule;
        let deep = nodes.iter().filter(|node| self.trie.node(**node).loops).map(|node| of(*node));
        let by_pattern = nodes.iter().flat_map(|node| self.trie.by_pattern(*node));
        let patterns = by_pattern.map(|(_, child)| of(*child));
        let mut rules: Vec<u32> = deep.collect();
        rules.extend(patterns);
        if rules.is_empty() {
            rules.extend(nodes.iter().map(|node| of(*node)));
        }
        rules.sort_unstable();
        rules.dedup();
        rules.into_iter().take(NAMED_MAX).map(RuleId::new).collect()
    }
}
