//! Tests of Preview 2: host functions called directly, and components under both linkers.
//!
//! Most tests run over an in-memory filesystem and over a directory of the host.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests look at the host, and fail by panicking"
)]

mod clocks;
mod components;
mod descriptors;
mod executor;
mod hashes;
mod hostile;
mod revocation;
mod streams;
mod world;
