//! Metadata of nodes: type, identity, size and times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The type of a node.
// perf: store forwarding, see docs/performance.md. As wide as its neighbors in `Stat`, without
// padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
pub enum FileType {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device, such as a terminal or `/dev/null`.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// A point in time: whole seconds since 1970 (negative before 1970) and nanoseconds after that
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    const NANOS_PER_SECOND: u64 = 1_000_000_000;

    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp { seconds: 0, nanos: 0 };

    /// Creates a timestamp. `nanos` greater than 999,999,999 is clamped to it, so every pair is
    /// valid.
    #[must_use]
    pub fn new(seconds: i64, nanos: u32) -> Self {
        Timestamp { seconds, nanos: nanos.min(999_999_999) }
    }

    /// Converts from nanoseconds since 1970.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        let seconds = i64::try_from(nanos / Self::NANOS_PER_SECOND).unwrap_or(i64::MAX);
        let nanos = u32::try_from(nanos % Self::NANOS_PER_SECOND).unwrap_or(0);
        Timestamp { seconds, nanos }
    }

    /// Returns nanoseconds since 1970: 0 for an earlier time, `u64::MAX` for a time too late to
    /// represent.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        match u64::try_from(self.seconds) {
            Ok(seconds) => {
                seconds.saturating_mul(Self::NANOS_PER_SECOND).saturating_add(u64::from(self.nanos))
            }
            Err(_) => 0,
        }
    }

    /// Returns whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns nanoseconds after the second, less than 1,000,000,000.
    #[must_use]
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos(),
            },
            Err(before) => {
                // Round seconds down, so that the nanoseconds always count forward.
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Timestamp { seconds: -whole, nanos: 0 },
                    nanos => Timestamp {
                        seconds: (-whole).saturating_sub(1),
                        nanos: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }
}

impl From<Duration> for Timestamp {
    fn from(since_epoch: Duration) -> Self {
        Timestamp {
            seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            nanos: since_epoch.subsec_nanos(),
        }
    }
}

/// The metadata of a node.
///
/// `dev` and `ino` together are the identity of the node: equal for two paths if and only if both
/// lead to the same node, also after a rename and through hard links. `ino` is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The type.
    pub kind: FileType,
    /// The device number of the filesystem.
    pub dev: u64,
    /// The inode number on that filesystem; never 0.
    pub ino: u64,
    /// The number of hard links. 0 for an open file whose last name was removed.
    pub nlink: u64,
    /// The size in bytes of a file or of a symbolic link's target; unspecified for a directory.
    pub size: u64,
    /// The last access, if the filesystem records it.
    pub accessed: Timestamp,
    /// The last change of the content.
    pub modified: Timestamp,
    /// The last change of content or metadata: POSIX's `ctime`, not the time of creation.
    pub changed: Timestamp,
}

impl Stat {
    /// Returns the settable times, for copying them to another node.
    #[must_use]
    pub fn times(&self) -> SetTimes {
        SetTimes { accessed: SetTime::At(self.accessed), modified: SetTime::At(self.modified) }
    }
}

/// A change to one time of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Keep the time (`UTIME_OMIT`).
    #[default]
    Keep,
    /// Set the current time of the filesystem (`UTIME_NOW`).
    Now,
    /// Set this time.
    At(Timestamp),
}

/// Changes to the times of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetTimes {
    /// The last access.
    pub accessed: SetTime,
    /// The last change of the content.
    pub modified: SetTime,
}

/// Returns a number for [`Stat::dev`] that no other filesystem of this process has.
///
/// The top bit is set, which no device number of Linux has.
#[must_use]
pub fn fresh_dev() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (1 << 63) | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Returns a number for [`Stat::ino`] that no other node of this process has, on any filesystem.
///
/// The top bit is set: a filesystem of the host that counts its nodes never reaches it.
#[cfg(feature = "overlay")]
pub(crate) fn fresh_ino() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (1 << 63) | NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_total_and_normalized() {
        for seconds in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            for nanos in [0, 1, 999_999_999, 1_000_000_000, u32::MAX] {
                let time = Timestamp::new(seconds, nanos);
                assert!(time.nanos() < 1_000_000_000);
                assert_eq!(time.as_nanos() == 0, seconds < 0 || (seconds == 0 && nanos == 0));
            }
        }
        for nanos in [0, 1, 999_999_999, 1_000_000_000, u64::MAX] {
            assert_eq!(Timestamp::from_nanos(nanos).as_nanos(), nanos);
        }
    }

    #[test]
    fn times_before_1970_round_seconds_down() {
        let time = UNIX_EPOCH - Duration::from_millis(250);
        assert_eq!(Timestamp::from(time), Timestamp { seconds: -1, nanos: 750_000_000 });
        let time = UNIX_EPOCH - Duration::from_secs(2);
        assert_eq!(Timestamp::from(time), Timestamp { seconds: -2, nanos: 0 });
    }
}
