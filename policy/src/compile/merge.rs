//! Finds states that behave alike, so that comparing them costs nothing.
//!
//! First cheaply: states are mostly made before those that they lead to, so one look from the last
//! to the first finds those whose names lead to what is already known to be alike. Where names lead
//! back, that misses some; so what is left is taken for alike until something tells it apart, round
//! by round. Rules that are so deep that this takes too many rounds stay as the first look left
//! them: that costs a comparison its time, and neither ever finds too many alike.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use palisade_vfs::{Rights, bug};

use super::trie::number;
use crate::table::{Row, Table};

/// Most rounds: what differs only that far down is rarely compared.
const ROUNDS_MAX: usize = 32;

/// Fills in [`Detail::kind`](crate::table::Detail::kind), and what follows from it.
pub(crate) fn set_kinds(table: &mut Table) {
    let mut kinds = look_back(table);
    refine(table, &mut kinds);
    for (detail, kind) in table.details.iter_mut().zip(kinds) {
        detail.kind = kind;
    }
    set_constant(table);
}

/// Fills in [`Row::constant`], for states that nothing is hidden at.
fn set_constant(table: &mut Table) {
    let is_constant = |(row, state): (&Row, u32)| {
        let leads_to = table.row(row.others);
        row.leads_alike()
            && !row.hidden
            && table.kind(state) == table.kind(row.others)
            && leads_to.is_some_and(|next| next.leads_alike() && next.others == row.others)
    };
    let constant: Vec<bool> = table.rows.iter().zip(0..).map(is_constant).collect();
    for (row, constant) in table.rows.iter_mut().zip(constant) {
        row.constant = constant;
    }
}

/// What an edge to something hidden counts as: all that is hidden is alike.
const HIDDEN: u32 = u32::MAX;
/// What an edge back to where it comes from counts as.
const ITSELF: u32 = u32::MAX - 1;

/// For each state a later one that is alike, or itself. States that share where they lead are left
/// out: they would be looked at again and again.
fn look_back(table: &Table) -> Vec<u32> {
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
                // Exactly this state: nothing is known of it yet.
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

/// The number that `all` has for `state`. Without one the state is alike to none but itself.
fn at(all: &[u32], state: u32) -> u32 {
    all.get(state as usize).copied().unwrap_or_else(|| bug!(state; "no number for state {state}"))
}

/// Finds more that are alike among those that `kinds` tells apart.
fn refine(table: &Table, kinds: &mut [u32]) {
    let apart = (0..).zip(&*kinds).zip(&table.rows);
    let apart = apart.filter(|((state, kind), _)| state == *kind);
    let apart: Vec<(u32, &Row)> = apart.map(|((state, _), row)| (state, row)).collect();
    let of = |all: &[u32], state: u32| at(all, at(kinds, state));
    let (mut classes, mut count) = (vec![0; kinds.len()], 1);
    for _ in 0..ROUNDS_MAX {
        // Where they lead comes first, once for all that share it; then what holds at them.
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
        // Each round tells apart what the one before did, and more, until there is no more.
        if known.len() == count {
            for kind in kinds.iter_mut() {
                *kind = at(&next, *kind);
            }
            return;
        }
        (classes, count) = (next, known.len());
    }
}

/// For each of `states` that others share where they lead with, the first that leads alike.
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

/// The first of the known states that is the same as `state`, which becomes known if none is.
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

/// What holds at a state itself.
type Holds = (Rights, Rights, bool);

/// For where it does not matter.
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

/// Whether names lead alike from both.
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
