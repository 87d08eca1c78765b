//! A logging layer: records each access to a back end with the right that it needs.
//!
//! Under a confining layer, each recorded access must be one that the policy grants.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_vfs::{
    Advice, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, Name, Node,
    OpenHow, Result, Rights, SetTimes, Stat, Stop, SyncScope,
};

/// The maximum number of accesses in a log; further ones are dropped.
pub const ACCESSES_MAX: usize = 1_000_000;

/// One access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRecord {
    /// The name of the method.
    pub verb: &'static str,
    /// The path under the observed directory, as of the time when the handles were opened.
    pub path: String,
    /// The rights that the access needs on the node at `path`. Empty if an open handle suffices.
    pub needs: Rights,
}

/// The recorded accesses, in order.
#[derive(Debug, Default)]
pub struct Log {
    seen: Mutex<Vec<AccessRecord>>,
}

impl Log {
    /// Creates an empty log.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Log::default())
    }

    /// Returns the accesses since the previous call.
    #[must_use]
    pub fn take(&self) -> Vec<AccessRecord> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, verb: &'static str, path: &str, needs: Rights) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < ACCESSES_MAX {
            seen.push(AccessRecord { verb, path: path.to_owned(), needs });
        }
    }
}

/// Wraps `dir` in a layer that records accesses in `log`.
#[must_use]
pub fn spied(dir: DirRef, log: &Arc<Log>) -> DirRef {
    Arc::new(SpyDir { inner: dir, path: String::new(), log: log.clone() })
}

struct SpyDir {
    inner: DirRef,
    path: String,
    log: Arc<Log>,
}

struct SpyFile {
    inner: FileRef,
    path: String,
    log: Arc<Log>,
}

impl SpyDir {
    fn join(&self, path: &str) -> String {
        match (self.path.as_str(), path) {
            ("", path) => path.to_owned(),
            (here, "") => here.to_owned(),
            (here, path) => format!("{here}/{path}"),
        }
    }

    fn note(&self, verb: &'static str, path: &str, needs: Rights) {
        self.log.note(verb, &self.join(path), needs);
    }

    /// Records an access to the directory itself.
    fn note_in(&self, verb: &'static str, needs: Rights) {
        self.log.note(verb, &self.path, needs);
    }
}

fn spy(dir: &dyn Dir) -> Result<&SpyDir> {
    let any: &dyn Any = dir;
    any.downcast_ref::<SpyDir>().ok_or(Errno::Xdev)
}

#[deny(clippy::missing_trait_methods)]
impl Dir for SpyDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let needs = how.needs();
        self.note("open", path.as_str(), needs.node);
        if let Some((parent, _)) = path.split_last()
            && !needs.parent.is_empty()
        {
            self.note("open", parent.as_str(), needs.parent);
        }
        let node = self.inner.open(path, how)?;
        let (path, log) = (self.join(path.as_str()), self.log.clone());
        match node {
            Node::Dir(inner) => Ok(Node::Dir(Arc::new(SpyDir { inner, path, log }))),
            Node::File(inner) => Ok(Node::File(Arc::new(SpyFile { inner, path, log }))),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.note("stat", path.as_str(), Rights::STAT);
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.note("stat", path.as_str(), Rights::STAT);
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.note("read_link", name.as_str(), Rights::READ_LINK);
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.note_in("read_dir", Rights::LIST);
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.note_in("create_dir", Rights::CREATE_DIR);
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.note_in("create_symlink", Rights::CREATE_SYMLINK);
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.note_in("remove_file", Rights::REMOVE_FILE);
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.note_in("remove_dir", Rights::REMOVE_DIR);
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = spy(into)?;
        self.note_in("rename", Rights::RENAME_FROM);
        into.note_in("rename", Rights::RENAME_INTO);
        self.inner.rename(name, &*into.inner, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = spy(into)?;
        self.note_in("link", Rights::LINK_FROM);
        into.note_in("link", Rights::LINK_INTO);
        self.inner.link(name, &*into.inner, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.note("set_times", path.as_str(), Rights::SET_TIMES);
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.note_in("sync", Rights::empty());
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for SpyFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.log.note("read_at", &self.path, Rights::READ);
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.log.note("write_at", &self.path, Rights::WRITE);
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.log.note("append", &self.path, Rights::WRITE);
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.log.note("appended_to", &self.path, Rights::empty());
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.log.note("stat", &self.path, Rights::STAT);
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.log.note("set_len", &self.path, Rights::SET_LEN);
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.log.note("allocate", &self.path, Rights::SET_LEN);
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.log.note("set_times", &self.path, Rights::SET_TIMES);
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.log.note("sync", &self.path, Rights::empty());
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.log.note("advise", &self.path, Rights::empty());
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.log.note("read_vec", &self.path, Rights::READ);
        self.inner.read_vec(to, len, offset)
    }
}
