//! Zip: the index of an archive, read from its directory.
//!
//! A zip describes each entry twice. The directory holds; the local header must have the same name
//! and method, or the entry is left out, so that all readers see one content. Entries may not
//! overlap, which also excludes the cheapest bombs. Of several entries with one path the last one
//! holds, and the others are reported.
//!
//! Stored entries are read in place; Deflate, bzip2, LZMA, XZ and Zstandard are unpacked on open.
//! Times are those of the extra fields of NTFS or Unix if there are any, else the DOS time in UTC.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.

use std::io::{self, BufRead, BufReader};

use super::content::{Method, Packed};
use super::entries::{Entries, Repeated};
use super::entry_path::{self, EntryPath};
use super::error::{EntryFault, ImageError, ImageLimit, ImageLimits};
use super::omitted::ArchiveNotes;
use super::source::{ImageSource, Stretch, read_exact};
use super::zip_end::{self, End};
use super::zip_header::{Central, LOCAL_LEN, Local, unicode_path};
use super::zip_name::decode;
use crate::fixed::Content;
use crate::walk::PATH_LEN_MAX;

/// The types in a Unix mode.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIR: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;
/// FIFO, character device, block device, socket.
const TYPES_SPECIAL: [u32; 4] = [0o010_000, 0o020_000, 0o060_000, 0o140_000];
/// DOS's attribute of directories.
const DOS_DIR: u32 = 0x10;

/// Flags of encrypted entries: the data, strong encryption, the headers too.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// The flag of entries that are patches.
const PATCH: u16 = 1 << 5;
const STORED: u16 = 0;
const ENCRYPTED_METHOD: u16 = 99;

/// The magic of the digital signature that may end a directory.
const SIGNATURE: &[u8] = b"PK\x05\x05";

/// An archive's entries, the compressed files among them, and its irregularities.
pub(super) struct Index<'l> {
    pub(super) entries: Entries<'l>,
    pub(super) packed: Vec<Packed>,
    pub(super) notes: ArchiveNotes,
}

/// Reads the directory of the archive in `source`.
pub(super) fn index<'l>(
    source: &dyn ImageSource,
    limits: &'l ImageLimits,
) -> Result<Index<'l>, ImageError> {
    let end = zip_end::find(source)?.ok_or(ImageError::Damaged {
        at: source.size(),
        what: "the zip has no end record; it is likely cut off",
    })?;
    // The root is a node too.
    if !end.is_small && end.entries >= limits.nodes_max {
        return Err(ImageError::limit(b"", ImageLimit::Nodes, limits.nodes_max));
    }
    let mut indexing = Indexing {
        source,
        limits,
        entries: Entries::new(limits),
        packed: Vec::new(),
        unpacked_bytes: 0,
        stretches: Vec::new(),
        end: &end,
    };
    indexing.read_directory()?;
    indexing.check_overlaps()?;
    let Indexing { entries, packed, .. } = indexing;
    let count = if end.is_small { entries.count & 0xffff } else { entries.count };
    let notes = ArchiveNotes {
        prefix_bytes: end.archive_at,
        trailing_bytes: end.trailing,
        wrong_count: count != end.entries,
        ..ArchiveNotes::default()
    };
    Ok(Index { entries, packed, notes })
}

struct Indexing<'s, 'l> {
    source: &'s dyn ImageSource,
    limits: &'l ImageLimits,
    entries: Entries<'l>,
    packed: Vec<Packed>,
    unpacked_bytes: u64,
    /// The ranges of the entries, their local headers included.
    stretches: Vec<(u64, u64)>,
    end: &'s End,
}

