//! Limits the time and memory of analyzing and compiling a module.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::vfs::escape;

use crate::ambient;
use crate::args::CompileLimits;
use crate::engine::{CompileBounds, CompileWatch, Overrun, StopError, Watched};
use crate::error::{CommandError, Error, HostError};
use crate::print::{Format, report};

/// A module that exceeds the limits of its analysis or compilation.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum AnalysisError {
    #[error(
        "`{}` was not analyzed and compiled within {}",
        escape::name(.path), humantime::format_duration(*.max)
    )]
    #[diagnostic(
        code(palisade::compile_time),
        help("raise `--max-compile-time`, or use `--engine wasmi`, which compiles modules faster")
    )]
    Time { path: PathBuf, max: Duration },

    #[error("`{}` requires more than {max} bytes to be analyzed and compiled", escape::name(.path))]
    #[diagnostic(
        code(palisade::compile_memory),
        help(
            "raise `--max-compile-memory`, or use `--engine wasmi`, which needs less for modules"
        )
    )]
    Memory { path: PathBuf, max: u64 },
}

impl CommandError for AnalysisError {}

/// The limits of an analysis, and how an overrun is reported.
pub(crate) struct AnalysisLimits<'a> {
    pub(crate) path: &'a Path,
    pub(crate) compile: CompileBounds,
    /// The time limit of the whole run, from now on.
    pub(crate) run_time: Option<Duration>,
    pub(crate) format: Format,
}

impl CompileBounds {
    /// Returns the given bounds, with defaults for the missing ones.
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

impl AnalysisLimits<'_> {
    /// Starts enforcing the limits; dropping the returned watch stops it.
    ///
    /// On an overrun the watch calls `before_exit`, prints the error and ends the process: a
    /// compiler cannot be stopped in any other way.
    ///
    /// # Errors
    ///
    /// [`HostError::Thread`]: the operating system refuses a thread.
    pub(crate) fn watch(
        self,
        before_exit: impl FnOnce() + Send + 'static,
    ) -> Result<CompileWatch, Error> {
        let AnalysisLimits { path, compile, run_time, format } = self;
        let path = path.to_owned();
        let give_up = move |overrun| {
            before_exit();
            let error = overrun_error(overrun, path, compile, run_time);
            report(&error, format);
            ambient::exit(error.exit_code())
        };
        let watched = Watched { compile, run_time, give_up: Box::new(give_up) };
        Ok(CompileWatch::start(watched).map_err(HostError::Thread)?)
    }
}

fn overrun_error(
    overrun: Overrun,
    path: PathBuf,
    compile: CompileBounds,
    run_time: Option<Duration>,
) -> Error {
    match overrun {
        Overrun::RunTime => StopError::Timeout { after: run_time.unwrap_or_default() }.into(),
        Overrun::CompileTime => AnalysisError::Time { path, max: compile.time }.into(),
        Overrun::CompileMemory => AnalysisError::Memory { path, max: compile.memory_bytes }.into(),
    }
}
