//! The contract of an open file.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};

use crate::{Errno, FileType, Result, SetTimes, Stat};

/// How much a [`File::sync`] makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// The bytes, and the metadata that is needed to read them back.
    Data,
    /// All metadata too.
    All,
}

/// How the caller is going to use a range: POSIX's `posix_fadvise`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing special.
    Normal,
    /// From lower offsets to higher ones.
    Sequential,
    /// In no order.
    Random,
    /// Soon.
    WillNeed,
    /// Not soon.
    DontNeed,
    /// Once.
    NoReuse,
}

/// An open file: bytes at offsets. It has no cursor, so it needs no lock.
///
/// A handle can do what it was opened for ([`Access`](crate::Access)), whatever happens to its
/// name later. An offset and a length never overflow silently: what would end past `i64::MAX` is
/// `Fbig` for writes and the end of the file for reads.
pub trait File: Any + Send + Sync {
    /// The type: [`FileType::File`], or [`FileType::CharDevice`]. Costs no system call.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Reads at `offset` into `bufs`, in order. Less than asked for means the end of the file or
    /// what could be had at once; 0 into a non-empty buffer means the end.
    ///
    /// Errors, in order: `Badf` if it was not opened for reading; `Io`.
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize>;

    /// Writes `bufs`, in order, at `offset`; what lies between the end and `offset` becomes zeros.
    /// The number of bytes written is 0 only if there was nothing to write.
    ///
    /// Errors, in order: `Badf` if it was not opened for writing; `Fbig`; `Nospc`, `Dquot`, `Io`.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize>;

    /// Writes `bufs` behind the last byte, as one step.
    ///
    /// Errors: as for [`File::write_at`].
    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize>;

    /// The offset behind what this handle appended last; without meaning before its first append.
    /// A question of its own, because few callers ask and it may cost a system call.
    fn appended_to(&self) -> Result<u64>;

    /// What the file is. `nlink` is 0 once its last name is gone.
    fn stat(&self) -> Result<Stat>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// Errors, in order: `Inval` if it was not opened for writing, as POSIX has it for
    /// `ftruncate`; `Fbig`; `Nospc`, `Io`.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes room for `len` bytes at `offset`: the file is at least `offset + len` long
    /// afterwards, and never shorter than before. POSIX's `posix_fallocate`.
    ///
    /// Errors, in order: `Badf` if it was not opened for writing; `Inval` for a `len` of 0;
    /// `Fbig`; `Nospc`; `Notsup`.
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(Errno::Notsup)
    }

    /// Changes the times, however the handle was opened: that is the owner's right in POSIX, and
    /// a layer's to refuse.
    fn set_times(&self, times: SetTimes) -> Result<()>;

    /// Makes what was written durable. Nothing to do is success.
    fn sync(&self, scope: SyncScope) -> Result<()>;

    /// Takes a hint about use to come. It changes nothing that a caller can see, so doing nothing
    /// is right.
    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        let _ = (offset, len, advice);
        Ok(())
    }

    /// Whether a call on this file can wait for a disk, a network or a
    /// device. A caller that must not wait makes such calls elsewhere.
    ///
    /// `false` is a promise; `true` is always a safe answer.
    fn may_block(&self) -> bool {
        true
    }

    /// As [`Dir::epoch`](crate::Dir::epoch), for a caller that buffers bytes or metadata.
    fn epoch(&self) -> u64 {
        0
    }

    /// Reads at most `len` bytes at `offset` and puts them behind what `to` holds, for a caller
    /// that has no buffer yet and would only fill one with zeros first. Answers how many, as
    /// [`File::read_at`] does.
    ///
    /// Errors: as for [`File::read_at`]; `to` is as it was then.
    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        let before = to.len();
        to.resize(before.saturating_add(len), 0);
        let done = match to.get_mut(before..) {
            Some(buf) => self.read_at(&mut [IoSliceMut::new(buf)], offset),
            None => Err(Errno::Fault),
        };
        to.truncate(before.saturating_add(*done.as_ref().unwrap_or(&0)));
        done
    }
}
