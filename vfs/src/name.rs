//! Names and descents: the only path text that a directory ever sees.
//!
//! Both types are checked when they are made, so a [`Dir`](crate::Dir) can hand their text to
//! anything without looking at it again: there is no `.`, no `..`, no empty component, no NUL and
//! no leading slash in it, and therefore no way up.

use crate::{Errno, Result, bug};

/// One path component.
///
/// Never empty, `.` or `..`; holds neither `/` nor NUL; at most [`Name::LEN_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// The longest name, in bytes: Linux's `NAME_MAX`.
    pub const LEN_MAX: usize = 255;

    /// Checks `text` and makes it a name.
    ///
    /// Errors, in order: `Nametoolong` above [`Name::LEN_MAX`] bytes; `Inval` for an empty text,
    /// `.`, `..`, and a text with `/` or NUL in it.
    pub fn new(text: &'a str) -> Result<Self> {
        if text.len() > Self::LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        if matches!(text, "" | "." | "..") || text.bytes().any(|b| b == b'/' || b == 0) {
            return Err(Errno::Inval);
        }
        Ok(Name(text))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// A path that only goes down: names joined by single slashes. Empty means "here".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descent<'a>(&'a str);

impl<'a> Descent<'a> {
    /// The directory that one is in.
    pub const HERE: Descent<'static> = Descent("");

    /// Checks `text`, which must be names joined by single slashes, or empty.
    ///
    /// Errors: those of [`Name::new`] for the first name that is none.
    pub fn new(text: &'a str) -> Result<Self> {
        if !text.is_empty() {
            for part in text.split('/') {
                Name::new(part)?;
            }
        }
        Ok(Descent(text))
    }

    /// For the walker, which has checked each name.
    pub(crate) fn checked(text: &'a str) -> Self {
        debug_assert!(Descent::new(text).is_ok());
        Descent(text)
    }

    /// The names, from the top down.
    pub fn names(self) -> impl Iterator<Item = Name<'a>> + Clone {
        Names(self)
    }

    /// The descent to the parent, and the last name. `None` for [`Descent::HERE`].
    #[must_use]
    pub fn split_last(self) -> Option<(Descent<'a>, Name<'a>)> {
        // Names are short: looking at one byte after the other is faster than a search.
        match self.0.bytes().rposition(|byte| byte == b'/') {
            Some(at) => {
                let (parent, name) = self.0.split_at(at);
                Some((Descent(parent), Name(after_slash(name))))
            }
            None if self.0.is_empty() => None,
            None => Some((Descent(""), Name(self.0))),
        }
    }

    /// The first name, and the descent that is left behind it. `None` for [`Descent::HERE`].
    #[must_use]
    pub fn split_first(self) -> Option<(Name<'a>, Descent<'a>)> {
        match self.0.bytes().position(|byte| byte == b'/') {
            Some(at) => {
                let (name, rest) = self.0.split_at(at);
                Some((Name(name), Descent(after_slash(rest))))
            }
            None if self.0.is_empty() => None,
            None => Some((Name(self.0), Descent(""))),
        }
    }

    /// The first `count` names, and what is left. A `count` past the end takes all.
    #[must_use]
    pub fn split_at(self, count: usize) -> (Descent<'a>, Descent<'a>) {
        if count == 0 {
            return (Descent(""), self);
        }
        match self.0.match_indices('/').nth(count - 1) {
            Some((at, _)) => {
                let (before, rest) = self.0.split_at(at);
                (Descent(before), Descent(rest.trim_start_matches('/')))
            }
            None => (self, Descent("")),
        }
    }

    /// The number of names.
    #[must_use]
    pub fn depth(self) -> usize {
        if self.0.is_empty() { 0 } else { 1 + self.0.bytes().filter(|b| *b == b'/').count() }
    }

    /// The names joined by single slashes; empty for [`Descent::HERE`].
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this descent leads nowhere else.
    #[must_use]
    pub fn is_here(self) -> bool {
        self.0.is_empty()
    }

    /// The name, if there is exactly one.
    #[must_use]
    pub fn as_name(self) -> Option<Name<'a>> {
        if self.0.is_empty() || self.0.bytes().any(|byte| byte == b'/') {
            return None;
        }
        Some(Name(self.0))
    }
}

/// The text after the slash that `text` begins with.
#[inline]
fn after_slash(text: &str) -> &str {
    text.get(1..).unwrap_or_else(|| bug!(""; "a descent was split where no slash is"))
}

/// The names of a descent that are left.
#[derive(Clone)]
struct Names<'a>(Descent<'a>);

impl<'a> Iterator for Names<'a> {
    type Item = Name<'a>;

    fn next(&mut self) -> Option<Name<'a>> {
        let (name, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(name)
    }
}

impl<'a> From<Name<'a>> for Descent<'a> {
    fn from(name: Name<'a>) -> Self {
        Descent(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_component_and_nothing_else() {
        for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert_eq!(Name::new(bad), Err(Errno::Inval), "{bad:?}");
        }
        assert_eq!(Name::new(&"x".repeat(256)), Err(Errno::Nametoolong));
        for good in ["a", "...", ".a", "é", " ", "a\\b", "C:", &"x".repeat(255)] {
            assert_eq!(Name::new(good).map(Name::as_str), Ok(good));
        }
    }

    #[test]
    fn a_descent_splits_where_its_names_do() {
        let d = Descent::new("a/bb/c").unwrap();
        assert_eq!(d.names().map(Name::as_str).collect::<Vec<_>>(), ["a", "bb", "c"]);
        for (count, before, rest) in [
            (0, "", "a/bb/c"),
            (1, "a", "bb/c"),
            (2, "a/bb", "c"),
            (3, "a/bb/c", ""),
            (9, "a/bb/c", ""),
        ] {
            let (b, r) = d.split_at(count);
            assert_eq!((b.as_str(), r.as_str()), (before, rest), "{count}");
        }
        assert_eq!(d.split_last().map(|(p, n)| (p.as_str(), n.as_str())), Some(("a/bb", "c")));
        assert_eq!(d.split_first().map(|(n, r)| (n.as_str(), r.as_str())), Some(("a", "bb/c")));
        assert_eq!((d.depth(), Descent::HERE.depth()), (3, 0));
        assert!(Descent::HERE.split_last().is_none() && Descent::HERE.split_first().is_none());
        for bad in ["/a", "a/", "a//b", "a/./b", ".."] {
            assert!(Descent::new(bad).is_err(), "{bad:?}");
        }
    }
}
