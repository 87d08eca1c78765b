//! What the lowers list in one directory, merged: the first part of an overlay's stream.
//!
//! The lowers do not change, so an entry's position is its cookie, whatever happens above. All
//! names lie in one text, so an entry costs no memory of its own.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{Cookie, Entry, Errno, FileType, Name, Result, bug};

/// Cookies of the upper, which may have any of 63 bits, in the order in which they were met: their
/// numbers come behind the lowers' entries.
#[derive(Default)]
pub(super) struct Seats {
    cookies: Vec<u64>,
    numbers: HashMap<u64, u64, RandomState>,
}

impl Seats {
    /// The number of a cookie, from 1 on.
    pub(super) fn number(&mut self, cookie: Cookie) -> u64 {
        let Seats { cookies, numbers } = self;
        *numbers.entry(cookie.0).or_insert_with(|| {
            cookies.push(cookie.0);
            cookies.len() as u64
        })
    }

    /// The cookie of a number; 0 is the start. `Inval` for one that was never given.
    pub(super) fn cookie(&self, number: u64) -> Result<Cookie> {
        let Some(nth) = number.checked_sub(1) else { return Ok(Cookie::START) };
        let nth = usize::try_from(nth).map_err(|_| Errno::Inval)?;
        self.cookies.get(nth).map(|cookie| Cookie(*cookie)).ok_or(Errno::Inval)
    }
}

struct Slot {
    start: u32,
    len: u8,
    kind: FileType,
    ino: u64,
}

/// The entries of the merged lowers, in the order in which they are listed.
#[derive(Default)]
pub(super) struct List {
    names: String,
    slots: Vec<Slot>,
    /// Positions by name, once someone has asked.
    index: OnceLock<Index>,
}

#[derive(Default)]
struct Index {
    hasher: RandomState,
    table: HashTable<u32>,
}

/// Merges listings, the topmost first.
#[derive(Default)]
pub(super) struct Merge {
    list: List,
    index: Index,
    hidden: HashSet<Box<str>>,
}

impl List {
    /// All entries of a single directory.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        let text = entry.name.as_str();
        let start = u32::try_from(self.names.len()).map_err(|_| Errno::Overflow)?;
        let len = u8::try_from(text.len()).map_err(|_| Errno::Nametoolong)?;
        self.names.push_str(text);
        self.slots.push(Slot { start, len, kind: entry.kind, ino: entry.ino });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number of entries, which is the highest cookie.
    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn contains(&self, name: Name<'_>) -> bool {
        self.index.get_or_init(|| Index::of(self)).contains(self, name.as_str())
    }

    /// The entries behind `from`; each says its own cookie as the one to go on from.
    pub(super) fn behind(&self, from: u64) -> impl Iterator<Item = Entry<'_>> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        self.slots.iter().enumerate().skip(skip).filter_map(|(nth, slot)| {
            let Ok(name) = Name::new(self.text(slot)) else {
                return bug!(None; "entry {nth} of a listing is no name");
            };
            Some(Entry { name, kind: slot.kind, ino: slot.ino, next: Cookie(nth as u64 + 1) })
        })
    }

    /// [`Dir::read_dir`](crate::Dir::read_dir), where nothing lies above.
    pub(super) fn read(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.0 > self.len() {
            return Err(Errno::Inval);
        }
        let _ = self.behind(from.0).try_for_each(each);
        Ok(())
    }

    fn text(&self, slot: &Slot) -> &str {
        let start = slot.start as usize;
        let name = self.names.get(start..start + usize::from(slot.len));
        name.unwrap_or_else(|| bug!(""; "the text of a listing has no entry at {start}"))
    }

    fn text_at(&self, nth: u32) -> &str {
        match self.slots.get(nth as usize) {
            Some(slot) => self.text(slot),
            None => bug!(""; "the index of a listing names entry {nth}"),
        }
    }
}

impl Index {
    fn of(list: &List) -> Self {
        let mut index = Index::default();
        for (nth, _) in (0..).zip(&list.slots) {
            index.insert(list, nth);
        }
        index
    }

    fn insert(&mut self, list: &List, nth: u32) {
        let Index { hasher, table } = self;
        let hash = |nth: &u32| hasher.hash_one(list.text_at(*nth));
        table.insert_unique(hash(&nth), nth, hash);
    }

    fn contains(&self, list: &List, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |nth| list.text_at(*nth) == name).is_some()
    }
}

impl Merge {
    /// An entry of the next directory below, if nothing above hides it.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        let name = entry.name.as_str();
        if self.index.contains(&self.list, name) || self.hidden.contains(name) {
            return Ok(());
        }
        let nth = u32::try_from(self.list.slots.len()).map_err(|_| Errno::Overflow)?;
        self.list.push(entry)?;
        self.index.insert(&self.list, nth);
        Ok(())
    }

    /// A whiteout: to be said after the entries of its own directory.
    pub(super) fn hide(&mut self, name: Name<'_>) {
        self.hidden.insert(name.as_str().into());
    }

    pub(super) fn finish(self) -> List {
        List { index: OnceLock::from(self.index), ..self.list }
    }
}
