//! WASI Preview 1: 46 functions over the kernel, for any engine.
//!
//! A [`Preview1`] is one guest's [`Process`] with the numbers of `wasi_snapshot_preview1` around
//! it. An engine lends it a [`GuestMemory`] for each call; [`engines`] has the bindings for
//! wasmtime and wasmi. There is no rule about paths, rights or files in this crate: it translates.
//!
//! The specification is
//!
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/witx/wasi_snapshot_preview1.witx>.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "tests fail by panicking"
    )
)]

pub mod engines;

mod calls;
mod errno;
mod functions;
mod layout;
mod memory;
mod rights;

pub use errno::of as errno_number;
pub use functions::FUNCTIONS;
pub use memory::GuestMemory;

use palisade_kernel::Process;

/// The module that guests import the functions from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// What a `path_open` that asks for no rights at all means: base and inheriting both 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroRights {
    /// The caller does not speak rights, and gets what the directory may pass on.
    #[default]
    Inherited,
    /// The caller wants none.
    Literal,
}

/// One guest behind Preview 1.
pub struct Preview1 {
    process: Process,
    zero_rights: ZeroRights,
}

impl Preview1 {
    /// The guest whose world is `process`.
    #[must_use]
    pub fn new(process: Process) -> Self {
        Preview1 { process, zero_rights: ZeroRights::default() }
    }

    /// Sets what asking for no rights means.
    #[must_use]
    pub fn with_zero_rights(mut self, zero_rights: ZeroRights) -> Self {
        self.zero_rights = zero_rights;
        self
    }

    /// The guest's world.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The guest's world, to change.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
