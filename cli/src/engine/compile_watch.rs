//! Ends the process when analyzing or compiling a module exceeds its time or memory limit.
//!
//! A compiler cannot be interrupted, so a watcher thread ends the process. The guest has not run at
//! that point, so there are no outputs to write. `stop.rs` watches the guest itself.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::ambient;

/// The interval between two checks of time and memory.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The default time limit: a hundred times what the largest programs need on a slow machine.
const TIME_DEFAULT: Duration = Duration::from_secs(120);
/// The default memory limit: four times what the largest programs need.
const MEMORY_DEFAULT_BYTES: u64 = 4 << 30;

/// The limits of analyzing and compiling a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompileBounds {
    pub(crate) time: Duration,
    /// The growth of the resident set size of the process.
    pub(crate) memory_bytes: u64,
}

impl Default for CompileBounds {
    fn default() -> Self {
        CompileBounds { time: TIME_DEFAULT, memory_bytes: MEMORY_DEFAULT_BYTES }
    }
}

/// The limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// The time limit of the whole run.
    RunTime,
    CompileTime,
    CompileMemory,
}

/// The limits to watch.
pub(crate) struct Watched {
    pub(crate) compile: CompileBounds,
    /// The time limit of the whole run, which starts now.
    pub(crate) run_time: Option<Duration>,
    /// Prints the error and ends the process.
    pub(crate) give_up: Box<dyn FnOnce(Overrun) + Send>,
}

/// A running watch; dropping it ends the watch.
pub(crate) struct CompileWatch(#[expect(dead_code, reason = "its drop is the message")] Sender<()>);

impl CompileWatch {
    /// Starts the watcher thread.
    ///
    /// # Errors
    ///
    /// The operating system refuses a thread.
    pub(crate) fn start(watched: Watched) -> io::Result<Self> {
        let (sender, ended) = channel();
        let watch = move || watch(watched, &ended);
        thread::Builder::new().name("palisade-compile".to_owned()).spawn(watch)?;
        Ok(CompileWatch(sender))
    }
}

fn watch(watched: Watched, ended: &Receiver<()>) {
    let Watched { compile, run_time, give_up } = watched;
    let (started, before) = (Instant::now(), ambient::resident_bytes());
    let overrun = loop {
        if ended.recv_timeout(CHECK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let passed = started.elapsed();
        if run_time.is_some_and(|limit| passed >= limit) {
            break Overrun::RunTime;
        }
        if passed >= compile.time {
            break Overrun::CompileTime;
        }
        if ambient::resident_bytes().saturating_sub(before) > compile.memory_bytes {
            break Overrun::CompileMemory;
        }
    };
    give_up(overrun);
}
