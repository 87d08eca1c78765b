//! Writing behind: a sink on a thread of its own, so that the guest does not wait while lines are
//! made and written.
//!
//! What waits is bounded: so many batches of 1,024 events. When all are taken, the guest waits for
//! one; or, if that was asked for, the next batch is dropped whole and its events are counted.
//! Batches are used again, so that in the long run nothing is allocated.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use palisade_vfs::{Errno, Rights};

use super::auditor::Sink;
use super::event::{Act, Decision, Event, HowDecided, To};
use crate::{Place, RuleId};

/// Events that are handed over together.
const BATCH_EVENTS: usize = 1024;
/// Bytes of their texts after which fewer are handed over.
const BATCH_BYTES: usize = 128 * 1024;

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

/// Events, with their texts one after the other. The other thread runs on another processor, to
/// which every byte has to travel; so what is the same for many events is there once.
#[derive(Default)]
struct Batch {
    events: Vec<Saved>,
    kinds: Vec<Kind>,
    texts: String,
    guests: Vec<Box<str>>,
    places: Vec<Place>,
    /// The second names of those that have one, in their order.
    seconds: Vec<SavedTo>,
    /// The bytes of those that tell them, in their order.
    bytes: Vec<u64>,
}

/// What differs from event to event.
struct Saved {
    nanos: u64,
    seq: u64,
    /// An index.
    kind: u32,
    path_len: u32,
    held: u32,
}

/// What few events of a batch do not share with another.
#[derive(PartialEq)]
struct Kind {
    act: Act,
    wanted: Rights,
    missing: Rights,
    rule: Option<RuleId>,
    /// An index, or [`NOWHERE`].
    place: u32,
    /// An index, or [`NOWHERE`] for the empty text.
    guest: u32,
    decision: Decision,
    how: HowDecided,
    result: Result<(), Errno>,
    widens: bool,
    same: bool,
    has_second: bool,
    has_bytes: bool,
}

struct SavedTo {
    len: u32,
    held: u32,
}

/// More than a batch has.
const NOWHERE: u32 = u32::MAX;
/// So many kinds are looked at before one is kept again: a guest does few things in turns.
const KINDS_IN_TURNS: usize = 8;

impl Batch {
    fn push(&mut self, event: &Event<'_>) {
        let kind = Kind {
            act: event.act,
            wanted: event.wanted,
            missing: event.missing,
            rule: event.rule,
            place: event.place.map_or(NOWHERE, |place| self.place(place)),
            guest: self.guest(event.guest),
            decision: event.decision,
            how: event.how,
            result: event.result,
            widens: event.widens,
            same: event.same,
            has_second: event.to.is_some(),
            has_bytes: event.bytes.is_some(),
        };
        let kind = self.kind(kind);
        self.texts.push_str(event.path);
        if let Some(to) = event.to {
            self.texts.push_str(to.path);
            self.seconds.push(SavedTo { len: short(to.path.len()), held: short(to.held) });
        }
        self.bytes.extend(event.bytes);
        let (path_len, held) = (short(event.path.len()), short(event.held));
        self.events.push(Saved { nanos: event.nanos, seq: event.seq, kind, path_len, held });
    }

    /// Where `kind` is kept.
    fn kind(&mut self, kind: Kind) -> u32 {
        let mut recent = self.kinds.iter().enumerate().rev().take(KINDS_IN_TURNS);
        let at = recent.find(|(_, known)| **known == kind).map(|(at, _)| at);
        short(at.unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        }))
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
        let mut recent = self.places.iter().enumerate().rev().take(KINDS_IN_TURNS);
        let at = recent.find(|(_, known)| is_it(known)).map(|(at, _)| at);
        short(at.unwrap_or_else(|| {
            self.places.push(place.clone());
            self.places.len() - 1
        }))
    }

    /// Where `guest` is kept: mostly all are the same.
    fn guest(&mut self, guest: &str) -> u32 {
        // Comparing with an empty text that is nowhere in memory can take a processor very long.
        if guest.is_empty() {
            return NOWHERE;
        }
        if self.guests.last().is_none_or(|known| **known != *guest) {
            self.guests.push(guest.into());
        }
        short(self.guests.len() - 1)
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
        let (mut seconds, mut bytes) = (self.seconds.iter(), self.bytes.iter().copied());
        self.events.iter().filter_map(move |saved| {
            let kind = self.kinds.get(saved.kind as usize)?;
            let path = take(saved.path_len);
            let to = if kind.has_second { seconds.next() } else { None };
            Some(Event {
                seq: saved.seq,
                nanos: saved.nanos,
                guest: self.guests.get(kind.guest as usize).map_or("", |guest| guest),
                act: kind.act,
                path,
                held: saved.held as usize,
                to: to.map(|to| To { path: take(to.len), held: to.held as usize }),
                wanted: kind.wanted,
                decision: kind.decision,
                how: kind.how,
                missing: kind.missing,
                widens: kind.widens,
                rule: kind.rule,
                place: self.places.get(kind.place as usize),
                result: kind.result,
                same: kind.same,
                bytes: if kind.has_bytes { bytes.next() } else { None },
            })
        })
    }

    fn clear(&mut self) {
        self.events.clear();
        self.kinds.clear();
        self.texts.clear();
        self.guests.clear();
        self.places.clear();
        self.seconds.clear();
        self.bytes.clear();
    }
}

/// Lengths of texts and numbers of names, which are far below this.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl WriteBehind {
    /// Gives events to `sink`; at most `batches` of 1,024 wait.
    ///
    /// Errors: no thread can be had.
    pub fn new(
        sink: impl Sink + 'static,
        batches: NonZeroUsize,
        full: Full,
    ) -> io::Result<WriteBehind> {
        let (to, orders) = sync_channel(batches.get());
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let name = "palisade-audit".to_owned();
        let thread =
            thread::Builder::new().name(name).spawn(move || write_all(sink, &orders, &told))?;
        Ok(WriteBehind {
            batch: Batch::default(),
            to: Some(to),
            thread: Some(thread),
            full,
            dropped: 0,
            shared,
        })
    }

    /// Hands over what was collected, and waits for room if that is asked for.
    fn hand_over(&mut self, full: Full) -> io::Result<()> {
        let Some(to) = &self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let next = self.shared.emptied().pop().unwrap_or_default();
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

fn write_all(mut sink: impl Sink, orders: &Receiver<Order>, shared: &Shared) {
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
                shared.emptied().push(batch);
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
