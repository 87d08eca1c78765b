//! The contract of a directory, and what it hands out.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{Descent, Errno, File, FileType, Name, OpenHow, Result, SetTimes, Stat};

/// A shared directory.
pub type DirRef = Arc<dyn Dir>;
/// A shared open file.
pub type FileRef = Arc<dyn File>;

/// What an open gives.
#[derive(Clone)]
pub enum Node {
    /// A directory.
    Dir(DirRef),
    /// A file.
    File(FileRef),
}

impl Node {
    /// The directory, or `Notdir`.
    pub fn into_dir(self) -> Result<DirRef> {
        match self {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Errno::Notdir),
        }
    }

    /// The file, or `Isdir`.
    pub fn into_file(self) -> Result<FileRef> {
        match self {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(Errno::Isdir),
        }
    }
}

/// Why a descent ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An error.
    Errno(Errno),
    /// The name after the first `at` names is a symbolic link. Not an error: the walker's
    /// business.
    Link {
        /// How many names lie before the link.
        at: usize,
        /// What the link says, as it says it.
        target: Box<str>,
    },
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Errno(errno)
    }
}

impl Stop {
    /// Shifts a link's position by `names`, for a layer that gave the rest of a descent to
    /// another directory.
    #[must_use]
    pub fn below(self, names: usize) -> Self {
        match self {
            Stop::Errno(errno) => Stop::Errno(errno),
            Stop::Link { at, target } => Stop::Link { at: at + names, target },
        }
    }

    /// The errno for a caller that does not expect a link and does not follow one: `Loop`, as for
    /// `open` with `O_NOFOLLOW`. On a descent of at most one name only another process, which put
    /// a link in the place of the node, or a [`Dir`] that breaks its contract can cause it.
    #[must_use]
    pub fn without_following(self) -> Errno {
        match self {
            Stop::Errno(errno) => errno,
            Stop::Link { .. } => Errno::Loop,
        }
    }
}

/// A position in a directory's stream: where an entry ends and the next begins.
///
/// [`Cookie::START`] is the beginning. All others come from [`Entry::next`], and stay good for the
/// same directory through any handle, whatever is created or removed meanwhile: an entry that
/// neither appears nor vanishes is reported exactly once. The top bit is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// The beginning of the stream.
    pub const START: Cookie = Cookie(0);
}

/// One entry of a directory's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its type; a link is [`FileType::Symlink`].
    pub kind: FileType,
    /// Its node's number, never 0.
    pub ino: u64,
    /// Where to go on behind it.
    pub next: Cookie,
}

/// A directory, held.
///
/// Holding one is the only way to reach what lies beneath it, and there is no way up: no method
/// takes `..`, an absolute path, or a string that could hide one. No method follows a symbolic
/// link: the one at the end of a descent is the node, and one before the end is [`Stop::Link`].
///
/// A handle is the node and not a remembered path: it goes on working after a rename. After its
/// removal, what is looked up in it is `Noent`, and what would be created in it is `Noent`.
///
/// When several errors apply, return the one listed first. Every method that changes something
/// either has done it or has left the tree as it was.
///
/// The order of errors is Linux's; see the POSIX pages at
/// <https://pubs.opengroup.org/onlinepubs/9799919799/>.
pub trait Dir: Any + Send + Sync {
    /// Opens what `path` leads to. [`Descent::HERE`] opens this directory anew.
    ///
    /// A created file is empty. An existing one keeps its bytes unless `TRUNCATE` is given.
    ///
    /// Errors, in order: `Notdir` or [`Stop::Link`] or `Noent` for the first name on the way that
    /// is a file, a link or missing; then for the last name: with `CREATE` and `EXCLUSIVE` and
    /// anything there, a link included, `Exist`; a link is [`Stop::Link`]; missing without
    /// `CREATE` is `Noent`; a directory for which
    /// [`OpenHow::refuses_dir`] is `Isdir`; anything else with `DIRECTORY` is `Notdir`; a FIFO, a
    /// socket or a device of the host is `Nxio`, and is neither opened nor acted upon; then
    /// `Acces`, `Rofs`, `Txtbsy`, `Mfile`, `Nospc`, `Io`.
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop>;

    /// What the node is that `path` leads to: a link at the end is the node.
    ///
    /// Errors, in order: as for [`Dir::open`] on the way; `Noent`; `Acces`; `Io`.
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop>;

