//! What stands between a guest and the directories that it is given: quotas, a policy, and a record
//! of what it asks for.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use palisade::confine_at;
use palisade::overlay::{CopyBudget, Overlay};
use palisade::policy::audit::{
    AuditOptions, Auditor, Callback, Event, EventFilter, Header, JsonLines, Learner, Mode,
    OnFailure, Sink, Summary, observe,
};
use palisade::policy::document::AuditTo;
use palisade::policy::{Policy, Quota, QuotaGroup, Refusal};
use palisade::vfs::{DirRef, Errno, Rights};

use crate::args::{AuditOnly, Run, WhenFailing};
use crate::changes::Format;
use crate::engine::{Cause, Stopper};
use crate::error::Error;
use crate::output::{Existing, Reach, Target, is_stderr, random_text};
use crate::policy::Loaded;
use crate::{ambient, coverage, print};

/// Batches of events that may wait to be written.
const BATCHES: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1);

/// What to lay over each directory, the first beneath the second.
pub(crate) struct Guard {
    quota: Option<QuotaGroup>,
    policy: Option<Arc<Policy>>,
    watch: Option<Watch>,
    /// Whether what a dry run found is told at the end.
    is_told: bool,
    /// Whether rules about names are enforced.
    judges_names: bool,
    on_failure: OnFailure,
}

/// What a record has to know of the run.
pub(crate) struct Surroundings<'a> {
    /// Where it may not be.
    pub(crate) reach: &'a Reach,
    /// Stops the guest when it cannot be written.
    pub(crate) stopper: &'a Stopper,
}

/// The quota that pays for copies.
struct Copies(QuotaGroup);

impl CopyBudget for Copies {
    fn take(&self, bytes: u64) -> Result<(), Errno> {
        self.0.take_bytes(bytes)
    }

    fn give(&self, bytes: u64) {
        self.0.give_bytes(bytes);
    }
}

/// A record of what is asked for.
struct Watch {
    auditor: Arc<Auditor>,
    mode: Mode,
}

impl Guard {
    /// What the options and the policy ask for.
    pub(crate) fn new(
        run: &Run,
        loaded: Option<Loaded>,
        guest: &Path,
        around: &Surroundings<'_>,
    ) -> Result<Self, Error> {
        let Some(loaded) = loaded else {
            if run.dry_run_policy {
                return Err(Error::NoPolicy { option: "--dry-run-policy" });
            }
            let everything = Policy::uniform(Rights::all(), Refusal::Denied);
            let watch = match &run.audit {
                Some(_) => {
                    let log = LogFile { to: run.audit.as_deref(), existing: existing(run) };
                    let auditor = auditor(&log, explicit(run), guest, "", around)?;
                    Some(Watch { auditor, mode: Mode::Enforce })
                }
                None => None,
            };
            let policy = watch.as_ref().map(|_| Arc::new(everything));
            let on_failure = on_failure(run);
            let (quota, is_told, judges_names) = (None, false, false);
            return Ok(Guard { quota, policy, watch, is_told, judges_names, on_failure });
        };
        let mode = if run.dry_run_policy { Mode::DryRun } else { Mode::Enforce };
        let settings = loaded.document.audit.as_ref();
        let to = run.audit.clone().or_else(|| match &settings?.to {
            AuditTo::Stderr => Some("-".into()),
            AuditTo::File(file) => Some(loaded.dir.join(file)),
        });
        let is_told = to.is_some() || mode == Mode::DryRun;
        // What the command line asks for is not narrowed by the document.
        let options = match (&run.audit, settings) {
            (Some(_), _) => explicit(run),
            (None, Some(settings)) => {
                AuditOptions { on_failure: on_failure(run), ..AuditOptions::from(settings) }
            }
            (None, None) => AuditOptions { only: vec![EventFilter::Denied], ..explicit(run) },
        };
        let on_failure = match options.may_drop {
            true => OnFailure::Continue,
            false => options.on_failure,
        };
        let watch = match is_told {
            true => {
                let log = LogFile { to: to.as_deref(), existing: existing(run) };
                let auditor = auditor(&log, options, guest, &loaded.name, around)?;
                Some(Watch { auditor, mode })
            }
            false => None,
        };
        let quota = (loaded.document.quota != Quota::default())
            .then(|| QuotaGroup::new(loaded.document.quota));
        let (policy, judges_names) = (Some(loaded.policy), mode == Mode::Enforce);
        Ok(Guard { quota, policy, watch, is_told: true, judges_names, on_failure })
    }

    /// Lays nothing over a directory.
    pub(crate) fn none() -> Self {
        let (quota, policy, watch, on_failure) = (None, None, None, OnFailure::default());
        Guard { quota, policy, watch, is_told: false, judges_names: false, on_failure }
    }

