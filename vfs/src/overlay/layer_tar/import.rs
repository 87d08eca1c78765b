//! Import of a layer from a tar archive that is not trusted.
//!
//! The tar reader of images parses the archive, and the same rules apply to its entries: an entry
//! that cannot be kept is left out and reported, the last of several entries with one path wins,
//! and a path through a symbolic link resolves inside the layer.

use std::io::{self, IoSlice, Read};
use std::sync::Arc;

use super::super::changes::{PathError, remove_tree};
use super::super::lowers::to_errno;
use super::super::upper::{UpperEntry, UpperRef};
use super::dir_times::DirTimes;
use super::import_report::{ImportError, ImportFault, ImportLimits, Imported};
use super::{MARKER, META_MARKER, OPAQUE, PIECE_BYTES};
use crate::fixed::resolve::{LinkedTree, Step, resolve};
use crate::image::tar::{TarEntry, TarError, TarInput, TarKind, TarReader};
use crate::image::{ArchiveNotes, Unpacked, clean, symlink_target};
use crate::{
    Access, Descent, EntryFault, Errno, File, FileType, ImageLimit, ImageLimits, Name, OpenFlags,
    OpenHow, SetTime, SetTimes, Stat, Timestamp, TreeFault,
};

/// Bytes of a path. A tree may be deeper than one system call can name.
const PATH_LEN_MAX: usize = 60 * 1024;
/// Bytes of an entry's path that an error repeats.
const SHOWN_MAX: usize = 4096;

/// Reads the tar archive of an OCI layer into `into`, which must be empty. The archive may be
/// compressed with gzip, Zstandard, xz, bzip2 or LZMA.
///
/// The archive is not trusted. Every path stays in the layer, and memory and written bytes stay
/// within `limits`. Targets of symbolic links are kept as they are. A marker for a name that the
/// archive contains too makes a directory opaque, and has no effect on a file. Whiteouts and opaque
/// directories in the format of Linux's overlay filesystem are kept; names of aufs (`.wh..wh.`) are
/// skipped. Entries that cannot be kept, such as devices, are left out ([`Imported::omitted`]).
/// Owners, modes and other extended attributes are not kept.
///
/// # Errors
///
/// The first fault. The layer then holds a part of the archive, and should be discarded.
pub fn import_layer(
    reader: &mut dyn Read,
    into: &UpperRef,
    limits: ImportLimits,
) -> Result<Imported, ImportError> {
    let unpack_limits = ImageLimits {
        // The bytes of files are limited as they are written.
        bytes_max: u64::MAX,
        ratio_max: limits.ratio_max,
        memory_max: limits.memory_max,
        ..ImageLimits::default()
    };
    let unpacked = Unpacked::new(reader, None, &unpack_limits).map_err(|error| ImportError {
        number: 1,
        entry: String::new(),
        fault: error.into(),
    })?;
    let mut input = StreamInput { unpacked, fault: None };
    let mut import = Import {
        reader: TarReader::new(&mut input).with_headers_max(limits.entries_max),
        into,
        limits,
        imported: Imported::default(),
        implied_dirs: 0,
        entry: String::new(),
        last: None,
        dir_times: DirTimes::default(),
    };
    let result = import.all();
    let (number, entry) = (import.reader.headers().max(1), std::mem::take(&mut import.entry));
    let mut imported = import.imported;
    // The end of the tar need not be the end of the compressed data.
    let result = result.and_then(|()| Ok(input.unpacked.finish(limits.bytes_max)?));
    imported.notes.trailing_bytes = input.unpacked.trailing();
    let result = result.and_then(|()| check_notes(imported.notes, limits));
    match result {
        Ok(()) => Ok(imported),
        Err(fault) => Err(ImportError { number, entry, fault: input.fault.unwrap_or(fault) }),
    }
}

fn check_notes(notes: ArchiveNotes, limits: ImportLimits) -> Result<(), ImportFault> {
    match notes == ArchiveNotes::default() || limits.omitted_max > 0 {
        true => Ok(()),
        false => Err(ImportFault::Irregular(notes)),
    }
}

struct Import<'a> {
    reader: TarReader<'a>,
    into: &'a UpperRef,
    limits: ImportLimits,
    imported: Imported,
    /// Directories that were created because a path leads through them.
    implied_dirs: u64,
    /// The path of the current entry.
    entry: String,
    /// The directory of the last entry: the next entry is mostly in it or under it.
    last: Option<LastDir>,
    /// The times of directories are set at the end, since adding entries changes them.
    dir_times: DirTimes,
}

