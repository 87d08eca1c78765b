//! Zip: the directory at the end, read once; contents where they lie, or unpacked when opened.
//!
//! This reader is strict, because a zip says most things twice and readers that believe different
//! halves can be shown different archives. The end record must be the only one that fits; each
//! entry's two headers must agree in name and method; no two entries may share a byte, which also
//! takes away the cheapest bombs; a name may come once.
//!
//! Stored and deflated entries are read. Names are UTF-8, whatever the flag for it says. Times are
//! those of NTFS's or of Unix's extra field if there is one, else the DOS time, taken as UTC.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::io::{self, BufReader, Read};

use super::content::Packed;
use super::entries::{Entries, EntryPath};
use super::error::{EntryFault, ImageError, ImageLimit, ImageLimits};
use super::source::{ImageSource, Stretch, read_exact};
use super::zip_end;
use super::zip_header::{Central, LOCAL_LEN, Local};
use crate::TreeFault;
use crate::fixed::{Content, OnDuplicate};
use crate::walk::PATH_LEN_MAX;

/// The types in a Unix mode.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIR: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;

/// Flags of entries that are encrypted: the content, strongly, or the headers too.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// What an archive holds.
pub(super) struct Index<'l> {
    pub(super) entries: Entries<'l>,
    pub(super) packed: Vec<Packed>,
}

/// The entries of the archive in `source`.
pub(super) fn index<'l>(
    source: &dyn ImageSource,
    limits: &'l ImageLimits,
) -> Result<Index<'l>, ImageError> {
    let end = zip_end::find(source)?;
    // The root is a node too.
    if end.entries >= limits.nodes_max {
        return Err(ImageError::limit(b"", ImageLimit::Nodes, limits.nodes_max));
    }
    let mut indexing = Indexing {
        source,
        limits,
        index: Index { entries: Entries::new(limits, OnDuplicate::Refuse), packed: Vec::new() },
        unpacked_bytes: 0,
        stretches: Vec::new(),
        directory_at: end.directory_at,
        archive_at: end.archive_at,
    };
    let directory_end = end.directory_at + end.directory_len;
    let stretch = Stretch { source, at: end.directory_at, end: directory_end };
    let mut directory = BufReader::with_capacity(64 * 1024, stretch);
    let mut name = Vec::new();
    for _ in 0..end.entries {
        let central = Central::read(&mut directory, &mut name).map_err(|err| {
            let at = end.directory_at;
            match err.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                    ImageError::Damaged { at, what: "the directory has a bad header" }
                }
                _ => err.into(),
            }
        })?;
        indexing.entry(&central, &name)?;
    }
    if directory.read(&mut [0])? != 0 {
        let at = end.directory_at;
        return Err(ImageError::Damaged { at, what: "the directory has more than its entries" });
    }
    indexing.check_overlaps()?;
    Ok(indexing.index)
}

struct Indexing<'s, 'l> {
    source: &'s dyn ImageSource,
    limits: &'l ImageLimits,
    index: Index<'l>,
    unpacked_bytes: u64,
    /// Where each entry begins and ends, its local header included.
    stretches: Vec<(u64, u64)>,
    directory_at: u64,
    /// Where the archive begins: before it may be a program that unpacks it.
    archive_at: u64,
}

impl Indexing<'_, '_> {
    fn entry(&mut self, central: &Central, name: &[u8]) -> Result<(), ImageError> {
        let path = self.index.entries.path(name)?;
        let fail = |fault: EntryFault| ImageError::entry(name, fault);
        if central.flags & ENCRYPTED != 0 {
            return Err(fail(EntryFault::Encrypted));
        }
        if !matches!(central.method, STORED | DEFLATED) {
            return Err(fail(EntryFault::Method(central.method)));
        }
        let start = self.archive_at.checked_add(central.local_at);
        let start = start.ok_or(fail(EntryFault::Truncated))?;
        let data_at = self.data_at(start, central, name)?;
        let end = data_at.checked_add(central.packed_len);
        let end = end.ok_or(fail(EntryFault::Truncated))?;
        if end > self.directory_at {
            return Err(fail(EntryFault::Overlap));
        }
        self.stretches.push((start, end));
        if central.method == STORED && central.packed_len != central.len {
            return Err(fail(EntryFault::Contradiction));
        }
        let packed = Packed { at: data_at, end, crc32: central.crc32 };
        self.place(central, &path, packed)
    }

