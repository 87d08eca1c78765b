//! The host's metadata in ours.

use rustix::fs::{FileType as OsType, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::{FileType, SetTime, SetTimes, Stat, Timestamp};

pub(super) fn kind_of(os: OsType) -> Option<FileType> {
    match os {
        OsType::Directory => Some(FileType::Dir),
        OsType::RegularFile => Some(FileType::File),
        OsType::Symlink => Some(FileType::Symlink),
        OsType::CharacterDevice => Some(FileType::CharDevice),
        OsType::BlockDevice => Some(FileType::BlockDevice),
        OsType::Fifo => Some(FileType::Fifo),
        OsType::Socket => Some(FileType::Socket),
        OsType::Unknown => None,
    }
}

pub(super) fn stat_of(os: &rustix::fs::Stat) -> Stat {
    let time = |seconds: i64, nanos: u64| {
        Timestamp::new(seconds, u32::try_from(nanos).unwrap_or(u32::MAX))
    };
    // What has no type of ours is as little to be opened as a socket.
    let kind = kind_of(OsType::from_raw_mode(os.st_mode)).unwrap_or(FileType::Socket);
    Stat {
        kind,
        dev: os.st_dev,
        // Some network filesystems have a node 0; nobody else may.
        ino: os.st_ino.max(1),
        nlink: os.st_nlink,
        size: u64::try_from(os.st_size).unwrap_or(0),
        accessed: time(os.st_atime, os.st_atime_nsec),
        modified: time(os.st_mtime, os.st_mtime_nsec),
        changed: time(os.st_ctime, os.st_ctime_nsec),
    }
}

pub(super) fn timestamps(times: SetTimes) -> Timestamps {
    let one = |time| match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        SetTime::At(at) => Timespec { tv_sec: at.seconds(), tv_nsec: at.nanos().into() },
    };
    Timestamps { last_access: one(times.accessed), last_modification: one(times.modified) }
}
