//! An open file of an upper on the host, counted, with the identity of the lower's file.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::file::HostFile;
use super::UpperCore;
use super::xattrs::NodeId;
use crate::{Advice, Errno, File, FileType, Result, SetTimes, Stat, SyncScope};

/// An open file of an upper. It counts as one of the open files while it lives.
pub(super) struct UpperFile {
    file: HostFile,
    core: Arc<UpperCore>,
    origin: Option<NodeId>,
}

impl UpperFile {
    /// The caller holds the lock of the upper, so the upper is not frozen at the same time.
    pub(super) fn new(core: &Arc<UpperCore>, file: HostFile, origin: Option<NodeId>) -> Self {
        core.open_files.fetch_add(1, Ordering::AcqRel);
        UpperFile { file, core: Arc::clone(core), origin }
    }

    pub(super) fn host(&self) -> &HostFile {
        &self.file
    }
}

impl Drop for UpperFile {
    fn drop(&mut self) {
        self.core.open_files.fetch_sub(1, Ordering::AcqRel);
    }
}

#[deny(clippy::missing_trait_methods)]
impl File for UpperFile {
    fn kind(&self) -> FileType {
        FileType::File
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.file.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.file.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.file.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.file.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        let node_stat = self.core.without_leftover_links(self.file.stat()?);
        Ok(self.origin.map_or(node_stat, |id| id.put_on(node_stat)))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.file.allocate(offset, len)
    }

    // Reachable in a frozen upper: files can still be opened for reading.
    fn set_times(&self, times: SetTimes) -> Result<()> {
        if self.core.state.read().is_frozen {
            return Err(Errno::Rofs);
        }
        self.file.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.file.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.file.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.file.may_block()
    }

    fn epoch(&self) -> u64 {
        self.file.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.file.read_vec(to, len, offset)
    }
}