#[derive(Clone)]
struct LastDir {
    /// The path in the archive.
    path: String,
    /// The path in the layer: without symbolic links.
    resolved: String,
    dir: UpperRef,
}

/// The file or symbolic link that a hard link names.
struct LinkSource<'t> {
    dir: UpperRef,
    name: Name<'t>,
    stat: Stat,
}

/// The reason why an entry cannot be kept, or the import fails.
enum Fault {
    Omit(EntryFault),
    Fail(ImportFault),
}

impl From<TreeFault> for Fault {
    fn from(fault: TreeFault) -> Self {
        Fault::Omit(fault.into())
    }
}

impl From<EntryFault> for Fault {
    fn from(fault: EntryFault) -> Self {
        Fault::Omit(fault)
    }
}

impl From<ImportFault> for Fault {
    fn from(fault: ImportFault) -> Self {
        Fault::Fail(fault)
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Fault::Fail(errno.into())
    }
}

impl From<TarError> for ImportFault {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Io(error) => ImportFault::Read(error.kind()),
            TarError::Truncated(_) => ImportFault::Truncated,
            TarError::Damaged { at, what } => ImportFault::Malformed { at, what },
            TarError::NotTar => ImportFault::NotTar,
            TarError::TooManyHeaders(max) => ImportFault::TooManyEntries(max),
        }
    }
}

