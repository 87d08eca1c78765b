//! Quotas: limits on bytes, nodes, entries, descriptors and transfers, as a policy layer.
//!
//! This module guarantees that no counter exceeds its limit and that the counters are exact. A
//! [`QuotaGroup`] has counters. A guarded directory reserves the maximum change of an operation
//! before it calls the inner directory, commits the used part afterwards, and releases the rest. A
//! reservation is one atomic operation per group, from the innermost outward, so that concurrent
//! guests of a group never exceed a limit (`meter.rs`).
//!
//! The counters measure what a guest can observe: the lengths of files (including holes) and of
//! symlink targets, the nodes, and the entries. They are independent of the filesystem, and a
//! copy-up does not change them. A node is identified by its device and inode number. It is
//! counted once, regardless of its number of names, until its last name and its last handle are
//! gone (`nodes.rs`).
//!
//! The counters stay exact because the size of a file changes under the lock of that file, which
//! is held during the inner operation; names change one at a time in a group, and no open runs
//! meanwhile. Everything that can fail happens before the single step that changes the tree. The
//! exception is the stat of a newly created node. It is tried twice: for a file by its handle
//! and then by its path, for a directory or a symbolic link by its name both times. If both
//! attempts fail, the node is removed again.
//!
//! Lock order; no inner directory is called with `Nodes` held:
//!
//! ```text
//! Group::names
//!   CountedNode::size
//!     Nodes
//! ```
//!
//! An open waits for a change of names, so each directory of a group may block if one of them
//! may block.
//!
//! Copies that an overlay makes internally are invisible to guests, and take as much space as the
//! original files. An overlay reserves this space ([`QuotaGroup::reserve_bytes`]) if it is
//! configured to; the reservation counts as bytes until it is released.
//!
//! Deliberately absent: changes by other processes of the host, and the free space of a disk.

mod count;
mod dir;
mod file;
mod meter;
mod nodes;
mod open;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palisade_vfs::{Descent, DirRef, Errno, Result};

use self::dir::QuotaDir;
use self::meter::{Counter, Group};

/// The errno of a reached limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// A quota: `Dquot`.
    #[default]
    Quota,
    /// A full disk: `Nospc`, for programs that do not handle `Dquot`.
    Disk,
}

/// The limits of a group. `None` means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The total length of files, including holes, and of symlink targets. Above it: `Dquot`.
    pub bytes: Option<u64>,
    /// Files, directories and symbolic links. Above it: `Dquot`.
    pub inodes: Option<u64>,
    /// The length of a file. Growing beyond it: `Fbig`.
    pub file_size: Option<u64>,
    /// The entries of one directory. Above it: `Dquot`.
    pub dir_entries: Option<u64>,
    /// Files and directories that are open at the same time. Above it: `Mfile`. An operation on a
    /// path of several names holds a directory open meanwhile.
    pub descriptors: Option<u64>,
    /// Bytes that are read from files, in total. Above it: `Dquot`; the last read is short.
    pub read_bytes: Option<u64>,
    /// Bytes that are written to files, in total. Above it: `Dquot`.
    pub write_bytes: Option<u64>,
    /// The errno for reaching `bytes`, `inodes` or `dir_entries`.
    pub when_full: WhenFull,
}

impl Quota {
    /// Returns the smaller of each limit, with `when_full` of `self`.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Quota {
            bytes: least(self.bytes, other.bytes),
            inodes: least(self.inodes, other.inodes),
            file_size: least(self.file_size, other.file_size),
            dir_entries: least(self.dir_entries, other.dir_entries),
            descriptors: least(self.descriptors, other.descriptors),
            read_bytes: least(self.read_bytes, other.read_bytes),
            write_bytes: least(self.write_bytes, other.write_bytes),
            when_full: self.when_full,
        }
    }
}

/// One counter of a [`QuotaReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The limit, if any.
    pub limit: Option<u64>,
    /// The amount in use.
    pub used: u64,
}

