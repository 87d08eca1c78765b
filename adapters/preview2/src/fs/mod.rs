//! `wasi:filesystem`: descriptors, directory streams and metadata hashes.
//!
//! - `calls.rs` implements the functions for the asynchronous bindings.
//! - `sync.rs` wraps them for the synchronous bindings, which have types of their own.
//! - `hash.rs` computes `metadata-hash`.
//!
//! <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/types.wit>

mod calls;
pub(crate) mod hash;
mod sync;
