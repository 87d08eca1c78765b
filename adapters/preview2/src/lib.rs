//! WASI Preview 2 (`wasi:cli/command@0.2`) over the Palisade kernel, on wasmtime.
//!
//! An embedder of wasmtime replaces one line, `wasmtime_wasi::p2::add_to_linker_sync` by
//! [`add_to_linker_sync`], or the `async` one by [`add_to_linker_async`], and its components have
//! Palisade's filesystem, with its policies, under them:
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
//! // ... add interfaces of your own, or wasi:http, beside them ...
//!
//! let config = Config::builder().preopen("/", MemFs::new().root()).build()?;
//! let ctx = PalisadeCtx::new(config.start());
//! let store = Store::new(&engine, State { ctx, table: ResourceTable::new() });
//! # Ok(())
//! # }
//! ```
//!
//! `wasi:filesystem`, `wasi:cli`, `wasi:clocks` and `wasi:random` are the kernel's
//! [`Process`](palisade_kernel::Process), and no rule of paths, rights or policies is written here.
//! `wasi:io` is wasmtime-wasi's, so that pollables of other crates can be waited for together with
//! these; `wasi:sockets` is linked and refuses.
//!
//! A component that exits does so with a [`palisade_kernel::Exit`] as the error of its call.
//!
//! # Handles
//!
//! A descriptor's handle is its number in the kernel's table, so `Limits::descriptors_max` bounds
//! them; a guest cannot make one up, because the engine keeps each component's own table of
//! handles, with their types. Streams, pollables and directory streams are in the embedder's
//! [`ResourceTable`](wasmtime::component::ResourceTable), whose capacity every call lowers to
//! [`PalisadeCtx::resources_max`], which follows from `Limits::streams_max`. An open stream counts
//! when its descriptor is closed, too. Where an interface has an error, one stream too many is
//! `insufficient-memory`; elsewhere it is a trap.
//!
//! # Threads
//!
//! A guest of the synchronous linker has one thread of the host besides its own, while it waits for
//! standard input; timers of all such guests are fired by one thread of the process. Under the
//! asynchronous linker a guest uses the embedder's tokio pool: at most one thread for each open
//! stream and one for the call under way, and the pool's own bound (512 by default) holds for all
//! guests together. A thread that the operating system refuses is `would-block` for the guest, and
//! never a panic that reaches the embedder.
//!
//! # Directories
//!
//! A directory that is opened without `mutate-directory` cannot be changed through that descriptor:
//! `read-only`, as the WIT says. The C library of wasi-sdk, which Rust's programs use too, does not
//! ask for it where it should, so for such a guest there is [`PalisadeCtx::for_preview1_guest`].
//!
//! # Waiting
//!
//! Under the synchronous linker every call is made where it is. Under the asynchronous one, a call
//! on a filesystem that may have to wait for a disk ([`Dir::may_block`](palisade_vfs::Dir)) is made
//! on tokio's threads for that, and all others, such as on memory, where they are.
//! [`PalisadeCtx::wait_inline`] makes all of them where they are.

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

/// The bindings that a component is called by, such as `bindings::sync::Command`.
pub use wasmtime_wasi::p2::bindings;

pub use ctx::{PalisadeCtx, PalisadeCtxView, PalisadeView};
pub use errno::error_code;
pub use link::{add_to_linker_async, add_to_linker_sync};
