//! Immutable trees: the common part of embedded files and images.
//!
//! A [`Tree`] is built once by a [`Builder`] and then only read, so it needs no lock, and any
//! number of handles share it. The names of all directories are in one hash table, keyed by
//! directory and name: a descent costs one lookup per name, however many names the tree has. A
//! [`ContentSource`] holds the bytes of the files; the tree stores two numbers for each file.
//!
//! Nodes are numbered from the root down, and the names of each directory are sorted by bytes. So
//! the same content has the same inode numbers in every run, in any order of insertion, and a
//! cookie stays valid forever.
//!
//! Every change fails with `EROFS` here, not in a layer above, after the errors that take
//! precedence.

mod build;
mod dir;
mod file;
#[cfg(any(feature = "tar", feature = "zip"))]
pub(crate) mod resolve;

use std::hash::BuildHasher;
#[cfg(any(feature = "tar", feature = "zip"))]
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

#[cfg(any(feature = "tar", feature = "zip"))]
pub(crate) use build::Added;
pub use build::TreeFault;
pub(crate) use build::{Builder, OnDuplicate};

use self::dir::FixedDir;
use crate::{Descent, DirRef, Errno, FileType, Name, Result, Stat, Stop, Timestamp, bug};

/// An index into [`Tree::nodes`].
type Index = u32;
/// The index of the root.
const ROOT: Index = 0;

/// The content of a file, as its [`ContentSource`] identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// A number that the source defines: an index or an offset.
    pub(crate) at: u64,
    /// The length in bytes.
    pub(crate) len: u64,
}

/// The bytes of an open file.
pub(crate) enum FileBytes {
    /// Embedded in the program.
    Static(&'static [u8]),
    /// In memory, reference-counted.
    #[cfg(any(feature = "embed", feature = "zip"))]
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// Read on demand by [`ContentSource::read_at`].
    #[cfg(any(feature = "tar", feature = "zip"))]
    InPlace,
}

/// The provider of the contents of a tree's files.
pub(crate) trait ContentSource: Send + Sync {
    /// Opens the content of a file.
    ///
    /// # Errors
    ///
    /// - `ENOSPC`: the content needs more memory than the limit.
    /// - `EIO`.
    fn open(&self, content: Content) -> Result<FileBytes>;

    /// Reads at `at`, which is [`Content::at`] plus an offset, for a content that is
    /// [`FileBytes::InPlace`]. Returns 0 for a non-empty buffer if the bytes no longer exist.
    #[cfg(any(feature = "tar", feature = "zip"))]
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Returns whether opening or reading can block on a disk or a device.
    fn may_block(&self) -> bool;
}

/// A node. Its three times are equal: nothing here is ever accessed or changed.
#[derive(Clone, Copy)]
struct NodeData {
    kind: Kind,
    seconds: i64,
    nanos: u32,
    nlink: u32,
}

/// A range of [`Tree::text`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct TextRange {
    at: u32,
    len: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    /// A directory with the entries `first..first + count` of [`Tree::entries`].
    Dir {
        parent: Index,
        first: u32,
        count: u32,
    },
    File(Content),
    Symlink(TextRange),
}

/// A directory entry.
#[derive(Clone, Copy)]
struct EntryData {
    name: TextRange,
    node: Index,
}

/// An immutable tree.
///
/// INVARIANT: every index and range is valid in this tree; the builder created them.
pub(crate) struct Tree {
    dev: u64,
    nodes: Box<[NodeData]>,
    entries: Box<[EntryData]>,
    text: Box<str>,
    /// Indices of the entries, keyed by directory and name.
    names: HashTable<u32>,
    hasher: RandomState,
    source: Box<dyn ContentSource>,
}

impl Tree {
    /// Returns the root.
    pub(crate) fn root(self: &Arc<Self>) -> DirRef {
        Arc::new(FixedDir { tree: Arc::clone(self), index: ROOT })
    }

