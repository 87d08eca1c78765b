//! The bridge between Palisade and the crate `vfs`, in both directions.
#![doc = include_str!("../README.md")]

mod errors;
mod mount;
mod outward;
mod streams;
mod times;

pub use mount::{Limits, mount, mount_at, mount_with};
pub use outward::{PalisadeFs, as_vfs};
