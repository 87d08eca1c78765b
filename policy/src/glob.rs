//! Globs: which paths a rule is about.
//!
//! A glob is an absolute path whose components are patterns. It is matched against the path that
//! was really walked, name by name, by the bytes of the names: case matters, nothing is
//! normalized, and a leading dot is a character like any other.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of characters within a name, also none |
//! | `?` | one character |
//! | `[a-z_]`, `[!a-z]` | one character of the class, one that is not in it |
//! | `{a,b*}` | what one of the alternatives matches; may be nested |
//! | `**` | as a whole component: any number of names, also none |
//! | `\` | takes the next character as it is |
//!
//! So `/data/**` matches `/data` itself and everything beneath it, and `/` the root alone. What is
//! hard to read two ways is refused, and so is a glob that no path can match.
//!
//! Deliberately absent: alternatives that reach across a `/`, which are two rules; and anything
//! that depends on a locale.

mod error;
mod parse;
pub(crate) mod pattern;

#[cfg(feature = "document")]
use std::collections::BTreeMap;
use std::fmt;

use palisade_vfs::{Descent, Name};

pub use error::{GlobError, GlobErrorKind};
#[cfg(feature = "document")]
pub(crate) use parse::is_name;
use pattern::Pattern;

/// A glob that was read and can match something.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// One component of a glob.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// `**`: any number of names.
    Deep,
    /// Exactly this name.
    Literal(Box<str>),
    /// One of these names: alternatives of literals, without repetition.
    Words(Box<[Box<str>]>),
    /// Names of a pattern.
    Pattern(Box<Pattern>),
}

impl Glob {
    /// The longest glob, in bytes: as long as the longest path of a guest, Linux's `PATH_MAX`.
    pub const LEN_MAX: usize = 4096;

    /// Reads `text`.
    ///
    /// The error says where in `text` the fault is and how it could be written.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        let parts = parse::parse(text, None)?.parts;
        Ok(Glob { text: text.into(), parts })
    }

    /// Reads `text`, in which `${NAME}` is the literal text that `values` says, and returns the
    /// variables that it names too. [`Glob::as_str`] is the text with the values in place.
    #[cfg(feature = "document")]
    pub(crate) fn with_variables<'t>(
        text: &'t str,
        values: &BTreeMap<String, String>,
    ) -> Result<(Self, Vec<&'t str>), GlobError> {
        let parsed = parse::parse(text, Some(values))?;
        let text = if parsed.variables.is_empty() { text } else { &parsed.expanded };
        Ok((Glob { text: text.into(), parts: parsed.parts }, parsed.variables))
    }

    /// A glob that matches `path` and nothing else, if `path` is absolute: what has a meaning is
    /// escaped.
    #[must_use]
    pub fn escape(path: &str) -> String {
        let mut glob = String::with_capacity(path.len());
        parse::push_literal(&mut glob, path, false);
        glob
    }

    /// The text that it was read from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches `path`, which starts at the root of the guest's world.
    ///
    /// A plain look at one glob and one path: what [`Policy`](crate::Policy) does for all rules at
    /// once must come to the same, and is tested against it. Takes time proportional to the length
    /// of the glob times that of the path.
    #[must_use]
    pub fn matches(&self, path: Descent<'_>) -> bool {
        self.reached(path).last().copied().unwrap_or(false)
    }

    /// Whether it matches some path beneath `path`, so that `path` is a way to what it matches.
    #[must_use]
    pub fn matches_beneath(&self, path: Descent<'_>) -> bool {
        // Every part matches some name, so what is begun can be finished.
        self.reached(path).iter().rev().skip(1).any(|reached| *reached)
    }

    /// For each number of parts, whether they match all of `path`.
    fn reached(&self, path: Descent<'_>) -> Vec<bool> {
        path.names().fold(self.start(), |reached, name| self.step(&reached, name))
    }

    /// [`Glob::reached`] for the root.
    pub(crate) fn start(&self) -> Vec<bool> {
        let mut reached = vec![false; self.parts.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.skip_deep(&mut reached);
        reached
    }

    /// [`Glob::reached`] for `name` in a directory, given that of the directory.
    pub(crate) fn step(&self, reached: &[bool], name: Name<'_>) -> Vec<bool> {
        let mut next = vec![false; self.parts.len() + 1];
        for (at, (part, here)) in self.parts.iter().zip(reached).enumerate() {
            if !here || !part.matches(name.as_str()) {
                continue;
            }
            let behind = if *part == Part::Deep { at } else { at + 1 };
            if let Some(slot) = next.get_mut(behind) {
                *slot = true;
            }
        }
        self.skip_deep(&mut next);
        next
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// `**` also matches no name: what is before it is also behind it.
    fn skip_deep(&self, reached: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if *part == Part::Deep
                && reached.get(at).copied().unwrap_or(false)
                && let Some(behind) = reached.get_mut(at + 1)
            {
                *behind = true;
            }
        }
    }
}

impl Part {
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Part::Deep => true,
            Part::Literal(literal) => **literal == *name,
            Part::Words(words) => words.iter().any(|word| **word == *name),
            Part::Pattern(pattern) => pattern.matches(name),
        }
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        Glob::new(text)
    }
}

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "document"))]
mod variables;
