//! The auditor: what the layers hand their events to, and where these go.
//!
//! Events are given to the sink while a lock is held, one by one, in the order of their numbers; so
//! a guest waits for its sink, and nothing is lost. A sink that fails ends the run: from then on
//! everything that is observed is `Io`, because an audit with holes would be worse than none;
//! unless it was asked for that events may be dropped, and then they are counted.
//!
//! Lock order: `pipe` is taken last, and no operation of a filesystem is done under it.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coarsetime::Instant;
use palisade_vfs::{Descent, Errno, Result, Rights};

use super::event::{Act, Decision, Event, HowDecided, To};
use super::facts::{Decided, Facts};
use super::ruling::Rulings;
use crate::Policy;
use crate::trail::Trail;

/// Where events go.
pub trait Sink: Send {
    /// Takes one event.
    ///
    /// Errors: it is lost, and so may be what was taken before and not flushed.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// Puts everything where it belongs. Called at the end.
    fn flush(&mut self) -> io::Result<()>;

    /// How many events it dropped itself.
    fn dropped(&self) -> u64 {
        0
    }
}

/// A sink that calls a function.
pub struct Callback<F>(pub F);

impl<F: FnMut(&Event<'_>) + Send> Sink for Callback<F> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        (self.0)(event);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink that tells `tracing`, under the target `palisade::audit`: refusals as warnings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Sink for Tracing {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Event { path, guest, ruling, .. } = *event;
        let (op, to) = (ruling.act.key(), event.to.map(|to| to.path));
        let decision = ruling.decision.key(ruling.how);
        let result = ruling.result.map_or_else(super::json::errno_key, |()| "ok");
        let rule = ruling.place.as_ref().map(ToString::to_string);
        let missing = crate::words_of_rights(ruling.missing).join(" ");
        if ruling.decision == Decision::Allow {
            tracing::info!(
                target: "palisade::audit", op, path, to, decision, result, rule, guest
            );
        } else {
            tracing::warn!(
                target: "palisade::audit",
                op, path, to, decision, missing, result, rule, guest
            );
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which decisions are recorded: those that are in all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Only {
    /// What was refused, or would have been.
    Denied,
    /// What changes something, or would have.
    Writes,
}

/// How reads and writes of open files are told, and looks through them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfers {
    /// Added up for each open file, when it is closed; the first look alone.
    #[default]
    AtClose,
    /// Each by itself.
    Each,
}

/// What an auditor records.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// Whose guest it is; left out of a log if it is empty.
    pub guest: String,
    /// Which decisions; all, if it is empty.
    pub only: Vec<Only>,
    /// Of those, the first and every so-many-th after it.
    pub sample: NonZeroU64,
    /// How reads and writes are told.
    pub transfers: Transfers,
    /// Whether events may be lost, and are counted then. Otherwise what is observed ends with an
    /// error of the sink.
    pub may_drop: bool,
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions {
            guest: String::new(),
            only: Vec::new(),
            sample: NonZeroU64::MIN,
            transfers: Transfers::default(),
            may_drop: false,
        }
    }
}

#[cfg(feature = "document")]
impl From<&crate::document::AuditSettings> for AuditOptions {
    fn from(settings: &crate::document::AuditSettings) -> Self {
        use crate::document::{AuditOnly, WhenFull};
        let only = settings.only.iter().map(|only| match only {
            AuditOnly::Denied => Only::Denied,
            AuditOnly::Writes => Only::Writes,
        });
        AuditOptions {
            only: only.collect(),
            sample: NonZeroU64::new(settings.sample).unwrap_or(NonZeroU64::MIN),
            may_drop: settings.when_full == WhenFull::Drop,
            ..AuditOptions::default()
        }
    }
}

/// What became of the events of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Decisions, recorded or not.
    pub decisions: u64,
    /// Refusals among them, or what would have been.
    pub refused: u64,
    /// Events that were given to the sink.
    pub recorded: u64,
    /// Events that were lost, because that was asked for.
    pub dropped: u64,
}

/// What observed directories hand their events to.
pub struct Auditor {
    options: AuditOptions,
    began: Instant,
    is_broken: AtomicBool,
    pipe: Mutex<Pipe>,
}

struct Pipe {
    sink: Box<dyn Sink>,
    summary: Summary,
    /// Events that passed the filter.
    passed: u64,
    rulings: Rulings,
    path: String,
    to: String,
}

