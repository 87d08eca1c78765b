//! A policy: which rights hold where, compiled to an automaton over names.
//!
//! A confined directory carries its state, and each name on the way down is one step. A question
//! is therefore one step and one look into the table, whatever the number of rules. What the table
//! does not have grants nothing, so a state that came from elsewhere is refused and not trusted.
//!
//! Lock order: the memo of [`Policy::is_at_most`] is taken last and held for one look. Deliberately
//! absent: any change of a policy that exists. A narrower one is another policy.

use std::sync::{Mutex, PoisonError};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use palisade_vfs::{Errno, Name, Rights};

use crate::automaton::builder::{PolicyBuilder, PolicyError};
use crate::automaton::compare::{self, Comparison};
use crate::automaton::compile::{self, Source};
use crate::automaton::coverage::Visited;
use crate::automaton::table::Table;
use crate::rules::rule::{Rule, RuleId};

/// Where a directory or file stands in a [`Policy`]: it fixes its rights, and those of everything
/// below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub(crate) u32);

impl State {
    /// The state of what no policy knows: it grants nothing, and no name leads out of it.
    pub(crate) const NOWHERE: State = State(u32::MAX);
}

/// How a right that is missing is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `Acces`: a rule denies it.
    Denied,
    /// `Rofs` for what would change something, `Acces` for the rest.
    ReadOnly,
}

/// What may be renamed from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Movable {
    /// Nothing: the new place grants more, or what is there or beneath it is hidden less.
    Nothing,
    /// Everything but directories: the new place grants less.
    Leaves,
    /// Directories too: both places grant and hide the same, at every path beneath.
    Everything,
}

/// Which rights hold where.
///
/// For a path, all that the matching rules allow is granted, `LOOKUP` with it, but for what one of
/// them denies; what nothing allows is not granted. `LOOKUP` is also granted on the way to whatever
/// a rule allows, unless it is denied there. What a rule hides has no rights, nor has anything
/// beneath it. The order of the rules does not matter.
#[derive(Debug)]
pub struct Policy {
    pub(crate) table: Table,
    pub(crate) source: Source,
    /// Whether anything is hidden anywhere.
    hides: bool,
    /// The states that were visited, if the policy tracks its rules.
    pub(crate) visited: Option<Visited>,
    /// Answers of [`Policy::is_at_most`], by kinds of states.
    memo: Mutex<HashMap<(u32, u32), bool, FixedState>>,
}

/// Most answers that are remembered.
const MEMO_MAX: usize = 4096;

impl Policy {
    /// The state of the root of the guest's world, which is where a path starts.
    pub const START: State = State(0);

    /// The same `rights` everywhere; what is missing is told as `refusal`.
    #[must_use]
    pub fn uniform(rights: Rights, refusal: Refusal) -> Self {
        let missing = Rights::all() - rights;
        let (denied, rofs) = match refusal {
            Refusal::Denied => (missing, Rights::empty()),
            Refusal::ReadOnly => (missing & Rights::READ_ONLY, missing - Rights::READ_ONLY),
        };
        let source = Source { denied, rofs, ..Source::default() };
        let table = compile::uniform(&source);
        Self::new(table, source)
    }

    /// A policy of rules. Without any, it grants nothing.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// A policy that grants what both this one and `other` grant, and hides what either hides.
    ///
    /// Exactly that, for every path. Its rules are those of both, this one's first.
    ///
    /// Errors: [`PolicyError::Explodes`] for rules that multiply each other,
    /// [`PolicyError::TooManyLayers`] for too many policies in one.
    pub fn attenuate(&self, other: &Policy) -> Result<Policy, PolicyError> {
        Ok(Self::compile(self.source.and(&other.source)?)?.tracked_as(self))
    }

    /// How far this policy and `other` differ. Exact, for all paths.
    #[must_use]
    pub fn compare(&self, other: &Policy) -> Comparison {
        compare::compare(self, other)
    }

    pub(crate) fn compile(source: Source) -> Result<Policy, PolicyError> {
        match compile::compile(&source) {
            Ok(table) => Ok(Self::new(table, source)),
            Err(explosion) => Err(PolicyError::explodes(&source, &explosion)),
        }
    }

    fn new(table: Table, source: Source) -> Self {
        let hides = table.row(Self::START.0).is_some_and(|row| row.hidden || row.hides_beneath);
        Policy { table, source, hides, visited: None, memo: Mutex::default() }
    }

    /// Everything may be read and nothing changed; a change is `Rofs`.
    #[must_use]
    pub fn read_only() -> Self {
        Self::uniform(Rights::READ_ONLY, Refusal::ReadOnly)
    }

    /// The state of what `name` leads to in a directory at `state`.
    #[must_use]
    pub fn step(&self, state: State, name: Name<'_>) -> State {
        self.table.step(state.0, name.as_str()).map_or(state, State)
    }

    /// The state of `path`, a path of the guest's world as a preopened directory is named: names
    /// joined by slashes, from the root. One that is not such a path has a state that grants
    /// nothing.
    #[must_use]
    pub fn at(&self, path: &str) -> State {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.fold(Self::START, |state, part| match Name::new(part) {
            Ok(name) => self.step(state, name),
            Err(_) => State::NOWHERE,
        })
    }

    /// The rights at `state`.
    #[must_use]
    pub fn rights(&self, state: State) -> Rights {
        self.table.row(state.0).map_or(Rights::empty(), |row| row.rights)
    }

    /// Whether what is at `state` is to seem absent, with everything beneath it. It has no rights.
    #[must_use]
    pub fn is_hidden(&self, state: State) -> bool {
        self.table.row(state.0).is_some_and(|row| row.hidden)
    }

