//! Runs operations on a filesystem through the path functions that the adapters use.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, DirRef, Errno, FileRef, Follow, Node, OpenFlags, OpenHow, Result, path,
};

use crate::op::{At, Op, READ_MAX};
use crate::outcome::{Outcome, StatSummary};

/// The maximum number of entries of a listing.
const NAMES_MAX: usize = 100_000;

/// A runner of operations: a filesystem, the model, or the kernel.
pub trait Run {
    /// Runs one operation.
    fn run(&mut self, op: &Op) -> Outcome;
}

/// A filesystem with the open handles of a guest.
pub struct Live {
    dirs: Vec<DirRef>,
    files: Vec<FileRef>,
}

impl Live {
    /// Starts with the root as the only open directory.
    #[must_use]
    pub fn new(root: DirRef) -> Self {
        Live { dirs: vec![root], files: Vec::new() }
    }

    /// Starts with `roots` as open directories; the first is the root, the others are preopens.
    #[must_use]
    pub fn with_preopens(roots: Vec<DirRef>) -> Self {
        Live { dirs: roots, files: Vec::new() }
    }

    /// Returns the open directories, including the root.
    #[must_use]
    pub fn dirs(&self) -> &[DirRef] {
        &self.dirs
    }

    /// Returns the open files.
    #[must_use]
    pub fn files(&self) -> &[FileRef] {
        &self.files
    }

    fn dir(&self, at: &At) -> Result<DirRef> {
        let nth = usize::from(at.dir) % self.dirs.len().max(1);
        self.dirs.get(nth).cloned().ok_or(Errno::Badf)
    }

    fn file(&self, nth: u8) -> Option<&FileRef> {
        self.files.get(usize::from(nth) % self.files.len().max(1))
    }

    fn try_run(&mut self, op: &Op) -> Result<Outcome> {
        let done = |()| Outcome::Done;
        match op {
            Op::Mkdir(at) => path::create_dir(&*self.dir(at)?, &at.path).map(done),
            Op::Symlink(at, target) => {
                path::create_symlink(&*self.dir(at)?, target, &at.path).map(done)
            }
            Op::Link(old, new) => {
                path::link(&*self.dir(old)?, &old.path, &*self.dir(new)?, &new.path).map(done)
            }
            Op::Rename(old, new) => {
                path::rename(&*self.dir(old)?, &old.path, &*self.dir(new)?, &new.path).map(done)
            }
            Op::Unlink(at) => path::remove_file(&*self.dir(at)?, &at.path).map(done),
            Op::Rmdir(at) => path::remove_dir(&*self.dir(at)?, &at.path).map(done),
            Op::Put(at, bytes) => put(&self.dir(at)?, &at.path, bytes),
            Op::Get(at) => {
                let node = path::open(&*self.dir(at)?, &at.path, Follow::Yes, OpenHow::READ)?;
                read(&node.into_file()?, READ_MAX, 0)
            }
            Op::Open(at, access, flags, follow) => {
                let how = OpenHow::new(*access, *flags);
                match path::open(&*self.dir(at)?, &at.path, *follow, how)? {
                    Node::Dir(dir) => {
                        self.dirs.push(dir);
                        Ok(Outcome::Dir)
                    }
                    Node::File(file) => {
                        self.files.push(file);
                        Ok(Outcome::File)
                    }
                }
            }
            Op::CloseDir(n) => match usize::from(*n) % self.dirs.len().max(1) {
                0 => Ok(Outcome::Idle),
                nth => {
                    self.dirs.remove(nth);
                    Ok(Outcome::Done)
                }
            },
            Op::Stat(at, follow) => {
                let stat = path::stat(&*self.dir(at)?, &at.path, *follow)?;
                Ok(Outcome::Stat(StatSummary::of(&stat)))
            }
            Op::ReadLink(at) => {
                let target = path::read_link(&*self.dir(at)?, &at.path)?;
                Ok(Outcome::Target(target.into()))
            }
            Op::ReadDir(at) => list(&self.dir(at)?, &at.path),
            Op::SetTimes(at, follow, times) => {
                path::set_times(&*self.dir(at)?, &at.path, *follow, *times).map(done)
            }
            Op::Close(n)
            | Op::Read(n, ..)
            | Op::Write(n, ..)
            | Op::Append(n, _)
            | Op::SetLen(n, _)
            | Op::Allocate(n, ..)
            | Op::Fstat(n)
            | Op::Ftimes(n, _) => self.try_run_on_file(op, *n),
        }
    }

