//! The trait `File`, the contract of an open file.

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};

use crate::{Errno, FileType, Result, SetTimes, Stat, bug};

/// The data that [`File::sync`] makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// The bytes, and the metadata needed to read them back (`fdatasync`).
    Data,
    /// The bytes and all metadata (`fsync`).
    All,
}

/// The expected access pattern of a byte range, as for `posix_fadvise`.
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fadvise.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// No particular pattern.
    Normal,
    /// From lower offsets to higher ones.
    Sequential,
    /// In random order.
    Random,
    /// The range will be accessed soon.
    WillNeed,
    /// The range will not be accessed soon.
    DontNeed,
    /// The range will be accessed once.
    NoReuse,
}

/// A handle on an open file, which is read and written at explicit offsets.
///
/// The trait has no shared cursor. The one position that a handle keeps is the end of its last
/// append ([`File::appended_to`]). A handle permits the operations of the [`Access`](crate::Access)
/// that it was opened with, even after its name is removed.
///
/// Offsets never overflow silently: a write that would end after `i64::MAX` fails with `EFBIG`, and
/// a read there is at the end of the file.
pub trait File: Any + Send + Sync {
    /// Returns the type: [`FileType::File`] or [`FileType::CharDevice`]. Makes no system call.
    fn kind(&self) -> FileType {
        FileType::File
    }

    /// Reads into `bufs`, in order, starting at `offset`. Returns the number of bytes.
    ///
    /// A short read means the end of the file, or that no more bytes were available at once. 0 with
    /// a non-empty buffer means the end of the file.
    ///
    /// # Errors
    ///
    /// - `EBADF`: the handle was not opened for reading.
    /// - `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pread.html>
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize>;

    /// Writes `bufs`, in order, starting at `offset`. Returns the number of bytes, 0 only if `bufs`
    /// is empty.
    ///
    /// A gap between the end of the file and `offset` becomes zeros.
    ///
    /// # Errors
    ///
    /// - `EBADF`: the handle was not opened for writing.
    /// - `EFBIG`: the write would end after `i64::MAX`.
    /// - `ENOSPC`, `EDQUOT`, `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pwrite.html>
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize>;

    /// Appends `bufs` to the file atomically. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// - As for [`File::write_at`].
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html> (with
    /// `O_APPEND`)
    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize>;

    /// Returns the offset after this handle's last append. Unspecified before the first append.
    ///
    /// A method of its own because few callers need the offset and it may cost a system call.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/lseek.html> (`SEEK_CUR`)
    fn appended_to(&self) -> Result<u64>;

    /// Returns the metadata of the file. `nlink` is 0 after the last name is removed.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstat.html>
    fn stat(&self) -> Result<Stat>;

    /// Truncates the file to `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: the handle was not opened for writing.
    /// - `EFBIG`: `len` is greater than `i64::MAX`.
    /// - `ENOSPC`, `EIO`.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ftruncate.html>
    fn set_len(&self, len: u64) -> Result<()>;

    /// Allocates `len` bytes at `offset`. Afterwards the file has at least `offset + len` bytes; it
    /// never shrinks.
    ///
    /// # Errors
    ///
    /// - `EBADF`: the handle was not opened for writing.
    /// - `EINVAL`: `len` is 0.
    /// - `EFBIG`: `offset + len` is greater than `i64::MAX`.
    /// - `ENOSPC`.
    /// - `ENOTSUP`: the filesystem cannot allocate.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fallocate.html>
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let _ = (offset, len);
        Err(Errno::Notsup)
    }

    /// Sets the times. Any access mode permits it, since POSIX asks for the owner of the file, not
    /// for an access mode; a policy layer may refuse.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/futimens.html>
    fn set_times(&self, times: SetTimes) -> Result<()>;

    /// Makes written data durable. Succeeds if there is nothing to do.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html>,
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fdatasync.html>
    fn sync(&self, scope: SyncScope) -> Result<()>;

    /// Announces an access pattern. A hint has no visible effect, so an implementation may ignore
    /// it.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fadvise.html>
    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        let _ = (offset, len, advice);
        Ok(())
    }

    /// Returns whether a call on this file can block on a disk, a network or a device. An async
    /// adapter makes such calls on another thread.
    ///
    /// `false` is a promise; `true` is always correct.
    fn may_block(&self) -> bool {
        true
    }

    /// Returns a number like [`Dir::epoch`](crate::Dir::epoch), for callers that buffer bytes or
    /// metadata.
    fn epoch(&self) -> u64 {
        0
    }

    /// Reads at most `len` bytes at `offset` and appends them to `to`. Returns their number, as
    /// [`File::read_at`] does.
    ///
    /// For callers without a buffer: an implementation can avoid zeroing one first.
    ///
    /// # Errors
    ///
    /// - As for [`File::read_at`]. `to` is unchanged then.
    ///
    /// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pread.html>
    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        let before = to.len();
        to.resize(before.saturating_add(len), 0);
        let done = match to.get_mut(before..) {
            Some(buf) => self.read_at(&mut [IoSliceMut::new(buf)], offset),
            None => Err(bug!("a resized vector is shorter than {before} bytes")),
        };
        to.truncate(before.saturating_add(*done.as_ref().unwrap_or(&0)));
        done
    }
}
