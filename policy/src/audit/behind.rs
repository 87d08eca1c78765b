//! Writing behind: a sink on a thread of its own, so that the guest does not wait while lines are
//! made and written.
//!
//! What waits is bounded: so many batches of 16,384 events, or of 1 MiB of paths. When all are
//! taken, the guest waits for one; or, if that was asked for, the next batch is dropped whole and
//! its events are counted. Batches are used again, so that in the long run nothing is allocated.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::auditor::Sink;
use super::event::{Event, To};
use super::ruling::Ruling;

/// Events that are handed over together. To wake a thread takes as long as some thousands of
/// events, where its processor sleeps and has to be called by a hypervisor.
const BATCH_EVENTS: usize = 16 * 1024;
/// Bytes of their texts after which fewer are handed over.
const BATCH_BYTES: usize = 1024 * 1024;
/// Nanoseconds after which fewer are handed over too, at the next event.
const BATCH_NANOS: u64 = 100_000_000;

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
    rulings: Vec<Arc<Ruling>>,
    runs: Vec<Run>,
    guests: Vec<Box<str>>,
    texts: String,
    /// The second names of those that have one, in their order.
    seconds: Vec<SavedTo>,
    /// The bytes of those that tell them, in their order.
    bytes: Vec<u64>,
    /// The index of the last event's.
    last_ruling: usize,
}

/// An event before its paths are written out.
pub(super) struct Said<'a> {
    pub(super) seq: u64,
    pub(super) nanos: u64,
    pub(super) guest: &'a str,
    pub(super) ruling: &'a Arc<Ruling>,
    pub(super) bytes: Option<u64>,
}

/// What differs from event to event.
struct Saved {
    /// An index.
    ruling: u32,
    path_len: u32,
    held: u32,
    has_second: bool,
    has_bytes: bool,
}

/// Events of one guest at one time, whose numbers follow each other.
struct Run {
    /// The index of the first.
    first: usize,
    seq: u64,
    nanos: u64,
    /// An index.
    guest: usize,
}

struct SavedTo {
    len: u32,
    held: u32,
}

/// So many rulings are looked at before one is kept again.
const RULINGS_IN_TURNS: usize = 8;

impl Batch {
    /// Keeps an event whose paths `path` and `to` write out; each answers how many names lead to
    /// what is held.
    ///
    /// Answers whether that is to be handed over: it has grown large enough, or old.
    #[inline]
    fn push(
        &mut self,
        said: &Said<'_>,
        path: impl FnOnce(&mut String) -> usize,
        to: Option<impl FnOnce(&mut String) -> usize>,
    ) -> bool {
        let ruling = self.ruling(said.ruling);
        let is_old = !self.goes_on(said) && self.begin_run(said);
        let began = self.texts.len();
        let held = short(path(&mut self.texts));
        let path_len = short(self.texts.len() - began);
        let (has_second, has_bytes) = (to.is_some(), said.bytes.is_some());
        if let Some(to) = to {
            let began = self.texts.len();
            let held = short(to(&mut self.texts));
            self.seconds.push(SavedTo { len: short(self.texts.len() - began), held });
        }
        if let Some(bytes) = said.bytes {
            self.bytes.push(bytes);
        }
        self.events.push(Saved { ruling, path_len, held, has_second, has_bytes });
        is_old || self.events.len() >= BATCH_EVENTS || self.texts.len() >= BATCH_BYTES
    }

    /// Where `ruling` is kept.
    #[inline]
    fn ruling(&mut self, ruling: &Arc<Ruling>) -> u32 {
        match self.rulings.get(self.last_ruling) {
            Some(last) if Arc::ptr_eq(last, ruling) => {}
            Some(_) | None => self.find_ruling(ruling),
        }
        short(self.last_ruling)
    }

    fn find_ruling(&mut self, ruling: &Arc<Ruling>) {
        let mut recent = self.rulings.iter().enumerate().rev().take(RULINGS_IN_TURNS);
        let at = recent.find(|(_, known)| Arc::ptr_eq(known, ruling)).map(|(at, _)| at);
        self.last_ruling = at.unwrap_or_else(|| {
            self.rulings.push(Arc::clone(ruling));
            self.rulings.len() - 1
        });
    }

