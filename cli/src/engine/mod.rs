//! Engines: the only place of the command that names one.
//!
//! An engine is handed a [`Guest`] and answers how the guest ended. Whatever goes wrong before the
//! guest runs is [`Ended::Refused`] with the engine's words; the caller looks at the module itself
//! for a better reason, so that nothing is looked at twice as long as all goes well.

mod component;
mod stop;
mod wasmi;
mod wasmtime;

use std::path::PathBuf;

use palisade::Process;
use palisade::preview1::ZeroRights;

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
    pub(crate) limits: Bounds,
    pub(crate) keep: Keep,
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
    pub(crate) fn run(self, guest: Guest<'_>) -> Ended {
        match self {
            Kind::Wasmtime if guest.form != Form::Module => component::run(guest),
            Kind::Wasmtime => wasmtime::run(guest),
            Kind::Wasmi => wasmi::run(guest),
        }
    }
}
