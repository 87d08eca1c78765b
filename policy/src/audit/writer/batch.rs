//! Events that are handed over together, as little of each as can be.
//!
//! The thread that writes runs on another processor, to which every byte has to travel. So what is
//! the same for many events is there once, a path is written out only on the other side, and an
//! event is its names and eight bytes.

use std::sync::Arc;

use bitflags::bitflags;
use palisade_vfs::bug;

use crate::audit::event::{Event, To};
use crate::audit::event_path::{self, At};
use crate::audit::handle_path::Trail;
use crate::audit::ruling::{Known, Ruling};

/// Events that are handed over together. To wake a thread takes as long as some thousands of
/// events, where its processor sleeps and has to be called by a hypervisor.
const EVENTS_MAX: usize = 16 * 1024;
/// Bytes of their paths after which fewer are handed over.
const BYTES_MAX: usize = 1024 * 1024;
/// Nanoseconds after which fewer are handed over too, at the next event.
const NANOS_MAX: u64 = 100_000_000;

/// Events in their order. What some of them have beside is in lists of its own, in the same order.
#[derive(Default)]
pub(crate) struct Batch {
    /// Which one it is, counted from 1.
    number: u64,
    events: Vec<Saved>,
    runs: Vec<Run>,
    rulings: Vec<Arc<Ruling>>,
    trails: Vec<Arc<Trail>>,
    /// Bytes that the paths of `trails` have.
    trail_bytes: usize,
    /// What leads on from the trails.
    names: String,
    seconds: Vec<Second>,
    /// The bytes that were transferred.
    bytes: Vec<u64>,
}

/// An event before its paths are written out.
pub(crate) struct Said<'a> {
    pub(crate) seq: u64,
    pub(crate) nanos: u64,
    pub(crate) at: &'a At<'a>,
    pub(crate) to: Option<&'a At<'a>>,
    pub(crate) bytes: Option<u64>,
}

/// What differs from event to event.
struct Saved {
    /// An index.
    ruling: u16,
    has: Has,
    names_len: u32,
}

bitflags! {
    /// What an event has.
    #[derive(Clone, Copy)]
    struct Has: u16 {
        /// Its names lead to what is held.
        const HELD = 1 << 0;
        const SECOND = 1 << 1;
        const BYTES = 1 << 2;
    }
}

/// Events at one time and through one directory, whose numbers follow each other.
struct Run {
    /// The index of the first.
    first: usize,
    seq: u64,
    nanos: u64,
    /// An index.
    trail: usize,
}

/// A second name.
struct Second {
    /// An index.
    trail: usize,
    names_len: u32,
    is_held: bool,
}

/// So many trails are looked at before one is kept again.
const TRAILS_IN_TURNS: usize = 8;

