//! Engine bindings: linker functions for wasmtime and wasmi.
//!
//! Each binding has a `State`, which the embedder keeps in the store's data, and `add_to_linker`,
//! whose closure projects the data to the `State`.

#[cfg(feature = "wasmi")]
pub mod wasmi;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;

use crate::Preview1;

/// The state of one guest in a store. `M` is the engine's memory handle.
pub struct GuestState<M> {
    preview1: Preview1,
    memory: Option<M>,
}

impl<M> GuestState<M> {
    /// Creates the state of a guest.
    #[must_use]
    pub fn new(preview1: Preview1) -> Self {
        GuestState { preview1, memory: None }
    }

    /// Sets the memory that the guest's pointers refer to, which saves a lookup of the export
    /// `memory` in each call. To be called after instantiation, and only for a store with a single
    /// guest instance.
    pub fn bind_memory(&mut self, memory: M) {
        self.memory = Some(memory);
    }

    /// Returns the guest.
    #[must_use]
    pub fn preview1(&self) -> &Preview1 {
        &self.preview1
    }

    /// Returns the guest, mutable.
    pub fn preview1_mut(&mut self) -> &mut Preview1 {
        &mut self.preview1
    }
}
