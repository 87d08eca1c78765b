//! The observing layer: performs operations, enforcing the policy or not, and records each
//! decision.
//!
//! The layer wraps the unconfined directory. In enforcing mode it performs operations by the same
//! [`CheckedDir`] as a confined directory, which reports the outcome that is recorded. In a dry run
//! it performs them on the inner directory, and `decision.rs` derives the decision.
//!
//! A record contains facts that need a stat of their own, such as the type of a node. The layer
//! stats only where the policy grants `LOOKUP`, or in a dry run, so a hidden path is not looked up
//! for a record either. Another process can change the node between that stat and the operation;
//! the record then contains what the stat returned.
//!
//! A handle keeps the path of its open, and records contain that path, whatever the current name of
//! the node is. The decisions are those of the current position. After a live policy was narrowed,
//! a record is of the policy by which the operation was checked.
//!
//! Lock order: none here; the auditor takes its lock last. The layer is an allowlist: it has no
//! default methods.

mod observed_dir;
mod observed_file;

use std::sync::Arc;

use palisade_vfs::{Descent, DirRef, Errno, Result};

use crate::audit::decision::{DecisionDetails, JudgedPath, Observation, decide};
use crate::audit::event::{Decision, Mode};
use crate::audit::event_path::EventPath;
use crate::audit::handle_path::HandlePath;
use crate::audit::layer::observed_dir::ObservedDir;
use crate::audit::writer::ruling_cache::Basis;
use crate::audit::writer::{Auditor, PendingEvent};
use crate::automaton::policy::{Policy, State};
use crate::enforce::live_policy::Live;
use crate::enforce::live_position::LivePosition;
use crate::enforce::position::{FixedPosition, PolicySnapshot, Position};
use crate::enforce::verdict::CheckOutcome;

#[cfg(doc)]
use crate::enforce::checked_dir::CheckedDir;

/// Confines the unconfined directory `dir` to `policy`, as
/// [`confine_at`](crate::confine_at) does, or not in a dry run, and records each decision.
/// `guest_path` is the path of `dir` in the guest.
///
/// Rename and link between the results of two calls fail with `EXDEV`, unless both calls were given
/// the same `policy`, `auditor` and `mode`. Opening a path of more than 65,536 names in several
/// steps fails with `ENAMETOOLONG`.
#[must_use]
pub fn observe(
    dir: DirRef,
    policy: Arc<Policy>,
    guest_path: &str,
    mode: Mode,
    auditor: Arc<Auditor>,
) -> DirRef {
    let state = policy.at(guest_path);
    let position = Position::Fixed(FixedPosition { policy, state });
    observe_at(dir, position, guest_path, Observer::new(auditor, mode))
}

/// Confines the unconfined directory `dir` to `live`, as [`confine_live`](crate::confine_live)
/// does, and records each decision of the policy that was current.
///
/// The rules of a narrowed policy keep their numbers. The end of a lease is not recorded, only the
/// operations that are denied afterwards.
#[must_use]
pub fn observe_live(dir: DirRef, live: &Live, guest_path: &str, auditor: Arc<Auditor>) -> DirRef {
    let position = Position::Live(Box::new(LivePosition::root(live, guest_path)));
    observe_at(dir, position, guest_path, Observer::new(auditor, Mode::Enforce))
}

fn observe_at(
    inner: DirRef,
    position: Position,
    guest_path: &str,
    observer: Arc<Observer>,
) -> DirRef {
    let context = HandleContext { position, observer, path: HandlePath::root(guest_path) };
    Arc::new(ObservedDir { inner, context: Arc::new(context) })
}

/// The recorder of one observed tree, shared by all of its handles.
struct Observer {
    auditor: Arc<Auditor>,
    mode: Mode,
    /// A number that is unique within the auditor.
    number: u64,
}

/// The position and path of a directory handle. Files that are opened through the handle share it,
/// so that a file costs one reference count and does not keep the directory open.
struct HandleContext {
    position: Position,
    observer: Arc<Observer>,
    path: Arc<HandlePath>,
}

