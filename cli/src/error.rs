//! The error type of the command: any diagnostic, with its exit code.
//!
//! Each module defines an enum of its own errors and implements [`CommandError`] for it; `?`
//! converts the enum into [`Error`]. [`HostError`] holds the few errors that several modules share.
//! Each message names what was refused and the rule that refused it; the help text says what to do.

use std::ffi::OsString;
use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use miette::{Diagnostic, LabeledSpan, MietteDiagnostic, NamedSource};
use palisade::vfs::escape;

/// Exit code of a refusal, the same as that of a command line that `clap` rejects.
pub(crate) const EXIT_REFUSED: u8 = 2;
/// Exit code of a guest that was stopped by `--timeout`, as `timeout` of the GNU coreutils has it.
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
/// Exit code of a guest that trapped, as shells report a program that aborts.
pub(crate) const EXIT_TRAPPED: u8 = 134;
/// Exit code after an internal error: `EX_SOFTWARE` of sysexits.h.
pub(crate) const EXIT_INTERNAL: u8 = 70;
/// Added to the number of the signal that ended a run, as shells do.
pub(crate) const EXIT_SIGNAL: u8 = 128;

/// An error that ends a command.
pub(crate) trait CommandError: Diagnostic + Send + Sync + 'static {
    /// The exit code of the command.
    fn exit_code(&self) -> u8 {
        EXIT_REFUSED
    }

    /// The message of the JSON form, if it differs from `Display`.
    fn json_message(&self) -> String {
        self.to_string()
    }

    /// The items of `details` in the JSON form.
    fn details(&self) -> Vec<String> {
        Vec::new()
    }

    /// The source text and the labels that a terminal shows, both escaped.
    fn snippet(&self) -> Option<(NamedSource<String>, Vec<LabeledSpan>)> {
        None
    }
}

/// Any [`CommandError`].
#[derive(Debug)]
pub(crate) struct Error(Box<dyn CommandError>);

impl<E: CommandError> From<E> for Error {
    fn from(error: E) -> Error {
        Error(Box::new(error))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Error {
    /// Returns the exit code of the command.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.exit_code()
    }

    /// Returns the machine-readable code, such as `palisade::read`.
    pub(crate) fn code(&self) -> Option<String> {
        self.0.code().map(|code| code.to_string())
    }

    /// Returns the help text.
    pub(crate) fn help(&self) -> Option<String> {
        self.0.help().map(|help| help.to_string())
    }

    /// Returns whether the error points at a line of a file.
    pub(crate) fn has_snippet(&self) -> bool {
        self.0.snippet().is_some()
    }

    /// Returns the JSON form: code, message, details, help and exit code.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "error": {
                "code": self.code(),
                "message": self.0.json_message(),
                "details": self.0.details(),
                "help": self.help(),
                "exit_code": self.exit_code(),
            }
        })
    }

    /// Returns the escaped text for a terminal, with colors and source lines.
    pub(crate) fn to_terminal(&self) -> String {
        // Only the first hook counts, and no other code sets one.
        let _ = miette::set_hook(Box::new(|_| {
            Box::new(miette::MietteHandlerOpts::new().wrap_lines(false).build())
        }));
        let escaped = |text: String| escape::lines(&text).to_string();
        let (source, labels) = self.0.snippet().unzip();
        let report = miette::Report::new(MietteDiagnostic {
            message: escaped(self.to_string()),
            code: self.code(),
            severity: None,
            help: self.help().map(escaped),
            url: None,
            labels,
        });
        let report = match source {
            Some(source) => report.with_source_code(source),
            None => report,
        };
        format!("{report:?}\n")
    }
}

/// Failures of the operating system that several commands can meet.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum HostError {
    #[error("cannot read `{}`: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::read),
        help("{option} must name a regular file that exists and that you may read")
    )]
    Read { option: &'static str, path: PathBuf, why: std::io::Error },

    #[error("`{}` has more than {max} bytes", escape::name(.path))]
    #[diagnostic(
        code(palisade::too_large),
        help("no option raises this limit; check that this is the file that you meant")
    )]
    TooLarge { path: PathBuf, max: u64 },

    #[error("{option} `{}`: cannot open this directory: {why}", escape::name(.path))]
    #[diagnostic(
        code(palisade::host_dir),
        help("{option} must name a directory that exists and that you may read")
    )]
    OpenDir { option: &'static str, path: PathBuf, why: std::io::Error },

    #[error("the argument `{}` is not UTF-8", escape::name(.text))]
    #[diagnostic(code(palisade::argument), help("WASI guests take UTF-8 arguments only"))]
    Argument { text: OsString },

    #[error("cannot write to standard output: {0}")]
    #[diagnostic(code(palisade::write), help("the disk may be full"))]
    Stdout(std::io::Error),

    #[error("cannot start a thread: {0}")]
    #[diagnostic(
        code(palisade::thread),
        help("raise the limit of processes and threads (`ulimit -u`), or end other programs")
    )]
    Thread(std::io::Error),

    #[error("cannot install signal handlers: {0}")]
    #[diagnostic(
        code(palisade::signals),
        help("raise the limit of file descriptors (`ulimit -n`)")
    )]
    Signals(std::io::Error),
}

impl CommandError for HostError {}

/// Formats each item on an indented line of its own.
pub(crate) fn indented_lines(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  {}", escape::line(item))).collect()
}
