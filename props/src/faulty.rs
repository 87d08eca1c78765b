//! Fault injection: a layer whose operations fail from the n-th on, and the property that a failed
//! operation changes nothing.
//!
//! An operation that fails is not begun: the inner layer never sees the call. Everything that is
//! opened through the layer shares one count, so a fault falls between any two steps of the caller:
//! between the parts of a copy-up, or in the middle of filling a file. A fault can last for any
//! number of calls, so it can also fail the caller's rollback. The first call that fails within an
//! operation returns another errno than the ones after it: an errno of the rollback that replaces
//! the first one is seen.

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

pub use harness::{Outage, Survived, assert_survives, assert_survives_runs, survive};
#[cfg(feature = "overlay")]
pub use upper::faulty_upper;

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

/// A count of operations, and the ones that fail.
#[derive(Debug)]
pub struct Faults {
    kinds: Kinds,
    /// How many operations are left until the first that fails, that one included; 0 is none.
    left: AtomicU64,
    /// How many operations fail from that one on; [`Faults::FOREVER`] does not count down.
    failing: AtomicU64,
    errno: AtomicU8,
    is_paused: AtomicBool,
    hit: AtomicBool,
    dawdles: bool,
    steps: AtomicU64,
}

impl Faults {
    /// The number of calls of a fault that lasts until it is disarmed.
    pub const FOREVER: u64 = u64::MAX;

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
        Faults {
            kinds,
            left: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            errno: AtomicU8::new(0),
            is_paused: AtomicBool::new(false),
            hit: AtomicBool::new(false),
            dawdles: false,
            steps: AtomicU64::new(0),
        }
    }

    /// From now on the `nth` operation that counts fails, once; 1 is the next. 0 disarms.
    pub fn arm(&self, nth: u64, errno: Errno) {
        self.arm_for(nth, 1, errno);
    }

    /// From now on `calls` operations that count fail, the `nth` the first of them; 1 is the next.
    /// An `nth` of 0 disarms.
    pub fn arm_for(&self, nth: u64, calls: u64, errno: Errno) {
        let at = Errno::ALL.iter().position(|it| *it == errno).unwrap_or(0);
        self.errno.store(u8::try_from(at).unwrap_or(0), Ordering::SeqCst);
        self.failing.store(if nth == 0 { 0 } else { calls }, Ordering::SeqCst);
        self.left.store(nth, Ordering::SeqCst);
        self.resume();
    }

    /// Nothing is counted and nothing fails until [`Faults::resume`].
    pub fn pause(&self) {
        self.is_paused.store(true, Ordering::SeqCst);
    }

    /// Counts on, for the next operation of the caller: its first failing call returns the errno
    /// that was armed, and the ones after it [`Faults::later`].
    pub fn resume(&self) {
        self.hit.store(false, Ordering::SeqCst);
        self.is_paused.store(false, Ordering::SeqCst);
    }

    /// Whether a call has failed since the fault was armed or resumed.
    #[must_use]
    pub fn hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// What calls return that fail after the first one of an operation that returned `first`.
    #[must_use]
    pub fn later(first: Errno) -> Errno {
        if first == Errno::Rofs { Errno::Io } else { Errno::Rofs }
    }

    /// Whether this call fails.
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
        if self.dawdles {
            // Not always as long, so that either of two may come first.
            for _ in 0..8 * (self.steps.fetch_add(1, Ordering::Relaxed) % 7) {
                std::thread::yield_now();
            }
        }
        if self.kinds == Kinds::Changes && step == Step::Looks {
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
    if let Some(dir) = any.downcast_ref::<upper::FaultyUpper>() {
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

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.faults.step(Step::Looks)?;
        self.inner.read_vec(to, len, offset)
    }
}
