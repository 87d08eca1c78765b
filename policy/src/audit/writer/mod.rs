//! The auditor: filters and numbers events, and passes them to a sink.
//!
//! Events are passed to the sink in the order of their sequence numbers while a lock is held, so
//! the guest waits for the sink and no event is lost. With write-behind, an event is packed into a
//! batch under the lock and rendered by the writer thread. After the sink has failed, every
//! observed operation fails with `EIO`, because an incomplete audit is worse than none; unless
//! [`AuditOptions`] let the guest continue, and then lost events are counted.
//!
//! Lock order: `pipe` is taken last, and no filesystem operation is performed while it is held.

mod batch;
mod options;
pub(crate) mod ruling_cache;
mod sink;
mod spin_lock;
mod write_behind;

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coarsetime::Instant;
use palisade_vfs::{Errno, Result, Rights};

use crate::audit::decision::Observation;
use crate::audit::event::{Action, Decision, Event, Mode, Ruling, SecondPath};
use crate::audit::event_path::{self, EventPath};
use crate::audit::writer::batch::RawEvent;
use crate::audit::writer::ruling_cache::{Basis, RulingCache};
use crate::audit::writer::spin_lock::SpinLock;
use crate::audit::writer::write_behind::{Full, Messages, Taken, WriteBehind};
use crate::automaton::policy::Policy;

pub use options::{AuditOptions, EventFilter, OnFailure, Transfers};
pub use sink::{Callback, Sink, Tracing};

/// Statistics of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All decisions.
    pub decisions: u64,
    /// The denials among them, or in a dry run the operations that would be denied.
    pub refused: u64,
    /// Events that were passed to the sink.
    pub recorded: u64,
    /// Events that were dropped or lost, as the options allow.
    pub dropped: u64,
}

/// The receiver of the events of observed directories.
pub struct Auditor {
    options: AuditOptions,
    /// Whether a filter or a sample is set.
    selects: bool,
    created: Instant,
    is_broken: AtomicBool,
    /// The number of observers.
    observers: AtomicU64,
    // A panic under the lock loses one event. Later events are complete.
    pipe: SpinLock<Pipe>,
}

/// The state under the lock.
struct Pipe {
    out: Output,
    rulings: RulingCache,
    decisions: u64,
    refused: u64,
    /// Decisions that passed the filters. Counted only if a filter or a sample is set.
    passed: u64,
    /// Decisions that were filtered out.
    left_out: u64,
    /// Events that the sink failed to write.
    dropped: u64,
    /// The first error of the sink that [`Auditor::finish`] has not returned yet.
    failed: Option<io::Error>,
}

enum Output {
    Synchronous(Synchronous),
    Behind(WriteBehind),
}

/// A sink that is called under the lock, with buffers for the paths.
struct Synchronous {
    sink: Box<dyn Sink>,
    path: String,
    to: String,
}

/// An event before its ruling is cached and its paths are rendered.
pub(crate) struct PendingEvent<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) observation: &'a Observation,
    pub(crate) basis: Basis<'a>,
    pub(crate) mode: Mode,
    pub(crate) path: &'a EventPath<'a>,
    pub(crate) to: Option<&'a EventPath<'a>>,
    pub(crate) bytes: Option<u64>,
}

impl Auditor {
    /// Returns an auditor that calls `sink` for each event while the guest waits.
    #[must_use]
    pub fn new(sink: impl Sink + 'static, options: AuditOptions) -> Arc<Self> {
        let (sink, path, to) = (Box::new(sink), String::new(), String::new());
        Self::to(Output::Synchronous(Synchronous { sink, path, to }), options)
    }

