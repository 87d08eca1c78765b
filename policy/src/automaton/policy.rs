//! A policy: an automaton over path components that maps each path to rights.
//!
//! A confined directory keeps its state, and each name of a path is one transition. A check is
//! therefore one transition and one table lookup, for any number of rules. A state that is not
//! in the table grants nothing, so a state of another policy is never trusted.
//!
//! Lock order: the memo of [`Policy::is_at_most`] is taken last and held for one lookup.
//! Deliberately absent: mutation. Narrowing creates another policy.

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

/// A state of a [`Policy`]'s automaton. It determines the rights of a node and of all paths under
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub(crate) u32);

impl State {
    /// A state that is in no table: it grants nothing, and every transition leads back to it.
    pub(crate) const NOWHERE: State = State(u32::MAX);
}

/// The errno of a missing right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `EACCES`.
    Denied,
    /// `EROFS` for a right that changes something, `EACCES` for the others.
    ReadOnly,
}

/// The nodes that may be renamed from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Movable {
    /// None: the new state grants more, or hides less, at some path.
    Nothing,
    /// All nodes except directories: the new state grants less.
    Leaves,
    /// All nodes: both states are equivalent.
    Everything,
}

/// A compiled policy: the rights of each path.
///
/// A path has the union of the rights that the matching rules allow, and `LOOKUP` if that is not
/// empty, minus the rights that a matching rule denies. A path without a matching rule has none.
/// `LOOKUP` is also granted on each directory that leads to an allowed path, unless it is denied
/// there. A hidden path, and every path under it, has no rights. The order of the rules does not
/// matter.
#[derive(Debug)]
pub struct Policy {
    pub(crate) table: Table,
    pub(crate) source: Source,
    /// Whether any path is hidden.
    hides: bool,
    /// The visited states, if rule coverage is tracked.
    pub(crate) visited: Option<Visited>,
    /// Memoized results of [`Policy::is_at_most`], by equivalence classes.
    memo: Mutex<HashMap<(u32, u32), bool, FixedState>>,
}

/// The most memoized results. The memo is cleared when it is full.
const MEMO_MAX: usize = 4096;

impl Policy {
    /// The state of the root of the guest's filesystem.
    pub const START: State = State(0);

    /// Returns a policy that grants `rights` on every path. `refusal` is the errno of the others.
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

    /// Returns a builder. A policy without rules grants nothing.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// Returns the intersection: a policy that grants the rights that both policies grant, and
    /// hides the paths that either hides. It is exact for every path. Its rules are those of this
    /// policy followed by those of `other`.
    ///
    /// # Errors
    ///
    /// - [`PolicyError::TooManyLayers`]: too many policies were intersected.
    /// - [`PolicyError::Explodes`]: the automaton would have too many states.
    pub fn attenuate(&self, other: &Policy) -> Result<Policy, PolicyError> {
        Ok(Self::compile(self.source.and(&other.source)?)?.tracked_as(self))
    }

