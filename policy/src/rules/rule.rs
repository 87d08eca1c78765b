//! Rules: the effect of a policy on the paths that a glob matches.
//!
//! Rules are not ordered. A path has the union of the rights that its rules allow, minus the rights
//! that its rules deny. A path that one rule hides is hidden, with all paths under it.

use std::fmt;
use std::sync::Arc;

use palisade_vfs::{Rights, escape};

use crate::rules::glob::Glob;

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The paths that the rule matches.
    pub glob: Glob,
    /// The effect on these paths.
    pub effect: Effect,
    /// The source line of the rule, for messages.
    pub place: Option<SourceLine>,
}

/// The effect of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Grants these rights, and `LOOKUP`, unless another rule denies them.
    Allow(Rights),
    /// Denies these rights, even if other rules allow them.
    Deny(Rights),
    /// Hides the path and all paths under it, as if they did not exist.
    Hide,
}

/// The number of a rule: its index in [`Policy::rules`](crate::Policy::rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

/// The source line of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceLine {
    /// The file name, or `None` for a text that was not read from a file.
    pub file: Option<Arc<str>>,
    /// The line number, from 1.
    pub line: u32,
}

impl RuleId {
    pub(crate) fn new(index: u32) -> Self {
        RuleId(index)
    }

    /// Returns the index of the rule in its policy.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", escape::name(&**file), self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}
