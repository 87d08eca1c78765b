//! Preview 2 as an embedder and as a guest see it: the host functions driven directly over memory
//! and over a directory of the host, and components that run through both linkers.
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
