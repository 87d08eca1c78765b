//! The policy compiler: turns the globs of the rules into a deterministic transition table.
//!
//! The rules form a nondeterministic automaton, a [`trie`] in which a path can reach several
//! nodes at once. A state of the table is a set of these nodes (the subset construction). All
//! reachable states are built here, so that a step at run time builds none. A [`budget`] in
//! proportion to the rules bounds the number of states.
//!
//! A *deep node* is the trie node of a `**` component: every name leads from it to itself.
//!
//! A state has an edge for each literal name of its nodes. Under a deep node that would repeat
//! all literal children of the deep node for each state. Therefore the names that a deep node
//! hides are stored once, as a group that all states with this node share; that is sound because
//! no other rule can make a hidden path visible. Nodes without children have no transitions, so
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
    let mut compiler = Compiler::new(source, &trie);
    if let Err(Spent) = compiler.run(&mut budget) {
        return Err(Explosion { rules: compiler.error_rules() });
    }
    Ok(compiler.finish())
}

/// Returns the table of a policy without rules.
pub(crate) fn uniform(source: &Source) -> Table {
    let granted = source.granted(&[], 0);
    let (rights, rofs) = (granted - source.rofs, granted & source.rofs);
    Table::of_one(Row { rights, rofs, ..Row::NOTHING })
}

struct Compiler<'s> {
    source: &'s Source,
    trie: &'s Trie<'s>,
    table: Table,
    /// The set of nodes of each state.
    states: Lists,
    /// The distinct sets of nodes with children, which determine the transitions of a state.
    transition_nodes: Lists,
    /// For each of `transition_nodes`, the first state with these nodes. It owns the edges.
    first_states: Vec<u32>,
    automata: HashMap<Box<[u32]>, u32, FixedState>,
    /// The deep nodes that hide literal names.
    hiding_nodes: HashMap<u32, HidingDeepNode, FixedState>,
    /// The range of each name in the table's text.
    texts: Vec<Range<u32>>,
    scratch: Scratch,
    /// The state that is being compiled.
    current: u32,
}

/// A deep node that hides literal names.
#[derive(Clone, Copy)]
struct HidingDeepNode {
    /// The number of hidden names.
    names: u32,
    /// The group of the hidden names, or `NONE` until it is compiled.
    group: u32,
}

/// Reused buffers: allocating them for each state takes longer than filling them.
#[derive(Default)]
struct Scratch {
    nodes: Vec<u32>,
    set: Vec<u32>,
    /// The nodes that every name leads to.
    base: Vec<u32>,
    literals: Vec<(u32, u32)>,
    by_pattern: Vec<(u32, u32)>,
    patterns: Vec<u32>,
    targets: Vec<u32>,
    rules: Vec<u32>,
}

