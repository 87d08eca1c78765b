//! File and directory streams, which have an offset of their own and outlive their descriptor.
//!
//! The rights of the descriptor are checked once, when a stream is opened. Closing the descriptor
//! or reducing its rights later does not affect the stream. Each stream occupies a slot of
//! `Limits::streams_max`.

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

/// A stream that reads a file from an offset.
pub struct Reader {
    file: FileRef,
    offset: u64,
    /// The descriptor that the stream was opened from, for traces.
    fd: Fd,
    _slot: StreamSlot,
}

impl Reader {
    /// Reads at most `len` bytes, appends them to `to`, and returns their number. 0 means the end,
    /// unless `len` is 0.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/read.html>
    ///
    /// # Errors
    ///
    /// - Those of the file.
    pub fn read_vec(&mut self, to: &mut Vec<u8>, len: usize) -> Result<usize> {
        traced!("read", self.fd);
        let done = byte_counts::read_vec(&*self.file, to, len, self.offset)?;
        self.offset = self.offset.saturating_add(done as u64);
        Ok(done)
    }

    /// Returns whether a read can block on a disk, a network or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.file.may_block()
    }

    /// Returns the file's epoch ([`File::epoch`](palisade_vfs::File::epoch)). A caller that buffers
    /// bytes discards them when the epoch has changed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.file.epoch()
    }

    /// Moves the offset back by `len` bytes that were read but not used.
    pub fn put_back(&mut self, len: usize) {
        self.offset = self.offset.saturating_sub(len as u64);
    }
}

/// A stream that writes a file from an offset, or appends to it.
pub struct Writer {
    file: FileRef,
    /// `None` for a stream that appends.
    offset: Option<u64>,
    /// The descriptor that the stream was opened from, for traces.
    fd: Fd,
    _slot: StreamSlot,
}

impl Writer {
    /// Writes `bytes` and returns how many were written, which may be fewer.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/write.html>
    ///
    /// # Errors
    ///
    /// - Those of the file.
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

    /// Returns whether a write can block on a disk, a network or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.file.may_block()
    }
}

impl Process {
    /// Opens a stream that reads a file from `offset`.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Badf`: without the right `READ`.
    /// - `Notcapable`: without the right `SEEK`.
    /// - `Inval`: `offset` is above `i64::MAX`.
    /// - `Mfile`: `Limits::streams_max` streams are open.
    pub fn reader(&self, fd: Fd, offset: u64) -> Result<Reader> {
        traced!("reader", fd);
        let (file, _) = self.file(fd, FdRights::READ | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        Ok(Reader { file: Arc::clone(file), offset, fd, _slot: self.streams.take()? })
    }

    /// Opens a stream that writes a file from `offset`.
    ///
    /// # Errors
    ///
    /// - Those of [`Process::reader`], with the right `WRITE` instead of `READ`.
    pub fn writer(&self, fd: Fd, offset: u64) -> Result<Writer> {
        traced!("writer", fd);
        let (file, _) = self.file(fd, FdRights::WRITE | FdRights::SEEK, Errno::Spipe)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        let (offset, slot) = (Some(offset), self.streams.take()?);
        Ok(Writer { file: Arc::clone(file), offset, fd, _slot: slot })
    }

    /// Opens a stream that appends to a file. Each write is atomic.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Isdir`: a directory.
    /// - `Spipe`: a stream.
    /// - `Badf`: without the right `WRITE`.
    /// - `Mfile`: `Limits::streams_max` streams are open.
    pub fn appender(&self, fd: Fd) -> Result<Writer> {
        traced!("appender", fd);
        let (file, _) = self.file(fd, FdRights::WRITE, Errno::Spipe)?;
        Ok(Writer { file: Arc::clone(file), offset: None, fd, _slot: self.streams.take()? })
    }

    /// Opens a stream of the entries of a directory, without `.` and `..`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fdopendir.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `LIST`.
    /// - `Mfile`: `Limits::streams_max` streams are open.
    pub fn dir_stream(&self, fd: Fd) -> Result<DirStream> {
        traced!("dir_stream", fd);
        let (dir, _) = self.dir(fd, FdRights::LIST)?;
        Ok(DirStream::new(Arc::clone(dir), self.streams.take()?))
    }

    /// Returns whether `stream` lists the directory of `fd`, and `fd` still has the right `LIST`.
    #[must_use]
    pub fn is_stream_of(&self, fd: Fd, stream: &DirStream) -> bool {
        self.dir(fd, FdRights::LIST).is_ok_and(|(dir, _)| stream.is_stream_of(dir))
    }

    /// Returns whether two descriptors refer to the same node: the same device and inode number.
    /// This needs no rights.
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - Those of the node's `stat`.
    pub fn is_same_object(&self, one: Fd, other: Fd) -> Result<bool> {
        let identity = |fd| self.stat_unchecked(fd).map(|stat| (stat.dev, stat.ino));
        Ok(identity(one)? == identity(other)?)
    }
}
