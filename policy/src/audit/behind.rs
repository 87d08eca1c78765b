//! Writing behind: a sink on a thread of its own, so that the guest does not wait while lines are
//! made and written.
//!
//! What waits is bounded: so many batches of 512 events. When all are taken, the guest waits for
//! one; or, if that was asked for, the next batch is dropped whole and its events are counted.
//! Batches are used again, so that in the long run nothing is allocated.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use palisade_vfs::{Errno, Rights};

use super::auditor::Sink;
use super::event::{Act, Decision, Event, HowDecided, To};
use crate::{Place, RuleId};

/// Events that are handed over together.
const BATCH_EVENTS: usize = 512;
/// Bytes of their texts after which fewer are handed over.
const BATCH_BYTES: usize = 64 * 1024;

/// What happens when all batches wait to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// The guest waits for one.
    Wait,
    /// Events are dropped, and counted.
    Drop,
}

/// A sink that gives its events to another one on a thread of its own.
///
/// An error of the other one is told at a later event, and when it is flushed.
pub struct WriteBehind {
    batch: Batch,
    to: Option<SyncSender<Order>>,
    emptied: Receiver<Batch>,
    thread: Option<JoinHandle<()>>,
    full: Full,
    dropped: u64,
    shared: Arc<Shared>,
}

/// What the thread tells.
#[derive(Default)]
struct Shared {
    has_failed: AtomicBool,
    /// Events that the other sink did not take.
    lost: AtomicU64,
}

enum Order {
    Batch(Batch),
    Flush(SyncSender<io::Result<()>>),
}

/// Events, with their texts one after the other. The other thread runs on another processor, to
/// which every byte has to travel; so events are kept small.
#[derive(Default)]
struct Batch {
    events: Vec<Saved>,
    texts: String,
    places: Vec<Place>,
}

/// An event without what it borrows, which is in its batch.
struct Saved {
    seq: u64,
    nanos: u64,
    /// [`NO_BYTES`] if there are none to tell.
    bytes: u64,
    act: Act,
    wanted: Rights,
    missing: Rights,
    rule: Option<RuleId>,
    guest_len: u32,
    path_len: u32,
    held: u32,
    to: Option<SavedTo>,
    /// An index, or [`NO_PLACE`].
    place: u32,
    decision: Decision,
    how: HowDecided,
    result: Result<(), Errno>,
    widens: bool,
    same: bool,
}

struct SavedTo {
    len: u32,
    held: u32,
}

/// More than anything can transfer.
const NO_BYTES: u64 = u64::MAX;
/// More than a batch has.
const NO_PLACE: u32 = u32::MAX;

impl Batch {
    fn push(&mut self, event: &Event<'_>) {
        self.texts.push_str(event.guest);
        self.texts.push_str(event.path);
        let to = event.to.map(|to| {
            self.texts.push_str(to.path);
            SavedTo { len: short(to.path.len()), held: short(to.held) }
        });
        let place = event.place.map_or(NO_PLACE, |place| self.place(place));
        self.events.push(Saved {
            seq: event.seq,
            nanos: event.nanos,
            bytes: event.bytes.unwrap_or(NO_BYTES),
            act: event.act,
            wanted: event.wanted,
            missing: event.missing,
            rule: event.rule,
            guest_len: short(event.guest.len()),
            path_len: short(event.path.len()),
            held: short(event.held),
            to,
            place,
            decision: event.decision,
            how: event.how,
            result: event.result,
            widens: event.widens,
            same: event.same,
        });
    }

