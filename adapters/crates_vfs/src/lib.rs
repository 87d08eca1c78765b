//! The bridge between Palisade and the crate `vfs`, in both directions.
#![doc = include_str!("../README.md")]

mod errors;
mod mount;
mod palisade_fs;
mod streams;
mod times;

pub use mount::{Limits, mount, mount_at, mount_with};
pub use palisade_fs::{PalisadeFs, as_vfs};
