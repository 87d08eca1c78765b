//! Mounts: a filesystem of the crate as a Palisade directory.
//!
//! The crate addresses files by path and has no node that outlives its name, so the mount keeps its
//! own node table:
//!
//! - `nodes` has the tree of known paths, with an inode number and a listing position each, so that
//!   a handle survives renames and a removed node stays valid while it is open.
//! - `contents` converts the crate's streams to reads and writes at offsets.
//! - `state` calls the filesystem and updates the node table; `rename` renames; `write_back` loads,
//!   changes and saves files.
//! - `dir` and `file` implement [`Dir`](palisade_vfs::Dir) and [`File`](palisade_vfs::File).
//!
//! Locks: a mount has one lock, held during calls of the filesystem, because a path must not change
//! meanwhile. So a filesystem must not access its own mount.
//!
//! The filesystem is not trusted: invalid names are skipped, lengths and counts are checked, and
//! memory is bounded by [`Limits`].
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
mod write_back;

/// The memory limits of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file that can be changed, in bytes. Larger files can be read, truncated to 0 and
    /// appended to; another change is `Fbig`.
    pub file_bytes: u64,
    /// The total size of all buffered files, in bytes. A change beyond it is `Nospc`.
    pub total_bytes: u64,
    /// The number of known names, and of names in a listing. More are `Nomem`.
    pub names: usize,
}

impl Default for Limits {
    /// 64 MiB per file, 256 MiB in total, and 2^20 names.
    fn default() -> Self {
        Limits { file_bytes: 64 << 20, total_bytes: 256 << 20, names: 1 << 20 }
    }
}

/// Returns the root directory of `fs`, with the default [`Limits`].
#[must_use]
pub fn mount(fs: impl FileSystem) -> DirRef {
    mount_with(fs, Limits::default())
}

/// Returns the directory at `path`, with the default [`Limits`].
///
/// A `VfsPath` does not expose the filesystem's move operations, so a rename is a copy. Prefer
/// [`mount`] for a whole filesystem.
#[must_use]
pub fn mount_at(path: VfsPath) -> DirRef {
    mount(AltrootFS::new(path))
}

/// Returns the root directory of `fs`.
#[must_use]
pub fn mount_with(fs: impl FileSystem, limits: Limits) -> DirRef {
    let state = State::new(Box::new(fs), fresh_dev(), limits);
    MountDir::root(Arc::new(Mutex::new(state)))
}