    /// Allows everything, and has `learner` learn from it while it happens.
    pub(crate) fn learning(learner: &Arc<Mutex<Learner>>) -> Result<Self, Error> {
        let nothing = Policy::builder().build().map_err(Error::Policy)?;
        let learner = Arc::clone(learner);
        let learn = move |event: &Event<'_>| {
            learner.lock().unwrap_or_else(PoisonError::into_inner).add_event(event);
        };
        let auditor = Auditor::new(Callback(learn), AuditOptions::default());
        let watch = Some(Watch { auditor, mode: Mode::DryRun });
        let (policy, on_failure) = (Some(Arc::new(nothing)), OnFailure::Stop);
        let (quota, is_told, judges_names) = (None, false, false);
        Ok(Guard { quota, policy, watch, is_told, judges_names, on_failure })
    }

    /// Lets the quota pay for what an overlay copies of its lowers.
    pub(crate) fn pay_copies_of(&self, overlay: &Overlay) {
        if let Some(group) = &self.quota {
            overlay.set_copy_budget(Arc::new(Copies(group.clone())));
        }
    }

    /// Whether rules about names are enforced.
    pub(crate) fn judges_names(&self) -> bool {
        self.judges_names
    }

    /// The policy whose rules are enforced, if one is.
    pub(crate) fn enforced(&self) -> Option<&Policy> {
        self.policy.as_deref().filter(|_| self.judges_names)
    }

    /// Guards what the guest knows as `at`.
    pub(crate) fn guard(&self, dir: DirRef, at: &str) -> Result<DirRef, Error> {
        let dir = match &self.quota {
            Some(group) => {
                // Each tree knows its nodes by itself; they share the limits.
                let group = group.child(Quota::default());
                group.guard(dir).map_err(|errno| Error::Quota { path: at.into(), errno })?
            }
            None => dir,
        };
        Ok(match (&self.policy, &self.watch) {
            (None, _) => dir,
            (Some(policy), None) => confine_at(dir, Arc::clone(policy), at),
            (Some(policy), Some(Watch { auditor, mode })) => {
                observe(dir, Arc::clone(policy), at, *mode, Arc::clone(auditor))
            }
        })
    }

    /// At the end of a run, names the rules of the policy that matched no path.
    pub(crate) fn report_unmatched(&self, format: Format) -> Result<(), Error> {
        self.policy.as_ref().map_or(Ok(()), |policy| coverage::report_run(policy, format))
    }

    /// What ends the record, in whatever way the guest ends.
    pub(crate) fn auditor(&self) -> Option<Arc<Auditor>> {
        self.watch.as_ref().map(|watch| Arc::clone(&watch.auditor))
    }

    /// Ends the record, and tells what was lost of it and what a dry run found. With `patience`
    /// a reader that does not read is not waited for any longer.
    pub(crate) fn finish(&self, patience: Option<Duration>) -> Result<(), Error> {
        let Some(Watch { auditor, mode }) = &self.watch else { return Ok(()) };
        let summary = match finish_within(auditor, patience) {
            Err(why) if self.on_failure == OnFailure::Continue => {
                print::err(&format!("palisade: the audit cannot be written whole: {why}\n"));
                finish_within(auditor, patience)
            }
            finished => finished,
        };
        let Summary { decisions, refused, dropped, .. } = summary.map_err(Error::Audit)?;
        if dropped > 0 {
            print::err(&format!("palisade: {dropped} records of the audit were dropped\n"));
        }
        if *mode == Mode::DryRun && self.is_told && refused > 0 {
            print::err(&format!(
                "palisade: {refused} of {decisions} accesses would have been refused\n"
            ));
        }
        Ok(())
    }
}

/// As [`Auditor::finish`]. Fails if it takes longer than `patience`.
fn finish_within(auditor: &Arc<Auditor>, patience: Option<Duration>) -> io::Result<Summary> {
    let Some(patience) = patience else { return auditor.finish() };
    let (to, summary) = channel();
    let auditor = Arc::clone(auditor);
    thread::Builder::new().spawn(move || to.send(auditor.finish()))?;
    summary.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The options of a record that the command line asks for.
fn explicit(run: &Run) -> AuditOptions {
    let only = run.audit_only.iter().map(|only| match only {
        AuditOnly::Denied => EventFilter::Denied,
        AuditOnly::Writes => EventFilter::Writes,
    });
    AuditOptions { only: only.collect(), on_failure: on_failure(run), ..AuditOptions::default() }
}

fn on_failure(run: &Run) -> OnFailure {
    match run.audit_when_failing {
        WhenFailing::Stop => OnFailure::Stop,
        WhenFailing::Continue => OnFailure::Continue,
    }
}

fn existing(run: &Run) -> Existing {
    if run.audit_truncate { Existing::Truncate } else { Existing::Append }
}

/// Where a record goes.
struct LogFile<'a> {
    /// Standard error, if there is none.
    to: Option<&'a Path>,
    existing: Existing,
}

/// A log that stops the guest when it cannot be written.
struct Stopping {
    out: Box<dyn Write + Send>,
    stopper: Option<Stopper>,
}

impl Stopping {
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let is_failure = |why: &io::Error| why.kind() != io::ErrorKind::Interrupted;
        if let Some(stopper) = &self.stopper
            && result.as_ref().is_err_and(is_failure)
        {
            stopper.stop(Cause::Unrecorded);
        }
        result
    }
}

impl Write for Stopping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.told(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.told(flushed)
    }
}

/// Begins a record. Its header is written before the guest runs.
fn auditor(
    log: &LogFile<'_>,
    options: AuditOptions,
    guest: &Path,
    policy: &str,
    around: &Surroundings<'_>,
) -> Result<Arc<Auditor>, Error> {
    let guest = guest.to_string_lossy();
    let run = random_text().map_err(Error::Audit)?;
    let header = Header {
        run: &run,
        started: &ambient::now(),
        guest: &guest,
        policy,
        options: Some(&options),
    };
    let out: Box<dyn Write + Send> = match log.to {
        Some(to) if !is_stderr(to) => {
            Box::new(Target::new(to, around.reach)?.open_log(log.existing)?)
        }
        Some(_) | None => Box::new(io::stderr()),
    };
    let is_fatal = !options.may_drop && options.on_failure == OnFailure::Stop;
    let stopper = is_fatal.then(|| around.stopper.clone());
    let mut lines = JsonLines::new(Stopping { out, stopper }, &header);
    Sink::flush(&mut lines).map_err(Error::Audit)?;
    Auditor::write_behind(lines, BATCHES, options).map_err(Error::Audit)
}
