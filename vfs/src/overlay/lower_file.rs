//! Open files of the lowers, which switch to the upper's copy on a copy-up.
//!
//! A file of the upper is returned as it is, since it is never copied up again. A file of a lower
//! is only ever open for reading. When it is copied up, under any of its names, all its handles
//! switch to the copy, so they read later writes. Linux overlayfs does not do this: there a file
//! that was opened for reading keeps the content of the lower.

use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use slab::Slab;

use super::dir_table::{DirTable, MergedEntry, ROOT};
use super::lowers::{LowerNode, MergedDir, to_errno};
use super::upper::{CopiedUp, CopyUp};
use super::{Identity, OverlayState};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::{
    Access, Advice, Descent, Dir, Errno, File, FileRef, FileType, Node, OpenHow, Result, SetTimes,
    Stat, Stop, SyncScope, broken_contract, bug,
};

/// The registry of the open files of the lowers. Its lock is never held while a file is called.
#[derive(Default)]
pub(super) struct LowerFiles(Mutex<Slab<Weak<LowerFile>>>);

/// An open file of a lower.
pub(super) struct LowerFile {
    fs: Arc<OverlayState>,
    access: Access,
    lower: FileRef,
    /// The copy in the upper, open for reading and writing.
    upper: OnceLock<FileRef>,
    /// The number of its names in the lowers that have been hidden.
    hidden: AtomicU64,
    /// The path of the directory in the lowers. It holds names only, so an open file keeps no
    /// directory open. A file that has not been copied up has the same path in the overlay.
    dir: SharedPath,
    path: InlinePath,
    slot: usize,
}

/// The longest path, in bytes, that is stored without an allocation.
const INLINE_BYTES: usize = 46;

/// A path that is stored inline if it is short. Every open of a lower's file stores its path, and
/// few paths are read again.
enum InlinePath {
    Short([u8; INLINE_BYTES], u8),
    Long(Box<str>),
}

impl InlinePath {
    fn new(path: Descent<'_>) -> Self {
        let text = path.as_str();
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                InlinePath::Short(bytes, len)
            }
            _ => InlinePath::Long(text.into()),
        }
    }

    fn text(&self) -> Result<&str> {
        match self {
            InlinePath::Short(bytes, len) => {
                let text = bytes.get(..usize::from(*len)).map(std::str::from_utf8);
                let Some(Ok(text)) = text else { return Err(bug!("a short path is no text")) };
                Ok(text)
            }
            InlinePath::Long(text) => Ok(text),
        }
    }
}

impl LowerFiles {
    /// Registers a file of the lowers that was opened, for reading at most, at `path` under `dir`.
    pub(super) fn register(
        fs: &Arc<OverlayState>,
        lower: FileRef,
        access: Access,
        dir: &Arc<MergedDir>,
        path: Descent<'_>,
    ) -> FileRef {
        let mut slots = fs.lower_files.0.lock();
        let entry = slots.vacant_entry();
        let file = Arc::new(LowerFile {
            fs: Arc::clone(fs),
            access,
            lower,
            upper: OnceLock::new(),
            hidden: AtomicU64::new(0),
            dir: dir.path().clone(),
            path: InlinePath::new(path),
            slot: entry.key(),
        });
        entry.insert(Arc::downgrade(&file));
        file
    }

    /// Returns the open handles of one file of the lowers.
    fn of(&self, id: Identity) -> Vec<Arc<LowerFile>> {
        // The handles are dropped after the lock is released, since their drop takes the lock.
        let all: Vec<_> = self.0.lock().iter().filter_map(|(_, file)| file.upgrade()).collect();
        let is_same =
            |file: &Arc<LowerFile>| file.lower.stat().is_ok_and(|stat| (stat.dev, stat.ino) == id);
        all.into_iter().filter(is_same).collect()
    }

    /// Switches the handles of a file that was copied up to the copy.
    pub(super) fn switch_to_copy(&self, id: Identity, upper: &FileRef) {
        for file in self.of(id) {
            // A handle that has a copy of its own already has no name any more.
            let _ = file.upper.set(Arc::clone(upper));
        }
    }

    /// Recomputes the hidden names after the overlay was restored, when nothing is copied up: a
    /// file whose path still leads to it has all its names, and any other file has none.
    pub(super) fn recount_after_restore(&self, root: &Arc<MergedDir>) {
        let all: Vec<_> = self.0.lock().iter().filter_map(|(_, file)| file.upgrade()).collect();
        for file in all {
            let found = file.full_path().and_then(|path| to_errno(root.stat(Descent::new(&path)?)));
            let is_same = match (file.lower.stat(), found) {
                (Ok(old), Ok(new)) => (new.dev, new.ino) == (old.dev, old.ino),
                (_, _) => false,
            };
            file.hidden.store(if is_same { 0 } else { u64::MAX }, Ordering::Relaxed);
        }
    }

