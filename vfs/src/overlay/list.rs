//! What the lowers list in one directory, merged: the first part of an overlay's stream.
//!
//! The lowers do not change, so an entry's position is its cookie, whatever happens above.

use std::ops::ControlFlow;

use crate::{Cookie, Entry, Errno, FileType, Name, Result};

/// One entry.
pub(super) struct Listed {
    pub(super) name: Box<str>,
    pub(super) kind: FileType,
    pub(super) ino: u64,
}

/// The entries of the merged lowers, in the order in which they are listed.
pub(super) struct List {
    entries: Box<[Listed]>,
    /// Positions in the order of the names.
    by_name: Box<[u32]>,
}

impl List {
    pub(super) fn new(entries: Vec<Listed>) -> Self {
        let entries: Box<[Listed]> = entries.into();
        let mut by_name: Box<[u32]> =
            (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_by_key(|nth| name_at(&entries, *nth));
        List { entries, by_name }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of entries, which is the highest cookie.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn contains(&self, name: Name<'_>) -> bool {
        self.by_name
            .binary_search_by_key(&name.as_str(), |nth| name_at(&self.entries, *nth))
            .is_ok()
    }

    /// The entries behind `from`, with their cookies.
    pub(super) fn behind(&self, from: u64) -> impl Iterator<Item = (u64, &Listed)> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        self.entries.iter().enumerate().skip(skip).map(|(nth, entry)| (nth as u64 + 1, entry))
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
        for (cookie, entry) in self.behind(from.0) {
            let name = Name::new(&entry.name)?;
            let next = Cookie(cookie);
            if each(Entry { name, kind: entry.kind, ino: entry.ino, next }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn name_at(entries: &[Listed], nth: u32) -> &str {
    let nth = usize::try_from(nth).unwrap_or(usize::MAX);
    entries.get(nth).map_or("", |entry| &entry.name)
}
