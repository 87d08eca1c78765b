//! The changes of an upper: diff, commit, discard and flatten.
//!
//! This module accesses uppers through [`UpperDir`] and lowers through [`Lowers`](super::Lowers)
//! only, so it works for any upper. An upper holds nothing but nodes, whiteouts and opaque
//! directories. A rename is detected by the identity, which a copied-up node keeps.
//!
//! All trees are walked by [`tree_walk`](crate::tree_walk), so neither a deep nor a wide tree needs
//! many descriptors, and paths share their prefixes.
//!
//! Deliberately absent: changes that are independent of their upper. [`Changes`] lists paths; the
//! content stays in the upper.

mod commit;
mod diff;
mod dir_pair;
mod flatten;
mod renames;
mod report;

use std::fmt;
use std::marker::PhantomData;

pub use commit::commit;
pub use diff::diff;
#[cfg(feature = "tar")]
pub(super) use diff::read_full;
pub use flatten::flatten;
pub use report::{Committed, Lost, Note, Progress, Step};

use super::lowers::to_errno;
use super::upper::{UpperDir, UpperEntry, UpperRef};
use super::{Identity, Overlay, changes};
use crate::shared_path::SharedPath;
pub use crate::tree_walk::PathError;
use crate::tree_walk::{At, Entered, Visit, Visitor, WalkDir, id_of, names, walk};
use crate::{Dir, DirRef, Errno, FileType, Name, Result, escape};

/// The kind of a change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// The node was removed with all its entries, except those that were renamed out of it.
    Removed,
    /// The node was renamed. The entries of a renamed directory are not listed.
    Renamed {
        /// The path in the lowers.
        from: Box<str>,
    },
    /// The node is new.
    Added,
    /// The node has other content, another target or other times, or was replaced by another node.
    Modified,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path: names joined by slashes, empty for the root. For [`ChangeKind::Removed`] a path in
    /// the lowers, else in the merged tree. The two differ only under renamed directories.
    pub path: Box<str>,
    /// The kind of the change.
    pub kind: ChangeKind,
    /// The type of the node; of a removed node, its former type.
    pub file_type: FileType,
    /// The length of the file or of the link's target in bytes. For a directory, as its filesystem
    /// reports.
    pub size: u64,
    /// The type of the node that was removed with all its entries to make room: a node of another
    /// type, or the target of a rename.
    pub replaces: Option<FileType>,
}

/// All changes, sorted by the bytes of their paths. Of one path, a removal precedes a rename, which
/// precedes a modification.
///
/// Paths share their prefixes, so a deep tree does not take memory quadratic in its depth. The text
/// of a path is built per [`Change`], by [`Changes::iter`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    all: Vec<Entry>,
}

/// A change with shared paths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: SharedPath,
    kind: EntryKind,
    file_type: FileType,
    size: u64,
    replaces: Option<FileType>,
}

/// [`ChangeKind`] with shared paths, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EntryKind {
    Removed,
    Renamed { from: SharedPath },
    Added,
    Modified,
}

impl Entry {
    fn to_change(&self) -> Change {
        let kind = match &self.kind {
            EntryKind::Removed => ChangeKind::Removed,
            EntryKind::Renamed { from } => ChangeKind::Renamed { from: from.to_text().into() },
            EntryKind::Added => ChangeKind::Added,
            EntryKind::Modified => ChangeKind::Modified,
        };
        let Entry { file_type, size, replaces, .. } = *self;
        Change { path: self.path.to_text().into(), kind, file_type, size, replaces }
    }
}

impl Changes {
    /// Returns the changes. Each is built when the iterator returns it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change> + '_ {
        self.all.iter().map(Entry::to_change)
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn sorted(mut all: Vec<Entry>) -> Self {
        all.sort_by(|one, other| (&one.path, &one.kind).cmp(&(&other.path, &other.kind)));
        Changes { all }
    }
}

/// Writes one line per change.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// Writes `A path`, `M path`, `D path` or `R from -> path`; a directory ends with a slash. Paths
/// are escaped ([`escape::name`]).
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        let slash = match self.file_type {
            FileType::Dir if !self.path.is_empty() => "/",
            _ => "",
        };
        match &self.kind {
            ChangeKind::Removed => write!(f, "D {path}{slash}"),
            ChangeKind::Renamed { from } => write!(f, "R {}{slash} -> {path}{slash}", shown(from)),
            ChangeKind::Added => write!(f, "A {path}{slash}"),
            ChangeKind::Modified => write!(f, "M {path}{slash}"),
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.errno)
    }
}

impl std::error::Error for PathError {}

impl Overlay {
    /// Returns the current changes relative to the lowers. See [`diff()`].
    ///
    /// Changes that are made meanwhile may be included or not.
    ///
    /// # Errors
    /// - Those of the upper and of the lowers.
    pub fn changes(&self) -> Result<Changes, PathError> {
        let at_root = |errno| PathError { path: String::new(), errno };
        changes::diff(&self.upper().map_err(at_root)?, &self.lowers().map_err(at_root)?)
    }
}

