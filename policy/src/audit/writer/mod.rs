//! The auditor: what the layers hand their events to, and where these go.
//!
//! Events are given to the sink while a lock is held, one by one, in the order of their numbers; so
//! a guest waits for its sink, and nothing is lost. What is written behind goes right into the
//! batch that is handed over, and becomes an event only on the other side. A sink that fails ends
//! the run: from then on everything that is observed is `Io`, because an audit with holes would be
//! worse than none; unless [`AuditOptions`] let the guest go on, and then lost events are counted.
//!
//! Lock order: `pipe` is taken last, and no operation of a filesystem is done under it.

mod batch;
mod spin_lock;
mod write_behind;

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coarsetime::Instant;
use palisade_vfs::{Errno, Result, Rights};

use crate::audit::decision::Facts;
use crate::audit::event::{Act, Decision, Event, HowDecided, To};
use crate::audit::event_path::{self, At};
use crate::audit::ruling::{Basis, Ruling, Rulings};
use crate::audit::writer::batch::Said;
use crate::audit::writer::spin_lock::Lock;
use crate::audit::writer::write_behind::{Full, Orders, Taken, WriteBehind};
use crate::automaton::policy::Policy;

/// Where events go.
pub trait Sink: Send {
    /// Takes one event.
    ///
    /// Errors: it is lost, and so may be what was taken before and not flushed.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// Puts everything where it belongs. Called at the end.
    fn flush(&mut self) -> io::Result<()>;
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
        let result = ruling.result.map_or_else(crate::audit::log::json_lines::errno_key, |()| "ok");
        let rule = ruling.place.as_ref().map(ToString::to_string);
        let missing = crate::rules::right_names::words_of_rights(ruling.missing).join(" ");
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

impl Only {
    /// The word for it in a policy document and in the header of a log.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Only::Denied => "denied",
            Only::Writes => "writes",
        }
    }
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

/// What happens to the guest once the sink has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Every observed operation fails with `Io`: what cannot be recorded is not done.
    #[default]
    Stop,
    /// The guest goes on. Events are lost and counted.
    Continue,
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
    /// Whether events may be lost, and are counted then: those for which the queue of
    /// [`Auditor::write_behind`] has no room, and all once the sink has failed.
    pub may_drop: bool,
    /// What happens once the sink has failed, where events may not be dropped.
    pub on_failure: OnFailure,
}

impl AuditOptions {
    /// Whether the guest goes on once the sink has failed.
    pub(crate) fn survives_failure(&self) -> bool {
        self.may_drop || self.on_failure == OnFailure::Continue
    }
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions {
            guest: String::new(),
            only: Vec::new(),
            sample: NonZeroU64::MIN,
            transfers: Transfers::default(),
            may_drop: false,
            on_failure: OnFailure::default(),
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
    /// Whether there are decisions that are not recorded.
    selects: bool,
    began: Instant,
    is_broken: AtomicBool,
    watches: AtomicU64,
    // One that panics while it is held has lost what it had; what comes is whole again.
    pipe: Lock<Pipe>,
}

struct Pipe {
    out: Out,
    rulings: Rulings,
    decisions: u64,
    refused: u64,
    /// Decisions that passed the filter; not counted if all are recorded.
    passed: u64,
    /// Decisions that the filter and the sample left out.
    left_out: u64,
    /// Events that the sink did not take.
    dropped: u64,
    /// The first error of the sink that no call of [`Auditor::finish`] has returned.
    failed: Option<io::Error>,
}

enum Out {
    AtOnce(AtOnce),
    Behind(WriteBehind),
}

struct AtOnce {
    sink: Box<dyn Sink>,
    path: String,
    to: String,
}

/// Something that happened, before its paths are written out.
pub(crate) struct Happening<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) facts: &'a Facts,
    pub(crate) basis: Basis<'a>,
    pub(crate) how: HowDecided,
    pub(crate) at: &'a At<'a>,
    pub(crate) to: Option<&'a At<'a>>,
    pub(crate) bytes: Option<u64>,
}

impl Auditor {
    /// Records what `options` ask for into `sink`, for which the guest waits at each event.
    #[must_use]
    pub fn new(sink: impl Sink + 'static, options: AuditOptions) -> Arc<Self> {
        let (sink, path, to) = (Box::new(sink), String::new(), String::new());
        Self::to(Out::AtOnce(AtOnce { sink, path, to }), options)
    }

    /// Records what `options` ask for into `sink` on a thread of its own, so that the guest does
    /// not wait while lines are made and written.
    ///
    /// Events go there in batches, of at most 16,384 or 1 MiB of paths, and at the next event after
    /// a tenth of a second; at most `batches` wait. When so many do, the guest waits for one, or
    /// the next is dropped, as `options` have it. An event is at most a second old when it is given
    /// to a sink that is not behind and flushed, also if no other event follows it.
    ///
    /// Errors: no thread can be had.
    pub fn write_behind(
        sink: impl Sink + 'static,
        batches: NonZeroUsize,
        options: AuditOptions,
    ) -> io::Result<Arc<Self>> {
        let full = if options.may_drop { Full::Drop } else { Full::Wait };
        let behind = WriteBehind::new(sink, options.guest.as_str().into(), batches, full)?;
        let thread = behind.shared();
        let auditor = Self::to(Out::Behind(behind), options);
        thread.serve(&auditor);
        Ok(auditor)
    }

