//! The iterator over a tar archive's entries.

use std::io::ErrorKind;

use super::extended::{Extended, Global};
use super::header::{BLOCK, Block, Header, is_zero};
use super::sparse::{MapLines, SparseMap, SparseSource};
use super::{TarEntry, TarError, TarInput, TarKind};
use crate::Timestamp;
use crate::image::omitted::ArchiveNotes;

/// Bytes of an extended header's data: far more than paths and attributes take.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an archive that is all zeros. Tools write 10 KiB; a larger input is likely a disk
/// image, which would be read to its end.
const EMPTY_BYTES_MAX: u64 = 1 << 20;

const BAD_SIZE: &str = "the size in a header is not a number";

/// Reads the entries of an archive.
pub(crate) struct TarReader<'i> {
    input: &'i mut dyn TarInput,
    /// The offset of the first byte that was not consumed.
    at: u64,
    /// A block that was read but not consumed.
    peeked: Option<Block>,
    /// Bytes of the last entry's data that were not consumed, and of the padding after it.
    data_left: u64,
    padding: u64,
    global: Global,
    headers: u64,
    headers_max: u64,
    notes: ArchiveNotes,
}

impl<'i> TarReader<'i> {
    pub(crate) fn new(input: &'i mut dyn TarInput) -> Self {
        TarReader {
            input,
            at: 0,
            peeked: None,
            data_left: 0,
            padding: 0,
            global: Global::default(),
            headers: 0,
            headers_max: u64::MAX,
            notes: ArchiveNotes::default(),
        }
    }

    /// Limits the number of headers, for an input that need not end.
    pub(crate) fn with_headers_max(self, headers_max: u64) -> Self {
        TarReader { headers_max, ..self }
    }

    /// Headers of any kind so far.
    pub(crate) fn headers(&self) -> u64 {
        self.headers
    }

    /// Irregularities so far.
    pub(crate) fn notes(&self) -> ArchiveNotes {
        self.notes
    }

