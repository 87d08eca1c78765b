//! Recursive copy of a tree from one filesystem into another.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use crate::shared_path::SharedPath;
use crate::tree_walk::{
    At, Entered, Leave, PathError, Visit, Visitor, WalkDir, enter_path, names, walk,
};
use crate::{
    Access, Descent, DirRef, Errno, File, FileRef, FileType, Name, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop, broken_contract, bug,
};

/// Bytes per read and write.
const PIECE_BYTES: usize = 64 * 1024;
/// Alignment of the copy buffer, in bytes. A copy to an address just after the start of a page,
/// where allocators place large blocks, takes several times as long on some processors (4 KiB
/// aliasing).
const ALIGNMENT: usize = 64;
/// The most paths of special files in a report.
const LEFT_OUT_MAX: usize = 64;

/// The result of [`copy_tree`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Copied files. A file with several names counts once.
    pub files: u64,
    /// Created directories.
    pub dirs: u64,
    /// Created symbolic links. A link with several names counts once.
    pub symlinks: u64,
    /// Written bytes, without holes.
    pub bytes: u64,
    /// FIFOs, sockets and devices, which are not copied.
    pub specials: u64,
    /// The paths of the first 64 of these.
    pub left_out: Vec<String>,
}

/// Copies the content of `from` into `to`: files without their holes, hard links as hard links,
/// symbolic links unchanged, and the times. FIFOs, sockets and devices are skipped and reported.
///
/// Only reads `from`. The number of open directories grows with the logarithm of the depth only.
///
/// # Errors
///
/// - Those of either filesystem.
/// - `ESTALE`: a directory was replaced during the copy.
///
/// Nodes copied before an error remain.
pub fn copy_tree(from: &DirRef, to: &DirRef) -> Result<CopyReport> {
    let mut copy = TreeCopy { report: CopyReport::default(), linked: HashMap::new(), root: to };
    let data = unwrap_stop(from.stat(Descent::HERE))?.times();
    let (dir, names) = ((Arc::clone(from), Arc::clone(to)), names(&**from)?);
    walk(Entered { dir, names, data }, &mut copy).map_err(|PathError { errno, .. }| errno)?;
    Ok(copy.report)
}

struct TreeCopy<'a> {
    report: CopyReport,
    /// The first path, relative to `root`, of each file or link with several names.
    linked: HashMap<(u64, u64), SharedPath>,
    root: &'a DirRef,
}

/// A name to copy, with its source and target directories.
type CopyVisit<'a> = Visit<'a, (DirRef, DirRef), SetTimes>;

impl Visitor for TreeCopy<'_> {
    type Dir = (DirRef, DirRef);
    /// The times of the source directory.
    type Data = SetTimes;
    type Error = PathError;

    fn node(
        &mut self,
        at: CopyVisit<'_>,
    ) -> Result<Option<Entered<(DirRef, DirRef), SetTimes>>, PathError> {
        self.copy(&at).at(at.path)
    }

    /// Sets the times of the target directory: after its entries, whose creation changes them.
    fn leave(&mut self, at: Leave<'_, (DirRef, DirRef), SetTimes>) -> Result<(), PathError> {
        unwrap_stop(at.dir.1.set_times(Descent::HERE, *at.data)).at(at.path)
    }
}