    /// Takes the events that were not handed over yet, for the thread that writes. `None` if a
    /// guest holds the lock, which is not waited for: its holder may wait for that thread.
    pub(crate) fn take_recorded(&self, orders: &Orders) -> Option<Taken> {
        match &mut self.pipe.try_lock()?.out {
            Out::Behind(behind) => Some(behind.take(orders)),
            Out::AtOnce(_) => None,
        }
    }

    fn to(out: Out, options: AuditOptions) -> Arc<Self> {
        let selects = !options.only.is_empty() || options.sample != NonZeroU64::MIN;
        Arc::new(Auditor {
            options,
            selects,
            began: Instant::now(),
            is_broken: AtomicBool::new(false),
            watches: AtomicU64::new(0),
            pipe: Lock::new(Pipe {
                out,
                rulings: Rulings::new(),
                decisions: 0,
                refused: 0,
                passed: 0,
                left_out: 0,
                dropped: 0,
                failed: None,
            }),
        })
    }

    /// Puts everything where it belongs, and tells what there was.
    ///
    /// Errors: those of the sink, also if they came earlier. With [`AuditOptions::may_drop`] or
    /// [`OnFailure::Continue`] a failure is returned once, and the next call returns the summary.
    pub fn finish(&self) -> io::Result<Summary> {
        let mut pipe = self.pipe.lock();
        let earlier = pipe.failed.take();
        if let Some(error) = pipe.out.flush().err().or(earlier) {
            self.is_broken.store(true, Ordering::Relaxed);
            return Err(error);
        }
        if self.is_broken.load(Ordering::Relaxed) && !self.options.survives_failure() {
            return Err(io::Error::other("the audit could not be written whole"));
        }
        let Pipe { decisions, refused, left_out, dropped, .. } = *pipe;
        let recorded = decisions - left_out - dropped;
        let dropped = dropped + pipe.out.dropped();
        Ok(Summary { decisions, refused, recorded, dropped })
    }

    /// A number that no other watch has.
    pub(crate) fn next_watch(&self) -> u64 {
        self.watches.fetch_add(1, Ordering::Relaxed)
    }

    /// `Io` once events were lost that may not be lost.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_broken.load(Ordering::Relaxed) && !self.options.survives_failure() {
            return Err(Errno::Io);
        }
        Ok(())
    }

    pub(crate) fn transfers(&self) -> Transfers {
        self.options.transfers
    }

    #[inline]
    pub(crate) fn emit(&self, what: &Happening<'_>) {
        let mut pipe = self.pipe.lock();
        let pipe = &mut *pipe;
        let seq = pipe.decisions;
        pipe.decisions += 1;
        let decision = what.basis.decision();
        if decision != Decision::Allow {
            pipe.refused += 1;
        }
        if self.selects && !self.is_selected(pipe, what.facts, decision) {
            pipe.left_out += 1;
            return;
        }
        let nanos = Instant::now_without_cache_update().duration_since(self.began).as_nanos();
        let said = Said { seq, nanos, at: what.at, to: what.to, bytes: what.bytes };
        let known = pipe.rulings.of(what);
        let taken = match &mut pipe.out {
            Out::Behind(behind) => behind.collect(&said, known),
            Out::AtOnce(out) => out.tell(&said, &self.options.guest, &known.ruling),
        };
        if let Err(error) = taken {
            self.is_broken.store(true, Ordering::Relaxed);
            pipe.dropped += 1;
            pipe.failed.get_or_insert(error);
        }
    }

    fn is_selected(&self, pipe: &mut Pipe, facts: &Facts, decision: Decision) -> bool {
        let passes = self.options.only.iter().all(|only| match only {
            Only::Denied => decision != Decision::Allow,
            Only::Writes => changes(facts),
        });
        let number = pipe.passed;
        pipe.passed += u64::from(passes);
        passes && number % self.options.sample == 0
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        // Whoever wants to know calls `finish`.
        let _ = self.pipe.get_mut().out.flush();
    }
}

impl Out {
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::AtOnce(out) => out.sink.flush(),
            Out::Behind(behind) => behind.flush(),
        }
    }

    /// How many events were lost behind.
    fn dropped(&self) -> u64 {
        match self {
            Out::AtOnce(_) => 0,
            Out::Behind(behind) => behind.dropped(),
        }
    }
}

impl AtOnce {
    fn tell(&mut self, said: &Said<'_>, guest: &str, ruling: &Arc<Ruling>) -> io::Result<()> {
        let AtOnce { sink, path, to } = self;
        let Said { seq, nanos, bytes, .. } = *said;
        let write = |text, at: &At<'_>| {
            event_path::write(text, at.trail, at.beyond.names(), at.beyond.is_held())
        };
        let (held, held_of_to) = (write(path, said.at), said.to.map(|at| write(to, at)));
        let to = held_of_to.map(|held| To { path: to, held });
        sink.event(&Event { seq, nanos, guest, path, held, to, ruling, bytes })
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
