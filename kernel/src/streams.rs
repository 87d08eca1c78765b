//! What outlives a call: handles on files and directories that a guest reads and writes piece by
//! piece, while its descriptor may long be closed.
//!
//! The right is asked for once, when a handle is made; as with any open file, what happens to the
//! descriptor later changes nothing.

use std::io::IoSlice;
use std::sync::Arc;

use palisade_vfs::{Errno, FileRef, Result};

use crate::byte_counts;
use crate::dirents::DirStream;
use crate::file_calls::OFFSET_MAX;
use crate::stream_slots::StreamSlot;
use crate::table::Fd;
use crate::trace::traced;
use crate::{FdRights, Process};

/// Reads a file from an offset on.
pub struct Reader {
    file: FileRef,
    offset: u64,
    /// The descriptor that it was made of.
    fd: Fd,
    _slot: StreamSlot,
}

impl Reader {
    /// Reads on, at most `len` bytes, behind what `to` holds, and answers how many. 0 for a `len`
    /// that is not means the end.
    ///
    /// Errors: those of the file.
    pub fn read_vec(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize> {
        traced!("read", self.fd);
        let done = byte_counts::read_vec(&*self.file, to, len, self.offset)?;
        self.offset = self.offset.saturating_add(done as u64);
        Ok(done)
    }

    /// Whether reading can wait for a disk or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.file.may_block()
    }

    /// The file's epoch ([`File::epoch`](palisade_vfs::File::epoch)): a caller that buffers bytes
    /// drops them under another one.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.file.epoch()
    }

    /// Goes back by `len` bytes that were read and not used.
    pub fn put_back(&mut self, len: usize) {
        self.offset = self.offset.saturating_sub(len as u64);
    }
}

/// Writes a file from an offset on, or behind its end.
pub struct Writer {
    file: FileRef,
    /// `None` for behind the end.
    offset: Option<u64>,
    /// The descriptor that it was made of.
    fd: Fd,
    _slot: StreamSlot,
}

impl Writer {
    /// Writes `bytes`, perhaps not all of them.
    ///
    /// Errors: those of the file.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        traced!("write", self.fd);
        let bytes = &[IoSlice::new(bytes)];
        let Some(offset) = &mut self.offset else {
            return byte_counts::of_write(self.file.append(bytes)?, bytes);
        };
        let done = byte_counts::of_write(self.file.write_at(bytes, *offset)?, bytes)?;
        *offset = offset.saturating_add(done as u64);
        Ok(done)
    }

    /// Whether writing can wait for a disk or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.file.may_block()
    }
}

impl Process {
    /// A handle that reads a file from `offset` on.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe` for a stream; `Badf` without the right to read;
    /// `Notcapable` without the right to seek; `Inval` above `i64::MAX`; `Mfile` above
    /// `Limits::streams_max`.
    pub fn reader(&self, fd: Fd, offset: u64) -> Result<Reader> {
        traced!("reader", fd);
        let (file, _) = self.file(fd, FdRights::READ | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        Ok(Reader { file: Arc::clone(file), offset, fd, _slot: self.streams.take()? })
    }

    /// A handle that writes a file from `offset` on.
    ///
    /// Errors, in order: as for [`Process::reader`], with the right to write.
    pub fn writer(&self, fd: Fd, offset: u64) -> Result<Writer> {
        traced!("writer", fd);
        let (file, _) = self.file(fd, FdRights::WRITE | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        let (offset, slot) = (Some(offset), self.streams.take()?);
        Ok(Writer { file: Arc::clone(file), offset, fd, _slot: slot })
    }

    /// A handle that writes behind the end of a file, each write in one step.
    ///
    /// Errors, in order: `Badf`; `Isdir`; `Spipe` for a stream; `Badf` without the right to write;
    /// `Mfile` above `Limits::streams_max`.
    pub fn appender(&self, fd: Fd) -> Result<Writer> {
        traced!("appender", fd);
        let (file, _) = self.file(fd, FdRights::WRITE, Errno::Spipe)?;
        Ok(Writer { file: Arc::clone(file), offset: None, fd, _slot: self.streams.take()? })
    }

    /// A stream of a directory's entries, from its start.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; `Mfile` above `Limits::streams_max`.
    pub fn dir_stream(&self, fd: Fd) -> Result<DirStream> {
        traced!("dir_stream", fd);
        let (dir, _) = self.dir(fd, FdRights::LIST)?;
        Ok(DirStream::new(Arc::clone(dir), self.streams.take()?))
    }

    /// Whether `stream` lists the directory that `fd` leads to now.
    #[must_use]
    pub fn is_stream_of(&self, fd: Fd, stream: &DirStream) -> bool {
        self.dir(fd, FdRights::LIST).is_ok_and(|(dir, _)| stream.is_stream_of(dir))
    }

    /// Whether two descriptors lead to one node, by whatever names and through whatever mounts.
    /// It takes no right.
    ///
    /// Errors, in order: `Badf`; `Io`.
    pub fn is_same_object(&self, one: Fd, other: Fd) -> Result<bool> {
        let identity = |fd| self.stat_unchecked(fd).map(|stat| (stat.dev, stat.ino));
        Ok(identity(one)? == identity(other)?)
    }
}
