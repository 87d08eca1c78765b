//! A read-only wrapper of a directory, for images that are host directories.
//!
//! A change is refused after its operands were looked up, so that the errors that precede `Rofs` in
//! POSIX are returned first. A concurrent change between the lookup and the refusal is harmless: it
//! affects only the errno, because the wrapper never changes the directory.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{
    Access, Advice, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, Name,
    Node, OpenFlags, OpenHow, Result, SetTimes, Stat, Stop, SyncScope,
};

/// Wraps `dir` as a read-only filesystem. Each call returns a separate filesystem: a rename or link
/// between two of them is `Xdev`.
pub(super) fn read_only(dir: DirRef) -> DirRef {
    Arc::new(ReadOnly { inner: dir, tree: Arc::new(()), way: String::new() })
}

struct ReadOnly {
    inner: DirRef,
    /// The identity of the tree, shared by all of its directories.
    tree: Arc<()>,
    /// The path of this directory from the root, with a slash after each name. It becomes stale if
    /// another process renames the directory, which only affects the order of errors.
    way: String,
}

impl ReadOnly {
    fn node(&self, path: Descent<'_>, node: Node) -> Node {
        match node {
            Node::Dir(inner) => {
                let (tree, way) = (Arc::clone(&self.tree), self.way_to(path));
                Node::Dir(Arc::new(ReadOnly { inner, tree, way }))
            }
            Node::File(inner) => Node::File(Arc::new(ReadOnlyFile { inner })),
        }
    }

    /// Checks an open that creates, truncates or writes. Returns the first error in POSIX order, or
    /// the flags without `CREATE` if the node exists and the open would not change it.
    fn refuse_open(&self, path: Descent<'_>, how: OpenHow) -> Result<OpenHow, Stop> {
        let held = match self.inner.open(path, OpenHow::HOLD) {
            Err(Stop::Errno(Errno::Noent)) if how.creates() => {
                // Only the last component may be missing: an error of the parent comes first.
                if let Some((parent, _)) = path.split_last() {
                    self.inner.open(parent, OpenHow::HOLD_DIR)?;
                }
                return Err(Errno::Rofs.into());
            }
            Err(Stop::Link { at, .. }) if how.is_exclusive() && at + 1 == path.depth() => {
                return Err(Errno::Exist.into());
            }
            Err(Stop::Errno(Errno::Nxio)) if how.is_exclusive() => Err(Errno::Exist)?,
            held => held?,
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        match held {
            Node::Dir(_) => return Err(Errno::Isdir.into()),
            Node::File(_) if how.wants_dir() => return Err(Errno::Notdir.into()),
            Node::File(_) => {}
        }
        let how = OpenHow { flags: how.flags - OpenFlags::CREATE, ..how };
        if how.access.writes() || how.flags.contains(OpenFlags::TRUNCATE) {
            return Err(Errno::Rofs.into());
        }
        Ok(how)
    }

    fn kind(&self, name: Name<'_>) -> Result<Stat> {
        self.inner.stat(name.into()).map_err(Stop::without_following)
    }

    fn refuse_new(&self, name: Name<'_>) -> Result<()> {
        match self.kind(name) {
            Ok(_) => Err(Errno::Exist),
            Err(Errno::Noent) => Err(Errno::Rofs),
            Err(errno) => Err(errno),
        }
    }

    /// Returns `Notempty` for a directory that has entries, and `Ok` for one that cannot be opened.
    fn check_empty(&self, name: Name<'_>) -> Result<()> {
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let Ok(Node::Dir(dir)) = self.inner.open(name.into(), how) else { return Ok(()) };
        let mut result = Ok(());
        dir.read_dir(Cookie::START, &mut |_| {
            result = Err(Errno::Notempty);
            ControlFlow::Break(())
        })?;
        result
    }

    fn way_to(&self, path: Descent<'_>) -> String {
        if path.is_here() {
            return self.way.clone();
        }
        format!("{}{}/", self.way, path.as_str())
    }

    fn same<'d>(&self, other: &'d dyn Dir) -> Result<&'d ReadOnly> {
        match (other as &dyn Any).downcast_ref::<ReadOnly>() {
            Some(other) if Arc::ptr_eq(&self.tree, &other.tree) => Ok(other),
            Some(_) | None => Err(Errno::Xdev),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for ReadOnly {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let changes =
            how.access.writes() || how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let how = if changes { self.refuse_open(path, how)? } else { how };
        Ok(self.node(path, self.inner.open(path, how)?))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.refuse_new(name)
    }

    fn create_symlink(&self, name: Name<'_>, _target: &str) -> Result<()> {
        self.refuse_new(name)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        Err(if self.kind(name)?.kind == FileType::Dir { Errno::Isdir } else { Errno::Rofs })
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        if self.kind(name)?.kind != FileType::Dir {
            return Err(Errno::Notdir);
        }
        self.check_empty(name)?;
        Err(Errno::Rofs)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let old = self.kind(name)?;
        let is_dir = old.kind == FileType::Dir;
        if is_dir && into.way.starts_with(&self.way_to(name.into())) {
            return Err(Errno::Inval);
        }
        let new = match into.kind(new_name) {
            Ok(new) => new,
            Err(Errno::Noent) => return Err(Errno::Rofs),
            Err(errno) => return Err(errno),
        };
        if new.kind == FileType::Dir && self.way.starts_with(&into.way_to(new_name.into())) {
            return Err(Errno::Notempty);
        }
        if (old.dev, old.ino) == (new.dev, new.ino) {
            return Ok(());
        }
        match (is_dir, new.kind == FileType::Dir) {
            (true, false) => Err(Errno::Notdir),
            (false, true) => Err(Errno::Isdir),
            (true, true) => into.check_empty(new_name).and(Err(Errno::Rofs)),
            (false, false) => Err(Errno::Rofs),
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let old = self.kind(name)?;
        match into.refuse_new(new_name) {
            Err(Errno::Rofs) if old.kind == FileType::Dir => Err(Errno::Perm),
            refusal => refusal,
        }
    }

    fn set_times(&self, path: Descent<'_>, _times: SetTimes) -> Result<(), Stop> {
        self.inner.stat(path)?;
        Err(Errno::Rofs.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

/// A file without write access: writes are `Badf`, as on a read-only descriptor.
struct ReadOnlyFile {
    inner: FileRef,
}

#[deny(clippy::missing_trait_methods)]
impl File for ReadOnlyFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, _bufs: &[IoSlice<'_>], _offset: u64) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn append(&self, _bufs: &[IoSlice<'_>]) -> Result<usize> {
        Err(Errno::Badf)
    }

    fn appended_to(&self) -> Result<u64> {
        Ok(0)
    }

    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }

    fn set_len(&self, _len: u64) -> Result<()> {
        Err(Errno::Inval)
    }

    fn allocate(&self, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::Badf)
    }

    fn set_times(&self, _times: SetTimes) -> Result<()> {
        Err(Errno::Rofs)
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.inner.read_vec(to, len, offset)
    }
}
