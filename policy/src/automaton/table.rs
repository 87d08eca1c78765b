//! The compiled form of the rules: what holds at each state, and where names lead from there.
//!
//! A step looks for the name among those that the state treats apart, in one hash table for all
//! states if they are many; then among the names that many states hide alike; and takes what is
//! left by the class of the name in the state's automaton, or where all names lead. It does not
//! allocate, takes no lock, and the number of rules is not in it.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::{Rights, bug};

use crate::automaton::compile::names::NameAutomaton;
use crate::automaton::compile::trie::number;
use crate::rules::rule::RuleId;

/// So few names are looked for one by one, which takes less than a hash: lengths mostly differ.
const FEW: usize = 4;

/// No automaton, or no group.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) details: Vec<Detail>,
    /// The names that are treated apart, those of each state together.
    pub(crate) edges: Vec<Edge>,
    pub(crate) groups: Vec<Range<u32>>,
    /// The texts of the names in `edges`, each once.
    pub(crate) texts: String,
    /// Where names lead by their classes.
    pub(crate) targets: Vec<u32>,
    pub(crate) automata: Vec<NameAutomaton>,
    /// The rules that match, one list after the other.
    pub(crate) matched: Vec<RuleId>,
    /// Indices into `edges`, by owner and name, of those that are more than a few together.
    pub(crate) index: HashTable<u32>,
}

/// What a step and a look at the rights need.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) rights: Rights,
    /// The rights that are missing only because this is read-only.
    pub(crate) rofs: Rights,
    pub(crate) edges: Range<u32>,
    /// The state whose edges these are: the first that names lead on from alike.
    pub(crate) owner: u32,
    /// The names that it hides as others do: an index into [`Table::groups`].
    pub(crate) group: u32,
    pub(crate) automaton: u32,
    /// Where all other names lead; with an automaton, where in [`Table::targets`] its classes are.
    pub(crate) others: u32,
    pub(crate) hidden: bool,
    pub(crate) hides_beneath: bool,
    /// Whether the same holds for all that is beneath, where all names lead to `others` and stay.
    pub(crate) constant: bool,
}

/// What is rarely asked for.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    pub(crate) matched: Range<u32>,
    /// A state that behaves alike: equal numbers grant and hide the same, at every path beneath.
    pub(crate) kind: u32,
}

/// A name that leads elsewhere than the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// Where its text starts; the same name always has the same.
    pub(crate) text: u32,
    pub(crate) len: u32,
    pub(crate) to: u32,
}

impl Row {
    /// Grants nothing, and all names lead to the first state.
    pub(crate) const NOTHING: Row = Row {
        rights: Rights::empty(),
        rofs: Rights::empty(),
        edges: 0..0,
        owner: 0,
        group: NONE,
        automaton: NONE,
        others: 0,
        hidden: false,
        hides_beneath: false,
        constant: false,
    };

    /// Whether all names lead to the same state.
    pub(crate) fn leads_alike(&self) -> bool {
        self.edges.is_empty() && self.automaton == NONE && self.group == NONE
    }
}

impl Table {
    /// One state, out of which no name leads.
    pub(crate) fn of_one(row: Row) -> Self {
        let details = vec![Detail { matched: 0..0, kind: 0 }];
        Table { rows: vec![Row { constant: true, ..row }], details, ..Table::default() }
    }

    /// Where `name` leads from `state`; `None` for a state that there is not.
    pub(crate) fn step(&self, state: u32, name: &str) -> Option<u32> {
        let row = self.rows.get(state as usize)?;
        if row.leads_alike() {
            return Some(row.others);
        }
        if let Some(to) = self.edge(row.owner, &row.edges, name) {
            return Some(to);
        }
        if let Some(group) = self.groups.get(row.group as usize)
            && let Some(to) = self.edge(owner_of_group(row.group), group, name)
        {
            return Some(to);
        }
        if row.automaton == NONE {
            return Some(row.others);
        }
        let class = self.automata.get(row.automaton as usize)?.class(name);
        self.target(row, class)
    }

    pub(crate) fn target(&self, row: &Row, class: u32) -> Option<u32> {
        match row.automaton {
            NONE => Some(row.others),
            _ => self.targets.get(row.others as usize + class as usize).copied(),
        }
    }

    /// Where the classes of the names of `row` lead.
    pub(crate) fn targets(&self, row: &Row) -> impl Iterator<Item = u32> {
        let classes = self.automaton(row).map_or(0, NameAutomaton::class_count);
        let start = row.others as usize;
        let by_class = match classes {
            0 => &[],
            _ => self
                .targets
                .get(start..start.saturating_add(classes))
                .unwrap_or_else(|| bug!(&[]; "no targets of {classes} classes at {start}")),
        };
        by_class.iter().copied().chain((classes == 0).then_some(row.others))
    }