    /// As [`Dir::stat`], for a caller that follows links: one at the end is [`Stop::Link`], also
    /// where it may not be looked at itself. It is one look and one judgement where a filesystem
    /// can, and two looks if this is not implemented.
    ///
    /// Errors, in order: as for [`Dir::stat`]; `Ilseq` for a link whose target is not UTF-8;
    /// `Again` if something else took its place meanwhile.
    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        unless_link(self, path, self.stat(path)?)
    }

    /// The target of a symbolic link, as it was given.
    ///
    /// Errors, in order: `Noent`; `Inval` if it is no link; `Ilseq` if the target is not UTF-8.
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>>;

    /// Calls `each` for the entries behind `from`, until it breaks or the end. There is no entry
    /// for `.` or `..`. Names that are not UTF-8 are left out.
    ///
    /// Errors, in order: `Inval` for a cookie that this directory cannot have given; `Acces`;
    /// `Io`. A removed directory is empty.
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Creates an empty directory.
    ///
    /// Errors, in order: `Exist`, whatever is there; `Noent` if this directory is removed;
    /// `Rofs`, `Acces`; `Mlink`, `Nospc`.
    fn create_dir(&self, name: Name<'_>) -> Result<()>;

    /// Creates a symbolic link that says `target`. It is kept as it is and never looked at.
    ///
    /// Errors, in order: as for [`Dir::create_dir`].
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()>;

    /// Removes a name that leads to anything but a directory.
    ///
    /// Errors, in order: `Noent`; `Isdir`; `Busy` for a mount point; `Rofs`, `Acces`, `Perm`.
    fn remove_file(&self, name: Name<'_>) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// Errors, in order: `Noent`; `Notdir`; `Busy` for a mount point; `Notempty`; `Rofs`,
    /// `Acces`.
    fn remove_dir(&self, name: Name<'_>) -> Result<()>;

    /// Gives a node another name, in one step. What the new name led to is gone, if the types
    /// allow it: a file takes a file's place, a directory an empty directory's.
    ///
    /// `into` must be of the same filesystem and the same layers, else `Xdev`.
    ///
    /// Errors, in order: `Xdev`; `Noent` for the old name; `Inval` if a directory would come to
    /// lie in itself; `Notempty` if the target is a directory above the source; success without a
    /// change if both names lead to the same node; `Notdir` for a directory onto something else;
    /// `Isdir` for anything else onto a directory; `Busy`; `Notempty`; `Rofs`, `Acces`.
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()>;

    /// Gives a node that is no directory a further name; a link is linked itself.
    ///
    /// `into` must be of the same filesystem and the same layers, else `Xdev`.
    ///
    /// Errors, in order: `Xdev`; `Noent` for the old name; `Exist` for the new one; `Perm` for a
    /// directory; `Mlink`; `Rofs`, `Acces`, `Nospc`.
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()>;

    /// Changes the times of what `path` leads to; a link at the end is changed itself.
    ///
    /// Errors, in order: as for [`Dir::stat`]; `Rofs`, `Perm`, `Acces`.
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop>;

    /// Makes the entries durable. Nothing to do is success.
    fn sync(&self) -> Result<()>;
    /// Whether a call on this directory, or on one beneath it, can wait for a disk, a network or a
    /// device. A caller that must not wait makes such calls elsewhere.
    ///
    /// `false` is a promise; `true` is always a safe answer.
    fn may_block(&self) -> bool {
        true
    }

    /// A number that differs once results of earlier calls may be out of date because a layer
    /// refuses more than it did then: a policy was narrowed or revoked, or its lease has ended. A
    /// caller that buffers entries or metadata compares it before it uses them, and calls again if
    /// it differs. It says nothing of changes to the tree.
    fn epoch(&self) -> u64 {
        0
    }
}

/// What was seen at `path`, or the stop if that was a link, for who follows links.
pub(crate) fn unless_link<D: Dir + ?Sized>(
    dir: &D,
    path: Descent<'_>,
    seen: Stat,
) -> Result<Stat, Stop> {
    if seen.kind != FileType::Symlink {
        return Ok(seen);
    }
    match dir.open(path, OpenHow::HOLD) {
        Err(stop) => Err(stop),
        // It was a link a moment ago; it is not now.
        Ok(_) => Err(Errno::Again.into()),
    }
}
