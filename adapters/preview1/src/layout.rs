//! Encoding and decoding of the structures, enumerations and flags of Preview 1.
//!
//! Structures are written field by field into zeroed bytes, so that padding never discloses host
//! memory. Unknown flags and enumeration values are `Inval`.
//!
//! The layouts are those of
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#types>.

use palisade_kernel::{ClockId, FdStat, Status, Subscription, Whence};
use palisade_vfs::{
    Advice, Errno, FileType, Follow, OpenFlags, Result, SetTime, SetTimes, Stat, Timestamp,
};

use crate::rights;

pub(crate) const FILESTAT_LEN: usize = 64;
pub(crate) const FDSTAT_LEN: usize = 24;
pub(crate) const PRESTAT_LEN: usize = 8;
pub(crate) const DIRENT_LEN: usize = 24;
pub(crate) const SUBSCRIPTION_LEN: u32 = 48;
pub(crate) const EVENT_LEN: u32 = 32;

/// A builder of a structure of `LEN` bytes. Fields are little-endian.
struct Fields<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Fields<LEN> {
    fn new() -> Self {
        Fields([0; LEN])
    }

    #[inline(always)]
    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        if let Some(field) = self.0.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
        self
    }

    fn u16(self, at: usize, value: u16) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    fn u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_le_bytes())
    }

    fn u64(self, at: usize, value: u64) -> Self {
        self.put(at, &value.to_le_bytes())
    }
}

#[inline]
pub(crate) fn filestat(stat: &Stat) -> [u8; FILESTAT_LEN] {
    Fields::new()
        .u64(0, stat.dev)
        .u64(8, stat.ino)
        .put(16, &[filetype(stat.kind)])
        .u64(24, stat.nlink)
        .u64(32, stat.size)
        .u64(40, stat.accessed.as_nanos())
        .u64(48, stat.modified.as_nanos())
        .u64(56, stat.changed.as_nanos())
        .0
}

#[inline]
pub(crate) fn fdstat(stat: FdStat<'_>) -> [u8; FDSTAT_LEN] {
    Fields::new()
        .put(0, &[filetype(stat.kind())])
        .u16(2, status_bits(stat.status()))
        .u64(8, rights::bits(stat.base()))
        .u64(16, rights::bits(stat.inheriting()))
        .0
}

pub(crate) fn prestat(name_len: u32) -> [u8; PRESTAT_LEN] {
    Fields::new().u32(4, name_len).0
}

pub(crate) fn dirent(next: u64, ino: u64, name_len: u32, kind: FileType) -> [u8; DIRENT_LEN] {
    Fields::new().u64(0, next).u64(8, ino).u32(16, name_len).put(20, &[filetype(kind)]).0
}

/// Encodes an `event` of a clock (`kind` 0), or of reading (1) or writing (2) a descriptor.
pub(crate) fn event(
    userdata: u64,
    errno: u16,
    kind: u8,
    bytes: u64,
    hung_up: u16,
) -> [u8; EVENT_LEN as usize] {
    Fields::new().u64(0, userdata).u16(8, errno).put(10, &[kind]).u64(16, bytes).u16(24, hung_up).0
}

