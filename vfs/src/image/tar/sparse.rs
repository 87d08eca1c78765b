//! Maps of sparse files: GNU's old format, and the formats 0.0, 0.1 and 1.0 in pax headers.
//!
//! A map lists the extents of a file that the archive stores, in order; the rest of the file is
//! zeros. Format: <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>.

use std::ops::Range;

use super::header::{BLOCK, Block, Header, number};
use super::pax::decimal_digits;

/// Extents of one file. A map of this length takes 16 MiB of memory.
pub(super) const EXTENTS_MAX: usize = 1 << 20;

/// The extents in a GNU sparse header, its extension mark and the file's size.
const OLD_EXTENTS: Range<usize> = 386..482;
const OLD_IS_EXTENDED: usize = 482;
const OLD_LEN: Range<usize> = 483..495;
/// The extents in an extension block, and its mark that another one follows.
const EXTENSION_EXTENTS: Range<usize> = 0..504;
const EXTENSION_IS_EXTENDED: usize = 504;
/// Bytes of an extent in a header: two number fields.
const EXTENT_BYTES: usize = 24;
/// Bytes of a line of the format 1.0: the digits of 2^64 and a newline.
const LINE_BYTES_MAX: usize = 21;

/// A stored stretch of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The offset in the file.
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// A sparse file: its size, holes included, and its extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) len: u64,
    pub(crate) extents: Vec<Extent>,
}

impl SparseMap {
    /// Whether the extents are in order, do not overlap, lie in the file, and take `stored` bytes
    /// at most.
    pub(super) fn fits(&self, stored: u64) -> bool {
        let mut end = 0;
        let mut sum = 0_u64;
        for extent in &self.extents {
            let Some(extent_end) = extent.offset.checked_add(extent.len) else { return false };
            let Some(new_sum) = sum.checked_add(extent.len) else { return false };
            if extent.offset < end {
                return false;
            }
            (end, sum) = (extent_end, new_sum);
        }
        end <= self.len && sum <= stored
    }

    /// The map in a GNU sparse header, and whether extension blocks follow it.
    pub(super) fn from_old_header(header: &Header<'_>) -> Option<(Self, bool)> {
        let len = u64::try_from(number(header.field(OLD_LEN))?).ok()?;
        let mut map = SparseMap { len, extents: Vec::new() };
        map.push_fields(header.field(OLD_EXTENTS))?;
        let mark = header.field(OLD_IS_EXTENDED..OLD_IS_EXTENDED + 1);
        Some((map, mark != b"\0"))
    }

    /// Adds the extents of an extension block. Returns whether another block follows.
    pub(super) fn extend_from_block(&mut self, block: &Block) -> Option<bool> {
        let block = Header(block);
        self.push_fields(block.field(EXTENSION_EXTENTS))?;
        Some(block.field(EXTENSION_IS_EXTENDED..EXTENSION_IS_EXTENDED + 1) != b"\0")
    }

    fn push_fields(&mut self, fields: &[u8]) -> Option<()> {
        for pair in fields.chunks_exact(EXTENT_BYTES) {
            let (offset, len) = pair.split_at_checked(EXTENT_BYTES / 2)?;
            // An unused pair is all NULs.
            if offset.first() == Some(&0) && len.first() == Some(&0) {
                break;
            }
            let offset = u64::try_from(number(offset)?).ok()?;
            let len = u64::try_from(number(len)?).ok()?;
            push(&mut self.extents, Extent { offset, len })?;
        }
        Some(())
    }
}

/// Appends an extent. Returns `None` at [`EXTENTS_MAX`].
fn push(extents: &mut Vec<Extent>, extent: Extent) -> Option<()> {
    if extents.len() >= EXTENTS_MAX {
        return None;
    }
    extents.push(extent);
    Some(())
}

/// The `GNU.sparse.` records of pax headers.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    is_version_1: bool,
    len: Option<u64>,
    /// The offset of an extent of the format 0.0 whose length follows.
    offset: Option<u64>,
    extents: Vec<Extent>,
    is_sparse: bool,
    is_bad: bool,
}

/// The place where the extents of a pax sparse file are.
pub(super) enum SparseSource {
    /// In the records.
    Records(SparseMap),
    /// At the start of the data, as decimal lines (format 1.0); the number is the file's size.
    Data(u64),
}

impl SparseRecords {
    /// Takes a record whose key is `GNU.sparse.` and `key`.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) {
        self.is_sparse = true;
        let parsed = match key {
            b"name" => {
                self.name = Some(value.to_owned());
                Some(())
            }
            b"major" => decimal_digits::<u64>(value).map(|major| self.is_version_1 = major == 1),
            b"size" | b"realsize" => decimal_digits(value).map(|len| self.len = Some(len)),
            b"offset" => decimal_digits(value).map(|offset| self.offset = Some(offset)),
            b"numbytes" => self.take_len(value),
            b"map" => self.take_map(value),
            _ => Some(()),
        };
        self.is_bad |= parsed.is_none();
    }

    fn take_len(&mut self, value: &[u8]) -> Option<()> {
        let (offset, len) = (self.offset.take()?, decimal_digits(value)?);
        push(&mut self.extents, Extent { offset, len })
    }

    fn take_map(&mut self, value: &[u8]) -> Option<()> {
        let mut numbers = value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
        while let Some(offset) = numbers.next() {
            let (offset, len) = (decimal_digits(offset)?, decimal_digits(numbers.next()?)?);
            push(&mut self.extents, Extent { offset, len })?;
        }
        Some(())
    }

    /// The place of the map: `None` if the entry is not sparse, an error if its records do not
    /// describe a map.
    pub(super) fn source(self) -> Option<Result<SparseSource, ()>> {
        if !self.is_sparse {
            return None;
        }
        let Some(len) = self.len.filter(|_| !self.is_bad) else { return Some(Err(())) };
        Some(Ok(match self.is_version_1 {
            true => SparseSource::Data(len),
            false => SparseSource::Records(SparseMap { len, extents: self.extents }),
        }))
    }
}

/// Parses the map of the format 1.0, which comes before the data: the number of extents, then the
/// offset and the length of each, one decimal number on a line, padded to a whole block.
#[derive(Default)]
pub(super) struct MapLines {
    line: Vec<u8>,
    count: Option<usize>,
    offset: Option<u64>,
    extents: Vec<Extent>,
}

impl MapLines {
    /// Takes the next block. Returns whether the map is complete.
    pub(super) fn take_block(&mut self, block: &Block) -> Option<bool> {
        for byte in block {
            if *byte != b'\n' {
                if self.line.len() >= LINE_BYTES_MAX {
                    return None;
                }
                self.line.push(*byte);
                continue;
            }
            let number: u64 = decimal_digits(&std::mem::take(&mut self.line))?;
            match (self.count, self.offset.take()) {
                (None, _) => {
                    let count = usize::try_from(number).ok().filter(|n| *n <= EXTENTS_MAX)?;
                    self.count = Some(count);
                }
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.extents.push(Extent { offset, len: number }),
            }
            if self.count == Some(self.extents.len()) {
                return Some(true);
            }
        }
        Some(false)
    }

    pub(super) fn into_map(self, len: u64) -> SparseMap {
        SparseMap { len, extents: self.extents }
    }
}

const _: () = assert!(OLD_LEN.end <= BLOCK && EXTENSION_IS_EXTENDED < BLOCK);
