//! Bindings: what each engine needs to call a [`Preview1`](crate::Preview1).
//!
//! Each binding is a `State` that the embedder keeps in the store, and an `add_to_linker` that is
//! told how to find it there.

#[cfg(feature = "wasmi")]
pub mod wasmi;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;
