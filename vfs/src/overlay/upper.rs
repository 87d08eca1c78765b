//! The trait of an upper: a directory with whiteouts and opaque directories.

use std::sync::Arc;

use crate::{Descent, Dir, File, FileRef, FileType, Name, Node, OpenHow, Result, Stat, Stop};

/// A shared directory of an upper.
pub type UpperRef = Arc<dyn UpperDir>;

/// The entry of an upper under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperEntry {
    /// None: the lowers are visible.
    Absent,
    /// A whiteout: the name is absent, regardless of the lowers.
    Whiteout,
    /// A node of the upper. A directory that is not opaque is merged with the lowers' directory.
    Node(Stat),
}

/// The result of [`UpperDir::open_leaf`].
pub enum UpperOpen {
    /// The upper has no entry of the name.
    Absent,
    /// The entry is a whiteout.
    Whiteout,
    /// The entry is a directory, which is not opened.
    Dir,
    /// The opened file.
    File(FileRef),
}

/// A name for a node that is copied up.
#[derive(Clone, Copy)]
pub struct NewName<'a> {
    /// A directory of the upper that the node is copied to.
    pub dir: &'a dyn UpperDir,
    /// A name in that directory.
    pub name: Name<'a>,
}

/// The node of a lower to copy up.
pub enum CopyUp<'a> {
    /// A directory. The copy is not opaque, so the entries of the lowers stay visible.
    Dir,
    /// A symbolic link with this target.
    Symlink(&'a str),
    /// A file. The function fills the empty copy, which is open for writing. It is called once,
    /// before a name leads to the copy.
    File(&'a mut dyn FnMut(&dyn File) -> Result<()>),
    /// A file that the operation truncates. The copy stays empty and is opened in this way before a
    /// name leads to it, so neither the open nor the truncation can fail later. Its times are those
    /// of a file truncated now.
    Truncated(OpenHow),
}

/// The result of [`UpperDir::copy_up`].
pub enum CopiedUp {
    /// A directory or a symbolic link was created.
    Named,
    /// A file was created. It is open for reading and writing.
    File(FileRef),
    /// A truncated file was created.
    Truncated {
        /// The file, open for reading and writing.
        file: FileRef,
        /// The file, opened as [`CopyUp::Truncated`] requests.
        opened: FileRef,
    },
}

/// A directory of an upper, where an overlay keeps its changes.
///
/// Beside nodes an upper has [two marks without a name of their own][marks]: a *whiteout* hides a
/// name of the lowers, and an *opaque* directory hides the directory of the same name in the
/// lowers.
///
/// The methods of [`Dir`] show only the nodes. A whiteout is not listed, its name is `ENOENT`, and
/// a directory with nothing but whiteouts is empty. A node that is created or renamed onto a
/// whiteout replaces the whiteout in the same step. All directories that are opened through an
/// upper, also with [`Dir::open`], are directories of that upper, so [`Dir::rename`] and
/// [`Dir::link`] work between them.
///
/// Each method that changes the upper is atomic for observers, and also for a crash. Temporary
/// files of the implementation are never visible.
///
/// An upper belongs to one overlay, so an implementation may cache its content.
///
/// [marks]: https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories
pub trait UpperDir: Dir {
    /// Sets the device number of the nodes that are created from now on, and gives each a unique
    /// inode number: for a guest, the merged tree is one filesystem. An upper on the host ignores
    /// the call, since Linux numbers its nodes. The overlay calls this once, before it creates
    /// a node.
    fn set_node_dev(&self, dev: u64);

    /// Returns the entry `name`.
    ///
    /// The identity in the [`Stat`] of a copied-up node is that of the lower's node. The methods of
    /// [`Dir`] and [`File`] return the same identity.
    ///
    /// # Errors
    /// - `EIO`
    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry>;

    /// Opens the file `name` if the upper has one. Nothing is created. An overlay calls this for
    /// most opens, so an implementation should use a single lookup.
    ///
    /// # Errors
    /// - [`Stop::Link`] at 0: the entry is a symbolic link.
    /// - `EEXIST`: `CREATE` and `EXCLUSIVE` are set.
    /// - The errors of [`Dir::open`] for a file
    ///   ([openat](https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html)).
    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<UpperOpen, Stop> {
        match self.lookup(name)? {
            UpperEntry::Absent => Ok(UpperOpen::Absent),
            UpperEntry::Whiteout => Ok(UpperOpen::Whiteout),
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => Ok(UpperOpen::Dir),
            UpperEntry::Node(_) => match self.open(name.into(), how)? {
                Node::File(file) => Ok(UpperOpen::File(file)),
                Node::Dir(_) => Ok(UpperOpen::Dir),
            },
        }
    }

    /// Opens the subdirectory `name`.
    ///
    /// # Errors
    /// - `ENOENT`: the name is absent or a whiteout.
    /// - `ENOTDIR`: the node is not a directory.
    fn enter(&self, name: Name<'_>) -> Result<UpperRef>;

    /// Returns whether this directory hides the lowers' directories.
    fn is_opaque(&self) -> Result<bool>;

    /// Calls `each` for the names of the whiteouts in this directory, in a stable order.
    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()>;

    /// Creates the copy of a lower's node, with the identity and times of `stat` (`changed` only
    /// where it can be set), under all of `names` in one step. A directory needs one name, a
    /// symbolic link at least one, a file may have none. The times of the parent directories do not
    /// change, nor does any visible entry.
    ///
    /// # Errors
    /// - `EINVAL`: too many or too few names.
    /// - `EXDEV`: a directory belongs to another upper.
    /// - `ENOENT`: a directory is removed.
    /// - `EEXIST`: the upper has a node of one of the names.
    /// - The errors of the function that fills a file.
    /// - `ENOSPC`, `EIO`
    ///
    /// After an error the visible tree is unchanged, even if a temporary node cannot be removed.
    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp>;

    /// Adds a name to a copied-up file or symbolic link
    /// ([linkat](https://pubs.opengroup.org/onlinepubs/9799919799/functions/linkat.html)), which it
    /// has in the lower too. No times change. `into` is a directory of this upper.
    ///
    /// # Errors
    /// - `EXDEV`: `into` belongs to another upper.
    /// - `ENOENT`: `name` is absent, or a directory is removed.
    /// - `EEXIST`: `new_name` exists.
    /// - `ENOSPC`, `EIO`
    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()>;

    /// Replaces the entry `name` by a whiteout: no entry, a file, a link, or a directory without
    /// visible entries. The times of this directory change as for a removal.
    ///
    /// # Errors
    /// - `ENOTEMPTY`: the entry is a directory with a node in it.
    /// - `ENOSPC`, `EIO`
    fn create_whiteout(&self, name: Name<'_>) -> Result<()>;

    /// Creates an empty opaque directory
    /// ([mkdirat](https://pubs.opengroup.org/onlinepubs/9799919799/functions/mkdirat.html)).
    ///
    /// # Errors
    /// - Those of [`Dir::create_dir`].
    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()>;

    /// Makes this directory opaque. Its times do not change. An implementation may remove the
    /// whiteouts in it, which have nothing left to hide.
    fn set_opaque(&self) -> Result<()>;

    /// Renames as [`Dir::rename`], and leaves a whiteout under the old name in the same step, as
    /// `RENAME_WHITEOUT` of [renameat2](https://man7.org/linux/man-pages/man2/rename.2.html).
    ///
    /// # Errors
    /// - Those of [`Dir::rename`].
    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()>;

    /// Returns whether this directory is the directory with the identity `dir` or a descendant of
    /// it, as far as the filesystem of the upper can find out. An upper inside a lower would list
    /// itself.
    ///
    /// # Errors
    /// - `EIO`
    fn is_in(&self, dir: (u64, u64)) -> Result<bool> {
        let stat = self.stat(Descent::HERE).map_err(Stop::without_following)?;
        Ok((stat.dev, stat.ino) == dir)
    }

    /// Returns a random number that identifies this root of an upper, the same in every call.
    /// Commits derive the names of temporary files from it. No guest can guess such a name, and a
    /// later commit recognizes the files of an interrupted one.
    ///
    /// # Errors
    /// - `EROFS`: the upper is frozen and has no token yet.
    /// - `ENOSPC`, `EIO`
    fn commit_token(&self) -> Result<u128>;

    /// Marks this root as discarded. If the process ends before [`UpperDir::end_discard`], the next
    /// open of the upper empties it first. So a crash leaves all changes or none: a partial upper
    /// would be a different set of changes.
    ///
    /// # Errors
    /// - `EROFS`: the upper is frozen.
    /// - `ENOSPC`, `EIO`
    fn begin_discard(&self) -> Result<()>;

    /// Removes the mark of [`UpperDir::begin_discard`], after the upper has been emptied.
    ///
    /// # Errors
    /// - Those of [`UpperDir::begin_discard`].
    fn end_discard(&self) -> Result<()>;

    /// Makes the filesystem of this upper read-only for ever: changes fail with `EROFS` from now
    /// on. Its nodes, whiteouts and opaque directories stay, so it can be a lower of many overlays.
    ///
    /// # Errors
    /// - `ETXTBSY`: a file of the upper is open.
    fn freeze(&self) -> Result<()>;
}
