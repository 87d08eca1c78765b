//! `Read`, `Write` and `Seek` for Palisade files, and copying between streams.

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};

use palisade_vfs::{FileRef, SyncScope, broken_contract};

use crate::errors::{errno_of_io, io_error};

/// The position of a stream's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WritePosition {
    /// At the cursor.
    Cursor,
    /// At the end of the file.
    End,
}

/// An open file with a cursor. Writes are not buffered; `flush` synchronizes them to disk.
pub(crate) struct Stream {
    file: FileRef,
    position: WritePosition,
    at: u64,
}

impl Stream {
    /// Creates a stream with its cursor at the start, or at the end for [`WritePosition::End`].
    pub(crate) fn new(file: FileRef, position: WritePosition) -> palisade_vfs::Result<Self> {
        let at = match position {
            WritePosition::Cursor => 0,
            WritePosition::End => file.stat()?.size,
        };
        Ok(Stream { file, position, at })
    }

    fn advance(&mut self, count: usize) {
        self.at = self.at.saturating_add(count as u64);
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(&mut [IoSliceMut::new(buf)], self.at).map_err(io_error)?;
        self.advance(count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let bytes = [IoSlice::new(buf)];
        match self.position {
            WritePosition::Cursor => {
                let count = self.file.write_at(&bytes, self.at).map_err(io_error)?;
                self.advance(count);
                Ok(count)
            }
            WritePosition::End => {
                let count = self.file.append(&bytes).map_err(io_error)?;
                // The write has succeeded even if its position is unknown.
                if let Ok(end) = self.file.appended_to() {
                    self.at = end;
                }
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync(SyncScope::Data).map_err(io_error)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.stat().map_err(io_error)?.size.checked_add_signed(by),
        };
        let at = at.ok_or_else(|| io_error(palisade_vfs::Errno::Inval))?;
        self.at = at;
        Ok(at)
    }
}

/// Copies all of `from` to `to`, flushes, and returns the number of bytes. A byte count above the
/// length of the buffer is `Io`.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> palisade_vfs::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut total = 0;
    loop {
        let count = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(|error| errno_of_io(&error))?,
        };
        let Some(bytes) = piece.get(..count) else { return Err(palisade_vfs::Errno::Io) };
        if bytes.is_empty() {
            break;
        }
        write_all(to, bytes)?;
        total += count as u64;
    }
    to.flush().map_err(|error| errno_of_io(&error))?;
    Ok(total)
}

/// Writes all of `bytes`.
pub(crate) fn write_all(to: &mut dyn Write, bytes: &[u8]) -> palisade_vfs::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = match to.write(rest) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(|error| errno_of_io(&error))?,
        };
        rest = rest
            .get(count..)
            .filter(|_| count > 0)
            .ok_or_else(|| broken_contract("a write returned a wrong count"))?;
    }
    Ok(())
}

/// Bytes per read of a copy.
const PIECE_BYTES: usize = 64 * 1024;
