//! Conversion of the metadata and the times of Linux.

use rustix::fs::{self, Timespec, Timestamps};

use crate::{FileType, SetTime, SetTimes, Stat, Timestamp};

/// Returns the type of a node.
pub(super) fn kind(stat: &fs::Stat) -> FileType {
    // Linux has no other types. A socket is the safe fallback, because it is never opened.
    file_type(fs::FileType::from_raw_mode(stat.st_mode)).unwrap_or(FileType::Socket)
}

/// Converts a file type of Linux, or returns `None` for an unknown one.
pub(super) fn file_type(kind: fs::FileType) -> Option<FileType> {
    match kind {
        fs::FileType::Directory => Some(FileType::Dir),
        fs::FileType::RegularFile => Some(FileType::File),
        fs::FileType::Symlink => Some(FileType::Symlink),
        fs::FileType::CharacterDevice => Some(FileType::CharDevice),
        fs::FileType::BlockDevice => Some(FileType::BlockDevice),
        fs::FileType::Fifo => Some(FileType::Fifo),
        fs::FileType::Socket => Some(FileType::Socket),
        fs::FileType::Unknown => None,
    }
}

/// Converts metadata. Never fails: values out of range are clamped.
// The widths of these fields differ between machines.
#[allow(clippy::useless_conversion)]
pub(super) fn stat(stat: &fs::Stat) -> Stat {
    let nanos = |nanos: u64| u32::try_from(nanos).unwrap_or(0);
    let time = |seconds: i64, nsec: u64| -> Timestamp { Timestamp::new(seconds, nanos(nsec)) };
    Stat {
        kind: kind(stat),
        dev: u64::from(stat.st_dev),
        // FUSE filesystems may report inode 0, which is not valid.
        ino: u64::from(stat.st_ino).max(1),
        nlink: u64::from(stat.st_nlink),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        accessed: time(i64::from(stat.st_atime), u64::from(stat.st_atime_nsec)),
        modified: time(i64::from(stat.st_mtime), u64::from(stat.st_mtime_nsec)),
        changed: time(i64::from(stat.st_ctime), u64::from(stat.st_ctime_nsec)),
    }
}

/// Converts times for `utimensat`. Linux clamps times that a filesystem cannot store.
pub(super) fn timestamps(times: SetTimes) -> Timestamps {
    Timestamps {
        last_access: timespec(times.accessed),
        last_modification: timespec(times.modified),
    }
}

fn timespec(time: SetTime) -> Timespec {
    match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW },
        SetTime::At(at) => Timespec { tv_sec: at.seconds(), tv_nsec: at.nanos().into() },
    }
}
