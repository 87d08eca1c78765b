//! The path of an event as its parts, before it is written out.

use std::sync::Arc;

use palisade_vfs::Descent;

use crate::audit::handle_path::HandlePath;

/// The path of an event: the path of a directory handle, and the names after it.
#[derive(Clone, Copy)]
pub(crate) struct EventPath<'a> {
    pub(crate) handle: &'a Arc<HandlePath>,
    pub(crate) suffix: Suffix<'a>,
}

/// The names after the path of the directory handle.
#[derive(Clone, Copy)]
pub(crate) enum Suffix<'a> {
    /// The path that the operation walked.
    Walked(Descent<'a>),
    /// The names by which an open file was opened, joined by single slashes.
    OfFile(&'a str),
}

impl<'a> EventPath<'a> {
    /// Returns the path from the handle of the operation, which is empty for an open file.
    #[inline]
    pub(crate) fn walked(&self) -> Descent<'a> {
        match self.suffix {
            Suffix::Walked(path) => path,
            Suffix::OfFile(_) => Descent::HERE,
        }
    }
}

impl<'a> Suffix<'a> {
    /// The names, joined by single slashes.
    #[inline]
    pub(crate) fn names(self) -> &'a str {
        match self {
            Suffix::Walked(path) => path.as_str(),
            Suffix::OfFile(names) => names,
        }
    }

    /// Whether the names lead to an open file.
    #[inline]
    pub(crate) fn is_of_file(self) -> bool {
        matches!(self, Suffix::OfFile(_))
    }
}

/// Replaces `text` by the path of `names` under `handle`. Returns how many of its names lead to the
/// handle of the operation.
pub(crate) fn write(
    text: &mut String,
    handle: &HandlePath,
    names: &str,
    is_of_file: bool,
) -> usize {
    text.clear();
    handle.render(text);
    finish(text, handle, names, is_of_file)
}

/// As [`write()`], if `text` already holds the path of `handle`.
pub(crate) fn finish(
    text: &mut String,
    handle: &HandlePath,
    names: &str,
    is_of_file: bool,
) -> usize {
    if !names.is_empty() || text.is_empty() {
        text.push('/');
        text.push_str(names);
    }
    let has_file_names = is_of_file && !names.is_empty();
    handle.depth() + if has_file_names { 1 + names.matches('/').count() } else { 0 }
}
