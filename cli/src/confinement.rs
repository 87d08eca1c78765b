//! Confines the preopened directories of a guest: quota, policy and audit.
//!
//! The quota is the innermost layer. The policy and the audit are one layer over it, so that a
//! refused operation is charged to no quota.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade::confine_at;
use palisade::overlay::{CopyBudget, Overlay};
use palisade::policy::audit::{
    AuditOptions, Auditor, Callback, Event, EventFilter, Learner, Mode, OnFailure, Summary, observe,
};
use palisade::policy::document::AuditTo;
use palisade::policy::{Effect, Policy, Quota, QuotaGroup, Refusal, RuleId};
use palisade::vfs::{DirRef, Errno, Rights, escape};
use serde_json::json;

use crate::args::{AuditOnly, Run, WhenFailing};
use crate::audit_log::{AuditContext, AuditError, AuditLog, finish_within};
use crate::error::{CommandError, Error};
use crate::output_file::ExistingLog;
use crate::policy_file::{self, LoadedPolicy, PolicyFileError};
use crate::print::{self, Format};
use crate::rule_format::{rule_json, rule_line};
use crate::sandbox::Sandbox;

/// The maximum number of unmatched rules that a run lists at its end.
const UNMATCHED_LISTED_MAX: usize = 4;

/// A quota that cannot be put over a directory.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the quota of the policy cannot be applied to `{}`: {errno}", escape::name(.path))]
#[diagnostic(
    code(palisade::quota),
    help("the existing files are counted first: the whole directory must be readable")
)]
struct QuotaError {
    path: String,
    errno: Errno,
}

impl CommandError for QuotaError {}

/// The layers over each preopened directory.
#[derive(Default)]
pub(crate) struct Confinement {
    quota: Option<QuotaGroup>,
    policy: Option<Arc<Policy>>,
    audit: Option<Audit>,
    /// Whether the result of a dry run is printed at the end.
    reports_dry_run: bool,
    /// Whether the policy is enforced, as opposed to a dry run or learning.
    is_enforced: bool,
    on_failure: OnFailure,
}

/// An open audit.
struct Audit {
    auditor: Arc<Auditor>,
    mode: Mode,
}

/// Charges the copies of an overlay to a quota.
struct QuotaCopyBudget(QuotaGroup);

impl CopyBudget for QuotaCopyBudget {
    fn take(&self, bytes: u64) -> Result<(), Errno> {
        self.0.reserve_bytes(bytes)
    }

    fn give(&self, bytes: u64) {
        self.0.release_bytes(bytes);
    }
}

impl Confinement {
    /// Creates the confinement of a run from its options, its policy and the quota of the policy.
    pub(crate) fn for_run(
        sandbox: &Sandbox,
        run: &Run,
        module: &Path,
        context: &AuditContext<'_>,
    ) -> Result<Self, Error> {
        let variables = policy_file::parse_variables(&run.policy_var)?;
        let Some(source) = &sandbox.policy else {
            if !variables.is_empty() {
                return Err(PolicyFileError::NoPolicy { option: "--policy-var" }.into());
            }
            if run.dry_run_policy {
                return Err(PolicyFileError::NoPolicy { option: "--dry-run-policy" }.into());
            }
            return Self::without_policy(run, module, context);
        };
        let loaded = policy_file::load_source(source, &variables)?;
        Self::with_policy(loaded, run, module, context)
    }

    /// Allows all operations, and records them if the options request an audit.
    fn without_policy(run: &Run, module: &Path, context: &AuditContext<'_>) -> Result<Self, Error> {
        let on_failure = on_failure(run);
        let Some(path) = run.audit.as_deref() else {
            return Ok(Confinement { on_failure, ..Confinement::default() });
        };
        let (existing, options) = (existing_log(run), audit_options(run));
        let log = AuditLog { path: Some(path), existing, options, module, policy: "" };
        let audit = Some(Audit { auditor: log.open(context)?, mode: Mode::Enforce });
        let policy = Some(Arc::new(Policy::uniform(Rights::all(), Refusal::Denied)));
        Ok(Confinement { policy, audit, on_failure, ..Confinement::default() })
    }

    fn with_policy(
        loaded: LoadedPolicy,
        run: &Run,
        module: &Path,
        context: &AuditContext<'_>,
    ) -> Result<Self, Error> {
        let LoadedPolicy { name, dir, document, policy } = loaded;
        let mode = if run.dry_run_policy { Mode::DryRun } else { Mode::Enforce };
        let settings = document.audit.as_ref();
        let path: Option<PathBuf> = run.audit.clone().or_else(|| match &settings?.to {
            AuditTo::Stderr => Some("-".into()),
            AuditTo::File(file) => Some(dir.join(file)),
        });
        // `--audit` records everything: the filters of the document apply to its own log only.
        let options = match (&run.audit, settings) {
            (Some(_), _) => audit_options(run),
            (None, Some(settings)) => {
                AuditOptions { on_failure: on_failure(run), ..AuditOptions::from(settings) }
            }
            (None, None) => AuditOptions { only: vec![EventFilter::Denied], ..audit_options(run) },
        };
        let on_failure = match options.may_drop {
            true => OnFailure::Continue,
            false => options.on_failure,
        };
        let audit = match path.is_some() || mode == Mode::DryRun {
            true => {
                let (path, existing) = (path.as_deref(), existing_log(run));
                let log = AuditLog { path, existing, options, module, policy: &name };
                Some(Audit { auditor: log.open(context)?, mode })
            }
            false => None,
        };
        let quota = (document.quota != Quota::default()).then(|| QuotaGroup::new(document.quota));
        let (policy, is_enforced) = (Some(policy), mode == Mode::Enforce);
        Ok(Confinement { quota, policy, audit, reports_dry_run: true, is_enforced, on_failure })
    }