    /// Counts a hidden name of the file.
    pub(super) fn hide(&self, id: Identity) {
        for file in self.of(id) {
            file.hidden.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Opens a file of a lower. An open without access rights opens for reading if the lower permits
/// it: when the times of the file are set after its last name is removed, its content must be
/// copied.
pub(super) fn open_lower(dir: &dyn Dir, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
    if how.access != Access::Hold || how.wants_dir() {
        return dir.open(path, how);
    }
    match dir.open(path, OpenHow { access: Access::Read, ..how }) {
        Err(Stop::Errno(Errno::Acces | Errno::Perm)) => dir.open(path, how),
        opened => opened,
    }
}

impl LowerFile {
    fn current(&self) -> &FileRef {
        self.upper.get().unwrap_or(&self.lower)
    }

    /// Returns the path from the root.
    fn full_path(&self) -> Result<String> {
        Ok(match self.dir.to_text() {
            above if above.is_empty() => self.path.text()?.to_owned(),
            above => format!("{above}/{}", self.path.text()?),
        })
    }

    /// Returns the copy in the upper. Copies the file up if there is none.
    fn copy_up(&self, table: &mut DirTable) -> Result<FileRef> {
        if let Some(upper) = self.upper.get() {
            return Ok(Arc::clone(upper));
        }
        let stat = self.lower.stat()?;
        if stat.nlink > self.hidden.load(Ordering::Relaxed) {
            self.copy_up_named(table, (stat.dev, stat.ino))?;
        }
        if let Some(upper) = self.upper.get() {
            return Ok(Arc::clone(upper));
        }
        // No name of the overlay leads to the file any more, so the copy has no name either.
        let mut fill = |to: &dyn File| copy_bytes(&*self.lower, to).map(drop);
        let stat = Stat { nlink: 0, ..stat };
        let upper = table.ensure_upper(ROOT)?;
        let adopt = || upper.copy_up(&[], &stat, CopyUp::File(&mut fill));
        match self.fs.copy_in_budget(stat.size, adopt)? {
            CopiedUp::File(file) => {
                self.fs.lower_files.switch_to_copy((stat.dev, stat.ino), &file);
                Ok(Arc::clone(self.upper.get_or_init(|| file)))
            }
            CopiedUp::Named | CopiedUp::Truncated { .. } => {
                Err(broken_contract("`UpperDir::copy_up` of a file returned no file"))
            }
        }
    }

    /// Copies the file up under its name. Has no effect if another node has the name: a lower's
    /// file may have names outside of the overlay, which its link count includes.
    fn copy_up_named(&self, table: &mut DirTable, id: Identity) -> Result<()> {
        let path = self.full_path()?;
        let Some((parent, name)) = Descent::new(&path)?.split_last() else {
            return Err(bug!("an open file of the lowers has no name"));
        };
        let dir = match to_errno(table.descend(ROOT, parent)) {
            Err(Errno::Noent | Errno::Notdir | Errno::Loop) => return Ok(()),
            dir => dir?,
        };
        match table.lookup(dir, name)? {
            entry @ MergedEntry::Lower(LowerNode::Leaf(_)) if entry.id(name)? == id => {
                self.fs.copy_up(table, (dir, name), &entry)
            }
            MergedEntry::Lower(_) | MergedEntry::Upper(_) | MergedEntry::Absent => Ok(()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for LowerFile {
    fn kind(&self) -> FileType {
        self.lower.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        self.current().read_at(bufs, offset)
    }

    fn write_at(&self, _bufs: &[IoSlice<'_>], _offset: u64) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn append(&self, _bufs: &[IoSlice<'_>]) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn appended_to(&self) -> Result<u64> {
        self.current().appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        if let Some(upper) = self.upper.get() {
            return upper.stat();
        }
        let stat = self.lower.stat()?;
        let hidden = self.hidden.load(Ordering::Relaxed);
        Ok(Stat { nlink: stat.nlink.saturating_sub(hidden), ..stat })
    }

    fn set_len(&self, _len: u64) -> Result<()> {
        Err(Errno::Inval)
    }

    fn allocate(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::Badf)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        let upper = {
            let mut table = self.fs.table.write();
            table.evict();
            self.copy_up(&mut table)?
        };
        upper.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        match self.upper.get() {
            Some(upper) => upper.sync(scope),
            None => Ok(()),
        }
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.current().advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        // The file may be copied up later.
        self.fs.may_block()
    }

    fn epoch(&self) -> u64 {
        self.current().epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        self.current().read_vec(to, len, offset)
    }
}

impl Drop for LowerFile {
    fn drop(&mut self) {
        self.fs.lower_files.0.lock().try_remove(self.slot);
    }
}
