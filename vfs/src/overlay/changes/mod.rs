//! What an overlay's layer has changed, as a value: to be looked at, committed, discarded, and
//! written to an archive.
//!
//! What is here reads layers through [`UpperDir`] and lowers through [`Lowers`] alone, so it holds
//! for
//! any upper. Nothing else is said in a layer than nodes, whiteouts and opaque directories: that
//! a node was renamed is told from its identity, which a copied-up node keeps.
//!
//! All trees are walked by [`tree_walk`](crate::tree_walk), so neither a deep tree nor a wide one
//! takes many descriptors, and no path is kept as text.
//!
//! Deliberately absent: a change without its layer. The bytes of a change lie in the layer; a
//! [`Changes`] says what is where.

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

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is gone, with all that was in it but what was renamed out of it.
    Removed,
    /// It has another name. A directory is named alone: what is in it came along.
    Renamed {
        /// Where it was in the lowers.
        from: Box<str>,
    },
    /// Nothing was there.
    Added,
    /// Something was there, and it has other bytes now, another target, other times, or is another
    /// node altogether.
    Modified,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where: names joined by slashes, empty for the root. For [`ChangeKind::Removed`] in the
    /// lowers, for all others in the merged tree. They differ beneath a renamed directory alone.
    pub path: Box<str>,
    /// What became of it.
    pub kind: ChangeKind,
    /// Its type; for what is removed, the type that it had.
    pub file_type: FileType,
    /// Bytes of the file or of the link's target. For a directory, what the filesystem says.
    pub size: u64,
    /// What had to go to make way, with all that was in it: something of another type, or what a
    /// rename replaced.
    pub replaces: Option<FileType>,
}

/// All changes, in the order of the bytes of their paths. Of one path a removal comes first, then
/// a rename, and then what was modified besides.
///
/// Paths share the names that they begin with, so a deep tree does not cost memory quadratic in its
/// depth: each [`Change`] gets its text when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    all: Vec<Entry>,
}

/// A change without the text of its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: SharedPath,
    kind: EntryKind,
    file_type: FileType,
    size: u64,
    replaces: Option<FileType>,
}

/// As [`ChangeKind`], in the same order.
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
    /// The changes, each made when it is asked for.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change> + '_ {
        self.all.iter().map(Entry::to_change)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn sorted(mut all: Vec<Entry>) -> Self {
        all.sort_by(|one, other| (&one.path, &one.kind).cmp(&(&other.path, &other.kind)));
        Changes { all }
    }
}

/// One line each.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// `A path`, `M path`, `D path` or `R from -> path`; a directory ends with a slash. Paths are
/// escaped ([`escape::name`]).
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
    /// What is different from what lies beneath, as of now. See [`diff`].
    ///
    /// Nothing should be written meanwhile: what is may be in the answer or not.
    ///
    /// Errors: those of the layers.
    pub fn changes(&self) -> Result<Changes, PathError> {
        let at_root = |errno| PathError { path: String::new(), errno };
        changes::diff(&self.upper().map_err(at_root)?, &self.lowers().map_err(at_root)?)
    }
}

/// Empties a layer, marks and all, so that what lies beneath shows as it is. The layer must not be
/// in use.
///
/// Errors: `Notsup` if the root itself is opaque, which cannot be taken back; those of the layer.
/// What was removed before an error stays removed, and the rest goes when the layer is opened anew;
/// so does what a crash leaves.
pub fn discard(layer: &UpperRef) -> Result<(), PathError> {
    if layer.is_opaque().at("")? {
        return Err(PathError { path: String::new(), errno: Errno::Notsup });
    }
    layer.begin_discard().at("")?;
    for name in names(&**layer).at("")? {
        remove_tree(layer, Name::new(&name).at(&name)?, &name)?;
    }
    for name in whiteouts(&**layer).at("")? {
        // Whatever is put in its place takes the mark away.
        let checked = Name::new(&name).at(&name)?;
        layer.create_dir(checked).at(&name)?;
        layer.remove_dir(checked).at(&name)?;
    }
    layer.end_discard().at("")
}

/// Removes what `name` leads to, with all that is in it. Links are not followed. Nothing is there
/// afterwards; that nothing was there is no error. `path` is that of `name`, for errors.
fn remove_tree<D: TreeDir>(dir: &D, name: Name<'_>, path: &str) -> Result<(), PathError> {
    let within = |error: PathError| PathError { path: join(path, &error.path), ..error };
    let Some(top) = Remove::enter(dir, name).at(path)? else { return Ok(()) };
    walk(top, &mut Remove(PhantomData)).map_err(within)?;
    dir.as_dir().remove_dir(name).at(path)
}

/// A directory, or a directory of a layer: what a tree can be removed from.
trait TreeDir: WalkDir {
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

/// Removes all names of a tree: files at once, directories when they are empty.
struct Remove<D>(PhantomData<D>);

impl<D: TreeDir> Remove<D> {
    /// Removes what is no directory. Returns the directory otherwise.
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

/// The type of what `name` leads to, if anything.
fn kind_of(dir: &dyn Dir, name: Name<'_>) -> Result<Option<FileType>> {
    match to_errno(dir.stat(name.into())) {
        Ok(stat) => Ok(Some(stat.kind)),
        Err(Errno::Noent) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The whiteouts in a directory, in the order of their bytes.
pub(super) fn whiteouts(layer: &dyn UpperDir) -> Result<Vec<Box<str>>> {
    let mut names: Vec<Box<str>> = Vec::new();
    layer.whiteouts(&mut |name| names.push(name.as_str().into()))?;
    names.sort_unstable();
    Ok(names)
}

/// The node that `name`, which was listed just now, leads to.
pub(super) fn node(layer: &dyn UpperDir, name: Name<'_>) -> Result<crate::Stat> {
    match layer.lookup(name)? {
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

/// Escapes a path for a line of text; the root is `.`.
pub(super) fn shown(path: &str) -> escape::Escaped<'_> {
    escape::name(if path.is_empty() { "." } else { path })
}
