//! The index of a tar archive: a tree whose files are read in place.
//!
//! Of several entries with one path the last one holds. A hard link is a name of the node that its
//! target was when the link was read.

use std::io;

use super::{TarEntry, TarError, TarInput, TarKind, TarReader};
use crate::fixed::Content;
use crate::image::content::SparseFiles;
use crate::image::entries::{Entries, Repeated};
use crate::image::error::{EntryFault, ImageError, ImageLimit, ImageLimits};
use crate::image::omitted::ArchiveNotes;
use crate::image::source::{ImageSource, read_at};

/// An archive's entries, the sparse files among them, and its irregularities.
pub(in crate::image) struct Index<'l> {
    pub(in crate::image) entries: Entries<'l>,
    pub(in crate::image) sparse: SparseFiles,
    pub(in crate::image) notes: ArchiveNotes,
}

/// Reads the entries of the archive in `source`. Returns `None` if it is not a tar archive.
pub(in crate::image) fn index<'l>(
    source: &dyn ImageSource,
    limits: &'l ImageLimits,
) -> Result<Option<Index<'l>>, ImageError> {
    let mut input = SourceInput { source, at: 0 };
    let mut reader = TarReader::new(&mut input);
    let mut index = Index {
        entries: Entries::new(limits),
        sparse: SparseFiles::default(),
        notes: ArchiveNotes::default(),
    };
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => index.add(source, &entry)?,
            Ok(None) => break,
            Err(TarError::NotTar) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    index.notes = reader.notes();
    Ok(Some(index))
}

impl Index<'_> {
    fn add(&mut self, source: &dyn ImageSource, entry: &TarEntry) -> Result<(), ImageError> {
        let raw = entry.path.as_slice();
        // The data must be there also if nothing of it is read.
        let end = entry.data_at.checked_add(entry.data_len);
        if end.is_none_or(|end| end > source.size()) {
            return Err(ImageError::entry(raw, EntryFault::Truncated));
        }
        let Some(path) = self.entries.path(raw)? else { return Ok(()) };
        let time = entry.modified;
        match entry.kind {
            TarKind::File => match self.content(entry) {
                Some(content) => self.entries.file(raw, &path, content, time, Repeated::Ignore),
                None => self.entries.omit(raw, EntryFault::SparseMap),
            },
            TarKind::Dir => self.entries.dir(raw, &path, time),
            TarKind::Symlink => {
                self.entries.symlink(raw, &path, &entry.target, time, Repeated::Ignore)
            }
            TarKind::HardLink => self.entries.hard_link(raw, &path, &entry.target),
            TarKind::Special | TarKind::ZeroDevice => self.entries.omit(raw, EntryFault::Special),
            TarKind::BadSparse => self.entries.omit(raw, EntryFault::SparseMap),
            TarKind::Unknown(letter) => self.entries.omit(raw, EntryFault::Type(letter)),
        }
    }

    /// The content of a file; `None` if there are too many sparse files.
    fn content(&mut self, entry: &TarEntry) -> Option<Content> {
        match &entry.sparse {
            None => Some(Content { at: entry.data_at, len: entry.data_len }),
            Some(map) => self.sparse.add(entry.data_at, map),
        }
    }
}

/// A source, read from front to back.
struct SourceInput<'s> {
    source: &'s dyn ImageSource,
    at: u64,
}

impl TarInput for SourceInput<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = read_at(self.source, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }

    fn skip(&mut self, len: u64) -> io::Result<u64> {
        let skipped = len.min(self.source.size().saturating_sub(self.at));
        self.at += skipped;
        Ok(skipped)
    }
}

impl From<TarError> for ImageError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(error) => error.into(),
            TarError::Truncated(at) => {
                ImageError::Damaged { at, what: "the archive is cut off here" }
            }
            TarError::Damaged { at, what } => ImageError::Damaged { at, what },
            TarError::NotTar => ImageError::Unknown,
            TarError::TooManyHeaders(max) => ImageError::limit(b"", ImageLimit::Nodes, max),
        }
    }
}
