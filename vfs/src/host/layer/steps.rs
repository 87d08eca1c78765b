//! Seams for tests: each call that changes the filesystem, and each sync. Outside tests nothing.

use super::super::file::HostFile;
use crate::{File, Result, SyncScope};

#[cfg(test)]
pub(super) use self::tested::{LEFT, Step, next, take_steps};

/// Called before each call that changes the filesystem.
#[cfg(not(test))]
pub(super) fn next() {}

/// Writes a file's bytes to the disk, before a name leads to them.
///
/// Errors: `Io`, `Nospc`, `Dquot`.
pub(super) fn sync_bytes(file: &HostFile) -> Result<()> {
    #[cfg(test)]
    tested::record(Step::Sync);
    file.sync(SyncScope::Data)
}

#[cfg(test)]
mod tested {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A step of this thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Step {
        /// A call that changes the filesystem.
        Change,
        /// A file's bytes are synced.
        Sync,
    }

    /// The number of changes that the process may still make; it ends before the one after.
    pub(in super::super) static LEFT: AtomicU32 = AtomicU32::new(u32::MAX);

    thread_local! {
        static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(step: Step) {
        STEPS.with_borrow_mut(|steps| steps.push(step));
    }

    /// The steps of this thread since the last call.
    pub(in super::super) fn take_steps() -> Vec<Step> {
        STEPS.take()
    }

    /// Called before each call that changes the filesystem.
    #[allow(clippy::disallowed_methods, reason = "a crash is what is tested")]
    pub(in super::super) fn next() {
        record(Step::Change);
        if LEFT.load(Ordering::Relaxed) == u32::MAX {
            return;
        }
        if LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
            std::process::abort();
        }
    }
}
