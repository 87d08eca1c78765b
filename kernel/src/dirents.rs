//! Directory streams: linear, and true to their cookies.
//!
//! A filesystem hands its entries over in batches; what a guest's small buffer does not take stays
//! here until the guest comes back for it, so that a listing reads each block once. A guest that
//! comes back with any other cookie than the next one is served from the filesystem again.
//!
//! Entries are buffered with the directory's epoch ([`Dir::epoch`]). Under another epoch the buffer
//! is read again from where the guest is: a policy that was narrowed or revoked in the middle of a
//! listing holds for the entries that were read ahead too.

use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Errno, FileType, Result, Stop, broken_contract, bug,
};

use crate::limits::Limits;
use crate::stream_slots::StreamSlot;

/// Whether a listing begins with `.` and `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dots {
    /// It does.
    With,
    /// It does not.
    Without,
}

/// One entry, as a guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name; `.` and `..` too.
    pub name: &'a str,
    /// Its type.
    pub kind: FileType,
    /// Its node's number, never 0.
    pub ino: u64,
    /// Where to go on behind it.
    pub next: u64,
}

/// Behind `.`: with the top bit set, which no filesystem's cookie has, and not -1, which C's
/// `telldir` has for an error.
const AFTER_DOT: u64 = (1 << 63) + 1;
/// Behind `..`, where the filesystem's own stream starts.
const AFTER_DOTS: u64 = (1 << 63) + 2;

/// The number of a directory whose number is not told.
const INO_UNKNOWN: u64 = u64::MAX;

/// A batch of entries that a filesystem has handed over.
#[derive(Default)]
pub(crate) struct Listing {
    entries: Vec<ListedEntry>,
    names: String,
    /// The entry that was to be next when the guest was last here.
    at: usize,
    /// The directory's epoch before the batch was read.
    epoch: u64,
}

struct ListedEntry {
    start: Cookie,
    next: Cookie,
    kind: FileType,
    ino: u64,
    name_end: usize,
}

/// Calls `each` for the entries of `dir` behind `from`, until it breaks or the end.
pub(crate) fn list(
    dir: &dyn Dir,
    listing: &mut Listing,
    from: u64,
    dots: Dots,
    each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
) -> Result<()> {
    let mut from = from;
    if dots == Dots::With && (from == 0 || from == AFTER_DOT) {
        let ino = match dir.stat(Descent::HERE) {
            Ok(stat) => stat.ino,
            // It may be listed, and not be looked at.
            Err(Stop::Errno(Errno::Acces)) => INO_UNKNOWN,
            Err(stop) => return Err(stop.without_following()),
        };
        // A directory does not know what lies above it, and a guest shall not.
        for (name, next) in [(".", AFTER_DOT), ("..", AFTER_DOTS)] {
            if name == "." && from == AFTER_DOT {
                continue;
            }
            let entry = DirEntry { name, kind: FileType::Dir, ino, next };
            if each(entry).is_break() {
                return Ok(());
            }
        }
        from = AFTER_DOTS;
    }
    let from = if from == AFTER_DOTS { Cookie::START } else { Cookie(from) };
    listing.serve(dir, from, each)
}

/// A directory's stream of its own, without `.` and `..`: it goes on from where it is, and holds
/// its directory.
pub struct DirStream {
    dir: DirRef,
    listing: Listing,
    /// Where the batch after the one that is held starts; `None` at the end.
    next: Option<Cookie>,
    _slot: StreamSlot,
}

impl DirStream {
    pub(crate) fn new(dir: DirRef, slot: StreamSlot) -> Self {
        let (listing, next) = (Listing::default(), Some(Cookie::START));
        DirStream { dir, listing, next, _slot: slot }
    }

    pub(crate) fn is_stream_of(&self, dir: &DirRef) -> bool {
        Arc::ptr_eq(&self.dir, dir)
    }

