//! The transition table of a compiled policy: the rights at each state, and the edges between
//! states.
//!
//! A step looks the name up in three stages: among the edges of the state, in one hash table for
//! all states with many edges; among the edges of the state's group, which holds the names that
//! many states hide alike; and last by the class that the state's name automaton assigns, or the
//! default successor. A step does not allocate, takes no lock, and its cost does not depend on the
//! number of rules.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use palisade_vfs::{Rights, bug};

use crate::automaton::compile::names::NameAutomaton;
use crate::automaton::compile::trie::number;
use crate::rules::rule::RuleId;

/// The most edges that are searched linearly, which is faster than hashing because lengths differ.
const LINEAR_MAX: usize = 4;

/// The index of no automaton and no group.
pub(crate) const NONE: u32 = u32::MAX;

/// The states and edges of a policy.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    pub(crate) details: Vec<Detail>,
    /// The edges, those of each state and group contiguous.
    pub(crate) edges: Vec<Edge>,
    pub(crate) groups: Vec<Range<u32>>,
    /// The names of all edges, each stored once.
    pub(crate) texts: String,
    /// The successors by name class.
    pub(crate) targets: Vec<u32>,
    pub(crate) automata: Vec<NameAutomaton>,
    /// The lists of matching rules, concatenated.
    pub(crate) matched: Vec<RuleId>,
    /// A hash table of indices into `edges`, by owner and name, for owners with more than
    /// [`LINEAR_MAX`] edges.
    pub(crate) index: HashTable<u32>,
}

/// The data of a state that steps and checks use.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) rights: Rights,
    /// The missing rights whose denial is `EROFS`.
    pub(crate) rofs: Rights,
    pub(crate) edges: Range<u32>,
    /// The first state with the same edges, whose number is the key in the hash table.
    pub(crate) owner: u32,
    /// The index of the group of hidden names in [`Table::groups`].
    pub(crate) group: u32,
    pub(crate) automaton: u32,
    /// The default successor; with an automaton, the index of its successors in [`Table::targets`].
    pub(crate) others: u32,
    pub(crate) hidden: bool,
    pub(crate) hides_descendants: bool,
    /// Whether all names lead to `others`, and from there to `others` again, with equal rights.
    pub(crate) constant: bool,
}

/// The data of a state that only explanations and comparisons use.
#[derive(Clone, Debug)]
pub(crate) struct Detail {
    pub(crate) matched: Range<u32>,
    /// The equivalence class: states with one number grant and hide the same at every path under
    /// them.
    pub(crate) kind: u32,
}

/// A transition by one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// The offset of the name in [`Table::texts`]. Equal names have equal offsets.
    pub(crate) text: u32,
    pub(crate) len: u32,
    pub(crate) to: u32,
}

impl Row {
    /// A state that grants nothing and leads to state 0.
    pub(crate) const NOTHING: Row = Row {
        rights: Rights::empty(),
        rofs: Rights::empty(),
        edges: 0..0,
        owner: 0,
        group: NONE,
        automaton: NONE,
        others: 0,
        hidden: false,
        hides_descendants: false,
        constant: false,
    };

    /// Whether all names lead to one state.
    pub(crate) fn has_one_successor(&self) -> bool {
        self.edges.is_empty() && self.automaton == NONE && self.group == NONE
    }
}

impl Table {
    /// Returns a table with one state, whose successor is itself.
    pub(crate) fn of_one(row: Row) -> Self {
        let details = vec![Detail { matched: 0..0, kind: 0 }];
        Table { rows: vec![Row { constant: true, ..row }], details, ..Table::default() }
    }

    /// Returns the successor of `state` by `name`, or `None` for an unknown state.
    pub(crate) fn step(&self, state: u32, name: &str) -> Option<u32> {
        let row = self.rows.get(state as usize)?;
        if row.has_one_successor() {
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

    /// Returns the successors of `row` by name class.
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

    /// The size of the table in bytes.
    #[cfg(test)]
    pub(crate) fn size_bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>()
            + self.details.len() * size_of::<Detail>()
            + self.edges.len() * size_of::<Edge>()
            + self.texts.len()
            + 4 * (self.targets.len() + self.matched.len() + self.index.capacity())
            + self.automata.iter().map(NameAutomaton::size_bytes).sum::<usize>()
    }

    /// Frees unused capacity.
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

    /// Returns the edges of `row`, then those of its group, which its own edges override.
    pub(crate) fn edges(&self, row: &Row) -> impl Iterator<Item = (&str, u32)> {
        let group = self.groups.get(row.group as usize).map(|group| self.slice(group));
        let all = self.slice(&row.edges).iter().chain(group.unwrap_or_default());
        all.map(|edge| (self.text(*edge), edge.to))
    }

    pub(crate) fn matched(&self, state: u32) -> &[RuleId] {
        let range = self.details.get(state as usize).map(|detail| detail.matched.clone());
        // An unknown state has no rules.
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

    /// Adds an edge to the row or group under construction. [`Table::make_index`] makes it visible.
    pub(crate) fn push_edge(&mut self, text: Range<u32>, to: u32) {
        self.edges.push(Edge { text: text.start, len: text.end - text.start, to });
    }

    /// Appends `name` to the texts and returns its range.
    pub(crate) fn push_text(&mut self, name: &str) -> Range<u32> {
        let start = number(self.texts.len());
        self.texts.push_str(name);
        start..number(self.texts.len())
    }

    /// Builds the hash table.
    pub(crate) fn make_index(&mut self) {
        let owned = (0..).zip(&self.rows).filter(|(state, row)| row.owner == *state);
        let rows = owned.map(|(state, row)| (state, row.edges.clone()));
        let groups = (0..).zip(&self.groups);
        let groups = groups.map(|(id, group)| (owner_of_group(id), group.clone()));
        let hashed = |(_, edges): &(u32, Range<u32>)| edges.len() > LINEAR_MAX;
        let all: Vec<_> = rows.chain(groups).filter(hashed).collect();
        let mut index = HashTable::with_capacity(all.iter().map(|(_, edges)| edges.len()).sum());
        for (owner, edges) in all {
            for (at, edge) in edges.clone().zip(self.slice(&edges)) {
                let hash = hash(owner, self.text(*edge));
                // The capacity suffices for all entries, so none is rehashed.
                index.insert_unique(hash, at, |_| hash);
            }
        }
        self.index = index;
    }

    fn edge(&self, owner: u32, edges: &Range<u32>, name: &str) -> Option<u32> {
        if edges.len() <= LINEAR_MAX {
            let matches =
                |edge: &&Edge| edge.len as usize == name.len() && self.text(**edge) == name;
            return self.slice(edges).iter().find(matches).map(|edge| edge.to);
        }
        let matches = |at: &u32| {
            edges.contains(at)
                && self.edges.get(*at as usize).is_some_and(|edge| self.text(*edge) == name)
        };
        let at = self.index.find(hash(owner, name), matches)?;
        self.edges.get(*at as usize).map(|edge| edge.to)
    }
}

/// Returns the key of a group in the hash table, which is no state number.
fn owner_of_group(group: u32) -> u32 {
    !group
}

fn hash(owner: u32, name: &str) -> u64 {
    // A fixed seed: the keys are names of the policy, and a guest cannot insert any.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(owner);
    hasher.write(name.as_bytes());
    hasher.finish()
}