    /// Returns the next entry, or `None` at the end. Skips data of the last entry that was not
    /// read.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut extended = Extended::default();
        loop {
            self.skip_data()?;
            let header_at = self.at;
            let Some(block) = self.header_block()? else { return Ok(None) };
            self.headers += 1;
            if self.headers > self.headers_max {
                return Err(TarError::TooManyHeaders(self.headers_max));
            }
            let header = Header(&block);
            let bad_records = || TarError::Damaged {
                at: header_at,
                what: "an extended header is not a list of records",
            };
            match header.type_flag() {
                // `X` is Solaris's pax header, of before there was a standard.
                b'x' | b'X' => {
                    let records = self.extension(&header)?;
                    extended.take_records(&records).ok_or_else(bad_records)?;
                }
                b'g' => {
                    let records = self.extension(&header)?;
                    self.global.take_records(&records).ok_or_else(bad_records)?;
                }
                b'L' => extended.take_long_name(&self.extension(&header)?),
                b'K' => extended.take_long_target(&self.extension(&header)?),
                // A volume label is not a file.
                b'V' => {
                    let size = header.size().unwrap_or(0);
                    self.begin_data(size, header_at)?;
                }
                flag => return self.entry(&header, flag, extended).map(Some),
            }
        }
    }

    /// Reads data of the last entry. Returns 0 at its end.
    pub(crate) fn read_data(&mut self, buf: &mut [u8]) -> Result<usize, TarError> {
        let len = buf.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..len).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => return Err(TarError::Truncated(self.at)),
                Ok(n) => {
                    let n = n.min(rest.len());
                    done += n;
                    self.at += n as u64;
                    self.data_left -= n as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    /// Builds the entry of a header, and reads the map of a sparse file.
    fn entry(
        &mut self,
        header: &Header<'_>,
        flag: u8,
        mut extended: Extended,
    ) -> Result<TarEntry, TarError> {
        let header_at = self.at - BLOCK as u64;
        let size = extended.size.or_else(|| header.size());
        let size = size.ok_or(TarError::Damaged { at: header_at, what: BAD_SIZE })?;
        let mut path = extended.take_path().unwrap_or_else(|| header.path());
        let target = extended.take_target().unwrap_or_else(|| header.target().to_owned());
        let modified = self.modified(header, &extended);
        let is_opaque = extended.is_opaque;
        let mut kind = match flag {
            // The v7 format has no type for directories: a slash marks them.
            0 | b'0' | b'7' if path.ends_with(b"/") && size == 0 => TarKind::Dir,
            0 | b'0' | b'7' | b'S' => TarKind::File,
            b'1' => TarKind::HardLink,
            b'2' => TarKind::Symlink,
            b'3' if header.is_device_zero() => TarKind::ZeroDevice,
            b'3' | b'4' | b'6' => TarKind::Special,
            // `D` is a directory of GNU's incremental archives; its data is a list of names.
            b'5' | b'D' => TarKind::Dir,
            other => TarKind::Unknown(char::from(other)),
        };
        let has_data = match flag {
            b'1'..=b'6' if size > 0 => !self.is_header_next()?,
            b'1'..=b'6' => false,
            _ => true,
        };
        let sparse = match flag {
            b'S' => self.old_sparse(header, size, header_at)?,
            _ => {
                self.begin_data(if has_data { size } else { 0 }, header_at)?;
                match extended.sparse.source() {
                    Some(source) if kind == TarKind::File => self.pax_sparse(source)?,
                    _ => Ok(None),
                }
            }
        };
        let sparse = sparse.unwrap_or_else(|BadMap| {
            kind = TarKind::BadSparse;
            None
        });
        if kind == TarKind::File {
            let len = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
            path.truncate(len);
        }
        let (data_at, data_len) = (self.at, self.data_left);
        Ok(TarEntry { path, kind, target, modified, data_at, data_len, sparse, is_opaque })
    }

    fn modified(&mut self, header: &Header<'_>, extended: &Extended) -> Timestamp {
        let modified = extended.modified(&self.global);
        let in_header = header.modified();
        if extended.has_odd_time || (modified.is_none() && in_header.is_none()) {
            self.notes.odd_times += 1;
        }
        modified.unwrap_or_else(|| Timestamp::new(in_header.unwrap_or(0), 0))
    }

    /// Reads the rest of the map of GNU's old sparse format, and begins the data.
    fn old_sparse(
        &mut self,
        header: &Header<'_>,
        size: u64,
        header_at: u64,
    ) -> Result<Result<Option<SparseMap>, BadMap>, TarError> {
        let Some((mut map, mut is_extended)) = SparseMap::from_old_header(header) else {
            return Err(TarError::Damaged { at: header_at, what: "a sparse file's map is bad" });
        };
        while is_extended {
            let block = self.data_block()?;
            is_extended = map
                .extend_from_block(&block)
                .ok_or(TarError::Damaged { at: self.at, what: "a sparse file's map is bad" })?;
        }
        self.begin_data(size, header_at)?;
        Ok(if map.fits(size) { Ok(Some(map)) } else { Err(BadMap) })
    }

    /// Reads the map of a pax sparse file. The data has begun; a map in it is consumed.
    fn pax_sparse(
        &mut self,
        source: Result<SparseSource, ()>,
    ) -> Result<Result<Option<SparseMap>, BadMap>, TarError> {
        let map = match source {
            Err(()) => return Ok(Err(BadMap)),
            Ok(SparseSource::Records(map)) => map,
            Ok(SparseSource::Data(len)) => {
                let mut lines = MapLines::default();
                loop {
                    let mut block = [0; BLOCK];
                    if self.read_data(&mut block)? < BLOCK {
                        return Ok(Err(BadMap));
                    }
                    match lines.take_block(&block) {
                        Some(true) => break lines.into_map(len),
                        Some(false) => {}
                        None => return Ok(Err(BadMap)),
                    }
                }
            }
        };
        Ok(if map.fits(self.data_left) { Ok(Some(map)) } else { Err(BadMap) })
    }

    /// The data of an extended header.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let at = self.at - BLOCK as u64;
        let size = header.size().ok_or(TarError::Damaged { at, what: BAD_SIZE })?;
        if size > EXTENDED_BYTES_MAX {
            return Err(TarError::Damaged { at, what: "an extended header is longer than 1 MiB" });
        }
        self.begin_data(size, at)?;
        // Grows with the data that is really there.
        let mut bytes = Vec::new();
        let mut block = [0; BLOCK];
        loop {
            match self.read_data(&mut block)? {
                0 => return Ok(bytes),
                n => bytes.extend_from_slice(block.get(..n).unwrap_or_default()),
            }
        }
    }

    fn begin_data(&mut self, size: u64, header_at: u64) -> Result<(), TarError> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.filter(|padded| self.at.checked_add(*padded).is_some());
        let padded = padded.ok_or(TarError::Damaged { at: header_at, what: BAD_SIZE })?;
        (self.data_left, self.padding) = (size, padded - size);
        Ok(())
    }

    /// Skips the data of the last entry that was not read, and the padding. The last entry of an
    /// archive may have no padding.
    fn skip_data(&mut self) -> Result<(), TarError> {
        if self.data_left > 0 && self.peeked.take().is_some() {
            let peeked = self.data_left.min(BLOCK as u64);
            self.at += BLOCK as u64;
            self.padding -= BLOCK as u64 - peeked;
            self.data_left -= peeked;
        }
        let skipped = self.input.skip(self.data_left)?;
        self.at += skipped;
        if skipped < self.data_left {
            return Err(TarError::Truncated(self.at));
        }
        self.data_left = 0;
        if self.padding > 0 {
            self.at += self.input.skip(self.padding)?;
            self.padding = 0;
        }
        Ok(())
    }

    /// Returns the next header block, or `None` at the end of the archive.
    fn header_block(&mut self) -> Result<Option<Block>, TarError> {
        let at = self.at;
        let Some(block) = self.block()? else {
            self.notes.missing_end = true;
            return Ok(None);
        };
        if !is_zero(&block) {
            if !Header(&block).has_checksum() {
                let what = "the checksum of a header is wrong";
                return Err(if at == 0 {
                    TarError::NotTar
                } else {
                    TarError::Damaged { at, what }
                });
            }
            return Ok(Some(block));
        }
        match self.block()? {
            // A lone zero block is skipped, as GNU tar does.
            Some(block) if Header(&block).has_checksum() => Ok(Some(block)),
            Some(block) if self.headers == 0 && !is_zero(&block) => Err(TarError::NotTar),
            None if self.headers == 0 => Ok(None),
            None => {
                self.notes.missing_end = true;
                Ok(None)
            }
            Some(_) if self.headers == 0 => self.check_all_zero().map(|()| None),
            Some(_) => Ok(None),
        }
    }

    /// An archive without entries must consist of zeros.
    fn check_all_zero(&mut self) -> Result<(), TarError> {
        while let Some(block) = self.block()? {
            if !is_zero(&block) || self.at > EMPTY_BYTES_MAX {
                return Err(TarError::NotTar);
            }
        }
        Ok(())
    }

    /// Whether the next block is a header, or the archive ends there.
    fn is_header_next(&mut self) -> Result<bool, TarError> {
        let at = self.at;
        let Some(block) = self.block()? else { return Ok(true) };
        self.at = at;
        self.peeked = Some(block);
        Ok(is_zero(&block) || Header(&block).has_checksum())
    }

    fn data_block(&mut self) -> Result<Block, TarError> {
        self.block()?.ok_or(TarError::Truncated(self.at))
    }

    /// Reads a block, or returns `None` at the end of the input. Part of a zero block is the end.
    fn block(&mut self) -> Result<Option<Block>, TarError> {
        if let Some(block) = self.peeked.take() {
            self.at += BLOCK as u64;
            return Ok(Some(block));
        }
        let (mut block, mut done) = ([0; BLOCK], 0);
        while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let len = rest.len();
            match self.input.read(rest) {
                Ok(0) if is_zero(block.get(..done).unwrap_or_default()) => return Ok(None),
                Ok(0) => return Err(TarError::Truncated(self.at + done as u64)),
                Ok(n) => done += n.min(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += BLOCK as u64;
        Ok(Some(block))
    }
}

/// A sparse file's map contradicts itself or the size of the data.
struct BadMap;
