//! Copying a whole tree from one filesystem into another.

use std::collections::{HashMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{
    Access, Cookie, Descent, Dir, DirRef, Errno, File, FileRef, FileType, Name, OpenFlags, OpenHow,
    Result, Stat, Stop,
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

/// One directory that is still to be copied.
struct Pending {
    from: DirRef,
    to: DirRef,
    path: String,
    stat: Stat,
}

/// Copies everything in `from` into `to`: files without their holes, hard links as hard links,
/// symbolic links as they are, and the times. `from` is only read. FIFOs, sockets and devices are
/// left out and named in the report.
///
/// Errors: those of either filesystem; what was copied before stays.
pub fn copy_tree(from: &DirRef, to: &DirRef) -> Result<CopyReport> {
    let mut copy = Copy { report: CopyReport::default(), linked: HashMap::new() };
    let stat = end(from.stat(Descent::HERE))?;
    let first = Pending { from: Arc::clone(from), to: Arc::clone(to), path: String::new(), stat };
    let mut pending = VecDeque::from([first]);
    let mut done = Vec::new();
    while let Some(dir) = pending.pop_front() {
        copy.dir(&dir, &mut pending)?;
        done.push((dir.to, dir.stat.times()));
    }
    // Creating what is in a directory changes its times, so they come last.
    for (dir, times) in done.into_iter().rev() {
        end(dir.set_times(Descent::HERE, times))?;
    }
    Ok(copy.report)
}

struct Copy {
    report: CopyReport,
    /// Where a file or a link with several names was first copied to.
    linked: HashMap<(u64, u64), (DirRef, String)>,
}

impl Copy {
    fn dir(&mut self, dir: &Pending, pending: &mut VecDeque<Pending>) -> Result<()> {
        for name in names(&*dir.from)? {
            let name = Name::new(&name)?;
            let stat = match dir.from.stat(name.into()) {
                // It went meanwhile.
                Err(Stop::Errno(Errno::Noent)) => continue,
                stat => end(stat)?,
            };
            match stat.kind {
                FileType::Dir => {
                    dir.to.create_dir(name)?;
                    let from = end(dir.from.open(name.into(), OpenHow::HOLD_DIR))?.into_dir()?;
                    let to = end(dir.to.open(name.into(), OpenHow::HOLD_DIR))?.into_dir()?;
                    let path = format!("{}/{}", dir.path, name.as_str());
                    pending.push_back(Pending { from, to, path, stat });
                    self.report.dirs += 1;
                }
                FileType::File => self.file(dir, name, &stat)?,
                FileType::Symlink => self.symlink(dir, name, &stat)?,
                FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => {
                    self.report.specials += 1;
                    if self.report.left_out.len() < LEFT_OUT_MAX {
                        self.report.left_out.push(format!("{}/{}", dir.path, name.as_str()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives what was copied by another of its names this one too. Answers whether it was.
    fn link(&self, dir: &Pending, name: Name<'_>, stat: &Stat) -> Result<bool> {
        let Some((first, first_name)) = self.linked.get(&(stat.dev, stat.ino)) else {
            return Ok(false);
        };
        first.link(Name::new(first_name)?, &*dir.to, name)?;
        Ok(true)
    }

    /// Takes note of the first name of a node that has several.
    fn remember(&mut self, dir: &Pending, name: Name<'_>, stat: &Stat) {
        if stat.nlink > 1 {
            let first = (Arc::clone(&dir.to), name.as_str().to_owned());
            self.linked.insert((stat.dev, stat.ino), first);
        }
    }

    fn symlink(&mut self, dir: &Pending, name: Name<'_>, stat: &Stat) -> Result<()> {
        if self.link(dir, name, stat)? {
            return Ok(());
        }
        dir.to.create_symlink(name, &dir.from.read_link(name)?)?;
        end(dir.to.set_times(name.into(), stat.times()))?;
        self.report.symlinks += 1;
        self.remember(dir, name, stat);
        Ok(())
    }

    fn file(&mut self, dir: &Pending, name: Name<'_>, stat: &Stat) -> Result<()> {
        if self.link(dir, name, stat)? {
            return Ok(());
        }
        let from = end(dir.from.open(name.into(), OpenHow::READ))?.into_file()?;
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let how = OpenHow::new(Access::Write, flags);
        let to: FileRef = end(dir.to.open(name.into(), how))?.into_file()?;
        self.report.bytes += copy_bytes(&*from, &*to)?;
        to.set_times(stat.times())?;
        self.report.files += 1;
        self.remember(dir, name, stat);
        Ok(())
    }
}

/// Copies all bytes of `from` into the empty file `to`, holes as holes. Answers how many were
/// written.
pub(crate) fn copy_bytes(from: &dyn File, to: &dyn File) -> Result<u64> {
    let mut buffer = vec![0; PIECE_BYTES + ALIGNMENT];
    let aligned = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let piece = buffer.get_mut(aligned..aligned + PIECE_BYTES).unwrap_or_default();
    let (mut at, mut written) = (0_u64, 0_u64);
    loop {
        let n = from.read_at(&mut [IoSliceMut::new(piece)], at)?;
        let Some(bytes) = piece.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        if bytes.iter().any(|byte| *byte != 0) {
            let mut rest = bytes;
            let mut offset = at;
            while !rest.is_empty() {
                let done = to.write_at(&[IoSlice::new(rest)], offset)?;
                if done == 0 {
                    return Err(Errno::Io);
                }
                rest = rest.get(done..).unwrap_or_default();
                offset += done as u64;
            }
            written += bytes.len() as u64;
        }
        at += bytes.len() as u64;
    }
    to.set_len(at)?;
    Ok(written)
}

fn names(dir: &dyn Dir) -> Result<Vec<String>> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// One name deep, no link can stop anything.
fn end<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(|stop| match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Again,
    })
}
