//! The simplest layer: everything may be read and nothing changed.

use std::sync::Arc;

use palisade_vfs::DirRef;

use crate::automaton::policy::Policy;
use crate::enforce::confined_dir::confine;

/// `dir`, without any way to change a byte, a time or a name in it. Attempts are `Rofs`, once the
/// errors that come before it are ruled out.
#[must_use]
pub fn read_only(dir: DirRef) -> DirRef {
    confine(dir, Arc::new(Policy::read_only()))
}
