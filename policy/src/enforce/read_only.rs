//! A read-only layer.

use std::sync::Arc;

use palisade_vfs::DirRef;

use crate::automaton::policy::Policy;
use crate::enforce::confined_dir::confine;

/// Returns `dir` without any operation that changes content, times or names. These fail with
/// `EROFS`, after the errors that precede a denial.
#[must_use]
pub fn read_only(dir: DirRef) -> DirRef {
    confine(dir, Arc::new(Policy::read_only()))
}
