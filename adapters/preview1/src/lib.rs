//! WASI Preview 1 (`wasi_snapshot_preview1`) for any WebAssembly engine.
//!
//! A [`Preview1`] wraps the [`Process`] of one guest. [`engines`] has bindings for wasmtime and
//! wasmi. Other engines call functions by name, with a [`GuestMemory`]:
//!
//! ```
//! use palisade_kernel::Config;
//! use palisade_preview1::Preview1;
//! use palisade_vfs::MemFs;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder().preopen("/", MemFs::new().root()).build()?;
//! let mut guest = Preview1::new(config.start());
//!
//! let mut memory = vec![0; 65536];
//! memory[..5].copy_from_slice(b"notes");
//! // path_create_directory(fd: 3, path: 0, path_len: 5): 0 is success, 20 is EEXIST.
//! let args = [3, 0, 5];
//! assert_eq!(guest.call(&mut memory, "path_create_directory", &args), Some(Ok(0)));
//! assert_eq!(guest.call(&mut memory, "path_create_directory", &args), Some(Ok(20)));
//! # Ok(())
//! # }
//! ```
//!
//! This crate decodes arguments and encodes results. Paths, rights and files are the kernel's.
//!
//! # Types
//!
//! - [`Preview1`]: one guest. [`ZeroRights`] is its only setting.
//! - [`GuestMemory`]: linear memory, implemented for `[u8]` and `Vec<u8>`.
//! - `engines::wasmtime` and `engines::wasmi`: `State` and `add_to_linker` for each engine.
//! - [`FUNCTIONS`], [`MODULE`], [`errno_number`]: names and numbers of the ABI.
//!
//! The specification is
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>.

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

/// The name of the module that guests import the functions from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// The meaning of a `path_open` whose base and inheriting rights are both 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroRights {
    /// The guest does not use rights: it gets the inheriting rights of the directory.
    #[default]
    Inherited,
    /// The guest gets no rights.
    Literal,
}

/// One guest of Preview 1.
pub struct Preview1 {
    process: Process,
    zero_rights: ZeroRights,
}

impl Preview1 {
    /// Wraps the process of a guest.
    #[must_use]
    pub fn new(process: Process) -> Self {
        Preview1 { process, zero_rights: ZeroRights::default() }
    }

    /// Sets the meaning of a `path_open` without rights.
    #[must_use]
    pub fn with_zero_rights(mut self, zero_rights: ZeroRights) -> Self {
        self.zero_rights = zero_rights;
        self
    }

    /// Returns the process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns the process, mutable.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
