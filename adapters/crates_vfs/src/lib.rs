//! A bridge between Palisade and the crate `vfs`, in both directions.
//!
#![doc = include_str!("../README.md")]
//!
//! # Types
//!
//! - [`mount`], [`mount_at`], [`mount_with`]: a filesystem of the crate as a Palisade directory.
//!   [`Limits`] bounds the memory of a mount.
//! - [`as_vfs`], [`PalisadeFs`]: a Palisade directory as a filesystem of the crate.

mod errors;
mod mount;
mod palisade_fs;
mod streams;
mod times;

pub use mount::{Limits, mount, mount_at, mount_with};
pub use palisade_fs::{PalisadeFs, as_vfs};
