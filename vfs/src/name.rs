//! Validated path text: `Name` is one component, `Descent` is a relative path without `..`.
//!
//! A [`Dir`](crate::Dir) takes no other path text. Both types are validated on construction, so an
//! implementation can pass their text to a system call without another check: it contains no `.`,
//! no `..`, no empty component, no NUL and no leading slash, and therefore cannot go up.

use crate::{Errno, Result, bug};

/// One path component.
///
/// Never empty, `.` or `..`; contains neither `/` nor NUL; at most [`Name::LEN_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// The longest name, in bytes: Linux's `NAME_MAX`.
    pub const LEN_MAX: usize = 255;

    /// Validates `text` as a name.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: `text` is longer than [`Name::LEN_MAX`] bytes.
    /// - `EINVAL`: `text` is empty, `.` or `..`, or contains `/` or NUL.
    pub fn new(text: &'a str) -> Result<Self> {
        if text.len() > Self::LEN_MAX {
            return Err(Errno::Nametoolong);
        }
        if matches!(text, "" | "." | "..") || text.bytes().any(|b| b == b'/' || b == 0) {
            return Err(Errno::Inval);
        }
        Ok(Name(text))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// A relative path that only descends: names joined by single slashes. The empty descent means the
/// directory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descent<'a>(&'a str);

impl<'a> Descent<'a> {
    /// The directory itself.
    pub const HERE: Descent<'static> = Descent("");

    /// Validates `text` as names joined by single slashes, or as empty.
    ///
    /// # Errors
    ///
    /// - Those of [`Name::new`], for the first component that is not a name.
    pub fn new(text: &'a str) -> Result<Self> {
        if !text.is_empty() {
            for part in text.split('/') {
                Name::new(part)?;
            }
        }
        Ok(Descent(text))
    }

    /// Wraps `text`, whose components the walker has validated.
    pub(crate) fn checked(text: &'a str) -> Self {
        debug_assert!(Descent::new(text).is_ok());
        Descent(text)
    }

    /// Returns the names, from the top down.
    pub fn names(self) -> impl Iterator<Item = Name<'a>> + Clone {
        Names(self)
    }

    /// Returns the descent to the parent and the last name, or `None` for [`Descent::HERE`].
    #[must_use]
    pub fn split_last(self) -> Option<(Descent<'a>, Name<'a>)> {
        // perf: names are short, so a loop over the bytes is faster than a search (`memrchr`).
        match self.0.bytes().rposition(|byte| byte == b'/') {
            Some(at) => {
                let (parent, name) = self.0.split_at(at);
                Some((Descent(parent), Name(after_slash(name))))
            }
            None if self.0.is_empty() => None,
            None => Some((Descent(""), Name(self.0))),
        }
    }

    /// Returns the first name and the descent after it, or `None` for [`Descent::HERE`].
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

    /// Splits after the first `count` names. A `count` greater than the depth takes all names.
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

    /// Returns the number of names.
    #[must_use]
    pub fn depth(self) -> usize {
        if self.0.is_empty() { 0 } else { 1 + self.0.bytes().filter(|b| *b == b'/').count() }
    }

    /// Returns the text: names joined by single slashes, empty for [`Descent::HERE`].
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns whether this descent is empty.
    #[must_use]
    pub fn is_here(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the name of a descent of exactly one name.
    #[must_use]
    pub fn as_name(self) -> Option<Name<'a>> {
        if self.0.is_empty() || self.0.bytes().any(|byte| byte == b'/') {
            return None;
        }
        Some(Name(self.0))
    }
}

/// Returns `text` without the slash that it begins with.
#[inline]
fn after_slash(text: &str) -> &str {
    text.get(1..).unwrap_or_else(|| bug!(""; "a descent was split where no slash is"))
}

/// An iterator over the remaining names of a descent.
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
    fn name_accepts_exactly_one_component() {
        for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
            assert_eq!(Name::new(bad), Err(Errno::Inval), "{bad:?}");
        }
        assert_eq!(Name::new(&"x".repeat(256)), Err(Errno::Nametoolong));
        for good in ["a", "...", ".a", "é", " ", "a\\b", "C:", &"x".repeat(255)] {
            assert_eq!(Name::new(good).map(Name::as_str), Ok(good));
        }
    }

    #[test]
    fn descent_splits_at_component_boundaries() {
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
