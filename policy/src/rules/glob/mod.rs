//! Glob patterns that select the paths of a rule.
//!
//! A glob is an absolute path whose components are patterns. A glob is matched against the
//! resolved path, component by component, by the bytes of the names: matching is case-sensitive,
//! nothing is normalized, and a leading dot is an ordinary character.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of characters within a name, including the empty run |
//! | `?` | one character |
//! | `[a-z_]`, `[!a-z]` | one character of the class, one character outside the class |
//! | `{a,b*}` | one of the alternatives, which may be nested |
//! | `**` | as a whole component: any number of names, including none |
//! | `\` | escapes the next character |
//!
//! So `/data/**` matches `/data` itself and every path under it, and `/` matches the root alone.
//! Ambiguous syntax is rejected, and so is a glob that no path can match.
//!
//! Deliberately absent: alternatives that span a `/` (write two rules instead), and everything
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

/// A parsed glob that matches at least one path.
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
    /// Any name that matches the pattern.
    Pattern(Box<Pattern>),
}

impl Glob {
    /// The longest glob, in bytes: as long as the longest path of a guest, Linux's `PATH_MAX`.
    pub const LEN_MAX: usize = 4096;

    /// Parses `text`.
    ///
    /// # Errors
    ///
    /// A [`GlobError`] with the span of the fault in `text` and a suggested correction.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        let parts = parse::parse(text, None)?.parts;
        Ok(Glob { text: text.into(), parts })
    }

    /// Parses `text`, replaces each `${NAME}` by its literal value from `values`, and returns the
    /// glob with the variables that it uses. [`Glob::as_str`] returns the expanded text.
    #[cfg(feature = "document")]
    pub(crate) fn with_variables<'t>(
        text: &'t str,
        values: &BTreeMap<String, String>,
    ) -> Result<(Self, Vec<&'t str>), GlobError> {
        let parsed = parse::parse(text, Some(values))?;
        let text = if parsed.variables.is_empty() { text } else { &parsed.expanded };
        Ok((Glob { text: text.into(), parts: parsed.parts }, parsed.variables))
    }

    /// Returns a glob that matches only `path`, which should be absolute: escapes each special
    /// character.
    #[must_use]
    pub fn escape(path: &str) -> String {
        let mut glob = String::with_capacity(path.len());
        parse::push_literal(&mut glob, path, false);
        glob
    }

    /// Returns the text of the glob.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the glob matches `path`, which starts at the root of the guest.
    ///
    /// This is the reference implementation for one glob and one path. A [`Policy`](crate::Policy)
    /// matches all rules at once and is tested against this function. The running time is
    /// proportional to the length of the glob times the length of the path.
    #[must_use]
    pub fn matches(&self, path: Descent<'_>) -> bool {
        self.reached(path).last().copied().unwrap_or(false)
    }

    /// Returns whether the glob matches some path under `path`, so that `path` leads to a match.
    #[must_use]
    pub fn matches_under(&self, path: Descent<'_>) -> bool {
        // Each part matches at least one name, so every proper prefix can be completed.
        self.reached(path).iter().rev().skip(1).any(|reached| *reached)
    }

    /// Returns, for each number of leading parts, whether these parts match all of `path`.
    fn reached(&self, path: Descent<'_>) -> Vec<bool> {
        path.names().fold(self.start(), |reached, name| self.step(&reached, name))
    }

    /// Returns [`Glob::reached`] of the root.
    pub(crate) fn start(&self) -> Vec<bool> {
        let mut reached = vec![false; self.parts.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.skip_deep(&mut reached);
        reached
    }

    /// Returns [`Glob::reached`] of the entry `name`, given the `reached` of its directory.
    pub(crate) fn step(&self, reached: &[bool], name: Name<'_>) -> Vec<bool> {
        let mut next = vec![false; self.parts.len() + 1];
        for (at, (part, here)) in self.parts.iter().zip(reached).enumerate() {
            if !here || !part.matches(name.as_str()) {
                continue;
            }
            let following = if *part == Part::Deep { at } else { at + 1 };
            if let Some(slot) = next.get_mut(following) {
                *slot = true;
            }
        }
        self.skip_deep(&mut next);
        next
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Propagates through `**`, which also matches no name: the next part is reached as well.
    fn skip_deep(&self, reached: &mut [bool]) {
        for (at, part) in self.parts.iter().enumerate() {
            if *part == Part::Deep
                && reached.get(at).copied().unwrap_or(false)
                && let Some(following) = reached.get_mut(at + 1)
            {
                *following = true;
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
