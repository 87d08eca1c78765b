//! One event: what was asked for, what was decided, and what came of it.

use std::sync::Arc;

use palisade_vfs::Rights;

use crate::audit::ruling::Ruling;
use crate::rules::operation::Operation;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Something that is about one name, or about what was opened by it.
    One(Operation),
    /// Going on where a symbolic link leads, which takes nothing but the way to the link.
    Follow,
    /// A rename, of `path` to `to`.
    Rename,
    /// A further name, `to`, for `path`.
    Link,
}

impl Act {
    /// The name by which a log tells it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Act::One(operation) => operation.key(),
            Act::Follow => "follow",
            Act::Rename => "rename",
            Act::Link => "link",
        }
    }

    /// What a log tells by that name.
    #[must_use]
    pub fn named(key: &str) -> Option<Act> {
        match key {
            "follow" => Some(Act::Follow),
            "rename" => Some(Act::Rename),
            "link" => Some(Act::Link),
            key => Operation::named(key).map(Act::One),
        }
    }

    /// Whether it is about two names.
    #[must_use]
    pub fn is_of_two(self) -> bool {
        matches!(self, Act::Rename | Act::Link)
    }

    /// The rights that it takes: at `path`, and at `to`.
    #[must_use]
    pub fn needs(self) -> [Rights; 2] {
        match self {
            Act::One(operation) => [operation.needs(), Rights::empty()],
            Act::Follow => [Rights::empty(); 2],
            Act::Rename => [Operation::RenameFrom.needs(), Operation::RenameInto.needs()],
            Act::Link => [Operation::LinkFrom.needs(), Operation::LinkInto.needs()],
        }
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// It was allowed, or it failed for a reason that is not the policy's.
    Allow,
    /// It was refused.
    Deny,
    /// It was refused as if nothing were there.
    Hide,
}

/// Whether a decision was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HowDecided {
    /// It was.
    Enforced,
    /// It was only recorded, and all was performed.
    Dry,
}

impl Decision {
    /// The name by which a log tells it.
    #[must_use]
    pub fn key(self, how: HowDecided) -> &'static str {
        match (self, how) {
            (Decision::Allow, _) => "allow",
            (Decision::Deny, HowDecided::Enforced) => "deny",
            (Decision::Hide, HowDecided::Enforced) => "hide",
            (Decision::Deny, HowDecided::Dry) => "would-deny",
            (Decision::Hide, HowDecided::Dry) => "would-hide",
        }
    }

    /// What a log tells by that name. `allow` tells nothing about how.
    #[must_use]
    pub fn named(key: &str) -> Option<(Decision, HowDecided)> {
        Some(match key {
            "allow" => (Decision::Allow, HowDecided::Enforced),
            "deny" => (Decision::Deny, HowDecided::Enforced),
            "hide" => (Decision::Hide, HowDecided::Enforced),
            "would-deny" => (Decision::Deny, HowDecided::Dry),
            "would-hide" => (Decision::Hide, HowDecided::Dry),
            _ => return None,
        })
    }
}

/// One decision, as a [`Sink`](crate::audit::Sink) gets it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its number among all decisions of the auditor, those that a filter left out included.
    pub seq: u64,
    /// Nanoseconds since the auditor was made, by a clock that goes in steps of a few milliseconds:
    /// reading a finer one would take longer than deciding. The order is that of the numbers.
    pub nanos: u64,
    /// Whose guest it was.
    pub guest: &'a str,
    /// The path really walked, in the guest's world. For an open file, the path that it was opened
    /// by, whatever its name is by now.
    pub path: &'a str,
    /// How many names of it lead to the directory that was already held.
    pub held: usize,
    /// The second name, of what has two.
    pub to: Option<To<'a>>,
    /// What was asked for, what was decided, and what came of it. Often the very one of an event
    /// shortly before, which its address then tells.
    pub ruling: &'a Arc<Ruling>,
    /// The bytes that were transferred, of transfers.
    pub bytes: Option<u64>,
}

/// The second name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To<'a> {
    /// The path, as [`Event::path`].
    pub path: &'a str,
    /// As [`Event::held`].
    pub held: usize,
}