    /// Allows all operations, and passes each to `learner`.
    pub(crate) fn learning(learner: &Arc<Mutex<Learner>>) -> Result<Self, Error> {
        let deny_all = Policy::builder().build().map_err(PolicyFileError::Compile)?;
        let learner = Arc::clone(learner);
        let learn = move |event: &Event<'_>| {
            learner.lock().unwrap_or_else(PoisonError::into_inner).add_event(event);
        };
        let auditor = Auditor::new(Callback(learn), AuditOptions::default());
        let audit = Some(Audit { auditor, mode: Mode::DryRun });
        let (policy, on_failure) = (Some(Arc::new(deny_all)), OnFailure::Stop);
        Ok(Confinement { policy, audit, on_failure, ..Confinement::default() })
    }

    /// Charges what an overlay copies from its lowers to the quota.
    pub(crate) fn charge_copies_of(&self, overlay: &Overlay) {
        if let Some(group) = &self.quota {
            overlay.set_copy_budget(Arc::new(QuotaCopyBudget(group.clone())));
        }
    }

    /// Returns the policy, if it is enforced.
    pub(crate) fn enforced_policy(&self) -> Option<&Policy> {
        self.policy.as_deref().filter(|_| self.is_enforced)
    }

    /// Puts the layers over a preopened directory.
    pub(crate) fn confine(&self, dir: DirRef, guest_path: &str) -> Result<DirRef, Error> {
        let dir = match &self.quota {
            Some(group) => {
                // Each tree counts its own nodes; the limits are shared.
                let group = group.child(Quota::default());
                let path = guest_path.to_owned();
                group.guard(dir).map_err(|errno| QuotaError { path, errno })?
            }
            None => dir,
        };
        Ok(match (&self.policy, &self.audit) {
            (None, _) => dir,
            (Some(policy), None) => confine_at(dir, Arc::clone(policy), guest_path),
            (Some(policy), Some(Audit { auditor, mode })) => {
                observe(dir, Arc::clone(policy), guest_path, *mode, Arc::clone(auditor))
            }
        })
    }

    /// Returns whether the run has an audit, which must be completed at the end of the run.
    pub(crate) fn has_audit(&self) -> bool {
        self.audit.is_some()
    }

    /// Completes the audit log. Prints how many records were dropped, and the result of a dry run.
    /// With `timeout`, does not wait longer for the reader of the log.
    pub(crate) fn finish(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let Some(Audit { auditor, mode }) = &self.audit else { return Ok(()) };
        let summary = match finish_within(auditor, timeout) {
            Err(why) if self.on_failure == OnFailure::Continue => {
                print::err(&format!("palisade: the audit log is incomplete: {why}\n"));
                finish_within(auditor, timeout)
            }
            finished => finished,
        };
        let Summary { decisions, refused, dropped, .. } = summary.map_err(AuditError)?;
        if dropped > 0 {
            print::err(&format!("palisade: {dropped} records of the audit were dropped\n"));
        }
        if *mode == Mode::DryRun && self.reports_dry_run && refused > 0 {
            print::err(&format!(
                "palisade: {refused} of {decisions} accesses would have been refused\n"
            ));
        }
        Ok(())
    }

    /// Prints the hide and deny rules that matched no path during the run. An allow rule that
    /// matches nothing becomes visible by a refusal; an error in these rules would stay unnoticed.
    pub(crate) fn report_unmatched_rules(&self, format: Format) -> Result<(), Error> {
        let Some(policy) = &self.policy else { return Ok(()) };
        let mut rules = policy.unmatched_rules().unwrap_or_default();
        let restricts = |id: &RuleId| match policy.rule(*id).map(|rule| rule.effect) {
            Some(Effect::Hide | Effect::Deny(_)) => true,
            Some(Effect::Allow(_)) | None => false,
        };
        rules.retain(restricts);
        rules.sort_by_key(|id| policy.rule(*id).map(|rule| rule.effect != Effect::Hide));
        if rules.is_empty() {
            return Ok(());
        }
        let (count, listed) = (rules.len(), rules.iter().take(UNMATCHED_LISTED_MAX));
        if format == Format::Json {
            let listed: Vec<_> = listed.map(|id| rule_json(policy, *id)).collect();
            let report = json!({ "unmatchedRules": listed, "unmatchedCount": count });
            print::err(&print::json_line(&report)?);
            return Ok(());
        }
        let mut text = String::new();
        for (id, rule) in listed.filter_map(|id| Some((*id, policy.rule(*id)?))) {
            let _ = writeln!(text, "palisade: no path matched {}", rule_line(id, rule));
        }
        if let Some(more) = count.checked_sub(UNMATCHED_LISTED_MAX).filter(|more| *more > 0) {
            let _ = writeln!(text, "palisade: no path matched {more} more hide or deny rules");
        }
        print::err(&text);
        Ok(())
    }
}

/// Returns the audit options of the command line.
fn audit_options(run: &Run) -> AuditOptions {
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

fn existing_log(run: &Run) -> ExistingLog {
    if run.audit_truncate { ExistingLog::Truncate } else { ExistingLog::Append }
}
