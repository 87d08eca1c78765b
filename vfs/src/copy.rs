//! Copying a whole tree from one filesystem into another.

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

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Where the buffer for that begins: a copy to just behind the start of a page, which is where an
/// allocator puts what is large, takes some processors several times as long.
const ALIGNMENT: usize = 64;
/// Special files whose paths are remembered for the report.
const LEFT_OUT_MAX: usize = 64;

/// What [`copy_tree`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Files that were copied, each counted once whatever the number of its names.
    pub files: u64,
    /// Directories that were created.
    pub dirs: u64,
    /// Symbolic links that were created, each counted once.
    pub symlinks: u64,
    /// Bytes that were written; holes are not.
    pub bytes: u64,
    /// FIFOs, sockets and devices, which are never copied.
    pub specials: u64,
    /// The first few paths of those.
    pub left_out: Vec<String>,
}

/// Copies everything in `from` into `to`: files without their holes, hard links as hard links,
/// symbolic links as they are, and the times. `from` is only read. FIFOs, sockets and devices are
/// left out and named in the report.
///
/// The number of open directories does not depend on the tree, but for the logarithm of its depth.
///
/// Errors: those of either filesystem; `Stale` if a directory is replaced meanwhile. What was
/// copied before stays.
pub fn copy_tree(from: &DirRef, to: &DirRef) -> Result<CopyReport> {
    let mut copy = Copy { report: CopyReport::default(), linked: HashMap::new(), root: to };
    let data = end(from.stat(Descent::HERE))?.times();
    let (dir, names) = ((Arc::clone(from), Arc::clone(to)), names(&**from)?);
    walk(Entered { dir, names, data }, &mut copy).map_err(|PathError { errno, .. }| errno)?;
    Ok(copy.report)
}

struct Copy<'a> {
    report: CopyReport,
    /// The first path in `root` of each file or link with several names.
    linked: HashMap<(u64, u64), SharedPath>,
    root: &'a DirRef,
}

/// A name to copy: in the source's directory, and in the target's.
type Both<'a> = Visit<'a, (DirRef, DirRef), SetTimes>;

impl Visitor for Copy<'_> {
    type Dir = (DirRef, DirRef);
    /// The times of the source's directory.
    type Data = SetTimes;
    type Error = PathError;

    fn node(
        &mut self,
        at: Both<'_>,
    ) -> Result<Option<Entered<(DirRef, DirRef), SetTimes>>, PathError> {
        self.copy(&at).at(at.path)
    }

    /// Creating an entry changes the times of its directory, so they come last.
    fn leave(&mut self, at: Leave<'_, (DirRef, DirRef), SetTimes>) -> Result<(), PathError> {
        end(at.dir.1.set_times(Descent::HERE, *at.data)).at(at.path)
    }
}

impl Copy<'_> {
    fn copy(&mut self, at: &Both<'_>) -> Result<Option<Entered<(DirRef, DirRef), SetTimes>>> {
        let (from, to) = at.dir;
        let stat = match from.stat(at.name.into()) {
            // It went meanwhile.
            Err(Stop::Errno(Errno::Noent)) => return Ok(None),
            stat => end(stat)?,
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

    /// Links a node that was copied by another of its names. Returns whether it was.
    fn link(&self, at: &Both<'_>, stat: &Stat) -> Result<bool> {
        let Some(first) = self.linked.get(&(stat.dev, stat.ino)) else { return Ok(false) };
        let (parent, name) = first.split_last().ok_or_else(|| bug!("a file at the root"))?;
        let dir = match parent == at.dir_path {
            true => Arc::clone(&at.dir.1),
            false => enter_path(self.root, parent)?,
        };
        dir.link(Name::new(name)?, &*at.dir.1, at.name)?;
        Ok(true)
    }

    /// Remembers the first name of a node that has several.
    fn remember(&mut self, at: &Both<'_>, stat: &Stat) {
        if stat.nlink > 1 {
            self.linked.insert((stat.dev, stat.ino), at.shared_path());
        }
    }

    fn symlink(&mut self, at: &Both<'_>, stat: &Stat) -> Result<()> {
        if self.link(at, stat)? {
            return Ok(());
        }
        let (from, to) = at.dir;
        to.create_symlink(at.name, &from.read_link(at.name)?)?;
        end(to.set_times(at.name.into(), stat.times()))?;
        self.report.symlinks += 1;
        self.remember(at, stat);
        Ok(())
    }

    fn file(&mut self, at: &Both<'_>, stat: &Stat) -> Result<()> {
        if self.link(at, stat)? {
            return Ok(());
        }
        let from = end(at.dir.0.open(at.name.into(), OpenHow::READ))?.into_file()?;
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let how = OpenHow::new(Access::Write, flags);
        let to: FileRef = end(at.dir.1.open(at.name.into(), how))?.into_file()?;
        self.report.bytes += copy_bytes(&*from, &*to)?;
        to.set_times(stat.times())?;
        self.report.files += 1;
        self.remember(at, stat);
        Ok(())
    }
}

/// Copies all bytes of `from` into the empty file `to`, holes as holes. Answers how many were
/// written.
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

/// For descents of at most one name, where a link is not expected.
fn end<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
