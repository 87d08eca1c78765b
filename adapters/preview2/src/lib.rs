//! WASI Preview 2 (`wasi:cli/command@0.2`) for wasmtime's component model.
//!
//! [`add_to_linker_sync`] and [`add_to_linker_async`] replace the functions of the same names of
//! `wasmtime_wasi::p2`. Components then use Palisade's filesystems, with their policies:
//!
//! ```
//! use palisade_kernel::Config;
//! use palisade_preview2::{PalisadeCtx, PalisadeCtxView, PalisadeView, add_to_linker_sync};
//! use palisade_vfs::MemFs;
//! use wasmtime::component::{Linker, ResourceTable};
//! use wasmtime::{Engine, Store};
//!
//! struct State {
//!     ctx: PalisadeCtx,
//!     table: ResourceTable,
//! }
//!
//! impl PalisadeView for State {
//!     fn palisade(&mut self) -> PalisadeCtxView<'_> {
//!         PalisadeCtxView { ctx: &mut self.ctx, table: &mut self.table }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::default();
//! let mut linker = Linker::<State>::new(&engine);
//! add_to_linker_sync(&mut linker)?;
//! // ... add further interfaces, such as wasi:http ...
//!
//! let config = Config::builder().preopen("/", MemFs::new().root()).build()?;
//! let ctx = PalisadeCtx::new(config.start());
//! let store = Store::new(&engine, State { ctx, table: ResourceTable::new() });
//! # Ok(())
//! # }
//! ```
//!
//! `wasi:filesystem`, `wasi:cli`, `wasi:clocks` and `wasi:random` call the kernel's
//! [`Process`](palisade_kernel::Process); this crate contains no rules about paths, rights or
//! policies. `wasi:io` is wasmtime-wasi's, so that pollables of other crates can be polled together
//! with Palisade's. `wasi:sockets` is linked, and refuses every operation.
//!
//! A component that exits returns a [`palisade_kernel::Exit`] as the error of its call.
//!
//! # Types
//!
//! - [`PalisadeCtx`]: the state of one guest, kept in the store's data.
//! - [`PalisadeView`], [`PalisadeCtxView`]: the projection of the store's data to that state.
//! - [`add_to_linker_sync`], [`add_to_linker_async`], [`INTERFACES`]: linking.
//! - [`bindings`]: wasmtime-wasi's bindings, to call a component.
//! - [`error_code`]: the conversion of errors.
//!
//! # Handles
//!
//! The handle of a descriptor is its number in the kernel's table, so that
//! `Limits::descriptors_max` bounds the descriptors. A guest cannot forge a handle: the engine has
//! a typed handle table for each component. Streams, pollables and directory streams are in the
//! embedder's [`ResourceTable`](wasmtime::component::ResourceTable), whose capacity each call
//! reduces to [`PalisadeCtx::resources_max`], derived from `Limits::streams_max`. A stream counts
//! until it is dropped, even if its descriptor is closed. At the limit a function with an error
//! result returns `insufficient-memory`; other functions trap.
//!
//! # Threads
//!
//! Under the synchronous linker a guest uses at most one additional thread, while it polls standard
//! input; one thread per process fires the timers of all guests. Under the asynchronous linker a
//! guest uses the embedder's tokio blocking pool: at most one thread per open stream and one for
//! the current call. The pool's limit (512 threads by default) applies to all guests together. If
//! the operating system refuses a thread, the guest's call returns `would-block`; the embedder
//! never gets a panic.
//!
//! # Directories
//!
//! A directory that is opened without `mutate-directory` cannot be changed through its descriptor;
//! the error is `read-only`, as the WIT specifies. wasi-libc, which Rust programs use too, does not
//! request `mutate-directory` everywhere it is needed, so such guests need
//! [`PalisadeCtx::for_preview1_guest`].
//!
//! # Blocking calls
//!
//! Under the synchronous linker each call runs on the calling thread. Under the asynchronous linker
//! a call on a filesystem that may wait for a disk ([`Dir::may_block`](palisade_vfs::Dir)) runs on
//! tokio's blocking pool; other calls, such as those on an in-memory filesystem, run inline.
//! [`PalisadeCtx::wait_inline`] runs all calls inline.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")
)]

mod cli;
mod clocks;
mod convert;
mod ctx;
mod errno;
mod executor;
mod fs;
mod io;
mod link;
mod random;

/// The interfaces of version 0.2 that the linkers define.
pub const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The bindings to call a component with, such as `bindings::sync::Command`.
pub use wasmtime_wasi::p2::bindings;

pub use ctx::{PalisadeCtx, PalisadeCtxView, PalisadeView};
pub use errno::error_code;
pub use link::{add_to_linker_async, add_to_linker_sync};
