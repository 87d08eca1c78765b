//! A walk over the names of a tree for callers that only look: bounded in open directories.
//!
//! This is the public face of [`tree_walk`](crate::tree_walk). No link is followed and no file is
//! opened; a directory that cannot be read is reported, and the walk goes on.

use std::ops::ControlFlow;

use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, WalkDir, walk};
use crate::{Cookie, Dir, DirRef, FileType, Name, Result};

/// A name that [`visit_names`] meets.
#[derive(Clone, Copy, Debug)]
pub struct VisitedName<'a> {
    /// The name.
    pub name: Name<'a>,
    /// Its path from the directory where the walk began: names joined by slashes.
    pub path: &'a str,
    /// Its type, as its directory lists it.
    pub kind: FileType,
}

/// Calls `visit` for every name in the tree `dir`, depth-first and by the order of the names'
/// bytes, with what was kept for the directory that holds it. What `visit` returns for a directory
/// is kept for that one; without it, that directory is not read. Calls `unread` for each directory
/// that cannot be read.
///
/// Errors: those of opening a directory again, such as `Stale` if it was replaced meanwhile; the
/// rest of the tree was not visited then.
pub fn visit_names<T>(
    dir: &DirRef,
    kept: T,
    visit: impl FnMut(VisitedName<'_>, &T) -> Option<T>,
    unread: impl FnMut(PathError),
) -> Result<(), PathError> {
    let (names, kinds) = names_of(&**dir).at("")?;
    let root = Entered { dir: DirRef::clone(dir), names, data: Kept { kept, kinds } };
    walk(root, &mut Names { visit, unread, kept: std::marker::PhantomData })
}

/// What the walk keeps for a directory.
struct Kept<T> {
    kept: T,
    /// The types of the names that are left.
    kinds: std::vec::IntoIter<FileType>,
}

struct Names<T, F, U> {
    visit: F,
    unread: U,
    kept: std::marker::PhantomData<T>,
}

impl<T, F, U> Visitor for Names<T, F, U>
where
    F: FnMut(VisitedName<'_>, &T) -> Option<T>,
    U: FnMut(PathError),
{
    type Dir = DirRef;
    type Data = Kept<T>;
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, DirRef, Kept<T>>,
    ) -> Result<Option<Entered<DirRef, Kept<T>>>, PathError> {
        let Visit { dir, data, name, path, .. } = at;
        let Some(kind) = data.kinds.next() else {
            return Err(crate::bug!("a name of a walk has no type")).at(path);
        };
        let kept = (self.visit)(VisitedName { name, path, kind }, &data.kept);
        let Some(kept) = kept.filter(|_| kind == FileType::Dir) else { return Ok(None) };
        let entered = dir.enter(name).and_then(|dir| Ok((names_of(&*dir)?, dir)));
        match entered.at(path) {
            Ok(((names, kinds), dir)) => {
                Ok(Some(Entered { dir, names, data: Kept { kept, kinds } }))
            }
            Err(error) => {
                (self.unread)(error);
                Ok(None)
            }
        }
    }
}

type NamesAndKinds = (Vec<Box<str>>, std::vec::IntoIter<FileType>);

/// The names in a directory by the order of their bytes, and the types of each.
fn names_of(dir: &dyn Dir) -> Result<NamesAndKinds> {
    let mut entries: Vec<(Box<str>, FileType)> = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        entries.push((entry.name.as_str().into(), entry.kind));
        ControlFlow::Continue(())
    })?;
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let (names, kinds): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    Ok((names, kinds.into_iter()))
}
