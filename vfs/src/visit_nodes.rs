//! A walk over a tree that passes the parent directory of each name.

use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, WalkDir, id_of, names, walk};
use crate::{DirRef, Name, OpenHow, Result, Stop};

/// Whether [`visit_nodes`] visits the names in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurse {
    /// The node is a directory; its names are visited next.
    Yes,
    /// The node is not a directory, or is skipped.
    No,
}

/// Calls `visit` for every name under `root`, depth-first, with the directory that contains it.
///
/// Directories are opened with `how`. The number of open directories grows with the logarithm of
/// the depth only.
///
/// # Errors
///
/// - Those of `visit` and of the directories.
/// - `ESTALE`: a directory was replaced during the walk.
pub fn visit_nodes(
    root: &DirRef,
    how: OpenHow,
    visit: impl FnMut(&DirRef, Name<'_>) -> Result<Recurse>,
) -> Result<(), PathError> {
    let dir = ReopenableDir { dir: DirRef::clone(root), how };
    let names = names(&*dir.dir).at("")?;
    walk(Entered { dir, names, data: () }, &mut NodeVisitor(visit))
}

struct NodeVisitor<F>(F);

/// A directory and the parameters with which its subdirectories are opened.
struct ReopenableDir {
    dir: DirRef,
    how: OpenHow,
}

impl WalkDir for ReopenableDir {
    type Id = (u64, u64);

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        let dir = match self.dir.open(name.into(), self.how) {
            Ok(node) => node.into_dir()?,
            Err(Stop::Errno(errno)) => return Err(errno),
            // A link has replaced the directory.
            Err(Stop::Link { .. }) => return Err(crate::Errno::Stale),
        };
        Ok(ReopenableDir { dir, how: self.how })
    }

    fn id(&self) -> Result<(u64, u64)> {
        id_of(&*self.dir)
    }
}

impl<F: FnMut(&DirRef, Name<'_>) -> Result<Recurse>> Visitor for NodeVisitor<F> {
    type Dir = ReopenableDir;
    type Data = ();
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, ReopenableDir, ()>,
    ) -> Result<Option<Entered<ReopenableDir, ()>>, PathError> {
        if (self.0)(&at.dir.dir, at.name).at(at.path)? == Recurse::No {
            return Ok(None);
        }
        let dir = at.dir.enter(at.name).at(at.path)?;
        let names = names(&*dir.dir).at(at.path)?;
        Ok(Some(Entered { dir, names, data: () }))
    }
}
