//! System calls on open descriptors: reading, writing, seeking, attributes and listings.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Advice, Descent, Errno, FileType, Result, SetTimes, Stat, Stop, SyncScope, Timestamp,
};

use crate::byte_counts;
use crate::descriptor::{Resource, Status};
use crate::dirents::{self, DirEntry, Dots, NumberedListing};
use crate::poll::wait_to_read;
use crate::table::Fd;
use crate::trace::traced;
use crate::{FdRights, Process};

/// The base of the offset of a seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The start of the file.
    Start,
    /// The current offset.
    Current,
    /// The end of the file.
    End,
}

/// The largest offset: the maximum of POSIX's `off_t`.
pub(crate) const OFFSET_MAX: u64 = i64::MAX as u64;

impl Process {
    /// Reads at the offset and advances it by the returned number of bytes; 0 means the end.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/read.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Badf`: without the right `READ`.
    /// - `Intr`: the guest was interrupted while it waited for input.
    /// - Those of the file or stream.
    #[inline]
    pub fn read(&self, fd: Fd, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        traced!("read", fd);
        let descriptor = self.table.get(fd)?;
        let description = &*descriptor.description;
        let file = match &description.resource {
            Resource::Dir(_) => return Err(Errno::Isdir),
            // POSIX: `EBADF` for a descriptor that is not open for reading.
            _ if !descriptor.base.contains(FdRights::READ) => return Err(Errno::Badf),
            Resource::Stream(stream) => {
                if bufs.iter().any(|buf| !buf.is_empty()) {
                    wait_to_read(&**stream, &self.interrupt)?;
                }
                return byte_counts::of_read(stream.read(bufs)?, bufs);
            }
            Resource::File(file) => file,
        };
        let offset = description.offset(&**file)?;
        let done = byte_counts::of_read(file.read_at(bufs, offset)?, bufs)?;
        description.set_offset(offset.saturating_add(done as u64));
        Ok(done)
    }

