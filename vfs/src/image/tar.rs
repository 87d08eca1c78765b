//! Tar: POSIX's ustar and pax, GNU's long names, and the format before them.
//!
//! The archive is gone through once, header by header, and never unpacked: a file's content is a
//! stretch of it. What lies behind the end marker is not looked at.
//!
//! A name that comes twice is what came last, as a tar that unpacks has it; a directory stays one.
//! A hard link leads to what its target was when it came. Devices and FIFOs are left out.
//!
//! Formats: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>,
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

use std::borrow::Cow;

use tar::{EntryType, Header};

use super::entries::{Entries, EntryPath};
use super::error::{EntryFault, ImageError, ImageLimits};
use super::source::{ImageSource, read_exact};
use crate::fixed::{Content, OnDuplicate};
use crate::{Timestamp, TreeFault};

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;
/// Bytes of an extended header: far above what names and attributes take.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
const BAD_SIZE: &str = "a header's size is no number, or too large";
/// Where a header has its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether `block` is a header, or the end of an archive.
pub(super) fn is_tar(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0) || has_checksum(block)
}

/// The entries of the archive in `source`.
pub(super) fn index<'l>(
    source: &dyn ImageSource,
    limits: &'l ImageLimits,
) -> Result<Entries<'l>, ImageError> {
    let mut entries = Entries::new(limits, OnDuplicate::LastWins);
    let (mut at, mut extended, mut global_time) = (0, Extended::default(), None);
    loop {
        let mut block = [0; BLOCK];
        read_exact(source, &mut block, at).map_err(|err| cut_off(err, at))?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(entries);
        }
        if !has_checksum(&block) {
            return Err(ImageError::Damaged { at, what: "a header's checksum is wrong" });
        }
        let header = Header::from_byte_slice(&block);
        let place = Place { source, at, data_at: at + BLOCK as u64 };
        let size = match header.entry_type() {
            EntryType::XHeader => extended.take_pax(place.extension(header)?, at)?,
            EntryType::XGlobalHeader => {
                let mut global = Extended::default();
                let size = global.take_pax(place.extension(header)?, at)?;
                if global.path.is_some() || global.target.is_some() || global.size.is_some() {
                    let what = "a global header speaks of a single entry";
                    return Err(ImageError::Damaged { at, what });
                }
                global_time = global.time.or(global_time);
                size
            }
            EntryType::GNULongName => {
                let name = place.extension(header)?;
                let size = name.len();
                extended.path = Some(until_nul(name));
                size as u64
            }
            EntryType::GNULongLink => {
                let target = place.extension(header)?;
                let size = target.len();
                extended.target = Some(until_nul(target));
                size as u64
            }
            _ => {
                let mut extended = std::mem::take(&mut extended);
                extended.time = extended.time.or(global_time);
                entry(&mut entries, header, extended, &place)?
            }
        };
        at = next(place.data_at, size).ok_or(ImageError::Damaged { at, what: BAD_SIZE })?;
    }
}

/// Where a header is.
struct Place<'s> {
    source: &'s dyn ImageSource,
    at: u64,
    data_at: u64,
}

impl Place<'_> {
    fn size(&self, header: &Header) -> Result<u64, ImageError> {
        header.entry_size().map_err(|_| ImageError::Damaged { at: self.at, what: BAD_SIZE })
    }

    /// The content of a header that says something about the next.
    fn extension(&self, header: &Header) -> Result<Vec<u8>, ImageError> {
        let size = self.size(header)?;
        if size > EXTENDED_BYTES_MAX {
            let what = "an extended header is too long";
            return Err(ImageError::Damaged { at: self.at, what });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        read_exact(self.source, &mut bytes, self.data_at)
            .map_err(|err| cut_off(err, self.data_at))?;
        Ok(bytes)
    }

    /// The content of a file; of what has none, many archives say a size all the same.
    fn content(&self, header: &Header, extended: &Extended) -> Result<Content, ImageError> {
        let len = extended.size.map_or_else(|| self.size(header), Ok)?;
        Ok(Content { at: self.data_at, len })
    }
}

