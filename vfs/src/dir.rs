//! The trait `Dir`, the contract of a held directory, and the types of its results.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{Descent, Errno, File, FileType, Name, OpenHow, Result, SetTimes, Stat};

/// A shared directory.
pub type DirRef = Arc<dyn Dir>;
/// A shared open file.
pub type FileRef = Arc<dyn File>;

/// An opened node.
#[derive(Clone)]
pub enum Node {
    /// A directory.
    Dir(DirRef),
    /// A file.
    File(FileRef),
}

impl Node {
    /// Returns the directory.
    ///
    /// # Errors
    ///
    /// - `ENOTDIR`: the node is a file.
    pub fn into_dir(self) -> Result<DirRef> {
        match self {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Errno::Notdir),
        }
    }

    /// Returns the file.
    ///
    /// # Errors
    ///
    /// - `EISDIR`: the node is a directory.
    pub fn into_file(self) -> Result<FileRef> {
        match self {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(Errno::Isdir),
        }
    }
}

/// Why a directory did not complete an operation on a descent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The operation failed.
    Errno(Errno),
    /// The name after the first `at` names is a symbolic link. This is not an error: the walker
    /// continues at the link's target.
    Link {
        /// The number of names before the link.
        at: usize,
        /// The target of the link, unchanged.
        target: Box<str>,
    },
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Stop::Errno(errno)
    }
}

impl Stop {
    /// Adds `names` to a link's position, for a `Dir` that has passed the rest of a descent to
    /// another directory.
    #[must_use]
    pub fn shifted_by(self, names: usize) -> Self {
        match self {
            Stop::Errno(errno) => Stop::Errno(errno),
            Stop::Link { at, target } => Stop::Link { at: at + names, target },
        }
    }

    /// Returns the errno for a caller that does not follow links: `ELOOP` for a link, as for `open`
    /// with `O_NOFOLLOW`.
    ///
    /// On a descent of at most one name a link is unexpected: another process has replaced the node
    /// by a link, or a [`Dir`] breaks its contract.
    #[must_use]
    pub fn without_following(self) -> Errno {
        match self {
            Stop::Errno(errno) => errno,
            Stop::Link { .. } => Errno::Loop,
        }
    }
}

/// A position in a directory's stream, between two entries.
///
/// [`Cookie::START`] is the beginning. All other cookies come from [`Entry::next`]. A cookie stays
/// valid for the same directory through any handle, also after entries are created or removed: an
/// entry that exists during the whole listing is reported exactly once. The top bit is never set.
///
/// Exception: a directory of an overlay may drop its cookies when its last handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// The beginning of the stream.
    pub const START: Cookie = Cookie(0);
}

/// One entry of a directory's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name.
    pub name: Name<'a>,
    /// The type of the node; a symbolic link is [`FileType::Symlink`].
    pub kind: FileType,
    /// The inode number of the node, never 0.
    pub ino: u64,
    /// The position after this entry.
    pub next: Cookie,
}

/// A handle on a directory.
///
/// A handle is the only way to reach the nodes under a directory, and it has no way up: no method
/// takes `..`, an absolute path, or a string that could contain one. No method follows a symbolic
/// link: a link at the end of a descent is the node, and a link before the end is [`Stop::Link`].
///
/// A handle refers to the directory itself, not to a path, so it keeps working after a rename. In a
/// removed directory every lookup and every creation fails with `ENOENT`.
///
/// Errors are listed in order: when several apply, an implementation returns the first one. The
/// order is Linux's. A method that changes the tree either completes or leaves the tree unchanged.
pub trait Dir: Any + Send + Sync {
    /// Opens the node at `path`. [`Descent::HERE`] opens this directory again.
    ///
    /// A created file is empty. An existing file keeps its bytes unless `TRUNCATE` is given.
    ///
    /// # Errors
    ///
    /// - `ENOTDIR`, [`Stop::Link`], `ENOENT`: the first name before the last one that is a file, a
    ///   link, or missing.
    /// - `EEXIST`: `CREATE` and `EXCLUSIVE` are given and the last name exists, a link included.
    /// - [`Stop::Link`]: the last name is a symbolic link.
    /// - `ENOENT`: the last name is missing and `CREATE` is not given.
    /// - `EISDIR`: the node is a directory and [`OpenHow::refuses_dir`].
    /// - `ENOTDIR`: `DIRECTORY` is given and the node is not a directory.
    /// - `ENXIO`: the node is a FIFO, a socket or a device of the host. It is neither opened nor
    ///   changed.
    /// - `EACCES`, `EROFS`, `ETXTBSY`, `EMFILE`, `ENOSPC`, `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/open.html>
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop>;

    /// Returns the metadata of the node at `path`. A symbolic link at the end is not followed.
    ///
    /// # Errors
    ///
    /// - `ENOTDIR`, [`Stop::Link`], `ENOENT`: as for [`Dir::open`], for a name before the last one.
    /// - `ENOENT`: the last name is missing.
    /// - `EACCES`, `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstatat.html>
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop>;

