//! The contract of a layer: a directory that can say of a name that it is gone.

use std::sync::Arc;

use crate::{Descent, Dir, File, FileRef, FileType, Name, Node, OpenHow, Result, Stat, Stop};

/// A shared layer.
pub type UpperRef = Arc<dyn UpperDir>;

/// What a layer says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpperEntry {
    /// Nothing: what lies beneath shows.
    Absent,
    /// It is gone, whatever lies beneath.
    Whiteout,
    /// This node of the layer's own. A directory that is not opaque is merged with the directory
    /// of that name beneath.
    Node(Stat),
}

/// What [`UpperDir::open_leaf`] found.
pub enum UpperOpen {
    /// The layer says nothing of the name.
    Absent,
    /// A whiteout.
    Whiteout,
    /// A directory, which is not opened.
    Dir,
    /// The open file.
    File(FileRef),
}

/// A name that an adopted node gets.
#[derive(Clone, Copy)]
pub struct NewName<'a> {
    /// A directory of the layer that adopts the node.
    pub dir: &'a dyn UpperDir,
    /// The name in that directory.
    pub name: Name<'a>,
}

/// A node of a lower that is to be put into a layer.
pub enum CopyUp<'a> {
    /// A directory; what is in it shows from beneath, for it is not opaque.
    Dir,
    /// A symbolic link with this target.
    Symlink(&'a str),
    /// A file; the function is called once, with the empty file, open for writing, before any name
    /// leads to it.
    File(&'a mut dyn FnMut(&dyn File) -> Result<()>),
    /// A file that the operation truncates. It stays empty, and is opened in this way before any
    /// name leads to it, so that neither the open nor the truncation can fail afterwards. Its times
    /// are those of a file truncated now.
    Truncated(OpenHow),
}

/// What [`UpperDir::copy_up`] made.
pub enum CopiedUp {
    /// A directory or a symbolic link.
    Named,
    /// A file, open for reading and writing.
    File(FileRef),
    /// A truncated file.
    Truncated {
        /// Open for reading and writing.
        file: FileRef,
        /// Open as [`CopyUp::Truncated`] says.
        opened: FileRef,
    },
}

/// A directory of a layer, held: what an overlay keeps its changes in.
///
/// A layer keeps nodes, and two marks that no name can spell: a *whiteout* says that a name is
/// gone, and an *opaque* directory hides the directory of its name beneath.
///
/// Through the methods of [`Dir`] a layer shows its nodes alone. A whiteout is not there: it is not
/// listed, leads to `Noent`, leaves its directory empty, and whatever is put in its place takes
/// that place in one step. All directories that are reached through a layer, by [`Dir::open`] too,
/// are directories of the layer: [`Dir::rename`] and [`Dir::link`] work between them.
///
/// Each method that changes something is one step, for every observer and for a crash: either it
/// has been done or the layer is as it was. What a layer needs meanwhile (temporary files) is never
/// seen through it.
///
/// A layer belongs to one overlay alone. It may remember what it has found.
pub trait UpperDir: Dir {
    /// Numbers what is created in this layer from now on as nodes of the filesystem `dev`, each
    /// with a number that no other node has: the tree that the layer is a part of is one
    /// filesystem to a guest. Nothing changes where something else numbers the nodes, as the
    /// kernel does those of a directory of the host. An overlay says it once, before it creates
    /// anything.
    fn set_node_dev(&self, dev: u64);

    /// What the layer says of a name.
    ///
    /// The identity in the [`Stat`] of an adopted node is that of the node that it was adopted
    /// from; so is it in all that [`Dir`] and [`File`] answer about it.
    ///
    /// Errors: `Io`.
    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry>;

    /// Opens the file of this name, if the layer has one; nothing is created. What an overlay asks
    /// most often, so worth a single look-up where there can be one.
    ///
    /// Errors, in order: [`Stop::Link`] at 0; `Exist` with `CREATE` and `EXCLUSIVE`; those of
    /// [`Dir::open`] for a file.
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

    /// Holds the directory that `name` leads to, as a layer.
    ///
    /// Errors, in order: `Noent`, for a whiteout too; `Notdir`.
    fn enter(&self, name: Name<'_>) -> Result<UpperRef>;

    /// Whether this directory hides the directories beneath it.
    fn is_opaque(&self) -> Result<bool>;

    /// Calls `each` for the whiteouts in this directory, in a stable order.
    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()>;

    /// Creates a node that stands for one of a lower: with its identity and its times (`changed`
    /// as far as that is possible), under all of `names` in one step. Only a file or a link can
    /// have several names, and only a file can have none. The directories' own times stay as they
    /// are, and so stays everything that was visible before.
    ///
    /// Errors, in order: `Inval` for too many names or too few; `Xdev` for a directory of another
    /// layer; `Noent` for a removed directory; `Exist` if the layer has a node of one of the names;
    /// those of the function that fills a file; `Nospc`, `Io`. After an error the layer shows what
    /// it showed before, also if what was prepared cannot be removed.
    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp>;

    /// Gives an adopted file or link a further name that it has in the lower too. No times change.
    /// `into` is a directory of this layer.
    ///
    /// Errors, in order: `Xdev`; `Noent`; `Exist`; `Nospc`, `Io`.
    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()>;

    /// Says that `name` is gone, in place of what is there: nothing, a file, a link, or a
    /// directory
    /// that shows nothing. This directory's times change as by a removal.
    ///
    /// Errors, in order: `Notempty` for a directory with a node in it; `Nospc`, `Io`.
    fn create_whiteout(&self, name: Name<'_>) -> Result<()>;

    /// Creates an empty directory that hides the directories beneath it.
    ///
    /// Errors: as for [`Dir::create_dir`].
    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()>;

    /// Makes this directory hide those beneath it. Its times stay as they are. Whiteouts in it may
    /// go, since they have nothing left to hide.
    fn set_opaque(&self) -> Result<()>;

    /// [`Dir::rename`] that leaves a whiteout behind, in the same step.
    ///
    /// Errors: as for [`Dir::rename`].
    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()>;

    /// Whether this directory is the directory of this identity, or lies in it, as far as the
    /// layer's own filesystem can tell: an upper in a lower would show itself.
    ///
    /// Errors: `Io`.
    fn lies_in(&self, dir: (u64, u64)) -> Result<bool> {
        let stat = self.stat(Descent::HERE).map_err(Stop::without_following)?;
        Ok((stat.dev, stat.ino) == dir)
    }

    /// A number that nobody but this layer knows, the same each time, for this root of a layer: the
    /// temporary names of its commits are made of it, so that no guest's file has one, and a commit
    /// knows those of the one that was interrupted before.
    ///
    /// Errors: `Rofs` if the layer is frozen and has none; `Nospc`, `Io`.
    fn commit_token(&self) -> Result<u128>;

    /// Says of this root of a layer that all in it is discarded. If the process ends before
    /// [`UpperDir::end_discard`], opening the layer anew empties it first, so that a crash leaves
    /// all
    /// of the changes or none: of a part of them one could not tell what they were.
    ///
    /// Errors: `Rofs` if the layer is frozen; `Nospc`, `Io`.
    fn begin_discard(&self) -> Result<()>;

    /// Ends what [`UpperDir::begin_discard`] began: the layer is empty now.
    ///
    /// Errors: as for [`UpperDir::begin_discard`].
    fn end_discard(&self) -> Result<()>;

    /// Ends all change to the filesystem that this layer is of, for ever: from now on what would
    /// change it is `Rofs`. Marks and nodes stay as they are, so it can be a lower of many
    /// overlays.
    ///
    /// Errors: `Txtbsy` while one of its files is open.
    fn freeze(&self) -> Result<()>;
}
