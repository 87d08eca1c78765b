//! The limits, the results and the errors of an import.

use std::fmt;
use std::io::ErrorKind;

use super::super::changes::shown;
use crate::image::{ArchiveNotes, Omitted};
use crate::{EntryFault, Errno, ImageError, ImageLimit, ImageLimits};

/// Limits on what an import may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportLimits {
    /// Headers of any kind, and directories that are created because a path leads through them.
    /// 1,000,000: more than images have.
    pub entries_max: u64,
    /// Bytes of all files, holes included. 16 GiB.
    pub bytes_max: u64,
    /// The ratio of unpacked to packed bytes of a compressed archive; see
    /// [`ImageLimits::ratio_max`]. 200.
    pub ratio_max: u64,
    /// Bytes of memory that a decoder's window may take. 256 MiB.
    pub memory_max: u64,
    /// Entries that may be left out; 0 refuses an archive with any. No limit.
    pub omitted_max: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        let ImageLimits { ratio_max, memory_max, omitted_max, .. } = ImageLimits::default();
        ImportLimits {
            entries_max: 1_000_000,
            bytes_max: 16 << 30,
            ratio_max,
            memory_max,
            omitted_max,
        }
    }
}

/// The nodes and marks that an import has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Files.
    pub files: u64,
    /// Bytes of these, holes included.
    pub bytes: u64,
    /// Entries of directories.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files and symbolic links.
    pub hard_links: u64,
    /// Whiteouts.
    pub whiteouts: u64,
    /// Opaque directories.
    pub opaque: u64,
    /// The entries that were left out.
    pub omitted: Omitted,
    /// Irregularities of the archive that leave no entry out.
    pub notes: ArchiveNotes,
}

/// The reason why an import fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportFault {
    /// The archive is cut off inside a header or an entry.
    Truncated,
    /// A header is not valid, at this offset of the unpacked archive.
    Malformed {
        /// The offset in bytes.
        at: u64,
        /// The fault.
        what: &'static str,
    },
    /// The content is not a tar archive.
    NotTar,
    /// The content has a known format that is not supported.
    Foreign {
        /// The format, with its article.
        name: &'static str,
        /// A command that converts it.
        hint: &'static str,
    },
    /// [`ImportLimits::omitted_max`] is 0, and an entry would be left out.
    Entry(EntryFault),
    /// [`ImportLimits::omitted_max`] is 0, and the archive is irregular.
    Irregular(ArchiveNotes),
    /// More entries than [`ImportLimits::entries_max`].
    TooManyEntries(u64),
    /// More bytes than [`ImportLimits::bytes_max`].
    TooManyBytes(u64),
    /// Another limit and its value.
    Limit(ImageLimit, u64),
    /// The archive could not be read.
    Read(ErrorKind),
    /// The upper directory returned an error.
    Layer(Errno),
}

/// The error of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// The number of the header in the archive, from 1.
    pub number: u64,
    /// The path as the archive has it, cut if it is long; empty if it is not known.
    pub entry: String,
    /// The reason.
    pub fault: ImportFault,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}", self.number)?;
        if !self.entry.is_empty() {
            write!(f, " (`{}`)", shown(&self.entry))?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for ImportError {}

impl fmt::Display for ImportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportFault::Truncated => f.write_str("the archive is cut off here"),
            ImportFault::Malformed { at, what } => {
                write!(f, "the archive is damaged at byte {at}: {what}")
            }
            ImportFault::NotTar => f.write_str("this is not a tar archive"),
            ImportFault::Foreign { name, hint } => {
                write!(f, "this is {name}, which is not supported; {hint}")
            }
            ImportFault::Entry(fault) => fault.fmt(f),
            ImportFault::Irregular(ArchiveNotes { missing_end: true, .. }) => {
                f.write_str("the archive has no end marker")
            }
            ImportFault::Irregular(ArchiveNotes { trailing_bytes: 1.., .. }) => {
                f.write_str("bytes follow the compressed archive")
            }
            ImportFault::Irregular(_) => f.write_str("the time of an entry cannot be parsed"),
            ImportFault::TooManyEntries(max) => write!(f, "more than {max} entries"),
            ImportFault::TooManyBytes(max) => write!(f, "more than {max} bytes of files"),
            ImportFault::Limit(limit, max) => write!(f, "more than {max} {limit}"),
            ImportFault::Read(kind) => write!(f, "the archive cannot be read: {kind}"),
            ImportFault::Layer(errno) => f.write_str(errno.text()),
        }
    }
}

impl From<Errno> for ImportFault {
    fn from(errno: Errno) -> Self {
        ImportFault::Layer(errno)
    }
}

impl From<ImageError> for ImportFault {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Io(error) => ImportFault::Read(error.kind()),
            ImageError::Foreign { name, hint } => ImportFault::Foreign { name, hint },
            ImageError::Damaged { at, what } => ImportFault::Malformed { at, what },
            ImageError::Entry { fault, .. } => ImportFault::Entry(fault),
            ImageError::Limit { limit, max, .. } => ImportFault::Limit(limit, max),
            ImageError::Unknown | ImageError::NotBuilt(_) => ImportFault::NotTar,
        }
    }
}