#[inline]
fn filetype(kind: FileType) -> u8 {
    match kind {
        // Preview 1 has no type for a FIFO; 0 is `unknown`.
        FileType::Fifo => 0,
        FileType::BlockDevice => 1,
        FileType::CharDevice => 2,
        FileType::Dir => 3,
        FileType::File => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

pub(crate) fn status(bits: u32) -> Result<Status> {
    let known = [
        (1, Status::APPEND),
        (2, Status::DSYNC),
        (4, Status::NONBLOCK),
        (8, Status::RSYNC),
        (16, Status::SYNC),
    ];
    flags(bits, &known)
}

#[inline]
fn status_bits(status: Status) -> u16 {
    let mut bits = 0;
    for (bit, flag) in [
        (1, Status::APPEND),
        (2, Status::DSYNC),
        (4, Status::NONBLOCK),
        (8, Status::RSYNC),
        (16, Status::SYNC),
    ] {
        if status.contains(flag) {
            bits |= bit;
        }
    }
    bits
}

pub(crate) fn open_flags(bits: u32) -> Result<OpenFlags> {
    let known = [
        (1, OpenFlags::CREATE),
        (2, OpenFlags::DIRECTORY),
        (4, OpenFlags::EXCLUSIVE),
        (8, OpenFlags::TRUNCATE),
    ];
    flags(bits, &known)
}

/// Decodes flags, or returns `Inval` for an unknown bit.
fn flags<F: Copy + Flags + std::ops::BitOrAssign>(bits: u32, known: &[(u32, F)]) -> Result<F> {
    let (mut flags, mut left) = (F::none(), bits);
    for (bit, flag) in known {
        if bits & bit != 0 {
            flags |= *flag;
            left &= !bit;
        }
    }
    if left == 0 { Ok(flags) } else { Err(Errno::Inval) }
}

/// A set of flags with an empty value.
trait Flags {
    fn none() -> Self;
}

impl Flags for Status {
    fn none() -> Self {
        Status::empty()
    }
}

impl Flags for OpenFlags {
    fn none() -> Self {
        OpenFlags::empty()
    }
}

pub(crate) fn follow(bits: u32) -> Result<Follow> {
    match bits {
        0 => Ok(Follow::No),
        1 => Ok(Follow::Yes),
        _ => Err(Errno::Inval),
    }
}

pub(crate) fn whence(number: u32) -> Result<Whence> {
    match number {
        0 => Ok(Whence::Start),
        1 => Ok(Whence::Current),
        2 => Ok(Whence::End),
        _ => Err(Errno::Inval),
    }
}

pub(crate) fn advice(number: u32) -> Result<Advice> {
    match number {
        0 => Ok(Advice::Normal),
        1 => Ok(Advice::Sequential),
        2 => Ok(Advice::Random),
        3 => Ok(Advice::WillNeed),
        4 => Ok(Advice::DontNeed),
        5 => Ok(Advice::NoReuse),
        _ => Err(Errno::Inval),
    }
}

pub(crate) fn clock_id(number: u32) -> Result<ClockId> {
    match number {
        0 => Ok(ClockId::Realtime),
        1 => Ok(ClockId::Monotonic),
        2 => Ok(ClockId::ProcessCpu),
        3 => Ok(ClockId::ThreadCpu),
        _ => Err(Errno::Inval),
    }
}

/// Decodes `fstflags`. Returns `Inval` for unknown bits, and for both the current and a given time.
pub(crate) fn set_times(accessed_ns: u64, modified_ns: u64, bits: u32) -> Result<SetTimes> {
    if bits > 15 {
        return Err(Errno::Inval);
    }
    let one = |bits, ns| match bits & 3 {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::At(Timestamp::from_nanos(ns))),
        2 => Ok(SetTime::Now),
        _ => Err(Errno::Inval),
    };
    Ok(SetTimes { accessed: one(bits, accessed_ns)?, modified: one(bits >> 2, modified_ns)? })
}

/// Decodes a `subscription`: its user data, its type number and the condition.
pub(crate) fn subscription(bytes: &[u8]) -> Result<(u64, u8, Subscription)> {
    let u64_at = |at| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let u32_at = |at| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let u16_at = |at| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let userdata = u64_at(0).ok_or(Errno::Fault)?;
    let kind = *bytes.get(8).ok_or(Errno::Fault)?;
    let number = u32_at(16).ok_or(Errno::Fault)?;
    let subscription = match kind {
        0 => {
            let ns = u64_at(24).ok_or(Errno::Fault)?;
            match (clock_id(number), u16_at(40).ok_or(Errno::Fault)?) {
                (Err(errno), _) => Subscription::Refused(errno),
                (Ok(id), 0) => Subscription::Clock { id, after_ns: ns },
                (Ok(id), 1) => Subscription::Moment { id, at_ns: ns },
                (Ok(_), _) => Subscription::Refused(Errno::Inval),
            }
        }
        1 => Subscription::Read(number),
        2 => Subscription::Write(number),
        _ => return Err(Errno::Inval),
    };
    Ok((userdata, kind, subscription))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_and_values_are_einval() {
        assert_eq!(status(32), Err(Errno::Inval));
        assert_eq!(open_flags(16), Err(Errno::Inval));
        assert_eq!(follow(2), Err(Errno::Inval));
        assert_eq!(whence(3), Err(Errno::Inval));
        assert_eq!(advice(6), Err(Errno::Inval));
        assert_eq!(clock_id(4), Err(Errno::Inval));
        assert_eq!(set_times(0, 0, 16), Err(Errno::Inval));
        assert_eq!(set_times(0, 0, 3), Err(Errno::Inval));
        assert_eq!(set_times(0, 0, 12), Err(Errno::Inval));
        for bits in 0..32 {
            assert_eq!(status(bits).map(status_bits).map(u32::from), Ok(bits));
        }
    }

    // Regression class of GHSA-96f6-r43r-8c24: padding that disclosed host memory to the guest.
    #[test]
    fn padding_is_zero() {
        let entry = dirent(u64::MAX, u64::MAX, u32::MAX, FileType::Symlink);
        assert_eq!(&entry[21..], [0; 3]);
        assert_eq!(&event(u64::MAX, u16::MAX, 2, u64::MAX, 1)[11..16], [0; 5]);
        assert_eq!(&event(u64::MAX, u16::MAX, 2, u64::MAX, 1)[26..], [0; 6]);
    }
}
