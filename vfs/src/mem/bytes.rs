//! The content of one memory file: sparse 64 KiB chunks, charged to a meter before allocation.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::chunks::Chunks;
use super::meter::Meter;
use crate::{Errno, Result, bug};

/// The size of a chunk in bytes: large enough that a big file has few chunks, small enough that a
/// hole is one missing chunk.
const CHUNK: u64 = 64 * 1024;
/// The smallest allocation of a chunk, in bytes.
const CHUNK_MIN: usize = 64;
/// The largest file size: POSIX's `off_t`.
pub(super) const LEN_MAX: u64 = i64::MAX as u64;

/// The content of a file.
///
/// A missing chunk, and the part of a chunk after its stored length, reads as zeros.
///
/// INVARIANT: `meter` is charged for the capacity of every chunk, and no chunk extends past `len`.
pub(super) struct Bytes {
    chunks: Chunks,
    len: u64,
    meter: Arc<Meter>,
}

impl Bytes {
    pub(super) fn new(meter: Arc<Meter>) -> Self {
        Bytes { chunks: Chunks::default(), len: 0, meter }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> usize {
        let mut at = offset;
        let mut done = 0;
        for buf in bufs {
            let mut rest = &mut buf[..];
            while !rest.is_empty() && at < self.len {
                let (start, room) = (at % CHUNK, CHUNK - at % CHUNK);
                let n = room.min(self.len - at).min(rest.len() as u64);
                let (piece, tail) = rest.split_at_mut(to_usize(n));
                let stored = self.chunks.get(at / CHUNK);
                let stored = stored.get(to_usize(start)..).unwrap_or_default();
                let filled = stored.len().min(piece.len());
                let (from_chunk, zeros) = piece.split_at_mut(filled);
                let stored = stored.get(..filled);
                from_chunk.copy_from_slice(
                    stored.unwrap_or_else(|| bug!(&[]; "a chunk is shorter than {filled}")),
                );
                zeros.fill(0);
                (rest, at, done) = (tail, at + n, done + to_usize(n));
            }
        }
        done
    }

    /// Writes as much as the capacity permits.
    ///
    /// # Errors
    ///
    /// - `EFBIG`: the write would end after [`LEN_MAX`].
    /// - `ENOSPC`: nothing was written.
    pub(super) fn write_at(&mut self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        let total = bufs.iter().fold(0_u64, |sum, buf| sum.saturating_add(buf.len() as u64));
        if total > 0 && offset.checked_add(total).is_none_or(|end| end > LEN_MAX) {
            return Err(Errno::Fbig);
        }
        let mut at = offset;
        let mut done = 0;
        for buf in bufs {
            let mut rest = &buf[..];
            while !rest.is_empty() {
                let n = (CHUNK - at % CHUNK).min(rest.len() as u64);
                let (piece, tail) = rest.split_at(to_usize(n));
                if let Err(errno) = self.write_piece(at, piece) {
                    return if done > 0 { Ok(done) } else { Err(errno) };
                }
                (rest, at, done) = (tail, at + n, done + piece.len());
                self.len = self.len.max(at);
            }
        }
        Ok(done)
    }

    /// Truncates, or extends with a hole, which allocates nothing.
    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        if len > LEN_MAX {
            return Err(Errno::Fbig);
        }
        if len < self.len {
            self.meter.release_bytes(self.chunks.cut(len.div_ceil(CHUNK)));
            if let Some(last) = self.chunks.get_mut(len / CHUNK) {
                let before = last.capacity();
                last.truncate(to_usize(len % CHUNK));
                last.shrink_to_fit();
                self.meter.release_bytes((before - last.capacity()) as u64);
            }
        }
        self.len = len;
        Ok(())
    }

    /// Writes within one chunk.
    fn write_piece(&mut self, at: u64, piece: &[u8]) -> Result<()> {
        let (number, start) = (at / CHUNK, to_usize(at % CHUNK));
        let end = start + piece.len();
        let chunk = self.chunks.insert(number);
        if end > chunk.capacity() {
            // Sequential writes get whole chunks; scattered writes get small ones.
            let is_sequential = number > 0 && start == chunk.len();
            let wanted = if is_sequential { to_usize(CHUNK) } else { end.next_power_of_two() };
            let wanted = wanted.clamp(CHUNK_MIN, to_usize(CHUNK));
            let more = (wanted - chunk.capacity()) as u64;
            if let Err(errno) = self.meter.charge_bytes(more) {
                self.chunks.remove_empty(number);
                return Err(errno);
            }
            let before = chunk.capacity();
            chunk.reserve_exact(wanted - chunk.len());
            // An allocator may return more capacity than requested.
            self.meter.charge_surplus((chunk.capacity() - before) as u64 - more);
        }
        if chunk.len() < start {
            chunk.resize(start, 0);
        }
        let overwritten = piece.len().min(chunk.len() - start);
        let (overwritten, appended) = piece.split_at(overwritten);
        if let Some(target) = chunk.get_mut(start..start + overwritten.len()) {
            target.copy_from_slice(overwritten);
        }
        chunk.extend_from_slice(appended);
        Ok(())
    }

    /// Like [`Bytes::read_at`], appending to `to`.
    pub(super) fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> usize {
        let (mut at, before) = (offset, to.len());
        let end = self.len.min(offset.saturating_add(len as u64));
        to.reserve(to_usize(end.saturating_sub(at)));
        while at < end {
            let start = at % CHUNK;
            let n = (CHUNK - start).min(end - at);
            let stored = self.chunks.get(at / CHUNK).get(to_usize(start)..).unwrap_or_default();
            to.extend_from_slice(stored.get(..to_usize(n)).unwrap_or(stored));
            at += n;
            // Zeros for the part that the chunk does not store.
            to.resize(before + to_usize(at - offset), 0);
        }
        to.len() - before
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.meter.release_bytes(self.chunks.cut(0));
    }
}

/// Converts a number that is at most the length of a chunk or a buffer.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
