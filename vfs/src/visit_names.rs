//! A read-only walk over the names of a tree, with a bounded number of open directories.
//!
//! A public wrapper of [`tree_walk`](crate::tree_walk). No link is followed and no file is opened.
//! A directory that cannot be read is reported, and the walk continues.

use std::ops::ControlFlow;

use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, WalkDir, walk};
use crate::{Cookie, Dir, DirRef, FileType, Name, Result};

/// A name that [`visit_names`] visits.
#[derive(Clone, Copy, Debug)]
pub struct VisitedName<'a> {
    /// The name.
    pub name: Name<'a>,
    /// The path relative to the start of the walk: names joined by slashes.
    pub path: &'a str,
    /// The type that the directory lists.
    pub kind: FileType,
}

/// Calls `visit` for every name under `dir`, depth-first and in byte order.
///
/// `visit` receives the data of the directory that contains the name; the data of `dir` is
/// `root_data`. For a directory it returns the data of that directory, or `None` to skip its
/// content. `unread` is called for each directory that cannot be read.
///
/// # Errors
///
/// - Those of reopening a directory, such as `ESTALE` if it was replaced during the walk. The rest
///   of the tree is not visited then.
pub fn visit_names<T>(
    dir: &DirRef,
    root_data: T,
    visit: impl FnMut(VisitedName<'_>, &T) -> Option<T>,
    unread: impl FnMut(PathError),
) -> Result<(), PathError> {
    let (names, kinds) = names_of(&**dir).at("")?;
    let root =
        Entered { dir: DirRef::clone(dir), names, data: DirState { data: root_data, kinds } };
    walk(root, &mut Names { visit, unread, data: std::marker::PhantomData })
}

/// The data of a directory on the stack.
struct DirState<T> {
    data: T,
    /// The types of the remaining names.
    kinds: std::vec::IntoIter<FileType>,
}

struct Names<T, F, U> {
    visit: F,
    unread: U,
    data: std::marker::PhantomData<T>,
}

impl<T, F, U> Visitor for Names<T, F, U>
where
    F: FnMut(VisitedName<'_>, &T) -> Option<T>,
    U: FnMut(PathError),
{
    type Dir = DirRef;
    type Data = DirState<T>;
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, DirRef, DirState<T>>,
    ) -> Result<Option<Entered<DirRef, DirState<T>>>, PathError> {
        let Visit { dir, data, name, path, .. } = at;
        let Some(kind) = data.kinds.next() else {
            return Err(crate::bug!("a name of a walk has no type")).at(path);
        };
        let data = (self.visit)(VisitedName { name, path, kind }, &data.data);
        let Some(data) = data.filter(|_| kind == FileType::Dir) else { return Ok(None) };
        let entered = dir.enter(name).and_then(|dir| Ok((names_of(&*dir)?, dir)));
        match entered.at(path) {
            Ok(((names, kinds), dir)) => {
                Ok(Some(Entered { dir, names, data: DirState { data, kinds } }))
            }
            Err(error) => {
                (self.unread)(error);
                Ok(None)
            }
        }
    }
}

type NamesAndKinds = (Vec<Box<str>>, std::vec::IntoIter<FileType>);

/// Returns the names in a directory in byte order, and their types.
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