/// The second path of an operation, with the state where it starts.
#[derive(Clone, Copy)]
struct SecondAt<'a> {
    path: EventPath<'a>,
    state: State,
}

/// The paths and facts of an operation that is to be recorded.
struct Operated<'a> {
    snapshot: &'a PolicySnapshot<'a>,
    path: &'a EventPath<'a>,
    to: Option<SecondAt<'a>>,
    observation: &'a Observation,
    bytes: Option<u64>,
}

impl Observer {
    fn new(auditor: Arc<Auditor>, mode: Mode) -> Arc<Observer> {
        let number = auditor.next_observer();
        Arc::new(Observer { auditor, mode, number })
    }

    fn is_equivalent(&self, other: &Observer) -> bool {
        Arc::ptr_eq(&self.auditor, &other.auditor) && self.mode == other.mode
    }

    /// Records an operation with the outcome of its check. Without an outcome, which is so in a dry
    /// run, the decision is derived.
    #[inline]
    fn record(&self, operated: &Operated<'_>, outcome: Option<CheckOutcome>) {
        let policy = operated.snapshot.policy();
        let [wanted, _] = operated.observation.wanted();
        match outcome {
            Some(CheckOutcome::Granted(state)) if policy.rights(state).contains(wanted) => {
                self.emit_granted(operated, state);
            }
            Some(outcome) => {
                self.emit_decided(operated, &DecisionDetails::of_outcome(policy, outcome));
            }
            None => self.record_derived(operated),
        }
    }

    fn record_derived(&self, operated: &Operated<'_>) {
        let policy = operated.snapshot.policy();
        let from = JudgedPath { state: operated.snapshot.state, path: operated.path.walked() };
        let wanted = operated.observation.wanted;
        if operated.to.is_none()
            && let Some(state) = policy.state_if_constant(from.state, from.path, wanted)
        {
            return self.emit_granted(operated, state);
        }
        let to = operated.to.map(|to| JudgedPath { state: to.state, path: to.path.walked() });
        let mut details = decide(policy, from, to, operated.observation);
        let was_done = self.mode == Mode::Enforce && operated.observation.result.is_ok();
        if was_done && details.decision != Decision::Allow {
            // The policy was narrowed between the operation and its record.
            details = DecisionDetails::allowed(None);
        }
        self.emit_decided(operated, &details);
    }

    #[inline]
    fn emit_granted(&self, operated: &Operated<'_>, state: State) {
        let (observer, generation) = (self.number, operated.snapshot.generation);
        self.emit(operated, Basis::Granted { observer, generation, state });
    }

    #[inline(never)]
    fn emit_decided(&self, operated: &Operated<'_>, details: &DecisionDetails) {
        self.emit(operated, Basis::Decided(details));
    }

    #[inline]
    fn emit(&self, operated: &Operated<'_>, basis: Basis<'_>) {
        let Operated { snapshot, path, to, observation, bytes } = operated;
        self.auditor.emit(&PendingEvent {
            policy: snapshot.policy(),
            observation,
            basis,
            mode: self.mode,
            path,
            to: to.as_ref().map(|to| &to.path),
            bytes: *bytes,
        });
    }
}

impl HandleContext {
    /// Starts an operation.
    ///
    /// # Errors
    ///
    /// - `EIO`: an event was lost that must not be lost.
    #[inline]
    fn begin(&self) -> Result<PolicySnapshot<'_>> {
        self.observer.auditor.check()?;
        Ok(self.position.begin())
    }

    /// Returns the context of the directory at `path`, which has `state`.
    fn descend(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
    ) -> Result<Arc<HandleContext>, Errno> {
        let position = self.position.descend(snapshot, path, state)?;
        let observer = Arc::clone(&self.observer);
        Ok(Arc::new(HandleContext {
            position,
            observer,
            path: HandlePath::descend(&self.path, path)?,
        }))
    }
}
