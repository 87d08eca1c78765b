//! Parses guest paths as the command line and `palisade.toml` write them.
//!
//! This module compares and joins such paths as text. Paths that a guest passes to the filesystem
//! never come here: the walker of `palisade-vfs` resolves them.

use palisade::vfs::escape;

use crate::error::CommandError;

/// A guest path that cannot be a mount point or an argument.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the guest path `{}` is not accepted: {why}", escape::name(.path))]
#[diagnostic(
    code(palisade::guest_path),
    help("write a guest path such as `/data`, `data/in` or `.`, without `..`")
)]
pub(crate) struct GuestPathError {
    pub(crate) path: String,
    pub(crate) why: String,
}

impl CommandError for GuestPathError {}

/// A guest path, split into names. Absolute and relative paths differ; `/` and `.` have no names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GuestPath {
    absolute: bool,
    names: Vec<String>,
}

impl GuestPath {
    /// Parses a guest path.
    ///
    /// # Errors
    ///
    /// [`GuestPathError`]: the path is empty, has a `..` or holds a NUL.
    pub(crate) fn new(text: &str) -> Result<Self, GuestPathError> {
        let refuse = |why: &str| GuestPathError { path: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        let names: Vec<_> =
            text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect();
        if names.iter().any(|name| name == "..") {
            return Err(refuse("it contains `..`"));
        }
        if text.contains('\0') {
            return Err(refuse("it contains a NUL"));
        }
        Ok(GuestPath { absolute: text.starts_with('/'), names })
    }

    /// Returns the path relative to `ancestor`, or `None` unless `ancestor` is a proper ancestor.
    pub(crate) fn relative_to(&self, ancestor: &GuestPath) -> Option<String> {
        if self.absolute != ancestor.absolute {
            return None;
        }
        let rest = self.names.strip_prefix(ancestor.names.as_slice())?;
        if rest.is_empty() { None } else { Some(rest.join("/")) }
    }

    /// Returns the path from the guest's root, without a leading slash, as policies use it. A
    /// relative path is taken to start at the root.
    pub(crate) fn path_from_root(&self) -> String {
        self.names.join("/")
    }

    /// Returns the parent directory and its text as the name of a preopen; `None` for a root.
    pub(crate) fn parent(&self) -> Option<(GuestPath, String)> {
        let (_, names) = self.names.split_last()?;
        let parent = GuestPath { absolute: self.absolute, names: names.to_vec() };
        let text = match (parent.absolute, parent.names.is_empty()) {
            (true, _) => format!("/{}", parent.names.join("/")),
            (false, true) => ".".to_owned(),
            (false, false) => parent.names.join("/"),
        };
        Some((parent, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_to_requires_a_proper_ancestor() {
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("/a/b", "/a", Some("b")),
            ("/a/./b//c/", "/a", Some("b/c")),
            ("/a", "/", Some("a")),
            ("a/b", ".", Some("a/b")),
            ("a", "a/", None),
            ("/a", ".", None),
            ("a", "/", None),
            ("/ab", "/a", None),
            ("/a", "/a/b", None),
        ];
        for (path, ancestor, wanted) in cases {
            let (path, ancestor) =
                (GuestPath::new(path).unwrap(), GuestPath::new(ancestor).unwrap());
            assert_eq!(path.relative_to(&ancestor).as_deref(), *wanted, "{path:?} {ancestor:?}");
        }
        for path in ["", "..", "/a/../b", "a/.."] {
            assert!(GuestPath::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn parent_text_is_the_usual_spelling() {
        for (path, parent) in [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", ".")] {
            let (parsed, text) = GuestPath::new(path).unwrap().parent().unwrap();
            assert_eq!(text, parent);
            assert_eq!(parsed, GuestPath::new(parent).unwrap());
        }
        assert!(GuestPath::new("/").unwrap().parent().is_none());
    }
}
