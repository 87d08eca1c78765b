//! Lists directories that the upper and the lowers have, with stable cookies.
//!
//! A listing first returns the entries of the lowers, in the order of their first listing, then the
//! upper's remaining entries. Entries are read in batches under the shared lock of the table, and
//! passed to the caller without a lock.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::dir::OverlayDir;
use super::dir_table::{DirState, no_backing_dir};
use super::lowers::MergedList;
use super::upper::{UpperEntry, UpperRef};
use crate::{Cookie, Entry, FileType, Name, Result};

/// Entries per batch.
const BATCH: usize = 256;

/// The source of a directory's listing.
enum ListSource {
    Empty,
    Upper(UpperRef),
    Lower(Arc<MergedList>),
    Merged,
}

/// Entries with name, type, inode number and cookie.
struct Batch(Vec<(Box<str>, FileType, u64, u64)>);

impl OverlayDir {
    /// Implements [`Dir::read_dir`](crate::Dir::read_dir).
    pub(super) fn list(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.list_source()? {
            ListSource::Empty => Ok(()),
            ListSource::Upper(upper) => upper.read_dir(from, each),
            ListSource::Lower(list) => list.read(from, each),
            ListSource::Merged => self.read_merged(from, each),
        }
    }

    /// Reads the entries after `from`. Fewer than [`BATCH`] entries mean the end of the listing.
    fn batch(&self, from: u64) -> Result<Batch> {
        let table = self.fs.table.read();
        let dir = table.dir(self.key)?;
        let mut batch = Vec::new();
        if dir.is_removed {
            return Ok(Batch(batch));
        }
        let below = dir.list.as_ref().map_or(0, |list| list.len());
        if let Some(list) = &dir.list {
            let shows_lower = dir.lower.is_some();
            for entry in list.after(from) {
                if batch.len() >= BATCH {
                    return Ok(Batch(batch));
                }
                let upper_entry = match &dir.upper {
                    Some(upper) => upper.lookup(entry.name)?,
                    None => UpperEntry::Absent,
                };
                let (kind, ino) = match upper_entry {
                    UpperEntry::Node(stat) => (stat.kind, stat.ino),
                    UpperEntry::Absent if shows_lower => (entry.kind, entry.ino),
                    UpperEntry::Absent | UpperEntry::Whiteout => continue,
                };
                batch.push((entry.name.as_str().into(), kind, ino, entry.next.0));
            }
        }
        if let Some(upper) = &dir.upper {
            let mut upper_cookies = dir.upper_cookies.lock();
            let from = upper_cookies.cookie(from.saturating_sub(below))?;
            upper.read_dir(from, &mut |entry| {
                if !dir.list.as_ref().is_some_and(|list| list.contains(entry.name)) {
                    let name = entry.name.as_str().into();
                    batch.push((
                        name,
                        entry.kind,
                        entry.ino,
                        below + upper_cookies.number(entry.next),
                    ));
                }
                if batch.len() < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(Batch(batch))
    }

    /// Returns the source of the listing. The first call fixes the order of the lowers' entries.
    fn list_source(&self) -> Result<ListSource> {
        let lower = {
            let table = self.fs.table.read();
            match table.dir(self.key)? {
                DirState { is_removed: true, .. } => return Ok(ListSource::Empty),
                DirState { list: Some(list), upper: None, .. } => {
                    return Ok(ListSource::Lower(Arc::clone(list)));
                }
                DirState { list: Some(_), upper: Some(_), .. } => return Ok(ListSource::Merged),
                DirState { lower: Some(lower), .. } => Arc::clone(lower),
                DirState { upper: Some(upper), .. } => {
                    return Ok(ListSource::Upper(Arc::clone(upper)));
                }
                DirState { upper: None, .. } => return Err(no_backing_dir()),
            }
        };
        let list = lower.list()?;
        let mut table = self.fs.table.write();
        let dir = table.dir_mut(self.key)?;
        let list = Arc::clone(dir.list.get_or_insert(list));
        Ok(if dir.upper.is_some() { ListSource::Merged } else { ListSource::Lower(list) })
    }

    /// Lists a directory that the upper and the lowers have.
    fn read_merged(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut from = from.0;
        loop {
            let Batch(batch) = self.batch(from)?;
            let is_last = batch.len() < BATCH;
            for (name, kind, ino, cookie) in batch {
                from = cookie;
                let (name, next) = (Name::new(&name)?, Cookie(cookie));
                if each(Entry { name, kind, ino, next }).is_break() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