/// Puts one entry into the tree; answers how many bytes of content lie behind its header.
fn entry(
    entries: &mut Entries<'_>,
    header: &Header,
    extended: Extended,
    place: &Place<'_>,
) -> Result<u64, ImageError> {
    let raw = match &extended.path {
        Some(path) => Cow::Borrowed(path.as_slice()),
        None => header.path_bytes(),
    };
    let path = entries.path(&raw)?;
    let seconds = || i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(i64::MAX);
    let time = extended.time.unwrap_or_else(|| Timestamp::new(seconds(), 0));
    let target = || match &extended.target {
        Some(target) => Cow::Borrowed(target.as_slice()),
        None => header.link_name_bytes().unwrap_or_default(),
    };
    if extended.is_sparse {
        return Err(ImageError::entry(&raw, EntryFault::Type('S')));
    }
    match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => {
            let content = place.content(header, &extended)?;
            let end = content.at.checked_add(content.len);
            if end.is_none_or(|end| end > place.source.size()) {
                return Err(ImageError::entry(&raw, EntryFault::Truncated));
            }
            match (path.is_dir, content.len) {
                (false, _) => entries.file(&path, content, time)?,
                // Before there was a type for directories, a slash said it.
                (true, 0) => entries.dir(&path, time)?,
                (true, _) => return Err(ImageError::entry(&raw, TreeFault::FileAndDir)),
            }
            return Ok(content.len);
        }
        EntryType::Directory => entries.dir(&path, time)?,
        EntryType::Symlink => {
            let target = target();
            let target = Entries::target(&path, &target)?;
            entries.symlink(&path, target, time)?;
        }
        EntryType::Link => hard_link(entries, &path, &target())?,
        EntryType::Char | EntryType::Block | EntryType::Fifo => entries.special(&path),
        other => {
            return Err(ImageError::entry(&raw, EntryFault::Type(char::from(other.as_byte()))));
        }
    }
    Ok(0)
}

fn hard_link(
    entries: &mut Entries<'_>,
    path: &EntryPath<'_>,
    target: &[u8],
) -> Result<(), ImageError> {
    let to = entries.path(target).map_err(|err| match err {
        // It is the link that is wrong.
        ImageError::Entry { fault, .. } => ImageError::entry(path.raw, fault),
        other => other,
    })?;
    if to.clean.is_empty() {
        return Err(ImageError::entry(path.raw, TreeFault::LinkToDir));
    }
    entries.add(path, |builder, at| builder.hard_link(at, &to.clean))
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    time: Option<Timestamp>,
    is_sparse: bool,
}

impl Extended {
    /// Takes pax's records: each is its length, a space, a key, `=`, a value, and a newline.
    /// Answers how many bytes they are.
    fn take_pax(&mut self, records: Vec<u8>, at: u64) -> Result<u64, ImageError> {
        let bad = || ImageError::Damaged { at, what: "an extended header is no list of records" };
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let len = rest.get(..space).and_then(number::<usize>).ok_or_else(bad)?;
            let (line, next) = rest.split_at_checked(len).ok_or_else(bad)?;
            let record = line.get(space + 1..).ok_or_else(bad)?;
            let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = record.split_at(equals);
            let value = value.strip_prefix(b"=").ok_or_else(bad)?;
            match key {
                b"path" => self.path = Some(value.to_owned()),
                b"linkpath" => self.target = Some(value.to_owned()),
                b"size" => self.size = Some(number(value).ok_or_else(bad)?),
                b"mtime" => self.time = Some(pax_time(value).ok_or_else(bad)?),
                _ if key.starts_with(b"GNU.sparse.") => self.is_sparse = true,
                _ => {}
            }
            rest = next;
        }
        Ok(records.len() as u64)
    }
}

/// A decimal number, digits and nothing else.
fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Pax's time: seconds with a fraction, perhaps before 1970. What is finer than a nanosecond is
/// cut off.
fn pax_time(text: &[u8]) -> Option<Timestamp> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (whole, fraction) = text.split_at(dot);
    let seconds: i64 = number(whole)?;
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some(match (is_negative, nanos) {
        (false, _) => Timestamp::new(seconds, nanos),
        (true, 0) => Timestamp::new(-seconds, 0),
        (true, _) => Timestamp::new((-seconds).checked_sub(1)?, 1_000_000_000 - nanos),
    })
}

/// Whether a header's bytes sum up to its checksum, which counts as spaces itself.
fn has_checksum(block: &[u8; BLOCK]) -> bool {
    let Ok(expected) = Header::from_byte_slice(block).cksum() else { return false };
    let sum: u32 = (0..)
        .zip(block)
        .map(|(at, byte)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte }))
        .sum();
    sum == expected
}

/// Where the header behind `size` bytes of content is.
fn next(data_at: u64, size: u64) -> Option<u64> {
    data_at.checked_add(size.checked_next_multiple_of(BLOCK as u64)?)
}

/// GNU's long names end with a NUL.
fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn cut_off(err: std::io::Error, at: u64) -> ImageError {
    match err.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            ImageError::Damaged { at, what: "the archive is cut off: it has no end marker" }
        }
        _ => err.into(),
    }
}