    /// Returns the metadata of the node at `path`, or [`Stop::Link`] if the node is a symbolic
    /// link.
    ///
    /// For callers that follow links: a policy checks the right to follow the link instead of the
    /// right to stat it. The default makes two lookups; filesystems that can make one implement
    /// this method.
    ///
    /// # Errors
    ///
    /// - As for [`Dir::stat`].
    /// - `EILSEQ`: the target of the link is not UTF-8.
    /// - `EAGAIN`: another node has replaced the link since the first lookup.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstatat.html>
    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        stop_at_link(self, path, self.stat(path)?)
    }

    /// Returns the target of a symbolic link, unchanged.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the name is missing.
    /// - `EINVAL`: the node is not a symbolic link.
    /// - `EILSEQ`: the target is not UTF-8.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readlink.html>
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>>;

    /// Calls `each` for the entries after `from`, until it breaks or the listing ends.
    ///
    /// The listing has no entries for `.` and `..`, and none for names that are not UTF-8. A
    /// removed directory is empty.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: this directory cannot have returned the cookie.
    /// - `EACCES`, `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readdir.html>
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// Creates an empty directory.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: the name exists. Any type of node counts, also a symbolic link.
    /// - `ENOENT`: this directory is removed.
    /// - `EROFS`, `EACCES`.
    /// - `EMLINK`, `ENOSPC`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mkdir.html>
    fn create_dir(&self, name: Name<'_>) -> Result<()>;

    /// Creates a symbolic link to `target`. The target is stored unchanged and never resolved.
    ///
    /// # Errors
    ///
    /// - As for [`Dir::create_dir`].
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/symlink.html>
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()>;

    /// Removes the name of a node that is not a directory.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the name is missing.
    /// - `EISDIR`: the node is a directory.
    /// - `EBUSY`: the name is a mount point.
    /// - `EROFS`, `EACCES`, `EPERM`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/unlink.html>
    fn remove_file(&self, name: Name<'_>) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// - `ENOENT`: the name is missing.
    /// - `ENOTDIR`: the node is not a directory.
    /// - `EBUSY`: the name is a mount point.
    /// - `ENOTEMPTY`: the directory has entries.
    /// - `EROFS`, `EACCES`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/rmdir.html>
    fn remove_dir(&self, name: Name<'_>) -> Result<()>;

    /// Renames a node atomically, replacing the node at the new name if the types allow it: a file
    /// replaces a file, a directory replaces an empty directory.
    ///
    /// If both names lead to the same node, the call succeeds and changes nothing; the check comes
    /// after the first `ENOTEMPTY`.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: `into` is of another filesystem or is wrapped in other layers.
    /// - `ENOENT`: the old name is missing.
    /// - `EINVAL`: a directory would become its own descendant.
    /// - `ENOTEMPTY`: the new name is an ancestor of the old one.
    /// - `ENOTDIR`: a directory would replace another node.
    /// - `EISDIR`: another node would replace a directory.
    /// - `EBUSY`: one of the names is a mount point.
    /// - `ENOTEMPTY`: the directory at the new name has entries.
    /// - `EROFS`, `EACCES`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/rename.html>
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()>;

    /// Creates a hard link to a node that is not a directory. A symbolic link is not followed: the
    /// link itself gets the new name.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: `into` is of another filesystem or is wrapped in other layers.
    /// - `ENOENT`: the old name is missing.
    /// - `EEXIST`: the new name exists.
    /// - `EPERM`: the node is a directory.
    /// - `EMLINK`.
    /// - `EROFS`, `EACCES`, `ENOSPC`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/link.html>
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()>;

    /// Sets the times of the node at `path`. A symbolic link at the end is not followed.
    ///
    /// # Errors
    ///
    /// - As for [`Dir::stat`].
    /// - `EROFS`, `EPERM`, `EACCES`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/futimens.html>
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop>;

    /// Makes the entries durable. Succeeds if there is nothing to do.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html>
    fn sync(&self) -> Result<()>;

    /// Returns whether a call on this directory, or on one under it, can block on a disk, a network
    /// or a device. An async adapter makes such calls on another thread.
    ///
    /// `false` is a promise; `true` is always correct.
    fn may_block(&self) -> bool {
        true
    }

    /// Returns a number that changes when earlier results may no longer be allowed, because a
    /// policy was narrowed or revoked or its lease has expired.
    ///
    /// A caller that buffers entries or metadata compares the number before it uses the buffer, and
    /// repeats the call if the number differs. Changes to the tree do not change it.
    fn epoch(&self) -> u64 {
        0
    }
}

/// Returns `stat`, the metadata of the node at `path`, or the [`Stop::Link`] of a symbolic link.
pub(crate) fn stop_at_link<D: Dir + ?Sized>(
    dir: &D,
    path: Descent<'_>,
    stat: Stat,
) -> Result<Stat, Stop> {
    if stat.kind != FileType::Symlink {
        return Ok(stat);
    }
    match dir.open(path, OpenHow::HOLD) {
        Err(stop) => Err(stop),
        // Another process has replaced the link since the stat.
        Ok(_) => Err(Errno::Again.into()),
    }
}
