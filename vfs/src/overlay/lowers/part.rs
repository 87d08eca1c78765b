//! One lower's directory: a plain directory, or a frozen upper with whiteouts.

use super::super::upper::{UpperEntry, UpperRef};
use super::to_errno;
use crate::path::kind_of;
use crate::{Descent, Dir, DirRef, Errno, FileType, Name, OpenHow, Result};

/// One lower's directory at the path of a [`MergedDir`](super::MergedDir).
#[derive(Clone)]
pub(in super::super) enum LowerDir {
    /// A directory of any filesystem. It has no whiteouts and is never opaque.
    Plain(DirRef),
    /// A directory of a frozen upper, whose whiteouts and opaque directories apply.
    Frozen(UpperRef),
}

/// The type of the entry that one lower has under a name.
pub(super) enum PartKind {
    Absent,
    Whiteout,
    /// A node that is not a directory.
    Leaf,
    Dir,
}

impl LowerDir {
    pub(in super::super) fn dir(&self) -> &dyn Dir {
        match self {
            LowerDir::Plain(dir) => &**dir,
            LowerDir::Frozen(upper) => &**upper,
        }
    }

    /// Looks up the type of the entry `name`.
    pub(super) fn lookup(&self, name: Name<'_>) -> Result<PartKind> {
        let kind = match self {
            LowerDir::Plain(dir) => kind_of(&**dir, name),
            LowerDir::Frozen(upper) => match upper.lookup(name)? {
                UpperEntry::Absent => return Ok(PartKind::Absent),
                UpperEntry::Whiteout => return Ok(PartKind::Whiteout),
                UpperEntry::Node(stat) => Ok(stat.kind),
            },
        };
        match kind {
            Ok(FileType::Dir) => Ok(PartKind::Dir),
            Ok(_) => Ok(PartKind::Leaf),
            Err(Errno::Noent) => Ok(PartKind::Absent),
            Err(errno) => Err(errno),
        }
    }

    /// Opens the subdirectory `name`.
    pub(in super::super) fn enter(&self, name: Name<'_>) -> Result<LowerDir> {
        Ok(match self {
            LowerDir::Plain(dir) => {
                LowerDir::Plain(to_errno(dir.open(name.into(), OpenHow::HOLD_DIR))?.into_dir()?)
            }
            LowerDir::Frozen(upper) => LowerDir::Frozen(upper.enter(name)?),
        })
    }

    /// Returns whether this directory hides the directories of the lowers under it.
    pub(in super::super) fn is_opaque(&self) -> Result<bool> {
        match self {
            LowerDir::Plain(_) => Ok(false),
            LowerDir::Frozen(upper) => upper.is_opaque(),
        }
    }

    /// Returns whether this directory is the directory with the identity `top` or a descendant of
    /// it.
    pub(super) fn is_in(&self, top: (u64, u64)) -> Result<bool> {
        match self {
            LowerDir::Plain(dir) => plain_is_in(&**dir, top),
            LowerDir::Frozen(upper) => upper.is_in(top),
        }
    }
}

/// The ancestors of a plain directory can be compared on the host only; other filesystems compare
/// the directory itself.
fn plain_is_in(dir: &dyn Dir, top: (u64, u64)) -> Result<bool> {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(dir) = (dir as &dyn std::any::Any).downcast_ref::<crate::HostDir>() {
        return dir.is_in(top);
    }
    to_errno(dir.stat(Descent::HERE)).map(|stat| (stat.dev, stat.ino) == top)
}
