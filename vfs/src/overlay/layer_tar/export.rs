//! Writing a layer as an archive.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tar::{EntryType, Header};

use super::super::Identity;
use super::super::changes::{PathError, join, node, read_full, shown, whiteouts};
use super::super::lowers::to_errno;
use super::super::upper::UpperRef;
use super::{BLOCK, MARKER, OCTAL_MAX, OPAQUE, PIECE_BYTES, padding};
use crate::image::tar::pax;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, Visit, Visitor, WalkDir, names, walk};
use crate::{Descent, Dir, Errno, FileType, Name, OpenHow, Stat, Timestamp, bug};

/// The longest name that a plain header holds.
const PLAIN_MAX: usize = 100;

/// The totals of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files, links, hard links and directories.
    pub nodes: u64,
    /// Whiteouts and marks of opaque directories.
    pub markers: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// Why a layer could not be exported.
#[derive(Debug)]
pub enum ExportError {
    /// The archive could not be written.
    Write(io::Error),
    /// A name that an archive takes for a marker: it begins with `.wh.`.
    Reserved {
        /// Where: names joined by slashes.
        path: String,
    },
    /// The layer returned an error.
    Layer(PathError),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Write(error) => write!(f, "cannot write the archive: {error}"),
            ExportError::Reserved { path } => {
                let text = "an archive takes a name that begins with `.wh.` for a mark; rename it in \
                            the directory of the changes, or commit them, which takes any name";
                write!(f, "{}: {text}", shown(path))
            }
            ExportError::Layer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ExportError {}

impl From<PathError> for ExportError {
    fn from(error: PathError) -> Self {
        ExportError::Layer(error)
    }
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> Self {
        ExportError::Write(error)
    }
}

/// Writes the nodes and whiteouts of `layer` as the tar archive of an OCI layer. The output is
/// reproducible: each directory lists its markers first, then its names in byte order; owners are
/// 0, modes are 0755 for directories and 0644 for files.
///
/// Times of the last change are exact. A file with several names is written once. The layer must
/// not be written meanwhile.
///
/// Errors: [`ExportError::Reserved`] for a name or a whiteout that begins with `.wh.`; `Perm` for a
/// node that is neither file nor directory nor link; both before anything is written. Then those of
/// the layer and of `out`; after one of these a part is written.
pub fn export_layer(layer: &UpperRef, out: &mut dyn Write) -> Result<Exported, ExportError> {
    walk(Check.enter("", Arc::clone(layer))?, &mut Check)?;
    let mut export = Export { out, exported: Exported::default(), firsts: HashMap::default() };
    let stat = to_errno(layer.stat(Descent::HERE)).at("")?;
    export.header("./", &stat, EntryType::Directory, None)?;
    let root = export.enter("", Arc::clone(layer))?;
    walk(root, &mut export)?;
    export.out.write_all(&[0; 2 * BLOCK])?;
    Ok(export.exported)
}

/// The first pass: checks that each node can be written, before the export spends time on any.
struct Check;

impl Check {
    fn enter(&self, path: &str, dir: UpperRef) -> Result<Entered<UpperRef, ()>, ExportError> {
        for name in whiteouts(&*dir).at(path)? {
            if name.starts_with(MARKER) {
                return Err(ExportError::Reserved { path: join(path, &name) });
            }
        }
        let names = names(&*dir).at(path)?;
        Ok(Entered { dir, names, data: () })
    }
}

impl Visitor for Check {
    type Dir = UpperRef;
    type Data = ();
    type Error = ExportError;

    fn node(
        &mut self,
        at: Visit<'_, UpperRef, ()>,
    ) -> Result<Option<Entered<UpperRef, ()>>, ExportError> {
        if at.name.as_str().starts_with(MARKER) {
            return Err(ExportError::Reserved { path: at.path.to_owned() });
        }
        match node(&**at.dir, at.name).at(at.path)?.kind {
            FileType::File | FileType::Symlink => Ok(None),
            FileType::Dir => {
                let below = WalkDir::enter(at.dir, at.name).at(at.path)?;
                self.enter(at.path, below).map(Some)
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                Err(Errno::Perm).at(at.path).map_err(ExportError::from)
            }
        }
    }
}

struct Export<'a> {
    out: &'a mut dyn Write,
    exported: Exported,
    /// Where a file with several names has been written.
    firsts: HashMap<Identity, SharedPath, RandomState>,
}

impl Visitor for Export<'_> {
    type Dir = UpperRef;
    type Data = ();
    type Error = ExportError;

    fn node(
        &mut self,
        at: Visit<'_, UpperRef, ()>,
    ) -> Result<Option<Entered<UpperRef, ()>>, ExportError> {
        let stat = node(&**at.dir, at.name).at(at.path)?;
        self.exported.nodes += 1;
        if stat.kind == FileType::Dir {
            self.header(&format!("{}/", at.path), &stat, EntryType::Directory, None)?;
            let below = WalkDir::enter(at.dir, at.name).at(at.path)?;
            return self.enter(at.path, below).map(Some);
        }
        self.leaf(&at, &stat)?;
        Ok(None)
    }
}

