//! The entries of an archive that were left out, and its other irregularities.

use super::error::{EntryFault, shown};

/// Omitted entries that are listed; all are counted.
const LISTED_MAX: usize = 64;

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OmittedEntry {
    /// The path as the archive has it: the first 256 bytes, with U+FFFD for bytes that are not
    /// UTF-8.
    pub path: String,
    /// The reason.
    pub reason: EntryFault,
}

/// The entries of an archive that were left out, because they cannot be served or because a later
/// entry replaced them. The first 64 are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    count: u64,
    first: Vec<OmittedEntry>,
}

impl Omitted {
    /// The number of omitted entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first 64 of them, in the order of the archive.
    #[must_use]
    pub fn first(&self) -> &[OmittedEntry] {
        &self.first
    }

    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn push(&mut self, path: &[u8], reason: EntryFault) {
        self.count += 1;
        if self.first.len() < LISTED_MAX {
            self.first.push(OmittedEntry { path: shown(path), reason });
        }
    }
}

/// Irregularities of an archive that leave no entry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveNotes {
    /// A tar has no end marker: it ends after its last entry, and may have been cut there.
    pub missing_end: bool,
    /// Entries of a tar whose time cannot be parsed; they have the time of their header, or 1970.
    pub odd_times: u64,
    /// Bytes before the start of a zip, such as the program that unpacks it.
    pub prefix_bytes: u64,
    /// Bytes after the end of a zip, or after the compressed data of a tar.
    pub trailing_bytes: u64,
    /// The end record of a zip has another number of entries than its directory, which was read.
    pub wrong_count: bool,
}
