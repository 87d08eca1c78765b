//! The records of extended headers: `<length> <key>=<value>\n`, and times in decimals.
//!
//! See <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>.

use crate::Timestamp;

const NANOS: u32 = 1_000_000_000;

/// Adds a record.
pub(super) fn push(records: &mut Vec<u8>, key: &str, value: &str) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
}

/// Takes the records apart. `None` if they are none.
pub(super) fn parse(mut records: &[u8]) -> Option<Vec<(&str, &[u8])>> {
    let mut all = Vec::new();
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let digits = records.get(..space).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (record, rest) = records.split_at_checked(len)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let key = std::str::from_utf8(record.get(..equals)?).ok()?;
        all.push((key, record.get(equals + 1..)?));
        records = rest;
    }
    Some(all)
}

/// A time in seconds, with as many decimals as it takes.
pub(super) fn decimal(time: Timestamp) -> String {
    let (seconds, nanos) = (time.seconds(), time.nanos());
    // Nanoseconds count upward, decimals away from zero.
    let (sign, whole, nanos) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", seconds.saturating_add(1).unsigned_abs(), NANOS - nanos),
        (false, nanos) => ("", seconds.unsigned_abs(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{whole}");
    }
    let decimals = format!("{nanos:09}");
    format!("{sign}{whole}.{}", decimals.trim_end_matches('0'))
}

/// Reads such a time. Decimals behind the ninth are dropped.
pub(super) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(decimals) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let nanos: String = decimals.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = nanos.parse().ok()?;
    let (seconds, nanos) = match (is_negative, nanos) {
        (false, nanos) => (whole, nanos),
        (true, 0) => (whole.checked_neg()?, 0),
        (true, nanos) => (whole.checked_neg()?.checked_sub(1)?, NANOS - nanos),
    };
    Some(Timestamp::new(i64::try_from(seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for len in [0, 1, 2, 84, 85, 86, 87, 984, 985, 986, 5000] {
            let value = "x".repeat(len);
            let mut records = Vec::new();
            push(&mut records, "path", &value);
            push(&mut records, "mtime", "1");
            let want = vec![("path", value.as_bytes()), ("mtime", &b"1"[..])];
            assert_eq!(parse(&records), Some(want), "{len}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let bad: [&[u8]; 9] = [
            b"x",
            b"5",
            b"5 a=",
            b"99 a=b\n",
            b"6 a=bc",
            b"0 a=b\n",
            b"5 ab\n",
            b" a=\n",
            b"+6 a=b\n",
        ];
        for records in bad {
            assert_eq!(parse(records), None, "{records:?}");
        }
    }

    #[test]
    fn every_time_comes_back() {
        for (seconds, nanos, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (1, 1, "1.000000001"),
            (-1, 0, "-1"),
            (-1, 750_000_000, "-0.25"),
            (-2, 999_999_999, "-1.000000001"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MIN, 1, "-9223372036854775807.999999999"),
        ] {
            let time = Timestamp::new(seconds, nanos);
            assert_eq!(decimal(time), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
        }
        for bad in ["", "-", ".5", "1e9", "1.x", "--1", "+1", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
