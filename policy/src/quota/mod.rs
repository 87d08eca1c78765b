//! Quotas as a layer: how much, where confinement says what.
//!
//! What this module alone is responsible for: that a number never passes its limit, and that it is
//! what one would count. A [`QuotaGroup`] has counters; a guarded directory reserves what an
//! operation would take before the inner directory hears of it, and gives back what was not taken.
//! A reservation is one atomic step for each group from the innermost outward, so however many
//! guests share a group, none of them is ever let past a limit (`meter.rs`).
//!
//! What is counted is what a guest can see: the length of files, holes included, and of the
//! targets of links; nodes; entries. It is the same on every filesystem, and a copy-up changes
//! nothing of it. A node is known by its identity, so it is counted once whatever the number of
//! its names, and until its last name and its last handle are gone (`nodes.rs`).
//!
//! Why the numbers stay exact: the size of a file changes under that file's lock, which is held
//! while the inner file works; names change one at a time in a group, and nothing is opened
//! meanwhile. Everything that can fail is asked before the one step that changes something. The
//! exception is the identity of what was just created: it is asked for twice, in two ways, and if
//! neither answers, what was created is removed again.
//!
//! Lock order: `Group::names`, then a node's `size`, then `Nodes`, which no call of the inner
//! directory is made with. Whoever opens waits for whoever changes names, so a directory of the
//! group can block if one of them can.
//!
//! Copies that an overlay makes for itself are seen by nobody, and take as much room as the files
//! that they are copies of. An overlay asks for it ([`QuotaGroup::take_bytes`]) if it is told to,
//! and what is taken counts among the bytes for good.
//!
//! Deliberately absent: what a process of the host does beneath; room on a disk.

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
use self::meter::{Group, What};

/// What a limit that is reached is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// A quota: `Dquot`.
    #[default]
    Quota,
    /// A disk: `Nospc`, for programs that know nothing else.
    Disk,
}

/// The limits of a group. What is `None` has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The sum of the lengths of files, holes included, and of the targets of symbolic links.
    /// Beyond it: `Dquot`.
    pub bytes: Option<u64>,
    /// Files, directories and symbolic links. Beyond it: `Dquot`.
    pub inodes: Option<u64>,
    /// The length to which a file may grow. Beyond it: `Fbig`.
    pub file_size: Option<u64>,
    /// The names in one directory. Beyond it: `Dquot`.
    pub dir_entries: Option<u64>,
    /// Files and directories that are open at once. Beyond it: `Mfile`. An operation on a path of
    /// several names holds a directory while it lasts.
    pub descriptors: Option<u64>,
    /// Bytes that are read from files, over all time. Beyond it: `Dquot`; the last read is short.
    pub read_bytes: Option<u64>,
    /// Bytes that are written to files, over all time. Beyond it: `Dquot`.
    pub write_bytes: Option<u64>,
    /// What `bytes`, `inodes` and `dir_entries` are called when they are reached.
    pub when_full: WhenFull,
}

impl Quota {
    /// The smaller of each limit; what a limit is called that is reached stays as it is here.
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

/// One number of a [`QuotaReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most that there may be.
    pub limit: Option<u64>,
    /// What there is.
    pub used: u64,
}

impl Usage {
    /// What is left of the limit.
    #[must_use]
    pub fn left(self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// The numbers of a group at a moment, those of its children included.
///
/// Each is exact by itself. While operations are under way, a number includes what they have
/// reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// As [`Quota::bytes`].
    pub bytes: Usage,
    /// As [`Quota::inodes`].
    pub inodes: Usage,
    /// As [`Quota::descriptors`].
    pub descriptors: Usage,
    /// As [`Quota::read_bytes`]. Only counted if this group or one above it has that limit.
    pub read_bytes: Usage,
    /// As [`Quota::write_bytes`]. Only counted if this group or one above it has that limit.
    pub write_bytes: Usage,
    /// [`Quota::file_size`], or a group's above if that is less.
    pub file_size: Option<u64>,
    /// [`Quota::dir_entries`], or a group's above if that is less.
    pub dir_entries: Option<u64>,
}

/// Directories that share limits. A clone is the same group.
///
/// - Whatever succeeds in a guarded directory succeeds without it, with the same effect. What
///   would pass a limit is refused whole, before anything is done, and after the errors that come
///   before it as far as they can be seen without doing it. What fails leaves the numbers as they
///   were.
/// - Rename and link between two directories of one group are the inner directories' business;
///   between two groups they are `Xdev`.
/// - A node is known by its identity. All directories of one group must therefore agree on
///   identities: two overlays over the same lowers do not, and get a child group each. A directory
///   belongs to one group, and no two guarded by one group are laid upon one another.
/// - A guarded directory asks what it changes for its identity, and lists what it limits the
///   entries of, so it belongs beneath confinement. Above one, what may not be looked at can be
///   read, and not changed.
/// - The numbers are exact as long as the tree is changed through the group alone. A node is gone
///   when its own link count says so: one that counts names that nobody can see stays counted.
#[derive(Clone)]
pub struct QuotaGroup(Arc<Group>);

impl QuotaGroup {
    /// A group of its own.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        QuotaGroup(Group::new(quota, None))
    }

    /// A group within this one: what it takes is taken of both, and neither passes its limits.
    ///
    /// When the child and all that is open in it are gone, what it held is given back to this
    /// group; what was read and written stays.
    #[must_use]
    pub fn child(&self, quota: Quota) -> Self {
        QuotaGroup(Group::new(quota, Some(Arc::clone(&self.0))))
    }

    /// Guards `dir`, with what is there for free: only growth is counted. A file that was there
    /// pays for what it is longer than when it was first seen, and gives nothing back for being
    /// shorter or removed.
    ///
    /// Errors, in order: `Inval` for a directory of this group; those of
    /// [`Dir::stat`](palisade_vfs::Dir::stat).
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

    /// Guards `dir`, and counts what is there as if it had been created in it; not `dir` itself.
    /// What the group counts already is not counted again.
    ///
    /// It takes time and memory for every node. Nothing must be changed in `dir` meanwhile.
    ///
    /// Errors, in order: `Inval` for a directory of this group; those of reading the tree; `Dquot`,
    /// or `Nospc`, if there is more than the limits allow. Nothing is counted then.
    pub fn guard_counted(&self, dir: DirRef) -> Result<DirRef> {
        if self.0.is_guarding(&*dir) {
            return Err(Errno::Inval);
        }
        count::count(&self.0, &dir)?;
        self.guard(dir)
    }

    /// Takes `bytes` for something that no guarded directory shows, such as the copy of a file that
    /// an overlay beneath makes for itself.
    ///
    /// Errors: `Dquot`, or `Nospc`, if there are not so many left. Nothing is taken then.
    pub fn take_bytes(&self, bytes: u64) -> Result<()> {
        self.0.take(What::Bytes, bytes)
    }

    /// Gives back some of what [`QuotaGroup::take_bytes`] took.
    pub fn give_bytes(&self, bytes: u64) {
        self.0.give(What::Bytes, bytes);
    }

    /// The numbers now.
    #[must_use]
    pub fn report(&self) -> QuotaReport {
        let usage = |what| self.0.usage(what);
        QuotaReport {
            bytes: usage(What::Bytes),
            inodes: usage(What::Inodes),
            descriptors: usage(What::Descriptors),
            read_bytes: usage(What::Reads),
            write_bytes: usage(What::Writes),
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
