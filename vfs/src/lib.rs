//! One virtual filesystem: the traits, the walker, and the filesystems behind them.
//!
//! Read in this order: a [`Name`] and a [`Descent`] are path text that cannot go up; a [`Dir`] is a
//! held directory and a [`File`] an open file; [`walk`] turns a guest's path into descents, and
//! [`path`] says what each operation means for one. [`Mounts`] grafts directories and single files
//! into one tree. [`MemFs`] and [`HostDir`] are filesystems; with the features `embed`, `tar` and
//! `zip` there are read-only ones of what is part of the program (`EmbeddedFs`) and of archives
//! (`Image`).
//!
//! Without features there is no dependency on an operating system here, so that anyone can
//! implement a filesystem against this crate.

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
pub use image::{EntryFault, Image, ImageError, ImageFormat, ImageLimit, ImageLimits, ImageSource};

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
pub use visit_nodes::{Below, visit_nodes};
pub use walk::Follow;
