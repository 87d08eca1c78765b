//! Compares policies, and states of one policy: who grants more, and where.
//!
//! Both tables are walked at once, through every pair of states that a path leads to. From each
//! pair go the names that either treats apart, and for every way in which the patterns of both can
//! match some name, one such name, if there is one beside those. So the answer is for all paths,
//! and every difference has a path that shows it.

mod joint;
mod walk;

use palisade_vfs::Rights;

use crate::table::Table;
use crate::{Policy, RuleId, State};
use walk::{TooLong, Walk};

/// How far two policies differ: this one, and the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Where this one grants more, or shows what the other hides.
    pub more: Vec<Witness>,
    /// Where the other does.
    pub less: Vec<Witness>,
    /// Whether there is more to tell than was found out; then neither is at most the other.
    pub cut: bool,
}

/// A path where one policy grants what the other does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The path, from the root; the root itself is empty.
    pub path: String,
    /// The rights that only the one policy grants there.
    pub gained: Rights,
    /// Whether the one policy shows it and the other hides it.
    pub shown: bool,
    /// The rules of the policy that grants more which match there.
    pub rules: Vec<RuleId>,
    /// The rules of the policy that grants less which match there.
    pub than_rules: Vec<RuleId>,
}

/// Most witnesses of each direction: more is not read by anybody.
const WITNESSES_MAX: usize = 256;

/// Most steps of a comparison of policies. Ten times what a hundred thousand rules take.
const STEPS_MAX: usize = 1 << 28;

/// Most steps of a comparison of states, which is made while a guest waits: some milliseconds.
const STATE_STEPS_MAX: usize = 1 << 16;

impl Comparison {
    /// Whether this policy grants at most what the other grants, and hides at least what it hides.
    #[must_use]
    pub fn is_at_most(&self) -> bool {
        self.more.is_empty() && !self.cut
    }

    /// Whether this policy grants at least what the other grants, and hides at most what it hides.
    #[must_use]
    pub fn is_at_least(&self) -> bool {
        self.less.is_empty() && !self.cut
    }

    /// Whether both say the same of every path.
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

/// Whether `state` is at most `than`, at every path beneath. No, if that takes too long to say.
pub(crate) fn is_at_most(table: &Table, state: u32, than: u32) -> bool {
    excess(table, state, than) == Ok(None)
}

/// A path beneath both at which `state` exceeds `than`.
pub(crate) fn excess(table: &Table, state: u32, than: u32) -> Result<Option<String>, TooLong> {
    let mut walk = Walk::new(table, table, (state, than), STATE_STEPS_MAX);
    while let Some((at, (left, right))) = walk.next() {
        if exceeds(table, left, table, right).is_some() {
            return Ok(Some(walk.path(at)));
        }
        // What is hidden, or alike, does not exceed anything further down.
        if table.row(left).is_some_and(|row| row.hidden) || table.kind(left) == table.kind(right) {
            continue;
        }
        walk.go_on(at)?;
    }
    Ok(None)
}

/// What `left` grants that `right` does not; also if it is nothing but that it is seen.
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

/// Adds a witness, unless it says of the same rules what one with a shorter path says.
fn add(witnesses: &mut Vec<Witness>, new: Witness) {
    let says = |known: &Witness| {
        (known.gained, known.shown) == (new.gained, new.shown)
            && (&known.rules, &known.than_rules) == (&new.rules, &new.than_rules)
    };
    if witnesses.len() < WITNESSES_MAX && !witnesses.iter().any(says) {
        witnesses.push(new);
    }
}
