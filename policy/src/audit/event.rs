//! Events: one operation, the decision about it, and its result.

use std::sync::Arc;

use palisade_vfs::{Errno, Rights};

use crate::rules::operation::Operation;
use crate::rules::rule::{RuleId, SourceLine};

/// A recorded operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operation on one path, or on the file that was opened by it.
    One(Operation),
    /// Following a symbolic link, which needs only `LOOKUP` on the directories of its path.
    Follow,
    /// A rename of `path` to `to`.
    Rename,
    /// A new hard link `to` to `path`.
    Link,
}

impl Action {
    /// The name in a log.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Action::One(operation) => operation.key(),
            Action::Follow => "follow",
            Action::Rename => "rename",
            Action::Link => "link",
        }
    }

    /// Returns the action with this name in a log.
    #[must_use]
    pub fn named(key: &str) -> Option<Action> {
        match key {
            "follow" => Some(Action::Follow),
            "rename" => Some(Action::Rename),
            "link" => Some(Action::Link),
            key => Operation::named(key).map(Action::One),
        }
    }

    /// Whether the operation has two paths.
    #[must_use]
    pub fn has_two_names(self) -> bool {
        matches!(self, Action::Rename | Action::Link)
    }

    /// The rights needed at `path` and at `to`.
    #[must_use]
    pub fn needs(self) -> [Rights; 2] {
        match self {
            Action::One(operation) => [operation.needs(), Rights::empty()],
            Action::Follow => [Rights::empty(); 2],
            Action::Rename => [Operation::RenameFrom.needs(), Operation::RenameInto.needs()],
            Action::Link => [Operation::LinkFrom.needs(), Operation::LinkInto.needs()],
        }
    }
}

/// The decision about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// The operation was allowed, or it failed for a reason other than the policy.
    Allow,
    /// The operation was denied.
    Deny,
    /// The operation was denied as if the path did not exist.
    Hide,
}

/// Whether decisions are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Denied operations fail.
    Enforce,
    /// All operations are performed, and decisions are only recorded.
    DryRun,
}

impl Decision {
    /// The name in a log.
    #[must_use]
    pub fn key(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Decision::Allow, _) => "allow",
            (Decision::Deny, Mode::Enforce) => "deny",
            (Decision::Hide, Mode::Enforce) => "hide",
            (Decision::Deny, Mode::DryRun) => "would-deny",
            (Decision::Hide, Mode::DryRun) => "would-hide",
        }
    }

    /// Returns the decision with this name in a log. `allow` does not determine the mode and
    /// returns [`Mode::Enforce`].
    #[must_use]
    pub fn named(key: &str) -> Option<(Decision, Mode)> {
        Some(match key {
            "allow" => (Decision::Allow, Mode::Enforce),
            "deny" => (Decision::Deny, Mode::Enforce),
            "hide" => (Decision::Hide, Mode::Enforce),
            "would-deny" => (Decision::Deny, Mode::DryRun),
            "would-hide" => (Decision::Hide, Mode::DryRun),
            _ => return None,
        })
    }
}

/// One event, as a [`Sink`](crate::audit::Sink) receives it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The sequence number among all decisions of the auditor, including filtered ones.
    pub seq: u64,
    /// Nanoseconds since the auditor was created, from a coarse clock with a resolution of a few
    /// milliseconds: reading a precise clock takes longer than a decision. Events are ordered by
    /// `seq`.
    pub nanos: u64,
    /// The name of the guest.
    pub guest: &'a str,
    /// The absolute guest path that was walked. For an open file, the path of its open, which later
    /// renames do not change.
    pub path: &'a str,
    /// The number of leading names of `path` that lead to the handle of the operation.
    pub held: usize,
    /// The second path of a rename or link.
    pub to: Option<SecondPath<'a>>,
    /// The operation, decision and result. Consecutive events often share one allocation, so a sink
    /// can cache by address.
    pub ruling: &'a Arc<Ruling>,
    /// The number of bytes that were read or written.
    pub bytes: Option<u64>,
}

/// The second path of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondPath<'a> {
    /// As [`Event::path`].
    pub path: &'a str,
    /// As [`Event::held`].
    pub held: usize,
}

/// The part of an event that many events share: operation, decision and result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The operation.
    pub action: Action,
    /// The rights that the operation needed, given the nodes that existed: at `path`, and
    /// `RENAME_INTO` or `LINK_INTO` at `to`. `LOOKUP` is needed at both.
    pub wanted: Rights,
    /// The decision.
    pub decision: Decision,
    /// Whether the decision was enforced.
    pub mode: Mode,
    /// The wanted rights that are not granted.
    pub missing: Rights,
    /// Whether the operation was denied because the new name grants more than the old one, or
    /// because a directory would move between paths that are not equivalent.
    pub widens: bool,
    /// The deciding rule, if there is one.
    pub rule: Option<RuleId>,
    /// The source line of that rule.
    pub place: Option<SourceLine>,
    /// The result that the guest got.
    pub result: Result<(), Errno>,
    /// Whether both names already led to one node.
    pub same: bool,
    /// Whether it is the rename of a directory.
    pub is_dir: bool,
}
