//! The tar reader: one iterator over entries, for images and for layer archives.
//!
//! Reads ustar, pax (extended and global headers), GNU's long names, sparse files and numbers, and
//! the v7 format before them. The archive is read once from front to back, and no more of it is
//! held than one extended header. An entry's data is read or skipped by the caller.
//!
//! Rules, where readers differ:
//! - Two zero blocks, or the end of the input at a header, end the archive. A lone zero block is
//!   skipped. What follows the end is not read.
//! - An input that begins with a zero block is an archive only if a header follows it, or if all
//!   of it is zeros.
//! - A directory, link or device with a size has data only if the block after its header is not a
//!   header itself.
//! - Bad sizes and checksums are errors, since the next header cannot be found after them. Bad
//!   times are not: the entry has the time of its header, or 1970.
//!
//! Formats: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>,
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

mod extended;
mod header;
pub(crate) mod index;
pub(crate) mod pax;
mod reader;
mod sparse;

use std::io;

pub(crate) use header::BLOCK;
pub(crate) use reader::TarReader;
pub(crate) use sparse::SparseMap;

use crate::Timestamp;

/// The bytes of an archive, from front to back.
pub(crate) trait TarInput {
    /// Reads some bytes; 0 into a non-empty buffer means the end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;

    /// Skips `len` bytes. Returns how many there were: fewer only at the end.
    fn skip(&mut self, len: u64) -> io::Result<u64>;
}

/// An entry of an archive.
pub(crate) struct TarEntry {
    /// The path as the archive has it. It need not be valid.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: TarKind,
    /// The target of a symbolic or hard link.
    pub(crate) target: Vec<u8>,
    pub(crate) modified: Timestamp,
    /// The offset in the archive of the stored data.
    pub(crate) data_at: u64,
    /// Bytes of stored data, without padding.
    pub(crate) data_len: u64,
    /// The map of a sparse file.
    pub(crate) sparse: Option<SparseMap>,
    /// Whether extended attributes of Linux's overlay filesystem mark an opaque directory.
    pub(crate) is_opaque: bool,
}

impl TarEntry {
    /// The size of the file, holes included.
    pub(crate) fn len(&self) -> u64 {
        self.sparse.as_ref().map_or(self.data_len, |map| map.len)
    }
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TarKind {
    File,
    Dir,
    Symlink,
    HardLink,
    /// A device or a FIFO.
    Special,
    /// A character device with the numbers 0/0: a whiteout of Linux's overlay filesystem.
    ZeroDevice,
    /// A sparse file whose map is not valid.
    BadSparse,
    /// Another type: its letter.
    Unknown(char),
}

/// A fault of the archive as a whole, after which no entry can be found.
#[derive(Debug)]
pub(crate) enum TarError {
    /// The input's error.
    Io(io::Error),
    /// The archive ends inside a header or an entry's data, at this offset.
    Truncated(u64),
    /// A header is not valid.
    Damaged {
        /// The header's offset.
        at: u64,
        what: &'static str,
    },
    /// The input has no header and is not all zeros.
    NotTar,
    /// There are more headers than this limit.
    TooManyHeaders(u64),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        TarError::Io(error)
    }
}

/// Whether `block` is a header.
pub(super) fn is_header(block: &[u8; BLOCK]) -> bool {
    header::Header(block).has_checksum()
}