    /// Whether an event belongs to the last run.
    #[inline]
    fn goes_on(&self, said: &Said<'_>) -> bool {
        let (Some(run), Some(guest)) = (self.runs.last(), self.guests.last()) else { return false };
        let past = (self.events.len() - run.first) as u64;
        let is_next = run.nanos == said.nanos && run.seq.wrapping_add(past) == said.seq;
        is_next && is_same(guest, said.guest)
    }

    /// Begins a run with an event. Answers whether the first run began long before.
    fn begin_run(&mut self, said: &Said<'_>) -> bool {
        if !self.guests.last().is_some_and(|known| is_same(known, said.guest)) {
            self.guests.push(said.guest.into());
        }
        let (seq, nanos, guest) = (said.seq, said.nanos, self.guests.len() - 1);
        self.runs.push(Run { first: self.events.len(), seq, nanos, guest });
        let began = self.runs.first().map_or(nanos, |run| run.nanos);
        nanos.saturating_sub(began) >= BATCH_NANOS
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
        let ends = self.runs.iter().skip(1).map(|run| run.first).chain([self.events.len()]);
        let runs = self.runs.iter().zip(ends).flat_map(|(run, end)| {
            let events = self.events.get(run.first..end).unwrap_or_default();
            let seqs = (0..).map(|past| run.seq.wrapping_add(past));
            events.iter().zip(seqs).map(move |(saved, seq)| (run, saved, seq))
        });
        runs.filter_map(move |(run, saved, seq)| {
            let ruling = self.rulings.get(saved.ruling as usize)?;
            let path = take(saved.path_len);
            let to = if saved.has_second { seconds.next() } else { None };
            Some(Event {
                seq,
                nanos: run.nanos,
                guest: self.guests.get(run.guest).map_or("", |guest| guest),
                path,
                held: saved.held as usize,
                to: to.map(|to| To { path: take(to.len), held: to.held as usize }),
                ruling,
                bytes: if saved.has_bytes { bytes.next() } else { None },
            })
        })
    }

    fn clear(&mut self) {
        self.events.clear();
        self.rulings.clear();
        self.runs.clear();
        self.guests.clear();
        self.texts.clear();
        self.seconds.clear();
        self.bytes.clear();
        self.last_ruling = 0;
    }
}

/// Whether two texts are the same. Comparing an empty one, which is nowhere in memory, can take a
/// processor very long.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Lengths of texts and numbers of names, which are far below this.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl WriteBehind {
    /// Gives events to `sink`; at most `batches` of 16,384 wait.
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

    /// This, which leaves one that takes nothing any more.
    pub(super) fn take(&mut self) -> WriteBehind {
        let ended = WriteBehind {
            batch: Batch::default(),
            to: None,
            thread: None,
            full: self.full,
            dropped: 0,
            shared: Arc::default(),
        };
        std::mem::replace(self, ended)
    }

    /// Takes an event, as [`Sink::event`], of which `path` and `to` write out the paths, and answer
    /// how many names lead to what is held.
    #[inline]
    pub(super) fn collect(
        &mut self,
        said: &Said<'_>,
        path: impl FnOnce(&mut String) -> usize,
        to: Option<impl FnOnce(&mut String) -> usize>,
    ) -> io::Result<()> {
        if self.shared.has_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier event could not be written"));
        }
        if self.batch.push(said, path, to) { self.hand_over(self.full) } else { Ok(()) }
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

impl Sink for WriteBehind {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Event { seq, nanos, guest, path, held, to, ruling, bytes } = *event;
        let add = |text: &mut String, path: &str, held| {
            text.push_str(path);
            held
        };
        let to = to.map(|to| move |text: &mut String| add(text, to.path, to.held));
        let said = Said { seq, nanos, guest, ruling, bytes };
        self.collect(&said, |text| add(text, path, held), to)
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
