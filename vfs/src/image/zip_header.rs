//! The headers of a zip's entries, and their extra fields.

use std::io::{self, Read};

use crate::Timestamp;

/// Bytes of a header in the directory, before its name.
const CENTRAL_LEN: usize = 46;
/// Bytes of a header before an entry's content, before its name.
pub(super) const LOCAL_LEN: usize = 30;

const CENTRAL: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;

/// The extra fields that are read: large numbers, NTFS's times, Unix's times.
const EXTRA_LARGE: u16 = 0x0001;
const EXTRA_NTFS: u16 = 0x000a;
const EXTRA_UNIX: u16 = 0x5455;

/// Systems whose mode is Unix's: Unix and macOS.
const SYSTEMS_WITH_MODE: [u16; 2] = [3, 19];

/// NTFS's ticks in a second, and its seconds from 1601 to 1970.
const TICKS: u64 = 10_000_000;
const SECONDS_TO_1970: i64 = 11_644_473_600;

/// What the directory says of an entry.
pub(super) struct Central {
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    pub(super) packed_len: u64,
    pub(super) len: u64,
    /// From the archive's beginning.
    pub(super) local_at: u64,
    /// If the system that made it has such.
    pub(super) unix_mode: Option<u32>,
    pub(super) time: Timestamp,
}

impl Central {
    /// Reads one header, and its name into `name`. `InvalidData` for what is none.
    pub(super) fn read(directory: &mut impl Read, name: &mut Vec<u8>) -> io::Result<Self> {
        let mut header = [0; CENTRAL_LEN];
        directory.read_exact(&mut header)?;
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
        if read_u32(header, 0)? != CENTRAL || read_u16(header, 34)? != 0 {
            return None;
        }
        let system = read_u16(header, 4)? >> 8;
        let mode = read_u32(header, 38)? >> 16;
        let (dos_time, dos_date) = (read_u16(header, 12)?, read_u16(header, 14)?);
        let mut central = Central {
            flags: read_u16(header, 8)?,
            method: read_u16(header, 10)?,
            crc32: read_u32(header, 16)?,
            packed_len: read_u32(header, 20)?.into(),
            len: read_u32(header, 24)?.into(),
            local_at: read_u32(header, 42)?.into(),
            unix_mode: SYSTEMS_WITH_MODE.contains(&system).then_some(mode),
            time: dos(dos_date, dos_time),
        };
        central.take_extra(extra)?;
        Some(central)
    }

    /// Takes what the extra fields say better. What stands behind the last whole one is padding.
    fn take_extra(&mut self, extra: &[u8]) -> Option<()> {
        let (mut rest, mut unix, mut ntfs) = (extra, None, None);
        let mut is_large = false;
        while let (Some(id), Some(len)) = (read_u16(rest, 0), read_u16(rest, 2)) {
            let Some((field, next)) = rest.split_at_checked(4 + usize::from(len)) else { break };
            let field = field.get(4..)?;
            match id {
                EXTRA_LARGE if is_large => return None,
                EXTRA_LARGE => {
                    is_large = true;
                    self.take_large(field)?;
                }
                EXTRA_NTFS => ntfs = ntfs_time(field),
                EXTRA_UNIX => unix = unix_time(field),
                _ => {}
            }
            rest = next;
        }
        self.time = ntfs.or(unix).unwrap_or(self.time);
        Some(())
    }

    /// The numbers that did not fit stand here in this order, and no others.
    fn take_large(&mut self, field: &[u8]) -> Option<()> {
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

/// What stands before an entry's content.
pub(super) struct Local {
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
            method: read_u16(header, 8)?,
            name_len: read_u16(header, 26)?,
            extra_len: read_u16(header, 28)?,
        })
    }
}

/// The time of the last change, if the first bit says that there is one.
fn unix_time(field: &[u8]) -> Option<Timestamp> {
    if field.first()? & 1 == 0 {
        return None;
    }
    let seconds = read_u32(field, 1)?.cast_signed();
    Some(Timestamp::new(seconds.into(), 0))
}

/// NTFS's first attribute: the time of the last change comes first.
fn ntfs_time(field: &[u8]) -> Option<Timestamp> {
    if read_u16(field, 4)? != 1 || read_u16(field, 6)? < 8 {
        return None;
    }
    let ticks = read_u64(field, 8)?;
    let seconds = i64::try_from(ticks / TICKS).ok()? - SECONDS_TO_1970;
    let nanos = u32::try_from(ticks % TICKS * 100).ok()?;
    Some(Timestamp::new(seconds, nanos))
}

/// DOS's time: two seconds fine, and of no time zone. What is no date is the first moment of 1970.
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
    fn the_finest_time_that_is_there_is_taken() {
        let unix = [&[0x55, 0x54, 5, 0, 1][..], &(-5_i32).to_le_bytes()].concat();
        let accessed_only = [&[0x55, 0x54, 5, 0, 2][..], &7_i32.to_le_bytes()].concat();
        let ticks = (11_644_473_600_u64 + 100) * 10_000_000 + 12_345_678;
        let ntfs = [0x0a, 0, 32, 0, 0, 0, 0, 0, 1, 0, 24, 0];
        let ntfs = [&ntfs[..], &ticks.to_le_bytes(), &[0; 16]].concat();
        let day = 366 * 86_400 + 315_532_800;
        for (extra, expected) in [
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
    fn large_numbers_stand_in_their_order_and_only_where_they_are_needed() {
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
        assert!(Central::parse(&header, &short).is_none());
        assert!(Central::parse(&header, &[extra.clone(), extra].concat()).is_none());
    }
}
