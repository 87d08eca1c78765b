//! The headers of a zip's entries, and their extra fields.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, 4.3.7, 4.3.12 and 4.5.

use std::io::{self, Read};

use crate::Timestamp;

/// Bytes of a header in the directory, without its name.
const CENTRAL_LEN: usize = 46;
/// Bytes of a header before an entry's data, without its name.
pub(super) const LOCAL_LEN: usize = 30;

pub(super) const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

/// The extra fields that are read: zip64, times of NTFS, of Unix (PKWARE, Info-ZIP old and new),
/// and Info-ZIP's Unicode path.
const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_NTFS: u16 = 0x000a;
const EXTRA_PKWARE_UNIX: u16 = 0x000d;
const EXTRA_UNIX: u16 = 0x5455;
const EXTRA_OLD_UNIX: u16 = 0x5855;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// The disk number of an entry whose number is in the zip64 field.
const DISK_IN_ZIP64: u16 = u16::MAX;

/// NTFS's ticks in a second, and its seconds from 1601 to 1970.
const TICKS: u64 = 10_000_000;
const SECONDS_TO_1970: i64 = 11_644_473_600;

/// A header of the directory.
pub(super) struct Central {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) packed_len: u64,
    pub(super) len: u64,
    /// The offset of the local header from the start of the archive.
    pub(super) local_at: u64,
    /// The system that wrote the entry.
    pub(super) system: u16,
    /// The file attributes: of Unix in the upper half, of DOS in the lower.
    pub(super) attributes: u32,
    pub(super) time: Timestamp,
    /// Info-ZIP's Unicode path field.
    pub(super) unicode_path: Option<Vec<u8>>,
    /// Whether the zip64 field is missing, short or repeated, or the entry is on another disk.
    pub(super) is_bad: bool,
}

impl Central {
    /// Reads a header, and its name into `name`.
    ///
    /// # Errors
    ///
    /// - those of `directory`; `UnexpectedEof` if it is cut off
    /// - `InvalidData`: there is no header here
    pub(super) fn read(directory: &mut impl Read, name: &mut Vec<u8>) -> io::Result<Self> {
        let mut header = [0; CENTRAL_LEN];
        directory.read_exact(&mut header)?;
        if read_u32(&header, 0) != Some(CENTRAL) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let lens = [28, 30, 32].map(|at| usize::from(read_u16(&header, at).unwrap_or(0)));
        let [name_len, extra_len, comment_len] = lens;
        name.clear();
        name.resize(name_len, 0);
        directory.read_exact(name)?;
        let mut extra = vec![0; extra_len];
        directory.read_exact(&mut extra)?;
        io::copy(&mut directory.take(comment_len as u64), &mut io::sink())?;
        Self::parse(&header, &extra).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(header: &[u8], extra: &[u8]) -> Option<Self> {
        let (dos_time, dos_date) = (read_u16(header, 12)?, read_u16(header, 14)?);
        let disk = read_u16(header, 34)?;
        let mut central = Central {
            flags: read_u16(header, 8)?,
            method: read_u16(header, 10)?,
            crc32: read_u32(header, 16)?,
            packed_len: read_u32(header, 20)?.into(),
            len: read_u32(header, 24)?.into(),
            local_at: read_u32(header, 42)?.into(),
            system: read_u16(header, 4)? >> 8,
            attributes: read_u32(header, 38)?,
            time: dos(dos_date, dos_time),
            unicode_path: None,
            is_bad: disk != 0 && disk != DISK_IN_ZIP64,
        };
        central.take_extra(extra);
        Some(central)
    }

    /// Takes the extra fields. Bytes after the last whole one are padding.
    fn take_extra(&mut self, extra: &[u8]) {
        let (mut unix, mut old_unix, mut ntfs, mut is_zip64) = (None, None, None, false);
        for (id, field) in extra_fields(extra) {
            match id {
                EXTRA_ZIP64 => {
                    self.is_bad |= is_zip64 || self.take_zip64(field).is_none();
                    is_zip64 = true;
                }
                EXTRA_NTFS => ntfs = ntfs_time(field),
                EXTRA_UNIX => unix = unix_time(field, self.time),
                EXTRA_OLD_UNIX | EXTRA_PKWARE_UNIX => old_unix = old_unix_time(field),
                EXTRA_UNICODE_PATH => self.unicode_path = Some(field.to_owned()),
                _ => {}
            }
        }
        let ones = u64::from(u32::MAX);
        self.is_bad |= !is_zip64 && (self.local_at == ones || self.packed_len == ones);
        self.time = ntfs.or(unix).or(old_unix).unwrap_or(self.time);
    }

    /// Takes the zip64 field: the numbers that are all ones in the header, in this order.
    fn take_zip64(&mut self, field: &[u8]) -> Option<()> {
        let mut at = 0;
        for number in [&mut self.len, &mut self.packed_len, &mut self.local_at] {
            if *number == u64::from(u32::MAX) {
                *number = read_u64(field, at)?;
                at += 8;
            }
        }
        Some(())
    }
}

/// The extra fields: their numbers and their data.
pub(super) fn extra_fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (id, len) = (read_u16(extra, 0)?, read_u16(extra, 2)?);
        let (field, next) = extra.split_at_checked(4 + usize::from(len))?;
        extra = next;
        Some((id, field.get(4..)?))
    })
}

/// Info-ZIP's Unicode path field.
pub(super) fn unicode_path(extra: &[u8]) -> Option<&[u8]> {
    extra_fields(extra).find(|(id, _)| *id == EXTRA_UNICODE_PATH).map(|(_, field)| field)
}

/// The header before an entry's data.
pub(super) struct Local {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) name_len: u16,
    pub(super) extra_len: u16,
}

