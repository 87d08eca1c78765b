//! A batch of packed events, the unit that is handed to the writer thread.
//!
//! The writer thread runs on another processor, and every byte of a batch is a cache miss there. So
//! the parts that many events share are stored once, a path is rendered only by the writer thread,
//! and an event takes eight bytes and the bytes of its names.

use std::sync::Arc;

use bitflags::bitflags;
use palisade_vfs::bug;

use crate::audit::event::{Event, Ruling, SecondPath};
use crate::audit::event_path::{self, EventPath};
use crate::audit::handle_path::HandlePath;
use crate::audit::writer::ruling_cache::CachedRuling;

/// The most events of a batch. Waking a thread on a sleeping virtual processor takes as long as
/// recording some thousands of events.
const EVENTS_MAX: usize = 16 * 1024;
/// The size of the paths of a batch, in bytes, from which it is handed over.
const BYTES_MAX: usize = 1024 * 1024;
/// The age of a batch, in nanoseconds, from which it is handed over at the next event.
const NANOS_MAX: u64 = 100_000_000;

/// Packed events in order. Optional parts are in separate lists, in the same order.
#[derive(Default)]
pub(crate) struct Batch {
    /// The sequence number of the batch, from 1.
    number: u64,
    events: Vec<PackedEvent>,
    runs: Vec<Run>,
    rulings: Vec<Arc<Ruling>>,
    handles: Vec<Arc<HandlePath>>,
    /// The length in bytes of the rendered paths of `handles`.
    handle_bytes: usize,
    /// The names of all events after the paths of their handles, concatenated.
    names: String,
    second_paths: Vec<PackedSecondPath>,
    /// The byte counts of reads and writes.
    bytes: Vec<u64>,
}

/// An event before its paths are rendered.
pub(crate) struct RawEvent<'a> {
    pub(crate) seq: u64,
    pub(crate) nanos: u64,
    pub(crate) path: &'a EventPath<'a>,
    pub(crate) to: Option<&'a EventPath<'a>>,
    pub(crate) bytes: Option<u64>,
}

/// The parts of an event that the next event does not share.
struct PackedEvent {
    /// An index into [`Batch::rulings`].
    ruling: u16,
    has: Has,
    names_len: u32,
}

bitflags! {
    /// The optional parts of an event.
    #[derive(Clone, Copy)]
    struct Has: u16 {
        /// The names are those of an open file.
        const OF_FILE = 1 << 0;
        const SECOND = 1 << 1;
        const BYTES = 1 << 2;
    }
}

/// Consecutive events with one timestamp and one directory handle.
struct Run {
    /// The index of the first event.
    first: usize,
    seq: u64,
    nanos: u64,
    /// An index into [`Batch::handles`].
    handle: usize,
}

/// The second path of an event.
struct PackedSecondPath {
    /// An index into [`Batch::handles`].
    handle: usize,
    names_len: u32,
    is_of_file: bool,
}

/// The number of recent handle paths that are searched before a path is added again.
const RECENT_HANDLES: usize = 8;

