//! Conversions between [`Timestamp`] and [`SystemTime`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_vfs::{Errno, Result, Timestamp};

/// The largest distance from 1970 that is passed to a filesystem of the crate, in seconds: about
/// 35,000 years. Conversions in such filesystems overflow beyond it.
const SECONDS_MAX: u64 = 1 << 40;

/// Converts a timestamp for a filesystem of the crate, or returns `Inval` if it is out of range.
pub(crate) fn checked_system_time(time: Timestamp) -> Result<SystemTime> {
    if time.seconds().unsigned_abs() > SECONDS_MAX {
        return Err(Errno::Inval);
    }
    system_time(time).ok_or(Errno::Inval)
}

/// Converts a timestamp, or returns `None` if `SystemTime` cannot represent it.
pub(crate) fn system_time(time: Timestamp) -> Option<SystemTime> {
    let whole = Duration::from_secs(time.seconds().unsigned_abs());
    let second = if time.seconds() < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second?.checked_add(Duration::from_nanos(u64::from(time.nanos())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_without_panics() {
        for seconds in [i64::MIN, -(1 << 40), -1, 0, 1, 1 << 40, i64::MAX] {
            for nanos in [0, 1, 999_999_999] {
                let time = Timestamp::new(seconds, nanos);
                let _ = system_time(time);
                let fits = seconds.unsigned_abs() <= SECONDS_MAX;
                let back = checked_system_time(time).map(Timestamp::from);
                assert_eq!(back, if fits { Ok(time) } else { Err(Errno::Inval) });
            }
        }
    }
}