    /// Compares this policy with `other`, exactly, for all paths.
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
        let hides = table.row(Self::START.0).is_some_and(|row| row.hidden || row.hides_descendants);
        Policy { table, source, hides, visited: None, memo: Mutex::default() }
    }

    /// Returns a policy that grants all reading rights. The errno of the others is `EROFS`.
    #[must_use]
    pub fn read_only() -> Self {
        Self::uniform(Rights::READ_ONLY, Refusal::ReadOnly)
    }

    /// Returns the state of `name` in a directory at `state`.
    #[must_use]
    pub fn step(&self, state: State, name: Name<'_>) -> State {
        self.table.step(state.0, name.as_str()).map_or(state, State)
    }

    /// Returns the state of the absolute guest path `path`. The state of an invalid path grants
    /// nothing.
    #[must_use]
    pub fn at(&self, path: &str) -> State {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.fold(Self::START, |state, part| match Name::new(part) {
            Ok(name) => self.step(state, name),
            Err(_) => State::NOWHERE,
        })
    }

    /// Returns the rights at `state`.
    #[must_use]
    pub fn rights(&self, state: State) -> Rights {
        self.table.row(state.0).map_or(Rights::empty(), |row| row.rights)
    }

    /// Whether a node at `state` is hidden, with all paths under it. A hidden node has no rights.
    #[must_use]
    pub fn is_hidden(&self, state: State) -> bool {
        self.table.row(state.0).is_some_and(|row| row.hidden)
    }

    /// Whether any path is hidden.
    #[must_use]
    pub fn hides(&self) -> bool {
        self.hides
    }

    /// Whether a path under a directory at `state` is hidden, at any depth.
    #[must_use]
    pub fn may_hide_in(&self, state: State) -> bool {
        self.table.row(state.0).is_some_and(|row| row.hidden || row.hides_descendants)
    }

    /// Whether `state` grants at most the rights of `than`, and hides at least the same paths, at
    /// the state itself and at every path under it.
    ///
    /// `true` is exact. `false` is also returned if the comparison would exceed its budget, which
    /// takes thousands of names or patterns under both states.
    #[must_use]
    pub fn is_at_most(&self, state: State, than: State) -> bool {
        let kinds = (self.table.kind(state.0), self.table.kind(than.0));
        if kinds.0 == kinds.1 || self.is_hidden(state) {
            return true;
        }
        if self.is_hidden(than) || !self.rights(than).contains(self.rights(state)) {
            return false;
        }
        if let Some(result) = self.memo().get(&kinds) {
            return *result;
        }
        let result = compare::is_at_most(&self.table, state.0, than.0);
        let mut memo = self.memo();
        if memo.len() >= MEMO_MAX {
            memo.clear();
        }
        memo.insert(kinds, result);
        result
    }

    /// Whether any of `rights` is granted at `state` or at any path under it.
    #[must_use]
    pub fn may_grant_in(&self, state: State, rights: Rights) -> bool {
        let (mut visited, mut pending) = (HashMap::<u32, (), FixedState>::default(), vec![state.0]);
        while let Some(at) = pending.pop() {
            let Some(row) = self.table.row(at) else { continue };
            if row.rights.intersects(rights) {
                return true;
            }
            if visited.insert(at, ()).is_none() {
                pending.extend(self.table.targets(row));
                pending.extend(self.table.edges(row).map(|(_, to)| to));
            }
        }
        false
    }

    /// Marks `state` as visited, if rule coverage is tracked.
    #[inline]
    pub(crate) fn visit(&self, state: State) {
        if let Some(visited) = &self.visited {
            visited.visit(self, state);
        }
    }

    /// Returns which nodes may be renamed from `old` to `new`. No other function decides this.
    ///
    /// A directory handle keeps its state, not its path. So a directory may only move between
    /// equivalent states: then the states of all handles on it, above it and under it still grant
    /// the rights that the policy grants at their new paths. A file handle keeps the rights of its
    /// open, as a descriptor in POSIX does, so a file may move to a path that grants less.
    pub(crate) fn movable(&self, old: State, new: State) -> Movable {
        if !self.is_at_most(new, old) {
            Movable::Nothing
        } else if self.is_at_most(old, new) {
            Movable::Everything
        } else {
            Movable::Leaves
        }
    }

    /// Returns the rules in the order in which they were added.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.source.rules
    }

    /// Returns the rules that match at `state`, in ascending order; at a hidden state, the rules
    /// that hide it.
    #[must_use]
    pub fn matched(&self, state: State) -> &[RuleId] {
        self.table.matched(state.0)
    }

    /// Returns the rule with this number.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules().get(id.index())
    }

    fn memo(&self) -> std::sync::MutexGuard<'_, HashMap<(u32, u32), bool, FixedState>> {
        // The memo is consistent even if a thread panicked while it held the lock.
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the matching rules of each state, and whether it is hidden.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&[RuleId], bool)> {
        let rows = self.table.rows.iter().zip(0..);
        rows.map(|(row, state)| (self.matched(State(state)), row.hidden))
    }

    /// Checks that all of `wanted` is granted at `state`.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the state is hidden.
    /// - `EACCES`: a right is missing.
    /// - `EROFS`: all missing rights are denied as read-only.
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
    /// Returns a policy with a table that was not compiled from rules.
    pub(crate) fn of_table(table: Table) -> Self {
        Self::new(table, Source::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_right_is_granted_or_denied_with_its_errno() {
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
    fn unknown_state_grants_nothing() {
        let policy = Policy::uniform(Rights::all(), Refusal::ReadOnly);
        let unknown = policy.step(State(7), Name::new("a").unwrap());
        assert_eq!(policy.rights(unknown), Rights::empty());
        for right in Rights::all().iter() {
            assert_eq!(policy.require(unknown, right), Err(Errno::Acces));
        }
    }
}
