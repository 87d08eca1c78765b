//! An open file whose growth is reserved before it happens.
//!
//! A write reserves all bytes that it can add, so that a quota refuses it before the first byte
//! is written. The reservation of bytes that the inner file did not write is released.
//! Overwriting existing bytes is free and holds the size lock shared.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use palisade_vfs::{
    Access, Advice, Errno, File, FileRef, FileType, Result, SetTimes, Stat, SyncScope, bug,
};

use super::meter::{Counter, DescriptorSlot, Group};
use super::nodes::{CountedNode, NodeRef};

/// The maximum file length, from POSIX's `off_t`.
const LEN_MAX: u64 = i64::MAX as u64;

/// An open file of a group.
///
/// The field order is the drop order: the inner handle closes before the node is released.
pub(super) struct QuotaFile {
    pub(super) inner: FileRef,
    /// The node. `None` if the policy under the quota denies a stat; the file is read-only then.
    pub(super) held: Option<NodeRef>,
    pub(super) group: Arc<Group>,
    pub(super) access: Access,
    pub(super) _slot: DescriptorSlot,
}

impl QuotaFile {
    fn opened_to_write(&self, errno: Errno) -> Result<()> {
        if self.access.writes() { Ok(()) } else { Err(errno) }
    }

    /// Returns the node whose size is counted, or `None` for a device.
    fn node(&self) -> Option<&CountedNode> {
        let held = self.held.as_ref().filter(|_| self.inner.kind() == FileType::File);
        held.map(|held| &*held.node)
    }

    /// Runs `op`, which writes up to `total` bytes, and counts the bytes that it wrote.
    fn transfer(&self, total: u64, op: impl FnOnce() -> Result<usize>) -> Result<usize> {
        if !self.group.meters_writes {
            return op();
        }
        let reservation = self.group.reservation(Counter::Writes, total)?;
        let done = op()?;
        reservation.commit(done as u64);
        Ok(done)
    }

    /// Runs `op`, which extends the file from `size` to at most `most` bytes and returns the new
    /// length with its result.
    fn grow<T>(
        &self,
        node: &CountedNode,
        size: &mut u64,
        most: u64,
        op: impl FnOnce() -> Result<(u64, T)>,
    ) -> Result<T> {
        let is_too_long = self.group.file_size.is_some_and(|limit| most > limit);
        if is_too_long && most > *size {
            return Err(Errno::Fbig);
        }
        let before = node.counted_bytes(*size);
        let reservation = self
            .group
            .reservation(Counter::Bytes, node.counted_bytes(most).saturating_sub(before))?;
        let (now, result) = op()?;
        let now = now.clamp(*size, most.max(*size));
        reservation.commit(node.counted_bytes(now) - before);
        *size = now;
        Ok(result)
    }

    /// Runs `read` with the part of `total` bytes that the quota for reads permits.
    fn metered(
        &self,
        total: u64,
        offset: u64,
        read: impl FnOnce(u64) -> Result<usize>,
    ) -> Result<usize> {
        if !self.group.meters_reads || !self.access.reads() || total == 0 {
            return read(total);
        }
        let reserved = self.group.reserve_up_to(Counter::Reads, total);
        if reserved == 0 {
            // A reader at the end of the file still gets the end of the file.
            let is_at_end = self.kind() == FileType::File && self.inner.stat()?.size <= offset;
            return if is_at_end { Ok(0) } else { Err(Errno::Dquot) };
        }
        let done = read(reserved);
        let read = done.as_ref().map_or(0, |done| *done as u64);
        self.group.release(Counter::Reads, reserved.saturating_sub(read));
        done
    }

    /// Implements [`File::set_len`] for a file whose size is locked.
    fn resize(&self, node: &CountedNode, size: &mut u64, len: u64) -> Result<()> {
        if len > *size {
            return self.grow(node, size, len, || Ok((len, self.inner.set_len(len)?)));
        }
        self.inner.set_len(len)?;
        self.group.shrunk(node, size, len);
        Ok(())
    }
}

