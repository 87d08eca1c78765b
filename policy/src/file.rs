//! A confined file: an open file some of whose verbs are refused.
//!
//! A handle can do what it was opened for, and opening was judged; so most of what is tested here
//! was tested before, and is tested again because it costs nothing. What only this layer holds
//! back is changing the times, which any handle can do, and changing the size, which any handle
//! that writes can do. It is an allowlist: a verb that this file does not know is not there.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use palisade_vfs::{
    Advice, Errno, File, FileRef, FileType, Result, Rights, SetTimes, Stat, SyncScope,
};

use crate::{Policy, State};

/// An open file under a policy that does not grant all of [`Rights::OF_FILES`].
pub(crate) struct ConfinedFile {
    pub(crate) inner: FileRef,
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: State,
}

impl ConfinedFile {
    fn require(&self, wanted: Rights) -> Result<()> {
        self.policy.require(self.state, wanted)
    }

    /// Without the right to `access`, the handle cannot have been opened for it.
    fn opened_for(&self, access: Rights) -> Result<()> {
        self.require(access).map_err(|_| Errno::Badf)
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for ConfinedFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.opened_for(Rights::READ)?;
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.opened_for(Rights::WRITE)?;
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.opened_for(Rights::WRITE)?;
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.require(Rights::STAT)?;
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.opened_for(Rights::WRITE)?;
        self.require(Rights::SET_LEN)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.opened_for(Rights::WRITE)?;
        self.require(Rights::SET_LEN)?;
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.require(Rights::SET_TIMES)?;
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.opened_for(Rights::READ)?;
        self.inner.read_vec(to, len, offset)
    }
}