impl Batch {
    /// Adds an event. Returns whether the batch is full or old and has to be handed over.
    #[inline]
    pub(crate) fn push(&mut self, event: &RawEvent<'_>, cached: &mut CachedRuling) -> bool {
        let is_old = !self.continues_run(event) && self.begin_run(event);
        let ruling = match cached.index_in(self.number) {
            Some(index) => index,
            None => self.add_ruling(cached),
        };
        let RawEvent { path, to, bytes, .. } = *event;
        let mut has = Has::empty();
        has.set(Has::OF_FILE, path.suffix.is_of_file());
        let names_len = self.add_names(path);
        if let Some(to) = to {
            has |= Has::SECOND;
            self.add_second_path(to);
        }
        if let Some(bytes) = bytes {
            has |= Has::BYTES;
            self.bytes.push(bytes);
        }
        self.events.push(PackedEvent { ruling, has, names_len });
        is_old
            || self.events.len() >= EVENTS_MAX
            || self.names.len() + self.handle_bytes >= BYTES_MAX
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether an event belongs to the last run.
    #[inline]
    fn continues_run(&self, event: &RawEvent<'_>) -> bool {
        let Some(run) = self.runs.last() else { return false };
        let past = (self.events.len() - run.first) as u64;
        let is_next = run.nanos == event.nanos && run.seq.wrapping_add(past) == event.seq;
        is_next && self.is_handle(run.handle, event.path.handle)
    }

    /// Starts a run with an event. Returns whether the batch is old.
    #[cold]
    fn begin_run(&mut self, event: &RawEvent<'_>) -> bool {
        let RawEvent { seq, nanos, .. } = *event;
        let handle = self.add_handle(event.path.handle);
        self.runs.push(Run { first: self.events.len(), seq, nanos, handle });
        let began = self.runs.first().map_or(nanos, |run| run.nanos);
        nanos.saturating_sub(began) >= NANOS_MAX
    }

    #[cold]
    fn add_ruling(&mut self, cached: &mut CachedRuling) -> u16 {
        // A batch has fewer rulings than events.
        let index = u16::try_from(self.rulings.len());
        let index = index.unwrap_or_else(|_| bug!(u16::MAX; "a batch has too many rulings"));
        self.rulings.push(Arc::clone(&cached.ruling));
        cached.set_index_in(self.number, index);
        index
    }

    #[inline]
    fn is_handle(&self, index: usize, handle: &Arc<HandlePath>) -> bool {
        self.handles.get(index).is_some_and(|known| Arc::ptr_eq(known, handle))
    }

    /// Returns the index of `handle`, adding it unless it is a recent one.
    fn add_handle(&mut self, handle: &Arc<HandlePath>) -> usize {
        let mut recent = (0..self.handles.len()).rev().take(RECENT_HANDLES);
        recent.find(|index| self.is_handle(*index, handle)).unwrap_or_else(|| {
            self.handle_bytes += handle.rendered_len();
            self.handles.push(Arc::clone(handle));
            self.handles.len() - 1
        })
    }

    #[inline]
    fn add_names(&mut self, path: &EventPath<'_>) -> u32 {
        let names = path.suffix.names();
        self.names.push_str(names);
        // A path is at most 4 KiB long.
        u32::try_from(names.len()).unwrap_or_else(|_| bug!(u32::MAX; "a path is too long"))
    }

    fn add_second_path(&mut self, to: &EventPath<'_>) {
        let last = self.runs.last().map(|run| run.handle);
        let last = last.filter(|index| self.is_handle(*index, to.handle));
        let handle = last.unwrap_or_else(|| self.add_handle(to.handle));
        let names_len = self.add_names(to);
        let is_of_file = to.suffix.is_of_file();
        self.second_paths.push(PackedSecondPath { handle, names_len, is_of_file });
    }

    /// Calls `each` with every event, with rendered paths.
    pub(crate) fn unpack(&self, guest: &str, mut each: impl FnMut(&Event<'_>)) {
        let mut names = self.names.as_str();
        let mut take = move |len: u32| {
            let split = names.split_at_checked(len as usize);
            let (taken, rest) = split.unwrap_or_else(|| bug!(("", ""); "a batch lacks names"));
            names = rest;
            taken
        };
        let (mut second_paths, mut bytes) = (self.second_paths.iter(), self.bytes.iter().copied());
        let (mut path, mut second_path) = (String::new(), String::new());
        let ends = self.runs.iter().skip(1).map(|run| run.first).chain([self.events.len()]);
        for (run, end) in self.runs.iter().zip(ends) {
            let Some(handle) = self.handles.get(run.handle) else {
                bug!((); "a run of events has no handle path");
                continue;
            };
            path.clear();
            handle.render(&mut path);
            let handle_len = path.len();
            let events = self.events.get(run.first..end);
            let events = events.unwrap_or_else(|| bug!(&[]; "a run has no events"));
            for (event, past) in events.iter().zip(0..) {
                let Some(ruling) = self.rulings.get(usize::from(event.ruling)) else {
                    bug!((); "an event has no ruling");
                    continue;
                };
                path.truncate(handle_len);
                let is_of_file = event.has.contains(Has::OF_FILE);
                let names = take(event.names_len);
                let held = event_path::finish(&mut path, handle, names, is_of_file);
                let second =
                    if event.has.contains(Has::SECOND) { second_paths.next() } else { None };
                let to = second.and_then(|second| {
                    let (handle, names) =
                        (self.handles.get(second.handle)?, take(second.names_len));
                    Some(event_path::write(&mut second_path, handle, names, second.is_of_file))
                });
                each(&Event {
                    seq: run.seq.wrapping_add(past),
                    nanos: run.nanos,
                    guest,
                    path: &path,
                    held,
                    to: to.map(|held| SecondPath { path: &second_path, held }),
                    ruling,
                    bytes: if event.has.contains(Has::BYTES) { bytes.next() } else { None },
                });
            }
        }
    }

    /// Sets the sequence number of this (empty) batch.
    pub(crate) fn set_number(&mut self, number: u64) {
        self.number = number;
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.runs.clear();
        self.rulings.clear();
        self.handles.clear();
        self.handle_bytes = 0;
        self.names.clear();
        self.second_paths.clear();
        self.bytes.clear();
    }
}
