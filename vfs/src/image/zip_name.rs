//! Names in a zip: their character sets and separators.

use std::borrow::Cow;

/// The flag of names in UTF-8 (APPNOTE 4.4.4, bit 11).
const UTF8: u16 = 1 << 11;
/// Systems whose separator is the backslash: DOS, OS/2, NTFS, VFAT (APPNOTE 4.4.2).
const BACKSLASH_SYSTEMS: [u16; 5] = [0, 6, 10, 11, 14];

/// The characters of code page 437 from 128 to 255.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
                     └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// Decodes a name.
///
/// The Unicode path of Info-ZIP is used if its checksum is that of the name. Otherwise the name is
/// UTF-8 if its UTF-8 flag is set or its bytes are valid UTF-8; otherwise it is in code page 437,
/// the format's default. A name that is flagged as UTF-8 and is not is returned as it is.
pub(super) fn decode<'n>(
    raw: &'n [u8],
    flags: u16,
    system: u16,
    unicode_path: Option<&'n [u8]>,
) -> Cow<'n, [u8]> {
    let unicode = unicode_path.and_then(|field| parse_unicode_path(field, raw));
    let name = match unicode {
        Some(name) => Cow::Borrowed(name),
        None if flags & UTF8 != 0 || std::str::from_utf8(raw).is_ok() => Cow::Borrowed(raw),
        None => Cow::Owned(raw.iter().map(|byte| decode_cp437(*byte)).collect::<String>().into()),
    };
    if !BACKSLASH_SYSTEMS.contains(&system) || !name.contains(&b'\\') {
        return name;
    }
    let slash = |byte: &u8| if *byte == b'\\' { b'/' } else { *byte };
    Cow::Owned(name.iter().map(slash).collect())
}

/// The path in Info-ZIP's Unicode path field: a version, the checksum of the name that it belongs
/// to, and the path (APPNOTE 4.6.9).
fn parse_unicode_path<'f>(field: &'f [u8], raw: &[u8]) -> Option<&'f [u8]> {
    let ([1, checksum @ ..], path) = field.split_first_chunk::<5>()? else { return None };
    let mut crc = flate2::Crc::new();
    crc.update(raw);
    let is_valid = u32::from_le_bytes(*checksum) == crc.sum()
        && !path.is_empty()
        && std::str::from_utf8(path).is_ok();
    is_valid.then_some(path)
}

fn decode_cp437(byte: u8) -> char {
    match byte.checked_sub(128) {
        None => char::from(byte),
        Some(index) => CP437.chars().nth(index.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8], path: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        [&[1][..], &crc.sum().to_le_bytes(), path].concat()
    }

    #[test]
    fn code_page_437_has_128_characters() {
        assert_eq!(CP437.chars().count(), 128);
        assert_eq!(decode(b"\x81ber\xff", 0, 3, None), "über\u{a0}".as_bytes());
        assert_eq!(decode("ü".as_bytes(), 0, 3, None), "ü".as_bytes());
        assert_eq!(decode(b"\x81", UTF8, 3, None), &b"\x81"[..]);
    }

    #[test]
    fn unicode_path_is_used_if_its_checksum_fits() {
        let good = field(b"a", "ä".as_bytes());
        assert_eq!(decode(b"a", 0, 3, Some(&good)), "ä".as_bytes());
        assert_eq!(decode(b"b", 0, 3, Some(&good)), &b"b"[..]);
        assert_eq!(decode(b"a", 0, 3, Some(&field(b"a", b"\xff"))), &b"a"[..]);
        assert_eq!(decode(b"a", 0, 3, Some(&good[..4])), &b"a"[..]);
    }

    #[test]
    fn backslash_separates_names_of_dos_only() {
        assert_eq!(decode(b"a\\b", 0, 0, None), &b"a/b"[..]);
        assert_eq!(decode(b"a\\b", 0, 3, None), &b"a\\b"[..]);
    }
}
