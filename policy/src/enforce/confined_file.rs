//! The confining layer for open files: a file whose operations are checked against a policy.
//!
//! The access mode of a handle was checked at its open. So under a fixed policy most of these
//! checks repeat that of the open, because they cost next to nothing. Only two have an
//! effect of their own: setting the times, which any handle can do, and setting the size, which any
//! writable handle can do. Under a live policy each operation is checked against the current
//! policy.
//!
//! The layer is an allowlist: it has no default methods, so a new operation of [`File`] must be
//! added here.

use std::io::{IoSlice, IoSliceMut};

use palisade_vfs::{Advice, Errno, File, FileRef, FileType, Result, SetTimes, Stat, SyncScope};

use crate::enforce::position::FilePosition;
use crate::rules::operation::Operation;

/// An open file under a policy.
pub(crate) struct ConfinedFile {
    pub(crate) inner: FileRef,
    pub(crate) position: FilePosition,
}

#[deny(clippy::missing_trait_methods)]
impl File for ConfinedFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.position.require(Operation::Read, Errno::Badf)?;
        self.inner.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.position.require(Operation::Write, Errno::Badf)?;
        self.inner.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.position.require(Operation::Write, Errno::Badf)?;
        self.inner.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.position.check()?;
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.position.require(Operation::Stat, Errno::Badf)?;
        Ok(self.position.mask_stat(self.inner.stat()?))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.position.require(Operation::SetLen, Errno::Inval)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.position.require(Operation::SetLen, Errno::Badf)?;
        self.inner.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.position.require(Operation::SetTimes, Errno::Badf)?;
        self.inner.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.position.check()?;
        self.inner.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.position.check()?;
        self.inner.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.position.epoch().wrapping_add(self.inner.epoch())
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.position.require(Operation::Read, Errno::Badf)?;
        self.inner.read_vec(to, len, offset)
    }
}
