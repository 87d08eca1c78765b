//! Opens audit logs, and stops the guest when a record cannot be written.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use palisade::policy::audit::{AuditOptions, Auditor, Header, JsonLines, OnFailure, Sink, Summary};

use crate::ambient;
use crate::engine::{StopCause, Stopper};
use crate::error::{CommandError, Error};
use crate::output_file::{ExistingLog, OutputFile, ProtectedPaths, is_stderr, random_text};

/// Batches of events in the queue between the guest and the writer thread.
const QUEUED_BATCHES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// An audit log that cannot be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the audit log is incomplete: {0}")]
#[diagnostic(
    code(palisade::audit),
    help(
        "make room for the log, or let the guest continue without it: `--audit-when-failing continue`"
    )
)]
pub(crate) struct AuditError(pub(crate) io::Error);

impl CommandError for AuditError {}

/// The parts of a run that opening an audit log needs.
pub(crate) struct AuditContext<'a> {
    /// Where the log may not be.
    pub(crate) protected: &'a ProtectedPaths,
    /// Stops the guest when a record cannot be written.
    pub(crate) stopper: &'a Stopper,
}

/// An audit log to be opened.
pub(crate) struct AuditLog<'a> {
    /// The path; standard error if there is none.
    pub(crate) path: Option<&'a Path>,
    pub(crate) existing: ExistingLog,
    pub(crate) options: AuditOptions,
    /// The module of the run, for the header.
    pub(crate) module: &'a Path,
    /// The name of the policy, for the header; empty without a policy.
    pub(crate) policy: &'a str,
}

impl AuditLog<'_> {
    /// Opens the log, writes the header and starts the writer thread. The header is on disk before
    /// the guest runs.
    pub(crate) fn open(self, context: &AuditContext<'_>) -> Result<Arc<Auditor>, Error> {
        let guest = self.module.to_string_lossy();
        let run = random_text().map_err(AuditError)?;
        let header = Header {
            run: &run,
            started: &ambient::now(),
            guest: &guest,
            policy: self.policy,
            options: Some(&self.options),
        };
        let out: Box<dyn Write + Send> = match self.path {
            Some(path) if !is_stderr(path) => {
                Box::new(OutputFile::new(path, context.protected)?.open_log(self.existing)?)
            }
            Some(_) | None => Box::new(io::stderr()),
        };
        let is_fatal = !self.options.may_drop && self.options.on_failure == OnFailure::Stop;
        let stopper = is_fatal.then(|| context.stopper.clone());
        let mut lines = JsonLines::new(StoppingWriter { out, stopper }, &header);
        Sink::flush(&mut lines).map_err(AuditError)?;
        Ok(Auditor::write_behind(lines, QUEUED_BATCHES, self.options).map_err(AuditError)?)
    }
}

/// Completes the log as [`Auditor::finish`] does, with a time limit.
///
/// # Errors
///
/// - `ErrorKind::TimedOut`: the log was not complete within `timeout`.
/// - Those of [`Auditor::finish`].
pub(crate) fn finish_within(
    auditor: &Arc<Auditor>,
    timeout: Option<Duration>,
) -> io::Result<Summary> {
    let Some(timeout) = timeout else { return auditor.finish() };
    let (sender, summary) = channel();
    let auditor = Arc::clone(auditor);
    thread::Builder::new().spawn(move || sender.send(auditor.finish()))?;
    summary.recv_timeout(timeout).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A writer that stops the guest after a failed write.
struct StoppingWriter {
    out: Box<dyn Write + Send>,
    stopper: Option<Stopper>,
}

impl StoppingWriter {
    fn stop_on_failure<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let is_failure = |why: &io::Error| why.kind() != io::ErrorKind::Interrupted;
        if let Some(stopper) = &self.stopper
            && result.as_ref().is_err_and(is_failure)
        {
            stopper.stop(StopCause::AuditFailed);
        }
        result
    }
}

impl Write for StoppingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.stop_on_failure(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.stop_on_failure(flushed)
    }
}
