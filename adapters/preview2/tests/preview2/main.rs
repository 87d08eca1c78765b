//! Preview 2 as an embedder and as a guest see it: the host functions driven directly over memory
//! and over a directory of the host, and components that run through both linkers.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

mod components;
mod descriptors;
mod executor;
mod hashes;
mod hostile;
mod streams;
mod world;
