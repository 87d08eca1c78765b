//! What an overlay's layer has changed, as a value: to be looked at, committed, discarded, and
//! written to an archive.
//!
//! What is here reads layers through [`Layer`] and lowers through [`Lowers`] alone, so it holds for
//! any upper. Nothing else is said in a layer than nodes, whiteouts and opaque directories: that
//! a node was renamed is told from its identity, which a copied-up node keeps.
//!
//! All trees are walked with a stack of their own, one frame for each directory that is open, so
//! neither a deep tree nor a wide one costs more descriptors than it is deep.
//!
//! Deliberately absent: a change without its layer. The bytes of a change lie in the layer; a
//! [`Changes`] says what is where.

mod commit;
mod diff;
mod flatten;
mod moves;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use commit::{Committed, Progress, Step, commit};
pub use diff::diff;
#[cfg(feature = "tar")]
pub(super) use diff::read_full;
pub use flatten::flatten;

use super::layer::{Layer, LayerRef, Says};
use super::lowers::end;
use super::{Overlay, changes};
use crate::{Cookie, Descent, Dir, Errno, FileType, Name, OpenHow, Result};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    all: Vec<Change>,
}

/// What went wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Names joined by slashes; empty for the root.
    pub path: String,
    /// Why.
    pub errno: Errno,
}

impl Changes {
    /// The changes.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.all.iter()
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

    fn sorted(mut all: Vec<Change>) -> Self {
        all.sort_by(|one, other| (&one.path, &one.kind).cmp(&(&other.path, &other.kind)));
        Changes { all }
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// One line each.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// `A path`, `M path`, `D path` or `R from -> path`; a directory ends with a slash. What a
/// terminal would act upon is written as an escape.
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

impl From<PathError> for Errno {
    fn from(error: PathError) -> Errno {
        error.errno
    }
}

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
pub fn discard(layer: &LayerRef) -> Result<(), PathError> {
    if layer.is_opaque().at("")? {
        return Err(PathError { path: String::new(), errno: Errno::Notsup });
    }
    layer.begin_discard().at("")?;
    for name in nodes(&**layer).at("")? {
        remove_tree(&**layer, Name::new(&name).at(&name)?, &name)?;
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
/// afterwards; that nothing was there is no error.
fn remove_tree(dir: &dyn Dir, name: Name<'_>, path: &str) -> Result<(), PathError> {
    struct Frame {
        dir: crate::DirRef,
        path: String,
        names: Vec<String>,
    }
    let enter = |dir: &dyn Dir, name: Name<'_>, path: &str| -> Result<Option<Frame>, PathError> {
        let Some(kind) = kind_of(dir, name).at(path)? else { return Ok(None) };
        if kind != FileType::Dir {
            dir.remove_file(name).at(path)?;
            return Ok(None);
        }
        let dir = end(dir.open(name.into(), OpenHow::HOLD_DIR)).at(path)?.into_dir().at(path)?;
        let names = nodes(&*dir).at(path)?;
        Ok(Some(Frame { dir, path: path.to_owned(), names }))
    };
    let Some(top) = enter(dir, name, path)? else { return Ok(()) };
    let mut frames = vec![top];
    while let Some(Frame { dir: at, path: at_path, names }) = frames.last_mut() {
        if let Some(next) = names.pop() {
            let path = join(at_path, &next);
            if let Some(frame) = enter(&**at, Name::new(&next).at(&path)?, &path)? {
                frames.push(frame);
            }
            continue;
        }
        let Some(done) = frames.pop() else { break };
        let name_of = done.path.rsplit('/').next().unwrap_or_default();
        match frames.last() {
            Some(above) => above.dir.remove_dir(Name::new(name_of).at(&done.path)?),
            None => dir.remove_dir(name),
        }
        .at(&done.path)?;
    }
    Ok(())
}

/// The type of what `name` leads to, if anything.
fn kind_of(dir: &dyn Dir, name: Name<'_>) -> Result<Option<FileType>> {
    match end(dir.stat(name.into())) {
        Ok(stat) => Ok(Some(stat.kind)),
        Err(Errno::Noent) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory, in the order of their bytes.
pub(super) fn nodes(dir: &dyn Dir) -> Result<Vec<String>> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })?;
    names.sort_unstable();
    Ok(names)
}

/// The whiteouts in a directory, in the order of their bytes.
pub(super) fn whiteouts(layer: &dyn Layer) -> Result<Vec<String>> {
    let mut names = Vec::new();
    layer.whiteouts(&mut |name| names.push(name.as_str().to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

/// The node that `name`, which was listed just now, leads to.
pub(super) fn node(layer: &dyn Layer, name: Name<'_>) -> Result<crate::Stat> {
    match layer.look(name)? {
        Says::Node(stat) => Ok(stat),
        Says::Nothing | Says::Whiteout => Err(Errno::Noent),
    }
}

/// The directory that `path` leads to, no link being followed.
fn hold(root: &crate::DirRef, path: &str) -> Result<crate::DirRef> {
    if path.is_empty() {
        return Ok(Arc::clone(root));
    }
    end(root.open(Descent::new(path)?, OpenHow::HOLD_DIR))?.into_dir()
}

pub(super) fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}

/// A path as a line of text may show it.
pub(super) fn shown(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            '\\' => text.push_str("\\\\"),
            // They change the order in which what follows is shown.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

/// Says where an error happened.
pub(super) trait At<T> {
    fn at(self, path: &str) -> Result<T, PathError>;
}

impl<T> At<T> for Result<T> {
    fn at(self, path: &str) -> Result<T, PathError> {
        self.map_err(|errno| PathError { path: path.to_owned(), errno })
    }
}
