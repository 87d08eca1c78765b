//! Fault injection for tests: before each call that changes the filesystem, and at each sync.
//!
//! Outside tests the functions do nothing.

use super::super::file::HostFile;
use crate::{File, Result, SyncScope};

#[cfg(test)]
pub(super) use self::tested::{
    LEFT, Step, before_change, fail, ignore_failure, take_failed, take_steps,
};

/// Must be called before each system call that changes the filesystem.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
#[inline(always)]
pub(super) fn before_change() -> rustix::io::Result<()> {
    Ok(())
}

/// Must be called where the failure of a call does not fail the operation.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn ignore_failure() {}

/// Writes the content of a file to the disk, before a name leads to it.
///
/// # Errors
/// - `EIO`, `ENOSPC`, `EDQUOT`
pub(super) fn sync_bytes(file: &HostFile) -> Result<()> {
    #[cfg(test)]
    tested::record(Step::Sync);
    file.sync(SyncScope::Data)
}

#[cfg(test)]
mod tested {
    use std::cell::{Cell, RefCell};
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::io;

    /// A recorded step of this thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Step {
        /// A call that changes the filesystem.
        Change,
        /// A sync of a file's content.
        Sync,
    }

    /// The changes until the process aborts, to simulate a crash.
    pub(in super::super) static LEFT: AtomicU32 = AtomicU32::new(u32::MAX);

    thread_local! {
        static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
        /// The successful changes of this thread until the first failure, and the number of
        /// failures.
        static FAILING: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
        /// Whether a change has failed.
        static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
        /// Whether the next failure is the first one of the operation.
        static IS_FIRST: Cell<bool> = const { Cell::new(true) };
    }

    pub(super) fn record(step: Step) {
        STEPS.with_borrow_mut(|steps| steps.push(step));
    }

    /// Returns the steps of this thread since the last call.
    pub(in super::super) fn take_steps() -> Vec<Step> {
        STEPS.take()
    }

    /// Lets `failing` changes of this thread fail after `nth` successful ones. The first failure of
    /// an operation is `NOSPC`, later ones are `ROFS`.
    pub(in super::super) fn fail((nth, failing): (u32, u32)) {
        HAS_FAILED.set(false);
        IS_FIRST.set(true);
        FAILING.set((nth, failing));
    }

    /// Returns whether a change has failed, and stops the injection.
    pub(in super::super) fn take_failed() -> bool {
        FAILING.set((0, 0));
        HAS_FAILED.replace(false)
    }

    /// Must be called where the failure of a call does not fail the operation.
    pub(in super::super) fn ignore_failure() {
        IS_FIRST.set(true);
    }

    /// Must be called before each system call that changes the filesystem.
    #[allow(clippy::disallowed_methods, reason = "a crash is what is tested")]
    pub(in super::super) fn before_change() -> io::Result<()> {
        record(Step::Change);
        if LEFT.load(Ordering::Relaxed) != u32::MAX && LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
            std::process::abort();
        }
        match FAILING.get() {
            (0, 0) => return Ok(()),
            (0, u32::MAX) => {}
            (0, failing) => FAILING.set((0, failing - 1)),
            (left, failing) => {
                FAILING.set((left - 1, failing));
                return Ok(());
            }
        }
        HAS_FAILED.set(true);
        Err(if IS_FIRST.replace(false) { io::Errno::NOSPC } else { io::Errno::ROFS })
    }
}
