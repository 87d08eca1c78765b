//! Runs a guest on wasmtime or wasmi. No other module of the command uses an engine.
//!
//! [`EngineKind::run`] takes a [`Guest`] and returns how it [`Ended`]. An error before the guest
//! runs is [`Ended::Refused`] with the message of the engine. The caller then analyzes the module
//! for a more helpful reason; the analysis costs nothing when the guest starts.

mod budget;
mod compile_watch;
mod component;
mod stop;
mod wasmi;
mod wasmtime;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use palisade::Process;
use palisade::preview1::ZeroRights;

pub(crate) use budget::{INSTANCES_MAX, MEMORY_DEFAULT_BYTES};
pub(crate) use compile_watch::{CompileBounds, CompileWatch, Overrun, Watched};
use stop::Watchdog;
pub(crate) use stop::{Stop, StopCause, StopError, Stopped, Stopper};

/// The engine of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineKind {
    /// Compiles to machine code, which is cached.
    Wasmtime,
    /// Interprets the code.
    Wasmi,
}

/// The binary format of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A core module, which calls Preview 1.
    Module,
    /// A component, which calls Preview 2.
    Component,
    /// A component that contains a module and an adapter from Preview 1 to Preview 2.
    WrappedModule,
}

/// A guest to run.
pub(crate) struct Guest<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) form: Form,
    pub(crate) process: Process,
    pub(crate) zero_rights: ZeroRights,
    pub(crate) bounds: Bounds,
    pub(crate) cache: ModuleCache,
    /// Limits the compilation. Dropped when the guest starts.
    pub(crate) compiling: CompileWatch,
}

/// The cache of compiled modules. Its directory is created if it does not exist.
pub(crate) enum ModuleCache {
    Disabled,
    /// The guest does not start if the directory cannot be used.
    Required(PathBuf),
    /// The module is not cached if the directory cannot be used.
    Optional(PathBuf),
}

/// The limits that an engine enforces.
pub(crate) struct Bounds {
    pub(crate) memory_bytes: Option<u64>,
    /// The bytes of the instances of the guest without memories and tables.
    pub(crate) instance_bytes: u64,
    /// `None` if the guest is never stopped, so that the code needs no checks for it.
    pub(crate) stop: Option<Stop>,
}

/// How a guest ended.
pub(crate) enum Ended {
    /// The guest exited with this code; 0 if `_start` returned.
    Exited(u32),
    /// The guest trapped.
    Trapped { why: String, frames: Vec<String> },
    /// The guest was stopped.
    Stopped(StopCause),
    /// The guest never started: the message of the engine.
    Refused(String),
    /// The guest never started: its memories, tables and instances need at least this many bytes.
    OverMemory { needed: u64 },
    /// The host panicked with this message.
    Panicked(String),
    /// The guest never started: the required cache cannot be used.
    NoCache(String),
}

impl EngineKind {
    /// Returns the value of `--engine`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EngineKind::Wasmtime => "wasmtime",
            EngineKind::Wasmi => "wasmi",
        }
    }

    /// Runs the guest to its end.
    ///
    /// A panic of the host ends the guest, not the command: the outputs of the run are still
    /// written. The state that the panic interrupted is not used again.
    pub(crate) fn run(self, guest: Guest<'_>) -> Ended {
        let run = || match self {
            EngineKind::Wasmtime if guest.form != Form::Module => component::run(guest),
            EngineKind::Wasmtime => wasmtime::run(guest),
            EngineKind::Wasmi => wasmi::run(guest),
        };
        let ended = catch_unwind(AssertUnwindSafe(run));
        ended.unwrap_or_else(|panic| Ended::Panicked(message(&*panic)))
    }
}

/// Returns the message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use palisade::{Config, Output};

    use super::*;

    /// A component that prints to standard output.
    const COMPONENT: &[u8] = include_bytes!("../../../tests/guests/streams.wasm");

    fn end(engine: EngineKind, form: Form, bytes: &[u8]) -> Ended {
        let stdout = Output::callback(|_| panic!("expected by this test"));
        let config = Config::builder().args(["guest", "pollables", "1"]).stdout(stdout);
        let watched = Watched {
            compile: CompileBounds::default(),
            run_time: None,
            give_up: Box::new(|overrun| panic!("{overrun:?}")),
        };
        engine.run(Guest {
            bytes,
            form,
            process: config.build().unwrap().start(),
            zero_rights: ZeroRights::Inherited,
            bounds: Bounds { memory_bytes: None, instance_bytes: 0, stop: None },
            cache: ModuleCache::Disabled,
            compiling: CompileWatch::start(watched).unwrap(),
        })
    }

    #[test]
    fn host_panic_ends_the_guest_only() {
        let module = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\01\00\00\00")
            (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1)
                (i32.const 16)))))"#,
        )
        .unwrap();
        for (engine, form, bytes) in [
            (EngineKind::Wasmtime, Form::Module, &*module),
            (EngineKind::Wasmi, Form::Module, &module),
            (EngineKind::Wasmtime, Form::Component, COMPONENT),
        ] {
            let end = end(engine, form, bytes);
            let is_expected =
                matches!(&end, Ended::Panicked(message) if message == "expected by this test");
            assert!(is_expected, "{engine:?}, {form:?}");
        }
    }
}
