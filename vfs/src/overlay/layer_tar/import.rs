//! Reading a layer from an archive that somebody else made.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::super::changes::{PathError, shown};
use super::super::lowers::to_errno;
use super::super::upper::{UpperEntry, UpperRef};
use super::dir_times::DirTimes;
use super::{BLOCK, MARKER, OPAQUE, PIECE_BYTES, padding, pax};
use crate::{
    Access, Descent, Errno, File, FileType, Name, OpenFlags, OpenHow, SetTime, SetTimes, Timestamp,
};

/// Bytes of one extended header: room for two of the longest paths and much more.
const EXTENDED_MAX: u64 = 64 * 1024;
/// The longest path, in bytes: less than an extended header holds. A tree may be deeper than one
/// system call can name.
const PATH_MAX: usize = 60 * 1024;
/// The longest target of a link, in bytes: Linux's `PATH_MAX`.
const TARGET_MAX: usize = 4096;
/// Bytes of an entry's path that an error repeats.
const SHOWN_MAX: usize = 4096;
/// Nodes of other types whose paths are remembered for the report.
const LEFT_OUT_MAX: usize = 64;

/// How much an archive may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportLimits {
    /// Headers of any kind, and directories that are not named but needed.
    pub entries_max: u64,
    /// Bytes of all files.
    pub bytes_max: u64,
}

impl Default for ImportLimits {
    /// A million entries and 16 GiB: more than images have.
    fn default() -> Self {
        ImportLimits { entries_max: 1_000_000, bytes_max: 16 << 30 }
    }
}

/// What an import has put into the layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Files.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Directories that were named.
    pub dirs: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Further names of files and links.
    pub hard_links: u64,
    /// Whiteouts.
    pub whiteouts: u64,
    /// Opaque directories.
    pub opaque: u64,
    /// Devices and FIFOs, which a layer cannot hold.
    pub specials: u64,
    /// The first few paths of those.
    pub left_out: Vec<String>,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFault {
    /// The archive ends before its end.
    Truncated,
    /// A header, or an extended one, that is none.
    Malformed,
    /// A path or a target that is not UTF-8.
    NotUtf8,
    /// An absolute path, or an absolute target of a hard link.
    Absolute,
    /// A path, or the target of a hard link, with `..` in it.
    Upward,
    /// A name that is none, or too long a path.
    BadName,
    /// A name that begins with `.wh.` and is no marker that has a meaning.
    Reserved,
    /// A path that leads through a link.
    ThroughLink,
    /// A path that leads through a file.
    ThroughFile,
    /// The path was given to another node before.
    Duplicate,
    /// The target of a hard link is not among what came before.
    LinkTarget,
    /// An entry of a kind that is not known: a sparse file, say.
    Unsupported,
    /// More entries than the limits allow.
    TooManyEntries,
    /// More bytes than the limits allow.
    TooManyBytes,
    /// The archive could not be read.
    Read(ErrorKind),
    /// The layer answered an error.
    Layer(Errno),
}

/// Why an archive could not be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError {
    /// The number of the header in the archive, from 1.
    pub number: u64,
    /// The path as the archive has it, cut if it is long; empty if it is not known.
    pub entry: String,
    /// What is wrong.
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
        f.write_str(match self {
            ImportFault::Truncated => "the archive ends too early",
            ImportFault::Malformed => "this is no header",
            ImportFault::NotUtf8 => "the name is not UTF-8",
            ImportFault::Absolute => "the path is absolute",
            ImportFault::Upward => "the path has `..` in it",
            ImportFault::BadName => "this is no name",
            ImportFault::Reserved => "this is no marker, and no name either",
            ImportFault::ThroughLink => "the path leads through a link",
            ImportFault::ThroughFile => "the path leads through a file",
            ImportFault::Duplicate => "another entry has this path",
            ImportFault::LinkTarget => "what it links to is not there",
            ImportFault::Unsupported => "an entry of this kind is not supported",
            ImportFault::TooManyEntries => "there are too many entries",
            ImportFault::TooManyBytes => "the files are too large",
            ImportFault::Read(kind) => return write!(f, "cannot read the archive: {kind}"),
            ImportFault::Layer(errno) => errno.text(),
        })
    }
}

impl From<Errno> for ImportFault {
    fn from(errno: Errno) -> Self {
        ImportFault::Layer(errno)
    }
}

