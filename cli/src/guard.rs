//! What stands between a guest and the directories that it is given: quotas, a policy, and a record
//! of what it asks for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use palisade::confine_at;
use palisade::policy::audit::{
    AuditOptions, Auditor, Header, JsonLines, Mode, Only, Summary, observe,
};
use palisade::policy::document::AuditTo;
use palisade::policy::{Policy, Quota, QuotaGroup, Refusal};
use palisade::vfs::{DirRef, Rights};

use crate::ambient;
use crate::args::Run;
use crate::error::Error;
use crate::policy::Loaded;

/// Batches of events that may wait to be written.
const BATCHES: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1);

/// What to lay over each directory, the first beneath the second.
pub(crate) struct Guard {
    quota: Option<QuotaGroup>,
    policy: Option<Arc<Policy>>,
    watch: Option<Watch>,
    /// Whether what a dry run found is told at the end.
    is_told: bool,
}

/// A record of what is asked for.
struct Watch {
    auditor: Arc<Auditor>,
    mode: Mode,
}

/// A log in memory, shared by who writes it and who reads it afterwards.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Guard {
    /// What the options and the policy ask for.
    pub(crate) fn new(run: &Run, loaded: Option<Loaded>, guest: &Path) -> Result<Self, Error> {
        let Some(loaded) = loaded else {
            if run.dry_run_policy {
                return Err(Error::NoPolicy { option: "--dry-run-policy" });
            }
            let everything = Policy::uniform(Rights::all(), Refusal::Denied);
            let watch = match &run.audit {
                Some(file) => {
                    let auditor = auditor(Some(file), AuditOptions::default(), guest, "")?;
                    Some(Watch { auditor, mode: Mode::Enforce })
                }
                None => None,
            };
            let policy = watch.as_ref().map(|_| Arc::new(everything));
            return Ok(Guard { quota: None, policy, watch, is_told: false });
        };
        let mode = if run.dry_run_policy { Mode::DryRun } else { Mode::Enforce };
        let settings = loaded.document.audit.as_ref();
        let to = run.audit.clone().or_else(|| match &settings?.to {
            AuditTo::Stderr => Some("-".into()),
            AuditTo::File(file) => Some(loaded.dir.join(file)),
        });
        let is_told = to.is_some() || mode == Mode::DryRun;
        let mut options = settings.map(AuditOptions::from).unwrap_or_default();
        if to.is_none() {
            options.only = vec![Only::Denied];
        }
        let watch = match is_told {
            true => {
                let auditor = auditor(to.as_deref(), options, guest, &loaded.name)?;
                Some(Watch { auditor, mode })
            }
            false => None,
        };
        let quota = (loaded.document.quota != Quota::default())
            .then(|| QuotaGroup::new(loaded.document.quota));
        Ok(Guard { quota, policy: Some(loaded.policy), watch, is_told: true })
    }

    /// Lets everything be done, and writes it all down.
    pub(crate) fn recording(log: &Log) -> Result<Self, Error> {
        let nothing = Policy::builder().build().map_err(Error::Policy)?;
        let sink = JsonLines::new(log.clone(), &Header::default());
        let auditor = Auditor::new(sink, AuditOptions::default());
        let watch = Some(Watch { auditor, mode: Mode::DryRun });
        Ok(Guard { quota: None, policy: Some(Arc::new(nothing)), watch, is_told: false })
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

    /// What ends the record, in whatever way the guest ends.
    pub(crate) fn auditor(&self) -> Option<Arc<Auditor>> {
        self.watch.as_ref().map(|watch| Arc::clone(&watch.auditor))
    }

    /// Ends the record, and tells what was lost of it and what a dry run found.
    pub(crate) fn finish(&self) -> Result<(), Error> {
        let Some(Watch { auditor, mode }) = &self.watch else { return Ok(()) };
        let Summary { decisions, refused, dropped, .. } = auditor.finish().map_err(Error::Audit)?;
        if dropped > 0 {
            eprintln!("palisade: {dropped} records of the audit were dropped");
        }
        if *mode == Mode::DryRun && self.is_told && refused > 0 {
            eprintln!("palisade: {refused} of {decisions} accesses would have been refused");
        }
        Ok(())
    }
}

fn auditor(
    to: Option<&Path>,
    options: AuditOptions,
    guest: &Path,
    policy: &str,
) -> Result<Arc<Auditor>, Error> {
    let guest = guest.display().to_string();
    let header = Header { started: &ambient::now(), guest: &guest, policy };
    let out: Box<dyn Write + Send> = match to {
        None => Box::new(std::io::stderr()),
        Some(to) if to.as_os_str() == "-" => Box::new(std::io::stderr()),
        Some(to) => Box::new(
            ambient::create(to).map_err(|why| Error::WriteFile { path: PathBuf::from(to), why })?,
        ),
    };
    Auditor::write_behind(JsonLines::new(out, &header), BATCHES, options).map_err(Error::Audit)
}
