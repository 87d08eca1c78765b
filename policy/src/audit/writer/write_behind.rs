//! A write-behind buffer: a sink on its own thread, so that the guest does not wait for output.
//!
//! The queue holds a bounded number of batches. When it is full, the guest waits, or the next batch
//! is dropped and its events are counted. Batches are recycled, so the steady state allocates
//! nothing.
//!
//! The age of a buffered event is bounded too. The guest thread hands a batch over when it is full
//! or old, at the next event. If no event follows, the writer thread takes the batch after
//! [`IDLE`].
//!
//! Lock order: the writer thread only tries to take the auditor's lock, because the holder of that
//! lock may be waiting for the writer thread.

use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::audit::writer::batch::{Batch, RawEvent};
use crate::audit::writer::ruling_cache::CachedRuling;
use crate::audit::writer::{Auditor, Sink};

/// The time without a batch after which the writer thread takes the buffered events. Together with
/// the tenth of a second after which the guest thread hands a batch over, it is less than half of
/// the bound that [`Auditor::write_behind`] documents.
const IDLE: Duration = Duration::from_millis(250);
/// The time until the writer thread tries to take the lock again.
const RETRY: Duration = Duration::from_millis(5);

/// The behavior when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The guest waits.
    Wait,
    /// Events are dropped and counted.
    Drop,
}

/// The guest side of the buffer.
///
/// An error of the sink is returned at a later event and by a flush.
pub(crate) struct WriteBehind {
    batch: Batch,
    /// The number of batches that were started.
    begun: u64,
    queue: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    full: Full,
    dropped: u64,
    shared: Arc<SharedState>,
}

/// The state that both threads share.
#[derive(Default)]
pub(crate) struct SharedState {
    has_failed: AtomicBool,
    /// The number of events that the sink failed to write.
    lost: AtomicU64,
    /// Recycled batches, a stack: the last one is most likely still in the processor cache.
    recycled: Mutex<Vec<Batch>>,
    /// The auditor whose events are written.
    auditor: OnceLock<Weak<Auditor>>,
    /// The last batch of an auditor that the writer thread itself dropped.
    last: Mutex<Option<Batch>>,
}

impl SharedState {
    /// Lets the writer thread take events of `auditor`.
    pub(crate) fn set_auditor(&self, auditor: &Arc<Auditor>) {
        let _ = self.auditor.set(Arc::downgrade(auditor));
    }

    fn last(&self) -> MutexGuard<'_, Option<Batch>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recycled(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.recycled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message to the writer thread.
pub(crate) enum Message {
    Batch(Batch),
    Flush(SyncSender<io::Result<()>>),
}

/// The receiving end of the queue.
pub(crate) type Messages = Receiver<Message>;

/// The events that the writer thread took: the messages in the queue, and the current batch unless
/// it is empty.
#[derive(Default)]
pub(crate) struct Taken {
    messages: Vec<Message>,
    batch: Option<Batch>,
}

impl WriteBehind {
    /// Starts a thread that passes events of `guest` to `sink`, with a queue of `batches`.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(crate) fn new(
        sink: impl Sink + 'static,
        guest: Box<str>,
        batches: NonZeroUsize,
        full: Full,
    ) -> io::Result<WriteBehind> {
        let (queue, messages) = sync_channel(batches.get());
        let shared = Arc::new(SharedState::default());
        let writer = Writer { sink, guest, failed: None, shared: Arc::clone(&shared) };
        let write = move || writer.run(&messages);
        let thread = thread::Builder::new().name("palisade-audit".to_owned()).spawn(write)?;
        let (queue, thread) = (Some(queue), Some(thread));
        let mut behind = WriteBehind {
            batch: Batch::default(),
            begun: 0,
            queue,
            thread,
            full,
            dropped: 0,
            shared,
        };
        behind.begin(Batch::default());
        Ok(behind)
    }

