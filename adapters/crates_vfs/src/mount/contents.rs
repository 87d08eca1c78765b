//! The contents of a file: a stream of the crate, or a write-back buffer.
//!
//! An unmodified file is read through a stream of the crate. The first change loads the whole file
//! into a buffer, and a save writes the whole buffer, because a stream of the crate can only be
//! written from the start or at the end.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use palisade_vfs::{Errno, Result, bug};
use vfs::SeekAndRead;

use super::Limits;
use crate::errors::errno_of_io;

/// Bytes per read when a file is loaded.
const PIECE_BYTES: usize = 64 * 1024;
/// The largest file size: the maximum of `off_t`.
const END_MAX: u64 = i64::MAX.unsigned_abs();

pub(super) type Reader = Box<dyn SeekAndRead + Send>;

/// The contents of a file.
pub(super) enum FileContents {
    /// In the filesystem, with an open stream or without one.
    Stored(Option<Reader>),
    /// In memory, with the state of the copy in the filesystem.
    Buffered { buffer: Buffer, saved: SaveState },
}

/// The relation of a buffer to the file in the filesystem.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveState {
    /// Equal; it is unknown whether the file can be written.
    Unverified,
    /// Equal, and the file can be written.
    Clean,
    /// The buffer was changed last at this time and is not saved.
    Dirty(SystemTime),
}

impl FileContents {
    /// Returns the time of the last unsaved change.
    pub(super) fn unsaved(&self) -> Option<SystemTime> {
        match self {
            FileContents::Buffered { saved: SaveState::Dirty(when), .. } => Some(*when),
            FileContents::Buffered { .. } | FileContents::Stored(_) => None,
        }
    }

    /// Returns the length of the buffer, if there is one.
    pub(super) fn buffered_len(&self) -> Option<u64> {
        match self {
            FileContents::Buffered { buffer, .. } => Some(buffer.len()),
            FileContents::Stored(_) => None,
        }
    }

    /// Discards a clean buffer or stream, so that the file is opened again.
    pub(super) fn refresh(&mut self) {
        if self.unsaved().is_none() {
            *self = FileContents::Stored(None);
        }
    }
}

/// The memory limits of a mount, and the bytes that its buffers use.
pub(super) struct MemoryBudget {
    limits: Limits,
    used: AtomicU64,
}

impl MemoryBudget {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(MemoryBudget { limits, used: AtomicU64::new(0) })
    }

    fn take(&self, count: u64) -> Result<()> {
        // Increased only with the lock of the mount; decreased by drops without it.
        let used = self.used.fetch_add(count, Ordering::Relaxed);
        if used.saturating_add(count) > self.limits.total_bytes {
            self.used.fetch_sub(count, Ordering::Relaxed);
            return Err(Errno::Nospc);
        }
        Ok(())
    }
}

/// A buffer of a file, accounted in the [`MemoryBudget`].
pub(super) struct Buffer {
    bytes: Vec<u8>,
    budget: Arc<MemoryBudget>,
}

impl Buffer {
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Buffer { bytes: Vec::new(), budget: Arc::clone(budget) }
    }

    /// Reads a whole stream.
    ///
    /// # Errors
    ///
    /// - `Fbig`, `Nospc`, `Nomem`: those of [`Buffer::set_len`].
    /// - Those of the stream.
    pub(super) fn read(budget: &Arc<MemoryBudget>, reader: &mut dyn Read) -> Result<Self> {
        let mut buffer = Buffer::new(budget);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = read_some(reader, &mut piece)?;
            let Some(bytes @ [_, ..]) = piece.get(..count) else { return Ok(buffer) };
            buffer.write(&[IoSlice::new(bytes)], buffer.len())?;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Truncates, or extends with zeros.
    ///
    /// # Errors
    ///
    /// - `Fbig`: longer than `Limits::file_bytes`.
    /// - `Nospc`: all buffers would exceed `Limits::total_bytes`.
    /// - `Nomem`: the allocation failed.
    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        if len > self.budget.limits.file_bytes {
            return Err(Errno::Fbig);
        }
        let to = usize::try_from(len).map_err(|_| Errno::Fbig)?;
        match len.checked_sub(self.len()) {
            Some(more) => {
                self.budget.take(more)?;
                if self.bytes.try_reserve(to.saturating_sub(self.bytes.len())).is_err() {
                    self.budget.used.fetch_sub(more, Ordering::Relaxed);
                    return Err(Errno::Nomem);
                }
                self.bytes.resize(to, 0);
            }
            None => {
                let less = self.len() - len;
                self.bytes.truncate(to);
                self.bytes.shrink_to(to.saturating_mul(2));
                self.budget.used.fetch_sub(less, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    pub(super) fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = self.bytes.get(start..).unwrap_or_default();
        let mut done = 0;
        for buf in bufs {
            let count = rest.read(buf).unwrap_or(0);
            done += count;
            if rest.is_empty() {
                break;
            }
        }
        done
    }

    /// Writes all bytes at `offset`, or none.
    ///
    /// # Errors
    ///
    /// - Those of [`Buffer::set_len`].
    pub(super) fn write(&mut self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        let end = end_of(bufs, offset)?;
        if end > self.len() {
            self.set_len(end)?;
        }
        let mut at = usize::try_from(offset).map_err(|_| Errno::Fbig)?;
        let mut done = 0;
        for buf in bufs {
            let into = self.bytes.get_mut(at..at + buf.len());
            let into = into.ok_or_else(|| bug!("the buffer ends before {}", at + buf.len()))?;
            into.copy_from_slice(buf);
            at += buf.len();
            done += buf.len();
        }
        Ok(done)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.len(), Ordering::Relaxed);
    }
}

/// Returns the total length of `bufs`.
pub(super) fn total(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|buf| buf.len()).sum()
}

/// Returns the end of a write at `offset`, or `Fbig`.
pub(super) fn end_of(bufs: &[IoSlice<'_>], offset: u64) -> Result<u64> {
    let end = offset.checked_add(total(bufs) as u64);
    end.filter(|end| *end <= END_MAX).ok_or(Errno::Fbig)
}

/// Reads from a stream at an offset. Never seeks past the end, where streams of the crate differ.
pub(super) fn read_at(
    reader: &mut Reader,
    bufs: &mut [IoSliceMut<'_>],
    offset: u64,
) -> Result<usize> {
    let end = reader.seek(SeekFrom::End(0)).map_err(|error| errno_of_io(&error))?;
    if offset >= end {
        return Ok(0);
    }
    reader.seek(SeekFrom::Start(offset)).map_err(|error| errno_of_io(&error))?;
    let mut done = 0;
    for buf in bufs {
        let count = match read_some(reader, buf) {
            // A short read: the error is returned by the next one.
            Err(_) if done > 0 => break,
            count => count?,
        };
        done += count;
        if count < buf.len() {
            break;
        }
    }
    Ok(done)
}

fn read_some(reader: &mut dyn Read, buf: &mut [u8]) -> Result<usize> {
    loop {
        match reader.read(buf) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(errno_of_io(&error)),
            Ok(count) if count > buf.len() => return Err(Errno::Io),
            Ok(count) => return Ok(count),
        }
    }
}