    /// Reads at `offset`, without using or moving the descriptor's offset.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pread.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Badf`: without the right `READ`.
    /// - `Notcapable`: without the right `SEEK`.
    /// - `Inval`: `offset` is above `i64::MAX`.
    /// - Those of the file.
    pub fn read_at(&self, fd: Fd, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        traced!("read_at", fd);
        let rights = FdRights::READ | FdRights::SEEK;
        let (file, _) = self.file(fd, rights, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        byte_counts::of_read(file.read_at(bufs, offset)?, bufs)
    }

    /// Reads at most `len` bytes at `offset`, appends them to `to`, and returns their number.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pread.html>
    ///
    /// # Errors
    ///
    /// - Those of [`Process::read_at`].
    pub fn read_vec_at(&self, fd: Fd, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        traced!("read", fd);
        let (file, _) = self.file(fd, FdRights::READ | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        byte_counts::read_vec(&**file, to, len, offset)
    }

    /// Writes at the offset, or at the end with `APPEND`, and moves the offset to the end of the
    /// written bytes.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Badf`: without the right `WRITE`.
    /// - Those of the file or stream.
    #[inline]
    pub fn write(&self, fd: Fd, bufs: &[IoSlice<'_>]) -> Result<usize> {
        traced!("write", fd);
        let descriptor = self.table.get(fd)?;
        let description = &*descriptor.description;
        let file = match &description.resource {
            Resource::Dir(_) => return Err(Errno::Isdir),
            _ if !descriptor.base.contains(FdRights::WRITE) => return Err(Errno::Badf),
            Resource::Stream(stream) => return byte_counts::of_write(stream.write(bufs)?, bufs),
            Resource::File(file) => file,
        };
        if description.status().contains(Status::APPEND) {
            let done = byte_counts::of_write(file.append(bufs)?, bufs)?;
            if done > 0 {
                description.set_offset_after_append();
            }
            return Ok(done);
        }
        let offset = description.offset(&**file)?;
        let done = byte_counts::of_write(file.write_at(bufs, offset)?, bufs)?;
        description.set_offset(offset.saturating_add(done as u64));
        Ok(done)
    }

    /// Writes at `offset`, without using or moving the descriptor's offset. With `APPEND` it writes
    /// at the end of the file, as Linux does (`man 2 pwrite`, BUGS).
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/pwrite.html>
    ///
    /// # Errors
    ///
    /// - Those of [`Process::read_at`], with the right `WRITE` instead of `READ`.
    pub fn write_at(&self, fd: Fd, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        traced!("write_at", fd);
        let rights = FdRights::WRITE | FdRights::SEEK;
        let (file, description) = self.file(fd, rights, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        if description.status().contains(Status::APPEND) {
            let before = description.offset(&**file)?;
            let done = file.append(bufs);
            description.set_offset(before);
            return byte_counts::of_write(done?, bufs);
        }
        byte_counts::of_write(file.write_at(bufs, offset)?, bufs)
    }

    /// Moves the offset and returns it. Moving by 0 from the current offset needs only `TELL`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/lseek.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Notcapable`: without the right `SEEK`.
    /// - `Inval`: the result is negative or above `i64::MAX`.
    #[inline]
    pub fn seek(&self, fd: Fd, delta: i64, whence: Whence) -> Result<u64> {
        traced!("seek", fd);
        if delta == 0 && whence == Whence::Current {
            return self.tell(fd);
        }
        let (file, description) = self.file(fd, FdRights::SEEK, Errno::Spipe)?;
        let base = match whence {
            Whence::Start => 0,
            Whence::Current => description.offset(&**file)?,
            Whence::End => file.stat()?.size,
        };
        let offset = base.checked_add_signed(delta).ok_or(Errno::Inval)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        description.set_offset(offset);
        Ok(offset)
    }

    /// Returns the offset.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/lseek.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Notcapable`: with neither `TELL` nor `SEEK`.
    #[inline]
    pub fn tell(&self, fd: Fd) -> Result<u64> {
        let (file, description) = match self.file(fd, FdRights::TELL, Errno::Spipe) {
            Err(Errno::Notcapable) => self.file(fd, FdRights::SEEK, Errno::Spipe)?,
            done => done?,
        };
        description.offset(&**file)
    }

    /// Returns the attributes of an open file, directory or stream.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: without the right `STAT`.
    /// - Those of the file or directory.
    #[inline]
    pub fn stat(&self, fd: Fd) -> Result<Stat> {
        traced!("stat", fd);
        self.table.with(fd, FdRights::STAT)?;
        self.stat_unchecked(fd)
    }

    /// As [`Process::stat`], without checking rights.
    #[inline]
    pub(crate) fn stat_unchecked(&self, fd: Fd) -> Result<Stat> {
        match &self.table.get(fd)?.description.resource {
            Resource::Dir(dir) => without_link(dir.stat(Descent::HERE)),
            Resource::File(file) => file.stat(),
            Resource::Stream(stream) => Ok(Stat {
                kind: stream.kind(),
                dev: 0,
                // Streams have no inode. The numbers must differ, and not be 0.
                ino: u64::from(fd) + 1,
                nlink: 1,
                size: 0,
                accessed: Timestamp::EPOCH,
                modified: Timestamp::EPOCH,
                changed: Timestamp::EPOCH,
            }),
        }
    }

    /// Truncates a file to `len` bytes, or extends it with zeros.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/ftruncate.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Inval`: a stream.
    /// - `Notcapable`: without the right `SET_LEN`.
    /// - `Fbig`: `len` is above `i64::MAX`.
    /// - Those of the file.
    pub fn set_len(&self, fd: Fd, len: u64) -> Result<()> {
        traced!("set_len", fd);
        let (file, _) = self.file(fd, FdRights::SET_LEN, Errno::Inval)?;
        if len > OFFSET_MAX {
            return Err(Errno::Fbig);
        }
        file.set_len(len)
    }

    /// Allocates space for `len` bytes at `offset`, extending the file if necessary.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fallocate.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Notcapable`: without the right `ALLOCATE`.
    /// - `Inval`: `len` is 0.
    /// - `Fbig`: the end is above `i64::MAX`.
    /// - Those of the file.
    pub fn allocate(&self, fd: Fd, offset: u64, len: u64) -> Result<()> {
        traced!("allocate", fd);
        let (file, _) = self.file(fd, FdRights::ALLOCATE, Errno::Spipe)?;
        if len == 0 {
            return Err(Errno::Inval);
        }
        match offset.checked_add(len) {
            Some(end) if end <= OFFSET_MAX => file.allocate(offset, len),
            Some(_) | None => Err(Errno::Fbig),
        }
    }

    /// Passes an access pattern hint for `len` bytes at `offset` to the file.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fadvise.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open, or a directory.
    /// - `Spipe`: a stream.
    /// - `Notcapable`: without the right `ADVISE`.
    /// - `Inval`: `offset` or `len` is above `i64::MAX`.
    /// - Those of the file.
    pub fn advise(&self, fd: Fd, offset: u64, len: u64, advice: Advice) -> Result<()> {
        traced!("advise", fd);
        let (file, _) = match self.file(fd, FdRights::ADVISE, Errno::Spipe) {
            Err(Errno::Isdir) => return Err(Errno::Badf),
            done => done?,
        };
        if offset > OFFSET_MAX || len > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        file.advise(offset, len, advice)
    }

    /// Synchronizes the contents of a file, or the entries of a directory, to disk.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Inval`: a stream.
    /// - `Notcapable`: without the right `DATASYNC` or `SYNC`, according to `scope`.
    /// - Those of the file or directory.
    pub fn sync(&self, fd: Fd, scope: SyncScope) -> Result<()> {
        traced!("sync", fd);
        let rights = match scope {
            SyncScope::Data => FdRights::DATASYNC,
            SyncScope::All => FdRights::SYNC,
        };
        let descriptor = self.table.get(fd)?;
        if matches!(descriptor.description.resource, Resource::Stream(_)) {
            return Err(Errno::Inval);
        }
        match &self.table.with(fd, rights)?.description.resource {
            Resource::Dir(dir) => dir.sync(),
            Resource::File(file) => file.sync(scope),
            Resource::Stream(_) => Err(Errno::Inval),
        }
    }

    /// Sets the access and modification times of an open file or directory.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/futimens.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notcapable`: without the right `SET_TIMES`.
    /// - `Inval`: a stream.
    /// - Those of the file or directory.
    pub fn set_times(&self, fd: Fd, times: SetTimes) -> Result<()> {
        traced!("set_times", fd);
        let times = self.resolve_now(times);
        match &self.table.with(fd, FdRights::SET_TIMES)?.description.resource {
            Resource::Dir(dir) => without_link(dir.set_times(Descent::HERE, times)),
            Resource::File(file) => file.set_times(times),
            Resource::Stream(_) => Err(Errno::Inval),
        }
    }

    /// Calls `each` for the directory entries from the cookie `from` on, until it breaks or the
    /// end. Cookie 0 is the start; reading from it rewinds the stream.
    ///
    /// Cookies are at most `i32::MAX` and valid for the open file description, also after entries
    /// are created or removed. See [`Limits::positions_max`](crate::Limits::positions_max).
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readdir.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `LIST`.
    /// - `Inval`: the open file description has not returned the cookie.
    /// - `Overflow`: the next cookie would exceed `i32::MAX`.
    /// - Those of the directory.
    pub fn read_dir(
        &self,
        fd: Fd,
        from: u64,
        dots: Dots,
        each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        traced!("read_dir", fd);
        let (dir, descriptor) = self.dir(fd, FdRights::LIST)?;
        let mut listing = descriptor.description.listing.lock();
        let listing = listing
            .get_or_insert_with(|| Box::new(NumberedListing::new(self.limits().positions_max)));
        dirents::list(&**dir, listing, from, dots, each)
    }

    /// Returns the file type of a descriptor.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    pub fn kind(&self, fd: Fd) -> Result<FileType> {
        Ok(self.table.get(fd)?.kind)
    }
}

/// Converts the result of an operation on [`Descent::HERE`], which never stops at a symbolic link.
fn without_link<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
