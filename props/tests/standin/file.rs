//! An open file of the stand-in overlay.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use palisade_vfs::{
    Access, Advice, Descent, DirRef, File, FileRef, FileType, OpenFlags, OpenHow, Result, SetTimes,
    Stat, SyncScope,
};

use super::{Bug, State};

pub(super) struct CopiedFile {
    pub(super) inner: FileRef,
    pub(super) state: Arc<State>,
    pub(super) parent: DirRef,
    pub(super) name: String,
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) old_bytes: Option<Vec<u8>>,
    pub(super) old_stat: Option<Stat>,
}

impl CopiedFile {
    fn lower(&self, access: Access) -> Option<FileRef> {
        let how = OpenHow::new(access, OpenFlags::empty());
        self.state.lower_open(&self.path, how)?.into_file().ok()
    }

    fn written(&self, count: Result<usize>) -> Result<usize> {
        if self.state.bug == Bug::RemovedComesBack && self.inner.stat()?.nlink == 0 {
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
            let _ = self.parent.open(Descent::new(&self.name)?, how);
        }
        self.state.refused(count)
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for CopiedFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let Some(old) = &self.old_bytes else {
            return self.state.refused(self.inner.read_at(bufs, offset));
        };
        let at = usize::try_from(offset).unwrap_or(usize::MAX).min(old.len());
        let mut rest = &old[at..];
        let mut done = 0;
        for buf in bufs {
            let count = rest.len().min(buf.len());
            buf[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            done += count;
        }
        Ok(done)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.written(self.inner.write_at(bufs, offset))
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.written(self.inner.append(bufs))
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        match self.old_stat {
            Some(old) => Ok(old),
            None => Ok(self.state.seen(self.inner.stat()?)),
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        if self.state.bug == Bug::SetLenLosesAll {
            self.inner.set_len(0)?;
        }
        self.state.refused(self.inner.set_len(len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        if self.state.bug == Bug::AllocatesInTheLower
            && let Some(lower) = self.lower(Access::Write)
        {
            let _ = lower.allocate(offset, len);
        }
        self.state.refused(self.inner.allocate(offset, len))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        if self.state.bug == Bug::SetsTimesOfTheLower
            && !self.access.writes()
            && let Some(lower) = self.lower(Access::Hold)
        {
            let _ = lower.set_times(times);
        }
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

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        let mut buf = vec![0; len];
        let done = self.read_at(&mut [IoSliceMut::new(&mut buf)], offset)?;
        to.extend_from_slice(&buf[..done]);
        Ok(done)
    }
}
