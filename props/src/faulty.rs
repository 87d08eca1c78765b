//! A layer whose n-th operation fails, and the property that nothing is lost by it.
//!
//! An operation that fails is not begun: the layer beneath never hears of it. Everything that is
//! opened through the layer fails by the same count, so the fault falls between any two steps of
//! whoever works on it: between the parts of a copy-up, or in the middle of filling a file.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use palisade_vfs::{
    Advice, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, Name, Node,
    OpenFlags, OpenHow, Result, SetTimes, Stat, Stop, SyncScope,
};

mod harness;
#[cfg(feature = "overlay")]
mod layer;

pub use harness::{Survived, assert_survives, survive};
#[cfg(feature = "overlay")]
pub use layer::faulty_layer;

/// Which operations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// Those that change something: creating, removing, renaming, writing, setting times. An open
    /// that creates or truncates is one of them.
    Changes,
    /// Every one but questions that cost nothing ([`File::kind`], [`File::advise`]).
    All,
}

/// What an operation does, for the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Looks,
    Changes,
}

/// A count of operations, and the one that fails.
#[derive(Debug)]
pub struct Faults {
    kinds: Kinds,
    /// How many operations are left until the one that fails, that one included; 0 is none.
    left: AtomicU64,
    errno: AtomicU8,
    hit: AtomicBool,
    dawdles: bool,
    steps: AtomicU64,
}

impl Faults {
    /// Nothing fails yet.
    #[must_use]
    pub fn new(kinds: Kinds) -> Arc<Self> {
        Arc::new(Self::none(kinds))
    }

    /// Nothing fails, but before every operation other threads get their turn: what must not
    /// happen between two operations has the time to.
    #[must_use]
    pub fn dawdling() -> Arc<Self> {
        Arc::new(Faults { dawdles: true, ..Self::none(Kinds::All) })
    }

    fn none(kinds: Kinds) -> Self {
        let (left, errno) = (AtomicU64::new(0), AtomicU8::new(0));
        Faults {
            kinds,
            left,
            errno,
            hit: AtomicBool::new(false),
            dawdles: false,
            steps: AtomicU64::new(0),
        }
    }

    /// From now on the `nth` operation that counts fails, once; 1 is the next. 0 disarms.
    pub fn arm(&self, nth: u64, errno: Errno) {
        let at = Errno::ALL.iter().position(|it| *it == errno).unwrap_or(0);
        self.errno.store(u8::try_from(at).unwrap_or(0), Ordering::SeqCst);
        self.hit.store(false, Ordering::SeqCst);
        self.left.store(nth, Ordering::SeqCst);
    }

    /// Whether an operation has failed since it was armed.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// How many operations are left until one fails, that one included.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    pub(crate) fn step(&self, step: Step) -> Result<()> {
        if self.dawdles {
            // Not always as long, so that either of two may come first.
            for _ in 0..8 * (self.steps.fetch_add(1, Ordering::Relaxed) % 7) {
                std::thread::yield_now();
            }
        }
        if self.kinds == Kinds::Changes && step == Step::Looks {
            return Ok(());
        }
        let count = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(1) => {
                self.hit.store(true, Ordering::SeqCst);
                let at = usize::from(self.errno.load(Ordering::SeqCst));
                Err(Errno::ALL.get(at).copied().unwrap_or(Errno::Io))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Lets operations beneath `dir` fail as `faults` says.
#[must_use]
pub fn faulty(dir: DirRef, faults: &Arc<Faults>) -> DirRef {
    Arc::new(FaultyDir { inner: dir, faults: faults.clone() })
}

pub(crate) struct FaultyDir {
    pub(crate) inner: DirRef,
    pub(crate) faults: Arc<Faults>,
}

pub(crate) struct FaultyFile {
    pub(crate) inner: FileRef,
    pub(crate) faults: Arc<Faults>,
}

/// What a directory of this layer wraps; `Xdev` for any other.
pub(crate) fn beneath(dir: &dyn Dir) -> Result<&dyn Dir> {
    let any: &dyn Any = dir;
    if let Some(dir) = any.downcast_ref::<FaultyDir>() {
        return Ok(&*dir.inner);
    }
    #[cfg(feature = "overlay")]
    if let Some(dir) = any.downcast_ref::<layer::FaultyLayer>() {
        return Ok(&*dir.inner);
    }
    Err(Errno::Xdev)
}

pub(crate) fn opens(how: OpenHow) -> Step {
    if how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
        Step::Changes
    } else {
        Step::Looks
    }
}

pub(crate) fn wrapped(node: Node, faults: &Arc<Faults>) -> Node {
    let faults = faults.clone();
    match node {
        Node::Dir(inner) => Node::Dir(Arc::new(FaultyDir { inner, faults })),
        Node::File(inner) => Node::File(Arc::new(FaultyFile { inner, faults })),
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for FaultyDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.faults.step(opens(how))?;
        Ok(wrapped(self.inner.open(path, how)?, &self.faults))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Looks)?;
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Looks)?;
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.faults.step(Step::Looks)?;
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.faults.step(Step::Looks)?;
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename(name, into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = beneath(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.link(name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.faults.step(Step::Changes)?;
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.faults.step(Step::Looks)?;
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for FaultyFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.faults.step(Step::Looks)?;
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.faults.step(Step::Changes)?;
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.faults.step(Step::Changes)?;
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.faults.step(Step::Looks)?;
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.faults.step(Step::Looks)?;
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.faults.step(Step::Changes)?;
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.faults.step(Step::Looks)?;
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.faults.step(Step::Looks)?;
        self.inner.read_vec(to, len, offset)
    }
}