impl Import<'_> {
    fn all(&mut self) -> Result<(), ImportFault> {
        loop {
            self.entry.clear();
            let Some(entry) = self.reader.next_entry()? else { break };
            self.check_entries()?;
            let shown = entry.path.get(..SHOWN_MAX).unwrap_or(&entry.path);
            self.entry = String::from_utf8_lossy(shown).into_owned();
            match self.put(&entry) {
                Ok(()) => {}
                Err(Fault::Omit(fault)) => self.omit(&entry, fault)?,
                Err(Fault::Fail(fault)) => return Err(fault),
            }
        }
        self.imported.notes = self.reader.notes();
        std::mem::take(&mut self.dir_times).apply(self.into).map_err(|PathError { path, errno }| {
            self.entry = path;
            ImportFault::Layer(errno)
        })
    }

    fn check_entries(&self) -> Result<(), ImportFault> {
        let max = self.limits.entries_max;
        match self.reader.headers() + self.implied_dirs > max {
            true => Err(ImportFault::TooManyEntries(max)),
            false => Ok(()),
        }
    }

    fn omit(&mut self, entry: &TarEntry, fault: EntryFault) -> Result<(), ImportFault> {
        let max = self.limits.omitted_max;
        if max == 0 {
            return Err(ImportFault::Entry(fault));
        }
        self.imported.omitted.push(&entry.path, fault);
        match self.imported.omitted.count() > max {
            true => Err(ImportFault::Limit(ImageLimit::Omitted, max)),
            false => Ok(()),
        }
    }

    fn put(&mut self, entry: &TarEntry) -> Result<(), Fault> {
        if entry.path.len() > PATH_LEN_MAX {
            return Err(ImportFault::Limit(ImageLimit::PathLen, PATH_LEN_MAX as u64).into());
        }
        let path = clean(&entry.path)?;
        let path = Descent::new(&path.clean)?;
        let Some((above, name)) = path.split_last() else {
            return match entry.kind {
                TarKind::Dir => {
                    self.dir_times.set(path, entry.modified);
                    self.imported.dirs += 1;
                    self.opaque(entry, &Arc::clone(self.into))
                }
                _ => Err(TreeFault::FileAndDir.into()),
            };
        };
        // Names of aufs have no meaning for a layer. Other tools skip them as well.
        let is_meta = |name: Name<'_>| name.as_str().starts_with(META_MARKER);
        if above.names().any(is_meta) || (is_meta(name) && name.as_str() != OPAQUE) {
            return Ok(());
        }
        if above.names().any(|name| name.as_str().starts_with(MARKER)) {
            return Err(EntryFault::Reserved.into());
        }
        if let Some(hidden) = name.as_str().strip_prefix(MARKER) {
            let LastDir { dir, .. } = self.parent(above)?;
            return self.marker(&dir, name, hidden);
        }
        self.check_kind(entry)?;
        let LastDir { resolved, dir, .. } = self.parent(above)?;
        match entry.kind {
            TarKind::Dir => self.dir(entry, &dir, &resolved, name),
            TarKind::File => self.file(entry, &dir, name),
            TarKind::Symlink => self.symlink(entry, &dir, name),
            TarKind::HardLink => self.hard_link(entry, &dir, name),
            TarKind::ZeroDevice => self.white_out(&dir, name),
            TarKind::Special | TarKind::BadSparse | TarKind::Unknown(_) => Ok(()),
        }
    }

    /// Checks whether the entry can be kept, before directories are created for it: an entry that
    /// is left out changes nothing.
    fn check_kind(&self, entry: &TarEntry) -> Result<(), Fault> {
        match entry.kind {
            TarKind::Dir | TarKind::File | TarKind::ZeroDevice => Ok(()),
            TarKind::Symlink => Ok(symlink_target(&entry.target).map(|_| ())?),
            TarKind::HardLink => {
                let target = clean(&entry.target)?;
                self.link_source(&target.clean).map(|_| ())
            }
            TarKind::Special => Err(EntryFault::Special.into()),
            TarKind::BadSparse => Err(EntryFault::SparseMap.into()),
            TarKind::Unknown(letter) => Err(EntryFault::Type(letter).into()),
        }
    }

    fn dir(
        &mut self,
        entry: &TarEntry,
        parent: &UpperRef,
        resolved: &str,
        name: Name<'_>,
    ) -> Result<(), Fault> {
        match parent.lookup(name)? {
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => {}
            UpperEntry::Node(_) => {
                self.last = None;
                parent.remove_file(name)?;
                parent.create_dir(name)?;
                self.report_replaced(entry)?;
            }
            UpperEntry::Absent => parent.create_dir(name)?,
            // The directory hides the one of the lowers, which the whiteout has removed.
            UpperEntry::Whiteout => parent.create_opaque_dir(name)?,
        }
        let path = match resolved {
            "" => name.as_str().to_owned(),
            resolved => format!("{resolved}/{}", name.as_str()),
        };
        self.dir_times.set(Descent::new(&path)?, entry.modified);
        self.imported.dirs += 1;
        self.opaque(entry, &parent.enter(name)?)
    }

    fn opaque(&mut self, entry: &TarEntry, dir: &UpperRef) -> Result<(), Fault> {
        if entry.is_opaque {
            dir.set_opaque()?;
            self.imported.opaque += 1;
        }
        Ok(())
    }

    fn file(&mut self, entry: &TarEntry, dir: &UpperRef, name: Name<'_>) -> Result<(), Fault> {
        let len = entry.len();
        let max = self.limits.bytes_max;
        if self.imported.bytes.checked_add(len).is_none_or(|sum| sum > max) {
            return Err(ImportFault::TooManyBytes(max).into());
        }
        self.make_way(entry, dir, name, FileType::File)?;
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let file = to_errno(dir.open(name.into(), how))?.into_file()?;
        match &entry.sparse {
            None => self.extent(&*file, 0, len)?,
            Some(map) => {
                for extent in &map.extents {
                    self.extent(&*file, extent.offset, extent.len)?;
                }
            }
        }
        file.set_len(len)?;
        file.set_times(times(entry.modified))?;
        self.imported.files += 1;
        self.imported.bytes += len;
        Ok(())
    }

    /// Writes the next `len` bytes of data at `offset`, in pieces.
    fn extent(&mut self, file: &dyn File, offset: u64, len: u64) -> Result<(), Fault> {
        let whole = usize::try_from(len).unwrap_or(PIECE_BYTES);
        let mut piece = vec![0; PIECE_BYTES.min(whole)];
        let mut done = 0;
        while done < len {
            let left = usize::try_from(len - done).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let want = piece.get_mut(..left).unwrap_or_default();
            if self.reader.read_data(want).map_err(ImportFault::from)? != left {
                return Err(ImportFault::Truncated.into());
            }
            write(file, want, offset + done)?;
            done += left as u64;
        }
        Ok(())
    }

    fn symlink(&mut self, entry: &TarEntry, dir: &UpperRef, name: Name<'_>) -> Result<(), Fault> {
        let target = symlink_target(&entry.target)?;
        self.make_way(entry, dir, name, FileType::Symlink)?;
        dir.create_symlink(name, target)?;
        to_errno(dir.set_times(name.into(), times(entry.modified)))?;
        self.imported.symlinks += 1;
        Ok(())
    }

    fn hard_link(&mut self, entry: &TarEntry, dir: &UpperRef, name: Name<'_>) -> Result<(), Fault> {
        let target = clean(&entry.target)?;
        let LinkSource { dir: from, name: old, stat } = self.link_source(&target.clean)?;
        if let UpperEntry::Node(existing) = dir.lookup(name)?
            && (existing.dev, existing.ino) == (stat.dev, stat.ino)
        {
            return Ok(());
        }
        self.make_way(entry, dir, name, stat.kind)?;
        match from.link(old, &**dir, name) {
            // The target was in the directory that the link replaces.
            Err(Errno::Noent) => return Err(TreeFault::LinkMissing.into()),
            linked => linked?,
        }
        self.imported.hard_links += 1;
        Ok(())
    }

    /// Looks up the target of a hard link.
    fn link_source<'t>(&self, target: &'t str) -> Result<LinkSource<'t>, Fault> {
        let (above, name) = Descent::new(target)?.split_last().ok_or(TreeFault::LinkToDir)?;
        let stack = resolve(&mut Existing, Arc::clone(self.into), above.as_str())?;
        let dir = stack.last().map_or(self.into, |(_, dir)| dir).clone();
        match dir.lookup(name)? {
            UpperEntry::Node(stat) if stat.kind != FileType::Dir => {
                Ok(LinkSource { dir, name, stat })
            }
            UpperEntry::Node(_) => Err(TreeFault::LinkToDir.into()),
            UpperEntry::Absent | UpperEntry::Whiteout => Err(TreeFault::LinkMissing.into()),
        }
    }

    /// Removes the node that an entry of the type `kind` replaces, with all that is in it.
    fn make_way(
        &mut self,
        entry: &TarEntry,
        dir: &UpperRef,
        name: Name<'_>,
        kind: FileType,
    ) -> Result<(), Fault> {
        let UpperEntry::Node(old) = dir.lookup(name)? else { return Ok(()) };
        // The cached path may lead through the node.
        self.last = None;
        if old.kind == FileType::Dir {
            remove_tree(dir, name, "").map_err(|error| error.errno)?;
        } else {
            dir.remove_file(name)?;
        }
        if old.kind != kind {
            self.report_replaced(entry)?;
        }
        Ok(())
    }

    fn report_replaced(&mut self, entry: &TarEntry) -> Result<(), ImportFault> {
        self.omit(entry, EntryFault::Replaced)
    }

    /// Applies a marker, `.wh.` and the name that it hides.
    fn marker(&mut self, dir: &UpperRef, name: Name<'_>, hidden: &str) -> Result<(), Fault> {
        if name.as_str() == OPAQUE {
            dir.set_opaque()?;
            self.imported.opaque += 1;
            return Ok(());
        }
        let hidden = Name::new(hidden).map_err(|_| EntryFault::Reserved)?;
        self.white_out(dir, hidden)
    }

    fn white_out(&mut self, dir: &UpperRef, name: Name<'_>) -> Result<(), Fault> {
        match dir.lookup(name)? {
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => {
                dir.enter(name)?.set_opaque()?;
            }
            // The file hides the lowers' nodes already.
            UpperEntry::Node(_) => {}
            UpperEntry::Absent | UpperEntry::Whiteout => dir.create_whiteout(name)?,
        }
        self.imported.whiteouts += 1;
        Ok(())
    }

    /// Resolves the directory that contains an entry. Missing directories are created.
    fn parent(&mut self, path: Descent<'_>) -> Result<LastDir, Fault> {
        let (mut dir, mut resolved, mut rest) = (Arc::clone(self.into), String::new(), path);
        if let Some(last) = &self.last
            && let Some(below) = path.as_str().strip_prefix(last.path.as_str())
            && (below.is_empty() || below.starts_with('/'))
        {
            (dir, resolved) = (Arc::clone(&last.dir), last.resolved.clone());
            rest = Descent::checked(below.trim_start_matches('/'));
        }
        let mut creating = Creating { created: 0, is_replaced: false };
        for name in rest.names() {
            match creating.step(&dir, name.as_str())? {
                Step::Dir(next) => dir = next,
                Step::Symlink(_) => {
                    // A target may lead anywhere in the layer, so this begins at its root.
                    let stack = resolve(&mut creating, Arc::clone(self.into), path.as_str())?;
                    dir = stack.last().map_or(self.into, |(_, dir)| dir).clone();
                    let names: Vec<&str> = stack.iter().map(|(name, _)| &**name).collect();
                    resolved = names.join("/");
                    break;
                }
            }
            if !resolved.is_empty() {
                resolved.push('/');
            }
            resolved.push_str(name.as_str());
        }
        let Creating { created, is_replaced } = creating;
        if created > 0 {
            self.implied_dirs += created;
            self.check_entries()?;
        }
        if is_replaced {
            let max = self.limits.omitted_max;
            if max == 0 {
                return Err(ImportFault::Entry(EntryFault::Replaced).into());
            }
            self.imported.omitted.push(path.as_str().as_bytes(), EntryFault::Replaced);
        }
        let last = LastDir { path: path.as_str().to_owned(), resolved, dir };
        if !path.is_here() {
            self.last = Some(last.clone());
        }
        Ok(last)
    }
}