    /// Buffers an event with the ruling `cached`.
    ///
    /// # Errors
    ///
    /// This event or an earlier one is lost.
    #[inline]
    pub(crate) fn push(
        &mut self,
        event: &RawEvent<'_>,
        cached: &mut CachedRuling,
    ) -> io::Result<()> {
        if self.shared.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier event could not be written"));
        }
        if self.batch.push(event, cached) { self.hand_over(self.full) } else { Ok(()) }
    }

    /// Replaces the current batch by `next`, an empty one, and returns it.
    fn begin(&mut self, mut next: Batch) -> Batch {
        self.begun += 1;
        next.set_number(self.begun);
        mem::replace(&mut self.batch, next)
    }

    /// Sends the current batch to the writer thread.
    #[cold]
    fn hand_over(&mut self, full: Full) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let next = self.shared.recycled().pop().unwrap_or_default();
        let batch = self.begin(next);
        let Some(queue) = &self.queue else { return Err(gone()) };
        match full {
            Full::Wait => queue.send(Message::Batch(batch)).map_err(|_| gone()),
            Full::Drop => match queue.try_send(Message::Batch(batch)) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(Message::Batch(mut batch))) => {
                    self.dropped += batch.len() as u64;
                    batch.clear();
                    self.begin(batch);
                    Ok(())
                }
                Err(TrySendError::Full(Message::Flush(_)) | TrySendError::Disconnected(_)) => {
                    Err(gone())
                }
            },
        }
    }

    /// Returns the state shared with the writer thread.
    pub(crate) fn shared(&self) -> Arc<SharedState> {
        Arc::clone(&self.shared)
    }

    /// Takes the current batch, and the messages that were sent before it.
    pub(crate) fn take(&mut self, queue: &Messages) -> Taken {
        if self.batch.len() == 0 {
            return Taken::default();
        }
        let messages = queue.try_iter().collect();
        let next = self.shared.recycled().pop().unwrap_or_default();
        Taken { messages, batch: Some(self.begin(next)) }
    }

    /// Whether the caller is the writer thread.
    fn is_writer_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| it.thread().id() == thread::current().id())
    }

    /// Writes all buffered events and flushes the sink.
    ///
    /// # Errors
    ///
    /// Those of the sink, including earlier ones.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_writer_thread() {
            // The writer thread dropped the last reference to the auditor. It writes the last batch
            // after all others.
            let batch = self.begin(Batch::default());
            *self.shared.last() = Some(batch);
            return Ok(());
        }
        self.hand_over(Full::Wait)?;
        let Some(queue) = &self.queue else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (done, result) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        queue.send(Message::Flush(done)).map_err(gone)?;
        result.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// The number of events that were dropped or failed to be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The writer thread.
struct Writer<S> {
    sink: S,
    guest: Box<str>,
    /// The error after which no event is written, until a flush has returned it.
    failed: Option<io::Error>,
    shared: Arc<SharedState>,
}

impl<S: Sink> Writer<S> {
    /// Writes until the guest side is dropped.
    fn run(mut self, messages: &Messages) {
        let mut timeout = IDLE;
        loop {
            match messages.recv_timeout(timeout) {
                Ok(message) => {
                    self.handle(message);
                    timeout = IDLE;
                }
                Err(RecvTimeoutError::Timeout) => timeout = self.take(messages),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let last = self.shared.last().take();
        if let Some(batch) = last {
            self.write(batch);
        }
    }

    /// Writes the current batch of the guest side. Returns the timeout for the next message.
    fn take(&mut self, messages: &Messages) -> Duration {
        let Some(auditor) = self.shared.auditor.get().and_then(Weak::upgrade) else { return IDLE };
        let taken = auditor.take_recorded(messages);
        // This may be the last reference.
        drop(auditor);
        let Some(Taken { messages, batch }) = taken else { return RETRY };
        for message in messages {
            self.handle(message);
        }
        if let Some(batch) = batch {
            self.write(batch);
        }
        IDLE
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Batch(batch) => self.write(batch),
            Message::Flush(done) => {
                let result = self.failed.take().map_or_else(|| self.sink.flush(), Err);
                let _ = done.send(result);
            }
        }
    }

    /// Passes a batch to the sink and flushes it, so that a reader can follow the log.
    fn write(&mut self, mut batch: Batch) {
        let Writer { sink, guest, failed, shared } = self;
        batch.unpack(guest, |event| {
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
        shared.recycled().push(batch);
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        // A caller that needs the error calls `flush`.
        if self.is_writer_thread() {
            return;
        }
        let _ = self.hand_over(Full::Wait);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