impl Export<'_> {
    /// Writes the markers in a directory.
    fn enter(&mut self, path: &str, dir: UpperRef) -> Result<Entered<UpperRef, ()>, ExportError> {
        let times = to_errno(dir.stat(Descent::HERE)).at(path)?;
        let marker = Stat { size: 0, nlink: 1, ..times };
        if dir.is_opaque().at(path)? {
            self.header(&join(path, OPAQUE), &marker, EntryType::Regular, None)?;
            self.exported.markers += 1;
        }
        for name in whiteouts(&*dir).at(path)? {
            let path = join(path, &format!("{MARKER}{name}"));
            self.header(&path, &marker, EntryType::Regular, None)?;
            self.exported.markers += 1;
        }
        let names = names(&*dir).at(path)?;
        Ok(Entered { dir, names, data: () })
    }

    fn leaf(&mut self, at: &Visit<'_, UpperRef, ()>, stat: &Stat) -> Result<(), ExportError> {
        let (dir, name, path) = (&**at.dir, at.name, at.path);
        if stat.nlink > 1 {
            if let Some(first) = self.firsts.get(&(stat.dev, stat.ino)) {
                let first = first.to_text();
                return self.header(path, stat, EntryType::Link, Some(&first));
            }
            self.firsts.insert((stat.dev, stat.ino), at.shared_path());
        }
        match stat.kind {
            FileType::Symlink => {
                let target = dir.read_link(name).at(path)?;
                self.header(path, stat, EntryType::Symlink, Some(&target))
            }
            FileType::File => {
                self.header(path, stat, EntryType::Regular, None)?;
                self.bytes(dir, name, stat.size, path)
            }
            FileType::Dir
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => Ok(Err(Errno::Perm).at(path)?),
        }
    }

    fn bytes(
        &mut self,
        dir: &dyn Dir,
        name: Name<'_>,
        size: u64,
        path: &str,
    ) -> Result<(), ExportError> {
        let file = to_errno(dir.open(name.into(), OpenHow::READ)).at(path)?.into_file().at(path)?;
        let whole = usize::try_from(size).unwrap_or(PIECE_BYTES);
        let mut piece = vec![0; PIECE_BYTES.min(whole)];
        let mut at = 0;
        while at < size {
            let left = usize::try_from(size - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let Some(want) = piece.get_mut(..left) else {
                return Ok(Err(bug!("a piece is shorter than {left}")).at(path)?);
            };
            if read_full(&*file, want, at).at(path)? != left {
                // It was cut meanwhile: the archive cannot be completed.
                return Ok(Err(Errno::Io).at(path)?);
            }
            self.out.write_all(want)?;
            at += left as u64;
        }
        self.out.write_all(zeros(padding(size)))?;
        self.exported.bytes += size;
        Ok(())
    }

    /// Writes a header, with an extended one before it where a plain one does not do.
    fn header(
        &mut self,
        path: &str,
        stat: &Stat,
        kind: EntryType,
        target: Option<&str>,
    ) -> Result<(), ExportError> {
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        let is_plain = |text: &str| text.len() <= PLAIN_MAX && text.is_ascii();
        fill(&mut header.as_old_mut().name, path);
        if !is_plain(path) {
            pax::push(&mut records, "path", path);
        }
        if let Some(target) = target {
            fill(&mut header.as_old_mut().linkname, target);
            if !is_plain(target) {
                pax::push(&mut records, "linkpath", target);
            }
        }
        let size = if kind == EntryType::Regular { stat.size } else { 0 };
        if size > OCTAL_MAX {
            pax::push(&mut records, "size", &size.to_string());
        }
        let seconds = u64::try_from(stat.modified.seconds()).ok().filter(|it| *it <= OCTAL_MAX);
        if seconds.is_none() || stat.modified.nanos() != 0 {
            pax::push(&mut records, "mtime", &pax::format_time(stat.modified));
        }
        header.set_size(size);
        header.set_mtime(seconds.unwrap_or(0));
        header.set_mode(match kind {
            EntryType::Directory => 0o755,
            EntryType::Symlink => 0o777,
            _ => 0o644,
        });
        header.set_entry_type(kind);
        if !records.is_empty() {
            self.extended(&records)?;
        }
        self.plain(&mut header)
    }

    fn extended(&mut self, records: &[u8]) -> Result<(), ExportError> {
        let mut header = Header::new_ustar();
        fill(&mut header.as_old_mut().name, "PaxHeaders/0");
        header.set_size(records.len() as u64);
        header.set_mtime(u64::try_from(Timestamp::EPOCH.seconds()).unwrap_or(0));
        header.set_mode(0o644);
        header.set_entry_type(EntryType::XHeader);
        self.plain(&mut header)?;
        self.out.write_all(records)?;
        let rest = padding(records.len() as u64);
        Ok(self.out.write_all(zeros(rest))?)
    }

    fn plain(&mut self, header: &mut Header) -> Result<(), ExportError> {
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        Ok(self.out.write_all(header.as_bytes())?)
    }
}

/// Copies `text` into a header field, truncated, with `_` for each byte that is not ASCII. The
/// extended header holds the full text.
fn fill(field: &mut [u8], text: &str) {
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = if byte.is_ascii() { byte } else { b'_' };
    }
}

/// Returns `len` zeros, at most a block.
fn zeros(len: usize) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    ZEROS.get(..len).unwrap_or_else(|| bug!(&[]; "a padding is longer than a block"))
}