/// Reads the tar archive of an OCI layer, uncompressed, into `into`, which must be empty.
///
/// The archive is not trusted. Every path stays in the layer, no link is followed, whatever came
/// before, and no more is held or written than `limits` say. Targets of symbolic links are kept as
/// they are: nothing here looks at them. A whiteout of a path that the archive has too makes a
/// directory opaque, and means nothing for a file. Devices and FIFOs are left out and reported;
/// owners, modes and extended attributes are not kept.
///
/// Errors: the first fault. Then the layer holds a part, and should be thrown away.
pub fn import_layer(
    reader: &mut dyn Read,
    into: &UpperRef,
    limits: ImportLimits,
) -> Result<Imported, ImportError> {
    let mut import = Import {
        reader,
        into,
        limits,
        imported: Imported::default(),
        number: 0,
        entries: 0,
        entry: String::new(),
        last: None,
        dir_times: DirTimes::default(),
    };
    match import.all() {
        Ok(()) => Ok(import.imported),
        Err(fault) => Err(ImportError { number: import.number, entry: import.entry, fault }),
    }
}

struct Import<'a> {
    reader: &'a mut dyn Read,
    into: &'a UpperRef,
    limits: ImportLimits,
    imported: Imported,
    number: u64,
    /// What counts against the limit.
    entries: u64,
    /// The path of the entry at hand.
    entry: String,
    /// The directory of the last entry, and its path: the next one is mostly in it or under it.
    last: Option<(String, UpperRef)>,
    /// What is put into a directory changes its times, so they come last.
    dir_times: DirTimes,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Timestamp>,
}

/// One entry.
struct EntryHead {
    path: String,
    kind: EntryType,
    size: u64,
    modified: Timestamp,
    target: Vec<u8>,
}

