//! Directory streams: a read-ahead buffer of directory entries, addressed by cookies.
//!
//! A [`Listing`] buffers a batch of entries of a filesystem. Entries that do not fit a guest's
//! buffer stay there for the next call, so that a listing takes linear time.
//!
//! A [`NumberedListing`] is the stream of an open file description. Its cookies are small numbers
//! of a position table ([`Positions`]), valid as long as the description. A cookie that is not in
//! the buffer is converted to the filesystem's cookie, and the filesystem reads from there.
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
use crate::positions::Positions;
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
    /// The cookie of the position after this entry, at most `i32::MAX`, for the same open file
    /// description. 0 in a [`DirStream`], which has a position of its own.
    pub next: u64,
}

/// The cookie after `.`.
const AFTER_DOT: u64 = 1;
/// The cookie after `..`, where the entries of the filesystem start: position number 0. The other
/// positions follow.
const AFTER_DOTS: u64 = 2;

/// The inode number of `.` and `..` in a directory whose `stat` is denied by a policy.
const INO_UNKNOWN: u64 = u64::MAX;

/// A batch of entries that was read from a filesystem.
#[derive(Default)]
struct Listing {
    entries: Vec<ListedEntry>,
    names: String,
    /// The index of the entry after the last one that was returned.
    next_index: usize,
    /// The epoch of the directory before the batch was read.
    epoch: u64,
}

struct ListedEntry {
    start: Cookie,
    next: Cookie,
    kind: FileType,
    ino: u64,
    name_end: usize,
    /// The number of the position `next` in a [`NumberedListing`]; 0 if it has none yet.
    next_number: u32,
}

/// The directory stream of an open file description.
pub(crate) struct NumberedListing {
    listing: Listing,
    positions: Positions,
    /// The position of the first buffered entry: its number and its cookie.
    start: (u32, Cookie),
}