impl<'s> Compiler<'s> {
    fn new(source: &'s Source, trie: &'s Trie<'s>) -> Self {
        let hides = |node: &u32| {
            let names = trie.literals(*node).iter().filter(|(_, child)| trie.hides(*child)).count();
            let hiding = HidingDeepNode { names: number(names), group: NONE };
            (names > 0).then_some((*node, hiding))
        };
        let deep_nodes = (0..number(trie.nodes.len())).filter(|node| trie.node(*node).is_deep);
        Compiler {
            source,
            trie,
            table: Table::default(),
            states: Lists::default(),
            transition_nodes: Lists::default(),
            first_states: Vec::new(),
            automata: HashMap::default(),
            hiding_nodes: deep_nodes.filter_map(|node| hides(&node)).collect(),
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
            let row = self.compile_row(&mut scratch, budget);
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
    fn compile_row(&mut self, scratch: &mut Scratch, budget: &mut Budget) -> Result<Row, Spent> {
        scratch.nodes.clear();
        scratch.nodes.extend(self.states.get(self.current));
        let row = self.compile_rights(scratch, budget)?;
        if row.hidden {
            return Ok(Row { owner: self.current, others: self.current, ..row });
        }
        // Nodes without children do not affect the transitions.
        scratch.nodes.retain(|node| self.trie.has_children(*node));
        let known = self.first_states.len();
        let set = self.transition_nodes.intern(&scratch.nodes);
        if (set as usize) < known {
            let first_state = self.first_states.get(set as usize).copied();
            let Some(first_row) = first_state.and_then(|state| self.table.row(state)).cloned()
            else {
                return Err(bug!(Spent; "no state has the set of transition nodes {set}"));
            };
            budget.spend(first_row.edges.len() / 8)?;
            let Row { rights, rofs, hides_descendants, .. } = row;
            return Ok(Row { rights, rofs, hides_descendants, ..first_row });
        }
        self.first_states.push(self.current);
        self.compile_transitions(row, scratch, budget)
    }

    /// Compiles the transitions of the current state, the first state with these nodes.
    fn compile_transitions(
        &mut self,
        mut row: Row,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<Row, Spent> {
        row.owner = self.current;
        let hiding = self.hiding_node(&scratch.nodes);
        if let Some(hiding) = hiding {
            row.group = self.group(hiding, scratch, budget)?;
        }
        // Compiling a new group may have appended edges before these.
        let start = number(self.table.edges.len());
        self.gather_transitions(hiding, scratch);
        let Scratch { nodes, literals, by_pattern, .. } = &scratch;
        budget.spend(nodes.len() + 2 * literals.len() + by_pattern.len())?;
        row.automaton = self.automaton(&scratch.patterns, budget)?;
        self.make_targets(row.automaton, scratch, budget)?;
        self.make_edges(&row, hiding, scratch, budget)?;
        row.edges = start..number(self.table.edges.len());
        if row.automaton == NONE {
            let all = scratch.targets.first().copied();
            row.others = all.unwrap_or_else(|| bug!(NONE; "state {} has no target", self.current));
        } else {
            row.others = number(self.table.targets.len());
            self.table.targets.extend(&scratch.targets);
        }
        Ok(row)
    }

    /// Compiles the rights and the matching rules of the current state, without transitions.
    fn compile_rights(&mut self, scratch: &mut Scratch, budget: &mut Budget) -> Result<Row, Spent> {
        let Scratch { nodes, rules, .. } = scratch;
        rules.clear();
        let (mut allowing, mut hidden, mut hides_descendants) = (0, false, false);
        for node in nodes.iter() {
            let here = self.trie.node(*node);
            allowing |= here.allowing;
            hidden |= here.hides;
            hides_descendants |= here.hides_descendants;
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
            let granted = self.source.granted(rules, allowing);
            rights = granted - self.source.rofs;
            rofs = granted & self.source.rofs;
        }
        Ok(Row { rights, rofs, hidden, hides_descendants, ..Row::NOTHING })
    }

    /// Returns the deep node in `nodes` that hides the most names, unless a pattern or `*` hides
    /// names as well.
    fn hiding_node(&self, nodes: &[u32]) -> Option<u32> {
        if self.hiding_nodes.is_empty() {
            return None;
        }
        let count = |node: &u32| self.hiding_nodes.get(node).map(|hiding| (hiding.names, *node));
        let (_, hiding) = nodes.iter().filter_map(count).max()?;
        let by_pattern = |node: &u32| {
            let star = self.trie.node(*node).star;
            let patterns = self.trie.by_pattern(*node).iter().map(|(_, child)| *child);
            patterns.chain((star != NONE).then_some(star)).any(|child| self.trie.hides(child))
        };
        (!nodes.iter().any(by_pattern)).then_some(hiding)
    }

    /// Returns the group of the names that the deep node `hiding` hides, compiling it on the first
    /// call.
    fn group(
        &mut self,
        hiding: u32,
        scratch: &mut Scratch,
        budget: &mut Budget,
    ) -> Result<u32, Spent> {
        if let Some(known) = self.hiding_nodes.get(&hiding).filter(|known| known.group != NONE) {
            return Ok(known.group);
        }
        let start = number(self.table.edges.len());
        let trie = self.trie;
        for same in trie.literals(hiding).chunk_by(|(left, _), (right, _)| left == right) {
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
        if let Some(node) = self.hiding_nodes.get_mut(&hiding) {
            node.group = group;
        }
        Ok(group)
    }

    /// Collects the transitions of the nodes, except for the names that the deep node `hiding`
    /// hides.
    fn gather_transitions(&self, hiding: Option<u32>, scratch: &mut Scratch) {
        let Scratch { nodes, base, literals, by_pattern, patterns, .. } = scratch;
        base.clear();
        literals.clear();
        by_pattern.clear();
        for node in nodes.iter() {
            let here = self.trie.node(*node);
            base.extend((here.star != NONE).then_some(here.star));
            base.extend(here.is_deep.then_some(*node));
            by_pattern.extend(self.trie.by_pattern(*node));
            let names = self.trie.literals(*node).iter();
            if Some(*node) == hiding {
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

    /// Adds an edge for each literal name whose target differs from the target of its class.
    fn make_edges(
        &mut self,
        row: &Row,
        hiding: Option<u32>,
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
                return Err(bug!(Spent; "class {class} has no target"));
            };
            set.clear();
            // A literal name also leads to the targets of its class.
            set.extend(self.states.get(rest));
            set.extend(same.iter().map(|(_, child)| *child));
            let grouped = hiding.map_or(&[][..], |node| self.trie.literal(node, *name));
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
    fn error_rules(&self) -> Vec<RuleId> {
        let nodes = self.states.get(self.current);
        let of = |node: u32| self.trie.node(node).rule;
        let deep = nodes.iter().filter(|node| self.trie.node(**node).is_deep).map(|node| of(*node));
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
