//! Writing behind: a sink on a thread of its own, so that the guest does not wait while lines are
//! made and written.
//!
//! What waits is bounded: so many batches. When all are taken, the guest waits for one; or, if that
//! was asked for, the next batch is dropped whole and its events are counted. Batches are used
//! again, so that in the long run nothing is allocated.
//!
//! The age of what waits is bounded too. A guest hands a batch over when it is full or old, at the
//! next event. If no event follows, the thread takes the batch itself, after [`IDLE`].
//!
//! Lock order: the thread only tries the auditor's lock, since its holder may wait for the thread.

use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::audit::ruling::Known;
use crate::audit::writer::batch::{Batch, Said};
use crate::audit::writer::{Auditor, Sink};

/// The time without a batch after which the thread takes the events that were recorded since. With
/// the tenth of a second after which a guest hands a batch over, less than half of what
/// [`Auditor::write_behind`] promises.
const IDLE: Duration = Duration::from_millis(250);
/// The time until the thread tries again after a guest held the lock.
const RETRY: Duration = Duration::from_millis(5);

/// What happens when all batches wait to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The guest waits for one.
    Wait,
    /// Events are dropped, and counted.
    Drop,
}

/// Gives events to a sink on a thread of its own.
///
/// An error of the sink is told at a later event, and when it is flushed.
pub(crate) struct WriteBehind {
    batch: Batch,
    /// How many were begun.
    begun: u64,
    to: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    full: Full,
    dropped: u64,
    shared: Arc<Shared>,
}

/// What the thread and the guest's side share.
#[derive(Default)]
pub(crate) struct Shared {
    has_failed: AtomicBool,
    /// Events that the sink did not take.
    lost: AtomicU64,
    /// Batches to be filled again: the one that was emptied last first, which caches still hold.
    emptied: Mutex<Vec<Batch>>,
    /// Whose events the thread writes.
    auditor: OnceLock<Weak<Auditor>>,
    /// The last batch of an auditor that was dropped by the thread itself.
    last: Mutex<Option<Batch>>,
}

impl Shared {
    /// Lets the thread take events of `auditor`.
    pub(crate) fn serve(&self, auditor: &Arc<Auditor>) {
        let _ = self.auditor.set(Arc::downgrade(auditor));
    }

    fn last(&self) -> MutexGuard<'_, Option<Batch>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emptied(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.emptied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the guest's side asks of the thread.
pub(crate) enum Order {
    Batch(Batch),
    Flush(SyncSender<io::Result<()>>),
}

/// The receiving end of the queue.
pub(crate) type Orders = Receiver<Order>;

/// What the thread has taken: the orders that were sent before, and the batch that was not, if it
/// holds anything.
#[derive(Default)]
pub(crate) struct Taken {
    orders: Vec<Order>,
    batch: Option<Batch>,
}

impl WriteBehind {
    /// Gives the events of `guest` to `sink`; at most `batches` wait.
    ///
    /// Errors: no thread can be had.
    pub(crate) fn new(
        sink: impl Sink + 'static,
        guest: Box<str>,
        batches: NonZeroUsize,
        full: Full,
    ) -> io::Result<WriteBehind> {
        let (to, orders) = sync_channel(batches.get());
        let shared = Arc::new(Shared::default());
        let writer = Writer { sink, guest, failed: None, shared: Arc::clone(&shared) };
        let write = move || writer.run(&orders);
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
    pub(crate) fn collect(&mut self, said: &Said<'_>, known: &mut Known) -> io::Result<()> {
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

    /// What it shares with the thread.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Takes what was recorded and not handed over, with the orders that were sent before it.
    pub(crate) fn take(&mut self, orders: &Orders) -> Taken {
        if self.batch.len() == 0 {
            return Taken::default();
        }
        let orders = orders.try_iter().collect();
        let next = self.shared.emptied().pop().unwrap_or_default();
        Taken { orders, batch: Some(self.begin(next)) }
    }

    /// Whether the thread that writes is the one that calls this.
    fn is_called_by_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| it.thread().id() == thread::current().id())
    }

    /// Puts everything where it belongs.
    ///
    /// Errors: those of the sink, also if they came earlier.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_called_by_thread() {
            // It dropped the auditor, and writes the last batch after all others.
            let batch = self.begin(Batch::default());
            *self.shared.last() = Some(batch);
            return Ok(());
        }
        self.hand_over(Full::Wait)?;
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (done, answer) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        to.send(Order::Flush(done)).map_err(gone)?;
        answer.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// How many events were dropped or lost.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The thread that writes.
struct Writer<S> {
    sink: S,
    guest: Box<str>,
    /// The error after which nothing is written any more, until a flush has told it.
    failed: Option<io::Error>,
    shared: Arc<Shared>,
}

impl<S: Sink> Writer<S> {
    /// Writes until the guest's side is dropped.
    fn run(mut self, orders: &Orders) {
        let mut patience = IDLE;
        loop {
            match orders.recv_timeout(patience) {
                Ok(order) => {
                    self.obey(order);
                    patience = IDLE;
                }
                Err(RecvTimeoutError::Timeout) => patience = self.take(orders),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let last = self.shared.last().take();
        if let Some(batch) = last {
            self.write(batch);
        }
    }

    /// Writes what was recorded and not handed over. Returns the time to wait for the next order.
    fn take(&mut self, orders: &Orders) -> Duration {
        let Some(auditor) = self.shared.auditor.get().and_then(Weak::upgrade) else { return IDLE };
        let taken = auditor.take_recorded(orders);
        // It may be the last reference.
        drop(auditor);
        let Some(Taken { orders, batch }) = taken else { return RETRY };
        for order in orders {
            self.obey(order);
        }
        if let Some(batch) = batch {
            self.write(batch);
        }
        IDLE
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Batch(batch) => self.write(batch),
            Order::Flush(done) => {
                let answer = self.failed.take().map_or_else(|| self.sink.flush(), Err);
                let _ = done.send(answer);
            }
        }
    }

    /// Gives a batch to the sink and flushes that, so that whoever follows a log sees it grow.
    fn write(&mut self, mut batch: Batch) {
        let Writer { sink, guest, failed, shared } = self;
        batch.tell(guest, |event| {
            if failed.is_none() {
                *failed = sink.event(event).err();
            }
            if failed.is_some() {
                shared.lost.fetch_add(1, Ordering::Relaxed);
                shared.has_failed.store(true, Ordering::Relaxed);
            }
        });
        if failed.is_none() {
            *failed = sink.flush().err();
            shared.has_failed.fetch_or(failed.is_some(), Ordering::Relaxed);
        }
        batch.clear();
        shared.emptied().push(batch);
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // Whoever wants to know calls `flush`.
        if self.is_called_by_thread() {
            return;
        }
        let _ = self.hand_over(Full::Wait);
        self.to = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
