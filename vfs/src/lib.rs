//! The filesystem contracts of Palisade, the path walker, and the filesystems themselves.
//!
//! This crate is for embedders that give an untrusted guest (usually a WebAssembly module) a view
//! of a filesystem, and for authors of filesystems. A filesystem implements two traits, [`Dir`] and
//! [`File`]; every path of a guest goes through one walker, [`walk`]. No path can leave the
//! directory where the walk starts, neither by links nor by `..`.
//!
//! # Example
//!
//! A tree of two memory filesystems, and the two errors that keep a path and a file where they are.
//!
#![cfg_attr(feature = "mem", doc = "```")]
#![cfg_attr(not(feature = "mem"), doc = "```ignore")]
//! use std::io::{IoSlice, IoSliceMut};
//!
//! use palisade_vfs::{Access, Errno, Follow, MemFs, Mounts, OpenFlags, OpenHow, path};
//!
//! // A tree with a memory filesystem of at most 1 MiB at `/tmp` and another one at `/data`.
//! let scratch = MemFs::builder().capacity_bytes(1 << 20).build();
//! let data = MemFs::new();
//! let root = Mounts::builder(Mounts::empty())
//!     .mount("tmp", scratch.root())?
//!     .mount("data", data.root())?
//!     .build();
//!
//! // Paths are resolved from a directory handle. `path` has one function for each operation.
//! let create = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
//! let file = path::open(&*root, "tmp/notes.txt", Follow::No, create)?.into_file()?;
//! file.write_at(&[IoSlice::new(b"hello")], 0)?;
//!
//! let file = path::open(&*root, "data/../tmp/notes.txt", Follow::Yes, OpenHow::READ)?.into_file()?;
//! let mut buf = [0; 16];
//! let len = file.read_at(&mut [IoSliceMut::new(&mut buf)], 0)?;
//! assert_eq!(&buf[..len], b"hello");
//!
//! // No path leaves the root, and no file moves from one mount to another.
//! assert_eq!(path::stat(&*root, "../etc/passwd", Follow::Yes), Err(Errno::Escape));
//! assert_eq!(path::rename(&*root, "tmp/notes.txt", &*root, "data/n"), Err(Errno::Xdev));
//! # Ok::<(), Errno>(())
//! ```
//!
//! # Map
//!
//! | Types | Purpose |
//! |---|---|
//! | [`Name`], [`Descent`] | validated path text that cannot go up |
//! | [`Dir`], [`File`] | the contracts: a held directory, an open file; [`Node`] is one of both |
//! | [`DirRef`], [`FileRef`] | shared handles on them |
//! | [`OpenHow`], [`Access`], [`OpenFlags`] | how a node is opened; the [`Rights`] it [`Needs`] |
//! | [`Stat`], [`FileType`], [`Timestamp`], [`SetTimes`] | metadata |
//! | [`Entry`], [`Cookie`] | directory listings |
//! | [`Errno`], [`Stop`] | errors; a symbolic link that a directory found on the way |
//! | [`walk`], [`path`] | path resolution; each operation of POSIX on a path |
//! | [`Mounts`], [`MountsBuilder`] | one tree of several directories and single files |
//! | [`MemFs`] | a filesystem in memory (feature `mem`) |
//! | [`HostDir`] | a directory of the host (feature `host`, Linux) |
//! | [`overlay`] | a writable upper over read-only lowers; diff, commit, snapshots (`overlay`) |
//! | `EmbeddedFs` | files embedded in the program by `rust-embed` (feature `embed`) |
//! | `Image` | tar and zip archives (features `tar`, `zip`) |
//! | [`copy_tree`], [`visit_names`], [`visit_nodes`] | walks of whole trees |
//! | [`escape`] | escaping of foreign text for terminals and logs |
//!
//! Doc comments name errors as POSIX does: `ENOENT` is [`Errno::Noent`]. A list under `# Errors` is
//! in order: when several apply, the first one is returned.
//!
//! Without features the crate does not depend on an operating system.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "tests fail by panicking"
    )
)]

pub mod escape;
#[cfg(feature = "overlay")]
pub mod overlay;
pub mod path;
pub mod walk;

#[cfg(feature = "embed")]
mod embed;
#[cfg(any(feature = "embed", feature = "tar", feature = "zip"))]
mod fixed;
#[cfg(all(feature = "host", target_os = "linux"))]
mod host;
#[cfg(any(feature = "tar", feature = "zip"))]
mod image;
#[cfg(feature = "mem")]
mod mem;

mod bug;
mod copy;
mod dir;
mod errno;
mod file;
#[cfg(any(feature = "mem", feature = "overlay"))]
mod handle_count;
mod mounts;
mod name;
mod open;
mod rights;
mod shared_path;
mod stat;
mod tree_walk;
mod visit_names;
mod visit_nodes;

#[cfg(all(feature = "host", feature = "overlay", target_os = "linux"))]
pub use host::HostUpper;
#[cfg(all(feature = "host", target_os = "linux"))]
pub use host::{HostDir, Resolver};
#[cfg(feature = "mem")]
pub use mem::{MemFs, MemFsBuilder, MemUsage};

#[cfg(feature = "embed")]
pub use embed::{EmbedError, EmbeddedFs};
#[cfg(any(feature = "embed", feature = "tar", feature = "zip"))]
pub use fixed::TreeFault;
#[cfg(any(feature = "tar", feature = "zip"))]
pub use image::{
    ArchiveNotes, EntryFault, Image, ImageError, ImageFormat, ImageLimit, ImageLimits, ImageSource,
    Omitted, OmittedEntry,
};

pub use bug::{__report_bug, broken_contract};
pub use copy::{CopyReport, copy_tree};
pub use dir::{Cookie, Dir, DirRef, Entry, FileRef, Node, Stop};
pub use errno::{Errno, Result};
pub use file::{Advice, File, SyncScope};
pub use mounts::{Mounts, MountsBuilder};
pub use name::{Descent, Name};
pub use open::{Access, Needs, OpenFlags, OpenHow};
pub use rights::Rights;
#[cfg(feature = "overlay")]
pub(crate) use stat::fresh_ino;
pub use stat::{FileType, SetTime, SetTimes, Stat, Timestamp, fresh_dev};
pub use tree_walk::PathError;
pub use visit_names::{VisitedName, visit_names};
pub use visit_nodes::{Recurse, visit_nodes};
pub use walk::Follow;
