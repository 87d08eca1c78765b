//! Writing behind: a sink on a thread of its own, so that the guest does not wait while lines are
//! made and written.
//!
//! What waits is bounded: so many batches. When all are taken, the guest waits for one; or, if that
//! was asked for, the next batch is dropped whole and its events are counted. Batches are used
//! again, so that in the long run nothing is allocated.

use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::auditor::Sink;
use super::batch::{Batch, Said};
use super::ruling::Known;

/// What happens when all batches wait to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The guest waits for one.
    Wait,
    /// Events are dropped, and counted.
    Drop,
}

/// Gives events to a sink on a thread of its own.
///
/// An error of the sink is told at a later event, and when it is flushed.
pub(super) struct WriteBehind {
    batch: Batch,
    /// How many were begun.
    begun: u64,
    to: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    full: Full,
    dropped: u64,
    shared: Arc<Shared>,
}

/// What the thread tells.
#[derive(Default)]
struct Shared {
    has_failed: AtomicBool,
    /// Events that the sink did not take.
    lost: AtomicU64,
    /// Batches to be filled again: the one that was emptied last first, which caches still hold.
    emptied: Mutex<Vec<Batch>>,
}

impl Shared {
    fn emptied(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.emptied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Order {
    Batch(Batch),
    Flush(SyncSender<io::Result<()>>),
}

impl WriteBehind {
    /// Gives the events of `guest` to `sink`; at most `batches` wait.
    ///
    /// Errors: no thread can be had.
    pub(super) fn new(
        sink: impl Sink + 'static,
        guest: Box<str>,
        batches: NonZeroUsize,
        full: Full,
    ) -> io::Result<WriteBehind> {
        let (to, orders) = sync_channel(batches.get());
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let write = move || write_all(sink, &guest, &orders, &told);
        let thread = thread::Builder::new().name("palisade-audit".to_owned()).spawn(write)?;
        let (to, thread) = (Some(to), Some(thread));
        let mut behind =
            WriteBehind { batch: Batch::default(), begun: 0, to, thread, full, dropped: 0, shared };
        behind.begin(Batch::default());
        Ok(behind)
    }

    /// Takes an event, of the ruling `known`.
    ///
    /// Errors: this one or an earlier one is lost.
    #[inline]
    pub(super) fn collect(&mut self, said: &Said<'_>, known: &mut Known) -> io::Result<()> {
        if self.shared.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier event could not be written"));
        }
        if self.batch.push(said, known) { self.hand_over(self.full) } else { Ok(()) }
    }

    /// Begins `next`, an empty batch, in place of the one that there is, which is answered.
    fn begin(&mut self, mut next: Batch) -> Batch {
        self.begun += 1;
        next.begin(self.begun);
        mem::replace(&mut self.batch, next)
    }

    /// Hands over what was collected, and waits for room if that is asked for.
    #[cold]
    fn hand_over(&mut self, full: Full) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let next = self.shared.emptied().pop().unwrap_or_default();
        let batch = self.begin(next);
        let Some(to) = &self.to else { return Err(gone()) };
        match full {
            Full::Wait => to.send(Order::Batch(batch)).map_err(|_| gone()),
            Full::Drop => match to.try_send(Order::Batch(batch)) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(Order::Batch(mut batch))) => {
                    self.dropped += batch.len() as u64;
                    batch.clear();
                    self.begin(batch);
                    Ok(())
                }
                Err(TrySendError::Full(Order::Flush(_)) | TrySendError::Disconnected(_)) => {
                    Err(gone())
                }
            },
        }
    }

    /// Puts everything where it belongs.
    ///
    /// Errors: those of the sink, also if they came earlier.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.hand_over(Full::Wait)?;
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (done, answer) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        to.send(Order::Flush(done)).map_err(gone)?;
        answer.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// How many events were dropped or lost.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped + self.shared.lost.load(Ordering::Relaxed)
    }
}

fn write_all(mut sink: impl Sink, guest: &str, orders: &Receiver<Order>, shared: &Shared) {
    let mut failed = None;
    for order in orders {
        match order {
            Order::Batch(mut batch) => {
                batch.tell(guest, |event| {
                    if failed.is_none() {
                        failed = sink.event(event).err();
                    }
                    if failed.is_some() {
                        shared.lost.fetch_add(1, Ordering::Relaxed);
                        shared.has_failed.store(true, Ordering::Relaxed);
                    }
                });
                // So that whoever follows a log sees it grow.
                if failed.is_none() {
                    failed = sink.flush().err();
                    shared.has_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
                }
                batch.clear();
                shared.emptied().push(batch);
            }
            Order::Flush(done) => {
                let answer = failed.take().map_or_else(|| sink.flush(), Err);
                let _ = done.send(answer);
            }
        }
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // Whoever wants to know calls `flush`.
        let _ = self.hand_over(Full::Wait);
        self.to = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
