//! The contract of a directory, on trees that never change.

#![cfg(feature = "embed")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "fixed/embed.rs"]
mod embed;
