//! Engines: the only place of the command that names one.
//!
//! An engine is handed a [`Guest`] and answers how the guest ended. Whatever goes wrong before the
//! guest runs is [`Ended::Refused`] with the engine's words; the caller looks at the module itself
//! for a better reason, so that nothing is looked at twice as long as all goes well.

mod component;
mod wasmi;
mod wasmtime;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use palisade::preview1::ZeroRights;
use palisade::{Interrupt, Process};

/// How long a guest that was stopped may take to come to its end. A host call that waits for a
/// terminal does not look up; then the process ends under it.
const GRACE: Duration = Duration::from_millis(250);

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
    pub(crate) time: Option<Timeout>,
}

/// When to stop a guest, and what to do if it does not.
pub(crate) struct Timeout {
    pub(crate) after: Duration,
    pub(crate) give_up: Box<dyn FnOnce() + Send>,
}

/// How a guest ended.
pub(crate) enum Ended {
    /// It exited, or returned, which is 0.
    Exited(u32),
    /// It trapped.
    Trapped { why: String, frames: Vec<String> },
    /// It was stopped.
    TimedOut,
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

/// Stops a guest when its time is up; told by its drop that the guest has ended.
struct Watchdog {
    expired: Arc<AtomicBool>,
    _ended: Option<Sender<()>>,
}

impl Watchdog {
    /// Watches from now on. When the time is up, `stop` is called, and sleeps and waits end.
    fn start(
        timeout: Option<Timeout>,
        interrupt: &Interrupt,
        stop: impl FnOnce() + Send + 'static,
    ) -> Self {
        let expired = Arc::new(AtomicBool::new(false));
        let Some(Timeout { after, give_up }) = timeout else {
            return Watchdog { expired, _ended: None };
        };
        let (ended, has_ended) = channel::<()>();
        let (flag, interrupt) = (Arc::clone(&expired), interrupt.clone());
        thread::spawn(move || {
            if has_ended.recv_timeout(after) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            flag.store(true, Ordering::SeqCst);
            stop();
            interrupt.raise();
            if has_ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                give_up();
            }
        });
        Watchdog { expired, _ended: Some(ended) }
    }

    /// Whether the time was up.
    fn has_expired(&self) -> bool {
        self.expired.load(Ordering::SeqCst)
    }
}