impl Indexing<'_, '_> {
    fn read_directory(&mut self) -> Result<(), ImageError> {
        let at = self.end.directory_at;
        let stretch = Stretch { source: self.source, at, end: at + self.end.directory_len };
        let mut directory = BufReader::with_capacity(64 * 1024, stretch);
        let mut name = Vec::new();
        loop {
            let rest = directory.fill_buf()?;
            if rest.is_empty() || rest.starts_with(SIGNATURE) {
                return Ok(());
            }
            let central =
                Central::read(&mut directory, &mut name).map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                        ImageError::Damaged { at, what: "the directory has a bad header" }
                    }
                    _ => error.into(),
                })?;
            self.entry(&central, &name)?;
        }
    }

    /// Adds an entry to the tree, or leaves it out.
    fn entry(&mut self, central: &Central, raw: &[u8]) -> Result<(), ImageError> {
        let unicode = central.unicode_path.as_deref();
        let name = decode(raw, central.flags, central.system, unicode);
        let Some(path) = self.entries.path(&name)? else { return Ok(()) };
        let mode = central.attributes >> 16 & TYPE_MASK;
        let is_dos_dir = mode == 0 && central.attributes & DOS_DIR != 0 && central.len == 0;
        let kind = match mode {
            TYPE_SYMLINK => TYPE_SYMLINK,
            // Tools that compress a pipe keep its type, and its data.
            special if TYPES_SPECIAL.contains(&special) && central.len == 0 => special,
            TYPE_DIR => TYPE_DIR,
            // Other types do not exist: some writers set all bits.
            _ if path.is_dir || is_dos_dir => TYPE_DIR,
            _ => TYPE_FILE,
        };
        // A directory has no data, so its local header does not matter.
        if kind == TYPE_DIR {
            return self.entries.dir(&name, &path, central.time);
        }
        if TYPES_SPECIAL.contains(&kind) {
            return self.entries.omit(&name, EntryFault::Special);
        }
        let data = match self.data(central, raw, &name) {
            Ok(data) => data,
            Err(Fault::Entry(fault)) => return self.entries.omit(&name, fault),
            Err(Fault::Io(error)) => return Err(error.into()),
        };
        match kind {
            TYPE_SYMLINK => self.symlink(central, &name, &path, data),
            _ => self.file(central, &name, &path, data),
        }
    }

    fn file(
        &mut self,
        central: &Central,
        name: &[u8],
        path: &EntryPath<'_>,
        data: Data,
    ) -> Result<(), ImageError> {
        let content = match data {
            Data::Stored(at) => Content { at, len: central.len },
            Data::Packed(packed) => {
                self.check_limits(central, name)?;
                self.packed.push(packed);
                Packed::content(self.packed.len() - 1, central.len)
            }
        };
        self.entries.file(name, path, content, central.time, Repeated::Report)
    }

    fn symlink(
        &mut self,
        central: &Central,
        name: &[u8],
        path: &EntryPath<'_>,
        data: Data,
    ) -> Result<(), ImageError> {
        if central.len > PATH_LEN_MAX as u64 {
            return self.entries.omit(name, EntryFault::BadTarget);
        }
        let target = match data {
            Data::Packed(packed) => packed.unpack(self.source, central.len, self.limits.memory_max),
            Data::Stored(at) => {
                let mut target = vec![0; usize::try_from(central.len).unwrap_or(0)];
                read_exact(self.source, &mut target, at)?;
                Some(target)
            }
        };
        match target {
            Some(target) => {
                self.entries.symlink(name, path, &target, central.time, Repeated::Report)
            }
            None => self.entries.omit(name, EntryFault::Content),
        }
    }

    /// Checks the limits on a compressed file.
    fn check_limits(&mut self, central: &Central, name: &[u8]) -> Result<(), ImageError> {
        let (len, limits) = (central.len, self.limits);
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(len);
        for (limit, max, is_above) in [
            (ImageLimit::Memory, limits.memory_max, len > limits.memory_max),
            (ImageLimit::Bytes, limits.bytes_max, self.unpacked_bytes > limits.bytes_max),
            (ImageLimit::Ratio, limits.ratio_max, !limits.allows_ratio(central.packed_len, len)),
        ] {
            if is_above {
                return Err(ImageError::limit(name, limit, max));
            }
        }
        Ok(())
    }

    /// Locates the data of an entry, after a local header that agrees with the directory.
    fn data(&mut self, central: &Central, raw: &[u8], name: &[u8]) -> Result<Data, Fault> {
        if central.flags & ENCRYPTED != 0 || central.method == ENCRYPTED_METHOD {
            return Err(EntryFault::Encrypted.into());
        }
        if central.flags & PATCH != 0 {
            return Err(EntryFault::Patch.into());
        }
        if central.is_bad {
            return Err(EntryFault::Contradiction.into());
        }
        let method = match (central.method, Method::from_number(central.method)) {
            (STORED, _) => None,
            (number, None) => return Err(EntryFault::Method(number).into()),
            (_, method) => method,
        };
        let start = self.end.archive_at.checked_add(central.local_at);
        let start = start.ok_or(EntryFault::Truncated)?;
        let at = self.data_at(start, central, raw, name)?;
        let end = at.checked_add(central.packed_len).ok_or(EntryFault::Truncated)?;
        if end > self.end.directory_at {
            return Err(EntryFault::Overlap.into());
        }
        if method.is_none() && central.packed_len != central.len {
            return Err(EntryFault::Contradiction.into());
        }
        self.stretches.push((start, end));
        Ok(match method {
            None => Data::Stored(at),
            Some(method) => Data::Packed(Packed { method, at, end, crc32: central.crc32 }),
        })
    }

    /// The offset of an entry's data. The local header must have the method and the name of the
    /// directory, though the name may have another character set or separator.
    fn data_at(
        &self,
        start: u64,
        central: &Central,
        raw: &[u8],
        name: &[u8],
    ) -> Result<u64, Fault> {
        let mut header = [0; LOCAL_LEN];
        self.read(&mut header, start)?;
        let local = Local::parse(&header).ok_or(EntryFault::Contradiction)?;
        if local.method != central.method {
            return Err(EntryFault::Contradiction.into());
        }
        let name_at = start + LOCAL_LEN as u64;
        let extra_at = name_at + u64::from(local.name_len);
        let data_at = extra_at + u64::from(local.extra_len);
        let mut local_raw = vec![0; local.name_len.into()];
        self.read(&mut local_raw, name_at)?;
        if local_raw != raw {
            let mut extra = vec![0; local.extra_len.into()];
            self.read(&mut extra, extra_at)?;
            let unicode = unicode_path(&extra);
            let local_name = decode(&local_raw, local.flags, central.system, unicode);
            let clean = |name| Some(entry_path::clean(name).ok()?.clean.replace('\\', "/"));
            let is_same = clean(&local_name).is_some_and(|local| Some(local) == clean(name));
            if !is_same {
                return Err(EntryFault::Contradiction.into());
            }
        }
        Ok(data_at)
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<(), Fault> {
        read_exact(self.source, buf, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => EntryFault::Truncated.into(),
            _ => Fault::Io(error),
        })
    }

    /// Refuses entries that overlap. Two entries may be the same range: a name that is listed
    /// twice.
    fn check_overlaps(&mut self) -> Result<(), ImageError> {
        self.stretches.sort_unstable();
        self.stretches.dedup();
        let pairs = self.stretches.iter().zip(self.stretches.iter().skip(1));
        match pairs.into_iter().find(|((_, end), (start, _))| start < end) {
            None => Ok(()),
            Some((_, (at, _))) => Err(ImageError::Damaged { at: *at, what: "two entries overlap" }),
        }
    }
}

/// The data of a file or link.
enum Data {
    /// Stored at this offset.
    Stored(u64),
    Packed(Packed),
}

/// The reason why an entry has no data.
enum Fault {
    Entry(EntryFault),
    Io(io::Error),
}

impl From<EntryFault> for Fault {
    fn from(fault: EntryFault) -> Self {
        Fault::Entry(fault)
    }
}
