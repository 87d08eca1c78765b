//! [`File`] for an open file of a mounted filesystem.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_vfs::{Errno, File, OpenFlags, OpenHow, Result, SetTimes, Stat, SyncScope};
use parking_lot::Mutex;

use super::contents::{end_of, total};
use super::nodes::Ino;
use super::state::State;

/// A handle of a file, counted in its node. Dropping the last handle saves the file.
pub(super) struct MountFile {
    state: Arc<Mutex<State>>,
    ino: Ino,
    how: OpenHow,
    appended_to: AtomicU64,
}

impl MountFile {
    /// Creates a handle that [`State::open`] has counted.
    pub(super) fn new(state: Arc<Mutex<State>>, ino: Ino, how: OpenHow) -> Self {
        MountFile { state, ino, how, appended_to: AtomicU64::new(0) }
    }

    fn check_writes(&self, errno: Errno) -> Result<()> {
        if self.how.access.writes() { Ok(()) } else { Err(errno) }
    }

    /// Saves the file after a write, if the handle is synchronous.
    fn written(&self, state: &mut State) -> Result<()> {
        if self.how.flags.intersects(OpenFlags::SYNC | OpenFlags::DSYNC) {
            return state.save(self.ino);
        }
        Ok(())
    }
}

impl Drop for MountFile {
    fn drop(&mut self) {
        self.state.lock().release(self.ino);
    }
}

impl File for MountFile {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        if !self.how.access.reads() {
            return Err(Errno::Badf);
        }
        self.state.lock().read_at(self.ino, bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.check_writes(Errno::Badf)?;
        if total(bufs) == 0 {
            return Ok(0);
        }
        end_of(bufs, offset)?;
        let mut state = self.state.lock();
        let count = state.change(self.ino, |buffer| buffer.write(bufs, offset))?;
        self.written(&mut state)?;
        Ok(count)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.check_writes(Errno::Badf)?;
        if total(bufs) == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        let end = state.append(self.ino, bufs)?;
        self.appended_to.store(end, Ordering::Relaxed);
        self.written(&mut state)?;
        Ok(total(bufs))
    }

    fn appended_to(&self) -> Result<u64> {
        Ok(self.appended_to.load(Ordering::Relaxed))
    }

    fn stat(&self) -> Result<Stat> {
        self.state.lock().stat(self.ino)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.check_writes(Errno::Inval)?;
        let mut state = self.state.lock();
        if len == 0 {
            state.empty(self.ino)?;
        } else {
            state.change(self.ino, |buffer| buffer.set_len(len))?;
        }
        self.written(&mut state)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writes(Errno::Badf)?;
        if len == 0 {
            return Err(Errno::Inval);
        }
        let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
        let mut state = self.state.lock();
        state.change(self.ino, |buffer| buffer.set_len(end.max(buffer.len())))?;
        self.written(&mut state)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.state.lock().set_times(self.ino, times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        let _ = scope;
        self.state.lock().save(self.ino)
    }
}