impl Usage {
    /// Returns the remaining amount, or `None` without a limit.
    #[must_use]
    pub fn left(self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// A snapshot of the counters of a group, including its children.
///
/// Each counter is exact by itself. A counter includes the reservations of operations in
/// progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// As [`Quota::bytes`].
    pub bytes: Usage,
    /// As [`Quota::inodes`].
    pub inodes: Usage,
    /// As [`Quota::descriptors`].
    pub descriptors: Usage,
    /// As [`Quota::read_bytes`]. Counted only if this group or an ancestor has that limit.
    pub read_bytes: Usage,
    /// As [`Quota::write_bytes`]. Counted only if this group or an ancestor has that limit.
    pub write_bytes: Usage,
    /// The smallest [`Quota::file_size`] of this group and its ancestors.
    pub file_size: Option<u64>,
    /// The smallest [`Quota::dir_entries`] of this group and its ancestors.
    pub dir_entries: Option<u64>,
}

/// A group of directories that share limits. A clone refers to the same group.
///
/// - A successful operation on a guarded directory has the same effect without the guard. An
///   operation that would exceed a limit is refused as a whole, before it changes anything, and
///   after the errors that take precedence, as far as they can be determined without performing
///   the operation. A failed operation leaves the counters unchanged.
/// - The inner directories decide about `rename` and `link` between two directories of one group.
///   Between two groups, both return `Xdev`.
/// - Nodes are identified by device and inode number, so all directories of a group must agree
///   on these. Two overlays over the same lowers do not, and need a child group each. A directory
///   belongs to one group, and directories guarded by one group must not be stacked.
/// - A guarded directory stats the nodes that it changes, and lists the directories whose entries
///   are limited. It therefore belongs under confinement. Above confinement, a node whose stat is
///   denied can be read but not changed.
/// - The counters are exact if the tree changes only through the group. The counts
///   of a node are released when its link count is 0 and its last handle is closed. A link count
///   that includes invisible names keeps the node counted.
#[derive(Clone)]
pub struct QuotaGroup(Arc<Group>);

impl QuotaGroup {
    /// Creates a group without a parent.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        QuotaGroup(Group::new(quota, None))
    }

    /// Creates a child of this group, whose operations count against both groups.
    ///
    /// When the child and all its open handles are dropped, its counts are released in this
    /// group, except for the bytes read and written.
    #[must_use]
    pub fn child(&self, quota: Quota) -> Self {
        QuotaGroup(Group::new(quota, Some(Arc::clone(&self.0))))
    }

    /// Guards `dir`. Existing nodes are free: only their growth is counted. An existing file counts
    /// for the bytes beyond its first observed length, and releases nothing when it is truncated
    /// below that length or removed.
    ///
    /// # Errors
    ///
    /// - `Inval` for a directory of this group.
    /// - The errors of [`Dir::stat`](palisade_vfs::Dir::stat).
    pub fn guard(&self, dir: DirRef) -> Result<DirRef> {
        if self.0.is_guarding(&*dir) {
            return Err(Errno::Inval);
        }
        let stat = count::end(dir.stat(Descent::HERE))?;
        if dir.may_block() {
            self.0.may_block.store(true, Ordering::Relaxed);
        }
        let node = self.0.attach(&stat);
        Ok(Arc::new(QuotaDir::root(dir, Arc::clone(&self.0), node)))
    }

    /// Guards `dir` and counts the existing nodes under it (without `dir` itself) as if they had
    /// been created through the group. Nodes that the group counts already are not counted again.
    ///
    /// The call takes time and memory for each node. Nothing may change `dir` meanwhile.
    ///
    /// # Errors
    ///
    /// - `Inval` for a directory of this group.
    /// - The errors of reading the tree.
    /// - `Dquot` or `Nospc` if the nodes exceed the limits. Nothing is counted then.
    pub fn guard_counted(&self, dir: DirRef) -> Result<DirRef> {
        if self.0.is_guarding(&*dir) {
            return Err(Errno::Inval);
        }
        count::count(&self.0, &dir)?;
        self.guard(dir)
    }

    /// Reserves `bytes` for data that no guarded directory shows, such as a file that an inner
    /// overlay copies up.
    ///
    /// # Errors
    ///
    /// - `Dquot` or `Nospc` if the limit would be exceeded. Nothing is reserved then.
    pub fn reserve_bytes(&self, bytes: u64) -> Result<()> {
        self.0.reserve(Counter::Bytes, bytes)
    }

    /// Releases a part of the bytes that [`QuotaGroup::reserve_bytes`] reserved.
    pub fn release_bytes(&self, bytes: u64) {
        self.0.release(Counter::Bytes, bytes);
    }

    /// Returns a snapshot of the counters.
    #[must_use]
    pub fn report(&self) -> QuotaReport {
        let usage = |counter| self.0.usage(counter);
        QuotaReport {
            bytes: usage(Counter::Bytes),
            inodes: usage(Counter::Inodes),
            descriptors: usage(Counter::Descriptors),
            read_bytes: usage(Counter::Reads),
            write_bytes: usage(Counter::Writes),
            file_size: self.0.file_size,
            dir_entries: self.0.entries.map(|(limit, _)| limit),
        }
    }
}

impl fmt::Debug for QuotaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QuotaGroup").field(&self.report()).finish()
    }
}
