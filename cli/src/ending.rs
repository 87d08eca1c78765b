//! The end of a run: what it leaves behind is written, whatever its end was.
//!
//! Usually the thread that ran the guest does it. If the guest sits in a call of the host and was
//! stopped, the watchdog does, and ends the process. A failure to write one thing keeps nothing
//! else from being written.

use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade::overlay::PathError;

use crate::archive::Archive;
use crate::changes::Format;
use crate::engine::{Cause, Stopped, Stopper};
use crate::error::{EXIT_SIGNAL, Error};
use crate::guard::Guard;
use crate::layout::Stacked;
use crate::output::Target;
use crate::run::report;
use crate::{ambient, changes, print};

/// How long a stopped run waits for a reader of its audit that does not read.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// What a run leaves behind.
pub(crate) struct Remains {
    pub(crate) guard: Guard,
    pub(crate) overlays: Vec<Stacked>,
    pub(crate) diff: Option<Diff>,
    pub(crate) export: Option<Archive>,
    /// What else is written, after all others.
    pub(crate) at_end: Option<AtEnd>,
}

/// `--diff`: where changes are told.
pub(crate) struct Diff {
    /// Standard error, if there is none.
    pub(crate) to: Option<Target>,
    pub(crate) json: bool,
}

pub(crate) type AtEnd = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// What is written at the end of a run, by whoever comes first.
#[derive(Clone)]
pub(crate) struct Ending {
    remains: Arc<Mutex<Option<Remains>>>,
    json: bool,
}

impl Remains {
    /// Whether a run leaves anything behind for which its end has to be waited for.
    pub(crate) fn is_any(&self) -> bool {
        let Remains { guard, overlays: _, diff, export, at_end } = self;
        guard.auditor().is_some() || diff.is_some() || export.is_some() || at_end.is_some()
    }
}

impl Ending {
    pub(crate) fn new(remains: Remains, json: bool) -> Self {
        Ending { remains: Arc::new(Mutex::new(Some(remains))), json }
    }

    /// Writes everything, and returns `end` or the last failure. Earlier failures are reported.
    /// `None` if everything was written already.
    ///
    /// A second caller waits for the first: the watchdog, which then ends the process.
    pub(crate) fn conclude(&self, end: Result<u8, Error>) -> Option<Result<u8, Error>> {
        let mut remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner);
        let remains = remains.take()?;
        let was_stopped = matches!(end, Err(Error::TimedOut { .. } | Error::Signal { .. }));
        let patience = was_stopped.then_some(AUDIT_PATIENCE);
        let mut end = end;
        let mut also = |written: Result<(), Error>| {
            if let Err(failure) = written
                && let Err(earlier) = std::mem::replace(&mut end, Err(failure))
                && !matches!(earlier, Error::Unrecorded)
            {
                report(earlier, self.json);
            }
        };
        also(remains.guard.finish(patience));
        also(remains.guard.report_unmatched(Format::of(self.json)));
        also(tell_changes(remains.diff.as_ref(), &remains.overlays));
        also(export_changes(remains.export.as_ref(), &remains.overlays));
        if let Some(at_end) = remains.at_end {
            also(at_end());
        }
        Some(end)
    }

    /// Gives up everything without writing it: the guest never started.
    pub(crate) fn abandon(&self) -> Result<(), Error> {
        let remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner).take();
        remains.map_or(Ok(()), |remains| remains.guard.finish(None))
    }

    /// What the watchdog does to a guest that does not end although it was stopped.
    pub(crate) fn give_up(
        self,
        end: impl FnOnce(Cause) -> Error + Send,
    ) -> impl FnOnce(Cause) + Send {
        move |cause| {
            let Some(end) = self.conclude(Err(end(cause))) else { return };
            let code = end.unwrap_or_else(|error| {
                let code = error.exit_code();
                report(error, self.json);
                code
            });
            ambient::exit(code);
        }
    }
}

/// Stops the guest for the first signal, and the process at once for the second one or if there is
/// nothing to be written.
pub(crate) fn watch_signals(stopper: Stopper, has_remains: bool) -> Result<(), Error> {
    let mut count = 0_u32;
    let on_signal = move |signal: i32| {
        count += 1;
        let is_heeded = count == 1
            && has_remains
            && stopper.stop(Cause::Signal(signal)) != Stopped::BeforeStart;
        if !is_heeded {
            ambient::exit(EXIT_SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
        }
    };
    ambient::on_signals(on_signal).map_err(Error::Signals)
}

/// `--export`: the changes of the one overlay.
fn export_changes(export: Option<&Archive>, overlays: &[Stacked]) -> Result<(), Error> {
    let (Some(archive), [Stacked { at, overlay }]) = (export, overlays) else { return Ok(()) };
    let upper = overlay.upper().map_err(|errno| {
        let why = PathError { path: at.clone(), errno };
        Error::Changes { what: "exported", path: at.into(), why }
    })?;
    archive.write(&upper).map(drop)
}

/// `--diff`: whatever the guest's end was, what it has changed is told.
fn tell_changes(diff: Option<&Diff>, overlays: &[Stacked]) -> Result<(), Error> {
    let Some(diff) = diff else { return Ok(()) };
    let mut all = Vec::new();
    for Stacked { at, overlay } in overlays {
        let changes = overlay.changes().map_err(|why| {
            let (what, path) = ("compared", at.into());
            Error::Changes { what, path, why }
        })?;
        all.push((at.as_str(), changes));
    }
    let write = |out: &mut dyn Write| {
        let trees = all.iter().map(|(at, changes)| (Some(*at), changes));
        changes::write(out, Format::of(diff.json), trees)
    };
    match &diff.to {
        Some(target) => {
            let refuse = |why| Error::WriteFile { path: target.path().to_owned(), why };
            target.write(refuse, |file| write(&mut BufWriter::new(file)).map_err(refuse))
        }
        None => {
            print::err_with(write);
            Ok(())
        }
    }
}
