//! The bytes of a file: the crate's streams as bytes at offsets.
//!
//! A file is read through a stream of the crate as long as nobody changes it. The first change
//! brings the whole file into memory, and a save puts it back as a whole, because a stream of the
//! crate can be written from the beginning or at the end and no more.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use palisade_vfs::{Errno, Result, bug};
use vfs::SeekAndRead;

use super::Limits;
use crate::errors::errno_of_io;

/// Bytes that are read at once while a file is brought into memory.
const PIECE_BYTES: usize = 64 * 1024;
/// The end of the longest file that there can be.
const END_MAX: u64 = i64::MAX.unsigned_abs();

pub(super) type Reader = Box<dyn SeekAndRead + Send>;

/// Where a file's bytes are.
pub(super) enum FileContents {
    /// With the filesystem; perhaps with an open stream.
    Stored(Option<Reader>),
    /// In memory.
    Buffered { buffer: Buffer, saved: SaveState },
}

/// Whether the filesystem has what is in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SaveState {
    /// It was read, and nobody knows whether it can be written.
    Unverified,
    /// It was written.
    Clean,
    /// It was changed since, last at this time.
    Dirty(SystemTime),
}

impl FileContents {
    /// When it was changed, if that is not saved yet.
    pub(super) fn unsaved(&self) -> Option<SystemTime> {
        match self {
            FileContents::Buffered { saved: SaveState::Dirty(when), .. } => Some(*when),
            FileContents::Buffered { .. } | FileContents::Stored(_) => None,
        }
    }

    /// The length, if it is in memory.
    pub(super) fn buffered_len(&self) -> Option<u64> {
        match self {
            FileContents::Buffered { buffer, .. } => Some(buffer.len()),
            FileContents::Stored(_) => None,
        }
    }

    /// Lets go of what the filesystem has as well, so that the next look is a fresh one.
    pub(super) fn refresh(&mut self) {
        if self.unsaved().is_none() {
            *self = FileContents::Stored(None);
        }
    }
}

/// What all buffers of a mount take.
pub(super) struct MemoryBudget {
    limits: Limits,
    used: AtomicU64,
}

impl MemoryBudget {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(MemoryBudget { limits, used: AtomicU64::new(0) })
    }

    fn take(&self, count: u64) -> Result<()> {
        // Only ever changed under the lock of the mount, but for what is given back.
        let used = self.used.fetch_add(count, Ordering::Relaxed);
        if used.saturating_add(count) > self.limits.total_bytes {
            self.used.fetch_sub(count, Ordering::Relaxed);
            return Err(Errno::Nospc);
        }
        Ok(())
    }
}

/// A file's bytes in memory, paid for.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    budget: Arc<MemoryBudget>,
}

impl Buffer {
    pub(super) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Buffer { bytes: Vec::new(), budget: Arc::clone(budget) }
    }

    /// Reads a whole stream. Errors: `Fbig`, `Nospc`, those of the stream.
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

    /// Cuts, or lengthens with zeros. Errors: `Fbig`, `Nospc`, `Nomem`.
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

    /// Writes at `offset`, all or nothing. Errors: those of [`Buffer::set_len`].
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

/// How many bytes there are in `bufs`.
pub(super) fn total(bufs: &[IoSlice<'_>]) -> usize {
    bufs.iter().map(|buf| buf.len()).sum()
}

/// Where a write ends, or `Fbig`.
pub(super) fn end_of(bufs: &[IoSlice<'_>], offset: u64) -> Result<u64> {
    let end = offset.checked_add(total(bufs) as u64);
    end.filter(|end| *end <= END_MAX).ok_or(Errno::Fbig)
}

/// Reads from a stream at an offset. It is never sent behind its end, where streams of the crate
/// differ.
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
            // What was read already is not lost.
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
