//! Trees that never change: what embedded files and images are served from.
//!
//! A [`Tree`] is built once ([`Builder`]) and then only read, so there is no lock, and any number
//! of handles share it. The names of all directories are in one hash table, keyed by directory and
//! name: a descent costs one look-up for each name, however many names there are. What the files
//! hold is a [`Source`]'s business; the tree knows two numbers about each.
//!
//! Nodes are numbered from the root down, each directory's names in the order of their bytes. So
//! the same content has the same numbers in every run, in whatever order it was added, and a
//! position in a listing is good forever.
//!
//! Every change is `Rofs`, here and not in a layer above, behind the errors that come before it.

mod build;
mod dir;
mod file;

use std::hash::BuildHasher;
#[cfg(any(feature = "tar", feature = "zip"))]
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

pub use build::TreeFault;
pub(crate) use build::{Builder, Twice};

use self::dir::FixedDir;
use crate::{Descent, DirRef, Errno, FileType, Name, Result, Stat, Stop, Timestamp, bug};

/// Where a node stands in [`Tree::nodes`].
type Index = u32;
/// The root's index.
const ROOT: Index = 0;

/// What a file holds, as its [`Source`] understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The source's number for it.
    pub(crate) at: u64,
    /// Bytes of the file.
    pub(crate) len: u64,
}

/// Bytes that are ready to be read.
pub(crate) enum Held {
    /// Part of the program.
    Static(&'static [u8]),
    /// In memory as long as someone holds it.
    #[cfg(any(feature = "embed", feature = "zip"))]
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// Wherever [`Source::read_at`] finds them.
    #[cfg(any(feature = "tar", feature = "zip"))]
    InPlace,
}

/// What the files of a tree hold.
pub(crate) trait Source: Send + Sync {
    /// Makes a file's bytes ready to be read.
    ///
    /// Errors, in order: `Nospc` if that takes more memory than may be held; `Io`.
    fn open(&self, content: Content) -> Result<Held>;

    /// Reads at `at` bytes behind the number of a content that is held in place. 0 into a
    /// non-empty buffer means that the bytes are gone.
    #[cfg(any(feature = "tar", feature = "zip"))]
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Whether making bytes ready, or reading them, can wait for a disk or a device.
    fn may_block(&self) -> bool;
}

/// The times of a node are one: nothing here is ever accessed or changed.
#[derive(Clone, Copy)]
struct NodeData {
    kind: Kind,
    seconds: i64,
    nanos: u32,
    nlink: u32,
}

/// A stretch of [`Tree::text`].
#[derive(Clone, Copy)]
struct Text {
    at: u32,
    len: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Its entries are `first..first + count` of [`Tree::entries`].
    Dir {
        parent: Index,
        first: u32,
        count: u32,
    },
    File(Content),
    Symlink(Text),
}

/// A name in a directory.
#[derive(Clone, Copy)]
struct EntryData {
    name: Text,
    node: Index,
}

/// A tree that never changes.
///
/// INVARIANT: every index and stretch in it is of this tree; the builder has put them there.
pub(crate) struct Tree {
    dev: u64,
    nodes: Box<[NodeData]>,
    entries: Box<[EntryData]>,
    text: Box<str>,
    /// The indices of the entries, by directory and name.
    names: HashTable<u32>,
    hasher: RandomState,
    source: Box<dyn Source>,
}

impl Tree {
    /// The root of a tree with a number of its own.
    pub(crate) fn root(self: &Arc<Self>) -> DirRef {
        Arc::new(FixedDir { tree: Arc::clone(self), index: ROOT })
    }

    /// Directories, files and links, the root included.
    #[cfg(feature = "embed")]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of memory that the tree takes, without what its source holds.
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

    fn text(&self, text: Text) -> &str {
        let at = text.at as usize;
        let text = self.text.get(at..at + text.len as usize);
        text.unwrap_or_else(|| bug!(""; "the tree has no text at {at}"))
    }

    /// The entries of a directory; nothing has none.
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

    /// What `name` leads to in the directory `dir`.
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

    /// The directory that `path` leads to, below `dir`.
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

    /// The stop at a link behind `at` names.
    fn link(&self, at: usize, target: Text) -> Stop {
        Stop::Link { at, target: self.text(target).into() }
    }

    /// Whether `dir` is `above`, or lies below it.
    fn is_below(&self, dir: Index, above: Index) -> bool {
        let mut at = dir;
        while at != above {
            match self.node(at).map(|node| node.kind) {
                // A parent always has the lower number, so this ends.
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
            // What Linux's tmpfs says, in bytes: 20 for each entry.
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

/// The number of a node: never 0.
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