    /// Whether the next entry has to be fetched, and that can wait for a disk or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        let has_buffered = self.listing.at < self.listing.entries.len();
        let fetches = if has_buffered { self.is_outdated() } else { self.next.is_some() };
        fetches && self.dir.may_block()
    }

    fn is_outdated(&self) -> bool {
        self.listing.epoch != self.dir.epoch()
    }

    /// Drops the buffered entries if they are of another epoch: they are to be read again.
    fn drop_outdated(&mut self) {
        if self.is_outdated() {
            if let Some(entry) = self.listing.entries.get(self.listing.at) {
                self.next = Some(entry.start);
            }
            self.listing.clear();
        }
    }

    /// Fetches the next entries, if there is none to hand out.
    ///
    /// Errors: those of the directory.
    pub fn fetch(&mut self) -> Result<()> {
        self.drop_outdated();
        let Some(next) = self.next.filter(|_| self.listing.at >= self.listing.entries.len()) else {
            return Ok(());
        };
        self.listing.fill(&*self.dir, next)?;
        self.next = self.listing.entries.last().map(|last| last.next);
        if self.next.is_none() {
            // A stream at its end needs no buffer any more.
            self.listing = Listing::default();
        }
        Ok(())
    }

    /// The next entry; `None` at the end.
    ///
    /// Errors: those of the directory.
    pub fn next_entry(&mut self) -> Result<Option<DirEntry<'_>>> {
        self.fetch()?;
        let at = self.listing.at;
        if at < self.listing.entries.len() {
            self.listing.at = at + 1;
        }
        Ok(self.listing.entry(at))
    }
}

impl Listing {
    fn entry(&self, at: usize) -> Option<DirEntry<'_>> {
        let entry = self.entries.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.entries.get(before));
        let start = start.map_or(0, |before| before.name_end);
        let name = self.names.get(start..entry.name_end);
        let name = name.unwrap_or_else(|| bug!(""; "a listing has no name {at}"));
        Some(DirEntry { name, kind: entry.kind, ino: entry.ino, next: entry.next.0 })
    }

    fn serve(
        &mut self,
        dir: &dyn Dir,
        from: Cookie,
        each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        // A listing from the start is a new look at the directory.
        let is_usable = from != Cookie::START && self.epoch == dir.epoch();
        let found = if is_usable { self.find(from) } else { None };
        let mut at = match found {
            Some(at) => at,
            None => {
                self.fill(dir, from)?;
                0
            }
        };
        loop {
            while let Some(entry) = self.entry(at) {
                if each(entry).is_break() {
                    self.at = at;
                    return Ok(());
                }
                at += 1;
            }
            let Some(last) = self.entries.last() else { return Ok(()) };
            let next = last.next;
            self.fill(dir, next)?;
            at = 0;
        }
    }

    /// The entry that starts at `from`: most often the one that was to be next.
    fn find(&self, from: Cookie) -> Option<usize> {
        let starts = |at: &usize| self.entries.get(*at).is_some_and(|entry| entry.start == from);
        (self.at..self.entries.len()).find(starts).or_else(|| (0..self.at).find(starts))
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.at = 0;
    }

    fn fill(&mut self, dir: &dyn Dir, from: Cookie) -> Result<()> {
        self.clear();
        // Before the entries are read: a policy that is narrowed meanwhile is noticed afterwards.
        self.epoch = dir.epoch();
        let (mut start, mut is_broken) = (from, false);
        dir.read_dir(from, &mut |entry| {
            // Such a position would lead to `.` and `..`, or to the same entry for ever.
            if entry.next == start || entry.next.0 >> 63 != 0 {
                is_broken = true;
                return ControlFlow::Break(());
            }
            self.names.push_str(entry.name.as_str());
            self.entries.push(ListedEntry {
                start,
                next: entry.next,
                kind: entry.kind,
                ino: entry.ino,
                name_end: self.names.len(),
            });
            start = entry.next;
            let full = self.entries.len() >= Limits::LISTING_ENTRIES_MAX
                || self.names.len() >= Limits::LISTING_BYTES_MAX;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_broken {
            return Err(broken_contract("an entry of a directory has no position of its own"));
        }
        Ok(())
    }
}
