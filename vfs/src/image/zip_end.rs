//! The end record of a zip, which locates its directory.
//!
//! The search starts at the end of the file. A record is valid if a central directory begins at
//! its offset. Bytes may precede the archive (a program that unpacks it), follow it (padding, a
//! signature), and its comment may be cut off. Two valid records that both end at the end of the
//! file are refused: readers would disagree about the content.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, 4.3.14 to 4.3.16.

use super::error::ImageError;
use super::source::{ImageSource, read_exact};
use super::zip_header::{CENTRAL, read_u16, read_u32, read_u64};

/// Bytes of the end record without its comment, which has 65,535 at most.
const END_LEN: usize = 22;
const COMMENT_LEN_MAX: usize = 65_535;
/// Bytes that may follow the archive.
const TRAILING_MAX: usize = 1 << 20;
/// Bytes of the locator of the zip64 end record, and of that record without its extensible data.
const LOCATOR_LEN: usize = 20;
const END64_LEN: usize = 56;
/// Bytes before the locator in which a zip64 end record is searched for.
const END64_DISTANCE_MAX: u64 = 64 * 1024;

const END: u32 = 0x0605_4b50;
const LOCATOR: u32 = 0x0706_4b50;
const END64: u32 = 0x0606_4b50;

/// The contents of the end record.
#[derive(Debug)]
pub(super) struct End {
    /// The number of entries, which may be wrong.
    pub(super) entries: u64,
    /// Whether `entries` is the number modulo 65,536.
    pub(super) is_small: bool,
    pub(super) directory_at: u64,
    pub(super) directory_len: u64,
    /// The start of the archive: the origin of the offsets in it.
    pub(super) archive_at: u64,
    /// Bytes after the archive.
    pub(super) trailing: u64,
}

/// Whether `source` has an end record, perhaps of a damaged archive.
pub(super) fn is_zip(source: &dyn ImageSource) -> Result<bool, ImageError> {
    match find(source) {
        Ok(end) => Ok(end.is_some()),
        Err(ImageError::Io(error)) => Err(error.into()),
        Err(_) => Ok(true),
    }
}

