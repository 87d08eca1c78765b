//! Finds states that behave alike, so that comparing them costs nothing.
//!
//! First cheaply: states are mostly made before those that they lead to, so one look from the last
//! to the first finds those whose names lead to what is already known to be alike. Where names lead
//! back, that misses some; so what is left is taken for alike until something tells it apart, round
//! by round. Rules that are so deep that this takes too many rounds stay as the first look left
//! them: that costs a comparison its time, and neither ever finds too many alike.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::trie::number;
use crate::table::{Row, Table};

/// Most rounds: what differs only that far down is rarely compared.
const ROUNDS_MAX: usize = 32;

/// Fills in [`Detail::kind`](crate::table::Detail::kind).
pub(crate) fn set_kinds(table: &mut Table) {
    let mut kinds = look_back(table);
    refine(table, &mut kinds);
    for (detail, kind) in table.details.iter_mut().zip(kinds) {
        detail.kind = kind;
    }
}

/// What an edge to something hidden counts as: all that is hidden is alike.
const HIDDEN: u32 = u32::MAX;
/// What an edge back to where it comes from counts as.
const ITSELF: u32 = u32::MAX - 1;

/// For each state a later one that is alike, or itself.
fn look_back(table: &Table) -> Vec<u32> {
    let mut kinds: Vec<u32> = (0..number(table.rows.len())).collect();
    let mut known = HashTable::new();
    for state in (0..number(table.rows.len())).rev() {
        let sign = |from: u32, to: u32| {
            if table.row(to).is_some_and(|row| row.hidden) {
                HIDDEN
            } else if from == to {
                ITSELF
            } else if to > from {
                kinds.get(to as usize).copied().unwrap_or(to)
            } else {
                // Exactly this state: nothing is known of it yet.
                to
            }
        };
        let kind = first(table, &mut known, state, sign);
        if let Some(slot) = kinds.get_mut(state as usize) {
            *slot = kind;
        }
    }
    kinds
}

/// Finds more that are alike among those that `kinds` tells apart.
fn refine(table: &Table, kinds: &mut [u32]) {
    let apart = kinds.iter().enumerate().filter(|(state, kind)| number(*state) == **kind);
    let apart: Vec<u32> = apart.map(|(_, kind)| *kind).collect();
    let class_of = |classes: &[u32], kinds: &[u32], state: u32| {
        let kind = kinds.get(state as usize).copied().unwrap_or(state);
        classes.get(kind as usize).copied().unwrap_or(state)
    };
    let (mut classes, mut count) = (vec![0; kinds.len()], 1);
    for _ in 0..ROUNDS_MAX {
        let (mut next, mut known, mut found) = (classes.clone(), HashTable::new(), 0);
        for state in &apart {
            // What was told apart stays apart, because it was by what its names lead to.
            let sign = |_: u32, to: u32| class_of(&classes, kinds, to);
            let class = first(table, &mut known, *state, sign);
            found += usize::from(class == *state);
            if let Some(slot) = next.get_mut(*state as usize) {
                *slot = class;
            }
        }
        if found == count {
            for kind in kinds.iter_mut() {
                *kind = next.get(*kind as usize).copied().unwrap_or(*kind);
            }
            return;
        }
        (classes, count) = (next, found);
    }
}

/// The first of the known states that is like `state`, which becomes known if there is none.
fn first(
    table: &Table,
    known: &mut HashTable<(u64, u32)>,
    state: u32,
    sign: impl Fn(u32, u32) -> u32,
) -> u32 {
    let Some(row) = table.row(state) else { return state };
    let hash = hash(table, state, row, &sign);
    match known.find(hash, |(_, other)| alike(table, state, *other, &sign)) {
        Some((_, other)) => *other,
        None => {
            known.insert_unique(hash, (hash, state), |(hash, _)| *hash);
            state
        }
    }
}

fn hash(table: &Table, state: u32, row: &Row, sign: impl Fn(u32, u32) -> u32) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(row.rights.bits());
    hasher.write_u32(row.rofs.bits());
    hasher.write_u32(u32::from(row.hidden));
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

fn alike(table: &Table, left: u32, right: u32, sign: impl Fn(u32, u32) -> u32) -> bool {
    let (Some(a), Some(b)) = (table.row(left), table.row(right)) else { return false };
    if (a.rights, a.rofs, a.hidden) != (b.rights, b.rofs, b.hidden) {
        return false;
    }
    if a.hidden {
        return true;
    }
    let lead_alike = |x: u32, y: u32| sign(left, x) == sign(right, y);
    (a.group, a.automaton, a.edges.len()) == (b.group, b.automaton, b.edges.len())
        && table.targets(a).zip(table.targets(b)).all(|(x, y)| lead_alike(x, y))
        && table
            .slice(&a.edges)
            .iter()
            .zip(table.slice(&b.edges))
            .all(|(x, y)| (x.text, x.len) == (y.text, y.len) && lead_alike(x.to, y.to))
}
