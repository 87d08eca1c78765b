//! An observed file: sums up reads and writes, and records other operations one by one.
//!
//! A read or write costs one addition and is recorded when the handle is closed, and only the first
//! stat is recorded, unless [`Transfers::Each`] is set. The decision is derived from the position
//! of the file when the event is recorded. The layer is an allowlist: it has no default methods.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use compact_str::CompactString;
use palisade_vfs::{
    Advice, Descent, File, FileRef, FileType, Result, SetTimes, Stat, SyncScope, bug,
};

use crate::audit::decision::Observation;
use crate::audit::event::Action;
use crate::audit::event_path::{EventPath, Suffix};
use crate::audit::layer::{HandleContext, Operated};
use crate::audit::writer::{Auditor, Transfers};
use crate::automaton::policy::State;
use crate::enforce::live_position::LivePosition;
use crate::enforce::position::{PolicySnapshot, Position};
use crate::rules::operation::Operation;

/// A file whose operations are recorded.
pub(super) struct ObservedFile {
    inner: FileRef,
    /// The context of the directory handle through which the file was opened.
    context: Arc<HandleContext>,
    at: FileAt,
    /// The path of the file from that directory when it was opened.
    names: CompactString,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    /// Whether a stat of the handle was recorded.
    is_stat_recorded: AtomicBool,
}

/// The position of the file in the policy of its directory handle.
pub(super) enum FileAt {
    Fixed(State),
    Live(LivePosition),
}

impl ObservedFile {
    pub(super) fn new(
        inner: FileRef,
        context: &Arc<HandleContext>,
        at: FileAt,
        path: Descent<'_>,
    ) -> Self {
        // perf: store forwarding, see docs/performance.md. The text is built before the reference
        // count is incremented, in place.
        let mut names = CompactString::default();
        names.push_str(path.as_str());
        let context = Arc::clone(context);
        ObservedFile {
            inner,
            context,
            at,
            names,
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            is_stat_recorded: AtomicBool::new(false),
        }
    }

    fn auditor(&self) -> &Auditor {
        &self.context.observer.auditor
    }

    /// Returns the current policy and the state of the file.
    fn snapshot(&self) -> PolicySnapshot<'_> {
        match (&self.at, &self.context.position) {
            (FileAt::Fixed(state), Position::Fixed(fixed)) => {
                PolicySnapshot::fixed(&fixed.policy, *state)
            }
            (FileAt::Fixed(_), Position::Live(dir)) => {
                bug!(dir.peek(); "a file of a live policy has a fixed state")
            }
            (FileAt::Live(file), _) => file.peek(),
        }
    }

    fn record(&self, operation: Operation, result: Result<()>, bytes: Option<u64>) {
        let (action, wanted) = (Action::One(operation), operation.needs());
        let observation = &Observation { action, wanted, result, same: false, is_dir: false };
        let HandleContext { observer, path, .. } = &*self.context;
        let path = &EventPath { handle: path, suffix: Suffix::OfFile(&self.names) };
        let snapshot = &self.snapshot();
        observer.record(&Operated { snapshot, path, to: None, observation, bytes }, None);
    }

    /// Adds the result of a read or write to `sum`, or records it.
    fn count(&self, operation: Operation, sum: &AtomicU64, result: Result<usize>) {
        match result {
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

    /// Calls `perform` and records the result.
    fn recorded<T>(&self, operation: Operation, perform: impl FnOnce() -> Result<T>) -> Result<T> {
        self.auditor().check()?;
        let result = perform();
        self.record(operation, result.as_ref().map(|_| ()).map_err(|errno| *errno), None);
        result
    }
}

impl Drop for ObservedFile {
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
impl File for ObservedFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let result = self.inner.read_at(bufs, offset);
        self.count(Operation::Read, &self.bytes_read, result);
        result
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let result = self.inner.read_vec(to, len, offset);
        self.count(Operation::Read, &self.bytes_read, result);
        result
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.auditor().check()?;
        let result = self.inner.write_at(bufs, offset);
        self.count(Operation::Write, &self.bytes_written, result);
        result
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.auditor().check()?;
        let result = self.inner.append(bufs);
        self.count(Operation::Write, &self.bytes_written, result);
        result
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.auditor().check()?;
        let result = self.inner.stat();
        // Later stats have the same decision. The load is the fast path: it takes less than a swap.
        let was_recorded = || {
            self.is_stat_recorded.load(Ordering::Relaxed)
                || self.is_stat_recorded.swap(true, Ordering::Relaxed)
        };
        let is_recorded =
            result.is_ok() && self.auditor().transfers() == Transfers::AtClose && was_recorded();
        if !is_recorded {
            let recorded = result.as_ref().map(|_| ()).map_err(|errno| *errno);
            self.record(Operation::Stat, recorded, None);
        }
        result
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

    // A sink may write to a disk while the guest waits.
    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