impl Group {
    /// Releases the bytes that a truncation to `len` freed.
    pub(super) fn shrunk(&self, node: &CountedNode, size: &mut u64, len: u64) {
        self.release(
            Counter::Bytes,
            node.counted_bytes(*size).saturating_sub(node.counted_bytes(len)),
        );
        *size = len;
    }
}

fn total(bufs: &[IoSlice<'_>]) -> u64 {
    bufs.iter().fold(0, |sum, buf| sum.saturating_add(buf.len() as u64))
}

/// Calls `op` with the first `most` bytes of `bufs`.
fn trimmed(
    bufs: &mut [IoSliceMut<'_>],
    most: u64,
    op: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize>,
) -> Result<usize> {
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    let mut short = Vec::new();
    for buf in bufs {
        let n = left.min(buf.len());
        left -= n;
        match buf.get_mut(..n) {
            Some(buf) => short.push(IoSliceMut::new(buf)),
            None => return Err(bug!("a buffer is shorter than {n}")),
        }
        if left == 0 {
            break;
        }
    }
    op(&mut short)
}

#[deny(clippy::missing_trait_methods)]
impl File for QuotaFile {
    fn kind(&self) -> FileType {
        self.inner.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let total = bufs.iter().fold(0_u64, |sum, buf| sum.saturating_add(buf.len() as u64));
        self.metered(total, offset, |most| match most < total {
            true => trimmed(bufs, most, |bufs| self.inner.read_at(bufs, offset)),
            false => self.inner.read_at(bufs, offset),
        })
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.metered(len as u64, offset, |most| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.inner.read_vec(to, most, offset)
        })
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.opened_to_write(Errno::Badf)?;
        let total = total(bufs);
        let write = || self.inner.write_at(bufs, offset);
        let node = match self.node() {
            Some(node) if total > 0 => node,
            Some(_) | None => return self.transfer(total, write),
        };
        let end = offset.checked_add(total).filter(|end| *end <= LEN_MAX).ok_or(Errno::Fbig)?;
        {
            let size = node.size.read();
            if end <= *size {
                return self.transfer(total, write);
            }
        }
        let mut size = node.size.write();
        let (before, most) = (*size, end.max(*size));
        self.grow(node, &mut size, most, || {
            let done = self.transfer(total, write)?;
            let reached = if done > 0 { offset.saturating_add(done as u64) } else { 0 };
            Ok((reached.max(before), done))
        })
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.opened_to_write(Errno::Badf)?;
        let total = total(bufs);
        let write = || self.inner.append(bufs);
        let node = match self.node() {
            Some(node) if total > 0 => node,
            Some(_) | None => return self.transfer(total, write),
        };
        let mut size = node.size.write();
        let before = *size;
        let end = before.checked_add(total).filter(|end| *end <= LEN_MAX).ok_or(Errno::Fbig)?;
        self.grow(node, &mut size, end, || {
            let done = self.transfer(total, write)?;
            Ok((before.saturating_add(done as u64), done))
        })
    }

    fn appended_to(&self) -> Result<u64> {
        self.inner.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.opened_to_write(Errno::Inval)?;
        let Some(node) = self.node() else { return self.inner.set_len(len) };
        if len > LEN_MAX {
            return Err(Errno::Fbig);
        }
        self.resize(node, &mut node.size.write(), len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.opened_to_write(Errno::Badf)?;
        let Some(node) = self.node() else { return self.inner.allocate(offset, len) };
        if len == 0 {
            return Err(Errno::Inval);
        }
        let end = offset.checked_add(len).filter(|end| *end <= LEN_MAX).ok_or(Errno::Fbig)?;
        let mut size = node.size.write();
        let most = end.max(*size);
        self.grow(node, &mut size, most, || Ok((most, self.inner.allocate(offset, len)?)))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
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
}
