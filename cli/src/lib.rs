//! Palisade for embedders: a virtual filesystem with policies for WebAssembly guests.
//!
//! A guest has no access to the host except what its [`Config`] grants. A filesystem is a
//! directory, a [`DirRef`](vfs::DirRef). Directories can be mounted into each other, stacked as
//! overlays and confined by policies. The trait for a filesystem of your own is [`vfs::Dir`].
//!
//! # Example
//!
//! Builds an overlay over read-only contents, confines it by a policy, and runs a guest in it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use palisade::preview1::Preview1;
//! use palisade::preview1::engines::wasmtime::{State, add_to_linker};
//! use palisade::vfs::{Follow, OpenHow, Rights, path};
//! use palisade::{Config, Lowers, MemFs, Overlay, Policy, confine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wasm = wat::parse_str(r#"(module (func (export "_start")))"#)?;
//! let project = MemFs::new().root();
//! path::create_dir(&*project, "src")?;
//! path::create_dir(&*project, ".git")?;
//!
//! // The overlay stores changes in memory and never writes to `project`.
//! let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(project))?;
//! let policy = Policy::builder().allow("/**", Rights::all()).hide("/.git").build()?;
//! let root = confine(overlay.root(), Arc::new(policy));
//! assert!(path::open(&*root, "src", Follow::Yes, OpenHow::HOLD_DIR).is_ok());
//! assert!(path::open(&*root, ".git", Follow::Yes, OpenHow::HOLD_DIR).is_err());
//!
//! let config = Config::builder().arg("guest").preopen("/", root).build()?;
//! let engine = wasmtime::Engine::default();
//! let module = wasmtime::Module::new(&engine, &wasm)?;
//! let mut linker = wasmtime::Linker::new(&engine);
//! add_to_linker(&mut linker, |state: &mut State| state)?;
//! let mut store = wasmtime::Store::new(&engine, State::new(Preview1::new(config.start())));
//! let instance = linker.instantiate(&mut store, &module)?;
//! instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
//! assert!(overlay.changes()?.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Types
//!
//! | purpose | types |
//! |---|---|
//! | settings of a guest | [`Config`], [`ConfigBuilder`], [`Limits`], [`Clock`], [`Random`] |
//! | standard streams | [`Input`], [`Output`], [`OutputBuffer`] |
//! | a running guest | [`Process`], [`Interrupt`], [`Exit`] |
//! | filesystems | [`MemFs`], `HostDir` (Linux), `EmbeddedFs`, `Image` |
//! | composition | [`Mounts`], [`Overlay`] with its [`Lowers`], [`copy_tree`] |
//! | restrictions | [`read_only`], [`Policy`] with [`confine`], [`policy::QuotaGroup`] |
//! | changes of an overlay | [`overlay::diff`], [`overlay::commit`], [`overlay::discard`] |
//! | guests | [`preview1`] for core modules, `preview2` for components |
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
//! // A configuration can be started many times; each start is a new guest.
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
//! For any other engine, call [`preview1::Preview1::call`] with the memory of the guest.
//!
//! # Components
//!
//! With the feature `preview2`, an embedder of components replaces `add_to_linker_sync` of
//! wasmtime-wasi by that of `palisade::preview2`, and `WasiCtx` by a `PalisadeCtx` with this
//! configuration. `examples/embed_component.rs` is a complete program.
//!
//! # Stopping a guest
//!
//! [`Config::start_with`] takes an [`Interrupt`]. Raising it from another thread ends all sleeps
//! and waits of the guest. A guest that computes is stopped by a mechanism of the engine, such as
//! the epochs of wasmtime or the fuel of wasmi.
//!
//! # Features
//!
//! | feature | enables |
//! |---|---|
//! | `cli` (default) | the `palisade` command; leave it out with `default-features = false` |
//! | `image` (by `cli` too) | `Image`: zip and tar archives as filesystems |
//! | `embed` (default) | `EmbeddedFs`: files in the program binary as a filesystem |
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
