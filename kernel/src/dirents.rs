//! Directory streams: a read-ahead buffer of directory entries, addressed by cookies.
//!
//! A [`Listing`] buffers a batch of entries of a filesystem. Entries that do not fit a guest's
//! buffer stay there for the next call, so that a listing takes linear time. A cookie that is not
//! in the buffer is passed to the filesystem, which reads from there.
//!
//! The buffer is valid for one epoch of the directory ([`Dir::epoch`]). After the epoch has changed
//! the entries are read again from the guest's position, so that a policy that is narrowed or
//! revoked during a listing also applies to entries that were read ahead.

use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Errno, FileType, Result, Stop, broken_contract, bug,
};

use crate::limits::Limits;
use crate::stream_slots::StreamSlot;

/// Whether a listing starts with `.` and `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dots {
    /// List `.` and `..` first.
    With,
    /// List the entries of the filesystem only.
    Without,
}

/// A directory entry, as it is returned to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name, including `.` and `..`.
    pub name: &'a str,
    /// The file type.
    pub kind: FileType,
    /// The inode number, never 0.
    pub ino: u64,
    /// The cookie of the next entry.
    pub next: u64,
}

/// The cookie after `.`. It has the top bit set, which no [`Cookie`] of a filesystem has, and is
/// not -1, which C's `telldir` returns for an error.
const AFTER_DOT: u64 = (1 << 63) + 1;
/// The cookie after `..`, where the entries of the filesystem start.
const AFTER_DOTS: u64 = (1 << 63) + 2;

/// The inode number of `.` and `..` in a directory whose `stat` is denied by a policy.
const INO_UNKNOWN: u64 = u64::MAX;

/// A batch of entries that was read from a filesystem.
#[derive(Default)]
pub(crate) struct Listing {
    entries: Vec<ListedEntry>,
    names: String,
    /// The index of the entry after the last one that was returned.
    at: usize,
    /// The epoch of the directory before the batch was read.
    epoch: u64,
}

struct ListedEntry {
    start: Cookie,
    next: Cookie,
    kind: FileType,
    ino: u64,
    name_end: usize,
}

/// Calls `each` for the entries of `dir` from the cookie `from` on, until it breaks or the end.
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
            // The policy allows listing the directory but not `stat`.
            Err(Stop::Errno(Errno::Acces)) => INO_UNKNOWN,
            Err(stop) => return Err(stop.without_following()),
        };
        // `..` has the inode number of the directory itself: its parent is not disclosed.
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

/// A directory stream with a position of its own, without `.` and `..`. It keeps its directory
/// open.
pub struct DirStream {
    dir: DirRef,
    listing: Listing,
    /// The cookie after the buffered batch; `None` at the end.
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

    /// Returns whether the next entry has to be read and that can wait for a disk or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        let has_buffered = self.listing.at < self.listing.entries.len();
        let fetches = if has_buffered { self.is_outdated() } else { self.next.is_some() };
        fetches && self.dir.may_block()
    }

    fn is_outdated(&self) -> bool {
        self.listing.epoch != self.dir.epoch()
    }

    /// Drops entries that were buffered in another epoch; they are read again.
    fn drop_outdated(&mut self) {
        if self.is_outdated() {
            if let Some(entry) = self.listing.entries.get(self.listing.at) {
                self.next = Some(entry.start);
            }
            self.listing.clear();
        }
    }

    /// Reads the next batch if no buffered entry is left.
    ///
    /// # Errors
    ///
    /// - Those of [`Dir::read_dir`](palisade_vfs::Dir::read_dir).
    pub fn fetch(&mut self) -> Result<()> {
        self.drop_outdated();
        let Some(next) = self.next.filter(|_| self.listing.at >= self.listing.entries.len()) else {
            return Ok(());
        };
        self.listing.fill(&*self.dir, next)?;
        self.next = self.listing.entries.last().map(|last| last.next);
        if self.next.is_none() {
            // The end: free the buffer.
            self.listing = Listing::default();
        }
        Ok(())
    }

    /// Returns the next entry, or `None` at the end.
    ///
    /// # Errors
    ///
    /// - Those of [`Dir::read_dir`](palisade_vfs::Dir::read_dir).
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
        // Cookie 0 rewinds: the directory is read again.
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

    /// Returns the index of the buffered entry at the cookie `from`. It is usually `self.at`.
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
        // Loaded before the entries are read, so that a concurrent policy change invalidates them.
        self.epoch = dir.epoch();
        let (mut start, mut is_broken) = (from, false);
        dir.read_dir(from, &mut |entry| {
            // The top bit would collide with the cookies of `.` and `..`; a cookie that does not
            // advance would loop forever.
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
