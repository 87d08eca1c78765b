//! Minimizes the table: assigns equal kinds to equivalent states, so that comparing is cheap.
//!
//! The first pass runs from the last state to the first. States mostly precede the states that
//! they lead to, so this pass finds the states whose targets are already known to be equivalent.
//! It misses equivalences on cycles. The second pass refines a partition of the remaining states
//! (Moore's algorithm) for a bounded number of rounds. If the bound is reached, the result of
//! the first pass stands: comparisons are slower then, but no two different states are ever
//! treated as equivalent.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use palisade_vfs::{Rights, bug};

use super::trie::number;
use crate::automaton::table::{Row, Table};

/// The maximum number of refinement rounds: states that differ only deeper are rarely compared.
const ROUNDS_MAX: usize = 32;

/// Fills in [`Detail::kind`](crate::table::Detail::kind) and the fields that depend on it.
pub(crate) fn set_kinds(table: &mut Table) {
    let mut kinds = merge_backward(table);
    refine(table, &mut kinds);
    for (detail, kind) in table.details.iter_mut().zip(kinds) {
        detail.kind = kind;
    }
    set_constant(table);
}

/// Fills in [`Row::constant`] for states that are not hidden.
fn set_constant(table: &mut Table) {
    let is_constant = |(row, state): (&Row, u32)| {
        let leads_to = table.row(row.others);
        row.has_one_successor()
            && !row.hidden
            && table.kind(state) == table.kind(row.others)
            && leads_to.is_some_and(|next| next.has_one_successor() && next.others == row.others)
    };
    let constant: Vec<bool> = table.rows.iter().zip(0..).map(is_constant).collect();
    for (row, constant) in table.rows.iter_mut().zip(constant) {
        row.constant = constant;
    }
}

/// The signature of an edge to a hidden state: all hidden states are equivalent.
const HIDDEN: u32 = u32::MAX;
/// The signature of an edge from a state to itself.
const ITSELF: u32 = u32::MAX - 1;

/// Returns for each state a later equivalent state, or the state itself. States that share the
/// edges of another state are skipped, because the same edges would be compared repeatedly.
fn merge_backward(table: &Table) -> Vec<u32> {
    let mut kinds: Vec<u32> = (0..number(table.rows.len())).collect();
    let mut known = HashTable::new();
    for state in (0..number(table.rows.len())).rev() {
        let Some(row) = table.row(state).filter(|row| row.owner == state) else { continue };
        let sign = |from: u32, to: u32| {
            if table.row(to).is_some_and(|row| row.hidden) {
                HIDDEN
            } else if from == to {
                ITSELF
            } else if to > from {
                at(&kinds, to)
            } else {
                // The earlier state has no kind yet, so it is equivalent only to itself.
                to
            }
        };
        let holds = holds(row);
        let hash = hash(table, (state, row), holds, sign);
        let same = |other: u32, row: &Row| {
            self::holds(row) == holds && lead_alike(table, state, other, sign)
        };
        let kind = first(table, &mut known, (hash, state), same);
        if let Some(slot) = kinds.get_mut(state as usize) {
            *slot = kind;
        }
    }
    kinds
}

/// Returns the number in `all` of `state`, or the state itself if it has none.
fn at(all: &[u32], state: u32) -> u32 {
    all.get(state as usize).copied().unwrap_or_else(|| bug!(state; "no number for state {state}"))
}