impl Local {
    pub(super) fn parse(header: &[u8]) -> Option<Self> {
        if read_u32(header, 0)? != LOCAL {
            return None;
        }
        Some(Local {
            flags: read_u16(header, 6)?,
            method: read_u16(header, 8)?,
            name_len: read_u16(header, 26)?,
            extra_len: read_u16(header, 28)?,
        })
    }
}

/// Returns the modification time if the first flag bit is set. The number is signed, but some
/// writers store it unsigned for times after 2038; the DOS time decides between the two.
fn unix_time(field: &[u8], dos: Timestamp) -> Option<Timestamp> {
    if field.first()? & 1 == 0 {
        return None;
    }
    let number = read_u32(field, 1)?;
    let (signed, unsigned) = (i64::from(number.cast_signed()), i64::from(number));
    let distance = |seconds: i64| (seconds - dos.seconds()).abs();
    let seconds = if distance(unsigned) < distance(signed) { unsigned } else { signed };
    Some(Timestamp::new(seconds, 0))
}

/// The modification time, which follows the access time.
fn old_unix_time(field: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::new(read_u32(field, 4)?.cast_signed().into(), 0))
}

/// NTFS's first attribute, which begins with the modification time.
fn ntfs_time(field: &[u8]) -> Option<Timestamp> {
    if read_u16(field, 4)? != 1 || read_u16(field, 6)? < 8 {
        return None;
    }
    let ticks = read_u64(field, 8)?;
    let seconds = i64::try_from(ticks / TICKS).ok()? - SECONDS_TO_1970;
    let nanos = u32::try_from(ticks % TICKS * 100).ok()?;
    Some(Timestamp::new(seconds, nanos))
}

/// A DOS time: exact to two seconds, and without a time zone, so it is taken as UTC. Numbers that
/// are not a date are 1970.
fn dos(date: u16, time: u16) -> Timestamp {
    let (year, month, day) = (1980 + i64::from(date >> 9), date >> 5 & 15, date & 31);
    let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
    let is_date = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second < 60;
    if !is_date {
        return Timestamp::EPOCH;
    }
    // Days since 1970, counted in years that begin with March.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Timestamp::new(days * 86_400 + seconds, 0)
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_exact_time_is_used() {
        let unix = [&[0x55, 0x54, 5, 0, 1][..], &(-5_i32).to_le_bytes()].concat();
        let accessed_only = [&[0x55, 0x54, 5, 0, 2][..], &7_i32.to_le_bytes()].concat();
        let ticks = (11_644_473_600_u64 + 100) * 10_000_000 + 12_345_678;
        let ntfs = [0x0a, 0, 32, 0, 0, 0, 0, 0, 1, 0, 24, 0];
        let ntfs = [&ntfs[..], &ticks.to_le_bytes(), &[0; 16]].concat();
        let day = 366 * 86_400 + 315_532_800;
        let old = [&[0x55, 0x58, 8, 0][..], &3_i32.to_le_bytes(), &4_i32.to_le_bytes()].concat();
        for (extra, expected) in [
            (old, Timestamp::new(4, 0)),
            (vec![], Timestamp::new(day, 0)),
            (accessed_only, Timestamp::new(day, 0)),
            (vec![0x55, 0x54, 5], Timestamp::new(day, 0)),
            (unix.clone(), Timestamp::new(-5, 0)),
            (ntfs.clone(), Timestamp::new(101, 234_567_800)),
            ([ntfs, unix].concat(), Timestamp::new(101, 234_567_800)),
        ] {
            let mut header = [0; CENTRAL_LEN];
            header[..4].copy_from_slice(&CENTRAL.to_le_bytes());
            header[14..16].copy_from_slice(&(1_u16 << 9 | 1 << 5 | 1).to_le_bytes());
            let central = Central::parse(&header, &extra).unwrap();
            assert_eq!(central.time, expected, "{extra:?}");
        }
    }

    #[test]
    fn unix_time_is_unsigned_if_the_dos_time_is_closer_to_that() {
        for (number, dos, expected) in [
            (2_540_000_000_u32, 1_704_164_400, 2_540_000_000),
            (2_540_000_000, 2_540_000_000, 2_540_000_000),
            (2_540_000_000, 315_532_800, -1_754_967_296),
            (u32::MAX, 315_532_800, -1),
            (u32::MAX, 0, -1),
            (7, 4_000_000_000, 7),
        ] {
            let field = [&[1][..], &number.to_le_bytes()].concat();
            let time = unix_time(&field, Timestamp::new(dos, 0)).unwrap();
            assert_eq!(time, Timestamp::new(expected, 0), "{number} {dos}");
        }
    }

    #[test]
    fn zip64_field_holds_only_the_numbers_that_are_all_ones() {
        let mut header = [0; CENTRAL_LEN];
        header[..4].copy_from_slice(&CENTRAL.to_le_bytes());
        header[20..24].copy_from_slice(&7_u32.to_le_bytes());
        header[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        header[42..46].copy_from_slice(&u32::MAX.to_le_bytes());
        let numbers = [1_u64 << 33, 1 << 34].map(u64::to_le_bytes).concat();
        let extra = [&[1, 0, 16, 0][..], &numbers].concat();
        let central = Central::parse(&header, &extra).unwrap();
        assert_eq!((central.packed_len, central.len, central.local_at), (7, 1 << 33, 1 << 34));
        let short = [&[1, 0, 8, 0][..], &numbers[..8]].concat();
        for bad in [short, [extra.clone(), extra.clone()].concat(), Vec::new()] {
            assert!(Central::parse(&header, &bad).unwrap().is_bad);
        }
        assert!(!Central::parse(&header, &extra).unwrap().is_bad);
    }
}
