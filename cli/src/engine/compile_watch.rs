//! Ends the command when it takes too long, or too much memory, to compile or analyze a module.
//!
//! A compiler cannot be stopped, so a thread ends the process under it; nothing of the guest has
//! run then, and nothing has to be kept. `stop.rs` watches the guest itself.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::ambient;

/// How often the time and the memory are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it may take: a hundred times what the largest programs take on a slow machine.
const TIME_DEFAULT: Duration = Duration::from_secs(120);
/// Bytes that it may take: four times what the largest programs take.
const MEMORY_DEFAULT_BYTES: u64 = 4 << 30;

/// What the compilation or the analysis of a module may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompileBounds {
    pub(crate) time: Duration,
    /// Bytes that the process grows by.
    pub(crate) memory_bytes: u64,
}

impl Default for CompileBounds {
    fn default() -> Self {
        CompileBounds { time: TIME_DEFAULT, memory_bytes: MEMORY_DEFAULT_BYTES }
    }
}

/// Which bound was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// That of the whole run.
    Time,
    CompileTime,
    CompileMemory,
}

/// What to watch.
pub(crate) struct Watched {
    pub(crate) compile: CompileBounds,
    /// For the whole run, of which this is the beginning.
    pub(crate) time: Option<Duration>,
    /// Ends the process, after saying why.
    pub(crate) give_up: Box<dyn FnOnce(Overrun) + Send>,
}

/// Watches until it is dropped.
pub(crate) struct CompileWatch(#[expect(dead_code, reason = "its drop is the message")] Sender<()>);

impl CompileWatch {
    /// Watches from now on.
    ///
    /// # Errors
    ///
    /// The operating system's, if it has no thread to give.
    pub(crate) fn start(watched: Watched) -> io::Result<Self> {
        let (to, ended) = channel();
        let watch = move || watch(watched, &ended);
        thread::Builder::new().name("palisade-compile".to_owned()).spawn(watch)?;
        Ok(CompileWatch(to))
    }
}

fn watch(watched: Watched, ended: &Receiver<()>) {
    let Watched { compile, time, give_up } = watched;
    let (started, before) = (Instant::now(), ambient::resident_bytes());
    let overrun = loop {
        if ended.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let passed = started.elapsed();
        if time.is_some_and(|time| passed >= time) {
            break Overrun::Time;
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