impl Import<'_> {
    fn all(&mut self) -> Result<(), ImportFault> {
        let mut extended = Extended::default();
        loop {
            let mut block = [0; BLOCK];
            self.entry.clear();
            self.number += 1;
            self.fill(&mut block)?;
            if block == [0; BLOCK] {
                break;
            }
            self.count()?;
            let header = Header::from_byte_slice(&block);
            check(header)?;
            let kind = header.entry_type();
            match kind {
                EntryType::XHeader => extended.read(&self.extended(header)?)?,
                EntryType::XGlobalHeader => drop(self.extended(header)?),
                EntryType::GNULongName => extended.path = Some(until_nul(self.extended(header)?)),
                EntryType::GNULongLink => extended.target = Some(until_nul(self.extended(header)?)),
                _ => {
                    let head = self.head(header, std::mem::take(&mut extended))?;
                    self.put(&head)?;
                }
            }
        }
        std::mem::take(&mut self.dir_times).apply(self.into).map_err(|PathError { path, errno }| {
            self.entry = path;
            ImportFault::Layer(errno)
        })
    }

    fn count(&mut self) -> Result<(), ImportFault> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(ImportFault::TooManyEntries);
        }
        Ok(())
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), ImportFault> {
        self.reader.read_exact(buf).map_err(|error: io::Error| match error.kind() {
            ErrorKind::UnexpectedEof => ImportFault::Truncated,
            kind => ImportFault::Read(kind),
        })
    }

    /// The content of an extended header.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, ImportFault> {
        let size = header.entry_size().map_err(|_| ImportFault::Malformed)?;
        if size > EXTENDED_MAX {
            return Err(ImportFault::Malformed);
        }
        let len = usize::try_from(size).map_err(|_| ImportFault::Malformed)?;
        let mut content = vec![0; len + padding(size)];
        self.fill(&mut content)?;
        content.truncate(len);
        Ok(content)
    }

    fn head(&mut self, header: &Header, extended: Extended) -> Result<EntryHead, ImportFault> {
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = path.get(..SHOWN_MAX).unwrap_or(&path);
        self.entry = String::from_utf8_lossy(shown).into_owned();
        let is_dir = path.ends_with(b"/");
        let path = inside(&path)?;
        let kind = match header.entry_type() {
            // Before there was a type for it, a slash said so.
            EntryType::Regular | EntryType::Continuous if is_dir => EntryType::Directory,
            EntryType::Continuous => EntryType::Regular,
            kind => kind,
        };
        let size = match (kind, extended.size) {
            (EntryType::Regular, Some(size)) => size,
            (EntryType::Regular, None) => {
                header.entry_size().map_err(|_| ImportFault::Malformed)?
            }
            // All others are nothing but a header.
            _ => 0,
        };
        let modified = match extended.modified {
            Some(modified) => modified,
            None => {
                let seconds = header.mtime().map_err(|_| ImportFault::Malformed)?;
                Timestamp::new(i64::try_from(seconds).unwrap_or(i64::MAX), 0)
            }
        };
        let target = match extended.target {
            Some(target) => target,
            None => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        Ok(EntryHead { path, kind, size, modified, target })
    }

    fn put(&mut self, head: &EntryHead) -> Result<(), ImportFault> {
        let path = Descent::new(&head.path).map_err(|_| ImportFault::BadName)?;
        let Some((above, name)) = path.split_last() else {
            if head.kind != EntryType::Directory {
                return Err(ImportFault::BadName);
            }
            self.dir_times.set(path, head.modified);
            self.imported.dirs += 1;
            return Ok(());
        };
        if above.names().any(|name| name.as_str().starts_with(MARKER)) {
            return Err(ImportFault::Reserved);
        }
        let dir = self.parent(above)?;
        if name.as_str().starts_with(MARKER) {
            if head.kind != EntryType::Regular {
                return Err(ImportFault::Reserved);
            }
            self.marker(&dir, name)?;
            return self.bytes(head.size, &mut |_, _| Ok(()));
        }
        if head.kind == EntryType::Directory {
            match enter_or_create(&dir, name)? {
                None | Some(FileType::Dir) => {}
                Some(_) => return Err(ImportFault::Duplicate),
            }
            self.dir_times.set(path, head.modified);
            self.imported.dirs += 1;
            return Ok(());
        }
        if let UpperEntry::Node(_) = dir.lookup(name)? {
            return Err(ImportFault::Duplicate);
        }
        self.leaf(&dir, name, head)
    }

    fn leaf(
        &mut self,
        dir: &UpperRef,
        name: Name<'_>,
        head: &EntryHead,
    ) -> Result<(), ImportFault> {
        match head.kind {
            EntryType::Regular => {
                let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
                let file = to_errno(dir.open(name.into(), how))?.into_file()?;
                self.bytes(head.size, &mut |piece, at| write(&*file, piece, at))?;
                file.set_len(head.size)?;
                file.set_times(times(head.modified))?;
                self.imported.files += 1;
                self.imported.bytes += head.size;
            }
            EntryType::Symlink => {
                let target = text(&head.target)?;
                if target.is_empty() || target.len() > TARGET_MAX || target.contains('\0') {
                    return Err(ImportFault::BadName);
                }
                dir.create_symlink(name, target)?;
                to_errno(dir.set_times(name.into(), times(head.modified)))?;
                self.imported.symlinks += 1;
            }
            EntryType::Link => {
                let target = inside(&head.target)?;
                let target = Descent::new(&target).map_err(|_| ImportFault::BadName)?;
                let (above, old) = target.split_last().ok_or(ImportFault::LinkTarget)?;
                let from = self.existing(above)?;
                match from.lookup(old)? {
                    UpperEntry::Node(stat) if stat.kind != FileType::Dir => {}
                    UpperEntry::Node(_) | UpperEntry::Absent | UpperEntry::Whiteout => {
                        return Err(ImportFault::LinkTarget);
                    }
                }
                from.link(old, &**dir, name)?;
                self.imported.hard_links += 1;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.imported.specials += 1;
                if self.imported.left_out.len() < LEFT_OUT_MAX {
                    self.imported.left_out.push(head.path.clone());
                }
            }
            _ => return Err(ImportFault::Unsupported),
        }
        Ok(())
    }

    fn marker(&mut self, dir: &UpperRef, name: Name<'_>) -> Result<(), ImportFault> {
        if name.as_str() == OPAQUE {
            dir.set_opaque()?;
            self.imported.opaque += 1;
            return Ok(());
        }
        let hidden = name.as_str().strip_prefix(MARKER).unwrap_or_default();
        if hidden.starts_with(MARKER) {
            return Err(ImportFault::Reserved);
        }
        let hidden = Name::new(hidden).map_err(|_| ImportFault::Reserved)?;
        match dir.lookup(hidden)? {
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => {
                dir.enter(hidden)?.set_opaque()?
            }
            // It hides what is beneath anyway.
            UpperEntry::Node(_) => {}
            UpperEntry::Absent | UpperEntry::Whiteout => dir.create_whiteout(hidden)?,
        }
        self.imported.whiteouts += 1;
        Ok(())
    }

    /// The directory that an entry lies in. What is missing on the way is created.
    fn parent(&mut self, path: Descent<'_>) -> Result<UpperRef, ImportFault> {
        let (mut dir, mut rest) = (Arc::clone(self.into), path);
        if let Some((last_path, last)) = &self.last
            && let Some(below) = path.as_str().strip_prefix(last_path.as_str())
            && (below.is_empty() || below.starts_with('/'))
        {
            dir = Arc::clone(last);
            rest = Descent::checked(below.trim_start_matches('/'));
        }
        for name in rest.names() {
            match enter_or_create(&dir, name)? {
                Some(kind) => pass(kind)?,
                None => self.count()?,
            }
            dir = dir.enter(name)?;
        }
        if !path.is_here() {
            self.last = Some((path.as_str().to_owned(), Arc::clone(&dir)));
        }
        Ok(dir)
    }

    /// The directory that the target of a hard link lies in.
    fn existing(&self, path: Descent<'_>) -> Result<UpperRef, ImportFault> {
        let mut dir = Arc::clone(self.into);
        for name in path.names() {
            match dir.lookup(name)? {
                UpperEntry::Node(stat) => pass(stat.kind)?,
                UpperEntry::Absent | UpperEntry::Whiteout => return Err(ImportFault::LinkTarget),
            }
            dir = dir.enter(name)?;
        }
        Ok(dir)
    }

    /// Hands on the bytes of an entry, in pieces.
    fn bytes(
        &mut self,
        size: u64,
        each: &mut dyn FnMut(&[u8], u64) -> crate::Result<()>,
    ) -> Result<(), ImportFault> {
        if self.imported.bytes.checked_add(size).is_none_or(|sum| sum > self.limits.bytes_max) {
            return Err(ImportFault::TooManyBytes);
        }
        let whole = usize::try_from(size).unwrap_or(PIECE_BYTES);
        let mut piece = vec![0; PIECE_BYTES.min(whole)];
        let mut at = 0;
        while at < size {
            let left = usize::try_from(size - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let want = piece.get_mut(..left).unwrap_or_default();
            self.fill(want)?;
            each(want, at)?;
            at += left as u64;
        }
        let mut rest = [0; BLOCK];
        self.fill(rest.get_mut(..padding(size)).unwrap_or_default())
    }
}

impl Extended {
    fn read(&mut self, records: &[u8]) -> Result<(), ImportFault> {
        for (key, value) in pax::parse(records).ok_or(ImportFault::Malformed)? {
            match key {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.target = Some(value.to_vec()),
                "mtime" => {
                    let time = pax::parse_time(value).ok_or(ImportFault::Malformed)?;
                    self.modified = Some(time);
                }
                "size" => {
                    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                    let size =
                        text(value).ok().filter(|_| is_number).and_then(|it| it.parse().ok());
                    self.size = Some(size.ok_or(ImportFault::Malformed)?);
                }
                key if key.starts_with("GNU.sparse.") => return Err(ImportFault::Unsupported),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The sum of a header's bytes, its own field taken as spaces.
fn check(header: &Header) -> Result<(), ImportFault> {
    let field = 148..156;
    let bytes = header.as_bytes().iter().enumerate();
    let sum: u32 =
        bytes.map(|(at, byte)| u32::from(if field.contains(&at) { b' ' } else { *byte })).sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(()),
        Ok(_) | Err(_) => Err(ImportFault::Malformed),
    }
}

/// A path as a descent: what leads out of the layer is refused.
fn inside(path: &[u8]) -> Result<String, ImportFault> {
    let mut path = text(path)?;
    if path.starts_with('/') {
        return Err(ImportFault::Absolute);
    }
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.len() > PATH_MAX {
        return Err(ImportFault::BadName);
    }
    if path == "." {
        return Ok(String::new());
    }
    if path.split('/').any(|name| name == "..") {
        return Err(ImportFault::Upward);
    }
    Descent::new(path).map_err(|_| ImportFault::BadName)?;
    Ok(path.to_owned())
}

fn text(bytes: &[u8]) -> Result<&str, ImportFault> {
    std::str::from_utf8(bytes).map_err(|_| ImportFault::NotUtf8)
}

fn until_nul(mut content: Vec<u8>) -> Vec<u8> {
    if let Some(end) = content.iter().position(|byte| *byte == 0) {
        content.truncate(end);
    }
    content
}

pub(super) fn times(modified: Timestamp) -> SetTimes {
    SetTimes { accessed: SetTime::At(modified), modified: SetTime::At(modified) }
}

/// Creates a directory unless there is something: then its type is the answer. Where the layer
/// says that the name is gone, the directory hides what is beneath.
fn enter_or_create(dir: &UpperRef, name: Name<'_>) -> Result<Option<FileType>, ImportFault> {
    match dir.lookup(name)? {
        UpperEntry::Node(stat) => return Ok(Some(stat.kind)),
        UpperEntry::Absent => dir.create_dir(name)?,
        UpperEntry::Whiteout => dir.create_opaque_dir(name)?,
    }
    Ok(None)
}

/// Whether a path may lead through a node of this type.
fn pass(kind: FileType) -> Result<(), ImportFault> {
    match kind {
        FileType::Dir => Ok(()),
        FileType::Symlink => Err(ImportFault::ThroughLink),
        FileType::File
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket => Err(ImportFault::ThroughFile),
    }
}

/// Writes a piece of a file; zeros are a hole.
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
