//! The merged listing of one directory of the lowers, with stable cookies.
//!
//! The lowers do not change, so the index of an entry is its cookie for the lifetime of the
//! overlay, independent of changes of the upper. An overlay lists the entries of the lowers first.
//! All names share one string, so an entry needs no allocation of its own.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{Cookie, Entry, Errno, FileType, Name, Result, bug};

/// Maps cookies of the upper, which use up to 63 bits, to small numbers in the order of their first
/// use. In the overlay's listing these numbers follow the cookies of the lowers' entries.
#[derive(Default)]
pub(in super::super) struct UpperCookies {
    cookies: Vec<u64>,
    numbers: HashMap<u64, u64, RandomState>,
}

impl UpperCookies {
    /// Returns the number of a cookie, from 1 on; assigns the next number to a new cookie.
    pub(in super::super) fn number(&mut self, cookie: Cookie) -> u64 {
        let UpperCookies { cookies, numbers } = self;
        *numbers.entry(cookie.0).or_insert_with(|| {
            cookies.push(cookie.0);
            cookies.len() as u64
        })
    }

    /// Returns the cookie of a number; 0 is the start of the listing.
    ///
    /// # Errors
    /// - `EINVAL`: the number was never assigned.
    pub(in super::super) fn cookie(&self, number: u64) -> Result<Cookie> {
        let Some(nth) = number.checked_sub(1) else { return Ok(Cookie::START) };
        let nth = usize::try_from(nth).map_err(|_| Errno::Inval)?;
        self.cookies.get(nth).map(|cookie| Cookie(*cookie)).ok_or(Errno::Inval)
    }
}

struct ListedEntry {
    start: u32,
    len: u8,
    kind: FileType,
    ino: u64,
}

/// The entries of the merged lowers in listing order.
#[derive(Default)]
pub(in super::super) struct MergedList {
    names: String,
    slots: Vec<ListedEntry>,
    /// A hash index of the names, built by the first call of [`MergedList::contains`].
    index: OnceLock<Index>,
}

#[derive(Default)]
struct Index {
    hasher: RandomState,
    table: HashTable<u32>,
}

/// Merges the listings of a stack, the topmost first.
#[derive(Default)]
pub(super) struct ListMerger {
    list: MergedList,
    index: Index,
    hidden: HashSet<Box<str>>,
}

impl MergedList {
    /// Appends an entry. The caller guarantees that the name is new.
    pub(super) fn push(&mut self, entry: Entry<'_>) -> Result<()> {
        let text = entry.name.as_str();
        let start = u32::try_from(self.names.len()).map_err(|_| Errno::Overflow)?;
        let len = u8::try_from(text.len()).map_err(|_| Errno::Nametoolong)?;
        self.names.push_str(text);
        self.slots.push(ListedEntry { start, len, kind: entry.kind, ino: entry.ino });
        Ok(())
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the number of entries, which is the highest cookie.
    pub(in super::super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(in super::super) fn contains(&self, name: Name<'_>) -> bool {
        self.index.get_or_init(|| Index::of(self)).contains(self, name.as_str())
    }

    /// Returns the entries after the cookie `from`.
    pub(in super::super) fn after(&self, from: u64) -> impl Iterator<Item = Entry<'_>> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        self.slots.iter().enumerate().skip(skip).filter_map(|(nth, slot)| {
            let Ok(name) = Name::new(self.text(slot)) else {
                return bug!(None; "entry {nth} of a listing is no name");
            };
            Some(Entry { name, kind: slot.kind, ino: slot.ino, next: Cookie(nth as u64 + 1) })
        })
    }

    /// Implements [`Dir::read_dir`](crate::Dir::read_dir) for a directory without an upper.
    pub(in super::super) fn read(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.0 > self.len() {
            return Err(Errno::Inval);
        }
        let _ = self.after(from.0).try_for_each(each);
        Ok(())
    }

    fn text(&self, slot: &ListedEntry) -> &str {
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
    fn of(list: &MergedList) -> Self {
        let mut index = Index::default();
        for (nth, _) in (0..).zip(&list.slots) {
            index.insert(list, nth);
        }
        index
    }

    fn insert(&mut self, list: &MergedList, nth: u32) {
        let Index { hasher, table } = self;
        let hash = |nth: &u32| hasher.hash_one(list.text_at(*nth));
        table.insert_unique(hash(&nth), nth, hash);
    }

    fn contains(&self, list: &MergedList, name: &str) -> bool {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |nth| list.text_at(*nth) == name).is_some()
    }
}

impl ListMerger {
    /// Appends an entry of the next lower, unless an entry or a whiteout above hides it.
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

    /// Records a whiteout. The entries of its own directory must be pushed before.
    pub(super) fn hide(&mut self, name: Name<'_>) {
        self.hidden.insert(name.as_str().into());
    }

    pub(super) fn finish(self) -> MergedList {
        MergedList { index: OnceLock::from(self.index), ..self.list }
    }
}