    /// Where `place` is kept. What is told is mostly decided by few rules, one after the other.
    fn place(&mut self, place: &Place) -> u32 {
        let is_it = |known: &Place| {
            let same_file = match (&known.file, &place.file) {
                (Some(known), Some(file)) => Arc::ptr_eq(known, file),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            known.line == place.line && same_file
        };
        if !self.places.last().is_some_and(is_it) {
            self.places.push(place.clone());
        }
        short(self.places.len() - 1)
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.texts.len() >= BATCH_BYTES
    }

    /// The events, as they were.
    fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let mut texts = self.texts.as_str();
        let mut take = move |len: u32| {
            let (text, rest) = texts.split_at_checked(len as usize).unwrap_or_default();
            texts = rest;
            text
        };
        self.events.iter().map(move |saved| Event {
            seq: saved.seq,
            nanos: saved.nanos,
            guest: take(saved.guest_len),
            act: saved.act,
            path: take(saved.path_len),
            held: saved.held as usize,
            to: saved.to.as_ref().map(|to| To { path: take(to.len), held: to.held as usize }),
            wanted: saved.wanted,
            decision: saved.decision,
            how: saved.how,
            missing: saved.missing,
            widens: saved.widens,
            rule: saved.rule,
            place: self.places.get(saved.place as usize),
            result: saved.result,
            same: saved.same,
            bytes: (saved.bytes != NO_BYTES).then_some(saved.bytes),
        })
    }

    fn clear(&mut self) {
        self.events.clear();
        self.texts.clear();
        self.places.clear();
    }
}

/// Lengths of texts and numbers of names, which are far below this.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl WriteBehind {
    /// Gives events to `sink`; at most `batches` of 512 wait.
    ///
    /// Errors: no thread can be had.
    pub fn new(
        sink: impl Sink + 'static,
        batches: NonZeroUsize,
        full: Full,
    ) -> io::Result<WriteBehind> {
        let (to, orders) = sync_channel(batches.get());
        // Room for those that wait, the one that is written and the one that is filled.
        let (give_back, emptied) = sync_channel(batches.get() + 2);
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let name = "palisade-audit".to_owned();
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || write_all(sink, &orders, &give_back, &told))?;
        Ok(WriteBehind {
            batch: Batch::default(),
            to: Some(to),
            emptied,
            thread: Some(thread),
            full,
            dropped: 0,
            shared,
        })
    }

    /// Hands over what was collected, and waits for room if that is asked for.
    fn hand_over(&mut self, full: Full) -> io::Result<()> {
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let next = self.emptied.try_recv().unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, next);
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        match full {
            Full::Wait => to.send(Order::Batch(batch)).map_err(|_| gone()),
            Full::Drop => match to.try_send(Order::Batch(batch)) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(Order::Batch(mut batch))) => {
                    self.dropped += batch.events.len() as u64;
                    batch.clear();
                    self.batch = batch;
                    Ok(())
                }
                Err(TrySendError::Full(Order::Flush(_)) | TrySendError::Disconnected(_)) => {
                    Err(gone())
                }
            },
        }
    }
}

fn write_all(
    mut sink: impl Sink,
    orders: &Receiver<Order>,
    give_back: &SyncSender<Batch>,
    shared: &Shared,
) {
    let mut failed = None;
    for order in orders {
        match order {
            Order::Batch(mut batch) => {
                for event in batch.events() {
                    if failed.is_none() {
                        failed = sink.event(&event).err();
                    }
                    if failed.is_some() {
                        shared.lost.fetch_add(1, Ordering::Relaxed);
                        shared.has_failed.store(true, Ordering::Relaxed);
                    }
                }
                batch.clear();
                // There is room, and who filled it may be gone.
                let _ = give_back.try_send(batch);
            }
            Order::Flush(done) => {
                let answer = failed.take().map_or_else(|| sink.flush(), Err);
                let _ = done.send(answer);
            }
        }
    }
}

impl Sink for WriteBehind {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if self.shared.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier event could not be written"));
        }
        self.batch.push(event);
        if self.batch.is_full() { self.hand_over(self.full) } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over(Full::Wait)?;
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let (done, answer) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        to.send(Order::Flush(done)).map_err(gone)?;
        answer.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.shared.lost.load(Ordering::Relaxed)
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
