//! Where something happened: a path in the guest's world that is not written out yet.

use std::sync::Arc;

use palisade_vfs::Descent;

use crate::audit::handle_path::Trail;

/// A path, as what leads to a directory and what leads on from there.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) trail: &'a Arc<Trail>,
    pub(crate) beyond: Beyond<'a>,
}

/// What leads on from a directory.
#[derive(Clone, Copy)]
pub(crate) enum Beyond<'a> {
    /// A path that was walked.
    Walked(Descent<'a>),
    /// The names by which a file was opened that is held, joined by single slashes.
    Held(&'a str),
}

impl<'a> At<'a> {
    /// The path from what is held.
    #[inline]
    pub(crate) fn path(&self) -> Descent<'a> {
        match self.beyond {
            Beyond::Walked(path) => path,
            Beyond::Held(_) => Descent::HERE,
        }
    }
}

impl<'a> Beyond<'a> {
    /// The names, joined by single slashes.
    #[inline]
    pub(crate) fn names(self) -> &'a str {
        match self {
            Beyond::Walked(path) => path.as_str(),
            Beyond::Held(names) => names,
        }
    }

    /// Whether they lead to what is held.
    #[inline]
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Beyond::Held(_))
    }
}

/// Writes the path that `names` lead to from where `trail` does into `text`, in place of what is
/// there. Answers how many names of it lead to what is held.
pub(crate) fn write(text: &mut String, trail: &Trail, names: &str, is_held: bool) -> usize {
    text.clear();
    trail.render(text);
    finish(text, trail, names, is_held)
}

/// As [`write()`], into a `text` in which `trail` is written out already.
pub(crate) fn finish(text: &mut String, trail: &Trail, names: &str, is_held: bool) -> usize {
    if !names.is_empty() || text.is_empty() {
        text.push('/');
        text.push_str(names);
    }
    let is_further_held = is_held && !names.is_empty();
    trail.depth() + if is_further_held { 1 + names.matches('/').count() } else { 0 }
}
