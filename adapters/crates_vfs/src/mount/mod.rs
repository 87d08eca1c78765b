//! A filesystem of the crate as a Palisade directory.
//!
//! The crate answers by path and knows no node that outlives its name, so everything that a node
//! is beyond its bytes is kept here: `nodes` gives each path that was ever looked at a number, a
//! position in its directory's stream and a place in a tree, so that a handle goes on through
//! renames and a removed node is dead. `bytes` turns the crate's streams into bytes at offsets,
//! `state` asks the filesystem, `moves` renames, and `dir` and `file` are the two contracts.
//!
//! Lock order: there is one lock, held while the filesystem is asked, because a path may not
//! change under a question. So a filesystem must not reach back into its own mount.
//!
//! What the filesystem says is an allegation: names that are none are left out, lengths and counts
//! are checked, and what is unbounded is bounded by [`Limits`].
//!
//! Deliberately absent: symbolic and hard links, which the crate does not have.

use std::sync::Arc;

use palisade_vfs::{DirRef, fresh_dev};
use parking_lot::Mutex;
use vfs::{AltrootFS, FileSystem, VfsPath};

use dir::MountDir;
use state::State;

mod contents;
mod dir;
mod file;
mod nodes;
mod rename;
mod state;

/// What a mount may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest file that can be changed in place, in bytes. Longer ones can be read, emptied
    /// and appended to; a change that needs more is `Fbig`.
    pub file_bytes: u64,
    /// All files together that are open and changed, in bytes. Above it is `Nospc`.
    pub total_bytes: u64,
    /// Names that are remembered, and the longest listing. Above it is `Nomem`.
    pub names: usize,
}

impl Default for Limits {
    /// 64 MiB for a file, 256 MiB for all, and a million names.
    fn default() -> Self {
        Limits { file_bytes: 64 << 20, total_bytes: 256 << 20, names: 1 << 20 }
    }
}

/// `fs` as a directory, with the usual [`Limits`].
#[must_use]
pub fn mount(fs: impl FileSystem) -> DirRef {
    mount_with(fs, Limits::default())
}

/// What lies at `path` as a directory, with the usual [`Limits`]. A path hides how its filesystem
/// moves files, so that a rename is a copy; a whole filesystem is better given to [`mount`].
#[must_use]
pub fn mount_at(path: VfsPath) -> DirRef {
    mount(AltrootFS::new(path))
}

/// `fs` as a directory.
#[must_use]
pub fn mount_with(fs: impl FileSystem, limits: Limits) -> DirRef {
    let state = State::new(Box::new(fs), fresh_dev(), limits);
    MountDir::root(Arc::new(Mutex::new(state)))
}
