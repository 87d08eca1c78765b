//! Bindings: what each engine needs to call a [`Preview1`].
//!
//! Each binding is a `State` that the embedder keeps in the store, and an `add_to_linker` that is
//! told how to find it there.

#[cfg(feature = "wasmi")]
pub mod wasmi;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;

use crate::Preview1;

/// What a store holds for one guest; `M` is the engine's handle of a memory.
pub struct GuestState<M> {
    preview1: Preview1,
    memory: Option<M>,
}

impl<M> GuestState<M> {
    /// For this guest.
    #[must_use]
    pub fn new(preview1: Preview1) -> Self {
        GuestState { preview1, memory: None }
    }

    /// Says which memory the guest's pointers are of, once it is instantiated, which saves looking
    /// up the export `memory` in every call. Only for a store with a single guest instance.
    pub fn bind_memory(&mut self, memory: M) {
        self.memory = Some(memory);
    }

    /// The guest.
    #[must_use]
    pub fn preview1(&self) -> &Preview1 {
        &self.preview1
    }

    /// The guest, to change.
    pub fn preview1_mut(&mut self) -> &mut Preview1 {
        &mut self.preview1
    }
}
