//! The fields of a tar header block.
//!
//! Formats: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html> (ustar) and
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html> (GNU).

use std::ops::Range;

/// Bytes of a block. Headers and file data are padded to a multiple of this size.
pub(crate) const BLOCK: usize = 512;

/// A header block or a data block.
pub(super) type Block = [u8; BLOCK];

const NAME: Range<usize> = 0..100;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const TARGET: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// The prefix field of star, which keeps two times after it.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_MAGIC: Range<usize> = 508..512;

/// Whether all bytes of `block` are zero: one of the two blocks that end an archive.
pub(super) fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// A header block, which need not be valid.
pub(super) struct Header<'b>(pub(super) &'b Block);

impl Header<'_> {
    pub(super) fn field(&self, range: Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    /// Whether the checksum field equals the sum of the bytes. Old tools summed signed bytes, so
    /// both sums are accepted.
    pub(super) fn has_checksum(&self) -> bool {
        let Some(expected) = number(self.field(CHECKSUM)) else { return false };
        // The checksum field itself counts as spaces.
        let bytes = (0..).zip(self.0).map(
            |(at, byte): (usize, _)| {
                if CHECKSUM.contains(&at) { b' ' } else { *byte }
            },
        );
        let unsigned: i128 = bytes.clone().map(i128::from).sum();
        let signed: i128 = bytes.map(|byte| i128::from(byte.cast_signed())).sum();
        expected == unsigned || expected == signed
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.field(TYPE..TYPE + 1).first().copied().unwrap_or(0)
    }

    /// The path: the name field, after the prefix field in the formats that have one.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(NAME));
        if self.field(MAGIC) != b"ustar\0" {
            return name.to_owned();
        }
        let prefix = if self.field(STAR_MAGIC) == b"tar\0" { STAR_PREFIX } else { PREFIX };
        match until_nul(self.field(prefix)) {
            b"" => name.to_owned(),
            prefix => [prefix, b"/", name].concat(),
        }
    }

    pub(super) fn target(&self) -> &[u8] {
        until_nul(self.field(TARGET))
    }

    /// The data size, or `None` if the field is not a number that a size can be.
    pub(super) fn size(&self) -> Option<u64> {
        u64::try_from(number(self.field(SIZE))?).ok()
    }

    /// The modification time in seconds, or `None` if the field is not a number or is out of range.
    pub(super) fn modified(&self) -> Option<i64> {
        i64::try_from(number(self.field(MTIME))?).ok()
    }

    /// Whether a device entry has the numbers 0/0, which mark a whiteout of Linux's overlay
    /// filesystem. Blank fields are not a mark.
    pub(super) fn is_device_zero(&self) -> bool {
        [DEVICE_MAJOR, DEVICE_MINOR].into_iter().all(|range| {
            let field = self.field(range);
            number(field) == Some(0) && field.contains(&b'0')
        })
    }
}

/// A number field. Octal digits, perhaps negative, padded with spaces or NULs; or, if the first bit
/// is set, a big-endian two's complement number ("base-256"). A blank field is 0.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 of the first byte is the sign.
        let start = i128::from((first << 1).cast_signed() >> 1);
        return rest
            .iter()
            .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i128::from(*byte)));
    }
    let text = until_nul(field.trim_ascii_start()).trim_ascii_end();
    let (is_negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) if !digits.is_empty() => (true, digits),
        Some(_) => return None,
        None => (false, text),
    };
    let digit = |byte: u8| (b'0'..=b'7').contains(&byte).then(|| i128::from(byte - b'0'));
    let sum = digits.iter().try_fold(0, |sum, byte| Some(sum * 8 + digit(*byte)?))?;
    Some(if is_negative { -sum } else { sum })
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_fields_of_all_writers_are_parsed() {
        for (field, expected) in [
            (&b"00000000012\0"[..], Some(10)),
            (b"         12 ", Some(10)),
            (b"12\0garbage!!", Some(10)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"            ", Some(0)),
            (b"-1750       ", Some(-0o1750)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xc0\0\0\0\0\0\0\0\0\0\0\0", Some(-(1 << 94))),
            (b"0000000009\0\0", None),
            (b"-          \0", None),
            (b"12 34      \0", None),
            (b"", None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn checksum_is_accepted_as_unsigned_and_signed_sum() {
        let mut block = [0; BLOCK];
        block[0] = 0xe9;
        assert!(!Header(&block).has_checksum(), "a blank checksum is 0");
        for sum in [8 * 32 + 0xe9, 8 * 32 + 0xe9 - 256] {
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert!(Header(&block).has_checksum(), "{sum}");
        }
        block[1] = 1;
        assert!(!Header(&block).has_checksum());
    }
}
