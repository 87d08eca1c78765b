//! Times in both directions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_vfs::{Errno, Result, Timestamp};

/// Seconds around 1970 that are handed to a filesystem of the crate, some 35,000 years: beyond
/// them the conversions that such filesystems use begin to overflow.
const SECONDS_MAX: u64 = 1 << 40;

/// A moment as the crate says it. Errors: `Inval` if it is too far from 1970.
pub(crate) fn checked_system_time(time: Timestamp) -> Result<SystemTime> {
    if time.seconds().unsigned_abs() > SECONDS_MAX {
        return Err(Errno::Inval);
    }
    system_time(time).ok_or(Errno::Inval)
}

/// A moment as the standard library says it, if it can.
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
    fn a_time_goes_there_and_back_and_none_panics() {
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