    fn try_run_on_file(&mut self, op: &Op, nth: u8) -> Result<Outcome> {
        let Some(file) = self.file(nth).cloned() else { return Ok(Outcome::Idle) };
        let done = |()| Outcome::Done;
        match op {
            Op::Close(_) => {
                let len = self.files.len();
                self.files.remove(usize::from(nth) % len);
                Ok(Outcome::Done)
            }
            Op::Read(_, len, offset) => read(&file, usize::from(*len), *offset),
            // Splits the bytes in two, so that the order of the buffers matters.
            Op::Write(_, bytes, offset) => {
                let (one, two) = bytes.split_at(bytes.len() / 2);
                let bufs = [IoSlice::new(one), IoSlice::new(two)];
                Ok(Outcome::Wrote(u64_of(file.write_at(&bufs, *offset)?)))
            }
            Op::Append(_, bytes) => {
                let (one, two) = bytes.split_at(bytes.len() / 2);
                let count = file.append(&[IoSlice::new(one), IoSlice::new(two)])?;
                let end = if count > 0 { file.appended_to()? } else { file.stat()?.size };
                Ok(Outcome::Appended(u64_of(count), end))
            }
            Op::SetLen(_, len) => file.set_len(*len).map(done),
            Op::Allocate(_, offset, len) => file.allocate(*offset, *len).map(done),
            Op::Fstat(_) => Ok(Outcome::Stat(StatSummary::of(&file.stat()?))),
            Op::Ftimes(_, times) => file.set_times(*times).map(done),
            _ => Ok(Outcome::Idle),
        }
    }
}

impl Run for Live {
    fn run(&mut self, op: &Op) -> Outcome {
        self.try_run(op).unwrap_or_else(Outcome::Fail)
    }
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn put(dir: &DirRef, path: &str, bytes: &[u8]) -> Result<Outcome> {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
    let file = path::open(&**dir, path, Follow::Yes, how)?.into_file()?;
    let mut done = 0;
    while let Some(rest @ [_, ..]) = bytes.get(done..) {
        match file.write_at(&[IoSlice::new(rest)], u64_of(done))? {
            0 => return Err(Errno::Io),
            count => done += count,
        }
    }
    Ok(Outcome::Done)
}

/// Reads into two buffers until the end of the file or until both are full, because a filesystem
/// may return short reads.
fn read(file: &FileRef, len: usize, offset: u64) -> Result<Outcome> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    loop {
        let Some(rest) = bytes.get_mut(done..) else { return Err(Errno::Fault) };
        let (one, two) = rest.split_at_mut(rest.len() / 3);
        let empty = one.is_empty() && two.is_empty();
        let at = offset.saturating_add(u64_of(done));
        match file.read_at(&mut [IoSliceMut::new(one), IoSliceMut::new(two)], at)? {
            0 => break,
            count => done += count,
        }
        if empty {
            return Err(Errno::Fault);
        }
    }
    bytes.truncate(done);
    Ok(Outcome::Bytes(bytes))
}

fn list(dir: &DirRef, path: &str) -> Result<Outcome> {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let dir = path::open(&**dir, path, Follow::Yes, how)?.into_dir()?;
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push((entry.name.as_str().to_owned(), entry.kind));
        if names.len() > NAMES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    names.sort();
    Ok(Outcome::Names(names))
}
