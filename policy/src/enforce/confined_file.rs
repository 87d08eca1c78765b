//! A confined file: an open file some of whose verbs are refused.
//!
//! A handle can do what it was opened for, and opening was judged; so under a policy that does not
//! change most of what is tested here was tested before, and is tested again because it costs
//! nothing. What only this layer holds back is changing the times, which any handle can do, and
//! changing the size, which any handle that writes can do. Under a policy that is narrowed, each
//! verb is judged as the policy is when it is done. It is an allowlist: a verb that this file does
//! not know is not there.

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{
    Advice, Errno, File, FileRef, FileType, Result, Rights, SetTimes, Stat, SyncScope,
};

use crate::enforce::checked_dir::veil;
use crate::enforce::confined_dir::Fixed;
use crate::rules::operation::Operation;

/// An open file about which something needs a guard.
pub(crate) struct ConfinedFile<G> {
    pub(crate) inner: FileRef,
    pub(crate) grip: G,
}

/// What guards an open file.
pub(crate) trait Grip: Send + Sync + 'static {
    /// Nothing if `operation` is granted now; the error that tells it otherwise, which is
    /// `unopened` for a handle that was not opened for it.
    fn require(&self, operation: Operation, unopened: Errno) -> Result<()>;

    /// `stat` without what may not be told.
    fn veiled(&self, stat: Stat) -> Stat;

    /// Whether a verb that takes no right of its own is refused: because nothing is granted any
    /// more.
    fn check(&self) -> Result<()>;

    /// Differs once the policy was narrowed or revoked, or a lease has ended.
    fn epoch(&self) -> u64;
}

/// Without a right to access the bytes the handle cannot have been opened for it: then it is
/// `unopened`, as the file itself would say.
pub(crate) fn never_opened(missing: Rights, unopened: Errno) -> Result<()> {
    if missing.intersects(Rights::READ | Rights::WRITE) { Err(unopened) } else { Ok(()) }
}

impl Grip for Fixed {
    fn require(&self, operation: Operation, unopened: Errno) -> Result<()> {
        let wanted = operation.needs();
        let missing = wanted - self.policy.rights(self.state);
        if missing.is_empty() {
            return Ok(());
        }
        never_opened(missing, unopened)?;
        self.policy.require(self.state, wanted)
    }

    fn veiled(&self, stat: Stat) -> Stat {
        veil(&self.policy, stat)
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn epoch(&self) -> u64 {
        0
    }
}

#[deny(clippy::missing_trait_methods)]
impl<G: Grip> File for ConfinedFile<G> {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.grip.require(Operation::Read, Errno::Badf)?;
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.grip.require(Operation::Write, Errno::Badf)?;
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.grip.require(Operation::Write, Errno::Badf)?;
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.grip.check()?;
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.grip.require(Operation::Stat, Errno::Badf)?;
        Ok(self.grip.veiled(self.inner.stat()?))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.grip.require(Operation::SetLen, Errno::Inval)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.grip.require(Operation::SetLen, Errno::Badf)?;
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.grip.require(Operation::SetTimes, Errno::Badf)?;
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.grip.check()?;
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.grip.check()?;
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.grip.epoch().wrapping_add(self.inner.epoch())
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.grip.require(Operation::Read, Errno::Badf)?;
        self.inner.read_vec(to, len, offset)
    }
}
