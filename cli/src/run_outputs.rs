//! Writes the outputs of a run at its end: audit, diff, export and the final step.
//!
//! The thread that ran the guest writes them. If the guest was stopped but blocks in a host call,
//! the watchdog writes them and ends the process. An output that fails does not keep the others
//! from being written.

use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade::overlay::PathError;

use crate::confinement::Confinement;
use crate::engine::{StopCause, Stopped, Stopper};
use crate::error::{EXIT_SIGNAL, Error, HostError};
use crate::layer_archive::LayerArchive;
use crate::output_file::{OutputError, OutputFile};
use crate::preopens::MountedOverlay;
use crate::print::{Format, report};
use crate::upper_dir::UpperError;
use crate::{ambient, change_format, print};

/// How long a stopped run waits for a reader of its audit log.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The outputs of a run.
pub(crate) struct RunOutputs {
    pub(crate) confinement: Confinement,
    pub(crate) overlays: Vec<MountedOverlay>,
    pub(crate) diff: Option<DiffOutput>,
    pub(crate) export: Option<LayerArchive>,
    /// Called after all other outputs are written.
    pub(crate) final_step: Option<FinalStep>,
}

/// The output of `--diff`.
pub(crate) struct DiffOutput {
    /// Standard error if there is no file.
    pub(crate) file: Option<OutputFile>,
    pub(crate) format: Format,
}

pub(crate) type FinalStep = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// Writes the outputs exactly once, from whichever thread comes first.
#[derive(Clone)]
pub(crate) struct Finalizer {
    outputs: Arc<Mutex<Option<RunOutputs>>>,
    format: Format,
}

/// The end of a guest.
pub(crate) struct RunEnd {
    /// The exit code, or the error to report.
    pub(crate) result: Result<u8, Error>,
    /// The reason, if the guest was stopped.
    pub(crate) stopped_by: Option<StopCause>,
}

impl RunOutputs {
    /// Returns whether the run must be stopped in an orderly way, because it has outputs.
    pub(crate) fn is_any(&self) -> bool {
        let RunOutputs { confinement, overlays: _, diff, export, final_step } = self;
        confinement.has_audit() || diff.is_some() || export.is_some() || final_step.is_some()
    }
}

impl Finalizer {
    pub(crate) fn new(outputs: RunOutputs, format: Format) -> Self {
        Finalizer { outputs: Arc::new(Mutex::new(Some(outputs))), format }
    }

    /// Writes all outputs. Returns the result of `end` or the last error; earlier errors are
    /// printed. Returns `None` if another thread wrote the outputs.
    ///
    /// A second caller waits for the first: the watchdog, which then ends the process.
    pub(crate) fn finish(&self, end: RunEnd) -> Option<Result<u8, Error>> {
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = outputs.take()?;
        let RunEnd { mut result, stopped_by } = end;
        let timeout = match stopped_by {
            Some(StopCause::Timeout | StopCause::Signal(_)) => Some(AUDIT_TIMEOUT),
            Some(StopCause::AuditFailed) | None => None,
        };
        // The error of the audit itself explains more than "stopped because the audit failed".
        let mut is_superseded = stopped_by == Some(StopCause::AuditFailed);
        let mut record = |written: Result<(), Error>| {
            if let Err(failure) = written
                && let Err(earlier) = std::mem::replace(&mut result, Err(failure))
                && !std::mem::take(&mut is_superseded)
            {
                report(&earlier, self.format);
            }
        };
        record(outputs.confinement.finish(timeout));
        record(outputs.confinement.report_unmatched_rules(self.format));
        record(write_diff(outputs.diff.as_ref(), &outputs.overlays));
        record(write_export(outputs.export.as_ref(), &outputs.overlays));
        if let Some(final_step) = outputs.final_step {
            record(final_step());
        }
        Some(result)
    }

    /// Drops the outputs without writing them: the guest never started.
    pub(crate) fn abandon(&self) -> Result<(), Error> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).take();
        outputs.map_or(Ok(()), |outputs| outputs.confinement.finish(None))
    }

    /// Returns the last resort of the watchdog for a stopped guest that does not end: write the
    /// outputs and end the process.
    pub(crate) fn exit_process(
        self,
        stop_error: impl FnOnce(StopCause) -> Error + Send,
    ) -> impl FnOnce(StopCause) + Send {
        move |cause| {
            let end = RunEnd { result: Err(stop_error(cause)), stopped_by: Some(cause) };
            let Some(result) = self.finish(end) else { return };
            let code = result.unwrap_or_else(|error| {
                report(&error, self.format);
                error.exit_code()
            });
            ambient::exit(code);
        }
    }
}

/// Handles termination signals: the first one stops the guest if the run has outputs. A second one,
/// or the first one without outputs, ends the process at once.
pub(crate) fn watch_signals(stopper: Stopper, has_outputs: bool) -> Result<(), Error> {
    let mut count = 0_u32;
    let on_signal = move |signal: i32| {
        count += 1;
        let stops_guest = count == 1
            && has_outputs
            && stopper.stop(StopCause::Signal(signal)) != Stopped::BeforeStart;
        if !stops_guest {
            ambient::exit(EXIT_SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
        }
    };
    Ok(ambient::on_signals(on_signal).map_err(HostError::Signals)?)
}

/// Writes the output of `--export`: the changes of the only overlay.
fn write_export(export: Option<&LayerArchive>, overlays: &[MountedOverlay]) -> Result<(), Error> {
    let (Some(archive), [MountedOverlay { guest_path, overlay }]) = (export, overlays) else {
        return Ok(());
    };
    let upper = overlay.upper().map_err(|errno| {
        let why = PathError { path: guest_path.clone(), errno };
        UpperError::Failed { action: "exported", path: guest_path.into(), why }
    })?;
    archive.write(&upper).map(drop)
}

/// Writes the output of `--diff`, however the guest ended.
fn write_diff(diff: Option<&DiffOutput>, overlays: &[MountedOverlay]) -> Result<(), Error> {
    let Some(diff) = diff else { return Ok(()) };
    let mut all = Vec::new();
    for MountedOverlay { guest_path, overlay } in overlays {
        let changes = overlay.changes().map_err(|why| {
            let (action, path) = ("compared with the lower directories", guest_path.into());
            UpperError::Failed { action, path, why }
        })?;
        all.push((guest_path.as_str(), changes));
    }
    let write = |out: &mut dyn Write| {
        let trees = all.iter().map(|(guest_path, changes)| (Some(*guest_path), changes));
        change_format::write(out, diff.format, trees)
    };
    match &diff.file {
        Some(file) => {
            let fail = |why| OutputError::Write { path: file.path().to_owned(), why };
            Ok(file.write(fail, |out| write(&mut BufWriter::new(out)).map_err(fail))?)
        }
        None => {
            print::err_with(write);
            Ok(())
        }
    }
}
