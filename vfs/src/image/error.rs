//! Errors of images, and the limits on what an archive may cost.

use std::io;

use crate::{TreeFault, escape};

/// Bytes of an entry's path that an error shows.
const SHOWN_BYTES_MAX: usize = 256;

/// Limits on what an image may cost. Each is checked before the memory or the time is spent.
///
/// The data of a plain tar and the stored entries of a zip are read in place: only the size of the
/// archive itself limits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Files, directories and links, the root included, and further names of files. 1,048,576.
    pub nodes_max: u64,
    /// Bytes of all names and link targets. 128 MiB.
    pub names_bytes_max: u64,
    /// Bytes of one path, as the archive has it. 60 KiB: a tree may be deeper than one system call
    /// can name.
    pub path_len_max: usize,
    /// Bytes that all compressed data unpacks to: the whole of a compressed tar, the compressed
    /// entries of a zip. Also the bytes of an image that is read from a pipe. 4 GiB.
    pub bytes_max: u64,
    /// The ratio of unpacked to packed bytes of a compressed tar or of an entry of a zip. The first
    /// 16 MiB are free. 200.
    pub ratio_max: u64,
    /// Bytes of memory for unpacked data: a larger tar is unpacked into a temporary file, a larger
    /// entry of a zip is an error, and opening an entry that exceeds what other open entries leave
    /// is `Nospc`. Also the window of a decoder. 256 MiB.
    pub memory_max: u64,
    /// Entries that may be left out ([`Omitted`](super::Omitted)). No limit; 0 refuses an archive
    /// with any entry that would be left out, or with any irregularity.
    pub omitted_max: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        ImageLimits {
            nodes_max: 1 << 20,
            names_bytes_max: 128 << 20,
            path_len_max: 60 << 10,
            bytes_max: 4 << 30,
            ratio_max: 200,
            memory_max: 256 << 20,
            omitted_max: u64::MAX,
        }
    }
}

impl ImageLimits {
    /// Unpacked bytes for which any ratio is allowed.
    pub const RATIO_FREE_BYTES: u64 = 16 << 20;

    /// Whether `unpacked` bytes may come from `packed` ones.
    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn allows_ratio(&self, packed: u64, unpacked: u64) -> bool {
        unpacked <= packed.saturating_mul(self.ratio_max).saturating_add(Self::RATIO_FREE_BYTES)
    }
}

/// A limit of [`ImageLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageLimit {
    /// [`ImageLimits::nodes_max`].
    Nodes,
    /// [`ImageLimits::names_bytes_max`].
    NamesBytes,
    /// [`ImageLimits::path_len_max`].
    PathLen,
    /// [`ImageLimits::bytes_max`].
    Bytes,
    /// [`ImageLimits::ratio_max`].
    Ratio,
    /// [`ImageLimits::memory_max`].
    Memory,
    /// [`ImageLimits::omitted_max`].
    Omitted,
}

impl std::fmt::Display for ImageLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ImageLimit::Nodes => "files, directories and links",
            ImageLimit::NamesBytes => "bytes of names",
            ImageLimit::PathLen => "bytes in a path",
            ImageLimit::Bytes => "unpacked bytes",
            ImageLimit::Ratio => "times its packed size",
            ImageLimit::Memory => "bytes of memory",
            ImageLimit::Omitted => "entries that would be left out",
        })
    }
}

