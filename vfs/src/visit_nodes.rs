//! Goes through a tree with the directory of each name at hand.

use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, WalkDir, id_of, names, walk};
use crate::{DirRef, Name, OpenHow, Result, Stop};

/// Whether [`visit_nodes`] goes through what a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// It is a directory, whose names are visited next.
    Visit,
    /// It is no directory, or is left out.
    Skip,
}

/// Calls `visit` for every name in the tree `root`, depth-first, with the directory that holds it.
/// Directories are opened as `how` says. Few of them are open at once, however deep the tree.
///
/// Errors: those of `visit` and of the directories; `Stale` if one was replaced meanwhile.
pub fn visit_nodes(
    root: &DirRef,
    how: OpenHow,
    visit: impl FnMut(&DirRef, Name<'_>) -> Result<Below>,
) -> Result<(), PathError> {
    let dir = Opened { dir: DirRef::clone(root), how };
    let names = names(&*dir.dir).at("")?;
    walk(Entered { dir, names, data: () }, &mut Nodes(visit))
}

struct Nodes<F>(F);

/// A directory that is opened as the caller says.
struct Opened {
    dir: DirRef,
    how: OpenHow,
}

impl WalkDir for Opened {
    type Id = (u64, u64);

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        let dir = match self.dir.open(name.into(), self.how) {
            Ok(node) => node.into_dir()?,
            Err(Stop::Errno(errno)) => return Err(errno),
            // The directory was replaced by a link.
            Err(Stop::Link { .. }) => return Err(crate::Errno::Stale),
        };
        Ok(Opened { dir, how: self.how })
    }

    fn id(&self) -> Result<(u64, u64)> {
        id_of(&*self.dir)
    }
}

impl<F: FnMut(&DirRef, Name<'_>) -> Result<Below>> Visitor for Nodes<F> {
    type Dir = Opened;
    type Data = ();
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, Opened, ()>,
    ) -> Result<Option<Entered<Opened, ()>>, PathError> {
        if (self.0)(&at.dir.dir, at.name).at(at.path)? == Below::Skip {
            return Ok(None);
        }
        let dir = at.dir.enter(at.name).at(at.path)?;
        let names = names(&*dir.dir).at(at.path)?;
        Ok(Some(Entered { dir, names, data: () }))
    }
}
