//! Rules: what a person says about the paths that a glob matches.
//!
//! Rules have no order. Where several match, what they allow is added up, what they deny is taken
//! away from that, and what one of them hides is hidden with everything beneath it.

use std::fmt;
use std::sync::Arc;

use palisade_vfs::{Rights, escape};

use crate::rules::glob::Glob;

/// One rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The paths that it is about.
    pub glob: Glob,
    /// What it says about them.
    pub effect: Effect,
    /// Where a person wrote it, for messages.
    pub place: Option<Place>,
}

/// What a rule says about the paths that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// These rights are granted, and `LOOKUP` with them, unless a rule denies them.
    Allow(Rights),
    /// These rights are refused, whatever other rules allow.
    Deny(Rights),
    /// It is as if nothing were there, nor beneath it.
    Hide,
}

/// A rule by its number: its index in [`Policy::rules`](crate::Policy::rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u32);

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The file as its reader named it; `None` for a text that is no file.
    pub file: Option<Arc<str>>,
    /// The line, from 1.
    pub line: u32,
}

impl RuleId {
    pub(crate) fn new(index: u32) -> Self {
        RuleId(index)
    }

    /// The index of the rule among the rules of its policy.
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}:{}", escape::name(&**file), self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}