/// The reason why an entry of an archive is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The path, or the target of a hard link, is not valid.
    #[error(transparent)]
    Path(#[from] TreeFault),
    /// The path or the link's target is not UTF-8.
    #[error("the path or the link's target is not UTF-8")]
    NotUtf8,
    /// The target of a symbolic link is empty, longer than 4095 bytes, or contains a NUL.
    #[error("the target of the symbolic link is not a path")]
    BadTarget,
    /// The entry is a device, a FIFO or a socket.
    #[error("it is a device, a FIFO or a socket")]
    Special,
    /// A later entry has the same path, or needs a directory there.
    #[error("a later entry has the same path")]
    Replaced,
    /// The path has a name that begins with `.wh.` and is not a valid marker of a layer.
    #[error("a name that begins with `.wh.` is reserved for markers")]
    Reserved,
    /// The entry is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// The entry is a patch to data of another archive.
    #[error("it is patch data")]
    Patch,
    /// The compression method of the entry, a number of the zip format, is not supported.
    #[error("it is compressed with {}, which is not supported", method_name(*.0))]
    Method(u16),
    /// The type of the entry, a letter of the tar format, is not supported.
    #[error("the entry type `{}` is not supported", .0.escape_default())]
    Type(char),
    /// The map of a sparse file is not valid.
    #[error("the map of the sparse file is not valid")]
    SparseMap,
    /// The entry's data overlaps the directory of the archive.
    #[error("its data overlaps other data")]
    Overlap,
    /// The two headers of the entry contradict each other.
    #[error("its two headers contradict each other")]
    Contradiction,
    /// The data is cut off.
    #[error("its data is cut off")]
    Truncated,
    /// The data does not unpack to the size and the checksum in the header.
    #[error("its data does not unpack to the size and checksum in its header")]
    Content,
}

/// The name of a compression method of zip.
fn method_name(method: u16) -> String {
    let name = match method {
        1 => "Shrink",
        2..=5 => "Reduce",
        6 => "Implode",
        9 => "Deflate64",
        10 => "PKWARE DCL Implode",
        12 => "bzip2",
        14 => "LZMA",
        16 | 18 => "IBM TERSE",
        19 => "IBM LZ77",
        20 | 93 => "Zstandard",
        94 => "MP3",
        95 => "XZ",
        96 => "JPEG",
        97 => "WavPack",
        98 => "PPMd",
        99 => "AES encryption",
        _ => return format!("the unknown method {method}"),
    };
    format!("{name} (method {method})")
}

/// The reason why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The host's error.
    #[error("the image cannot be read")]
    Io(#[from] io::Error),
    /// The content has none of the formats.
    #[error("this is neither a directory nor an archive of a known format")]
    Unknown,
    /// The content has a known format that is not supported.
    #[error("this is {name}, which is not supported; {hint}")]
    Foreign {
        /// The format, with its article.
        name: &'static str,
        /// A command that converts it.
        hint: &'static str,
    },
    /// The feature of the format is not compiled in.
    #[error("support for `{0}` is not compiled in")]
    NotBuilt(&'static str),
    /// The archive as a whole is damaged.
    #[error("the archive is damaged at byte {at}: {what}")]
    Damaged {
        /// The offset in the unpacked archive.
        at: u64,
        /// The fault.
        what: &'static str,
    },
    /// An entry is cut off; or [`ImageLimits::omitted_max`] is 0 and an entry would be left out.
    #[error("entry `{}`: {fault}", escape::name(entry))]
    Entry {
        /// The path as the archive has it.
        entry: String,
        /// The fault.
        #[source]
        fault: EntryFault,
    },
    /// A limit was exceeded.
    #[error("{}more than {max} {limit}", entry_prefix(entry))]
    Limit {
        /// The entry that exceeded the limit; empty for the archive as a whole.
        entry: String,
        /// The limit.
        limit: ImageLimit,
        /// Its value.
        max: u64,
    },
}

fn entry_prefix(entry: &str) -> String {
    match entry {
        "" => String::new(),
        entry => format!("entry `{}`: ", escape::name(entry)),
    }
}

#[cfg(any(feature = "tar", feature = "zip"))]
impl ImageError {
    pub(super) fn entry(path: &[u8], fault: impl Into<EntryFault>) -> Self {
        ImageError::Entry { entry: shown(path), fault: fault.into() }
    }

    pub(super) fn limit(path: &[u8], limit: ImageLimit, max: u64) -> Self {
        ImageError::Limit { entry: shown(path), limit, max }
    }
}

/// The part of a path that errors and reports show.
pub(super) fn shown(path: &[u8]) -> String {
    let part = path.get(..SHOWN_BYTES_MAX).unwrap_or(path);
    String::from_utf8_lossy(part).into_owned()
}