/// Resolution in a layer whose missing directories are created on the way.
struct Creating {
    created: u64,
    /// Whether a file was replaced by a directory.
    is_replaced: bool,
}

impl LinkedTree for Creating {
    type Dir = UpperRef;
    type Error = Fault;

    fn step(&mut self, dir: &UpperRef, name: &str) -> Result<Step<UpperRef>, Fault> {
        let name = Name::new(name)?;
        match dir.lookup(name)? {
            UpperEntry::Node(stat) => match stat.kind {
                FileType::Dir => {}
                FileType::Symlink => return Ok(Step::Symlink(dir.read_link(name)?.into())),
                FileType::File
                | FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => {
                    dir.remove_file(name)?;
                    dir.create_dir(name)?;
                    self.is_replaced = true;
                }
            },
            UpperEntry::Absent => {
                dir.create_dir(name)?;
                self.created += 1;
            }
            UpperEntry::Whiteout => {
                dir.create_opaque_dir(name)?;
                self.created += 1;
            }
        }
        Ok(Step::Dir(dir.enter(name)?))
    }
}

/// Resolution in a layer that stays as it is.
struct Existing;

impl LinkedTree for Existing {
    type Dir = UpperRef;
    type Error = Fault;

    fn step(&mut self, dir: &UpperRef, name: &str) -> Result<Step<UpperRef>, Fault> {
        let name = Name::new(name)?;
        match dir.lookup(name)? {
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => Ok(Step::Dir(dir.enter(name)?)),
            UpperEntry::Node(stat) if stat.kind == FileType::Symlink => {
                Ok(Step::Symlink(dir.read_link(name)?.into()))
            }
            UpperEntry::Node(_) | UpperEntry::Absent | UpperEntry::Whiteout => {
                Err(TreeFault::LinkMissing.into())
            }
        }
    }
}

