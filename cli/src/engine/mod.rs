//! Engines: the only place of the command that names one.
//!
//! An engine is handed a [`Guest`] and answers how the guest ended. Whatever goes wrong before the
//! guest runs is [`Ended::Refused`] with the engine's words; the caller looks at the module itself
//! for a better reason, so that nothing is looked at twice as long as all goes well.

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
pub(crate) use stop::{Cause, Stop, Stopped, Stopper};

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Compiles to machine code, and keeps it.
    Wasmtime,
    /// Interprets.
    Wasmi,
}

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A core module, which speaks Preview 1.
    Module,
    /// A component, which speaks Preview 2.
    Component,
    /// A component that was made of a module, which speaks Preview 1 to an adapter within.
    WrappedModule,
}

/// What an engine needs.
pub(crate) struct Guest<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) form: Form,
    pub(crate) process: Process,
    pub(crate) zero_rights: ZeroRights,
    pub(crate) bounds: Bounds,
    pub(crate) keep: Keep,
    /// Watches the compilation. Dropped when the guest begins to run.
    pub(crate) compiling: CompileWatch,
}

/// Where compiled modules are kept. The directory is made if it is missing.
pub(crate) enum Keep {
    Nowhere,
    /// There, or the guest does not start.
    Exactly(PathBuf),
    /// There, or nowhere.
    IfPossible(PathBuf),
}

/// What an engine enforces.
pub(crate) struct Bounds {
    pub(crate) memory_bytes: Option<u64>,
    /// Bytes that the instances of the guest take beside their memories and tables.
    pub(crate) instance_bytes: u64,
    /// `None` if the guest is never stopped: then no engine has to look up for it.
    pub(crate) stop: Option<Stop>,
}

/// How a guest ended.
pub(crate) enum Ended {
    /// It exited, or returned, which is 0.
    Exited(u32),
    /// It trapped.
    Trapped { why: String, frames: Vec<String> },
    /// It was stopped.
    Stopped(Cause),
    /// It never started: the engine's words.
    Refused(String),
    /// It never started: its memories, tables and instances need at least this many bytes.
    OverMemory { needed: u64 },
    /// The host panicked, with this message.
    Panicked(String),
    /// It never started: the cache cannot be used.
    NoCache(String),
}

impl Kind {
    /// The name, as it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Wasmtime => "wasmtime",
            Kind::Wasmi => "wasmi",
        }
    }

    /// Runs the guest to its end.
    ///
    /// A panic of the host while it does, in whatever crate, ends the guest and not the command:
    /// records and changes are still completed. What the panic interrupted is not used again.
    pub(crate) fn run(self, guest: Guest<'_>) -> Ended {
        let run = || match self {
            Kind::Wasmtime if guest.form != Form::Module => component::run(guest),
            Kind::Wasmtime => wasmtime::run(guest),
            Kind::Wasmi => wasmi::run(guest),
        };
        let ended = catch_unwind(AssertUnwindSafe(run));
        ended.unwrap_or_else(|panic| Ended::Panicked(message(&*panic)))
    }
}

/// The message of a panic.
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

    fn end(engine: Kind, form: Form, bytes: &[u8]) -> Ended {
        let stdout = Output::callback(|_| panic!("expected by this test"));
        let config = Config::builder().args(["guest", "pollables", "1"]).stdout(stdout);
        let watched = Watched {
            compile: CompileBounds::default(),
            time: None,
            give_up: Box::new(|overrun| panic!("{overrun:?}")),
        };
        engine.run(Guest {
            bytes,
            form,
            process: config.build().unwrap().start(),
            zero_rights: ZeroRights::Inherited,
            bounds: Bounds { memory_bytes: None, instance_bytes: 0, stop: None },
            keep: Keep::Nowhere,
            compiling: CompileWatch::start(watched).unwrap(),
        })
    }

    #[test]
    fn a_panic_of_the_host_in_a_call_is_the_end_of_the_guest() {
        let module = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\01\00\00\00")
            (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1)
                (i32.const 16)))))"#,
        )
        .unwrap();
        for (engine, form, bytes) in [
            (Kind::Wasmtime, Form::Module, &*module),
            (Kind::Wasmi, Form::Module, &module),
            (Kind::Wasmtime, Form::Component, COMPONENT),
        ] {
            let end = end(engine, form, bytes);
            let is_told =
                matches!(&end, Ended::Panicked(message) if message == "expected by this test");
            assert!(is_told, "{engine:?}, {form:?}");
        }
    }
}