/// Something that happened, before its paths are written out.
pub(super) struct Happening<'a> {
    pub(super) policy: &'a Policy,
    pub(super) facts: &'a Facts,
    pub(super) decided: &'a Decided,
    pub(super) how: HowDecided,
    pub(super) at: At<'a>,
    pub(super) to: Option<At<'a>>,
    pub(super) bytes: Option<u64>,
}

/// A path from what is held.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    /// Leads to a directory.
    pub(super) trail: &'a Trail,
    /// Leads on from there to a file that is held.
    pub(super) held: Descent<'a>,
    /// Leads on from what is held.
    pub(super) path: Descent<'a>,
}

impl At<'_> {
    /// Writes it into `text`; answers how many names lead to what is held.
    fn render(&self, text: &mut String) -> usize {
        text.clear();
        self.trail.render(text);
        for path in [self.held, self.path] {
            if !path.is_here() {
                text.push('/');
                text.push_str(path.as_str());
            }
        }
        if text.is_empty() {
            text.push('/');
        }
        self.trail.depth() + self.held.depth()
    }
}

impl Auditor {
    /// Records what `options` ask for into `sink`.
    #[must_use]
    pub fn new(sink: impl Sink + 'static, options: AuditOptions) -> Arc<Self> {
        let (path, to) = (String::new(), String::new());
        let summary = Summary::default();
        let (sink, rulings) = (Box::new(sink), Rulings::default());
        let pipe = Pipe { sink, summary, passed: 0, rulings, path, to };
        Arc::new(Auditor {
            options,
            began: Instant::now(),
            is_broken: AtomicBool::new(false),
            pipe: Mutex::new(pipe),
        })
    }

    /// Puts everything where it belongs, and tells what there was.
    ///
    /// Errors: those of the sink, also if they came earlier.
    pub fn finish(&self) -> io::Result<Summary> {
        let mut pipe = self.pipe();
        if let Err(error) = pipe.sink.flush() {
            self.is_broken.store(true, Ordering::Relaxed);
            return Err(error);
        }
        if self.is_broken.load(Ordering::Relaxed) && !self.options.may_drop {
            return Err(io::Error::other("the audit could not be written whole"));
        }
        let own = pipe.summary;
        Ok(Summary { dropped: own.dropped + pipe.sink.dropped(), ..own })
    }

    /// `Io` once events were lost that may not be lost.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_broken.load(Ordering::Relaxed) && !self.options.may_drop {
            return Err(Errno::Io);
        }
        Ok(())
    }

    pub(super) fn transfers(&self) -> Transfers {
        self.options.transfers
    }

    fn wants(&self, facts: &Facts, decision: Decision) -> bool {
        self.options.only.iter().all(|only| match only {
            Only::Denied => decision != Decision::Allow,
            Only::Writes => changes(facts),
        })
    }

    pub(super) fn emit(&self, what: &Happening<'_>) {
        let mut pipe = self.pipe();
        let pipe = &mut *pipe;
        let seq = pipe.summary.decisions;
        pipe.summary.decisions += 1;
        pipe.summary.refused += u64::from(what.decided.decision != Decision::Allow);
        if !self.wants(what.facts, what.decided.decision) {
            return;
        }
        let number = pipe.passed;
        pipe.passed += 1;
        // A division takes longer than the rest of this.
        if self.options.sample != NonZeroU64::MIN && number % self.options.sample != 0 {
            return;
        }
        let held = what.at.render(&mut pipe.path);
        let to_held = what.to.map(|to| to.render(&mut pipe.to));
        let event = Event {
            seq,
            nanos: self.began.elapsed().as_nanos(),
            guest: &self.options.guest,
            path: &pipe.path,
            held,
            to: to_held.map(|held| To { path: &pipe.to, held }),
            ruling: pipe.rulings.of(what.facts, what.decided, what.how, what.policy),
            bytes: what.bytes,
        };
        match pipe.sink.event(&event) {
            Ok(()) => pipe.summary.recorded += 1,
            Err(_) => {
                self.is_broken.store(true, Ordering::Relaxed);
                pipe.summary.dropped += 1;
            }
        }
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        // A sink that panicked has lost what it had; what comes is whole again.
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        let pipe = self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Whoever wants to know calls `finish`.
        let _ = pipe.sink.flush();
    }
}

/// Whether it changes something, or would.
fn changes(facts: &Facts) -> bool {
    let asked = match facts.act {
        Act::One(operation) => operation.needs(),
        act => act.needs().into_iter().fold(Rights::empty(), Rights::union),
    };
    !Rights::READ_ONLY.contains(asked)
}