    /// Returns an auditor that calls `sink` on its own thread, so that the guest does not wait for
    /// output.
    ///
    /// Events are passed in batches of at most 16,384 events or 1 MiB of paths. A batch is handed
    /// over when it is full, or at the next event after a tenth of a second; at most `batches` wait
    /// in the queue. If the queue is full, the guest waits or the next batch is dropped, depending
    /// on [`AuditOptions::may_drop`]. If the sink keeps up, each event is passed to it and flushed
    /// within a second, even if no other event follows.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn write_behind(
        sink: impl Sink + 'static,
        batches: NonZeroUsize,
        options: AuditOptions,
    ) -> io::Result<Arc<Self>> {
        let full = if options.may_drop { Full::Drop } else { Full::Wait };
        let behind = WriteBehind::new(sink, options.guest.as_str().into(), batches, full)?;
        let thread = behind.shared();
        let auditor = Self::to(Output::Behind(behind), options);
        thread.set_auditor(&auditor);
        Ok(auditor)
    }

    /// Takes the current batch for the writer thread. Returns `None` if the lock is held: its
    /// holder may be waiting for the writer thread.
    pub(crate) fn take_recorded(&self, queue: &Messages) -> Option<Taken> {
        match &mut self.pipe.try_lock()?.out {
            Output::Behind(behind) => Some(behind.take(queue)),
            Output::Synchronous(_) => None,
        }
    }

    fn to(out: Output, options: AuditOptions) -> Arc<Self> {
        let selects = !options.only.is_empty() || options.sample != NonZeroU64::MIN;
        Arc::new(Auditor {
            options,
            selects,
            created: Instant::now(),
            is_broken: AtomicBool::new(false),
            observers: AtomicU64::new(0),
            pipe: SpinLock::new(Pipe {
                out,
                rulings: RulingCache::new(),
                decisions: 0,
                refused: 0,
                passed: 0,
                left_out: 0,
                dropped: 0,
                failed: None,
            }),
        })
    }

    /// Flushes all events and returns the statistics.
    ///
    /// # Errors
    ///
    /// Those of the sink, including earlier ones. With [`AuditOptions::may_drop`] or
    /// [`OnFailure::Continue`] an error is returned once, and the next call returns the statistics.
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

    /// Returns a number that is unique within the auditor.
    pub(crate) fn next_observer(&self) -> u64 {
        self.observers.fetch_add(1, Ordering::Relaxed)
    }

    /// # Errors
    ///
    /// - `EIO`: an event was lost, and the options do not allow that.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_broken.load(Ordering::Relaxed) && !self.options.survives_failure() {
            return Err(Errno::Io);
        }
        Ok(())
    }

    pub(crate) fn transfers(&self) -> Transfers {
        self.options.transfers
    }

    /// Numbers, filters and records an event.
    #[inline]
    pub(crate) fn emit(&self, event: &PendingEvent<'_>) {
        let mut pipe = self.pipe.lock();
        let pipe = &mut *pipe;
        let seq = pipe.decisions;
        pipe.decisions += 1;
        let decision = event.basis.decision();
        if decision != Decision::Allow {
            pipe.refused += 1;
        }
        if self.selects && !self.is_selected(pipe, event.observation, decision) {
            pipe.left_out += 1;
            return;
        }
        let nanos = Instant::now_without_cache_update().duration_since(self.created).as_nanos();
        let raw = RawEvent { seq, nanos, path: event.path, to: event.to, bytes: event.bytes };
        let cached = pipe.rulings.get(event);
        let written = match &mut pipe.out {
            Output::Behind(behind) => behind.push(&raw, cached),
            Output::Synchronous(out) => out.write(&raw, &self.options.guest, &cached.ruling),
        };
        if let Err(error) = written {
            self.is_broken.store(true, Ordering::Relaxed);
            pipe.dropped += 1;
            pipe.failed.get_or_insert(error);
        }
    }

    fn is_selected(&self, pipe: &mut Pipe, observation: &Observation, decision: Decision) -> bool {
        let passes = self.options.only.iter().all(|only| match only {
            EventFilter::Denied => decision != Decision::Allow,
            EventFilter::Writes => changes(observation),
        });
        let number = pipe.passed;
        pipe.passed += u64::from(passes);
        passes && number % self.options.sample == 0
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        // A caller that needs the error calls `finish`.
        let _ = self.pipe.get_mut().out.flush();
    }
}

impl Output {
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Synchronous(out) => out.sink.flush(),
            Output::Behind(behind) => behind.flush(),
        }
    }

    /// The number of events that the write-behind buffer dropped or lost.
    fn dropped(&self) -> u64 {
        match self {
            Output::Synchronous(_) => 0,
            Output::Behind(behind) => behind.dropped(),
        }
    }
}

impl Synchronous {
    fn write(&mut self, event: &RawEvent<'_>, guest: &str, ruling: &Arc<Ruling>) -> io::Result<()> {
        let Synchronous { sink, path, to } = self;
        let RawEvent { seq, nanos, bytes, .. } = *event;
        let write = |text, at: &EventPath<'_>| {
            event_path::write(text, at.handle, at.suffix.names(), at.suffix.is_of_file())
        };
        let (held, held_of_to) =
            (write(path, event.path), event.to.map(|second| write(to, second)));
        let to = held_of_to.map(|held| SecondPath { path: to, held });
        sink.event(&Event { seq, nanos, guest, path, held, to, ruling, bytes })
    }
}

/// Whether the operation changes something, or would change it.
fn changes(observation: &Observation) -> bool {
    let needed = match observation.action {
        Action::One(operation) => operation.needs(),
        action => action.needs().into_iter().fold(Rights::empty(), Rights::union),
    };
    !Rights::READ_ONLY.contains(needed)
}
