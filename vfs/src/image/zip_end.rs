//! The end of a zip: where its directory is.

use super::error::ImageError;
use super::source::{ImageSource, read_exact};
use super::zip_header::{read_u16, read_u32, read_u64};

/// Bytes of the end record without its comment, which can have 65,535.
const END_LEN: usize = 22;
const COMMENT_LEN_MAX: usize = 65_535;
/// Bytes of the record that leads to the large end record, and of that one.
const LOCATOR_LEN: usize = 20;
const LARGE_END_LEN: usize = 56;

const END: u32 = 0x0605_4b50;
const LOCATOR: u32 = 0x0706_4b50;
const LARGE_END: u32 = 0x0606_4b50;

/// What the end says.
#[derive(Debug)]
pub(super) struct End {
    pub(super) entries: u64,
    pub(super) directory_at: u64,
    pub(super) directory_len: u64,
    /// Where the archive begins in its source.
    pub(super) archive_at: u64,
}

/// Finds the end record, which must be the only one that ends where the archive ends.
pub(super) fn find(source: &dyn ImageSource) -> Result<End, ImageError> {
    let size = source.size();
    let tail_len = usize::try_from(size).unwrap_or(usize::MAX).min(END_LEN + COMMENT_LEN_MAX);
    let tail_at = size - tail_len as u64;
    let mut tail = vec![0; tail_len];
    read_exact(source, &mut tail, tail_at)?;
    let ends = |at: &usize| {
        let Some(record) = tail.get(*at..) else { return false };
        read_u32(record, 0) == Some(END)
            && read_u16(record, 20).is_some_and(|len| END_LEN + usize::from(len) == record.len())
    };
    let mut found = (0..tail_len).filter(ends);
    let bad = |what| ImageError::Damaged { at: size, what };
    let at = found.next().ok_or(bad("a zip without its end"))?;
    if found.next().is_some() {
        return Err(bad("a zip with two ends"));
    }
    let record = tail.get(at..).ok_or(bad("a zip without its end"))?;
    parse(source, record, tail_at + at as u64)
}

fn parse(source: &dyn ImageSource, record: &[u8], at: u64) -> Result<End, ImageError> {
    let bad = |what| ImageError::Damaged { at, what };
    let short = || bad("the end is cut off");
    let disks = [4, 6].map(|at| read_u16(record, at));
    let here = read_u16(record, 8).ok_or_else(short)?;
    let entries = read_u16(record, 10).ok_or_else(short)?;
    let len = read_u32(record, 12).ok_or_else(short)?;
    let offset = read_u32(record, 16).ok_or_else(short)?;
    if let Some(end) = large(source, at)? {
        // What fits into the small record stands there too, or all ones.
        let says = |small: u64, ones: u64, large: u64| small == ones || small == large;
        let is_same = says(entries.into(), u16::MAX.into(), end.entries)
            && says(len.into(), u32::MAX.into(), end.directory_len)
            && says(offset.into(), u32::MAX.into(), end.directory_at);
        return if is_same { Ok(end) } else { Err(bad("its two ends contradict each other")) };
    }
    if disks != [Some(0); 2] || here != entries {
        return Err(bad("an archive of several volumes"));
    }
    let directory_at = at.checked_sub(len.into()).ok_or(bad("the directory is cut off"))?;
    let archive_at = directory_at.checked_sub(offset.into());
    let archive_at = archive_at.ok_or(bad("the directory is not where the end says"))?;
    let (entries, directory_len) = (entries.into(), len.into());
    Ok(End { entries, directory_at, directory_len, archive_at })
}

/// The large end record, if there is one before the end at `end_at`.
fn large(source: &dyn ImageSource, end_at: u64) -> Result<Option<End>, ImageError> {
    let Some(locator_at) = end_at.checked_sub(LOCATOR_LEN as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR_LEN];
    read_exact(source, &mut locator, locator_at)?;
    if read_u32(&locator, 0) != Some(LOCATOR) {
        return Ok(None);
    }
    let bad = |what| ImageError::Damaged { at: locator_at, what };
    let at = read_u64(&locator, 8).ok_or(bad("the end is cut off"))?;
    // Exactly there and nowhere else: nothing may stand before the archive or between the two.
    if at.checked_add(LARGE_END_LEN as u64) != Some(locator_at) {
        return Err(bad("the large end is not where it should be"));
    }
    let mut record = [0; LARGE_END_LEN];
    read_exact(source, &mut record, at)?;
    let number = |at| read_u64(&record, at).ok_or(bad("the end is cut off"));
    if read_u32(&record, 0) != Some(LARGE_END) {
        return Err(bad("the large end is not where it should be"));
    }
    let disks = [16, 20].map(|at| read_u32(&record, at));
    let (here, entries, len, offset) = (number(24)?, number(32)?, number(40)?, number(48)?);
    if disks != [Some(0); 2] || here != entries {
        return Err(bad("an archive of several volumes"));
    }
    if offset.checked_add(len) != Some(at) {
        return Err(bad("the directory is not where the end says"));
    }
    Ok(Some(End { entries, directory_at: offset, directory_len: len, archive_at: 0 }))
}