/// Finds the end record. Returns `None` if there is none.
///
/// # Errors
///
/// - [`ImageError::Io`]
/// - [`ImageError::Foreign`]: the archive is a part of a split one
/// - [`ImageError::Damaged`]: a record ends at the end of the file, and is not valid; or two do
pub(super) fn find(source: &dyn ImageSource) -> Result<Option<End>, ImageError> {
    let size = source.size();
    let tail_max = END_LEN + COMMENT_LEN_MAX + TRAILING_MAX;
    let tail_len = usize::try_from(size).unwrap_or(usize::MAX).min(tail_max);
    let tail_at = size - tail_len as u64;
    let mut tail = vec![0; tail_len];
    read_exact(source, &mut tail, tail_at)?;
    let (mut exact, mut others) = (Vec::new(), Vec::new());
    for at in (0..tail_len.saturating_sub(END_LEN - 1)).rev() {
        let Some(record) = tail.get(at..) else { continue };
        if read_u32(record, 0) != Some(END) {
            continue;
        }
        let comment_len = read_u16(record, 20).map_or(0, usize::from);
        let at = tail_at + at as u64;
        if END_LEN + comment_len == record.len() { &mut exact } else { &mut others }.push((
            record,
            at,
            comment_len,
        ));
    }
    let (mut found, mut fault) = (None, None);
    for (record, at, _) in exact {
        match parse(source, record, at) {
            Ok(_) if found.is_some() => {
                return Err(ImageError::Damaged { at, what: "the zip has two ends" });
            }
            Ok(end) => found = Some(end),
            Err(ImageError::Io(error)) => return Err(error.into()),
            Err(error) => fault = Some(error),
        }
    }
    if found.is_some() {
        return Ok(found);
    }
    for (record, at, comment_len) in others {
        match parse(source, record, at) {
            Ok(end) => {
                let end_at = at.saturating_add((END_LEN + comment_len) as u64);
                return Ok(Some(End { trailing: size.saturating_sub(end_at), ..end }));
            }
            Err(ImageError::Io(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    fault.map_or(Ok(None), Err)
}

/// Parses the end record at `at`, and checks that a central directory begins at its offset.
fn parse(source: &dyn ImageSource, record: &[u8], at: u64) -> Result<End, ImageError> {
    let bad = |what| ImageError::Damaged { at, what };
    let short = || bad("the end record is cut off");
    let disks = [4, 6].map(|at| read_u16(record, at));
    let here = read_u16(record, 8).ok_or_else(short)?;
    let entries = read_u16(record, 10).ok_or_else(short)?;
    let len = read_u32(record, 12).ok_or_else(short)?;
    let offset = read_u32(record, 16).ok_or_else(short)?;
    if let Some(end) = parse64(source, at)? {
        // Each number is repeated in the small record, or all ones.
        let agrees = |small: u64, ones: u64, large: u64| small == ones || small == large & ones;
        let is_same = agrees(entries.into(), u16::MAX.into(), end.entries)
            && agrees(len.into(), u32::MAX.into(), end.directory_len);
        return if is_same {
            Ok(end)
        } else {
            Err(bad("the two end records contradict each other"))
        };
    }
    if disks != [Some(0); 2] || here != entries {
        return Err(split());
    }
    let mut end = locate(source, at, len.into(), offset.into())?;
    end.entries = entries.into();
    Ok(end)
}

/// Finds the directory of `len` bytes that ends before the record at `end_at`. Its offset is
/// relative to the start of the archive, which need not be the start of the file.
fn locate(source: &dyn ImageSource, end_at: u64, len: u64, offset: u64) -> Result<End, ImageError> {
    let before = end_at.checked_sub(len).and_then(|at| Some((at, at.checked_sub(offset)?)));
    let absolute = offset.checked_add(len).filter(|end| *end <= end_at).map(|_| (offset, 0));
    for (directory_at, archive_at) in [before, absolute].into_iter().flatten() {
        let mut magic = [0; 4];
        if len > 0 {
            read_exact(source, &mut magic, directory_at)?;
        }
        if len == 0 || u32::from_le_bytes(magic) == CENTRAL {
            return Ok(End {
                entries: 0,
                is_small: true,
                directory_at,
                directory_len: len,
                archive_at,
                trailing: 0,
            });
        }
    }
    Err(ImageError::Damaged { at: end_at, what: "the directory is not where the end record says" })
}

/// Parses the zip64 end record, if there is one before the end record at `end_at`.
fn parse64(source: &dyn ImageSource, end_at: u64) -> Result<Option<End>, ImageError> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR_LEN as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR_LEN];
    read_exact(source, &mut locator, locator_at)?;
    if read_u32(&locator, 0) != Some(LOCATOR) {
        return Ok(None);
    }
    let bad = |what| ImageError::Damaged { at: locator_at, what };
    let said_at = read_u64(&locator, 8).ok_or(bad("the end record is cut off"))?;
    let Some((at, record)) = find64(source, said_at, locator_at)? else {
        return Err(bad("the zip64 end record is not where it should be"));
    };
    let number = |at| read_u64(&record, at).ok_or(bad("the end record is cut off"));
    let disks = [16, 20].map(|at| read_u32(&record, at));
    let (here, entries, len, offset) = (number(24)?, number(32)?, number(40)?, number(48)?);
    if disks != [Some(0); 2] || here != entries {
        return Err(split());
    }
    Ok(Some(End { entries, is_small: false, ..locate(source, at, len, offset)? }))
}

/// Reads the zip64 end record and returns its offset. The record is at the locator's offset, or
/// directly before the locator if other bytes precede the archive.
fn find64(
    source: &dyn ImageSource,
    said_at: u64,
    locator_at: u64,
) -> Result<Option<(u64, [u8; END64_LEN])>, ImageError> {
    let last = locator_at.checked_sub(END64_LEN as u64);
    for at in [Some(said_at), last].into_iter().flatten() {
        if let Some(record) = read64(source, at, locator_at)? {
            return Ok(Some((at, record)));
        }
    }
    let start = locator_at.saturating_sub(END64_DISTANCE_MAX);
    let mut bytes = vec![0; usize::try_from(locator_at - start).unwrap_or(0)];
    read_exact(source, &mut bytes, start)?;
    for index in (0..bytes.len()).rev() {
        if read_u32(bytes.get(index..).unwrap_or_default(), 0) == Some(END64) {
            let at = start + index as u64;
            if let Some(record) = read64(source, at, locator_at)? {
                return Ok(Some((at, record)));
            }
        }
    }
    Ok(None)
}

/// The zip64 end record at `at`, if there is one that ends at the locator.
fn read64(
    source: &dyn ImageSource,
    at: u64,
    locator_at: u64,
) -> Result<Option<[u8; END64_LEN]>, ImageError> {
    if at.checked_add(END64_LEN as u64).is_none_or(|end| end > locator_at) {
        return Ok(None);
    }
    let mut record = [0; END64_LEN];
    read_exact(source, &mut record, at)?;
    // The length counts from after itself.
    let end = read_u64(&record, 4).and_then(|len| at.checked_add(len)?.checked_add(12));
    Ok((read_u32(&record, 0) == Some(END64) && end == Some(locator_at)).then_some(record))
}

fn split() -> ImageError {
    ImageError::Foreign {
        name: "a part of a split zip",
        hint: "join its parts with `zip -s 0 FILE.zip --out JOINED.zip`",
    }
}