    /// Puts an entry into the tree as what it is.
    fn place(
        &mut self,
        central: &Central,
        path: &EntryPath<'_>,
        packed: Packed,
    ) -> Result<(), ImageError> {
        let kind = central.unix_mode.unwrap_or(0) & TYPE_MASK;
        let entries = &mut self.index.entries;
        match kind {
            TYPE_DIR => entries.dir(path, central.time),
            0 | TYPE_FILE if path.is_dir => entries.dir(path, central.time),
            0 | TYPE_FILE => {
                let content = self.content(central, path, packed)?;
                self.index.entries.file(path, content, central.time)
            }
            _ if path.is_dir => Err(ImageError::entry(path.raw, TreeFault::FileAndDir)),
            TYPE_SYMLINK => {
                let target = read_target(self.source, central, path, packed)?;
                let target = Entries::target(path, &target)?;
                entries.symlink(path, target, central.time)
            }
            _ => {
                entries.special(path);
                Ok(())
            }
        }
    }

    /// Where a file's content is, within the limits.
    fn content(
        &mut self,
        central: &Central,
        path: &EntryPath<'_>,
        packed: Packed,
    ) -> Result<Content, ImageError> {
        if central.method == STORED {
            return Ok(Content { at: packed.at, len: central.len });
        }
        let limits = self.limits;
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(central.len);
        for (limit, max, is_above) in [
            (ImageLimit::Memory, limits.memory_max, central.len > limits.memory_max),
            (ImageLimit::Bytes, limits.bytes_max, self.unpacked_bytes > limits.bytes_max),
            (
                ImageLimit::Ratio,
                limits.ratio_max,
                !limits.allows_ratio(central.packed_len, central.len),
            ),
        ] {
            if is_above {
                return Err(ImageError::limit(path.raw, limit, max));
            }
        }
        let place = self.index.packed.len();
        self.index.packed.push(packed);
        Ok(Packed::content(place, central.len))
    }

    /// Where the content of an entry begins, behind a local header that says the same.
    fn data_at(&self, start: u64, central: &Central, name: &[u8]) -> Result<u64, ImageError> {
        let cut_off = |err: io::Error| match err.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::entry(name, EntryFault::Truncated),
            _ => err.into(),
        };
        let mut header = vec![0; LOCAL_LEN + name.len()];
        read_exact(self.source, &mut header, start).map_err(cut_off)?;
        let contradiction = || ImageError::entry(name, EntryFault::Contradiction);
        let local = Local::parse(&header).ok_or_else(contradiction)?;
        let is_same = local.method == central.method
            && usize::from(local.name_len) == name.len()
            && header.get(LOCAL_LEN..) == Some(name);
        if !is_same {
            return Err(contradiction());
        }
        Ok(start + header.len() as u64 + u64::from(local.extra_len))
    }

    /// Refuses entries that share bytes.
    fn check_overlaps(&mut self) -> Result<(), ImageError> {
        self.stretches.sort_unstable();
        let pairs = self.stretches.iter().zip(self.stretches.iter().skip(1));
        match pairs.into_iter().find(|((_, end), (start, _))| start < end) {
            None => Ok(()),
            Some((_, (at, _))) => {
                Err(ImageError::Damaged { at: *at, what: "two entries share bytes" })
            }
        }
    }
}

/// The content of a link's entry.
fn read_target(
    source: &dyn ImageSource,
    central: &Central,
    path: &EntryPath<'_>,
    packed: Packed,
) -> Result<Vec<u8>, ImageError> {
    if central.len > PATH_LEN_MAX as u64 {
        return Err(ImageError::entry(path.raw, EntryFault::BadTarget));
    }
    if central.method == DEFLATED {
        let target = packed.unpack(source, central.len);
        return target.ok_or_else(|| ImageError::entry(path.raw, EntryFault::Content));
    }
    let mut target = vec![0; usize::try_from(central.len).unwrap_or(0)];
    read_exact(source, &mut target, packed.at)?;
    Ok(target)
}