/// Empties an upper, including whiteouts, so that the lowers are visible unchanged. The upper must
/// not be in use.
///
/// # Errors
/// - `ENOTSUP`: the root is opaque, which cannot be undone.
/// - The errors of the upper.
///
/// After an error or a crash, the next open of the upper removes the rest.
pub fn discard(upper: &UpperRef) -> Result<(), PathError> {
    if upper.is_opaque().at("")? {
        return Err(PathError { path: String::new(), errno: Errno::Notsup });
    }
    upper.begin_discard().at("")?;
    for name in names(&**upper).at("")? {
        remove_tree(upper, Name::new(&name).at(&name)?, &name)?;
    }
    for name in whiteouts(&**upper).at("")? {
        // A node that is created in place of a whiteout removes it.
        let checked = Name::new(&name).at(&name)?;
        upper.create_dir(checked).at(&name)?;
        upper.remove_dir(checked).at(&name)?;
    }
    upper.end_discard().at("")
}

/// Removes the node `name` with its whole tree. Links are not followed. An absent name is no error.
/// `path` is the path of `name`, for errors.
pub(super) fn remove_tree<D: TreeDir>(
    dir: &D,
    name: Name<'_>,
    path: &str,
) -> Result<(), PathError> {
    let within = |error: PathError| PathError { path: join(path, &error.path), ..error };
    let Some(top) = Remove::enter(dir, name).at(path)? else { return Ok(()) };
    walk(top, &mut Remove(PhantomData)).map_err(within)?;
    dir.as_dir().remove_dir(name).at(path)
}

/// A directory that trees can be removed from.
pub(super) trait TreeDir: WalkDir {
    fn as_dir(&self) -> &dyn Dir;
}

impl TreeDir for DirRef {
    fn as_dir(&self) -> &dyn Dir {
        &**self
    }
}

impl TreeDir for UpperRef {
    fn as_dir(&self) -> &dyn Dir {
        &**self
    }
}

/// Removes all entries of a tree: files when they are visited, directories when they are left.
struct Remove<D>(PhantomData<D>);

impl<D: TreeDir> Remove<D> {
    /// Removes a node that is not a directory. Returns a directory to enter.
    fn enter(dir: &D, name: Name<'_>) -> Result<Option<Entered<D, ()>>> {
        let Some(kind) = kind_of(dir.as_dir(), name)? else { return Ok(None) };
        if kind != FileType::Dir {
            return dir.as_dir().remove_file(name).map(|()| None);
        }
        let dir = dir.enter(name)?;
        let names = names(dir.as_dir())?;
        Ok(Some(Entered { dir, names, data: () }))
    }
}

impl<D: TreeDir> Visitor for Remove<D> {
    type Dir = D;
    type Data = ();
    type Error = PathError;

    fn node(&mut self, at: Visit<'_, D, ()>) -> Result<Option<Entered<D, ()>>, PathError> {
        Remove::enter(at.dir, at.name).at(at.path)
    }

    fn left(&mut self, at: Visit<'_, D, ()>) -> Result<(), PathError> {
        at.dir.as_dir().remove_dir(at.name).at(at.path)
    }
}

impl WalkDir for UpperRef {
    type Id = Identity;

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        UpperDir::enter(&**self, name)
    }

    fn id(&self) -> Result<Identity> {
        id_of(&**self)
    }
}

/// Returns the type of the node `name`; `None` if it is absent.
fn kind_of(dir: &dyn Dir, name: Name<'_>) -> Result<Option<FileType>> {
    match to_errno(dir.stat(name.into())) {
        Ok(stat) => Ok(Some(stat.kind)),
        Err(Errno::Noent) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns the names of the whiteouts in a directory, sorted by their bytes.
pub(super) fn whiteouts(upper: &dyn UpperDir) -> Result<Vec<Box<str>>> {
    let mut names: Vec<Box<str>> = Vec::new();
    upper.whiteouts(&mut |name| names.push(name.as_str().into()))?;
    names.sort_unstable();
    Ok(names)
}

/// Returns the node `name`, which was just listed.
pub(super) fn node(upper: &dyn UpperDir, name: Name<'_>) -> Result<crate::Stat> {
    match upper.lookup(name)? {
        UpperEntry::Node(stat) => Ok(stat),
        UpperEntry::Absent | UpperEntry::Whiteout => Err(Errno::Noent),
    }
}

pub(super) fn join(above: &str, path: &str) -> String {
    match (above, path) {
        ("", path) => path.to_owned(),
        (above, "") => above.to_owned(),
        (above, path) => format!("{above}/{path}"),
    }
}

/// Escapes a path for a line of text; the root is written as `.`.
pub(super) fn shown(path: &str) -> escape::Escaped<'_> {
    escape::name(if path.is_empty() { "." } else { path })
}