impl TreeCopy<'_> {
    fn copy(&mut self, at: &CopyVisit<'_>) -> Result<Option<Entered<(DirRef, DirRef), SetTimes>>> {
        let (from, to) = at.dir;
        let stat = match from.stat(at.name.into()) {
            // Removed since it was listed.
            Err(Stop::Errno(Errno::Noent)) => return Ok(None),
            stat => unwrap_stop(stat)?,
        };
        match stat.kind {
            FileType::Dir => {
                to.create_dir(at.name)?;
                self.report.dirs += 1;
                let dir = at.dir.enter(at.name)?;
                let names = names(&*dir.0)?;
                return Ok(Some(Entered { dir, names, data: stat.times() }));
            }
            FileType::File => self.file(at, &stat)?,
            FileType::Symlink => self.symlink(at, &stat)?,
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                self.report.specials += 1;
                if self.report.left_out.len() < LEFT_OUT_MAX {
                    self.report.left_out.push(format!("/{}", at.path));
                }
            }
        }
        Ok(None)
    }

    /// Creates a hard link if the node was already copied under another name. Returns whether it
    /// was.
    fn link(&self, at: &CopyVisit<'_>, stat: &Stat) -> Result<bool> {
        let Some(first) = self.linked.get(&(stat.dev, stat.ino)) else { return Ok(false) };
        let (parent, name) = first.split_last().ok_or_else(|| bug!("a file at the root"))?;
        let dir = match parent == at.dir_path {
            true => Arc::clone(&at.dir.1),
            false => enter_path(self.root, parent)?,
        };
        dir.link(Name::new(name)?, &*at.dir.1, at.name)?;
        Ok(true)
    }

    /// Records the first name of a node with several names.
    fn remember(&mut self, at: &CopyVisit<'_>, stat: &Stat) {
        if stat.nlink > 1 {
            self.linked.insert((stat.dev, stat.ino), at.shared_path());
        }
    }

    fn symlink(&mut self, at: &CopyVisit<'_>, stat: &Stat) -> Result<()> {
        if self.link(at, stat)? {
            return Ok(());
        }
        let (from, to) = at.dir;
        to.create_symlink(at.name, &from.read_link(at.name)?)?;
        unwrap_stop(to.set_times(at.name.into(), stat.times()))?;
        self.report.symlinks += 1;
        self.remember(at, stat);
        Ok(())
    }

    fn file(&mut self, at: &CopyVisit<'_>, stat: &Stat) -> Result<()> {
        if self.link(at, stat)? {
            return Ok(());
        }
        let from = unwrap_stop(at.dir.0.open(at.name.into(), OpenHow::READ))?.into_file()?;
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let how = OpenHow::new(Access::Write, flags);
        let to: FileRef = unwrap_stop(at.dir.1.open(at.name.into(), how))?.into_file()?;
        self.report.bytes += copy_bytes(&*from, &*to)?;
        to.set_times(stat.times())?;
        self.report.files += 1;
        self.remember(at, stat);
        Ok(())
    }
}

/// Copies the bytes of `from` into the empty file `to`, keeping holes. Returns the number of
/// written bytes.
pub(crate) fn copy_bytes(from: &dyn File, to: &dyn File) -> Result<u64> {
    let mut buffer = vec![0; PIECE_BYTES + ALIGNMENT];
    let aligned = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let piece = buffer.get_mut(aligned..aligned + PIECE_BYTES);
    let piece = piece.ok_or_else(|| bug!("an aligned piece is longer than its buffer"))?;
    let (mut at, mut written) = (0_u64, 0_u64);
    loop {
        let n = from.read_at(&mut [IoSliceMut::new(piece)], at)?;
        let bytes = piece.get(..n);
        let bytes = bytes.ok_or_else(|| broken_contract("a read returned too many bytes"))?;
        if bytes.is_empty() {
            break;
        }
        if bytes.iter().any(|byte| *byte != 0) {
            let mut rest = bytes;
            let mut offset = at;
            while !rest.is_empty() {
                let done = to.write_at(&[IoSlice::new(rest)], offset)?;
                let left = rest.get(done..).filter(|_| done > 0);
                rest = left.ok_or_else(|| broken_contract("a write returned a wrong count"))?;
                offset += done as u64;
            }
            written += bytes.len() as u64;
        }
        at += bytes.len() as u64;
    }
    to.set_len(at)?;
    Ok(written)
}

/// Converts the result of an operation on at most one name, where no symbolic link is expected.
fn unwrap_stop<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
