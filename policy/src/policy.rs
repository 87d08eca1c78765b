//! The compiled form of a policy: an automaton over names, with rights at each state.
//!
//! A confined directory carries its state, and each name on the way down is one step. A question
//! is therefore one step and one look into the table, whatever the number of rules. What the table
//! does not have grants nothing, so a state that came from elsewhere is refused and not trusted.

use std::collections::BTreeMap;

use palisade_vfs::{Errno, Name, Rights};

use crate::{Rule, RuleId};

/// Where a directory or file stands in a [`Policy`]: it fixes its rights, and those of everything
/// below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(u32);

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

/// Which rights hold where.
#[derive(Debug)]
pub struct Policy {
    rows: Vec<Row>,
}

/// What holds at a state, and where names lead from there.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) rights: Rights,
    pub(crate) refusal: Refusal,
    /// The names that lead elsewhere than [`Row::others`].
    pub(crate) names: BTreeMap<Box<str>, State>,
    /// Where all other names lead.
    pub(crate) others: State,
}

impl Policy {
    /// The state of the directory that is confined.
    pub const START: State = State(0);

    /// The same `rights` everywhere; what is missing is told as `refusal`.
    #[must_use]
    pub fn uniform(rights: Rights, refusal: Refusal) -> Self {
        let names = BTreeMap::new();
        Policy { rows: vec![Row { rights, refusal, names, others: Self::START }] }
    }

    /// Everything may be read and nothing changed; a change is `Rofs`.
    #[must_use]
    pub fn read_only() -> Self {
        Self::uniform(Rights::READ_ONLY, Refusal::ReadOnly)
    }

    /// The state of what `name` leads to in a directory at `state`.
    #[must_use]
    pub fn step(&self, state: State, name: Name<'_>) -> State {
        match self.row(state) {
            Some(row) => row.names.get(name.as_str()).copied().unwrap_or(row.others),
            None => state,
        }
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

    /// Whether what is at `state` is to seem absent, with everything beneath it. It has no rights.
    #[must_use]
    pub fn is_hidden(&self, _state: State) -> bool {
        false
    }

    /// Whether anything is hidden anywhere.
    #[must_use]
    pub fn hides(&self) -> bool {
        false
    }

    /// Whether something beneath a directory at `state` is hidden, at any depth.
    #[must_use]
    pub fn may_hide_in(&self, _state: State) -> bool {
        false
    }

    /// Whether `state` grants at most what `than` grants: there, and for every path beneath.
    #[must_use]
    pub fn is_at_most(&self, state: State, than: State) -> bool {
        state == than
    }

    /// The rules, in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &[]
    }

    /// The rules that match what is at `state`, lowest first.
    #[must_use]
    pub fn matched(&self, _state: State) -> &[RuleId] {
        &[]
    }

    pub(crate) fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules().get(id.index())
    }

    /// The rights at `state`.
    #[must_use]
    pub fn rights(&self, state: State) -> Rights {
        self.row(state).map_or(Rights::empty(), |row| row.rights)
    }

    /// Nothing if all of `wanted` is granted at `state`; the error that tells what is missing
    /// otherwise, `Acces` before `Rofs`.
    pub fn require(&self, state: State, wanted: Rights) -> Result<(), Errno> {
        let missing = wanted - self.rights(state);
        if missing.is_empty() {
            return Ok(());
        }
        match self.row(state).map(|row| row.refusal) {
            Some(Refusal::ReadOnly) if !missing.intersects(Rights::READ_ONLY) => Err(Errno::Rofs),
            Some(Refusal::ReadOnly | Refusal::Denied) | None => Err(Errno::Acces),
        }
    }

    fn row(&self, state: State) -> Option<&Row> {
        self.rows.get(usize::try_from(state.0).ok()?)
    }
}

#[cfg(test)]
impl Policy {
    /// From a table; the first row is the start.
    pub(crate) fn from_table(rows: Vec<Row>) -> Self {
        Policy { rows }
    }
}

#[cfg(test)]
impl State {
    pub(crate) fn of_row(row: u32) -> Self {
        State(row)
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
