//! Fault injection: a layer whose operations fail from the n-th on.
//!
//! A failing operation never reaches the inner layer. All handles that are opened through the
//! layer share one counter, so a fault can fall between any two steps of the caller: between the
//! steps of a copy-up, or while a file is being filled. A fault can last for any number of calls,
//! so it can also fail the caller's rollback. Within one operation, the first failing call returns
//! another errno than the later ones, which detects a rollback that overwrites the original errno.

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
mod upper;

pub use harness::{
    FaultStats, Outage, assert_fault_tolerant, assert_fault_tolerant_runs, inject_faults,
};
#[cfg(feature = "overlay")]
pub use upper::faulty_upper;

/// The operations that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// Operations that modify the filesystem: creating, removing, renaming, writing, setting times,
    /// and opening with creation or truncation.
    Changes,
    /// All operations except free queries ([`File::kind`], [`File::advise`]).
    All,
}

/// The kind of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Reads,
    Changes,
}

/// A fault injector: a counter of operations and the fault that is armed.
#[derive(Debug)]
pub struct Faults {
    kinds: Kinds,
    /// The number of operations until the first failure, including that one; 0 if disarmed.
    left: AtomicU64,
    /// The number of consecutive failures; [`Faults::FOREVER`] never counts down.
    failing: AtomicU64,
    errno: AtomicU8,
    is_paused: AtomicBool,
    hit: AtomicBool,
    yields: bool,
    steps: AtomicU64,
}

impl Faults {
    /// A number of calls that lasts until the fault is disarmed.
    pub const FOREVER: u64 = u64::MAX;

    /// Creates a disarmed fault injector.
    #[must_use]
    pub fn new(kinds: Kinds) -> Arc<Self> {
        Arc::new(Self::none(kinds))
    }

    /// Creates an injector without failures that yields to other threads before each operation,
    /// which makes race conditions between two operations more likely.
    #[must_use]
    pub fn yielding() -> Arc<Self> {
        Arc::new(Faults { yields: true, ..Self::none(Kinds::All) })
    }

    fn none(kinds: Kinds) -> Self {
        Faults {
            kinds,
            left: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            errno: AtomicU8::new(0),
            is_paused: AtomicBool::new(false),
            hit: AtomicBool::new(false),
            yields: false,
            steps: AtomicU64::new(0),
        }
    }

    /// Arms one failure of the `nth` counted operation from now; 1 is the next one, 0 disarms.
    pub fn arm(&self, nth: u64, errno: Errno) {
        self.arm_for(nth, 1, errno);
    }

    /// Arms `calls` consecutive failures from the `nth` counted operation on; 1 is the next one, 0
    /// disarms.
    pub fn arm_for(&self, nth: u64, calls: u64, errno: Errno) {
        let at = Errno::ALL.iter().position(|it| *it == errno).unwrap_or(0);
        self.errno.store(u8::try_from(at).unwrap_or(0), Ordering::SeqCst);
        self.failing.store(if nth == 0 { 0 } else { calls }, Ordering::SeqCst);
        self.left.store(nth, Ordering::SeqCst);
        self.resume();
    }

    /// Stops counting and failing until [`Faults::resume`].
    pub fn pause(&self) {
        self.is_paused.store(true, Ordering::SeqCst);
    }

    /// Resumes counting for the next operation of the caller: its first failing call returns the
    /// armed errno, and the later ones return [`Faults::later`].
    pub fn resume(&self) {
        self.hit.store(false, Ordering::SeqCst);
        self.is_paused.store(false, Ordering::SeqCst);
    }

    /// Returns whether a call has failed since the fault was armed or resumed.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// Returns the errno of later failing calls in an operation whose first errno is `first`.
    #[must_use]
    pub fn later(first: Errno) -> Errno {
        if first == Errno::Rofs { Errno::Io } else { Errno::Rofs }
    }

    /// Counts this call and returns whether it fails.
    fn fails(&self) -> bool {
        let count = |left: u64| left.checked_sub(1);
        let until = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count);
        if until.is_ok_and(|left| left > 1) {
            return false;
        }
        let count = |failing: u64| match failing {
            Self::FOREVER => Some(failing),
            _ => failing.checked_sub(1),
        };
        self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).is_ok()
    }

    pub(crate) fn step(&self, step: Step) -> Result<()> {
        if self.yields {
            // Varies the delay, so that either of two threads may come first.
            for _ in 0..8 * (self.steps.fetch_add(1, Ordering::Relaxed) % 7) {
                std::thread::yield_now();
            }
        }
        if self.kinds == Kinds::Changes && step == Step::Reads {
            return Ok(());
        }
        if self.is_paused.load(Ordering::SeqCst) || !self.fails() {
            return Ok(());
        }
        let at = usize::from(self.errno.load(Ordering::SeqCst));
        let first = Errno::ALL.get(at).copied().unwrap_or(Errno::Io);
        let is_first = !self.hit.swap(true, Ordering::SeqCst);
        Err(if is_first { first } else { Self::later(first) })
    }
}

/// Wraps `dir` in a layer that injects `faults`.
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

/// Returns the inner directory of a directory of this layer, or `Xdev` for any other.
pub(crate) fn unwrap_faulty(dir: &dyn Dir) -> Result<&dyn Dir> {
    let any: &dyn Any = dir;
    if let Some(dir) = any.downcast_ref::<FaultyDir>() {
        return Ok(&*dir.inner);
    }
    #[cfg(feature = "overlay")]
    if let Some(dir) = any.downcast_ref::<upper::FaultyUpper>() {
        return Ok(&*dir.inner);
    }
    Err(Errno::Xdev)
}

pub(crate) fn opens(how: OpenHow) -> Step {
    if how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
        Step::Changes
    } else {
        Step::Reads
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
        self.faults.step(Step::Reads)?;
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.faults.step(Step::Reads)?;
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.faults.step(Step::Reads)?;
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.faults.step(Step::Reads)?;
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
        let into = unwrap_faulty(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.rename(name, into, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = unwrap_faulty(into)?;
        self.faults.step(Step::Changes)?;
        self.inner.link(name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.faults.step(Step::Changes)?;
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.faults.step(Step::Reads)?;
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
impl File for FaultyFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.faults.step(Step::Reads)?;
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
        self.faults.step(Step::Reads)?;
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.faults.step(Step::Reads)?;
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
        self.faults.step(Step::Reads)?;
        self.inner.sync(scope)
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
        self.faults.step(Step::Reads)?;
        self.inner.read_vec(to, len, offset)
    }
}
