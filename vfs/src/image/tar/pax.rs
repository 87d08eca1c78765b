//! The records of pax extended headers, `<length> <key>=<value>\n`, and their decimal times.
//!
//! Format: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>.

use crate::Timestamp;

const NANOS: u32 = 1_000_000_000;
/// Decimals of a time that are kept: nanoseconds.
const DECIMALS: usize = 9;

/// Appends a record.
pub(crate) fn push(records: &mut Vec<u8>, key: &str, value: &str) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} {key}={value}\n").as_bytes());
}

/// Calls `each` with the key and the value of each record, in order. Returns `None` if the bytes
/// are not a list of records. NULs after the last record are padding.
pub(super) fn for_each<'r>(
    mut records: &'r [u8],
    each: &mut dyn FnMut(&'r [u8], &'r [u8]) -> Option<()>,
) -> Option<()> {
    while records.first().is_some_and(|byte| *byte != 0) {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let len: usize = decimal_digits(records.get(..space)?)?;
        let (record, rest) = records.split_at_checked(len)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        each(record.get(..equals)?, record.get(equals + 1..)?)?;
        records = rest;
    }
    Some(())
}

/// Parses a decimal number that consists of digits only.
pub(super) fn decimal_digits<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Formats a time in seconds, with as many decimals as needed.
pub(crate) fn format_time(time: Timestamp) -> String {
    let (seconds, nanos) = (time.seconds(), time.nanos());
    // Nanoseconds count upwards from the second; decimals count away from zero.
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

/// Parses a time in seconds: a decimal number, perhaps with a sign, with or without digits on one
/// side of the point, or with an exponent. Decimals after the ninth are dropped. Returns `None` for
/// other text and for times that a [`Timestamp`] cannot hold.
pub(super) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if text.contains(['e', 'E']) {
        return parse_exponent(text, is_negative);
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + decimals.len() == 0 || !are_digits(whole) || !are_digits(decimals) {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos: String = decimals.chars().chain(std::iter::repeat('0')).take(DECIMALS).collect();
    timestamp(is_negative, whole, nanos.parse().ok()?)
}

/// Parses a number with an exponent, as tools that print a floating-point number write it. The
/// result is as exact as such a number is.
fn parse_exponent(text: &str, is_negative: bool) -> Option<Timestamp> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let seconds: f64 = text.parse().ok().filter(|_| is_number)?;
    // The text of a finite number, without an exponent, is exact.
    let text = format!("{seconds:.9}");
    let (whole, decimals) = text.split_once('.')?;
    timestamp(is_negative, whole.parse().ok()?, decimals.parse().ok()?)
}

fn timestamp(is_negative: bool, whole: i128, nanos: u32) -> Option<Timestamp> {
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

    fn parse(records: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
        let mut all = Vec::new();
        for_each(records, &mut |key, value| {
            all.push((key, value));
            Some(())
        })?;
        Some(all)
    }

    #[test]
    fn record_length_counts_its_own_digits() {
        for len in [0, 1, 2, 84, 85, 86, 87, 984, 985, 986, 5000] {
            let value = "x".repeat(len);
            let mut records = Vec::new();
            push(&mut records, "path", &value);
            push(&mut records, "mtime", "1");
            let want = vec![(&b"path"[..], value.as_bytes()), (b"mtime", &b"1"[..])];
            assert_eq!(parse(&records), Some(want.clone()), "{len}");
            records.extend([0; 9]);
            assert_eq!(parse(&records), Some(want), "padded {len}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
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
    fn times_survive_formatting_and_parsing() {
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
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
        }
    }

    #[test]
    fn times_of_other_writers_are_parsed() {
        for (text, seconds, nanos) in [
            (".5", 0, 500_000_000),
            ("-.5", -1, 500_000_000),
            ("5.", 5, 0),
            ("+5", 5, 0),
            ("1.7e9", 1_700_000_000, 0),
            ("1.7E+09", 1_700_000_000, 0),
            ("-25e-1", -3, 500_000_000),
            ("1.1234567899", 1, 123_456_789),
        ] {
            assert_eq!(parse_time(text.as_bytes()), Some(Timestamp::new(seconds, nanos)), "{text}");
        }
        for bad in ["", "-", ".", "1.x", "--1", "inf", "nan", "e", "1e999", "99999999999999999999"]
        {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