/// Merges further equivalent states among those that `kinds` distinguishes.
fn refine(table: &Table, kinds: &mut [u32]) {
    let apart = (0..).zip(&*kinds).zip(&table.rows);
    let apart = apart.filter(|((state, kind), _)| state == *kind);
    let apart: Vec<(u32, &Row)> = apart.map(|((state, _), row)| (state, row)).collect();
    let of = |all: &[u32], state: u32| at(all, at(kinds, state));
    let (mut classes, mut count) = (vec![0; kinds.len()], 1);
    for _ in 0..ROUNDS_MAX {
        // Computes the class of the edges first, once for all states that share them.
        let leads = leads(table, &apart, |to| of(&classes, to));
        let mut known: HashMap<_, u32, FixedState> = HashMap::default();
        let mut next = vec![0; kinds.len()];
        for (state, row) in &apart {
            let lead = if row.hidden { HIDDEN } else { of(&leads, row.owner) };
            let class = *known.entry((holds(row), lead)).or_insert(*state);
            if let Some(slot) = next.get_mut(*state as usize) {
                *slot = class;
            }
        }
        // Each round refines the partition of the round before, until it is stable.
        if known.len() == count {
            for kind in kinds.iter_mut() {
                *kind = at(&next, *kind);
            }
            return;
        }
        (classes, count) = (next, known.len());
    }
}

/// Returns for each owner of edges in `states` the first state with equivalent edges.
fn leads(table: &Table, states: &[(u32, &Row)], class: impl Fn(u32) -> u32) -> Vec<u32> {
    let (mut leads, mut known) = (vec![0; table.rows.len()], HashTable::new());
    for (state, row) in states.iter().filter(|(state, row)| row.owner == *state) {
        let sign = |_: u32, to: u32| class(to);
        let hash = hash(table, (*state, row), NOTHING, sign);
        let same = |other: u32, _: &Row| lead_alike(table, *state, other, sign);
        let lead = first(table, &mut known, (hash, *state), same);
        if let Some(slot) = leads.get_mut(*state as usize) {
            *slot = lead;
        }
    }
    leads
}

/// Returns the first known state that is the same as `state`, and inserts `state` if none is.
fn first(
    table: &Table,
    known: &mut HashTable<(u64, u32)>,
    (hash, state): (u64, u32),
    same: impl Fn(u32, &Row) -> bool,
) -> u32 {
    let is_same = |(_, other): &(u64, u32)| table.row(*other).is_some_and(|row| same(*other, row));
    match known.find(hash, is_same) {
        Some((_, other)) => *other,
        None => {
            known.insert_unique(hash, (hash, state), |(hash, _)| *hash);
            state
        }
    }
}

/// The local properties of a state: rights, read-only rights, and whether it is hidden.
type Holds = (Rights, Rights, bool);

/// The placeholder where the local properties do not matter.
const NOTHING: Holds = (Rights::empty(), Rights::empty(), false);

fn holds(row: &Row) -> Holds {
    (row.rights, row.rofs, row.hidden)
}

fn hash(
    table: &Table,
    (state, row): (u32, &Row),
    (rights, rofs, hidden): Holds,
    sign: impl Fn(u32, u32) -> u32,
) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(rights.bits());
    hasher.write_u32(rofs.bits());
    hasher.write_u32(u32::from(hidden));
    if row.hidden {
        return hasher.finish();
    }
    hasher.write_u32(row.group);
    hasher.write_u32(row.automaton);
    for to in table.targets(row) {
        hasher.write_u32(sign(state, to));
    }
    for edge in table.slice(&row.edges) {
        hasher.write_u32(edge.text);
        hasher.write_u32(sign(state, edge.to));
    }
    hasher.finish()
}

/// Returns whether the edges of both states are equivalent.
fn lead_alike(table: &Table, left: u32, right: u32, sign: impl Fn(u32, u32) -> u32) -> bool {
    let (Some(a), Some(b)) = (table.row(left), table.row(right)) else {
        return bug!(false; "there is no state {left} or {right}");
    };
    if a.hidden || b.hidden {
        return a.hidden == b.hidden;
    }
    let alike = |x: u32, y: u32| sign(left, x) == sign(right, y);
    (a.group, a.automaton, a.edges.len()) == (b.group, b.automaton, b.edges.len())
        && table.targets(a).zip(table.targets(b)).all(|(x, y)| alike(x, y))
        && table
            .slice(&a.edges)
            .iter()
            .zip(table.slice(&b.edges))
            .all(|(x, y)| (x.text, x.len) == (y.text, y.len) && alike(x.to, y.to))
}
