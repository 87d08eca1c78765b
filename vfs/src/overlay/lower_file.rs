//! Open files of the lowers, which become the upper's when they are copied up.
//!
//! A file of the upper is handed out as it is: it is never copied up again. A file of a lower is
//! only ever open for reading; when its bytes are copied up, through whichever name, all its
//! handles are switched to the copy, so they see what is written from then on.

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

/// The open files of the lowers.
#[derive(Default)]
pub(super) struct LowerFiles(Mutex<Slab<Weak<LowerFile>>>);

/// An open file of the lowers.
pub(super) struct LowerFile {
    fs: Arc<OverlayState>,
    access: Access,
    lower: FileRef,
    /// The upper's copy, open for reading and writing.
    upper: OnceLock<FileRef>,
    /// How many names that lead to it in the lowers have been hidden.
    hidden: AtomicU64,
    /// Where it lies in the lowers: names alone, so that an open file holds no directory. A file
    /// that is not copied up lies there in the overlay too.
    dir: SharedPath,
    path: InlinePath,
    slot: usize,
}

/// Bytes of a path that need no memory of their own.
const INLINE_BYTES: usize = 46;

/// The text of a descent. Every open of a lower's file keeps one and hardly any is ever asked for,
/// so most lie in the handle itself.
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
    /// Hands out a file of the lowers that was opened, for reading at most, at `path` beneath
    /// `dir`.
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

    /// The open handles of one file of the lowers.
    fn of(&self, id: Identity) -> Vec<Arc<LowerFile>> {
        // None is dropped before the lock is: a handle takes it when it goes.
        let all: Vec<_> = self.0.lock().iter().filter_map(|(_, file)| file.upgrade()).collect();
        let is_it =
            |file: &Arc<LowerFile>| file.lower.stat().is_ok_and(|stat| (stat.dev, stat.ino) == id);
        all.into_iter().filter(is_it).collect()
    }

    /// The file was copied up: its handles are the copy's from now on.
    pub(super) fn switch_to_copy(&self, id: Identity, upper: &FileRef) {
        for file in self.of(id) {
            // One that has a copy of its own already has no name any more.
            let _ = file.upper.set(Arc::clone(upper));
        }
    }

    /// The tree is another one now, and nothing of it has been copied up: a file that lies where it
    /// lay has all its names, and any other has none.
    pub(super) fn recount_after_restore(&self, root: &Arc<MergedDir>) {
        let all: Vec<_> = self.0.lock().iter().filter_map(|(_, file)| file.upgrade()).collect();
        for file in all {
            let found = file.full_path().and_then(|path| to_errno(root.stat(Descent::new(&path)?)));
            let is_it = match (file.lower.stat(), found) {
                (Ok(old), Ok(new)) => (new.dev, new.ino) == (old.dev, old.ino),
                (_, _) => false,
            };
            file.hidden.store(if is_it { 0 } else { u64::MAX }, Ordering::Relaxed);
        }
    }

    /// A name of the file was hidden.
    pub(super) fn hide(&self, id: Identity) {
        for file in self.of(id) {
            file.hidden.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Opens a file of a lower. One that is only to be held is opened for reading all the same where
/// that is allowed: when its times are set after its last name has gone, its bytes have to be
/// copied from somewhere.
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

    /// Where it lies, from the root.
    fn full_path(&self) -> Result<String> {
        Ok(match self.dir.to_text() {
            above if above.is_empty() => self.path.text()?.to_owned(),
            above => format!("{above}/{}", self.path.text()?),
        })
    }

    /// The copy in the upper, made now if there is none.
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
        // No name of the overlay leads to it any more; the copy is this file's alone.
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

    /// Copies the file up by its name. Does nothing if another node has the name: a lower's file
    /// can have names outside of the overlay, which its link count includes.
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
        // It can come to be copied up.
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