/// The unpacked archive.
struct StreamInput<'r> {
    unpacked: Unpacked<&'r mut dyn Read>,
    /// The reason for an error that was returned.
    fault: Option<ImportFault>,
}

impl TarInput for StreamInput<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.unpacked.read(buf).map_err(|error| {
            let fault = ImportFault::from(error);
            self.fault = Some(fault);
            io::Error::other(fault.to_string())
        })
    }

    fn skip(&mut self, len: u64) -> io::Result<u64> {
        let mut piece = [0; 4096];
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).unwrap_or(piece.len()).min(piece.len());
            match self.read(piece.get_mut(..want).unwrap_or_default())? {
                0 => break,
                n => done += n as u64,
            }
        }
        Ok(done)
    }
}

pub(super) fn times(modified: Timestamp) -> SetTimes {
    SetTimes { accessed: SetTime::At(modified), modified: SetTime::At(modified) }
}

/// Writes a piece of a file. A piece of zeros is left as a hole.
fn write(file: &dyn File, piece: &[u8], at: u64) -> crate::Result<()> {
    if piece.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let mut done = 0;
    while let Some(rest) = piece.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(&[IoSlice::new(rest)], at + done as u64)? {
            0 => return Err(Errno::Io),
            n => done += n,
        }
    }
    Ok(())
}