/// Calls `each` for the entries of `dir` from the cookie `from` on, until it breaks or the end.
pub(crate) fn list(
    dir: &dyn Dir,
    listing: &mut NumberedListing,
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
    let number = u32::try_from(from.saturating_sub(AFTER_DOTS)).map_err(|_| Errno::Inval)?;
    listing.list_from(dir, number, each)
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

    /// Returns whether the next entry has to be read and that can block on a disk, a network or a
    /// device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        let has_buffered = self.listing.next_index < self.listing.entries.len();
        let fetches = if has_buffered { self.is_outdated() } else { self.next.is_some() };
        fetches && self.dir.may_block()
    }

    fn is_outdated(&self) -> bool {
        self.listing.epoch != self.dir.epoch()
    }

    /// Drops entries that were buffered in another epoch; they are read again.
    fn drop_outdated(&mut self) {
        if self.is_outdated() {
            if let Some(entry) = self.listing.entries.get(self.listing.next_index) {
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
        let Some(next) =
            self.next.filter(|_| self.listing.next_index >= self.listing.entries.len())
        else {
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
        let index = self.listing.next_index;
        if index < self.listing.entries.len() {
            self.listing.next_index = index + 1;
        }
        Ok(self.listing.entry(index))
    }
}

impl Listing {
    fn entry(&self, index: usize) -> Option<DirEntry<'_>> {
        let entry = self.entries.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.entries.get(before));
        let start = start.map_or(0, |before| before.name_end);
        let name = self.names.get(start..entry.name_end);
        let name = name.unwrap_or_else(|| bug!(""; "a listing has no name {index}"));
        Some(DirEntry { name, kind: entry.kind, ino: entry.ino, next: 0 })
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.next_index = 0;
    }

    /// Buffers the entries after `from`. After an error the buffer is empty.
    fn fill(&mut self, dir: &dyn Dir, from: Cookie) -> Result<()> {
        self.clear();
        let filled = self.read(dir, from);
        if filled.is_err() {
            self.clear();
        }
        filled
    }

    fn read(&mut self, dir: &dyn Dir, from: Cookie) -> Result<()> {
        // Loaded before the entries are read, so that a concurrent policy change invalidates them.
        self.epoch = dir.epoch();
        let (mut start, mut is_broken) = (from, false);
        dir.read_dir(from, &mut |entry| {
            // A cookie that does not advance would loop forever. No cookie has the top bit set.
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
                next_number: 0,
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

impl NumberedListing {
    /// Creates a listing whose position table keeps at most `kept_max` positions.
    pub(crate) fn new(kept_max: u32) -> Self {
        NumberedListing {
            listing: Listing::default(),
            positions: Positions::new(kept_max),
            start: (0, Cookie::START),
        }
    }

    /// Calls `each` for the entries after the position `from`, until it breaks or the end.
    fn list_from(
        &mut self,
        dir: &dyn Dir,
        from: u32,
        each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut index = self.seek(dir, from)?;
        loop {
            while let Some(number) = self.number_after(index)? {
                let Some(entry) = self.listing.entry(index) else {
                    return Err(bug!("a listing has no entry {index}"));
                };
                if each(DirEntry { next: AFTER_DOTS + u64::from(number), ..entry }).is_break() {
                    self.listing.next_index = index;
                    return Ok(());
                }
                index += 1;
            }
            if !self.fill_next(dir)? {
                return Ok(());
            }
            index = 0;
        }
    }

    /// Buffers the entries after the position `from` and returns the index of the first one.
    fn seek(&mut self, dir: &dyn Dir, from: u32) -> Result<usize> {
        if from == 0 {
            // The directory is read again.
            self.positions.rewind();
            self.fill(dir, (0, Cookie::START))?;
            return Ok(0);
        }
        if let Some((index, cookie)) = self.find(from) {
            let is_usable = self.listing.epoch == dir.epoch() && index < self.listing.entries.len();
            if is_usable {
                return Ok(index);
            }
            self.fill(dir, (from, cookie))?;
            return Ok(0);
        }
        let (cookie, skipped) = self.positions.resolve(from)?;
        self.fill(dir, (from - skipped, cookie))?;
        let (mut index, mut left) = (0, skipped);
        while left > 0 {
            if self.number_after(index)?.is_some() {
                (index, left) = (index + 1, left - 1);
            } else if self.fill_next(dir)? {
                index = 0;
            } else {
                break;
            }
        }
        Ok(index)
    }

    /// Returns the index in the buffer and the filesystem's cookie of the position `number`. The
    /// index is usually `listing.next_index`.
    fn find(&self, number: u32) -> Option<(usize, Cookie)> {
        if number == self.start.0 {
            return Some((0, self.start.1));
        }
        let Listing { entries, next_index, .. } = &self.listing;
        let before = |from: usize| {
            let entries = entries.get(from..)?;
            let nth = entries.iter().position(|entry| entry.next_number == number)?;
            Some((from + nth + 1, entries.get(nth)?.next))
        };
        before(next_index.saturating_sub(1)).or_else(|| before(0))
    }

    /// Returns the number of the position after the buffered entry `index`, or `None` if the buffer
    /// has no such entry. Assigns a number if the entry is returned for the first time.
    fn number_after(&mut self, index: usize) -> Result<Option<u32>> {
        let NumberedListing { listing: Listing { entries, .. }, positions, start } = self;
        let before = index.checked_sub(1).and_then(|before| entries.get(before));
        let before = before.map_or(start.0, |before| before.next_number);
        let Some(entry) = entries.get_mut(index) else { return Ok(None) };
        if entry.next_number == 0 {
            entry.next_number = positions.number_after(before, entry.next)?;
        }
        Ok(Some(entry.next_number))
    }

    /// Buffers the entries after the last buffered one, which has a number. Returns `false` at the
    /// end.
    fn fill_next(&mut self, dir: &dyn Dir) -> Result<bool> {
        let Some(last) = self.listing.entries.last() else { return Ok(false) };
        let start = (last.next_number, last.next);
        self.fill(dir, start)?;
        Ok(true)
    }

    /// Buffers the entries after the position `start`.
    fn fill(&mut self, dir: &dyn Dir, start: (u32, Cookie)) -> Result<()> {
        self.start = start;
        self.listing.fill(dir, start.1)
    }
}