    /// The bytes that it takes.
    #[cfg(test)]
    pub(crate) fn size_bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>()
            + self.details.len() * size_of::<Detail>()
            + self.edges.len() * size_of::<Edge>()
            + self.texts.len()
            + 4 * (self.targets.len() + self.matched.len() + self.index.capacity())
            + self.automata.iter().map(NameAutomaton::size_bytes).sum::<usize>()
    }

    /// Gives back what was reserved.
    pub(crate) fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.details.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.targets.shrink_to_fit();
        self.matched.shrink_to_fit();
        self.automata.shrink_to_fit();
    }

    pub(crate) fn row(&self, state: u32) -> Option<&Row> {
        self.rows.get(state as usize)
    }

    pub(crate) fn automaton(&self, row: &Row) -> Option<&NameAutomaton> {
        self.automata.get(row.automaton as usize)
    }

    /// The edges of `row`, those of its group included, which yield to its own.
    pub(crate) fn edges(&self, row: &Row) -> impl Iterator<Item = (&str, u32)> {
        let group = self.groups.get(row.group as usize).map(|group| self.slice(group));
        let all = self.slice(&row.edges).iter().chain(group.unwrap_or_default());
        all.map(|edge| (self.text(*edge), edge.to))
    }

    pub(crate) fn matched(&self, state: u32) -> &[RuleId] {
        let range = self.details.get(state as usize).map(|detail| detail.matched.clone());
        // A state that there is not has no rules.
        let range = range.unwrap_or_default();
        let rules = self.matched.get(range.start as usize..range.end as usize);
        rules.unwrap_or_else(|| bug!(&[]; "state {state} has no list of rules"))
    }

    pub(crate) fn kind(&self, state: u32) -> u32 {
        self.details.get(state as usize).map_or(NONE, |detail| detail.kind)
    }

    pub(crate) fn slice(&self, range: &Range<u32>) -> &[Edge] {
        let edges = self.edges.get(range.start as usize..range.end as usize);
        edges.unwrap_or_else(|| bug!(&[]; "the table has no edges {range:?}"))
    }

    pub(crate) fn text(&self, edge: Edge) -> &str {
        let start = edge.text as usize;
        let text = self.texts.get(start..start + edge.len as usize);
        text.unwrap_or_else(|| bug!(""; "the table has no text at {start}"))
    }

    /// Adds an edge to those of the row or group that is being made. Until [`Table::make_index`] it
    /// is not found.
    pub(crate) fn push_edge(&mut self, text: Range<u32>, to: u32) {
        self.edges.push(Edge { text: text.start, len: text.end - text.start, to });
    }

    /// Where `name` is in the texts, having been added to them.
    pub(crate) fn push_text(&mut self, name: &str) -> Range<u32> {
        let start = number(self.texts.len());
        self.texts.push_str(name);
        start..number(self.texts.len())
    }

    /// Makes all edges found.
    pub(crate) fn make_index(&mut self) {
        let owned = (0..).zip(&self.rows).filter(|(state, row)| row.owner == *state);
        let rows = owned.map(|(state, row)| (state, row.edges.clone()));
        let groups = (0..).zip(&self.groups);
        let groups = groups.map(|(id, group)| (owner_of_group(id), group.clone()));
        let hashed = |(_, edges): &(u32, Range<u32>)| edges.len() > FEW;
        let all: Vec<_> = rows.chain(groups).filter(hashed).collect();
        let mut index = HashTable::with_capacity(all.iter().map(|(_, edges)| edges.len()).sum());
        for (owner, edges) in all {
            for (at, edge) in edges.clone().zip(self.slice(&edges)) {
                let hash = hash(owner, self.text(*edge));
                // There is room for all of them, so none is ever moved.
                index.insert_unique(hash, at, |_| hash);
            }
        }
        self.index = index;
    }

    fn edge(&self, owner: u32, edges: &Range<u32>, name: &str) -> Option<u32> {
        if edges.len() <= FEW {
            let is_it = |edge: &&Edge| edge.len as usize == name.len() && self.text(**edge) == name;
            return self.slice(edges).iter().find(is_it).map(|edge| edge.to);
        }
        let is_it = |at: &u32| {
            edges.contains(at)
                && self.edges.get(*at as usize).is_some_and(|edge| self.text(*edge) == name)
        };
        let at = self.index.find(hash(owner, name), is_it)?;
        self.edges.get(*at as usize).map(|edge| edge.to)
    }
}

/// What a group is in the hash table, where the owner of an edge is hashed with the name.
fn owner_of_group(group: u32) -> u32 {
    !group
}

fn hash(owner: u32, name: &str) -> u64 {
    // Who looks names up cannot add any, so there is nothing to be gained by choosing them badly.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(owner);
    hasher.write(name.as_bytes());
    hasher.finish()
}
