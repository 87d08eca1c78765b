//! The bytes of one file: sparse, in chunks, and paid for before they are held.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::chunks::Chunks;
use super::meter::Meter;
use crate::{Errno, Result};

/// Bytes of a chunk: large enough that a big file is few chunks, small enough that a hole is one.
const CHUNK: u64 = 64 * 1024;
/// The smallest chunk that is held.
const CHUNK_MIN: usize = 64;
/// The longest file: POSIX's `off_t`.
pub(super) const LEN_MAX: u64 = i64::MAX as u64;

/// The bytes of a file.
///
/// A chunk that is not there, and what a chunk lacks behind its end, is zeros.
/// INVARIANT: `meter` has been charged for the capacity of every chunk, and no chunk reaches
/// behind `len`.
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
                let (piece, behind) = rest.split_at_mut(to_usize(n));
                let held = self.chunks.get(at / CHUNK);
                let held = held.get(to_usize(start)..).unwrap_or_default();
                let filled = held.len().min(piece.len());
                let (from_chunk, zeros) = piece.split_at_mut(filled);
                from_chunk.copy_from_slice(held.get(..filled).unwrap_or_default());
                zeros.fill(0);
                (rest, at, done) = (behind, at + n, done + to_usize(n));
            }
        }
        done
    }

    /// Writes what there is room for. Errors, in order: `Fbig` if the whole would end past
    /// [`LEN_MAX`]; `Nospc` if nothing was written.
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
                let (piece, behind) = rest.split_at(to_usize(n));
                if let Err(errno) = self.write_piece(at, piece) {
                    return if done > 0 { Ok(done) } else { Err(errno) };
                }
                (rest, at, done) = (behind, at + n, done + piece.len());
                self.len = self.len.max(at);
            }
        }
        Ok(done)
    }

    /// Cuts, or lengthens with zeros, which costs nothing.
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
            // Who writes on through a file gets whole chunks; scattered bytes get small ones.
            let goes_on = number > 0 && start == chunk.len();
            let wanted = if goes_on { to_usize(CHUNK) } else { end.next_power_of_two() };
            let wanted = wanted.clamp(CHUNK_MIN, to_usize(CHUNK));
            let more = (wanted - chunk.capacity()) as u64;
            if let Err(errno) = self.meter.take_bytes(more) {
                self.chunks.remove_empty(number);
                return Err(errno);
            }
            let before = chunk.capacity();
            chunk.reserve_exact(wanted - chunk.len());
            // An allocator may give more than was asked for.
            self.meter.take_given((chunk.capacity() - before) as u64 - more);
        }
        if chunk.len() < start {
            chunk.resize(start, 0);
        }
        let over = piece.len().min(chunk.len() - start);
        let (over, behind) = piece.split_at(over);
        if let Some(place) = chunk.get_mut(start..start + over.len()) {
            place.copy_from_slice(over);
        }
        chunk.extend_from_slice(behind);
        Ok(())
    }

    /// As [`Bytes::read_at`], behind what `to` holds.
    pub(super) fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> usize {
        let (mut at, before) = (offset, to.len());
        let end = self.len.min(offset.saturating_add(len as u64));
        to.reserve(to_usize(end.saturating_sub(at)));
        while at < end {
            let start = at % CHUNK;
            let n = (CHUNK - start).min(end - at);
            let held = self.chunks.get(at / CHUNK).get(to_usize(start)..).unwrap_or_default();
            to.extend_from_slice(held.get(..to_usize(n)).unwrap_or(held));
            at += n;
            // What the chunk lacks is zeros.
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

/// For numbers that are at most a chunk's or a buffer's length.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
