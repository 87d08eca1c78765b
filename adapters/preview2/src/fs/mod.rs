//! `wasi:filesystem`.
//!
//! `calls.rs` is all of it; `sync.rs` is the same for the synchronous bindings, which differ in
//! their types alone.

mod calls;
pub(crate) mod hash;
mod sync;
