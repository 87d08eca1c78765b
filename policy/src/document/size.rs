//! Sizes with units, such as `64 MiB`.

/// The supported units, as the suffix of a number.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Parses a size in bytes: a whole number and an optional unit, such as `64 MiB`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, times) = UNITS.iter().find(|(known, _)| *known == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*times)
}

/// Returns the supported units.
pub(super) fn units() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(unit, _)| *unit).filter(|unit| !unit.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_a_whole_number_and_a_unit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17 B", Some(17)),
            ("64 MiB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("2 GB", Some(2_000_000_000)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5 GiB", None),
            ("64 mib", None),
            ("64 M", None),
            ("99999999999999999999", None),
            ("16777216 TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
