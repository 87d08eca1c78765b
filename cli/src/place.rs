//! Guest paths, as the command line and `palisade.toml` write them: text, cut into names.
//!
//! This file alone knows what such a text means. It touches no path of a guest's: that is the
//! walker's business.

use crate::error::Error;

/// A guest path, cut into names. `/a` and `a` are different; `.` and `/` are the two empty ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    absolute: bool,
    names: Vec<String>,
}

impl Place {
    pub(crate) fn new(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::GuestPath { path: text.to_owned(), why: why.to_owned() };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        let names: Vec<_> =
            text.split('/').filter(|name| !matches!(*name, "" | ".")).map(str::to_owned).collect();
        if names.iter().any(|name| name == "..") {
            return Err(refuse("it has a `..`"));
        }
        if text.contains('\0') {
            return Err(refuse("it holds a NUL"));
        }
        Ok(Place { absolute: text.starts_with('/'), names })
    }

    /// The path from `above` down to here, if `above` is above: never empty.
    pub(crate) fn beneath(&self, above: &Place) -> Option<String> {
        if self.absolute != above.absolute {
            return None;
        }
        let rest = self.names.strip_prefix(above.names.as_slice())?;
        if rest.is_empty() { None } else { Some(rest.join("/")) }
    }

    /// The path from the guest's root: what a policy calls it. What is relative is taken to start
    /// there.
    pub(crate) fn below_root(&self) -> String {
        self.names.join("/")
    }

    /// The directory around it, and its text as the name of a preopen; `None` for a root.
    pub(crate) fn parent(&self) -> Option<(Place, String)> {
        let (_, names) = self.names.split_last()?;
        let place = Place { absolute: self.absolute, names: names.to_vec() };
        let text = match (place.absolute, place.names.is_empty()) {
            (true, _) => format!("/{}", place.names.join("/")),
            (false, true) => ".".to_owned(),
            (false, false) => place.names.join("/"),
        };
        Some((place, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_are_text() {
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
        for (path, above, wanted) in cases {
            let (path, above) = (Place::new(path).unwrap(), Place::new(above).unwrap());
            assert_eq!(path.beneath(&above).as_deref(), *wanted, "{path:?} {above:?}");
        }
        for path in ["", "..", "/a/../b", "a/.."] {
            assert!(Place::new(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_directory_around_a_file_has_the_text_that_one_would_write() {
        for (path, parent) in [("/a/b", "/a"), ("/a", "/"), ("a/b", "a"), ("a", ".")] {
            let (place, text) = Place::new(path).unwrap().parent().unwrap();
            assert_eq!(text, parent);
            assert_eq!(place, Place::new(parent).unwrap());
        }
        assert!(Place::new("/").unwrap().parent().is_none());
    }
}
