//! Palisade for embedders: give a WebAssembly guest one virtual filesystem, made of directories of
//! the host, memory and single files, and nothing that you did not name.
//!
//! A guest gets what its [`Config`] says. A filesystem is a directory, a
//! [`DirRef`](vfs::DirRef): [`MemFs`] keeps one in memory, [`HostDir`] opens one of the host,
//! [`Mounts`] grafts directories and single files into one tree, and [`read_only`] is a layer that
//! lets nothing be changed. An [`Overlay`] keeps what is changed apart from what it lies over:
//! directories, archives, embedded files, memory. Layers and filesystems combine freely, and you
//! can bring your own: the trait is [`vfs::Dir`].
//!
//! # With wasmtime
//!
//! ```
//! use palisade::preview1::engines::wasmtime::{State, add_to_linker};
//! use palisade::preview1::Preview1;
//! use palisade::{Config, Exit, MemFs, Output};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = wat::parse_str(r#"(module
//! #     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//! #     (memory (export "memory") 1)
//! #     (func (export "_start") (call $exit (i32.const 3))))"#)?;
//! let (stdout, printed) = Output::buffer(64 * 1024);
//! let config = Config::builder()
//!     .args(["guest", "in.txt"])
//!     .env("LANG", "C.UTF-8")
//!     .preopen("/work", MemFs::new().root())
//!     .stdout(stdout)
//!     .build()?;
//!
//! let engine = wasmtime::Engine::default();
//! let module = wasmtime::Module::new(&engine, &bytes)?;
//! let mut linker = wasmtime::Linker::new(&engine);
//! add_to_linker(&mut linker, |state: &mut State| state)?;
//!
//! // A configuration is started as often as one likes; each start is a guest of its own.
//! let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(config.start())));
//! let instance = linker.instantiate(&mut store, &module)?;
//! if let Some(memory) = instance.get_memory(&mut store, "memory") {
//!     store.data_mut().bind_memory(memory);
//! }
//! let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
//! let code = match start.call(&mut store, ()) {
//!     Ok(()) => 0,
//!     Err(error) => error.downcast::<Exit>()?.0,
//! };
//! assert_eq!(code, 3);
//! assert!(printed.contents().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # With wasmi
//!
//! ```
//! use palisade::preview1::engines::wasmi::{State, add_to_linker};
//! use palisade::preview1::Preview1;
//! use palisade::{Config, MemFs, read_only};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = wat::parse_str(r#"(module
//! #     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//! #     (memory (export "memory") 1)
//! #     (func (export "_start") (call $exit (i32.const 3))))"#)?;
//! let config = Config::builder().preopen("/", read_only(MemFs::new().root())).build()?;
//!
//! let engine = wasmi::Engine::default();
//! let module = wasmi::Module::new(&engine, &bytes)?;
//! let mut linker = wasmi::Linker::new(&engine);
//! add_to_linker(&mut linker, |state: &mut State| state)?;
//!
//! let mut store = wasmi::Store::new(&engine, State::new(Preview1::new(config.start())));
//! let instance = linker.instantiate_and_start(&mut store, &module)?;
//! let start = instance.get_typed_func::<(), ()>(&store, "_start")?;
//! let code = match start.call(&mut store, ()) {
//!     Ok(()) => 0,
//!     Err(error) => error.i32_exit_status().ok_or(error)?,
//! };
//! assert_eq!(code, 3);
//! # Ok(())
//! # }
//! ```
//!
//! Any other engine works too: lend [`preview1::Preview1::call`] the guest's memory.
//!
//! # Components
//!
//! With the feature `preview2`, a component's embedder replaces wasmtime-wasi's
//! `add_to_linker_sync` by that of `palisade::preview2`, and its `WasiCtx` by a `PalisadeCtx` of
//! this configuration; `examples/embed_component.rs` is one.
//!
//! # Stopping a guest
//!
//! [`Config::start_with`] takes an [`Interrupt`]. Raise it from another thread and every sleep and
//! every wait of the guest ends; a guest that computes is stopped by the engine's own means, such
//! as the epochs of wasmtime or the fuel of wasmi.
//!
//! # Features
//!
//! | feature | what for |
//! |---|---|
//! | `cli` (default) | the `palisade` command; leave it out with `default-features = false` |
//! | `image` (by `cli` too) | `Image`: zip and tar archives as filesystems |
//! | `embed` (default) | `EmbeddedFs`: files that are part of the program as a filesystem |
//! | `preview2` (by `cli` too) | [`preview2`]: components, on wasmtime |
//! | `wasmtime` | [`preview1::engines::wasmtime`] |
//! | `wasmi` | [`preview1::engines::wasmi`] |

pub use palisade_kernel as kernel;
pub use palisade_policy as policy;
pub use palisade_preview1 as preview1;
#[cfg(feature = "preview2")]
pub use palisade_preview2 as preview2;
pub use palisade_vfs as vfs;
pub use palisade_vfs::overlay;

pub use palisade_kernel::{
    Clock, Config, ConfigBuilder, ConfigError, Exit, Input, Interrupt, Limits, Output,
    OutputBuffer, Process, Random,
};
pub use palisade_policy::{Policy, confine, confine_at, read_only};
#[cfg(feature = "embed")]
pub use palisade_vfs::EmbeddedFs;
pub use palisade_vfs::overlay::{Lowers, Overlay};
#[cfg(target_os = "linux")]
pub use palisade_vfs::{HostDir, HostUpper};
#[cfg(feature = "image")]
pub use palisade_vfs::{Image, ImageError, ImageLimits};
pub use palisade_vfs::{MemFs, Mounts, MountsBuilder, copy_tree};
