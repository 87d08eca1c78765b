//! The `File` of the memory filesystem.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Env;
use super::leaf::{Leaf, LeafContent};
use crate::{Access, Errno, File, FileType, Result, SetTimes, Stat, SyncScope};

pub(super) struct MemFile {
    env: Arc<Env>,
    leaf: Arc<Leaf>,
    access: Access,
    appended_to: AtomicU64,
}

impl MemFile {
    pub(super) fn new(env: Arc<Env>, leaf: Arc<Leaf>, access: Access) -> Self {
        MemFile { env, leaf, access, appended_to: AtomicU64::new(0) }
    }

    fn check_writes(&self, errno: Errno) -> Result<()> {
        if self.access.writes() { Ok(()) } else { Err(errno) }
    }

    fn is_null(&self) -> bool {
        matches!(self.leaf.content, LeafContent::Null)
    }
}

fn total(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|buf| buf.len()).sum()
}

impl File for MemFile {
    fn kind(&self) -> FileType {
        self.leaf.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        Ok(self.leaf.read().bytes.read_at(bufs, offset))
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.check_writes(Errno::Badf)?;
        if self.is_null() {
            return Ok(total(bufs));
        }
        let now = self.env.now();
        let mut state = self.leaf.write();
        let done = state.bytes.write_at(bufs, offset)?;
        if done > 0 {
            state.times.touch(now);
        }
        Ok(done)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.check_writes(Errno::Badf)?;
        if self.is_null() {
            return Ok(total(bufs));
        }
        let now = self.env.now();
        let mut state = self.leaf.write();
        let end = state.bytes.len();
        let done = state.bytes.write_at(bufs, end)?;
        if done > 0 {
            state.times.touch(now);
        }
        self.appended_to.store(end + done as u64, Ordering::Relaxed);
        Ok(done)
    }

    fn appended_to(&self) -> Result<u64> {
        Ok(self.appended_to.load(Ordering::Relaxed))
    }

    fn stat(&self) -> Result<Stat> {
        Ok(self.leaf.stat())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.check_writes(Errno::Inval)?;
        if self.is_null() {
            return Err(Errno::Inval);
        }
        let now = self.env.now();
        let mut state = self.leaf.write();
        state.bytes.set_len(len)?;
        state.times.touch(now);
        Ok(())
    }

    /// Extends the file without allocating chunks, and fails with `ENOSPC` if the bytes would
    /// exceed the capacity.
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writes(Errno::Badf)?;
        if len == 0 {
            return Err(Errno::Inval);
        }
        if self.is_null() {
            return Err(Errno::Nodev);
        }
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        let now = self.env.now();
        let mut state = self.leaf.write();
        let size = state.bytes.len();
        if end > size {
            if !self.env.meter.has_room(len.min(end - size)) {
                return Err(Errno::Nospc);
            }
            state.bytes.set_len(end)?;
            state.times.touch(now);
        }
        Ok(())
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        if self.env.is_frozen() {
            return Err(Errno::Rofs);
        }
        self.leaf.write().times.set(times, self.env.now());
        Ok(())
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        Ok(self.leaf.read().bytes.read_vec(to, len, offset))
    }
}
