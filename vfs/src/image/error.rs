//! What can be wrong with an image, and how much of one is taken.

use std::io;

use crate::walk::PATH_LEN_MAX;
use crate::{TreeFault, escape};

/// Bytes of an entry's name that an error shows.
const SHOWN_BYTES_MAX: usize = 256;

/// How much of an image is taken. What is beyond a limit is refused, and never held first.
///
/// A plain tar and the stored entries of a zip are read where they lie: they are only limited by
/// the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// Files, directories and links, the root included, and further names of files. 1,048,576.
    pub nodes_max: u64,
    /// Bytes of all names and targets of links. 128 MiB.
    pub names_bytes_max: u64,
    /// Bytes of one path, as the archive has it. 4095, Linux's `PATH_MAX`.
    pub path_len_max: usize,
    /// Bytes that all that is compressed unpacks to: the whole of a compressed tar, the compressed
    /// entries of a zip. 4 GiB.
    pub bytes_max: u64,
    /// How often larger something may be than what it is unpacked from: a whole compressed tar, an
    /// entry of a zip. The first 16 MiB are free. 200.
    pub ratio_max: u64,
    /// Bytes of memory that unpacked content may take at once: an unpacked tar beyond it goes to a
    /// temporary file; an entry of a zip must fit, and an open that does not is `Nospc`. 256 MiB.
    pub memory_max: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        ImageLimits {
            nodes_max: 1 << 20,
            names_bytes_max: 128 << 20,
            path_len_max: PATH_LEN_MAX,
            bytes_max: 4 << 30,
            ratio_max: 200,
            memory_max: 256 << 20,
        }
    }
}

impl ImageLimits {
    /// Unpacked bytes that any ratio is allowed for: what is small does no harm.
    pub const RATIO_FREE_BYTES: u64 = 16 << 20;

    /// Whether `unpacked` bytes may come from `packed` ones.
    pub(super) fn allows_ratio(&self, packed: u64, unpacked: u64) -> bool {
        unpacked <= packed.saturating_mul(self.ratio_max).saturating_add(Self::RATIO_FREE_BYTES)
    }
}

/// Which of [`ImageLimits`] was reached.
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
}

impl std::fmt::Display for ImageLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ImageLimit::Nodes => "nodes",
            ImageLimit::NamesBytes => "bytes of names",
            ImageLimit::PathLen => "bytes in a path",
            ImageLimit::Bytes => "bytes unpacked",
            ImageLimit::Ratio => "times its packed size",
            ImageLimit::Memory => "bytes of memory",
        })
    }
}

/// Why an entry of an archive cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Its path, or the path of what it is a hard link to, is none.
    #[error(transparent)]
    Path(#[from] TreeFault),
    /// A path or the target of a link is not UTF-8.
    #[error("the path or the link's target is not UTF-8")]
    NotUtf8,
    /// The target of a symbolic link is empty, too long, or has a NUL in it.
    #[error("the link's target is no path")]
    BadTarget,
    /// It is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// It is packed in a way that is not read: the format's number for it.
    #[error("it is packed by the unsupported method {0}")]
    Method(u16),
    /// It is of a type that is not read, such as a sparse file: the format's letter for it.
    #[error("it is of the unsupported type `{}`", .0.escape_default())]
    Type(char),
    /// Its bytes overlap with those of another entry or of the archive's own.
    #[error("its bytes overlap with others")]
    Overlap,
    /// Its two headers contradict each other.
    #[error("its headers contradict each other")]
    Contradiction,
    /// Its bytes end before they should.
    #[error("its bytes are cut off")]
    Truncated,
    /// Its bytes do not unpack to what its size and checksum say.
    #[error("its bytes do not unpack to what its header says")]
    Content,
}

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host's error.
    #[error("the image cannot be read")]
    Io(#[from] io::Error),
    /// It is none of the formats.
    #[error("this is neither a directory nor an archive of a known format")]
    Unknown,
    /// It is of a format whose feature is not compiled in.
    #[error("support for `{0}` is not compiled in")]
    NotBuilt(&'static str),
    /// What does not belong to a single entry is wrong.
    #[error("the archive is damaged at byte {at}: {what}")]
    Damaged {
        /// Where, in bytes from the beginning of what was unpacked.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry is wrong.
    #[error("entry `{}`: {fault}", escape::name(entry))]
    Entry {
        /// Its path, as the archive has it.
        entry: String,
        /// What is wrong with it.
        #[source]
        fault: EntryFault,
    },
    /// A limit was reached.
    #[error("entry `{}`: more than {max} {limit}", escape::name(entry))]
    Limit {
        /// The entry that was one too many; empty for the archive as a whole.
        entry: String,
        /// The limit.
        limit: ImageLimit,
        /// What it is set to.
        max: u64,
    },
}

impl ImageError {
    pub(super) fn entry(path: &[u8], fault: impl Into<EntryFault>) -> Self {
        ImageError::Entry { entry: shown(path), fault: fault.into() }
    }

    pub(super) fn limit(path: &[u8], limit: ImageLimit, max: u64) -> Self {
        ImageError::Limit { entry: shown(path), limit, max }
    }
}

/// What an error shows of a path.
fn shown(path: &[u8]) -> String {
    let part = path.get(..SHOWN_BYTES_MAX).unwrap_or(path);
    String::from_utf8_lossy(part).into_owned()
}