    /// Whether anything is hidden anywhere.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.hides
    }

    /// Whether something beneath a directory at `state` is hidden, at any depth.
    #[must_use]
    pub fn may_hide_in(&self, state: State) -> bool {
        self.table.row(state.0).is_some_and(|row| row.hidden || row.hides_beneath)
    }

    /// Whether `state` grants at most what `than` grants and hides at least what it hides: there,
    /// and for every path beneath.
    ///
    /// Never says so wrongly. It answers no where finding out would take too long, which takes
    /// rules with thousands of names or of patterns beneath both.
    #[must_use]
    pub fn is_at_most(&self, state: State, than: State) -> bool {
        let kinds = (self.table.kind(state.0), self.table.kind(than.0));
        if kinds.0 == kinds.1 || self.is_hidden(state) {
            return true;
        }
        if self.is_hidden(than) || !self.rights(than).contains(self.rights(state)) {
            return false;
        }
        if let Some(known) = self.memo().get(&kinds) {
            return *known;
        }
        let answer = compare::is_at_most(&self.table, state.0, than.0);
        let mut memo = self.memo();
        if memo.len() >= MEMO_MAX {
            memo.clear();
        }
        memo.insert(kinds, answer);
        answer
    }

    /// Whether any of `rights` is granted at `state`, or at any path beneath it.
    #[must_use]
    pub fn may_grant_in(&self, state: State, rights: Rights) -> bool {
        let (mut known, mut ahead) = (HashMap::<u32, (), FixedState>::default(), vec![state.0]);
        while let Some(at) = ahead.pop() {
            let Some(row) = self.table.row(at) else { continue };
            if row.rights.intersects(rights) {
                return true;
            }
            if known.insert(at, ()).is_none() {
                ahead.extend(self.table.targets(row));
                ahead.extend(self.table.edges(row).map(|(_, to)| to));
            }
        }
        false
    }

    /// Records that a path was judged at `state`, if the policy tracks its rules.
    #[inline]
    pub(crate) fn visit(&self, state: State) {
        if let Some(visited) = &self.visited {
            visited.visit(self, state);
        }
    }

    /// What may be renamed from `old` to `new`: the only place that decides it.
    ///
    /// A handle of a directory carries its state and not its path. So a directory may only move
    /// between states that are equivalent: whatever handles are held on it, above it or beneath it,
    /// their states go on granting what the policy grants where they then are. A handle of a file
    /// keeps the rights that it was opened with, as a descriptor in POSIX does, so a file may move
    /// to where less is granted.
    pub(crate) fn movable(&self, old: State, new: State) -> Movable {
        if !self.is_at_most(new, old) {
            Movable::Nothing
        } else if self.is_at_most(old, new) {
            Movable::Everything
        } else {
            Movable::Leaves
        }
    }

    /// The rules, in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.source.rules
    }

    /// The rules that match what is at `state`, lowest first; where it is hidden, the rules that
    /// hide it.
    #[must_use]
    pub fn matched(&self, state: State) -> &[RuleId] {
        self.table.matched(state.0)
    }

    /// A rule by its number, if there is one.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules().get(id.index())
    }

    fn memo(&self) -> std::sync::MutexGuard<'_, HashMap<(u32, u32), bool, FixedState>> {
        // What is remembered is whole whatever happened to who remembered it.
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What matches at each state, and whether it is hidden there.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&[RuleId], bool)> {
        let rows = self.table.rows.iter().zip(0..);
        rows.map(|(row, state)| (self.matched(State(state)), row.hidden))
    }

    /// Nothing if all of `wanted` is granted at `state`; the error that tells what is missing
    /// otherwise: `Noent` for what is hidden, and `Acces` before `Rofs`.
    pub fn require(&self, state: State, wanted: Rights) -> Result<(), Errno> {
        let missing = wanted - self.rights(state);
        if missing.is_empty() {
            return Ok(());
        }
        match self.table.row(state.0) {
            Some(row) if row.hidden => Err(Errno::Noent),
            Some(row) if row.rofs.contains(missing) => Err(Errno::Rofs),
            Some(_) | None => Err(Errno::Acces),
        }
    }
}

#[cfg(test)]
pub(crate) use crate::tests::rows::Row;

#[cfg(test)]
impl Policy {
    /// Of a table that was not made from rules.
    pub(crate) fn of_table(table: Table) -> Self {
        Self::new(table, Source::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_is_granted_or_refused_with_its_error() {
        for granted in [Rights::empty(), Rights::READ_ONLY, Rights::all()] {
            for refusal in [Refusal::Denied, Refusal::ReadOnly] {
                let policy = Policy::uniform(granted, refusal);
                for right in Rights::all().iter() {
                    let changes = !Rights::READ_ONLY.contains(right);
                    let expected = match refusal {
                        _ if granted.contains(right) => Ok(()),
                        Refusal::ReadOnly if changes => Err(Errno::Rofs),
                        Refusal::ReadOnly | Refusal::Denied => Err(Errno::Acces),
                    };
                    assert_eq!(policy.require(Policy::START, right), expected, "{right:?}");
                }
                let both = policy.require(Policy::START, Rights::READ | Rights::WRITE);
                let acces_first =
                    if granted.contains(Rights::READ) { Errno::Rofs } else { Errno::Acces };
                if granted != Rights::all() && refusal == Refusal::ReadOnly {
                    assert_eq!(both, Err(acces_first));
                }
            }
        }
    }

    #[test]
    fn a_state_that_the_table_does_not_have_grants_nothing() {
        let policy = Policy::uniform(Rights::all(), Refusal::ReadOnly);
        let stranger = policy.step(State(7), Name::new("a").unwrap());
        assert_eq!(policy.rights(stranger), Rights::empty());
        for right in Rights::all().iter() {
            assert_eq!(policy.require(stranger, right), Err(Errno::Acces));
        }
    }
}