    /// Returns the number of directories, files and links, including the root.
    #[cfg(feature = "embed")]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the bytes of memory of the tree, without those of its source.
    #[cfg(feature = "embed")]
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.nodes)
            + size_of_val(&*self.entries)
            + self.text.len()
            + self.names.allocation_size()
    }

    fn node(&self, index: Index) -> Result<&NodeData> {
        self.nodes.get(index as usize).ok_or_else(|| bug!("the tree has no node {index}"))
    }

    fn text(&self, text: TextRange) -> &str {
        let at = text.at as usize;
        let text = self.text.get(at..at + text.len as usize);
        text.unwrap_or_else(|| bug!(""; "the tree has no text at {at}"))
    }

    /// Returns the entries of a directory; none for other nodes.
    fn entries(&self, kind: Kind) -> &[EntryData] {
        match kind {
            Kind::Dir { first, count, .. } => {
                let first = first as usize;
                let entries = self.entries.get(first..first + count as usize);
                entries.unwrap_or_else(|| bug!(&[]; "the tree has no entries at {first}"))
            }
            Kind::File(_) | Kind::Symlink(_) => &[],
        }
    }

    /// Returns the node at `name` in the directory `dir`.
    fn get(&self, dir: Index, name: Name<'_>) -> Option<Index> {
        let Kind::Dir { first, count, .. } = self.node(dir).ok()?.kind else { return None };
        let hash = hash_name(&self.hasher, dir, name.as_str());
        let is_it = |at: &u32| {
            at.wrapping_sub(first) < count
                && self
                    .entries
                    .get(*at as usize)
                    .is_some_and(|entry| self.text(entry.name) == name.as_str())
        };
        let at = self.names.find(hash, is_it)?;
        self.entries.get(*at as usize).map(|entry| entry.node)
    }

    /// Returns the directory at `path`, relative to `dir`.
    fn descend(&self, dir: Index, path: Descent<'_>) -> Result<Index, Stop> {
        let mut at = dir;
        for (depth, name) in path.names().enumerate() {
            let child = self.get(at, name).ok_or(Errno::Noent)?;
            match self.node(child)?.kind {
                Kind::Dir { .. } => at = child,
                Kind::File(_) => return Err(Errno::Notdir.into()),
                Kind::Symlink(target) => return Err(self.link(depth, target)),
            }
        }
        Ok(at)
    }

    /// Returns the stop at a link after `at` names.
    fn link(&self, at: usize, target: TextRange) -> Stop {
        Stop::Link { at, target: self.text(target).into() }
    }

    /// Returns whether `dir` is `ancestor` or a descendant of it.
    fn is_at_or_under(&self, dir: Index, ancestor: Index) -> bool {
        let mut at = dir;
        while at != ancestor {
            match self.node(at).map(|node| node.kind) {
                // A parent has a lower index than its child, so the loop ends.
                Ok(Kind::Dir { parent, .. }) if at != ROOT => at = parent,
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    fn stat(&self, index: Index) -> Result<Stat> {
        let node = self.node(index)?;
        let time = Timestamp::new(node.seconds, node.nanos);
        let (kind, size) = match node.kind {
            // The size that Linux's tmpfs reports: 20 bytes per entry.
            Kind::Dir { count, .. } => (FileType::Dir, 40 + 20 * u64::from(count)),
            Kind::File(content) => (FileType::File, content.len),
            Kind::Symlink(target) => (FileType::Symlink, u64::from(target.len)),
        };
        Ok(Stat {
            kind,
            dev: self.dev,
            ino: ino(index),
            nlink: u64::from(node.nlink),
            size,
            accessed: time,
            modified: time,
            changed: time,
        })
    }
}

/// Returns the inode number of a node: never 0.
fn ino(index: Index) -> u64 {
    u64::from(index) + 1
}

fn hash_name(hasher: &RandomState, dir: Index, name: &str) -> u64 {
    hasher.hash_one((dir, name))
}

fn kind_type(kind: Kind) -> FileType {
    match kind {
        Kind::Dir { .. } => FileType::Dir,
        Kind::File(_) => FileType::File,
        Kind::Symlink(_) => FileType::Symlink,
    }
}
