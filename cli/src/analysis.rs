//! Bounds what it takes to compile a module or to look at it, whoever wrote it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ambient;
use crate::args::CompileLimits;
use crate::engine::{CompileBounds, CompileWatch, Overrun, Watched};
use crate::error::Error;
use crate::run::report;

/// What is bounded, and how it is reported.
pub(crate) struct Analysis<'a> {
    pub(crate) path: &'a Path,
    pub(crate) compile: CompileBounds,
    /// From now to the end of the guest.
    pub(crate) time: Option<Duration>,
    /// Whether errors are printed as JSON.
    pub(crate) json: bool,
}

impl CompileBounds {
    /// The bounds that were given, and the default of each that was not.
    pub(crate) fn new(time: Option<Duration>, memory_bytes: Option<u64>) -> Self {
        let default = CompileBounds::default();
        CompileBounds {
            time: time.unwrap_or(default.time),
            memory_bytes: memory_bytes.unwrap_or(default.memory_bytes),
        }
    }
}

impl From<&CompileLimits> for CompileBounds {
    fn from(limits: &CompileLimits) -> Self {
        CompileBounds::new(limits.max_compile_time, limits.max_compile_memory)
    }
}

impl Analysis<'_> {
    /// Bounds everything from now on, until the watch is dropped.
    ///
    /// The process ends when a bound is passed, with the error that says which, after
    /// `before_exit`: a compiler has no other way to be stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NoThread`].
    pub(crate) fn watch(
        self,
        before_exit: impl FnOnce() + Send + 'static,
    ) -> Result<CompileWatch, Error> {
        let Analysis { path, compile, time, json } = self;
        let path = path.to_owned();
        let give_up = move |overrun| {
            before_exit();
            let error = overrun_error(overrun, path, compile, time);
            let code = error.exit_code();
            report(error, json);
            ambient::exit(code)
        };
        let watched = Watched { compile, time, give_up: Box::new(give_up) };
        CompileWatch::start(watched).map_err(Error::NoThread)
    }
}

fn overrun_error(
    overrun: Overrun,
    path: PathBuf,
    compile: CompileBounds,
    time: Option<Duration>,
) -> Error {
    match overrun {
        Overrun::Time => Error::TimedOut { after: time.unwrap_or_default() },
        Overrun::CompileTime => Error::CompileTime { path, max: compile.time },
        Overrun::CompileMemory => Error::CompileMemory { path, max: compile.memory_bytes },
    }
}
