//! Cleaning of entry paths and link targets, for all archive formats and for layers.

use std::borrow::Cow;

use super::error::EntryFault;
use crate::walk::PATH_LEN_MAX;
use crate::{Name, TreeFault};

/// An entry's path, cleaned: relative, without `.`, `..` and empty names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryPath<'p> {
    /// Empty for the root.
    pub(crate) clean: Cow<'p, str>,
    /// Whether slashes follow the last name.
    pub(crate) is_dir: bool,
}

/// Cleans a path. Leading slashes, `.` and empty names are dropped; `..` takes away the name before
/// it, as the tools that unpack archives have it.
///
/// # Errors
///
/// - [`EntryFault::NotUtf8`]
/// - [`TreeFault::EmptyName`]: the path is empty
/// - [`TreeFault::DotDot`]: the path leads out of the archive
/// - [`TreeFault::Nul`], [`TreeFault::NameTooLong`]
pub(crate) fn clean(raw: &[u8]) -> Result<EntryPath<'_>, EntryFault> {
    let text = std::str::from_utf8(raw).map_err(|_| EntryFault::NotUtf8)?;
    if text.is_empty() {
        return Err(TreeFault::EmptyName.into());
    }
    if text.contains('\0') {
        return Err(TreeFault::Nul.into());
    }
    let trimmed = text.trim_end_matches('/');
    let is_dir = trimmed.len() < text.len();
    let mut names = Vec::new();
    let mut is_clean = true;
    for name in trimmed.split('/') {
        match name {
            "" | "." => is_clean = false,
            ".." => {
                is_clean = false;
                names.pop().ok_or(TreeFault::DotDot)?;
            }
            name if name.len() > Name::LEN_MAX => return Err(TreeFault::NameTooLong.into()),
            name => names.push(name),
        }
    }
    let clean = if is_clean { Cow::Borrowed(trimmed) } else { Cow::Owned(names.join("/")) };
    Ok(EntryPath { clean, is_dir })
}

/// Checks the target of a symbolic link. The walker decides later where it leads.
///
/// # Errors
///
/// - [`EntryFault::BadTarget`]: it is empty, too long, or contains a NUL
/// - [`EntryFault::NotUtf8`]
pub(crate) fn symlink_target(raw: &[u8]) -> Result<&str, EntryFault> {
    if raw.is_empty() || raw.len() > PATH_LEN_MAX || raw.contains(&0) {
        return Err(EntryFault::BadTarget);
    }
    std::str::from_utf8(raw).map_err(|_| EntryFault::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_clean() {
        for (raw, expected, is_dir) in [
            ("a", "a", false),
            ("a/b/", "a/b", true),
            ("./a//b/./c", "a/b/c", false),
            ("/", "", true),
            ("./", "", true),
            (".", "", false),
            ("///a", "a", false),
            ("a/../b", "b", false),
            ("a/b/../../c/", "c", true),
            ("a/..", "", false),
            ("...", "...", false),
        ] {
            let path = clean(raw.as_bytes()).unwrap();
            assert_eq!((&*path.clean, path.is_dir), (expected, is_dir), "{raw}");
        }
        let long = [b'x'; 256];
        for (raw, fault) in [
            (&b""[..], EntryFault::from(TreeFault::EmptyName)),
            (b"..", TreeFault::DotDot.into()),
            (b"../a", TreeFault::DotDot.into()),
            (b"/..", TreeFault::DotDot.into()),
            (b"a/../../a", TreeFault::DotDot.into()),
            (b"a\0b", TreeFault::Nul.into()),
            (&long, TreeFault::NameTooLong.into()),
            (b"caf\xe9", EntryFault::NotUtf8),
        ] {
            assert_eq!(clean(raw), Err(fault), "{raw:?}");
        }
    }
}
