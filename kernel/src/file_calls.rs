//! Calls on open descriptors: bytes, offsets, sizes, times.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Advice, Descent, Errno, FileType, Result, SetTimes, Stat, Stop, SyncScope, Timestamp,
};

use crate::byte_counts;
use crate::descriptor::{Resource, Status};
use crate::dirents::{self, DirEntry, Dots};
use crate::poll::wait_to_read;
use crate::table::Fd;
use crate::trace::traced;
use crate::{FdRights, Process};

/// Where an offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// The start of the file.
    Start,
    /// The current offset.
    Current,
    /// The end of the file.
    End,
}

/// The largest offset: POSIX's `off_t`.
pub(crate) const OFFSET_MAX: u64 = i64::MAX as u64;

impl Process {
    /// Reads at the offset, which moves on by what was read.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Badf` without the right; `Intr` if the guest is woken
    /// while it waits for the host; those of the file or stream.
    #[inline]
    pub fn read(&self, fd: Fd, bufs: &mut [IoSliceMut<'_>]) -> Result<usize> {
        traced!("read", fd);
        let descriptor = self.table.get(fd)?;
        let description = &*descriptor.description;
        let file = match &description.resource {
            Resource::Dir(_) => return Err(Errno::Isdir),
            // POSIX has `EBADF` for a descriptor that was not opened for it.
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

    /// Reads at `offset`; the descriptor's own offset stays.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe` for a stream; `Badf` without the right to read;
    /// `Notcapable` without the right to seek; `Inval` above `i64::MAX`; those of the file.
    pub fn read_at(&self, fd: Fd, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        traced!("read_at", fd);
        let rights = FdRights::READ | FdRights::SEEK;
        let (file, _) = self.file(fd, rights, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        byte_counts::of_read(file.read_at(bufs, offset)?, bufs)
    }

    /// Reads at most `len` bytes at `offset` into `to`, which grows by them, and returns how many.
    ///
    /// Errors, in order: as for [`Process::read_at`].
    pub fn read_vec_at(&self, fd: Fd, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        traced!("read", fd);
        let (file, _) = self.file(fd, FdRights::READ | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        byte_counts::read_vec(&**file, to, len, offset)
    }

    /// Writes at the offset, or at the end with `APPEND`; the offset moves behind what was
    /// written.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Badf` without the right; those of the file or stream.
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

    /// Writes at `offset`, or with `APPEND` at the end, as Linux does; the descriptor's own offset
    /// stays.
    ///
    /// Errors, in order: as for [`Process::read_at`].
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

    /// Moves the offset, and answers where it is now.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe`; `Notcapable` (asking where it is needs only
    /// `TELL`); `Inval` before the start and above `i64::MAX`.
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

    /// Where the offset is.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe`; `Notcapable` with neither `TELL` nor `SEEK`.
    #[inline]
    pub fn tell(&self, fd: Fd) -> Result<u64> {
        let (file, description) = match self.file(fd, FdRights::TELL, Errno::Spipe) {
            Err(Errno::Notcapable) => self.file(fd, FdRights::SEEK, Errno::Spipe)?,
            done => done?,
        };
        description.offset(&**file)
    }

    /// What the descriptor leads to.
    ///
    /// Errors, in order: `Badf`; `Notcapable`; `Io`.
    #[inline]
    pub fn stat(&self, fd: Fd) -> Result<Stat> {
        traced!("stat", fd);
        self.table.with(fd, FdRights::STAT)?;
        self.stat_unchecked(fd)
    }

    /// The same, whatever the rights.
    #[inline]
    pub(crate) fn stat_unchecked(&self, fd: Fd) -> Result<Stat> {
        match &self.table.get(fd)?.description.resource {
            Resource::Dir(dir) => without_link(dir.stat(Descent::HERE)),
            Resource::File(file) => file.stat(),
            Resource::Stream(stream) => Ok(Stat {
                kind: stream.kind(),
                dev: 0,
                // Streams have no node; their numbers only have to differ and not to be 0.
                ino: u64::from(fd) + 1,
                nlink: 1,
                size: 0,
                accessed: Timestamp::EPOCH,
                modified: Timestamp::EPOCH,
                changed: Timestamp::EPOCH,
            }),
        }
    }

    /// Cuts a file, or lengthens it with zeros.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Inval` for a stream; `Notcapable`; `Fbig` above
    /// `i64::MAX`; those of the file.
    pub fn set_len(&self, fd: Fd, len: u64) -> Result<()> {
        traced!("set_len", fd);
        let (file, _) = self.file(fd, FdRights::SET_LEN, Errno::Inval)?;
        if len > OFFSET_MAX {
            return Err(Errno::Fbig);
        }
        file.set_len(len)
    }

    /// Makes room for `len` bytes at `offset`.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe`; `Notcapable`; `Inval` for a `len` of 0; `Fbig`
    /// if the end lies above `i64::MAX`; those of the file.
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

    /// Takes a hint.
    ///
    /// Errors, in order: `Badf`, also for a directory; `Spipe`; `Notcapable`; `Inval` for an
    /// offset or a length above `i64::MAX`.
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

    /// Makes what was written durable. A directory's entries too.
    ///
    /// Errors, in order: `Badf`; `Notcapable`; `Inval` for a stream; `Io`.
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

    /// Changes the times.
    ///
    /// Errors, in order: `Badf`; `Notcapable`; `Inval` for a stream; those of the node.
    pub fn set_times(&self, fd: Fd, times: SetTimes) -> Result<()> {
        traced!("set_times", fd);
        let times = self.resolve_now(times);
        match &self.table.with(fd, FdRights::SET_TIMES)?.description.resource {
            Resource::Dir(dir) => without_link(dir.set_times(Descent::HERE, times)),
            Resource::File(file) => file.set_times(times),
            Resource::Stream(_) => Err(Errno::Inval),
        }
    }

    /// Calls `each` for the entries behind the cookie `from` (0 is the start), until it breaks or
    /// the end.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of the directory.
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
        dirents::list(&**dir, listing.get_or_insert_default(), from, dots, each)
    }

    /// The type of what a descriptor leads to.
    ///
    /// Errors: `Badf`.
    pub fn kind(&self, fd: Fd) -> Result<FileType> {
        Ok(self.table.get(fd)?.kind)
    }
}

/// The result of an operation on [`Descent::HERE`], where no link can be.
fn without_link<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
