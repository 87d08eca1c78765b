//! Recognition of archive formats by their content.

use super::error::ImageError;

/// Bytes at the start of a file that are enough for all formats but disk images.
pub(super) const START_BYTES: u64 = 512;
/// Bytes that are enough for all formats.
pub(super) const PROBE_BYTES: u64 = 33 * 1024;

/// A format that is recognized but not read.
struct Foreign {
    /// The offset of the magic bytes.
    at: usize,
    magic: &'static [u8],
    name: &'static str,
    hint: &'static str,
}

const fn at_start(magic: &'static [u8], name: &'static str, hint: &'static str) -> Foreign {
    Foreign { at: 0, magic, name, hint }
}

const CPIO: &str = "convert it with `bsdtar -cf OUT.tar @FILE`";
const ZIP_SPLIT: &str = "join its parts with `zip -s 0 FILE.zip --out JOINED.zip`";
const UNPACK_7Z: &str = "unpack it with `7z x FILE`, and use the directory";
const ISO: &str = "convert it with `bsdtar -cf OUT.tar @FILE`";
const DISK: &str = "mount it, or unpack it with `7z x FILE`, and use the directory";

/// The formats, the most specific magic bytes first.
const FOREIGN: &[Foreign] = &[
    at_start(b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK_7Z),
    at_start(
        b"Rar!\x1a\x07",
        "a RAR archive",
        "unpack it with `unrar x FILE`, and use the directory",
    ),
    at_start(b"\x04\x22\x4d\x18", "LZ4 data", "unpack it with `lz4 -dc FILE > OUT.tar`"),
    at_start(b"\x02\x21\x4c\x18", "LZ4 data", "unpack it with `lz4 -dc FILE > OUT.tar`"),
    at_start(b"\x1f\x9d", "data of compress (.Z)", "unpack it with `gzip -dc FILE > OUT.tar`"),
    at_start(b"LZIP", "lzip data", "unpack it with `lzip -dc FILE > OUT.tar`"),
    at_start(b"\x89LZO\0\r\n\x1a\n", "lzop data", "unpack it with `lzop -dc FILE > OUT.tar`"),
    at_start(b"\xff\x06\0\0sNaPpY", "Snappy data", "unpack it with `snzip -dc FILE > OUT.tar`"),
    at_start(b"070701", "a cpio archive", CPIO),
    at_start(b"070702", "a cpio archive", CPIO),
    at_start(b"070707", "a cpio archive", CPIO),
    at_start(b"\xc7\x71", "a cpio archive", CPIO),
    at_start(b"\x71\xc7", "a cpio archive", CPIO),
    at_start(b"hsqs", "a SquashFS image", "unpack it with `unsquashfs -d DIR FILE`"),
    at_start(b"sqsh", "a SquashFS image", "unpack it with `unsquashfs -d DIR FILE`"),
    at_start(
        b"!<arch>\ndebian-binary",
        "a Debian package",
        "convert it with `dpkg-deb --fsys-tarfile FILE > OUT.tar`",
    ),
    at_start(b"!<arch>\n", "an ar archive", "unpack it with `ar x FILE`"),
    at_start(b"\xed\xab\xee\xdb", "an RPM package", "convert it with `rpm2archive FILE`"),
    at_start(b"MSCF", "a cabinet file", UNPACK_7Z),
    at_start(b"xar!", "a xar archive", "convert it with `bsdtar -cf OUT.tar @FILE`"),
    at_start(b"MSWIM\0\0\0", "a WIM image", UNPACK_7Z),
    at_start(b"\x45\x3d\xcd\x28", "a cramfs image", DISK),
    at_start(b"QFI\xfb", "a qcow2 disk image", DISK),
    at_start(b"PK\x07\x08", "the first part of a split zip", ZIP_SPLIT),
    Foreign {
        at: 1024,
        magic: b"\xe2\xe1\xf5\xe0",
        name: "an EROFS image",
        hint: "unpack it with `fsck.erofs --extract=DIR FILE`",
    },
    Foreign { at: 1080, magic: b"\x53\xef", name: "an ext2, ext3 or ext4 image", hint: DISK },
    Foreign { at: 32_769, magic: b"CD001", name: "an ISO 9660 image", hint: ISO },
    Foreign { at: 32_769, magic: b"BEA01", name: "a UDF image", hint: ISO },
];

/// The error for content that is not read: it names the format, if the format is known.
pub(super) fn unsupported(start: &[u8]) -> ImageError {
    let found = FOREIGN.iter().find(|foreign| {
        start.get(foreign.at..).is_some_and(|bytes| bytes.starts_with(foreign.magic))
    });
    match found {
        Some(Foreign { name, hint, .. }) => ImageError::Foreign { name, hint },
        None => ImageError::Unknown,
    }
}

/// A format of compressed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lzma,
}

/// The format of compressed data that begins with these bytes. Skippable frames of Zstandard, which
/// LZ4 has too, must have been skipped.
pub(super) fn packing(start: &[u8]) -> Option<Packing> {
    if start.starts_with(b"\x1f\x8b") {
        return Some(Packing::Gzip);
    }
    if start.starts_with(b"\x28\xb5\x2f\xfd") {
        return Some(Packing::Zstd);
    }
    if start.starts_with(b"\xfd7zXZ\0") {
        return Some(Packing::Xz);
    }
    if start.starts_with(b"BZh") && start.get(4..10) == Some(b"1AY&SY") {
        return Some(Packing::Bzip2);
    }
    // LZMA has no magic bytes: the usual properties, a dictionary of whole 64 KiB, and a size that
    // is unknown or below 2^40.
    let is_lzma = start.starts_with(b"\x5d\0\0")
        && start.get(5..13).is_some_and(|size| size == [0xff; 8] || size.ends_with(&[0, 0, 0]))
        && start.get(3..5).is_some_and(|dictionary| dictionary != [0, 0]);
    is_lzma.then_some(Packing::Lzma)
}

/// Bytes of a skippable frame of Zstandard that begins with these bytes: its header included.
pub(super) fn skippable_frame(start: &[u8]) -> Option<u64> {
    let magic = u32::from_le_bytes(*start.first_chunk()?);
    let len = u32::from_le_bytes(*start.get(4..)?.first_chunk()?);
    (magic & !0xf == 0x184d_2a50).then_some(8 + u64::from(len))
}

/// The smallest window that every Zstandard decoder must support, as a power of two: 8 MiB,
/// RFC 8878.
const WINDOW_LOG_MIN: u32 = 23;
/// The largest window of the format's tools, as a power of two.
const WINDOW_LOG_MAX: u32 = 31;

/// The largest window of Zstandard that fits into `memory_max` bytes, as a power of two.
pub(super) fn window_log_max(memory_max: u64) -> u32 {
    memory_max.max(1).ilog2().clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX)
}
