//! An observed file: adds up what is read and written, and records the rest one by one.
//!
//! Reads and writes cost two additions, and are told when the handle is closed, and looks are told
//! once, unless each was asked for. An allowlist: a verb that this file does not know is not there.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use compact_str::CompactString;
use palisade_vfs::{Advice, Descent, File, FileRef, FileType, Result, SetTimes, Stat, SyncScope};

use crate::audit::decision::Facts;
use crate::audit::event::Act;
use crate::audit::event_path::{At, Beyond};
use crate::audit::layer::Anchor;
use crate::audit::writer::{Auditor, Transfers};
use crate::enforce::confined_dir::Stand;
use crate::rules::operation::Operation;

/// An open file that is observed.
pub(crate) struct ObservedFile<S: Stand> {
    inner: FileRef,
    /// Of the directory that it was opened through.
    anchor: Arc<Anchor<S>>,
    place: S::Beneath,
    /// The names that lead on from there, by which it was opened.
    names: CompactString,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// Whether it is told already that the handle was used to look at the file.
    has_looked: AtomicBool,
}

impl<S: Stand> ObservedFile<S> {
    /// What `path` led to from `anchor`.
    pub(crate) fn new(
        inner: FileRef,
        anchor: &Arc<Anchor<S>>,
        place: S::Beneath,
        path: Descent<'_>,
    ) -> Self {
        // perf: store forwarding, see docs/performance.md. The text is built before the reference
        // count is incremented, in place.
        let mut names = CompactString::default();
        names.push_str(path.as_str());
        let anchor = Arc::clone(anchor);
        ObservedFile {
            inner,
            anchor,
            place,
            names,
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            has_looked: AtomicBool::new(false),
        }
    }

    fn auditor(&self) -> &Auditor {
        &self.anchor.watch.auditor
    }

    fn record(&self, operation: Operation, result: Result<()>, bytes: Option<u64>) {
        let (act, wanted) = (Act::One(operation), operation.needs());
        let facts = Facts { act, wanted, result, same: false, is_dir: false };
        let Anchor { stand, watch, trail } = &*self.anchor;
        let at = At { trail, beyond: Beyond::Held(&self.names) };
        watch.record(&stand.now_of_file(&self.place), &at, &facts, bytes);
    }

    /// Takes down what a transfer did.
    fn count(&self, operation: Operation, sum: &AtomicU64, answer: Result<usize>) {
        match answer {
            Ok(len) => {
                let len = len as u64;
                match self.auditor().transfers() {
                    Transfers::Each => self.record(operation, Ok(()), Some(len)),
                    Transfers::AtClose => drop(sum.fetch_add(len, Ordering::Relaxed)),
                }
            }
            Err(errno) => self.record(operation, Err(errno), Some(0)),
        }
    }

    /// Does `verb` and records what came of it.
    fn recorded<T>(&self, operation: Operation, verb: impl FnOnce() -> Result<T>) -> Result<T> {
        self.auditor().check()?;
        let answer = verb();
        self.record(operation, answer.as_ref().map(|_| ()).map_err(|errno| *errno), None);
        answer
    }
}

impl<S: Stand> Drop for ObservedFile<S> {
    fn drop(&mut self) {
        let transfers =
            [(Operation::Read, &self.bytes_read), (Operation::Write, &self.bytes_written)];
        for (operation, sum) in transfers {
            let bytes = sum.load(Ordering::Relaxed);
            if bytes > 0 {
                self.record(operation, Ok(()), Some(bytes));
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Stand> File for ObservedFile<S> {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let answer = self.inner.read_at(bufs, offset);
        self.count(Operation::Read, &self.bytes_read, answer);
        answer
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let answer = self.inner.read_vec(to, len, offset);
        self.count(Operation::Read, &self.bytes_read, answer);
        answer
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let answer = self.inner.write_at(bufs, offset);
        self.count(Operation::Write, &self.bytes_written, answer);
        answer
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.auditor().check()?;
        let answer = self.inner.append(bufs);
        self.count(Operation::Write, &self.bytes_written, answer);
        answer
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.auditor().check()?;
        let answer = self.inner.stat();
        // One look or many: it is decided by what the handle was opened by. A look at what is told
        // mostly shows it, and takes less than a swap.
        let has_looked = || {
            self.has_looked.load(Ordering::Relaxed) || self.has_looked.swap(true, Ordering::Relaxed)
        };
        let is_told =
            answer.is_ok() && self.auditor().transfers() == Transfers::AtClose && has_looked();
        if !is_told {
            let result = answer.as_ref().map(|_| ()).map_err(|errno| *errno);
            self.record(Operation::Stat, result, None);
        }
        answer
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.recorded(Operation::SetLen, || self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.recorded(Operation::SetLen, || self.inner.allocate(offset, len))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.recorded(Operation::SetTimes, || self.inner.set_times(times))
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.inner.advise(offset, len, advice)
    }

    // A sink may write to a disk, and a guest waits for it.
    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