impl Batch {
    /// Keeps an event. Answers whether all are to be handed over: they have grown many, or old.
    #[inline]
    pub(crate) fn push(&mut self, said: &Said<'_>, known: &mut Known) -> bool {
        let is_old = !self.goes_on(said) && self.begin_run(said);
        let ruling = match known.kept_in(self.number) {
            Some(at) => at,
            None => self.keep_ruling(known),
        };
        let Said { at, to, bytes, .. } = *said;
        let mut has = Has::empty();
        has.set(Has::HELD, at.beyond.is_held());
        let names_len = self.keep_names(at);
        if let Some(to) = to {
            has |= Has::SECOND;
            self.keep_second(to);
        }
        if let Some(bytes) = bytes {
            has |= Has::BYTES;
            self.bytes.push(bytes);
        }
        self.events.push(Saved { ruling, has, names_len });
        is_old
            || self.events.len() >= EVENTS_MAX
            || self.names.len() + self.trail_bytes >= BYTES_MAX
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether an event belongs to the last run.
    #[inline]
    fn goes_on(&self, said: &Said<'_>) -> bool {
        let Some(run) = self.runs.last() else { return false };
        let past = (self.events.len() - run.first) as u64;
        let is_next = run.nanos == said.nanos && run.seq.wrapping_add(past) == said.seq;
        is_next && self.is_trail(run.trail, said.at.trail)
    }

    /// Begins a run with an event. Answers whether the first run began long before.
    #[cold]
    fn begin_run(&mut self, said: &Said<'_>) -> bool {
        let Said { seq, nanos, .. } = *said;
        let trail = self.keep_trail(said.at.trail);
        self.runs.push(Run { first: self.events.len(), seq, nanos, trail });
        let began = self.runs.first().map_or(nanos, |run| run.nanos);
        nanos.saturating_sub(began) >= NANOS_MAX
    }

    #[cold]
    fn keep_ruling(&mut self, known: &mut Known) -> u16 {
        // There are fewer than events.
        let at = u16::try_from(self.rulings.len());
        let at = at.unwrap_or_else(|_| bug!(u16::MAX; "a batch has too many rulings"));
        self.rulings.push(Arc::clone(&known.ruling));
        known.keep_in(self.number, at);
        at
    }

    #[inline]
    fn is_trail(&self, at: usize, trail: &Arc<Trail>) -> bool {
        self.trails.get(at).is_some_and(|known| Arc::ptr_eq(known, trail))
    }

    /// Where `trail` is kept.
    fn keep_trail(&mut self, trail: &Arc<Trail>) -> usize {
        let mut recent = (0..self.trails.len()).rev().take(TRAILS_IN_TURNS);
        recent.find(|at| self.is_trail(*at, trail)).unwrap_or_else(|| {
            self.trail_bytes += trail.rendered_len();
            self.trails.push(Arc::clone(trail));
            self.trails.len() - 1
        })
    }

    #[inline]
    fn keep_names(&mut self, at: &At<'_>) -> u32 {
        let names = at.beyond.names();
        self.names.push_str(names);
        // A path is far shorter.
        u32::try_from(names.len()).unwrap_or_else(|_| bug!(u32::MAX; "a path is too long"))
    }

    fn keep_second(&mut self, to: &At<'_>) {
        let last = self.runs.last().map(|run| run.trail).filter(|at| self.is_trail(*at, to.trail));
        let trail = last.unwrap_or_else(|| self.keep_trail(to.trail));
        let names_len = self.keep_names(to);
        self.seconds.push(Second { trail, names_len, is_held: to.beyond.is_held() });
    }

    /// Tells `each` the events, as they were, of `guest`.
    pub(crate) fn tell(&self, guest: &str, mut each: impl FnMut(&Event<'_>)) {
        let mut names = self.names.as_str();
        let mut take = move |len: u32| {
            let split = names.split_at_checked(len as usize);
            let (taken, rest) = split.unwrap_or_else(|| bug!(("", ""); "a batch lacks names"));
            names = rest;
            taken
        };
        let (mut seconds, mut bytes) = (self.seconds.iter(), self.bytes.iter().copied());
        let (mut path, mut second_path) = (String::new(), String::new());
        let ends = self.runs.iter().skip(1).map(|run| run.first).chain([self.events.len()]);
        for (run, end) in self.runs.iter().zip(ends) {
            let Some(trail) = self.trails.get(run.trail) else {
                bug!((); "a run of records has no trail");
                continue;
            };
            path.clear();
            trail.render(&mut path);
            let trail_len = path.len();
            let saved = self.events.get(run.first..end);
            let saved = saved.unwrap_or_else(|| bug!(&[]; "a run has no records"));
            for (saved, past) in saved.iter().zip(0..) {
                let Some(ruling) = self.rulings.get(usize::from(saved.ruling)) else {
                    bug!((); "a record has no ruling");
                    continue;
                };
                path.truncate(trail_len);
                let is_held = saved.has.contains(Has::HELD);
                let held = event_path::finish(&mut path, trail, take(saved.names_len), is_held);
                let second = if saved.has.contains(Has::SECOND) { seconds.next() } else { None };
                let to = second.and_then(|second| {
                    let (trail, names) = (self.trails.get(second.trail)?, take(second.names_len));
                    Some(event_path::write(&mut second_path, trail, names, second.is_held))
                });
                each(&Event {
                    seq: run.seq.wrapping_add(past),
                    nanos: run.nanos,
                    guest,
                    path: &path,
                    held,
                    to: to.map(|held| To { path: &second_path, held }),
                    ruling,
                    bytes: if saved.has.contains(Has::BYTES) { bytes.next() } else { None },
                });
            }
        }
    }

    /// That this, which is empty, is the `number`th now.
    pub(crate) fn begin(&mut self, number: u64) {
        self.number = number;
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.runs.clear();
        self.rulings.clear();
        self.trails.clear();
        self.trail_bytes = 0;
        self.names.clear();
        self.seconds.clear();
        self.bytes.clear();
    }
}
