//! Compares two policies, or two states of one policy, for the rights that they grant.
//!
//! The comparison is a breadth-first search of the product automaton: it visits each pair of
//! states that some path reaches. From each pair it follows the literal names of either state,
//! and for each pair of name classes one sample name that is none of these literals, if there is
//! one. The result therefore holds for all paths, and each difference has a path as a witness.

mod joint;
mod walk;

use palisade_vfs::Rights;

use crate::automaton::policy::{Policy, State};
use crate::automaton::table::Table;
use crate::rules::rule::RuleId;
use walk::{TooLong, Walk};

/// The differences between two policies, `this` and `other`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The paths where `this` grants more, or shows a path that `other` hides.
    pub more: Vec<Witness>,
    /// The paths where `other` grants more, or shows a path that `this` hides.
    pub less: Vec<Witness>,
    /// Whether the comparison stopped at its limit; then neither policy is at most the other.
    pub cut: bool,
}

/// A path where one policy grants more than the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The path from the root; the root itself is the empty path.
    pub path: String,
    /// The rights that only one policy grants on the path.
    pub gained: Rights,
    /// Whether one policy shows the path and the other hides it.
    pub shown: bool,
    /// The matching rules of the policy that grants more.
    pub rules: Vec<RuleId>,
    /// The matching rules of the policy that grants less.
    pub than_rules: Vec<RuleId>,
}

/// The maximum number of witnesses in each direction, which bounds the output.
const WITNESSES_MAX: usize = 256;

/// The maximum work of comparing policies: ten times the work for a hundred thousand rules.
const STEPS_MAX: usize = 1 << 28;

/// The maximum work of comparing states, a few milliseconds: a guest waits for the result.
const STATE_STEPS_MAX: usize = 1 << 16;

impl Comparison {
    /// Returns whether `this` grants at most the rights of `other`, and hides at least its paths.
    #[must_use]
    pub fn is_at_most(&self) -> bool {
        self.more.is_empty() && !self.cut
    }

    /// Returns whether `this` grants at least the rights of `other`, and hides at most its paths.
    #[must_use]
    pub fn is_at_least(&self) -> bool {
        self.less.is_empty() && !self.cut
    }

    /// Returns whether both grant and hide the same on every path.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.is_at_most() && self.is_at_least()
    }
}

pub(crate) fn compare(this: &Policy, other: &Policy) -> Comparison {
    let start = (Policy::START.0, Policy::START.0);
    let mut walk = Walk::new(&this.table, &other.table, start, STEPS_MAX);
    let mut found = Comparison { more: Vec::new(), less: Vec::new(), cut: false };
    while let Some((at, (left, right))) = walk.next() {
        if let Some(gained) = exceeds(&this.table, left, &other.table, right) {
            let path = walk.path(at);
            add(&mut found.more, witness(path, gained, (this, left), (other, right)));
        }
        if let Some(gained) = exceeds(&other.table, right, &this.table, left) {
            let path = walk.path(at);
            add(&mut found.less, witness(path, gained, (other, right), (this, left)));
        }
        if both_hide(&this.table, left, &other.table, right) {
            continue;
        }
        if let Err(TooLong) = walk.go_on(at) {
            found.cut = true;
            break;
        }
    }
    found
}

/// Returns whether `state` grants at most the rights of `than` on every path under them, and
/// `false` if the comparison exceeds its limit.
pub(crate) fn is_at_most(table: &Table, state: u32, than: u32) -> bool {
    excess(table, state, than) == Ok(None)
}

/// Returns a path under both states on which `state` grants more than `than`.
pub(crate) fn excess(table: &Table, state: u32, than: u32) -> Result<Option<String>, TooLong> {
    let mut walk = Walk::new(table, table, (state, than), STATE_STEPS_MAX);
    while let Some((at, (left, right))) = walk.next() {
        if exceeds(table, left, table, right).is_some() {
            return Ok(Some(walk.path(at)));
        }
        // A hidden state, or an equivalent pair, has no excess in its descendants.
        if table.row(left).is_some_and(|row| row.hidden) || table.kind(left) == table.kind(right) {
            continue;
        }
        walk.go_on(at)?;
    }
    Ok(None)
}

/// Returns the rights that `left` grants and `right` does not, or that only `left` is visible.
fn exceeds(left_table: &Table, left: u32, right_table: &Table, right: u32) -> Option<Gain> {
    let (left, right) = (left_table.row(left)?, right_table.row(right)?);
    let gain = Gain { rights: left.rights - right.rights, shown: right.hidden && !left.hidden };
    (gain.shown || !gain.rights.is_empty()).then_some(gain)
}

fn both_hide(left_table: &Table, left: u32, right_table: &Table, right: u32) -> bool {
    left_table.row(left).is_some_and(|row| row.hidden)
        && right_table.row(right).is_some_and(|row| row.hidden)
}

struct Gain {
    rights: Rights,
    shown: bool,
}

fn witness(path: String, gain: Gain, more: (&Policy, u32), less: (&Policy, u32)) -> Witness {
    Witness {
        path,
        gained: gain.rights,
        shown: gain.shown,
        rules: more.0.matched(State(more.1)).to_vec(),
        than_rules: less.0.matched(State(less.1)).to_vec(),
    }
}

/// Adds a witness, unless a witness with a shorter path has the same rights and rules.
fn add(witnesses: &mut Vec<Witness>, new: Witness) {
    let is_same = |known: &Witness| {
        (known.gained, known.shown) == (new.gained, new.shown)
            && (&known.rules, &known.than_rules) == (&new.rules, &new.than_rules)
    };
    if witnesses.len() < WITNESSES_MAX && !witnesses.iter().any(is_same) {
        witnesses.push(new);
    }
}
