//! A Palisade directory as a filesystem of the crate.
//!
//! A path of the crate is absolute. Its leading slash is removed, and the rest is resolved by
//! Palisade's walker relative to the root directory, which follows symbolic links but never outside
//! of the root.
//!
//! The crate has only files and directories. Other types appear as files; a symbolic link appears
//! as its target, and a dangling link is not listed.
//!
//! Deliberately absent: the time of birth, which [`Stat`] does not have.

use std::fmt;
use std::ops::ControlFlow;
use std::time::SystemTime;

use palisade_vfs::{
    Access, Cookie, Dir, DirRef, Errno, FileType, Follow, Node, OpenFlags, OpenHow, Result,
    SetTime, SetTimes, Stat, Timestamp, path,
};
use vfs::error::VfsErrorKind;
use vfs::{FileSystem, SeekAndRead, SeekAndWrite, VfsFileType, VfsMetadata, VfsPath, VfsResult};

use crate::errors::vfs_error;
use crate::streams::{Stream, WritePosition, copy};
use crate::times;

/// Returns `dir` as the root path of a filesystem of the crate.
#[must_use]
pub fn as_vfs(dir: DirRef) -> VfsPath {
    VfsPath::new(PalisadeFs::new(dir))
}

/// A filesystem of the crate over a Palisade directory.
///
/// The inner error of its `io::Error`s is the [`Errno`](palisade_vfs::Errno).
pub struct PalisadeFs {
    root: DirRef,
}

impl PalisadeFs {
    /// Creates a filesystem with this root directory.
    #[must_use]
    pub fn new(root: DirRef) -> Self {
        PalisadeFs { root }
    }

    fn stat(&self, path: &str) -> Result<Stat> {
        path::stat(&*self.root, relative(path), Follow::Yes)
    }

    fn open(&self, path: &str, how: OpenHow) -> Result<Node> {
        path::open(&*self.root, relative(path), Follow::Yes, how)
    }

    fn set_times(&self, path: &str, times: SetTimes) -> VfsResult<()> {
        path::set_times(&*self.root, relative(path), Follow::Yes, times).map_err(vfs_error)
    }

    fn list(&self, path: &str) -> Result<Vec<String>> {
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let dir = self.open(path, how)?.into_dir()?;
        let (mut names, mut links) = (Vec::new(), Vec::new());
        dir.read_dir(Cookie::START, &mut |entry| {
            let list = if entry.kind == FileType::Symlink { &mut links } else { &mut names };
            list.push(entry.name.as_str().to_owned());
            ControlFlow::Continue(())
        })?;
        // Resolved from the root, because a target may contain `..`. Dangling links are not listed.
        links.retain(|name| self.stat(&format!("{path}/{name}")).is_ok());
        names.append(&mut links);
        Ok(names)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let mut from =
            Stream::new(self.open(from, OpenHow::READ)?.into_file()?, WritePosition::Cursor)?;
        // Exclusive: truncation would empty the source if both are the same file.
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let mut into = Stream::new(self.open(to, how)?.into_file()?, WritePosition::Cursor)?;
        let copied = copy(&mut from, &mut into).map(drop);
        if copied.is_err() {
            // Rollback: removes the incomplete copy and returns the first error.
            let _ = path::remove_file(&*self.root, relative(to));
        }
        copied
    }

    /// Renames a node of the type `what`. A symbolic link counts as a file and is not followed.
    fn rename(&self, from: &str, to: &str, what: VfsFileType) -> VfsResult<()> {
        let (from, to) = (relative(from), relative(to));
        let dir: &dyn Dir = &*self.root;
        let stat = path::stat(dir, from, Follow::No).map_err(vfs_error)?;
        match (what, stat.kind == FileType::Dir) {
            (VfsFileType::File, true) => return Err(vfs_error(Errno::Isdir)),
            (VfsFileType::Directory, false) => return Err(vfs_error(Errno::Notdir)),
            (VfsFileType::File, false) | (VfsFileType::Directory, true) => {}
        }
        match path::rename(dir, from, dir, to) {
            // Across mounts: the crate copies if a move is not supported.
            Err(Errno::Xdev) => Err(VfsErrorKind::NotSupported.into()),
            done => done.map_err(vfs_error),
        }
    }
}

impl fmt::Debug for PalisadeFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PalisadeFs")
    }
}

impl FileSystem for PalisadeFs {
    fn read_dir(&self, path: &str) -> VfsResult<Box<dyn Iterator<Item = String> + Send>> {
        Ok(Box::new(self.list(path).map_err(vfs_error)?.into_iter()))
    }

    fn create_dir(&self, path: &str) -> VfsResult<()> {
        match path::create_dir(&*self.root, relative(path)) {
            Err(Errno::Exist) => Err(match self.stat(path) {
                Ok(Stat { kind: FileType::Dir, .. }) => VfsErrorKind::DirectoryExists.into(),
                Ok(_) | Err(_) => VfsErrorKind::FileExists.into(),
            }),
            done => done.map_err(vfs_error),
        }
    }

    fn open_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndRead + Send>> {
        let file = self.open(path, OpenHow::READ).and_then(Node::into_file);
        Ok(Box::new(
            file.and_then(|file| Stream::new(file, WritePosition::Cursor)).map_err(vfs_error)?,
        ))
    }

    fn create_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let file = self.open(path, how).and_then(Node::into_file);
        Ok(Box::new(
            file.and_then(|file| Stream::new(file, WritePosition::Cursor)).map_err(vfs_error)?,
        ))
    }

    fn append_file(&self, path: &str) -> VfsResult<Box<dyn SeekAndWrite + Send>> {
        let how = OpenHow::new(Access::Write, OpenFlags::APPEND);
        let file = self.open(path, how).and_then(Node::into_file);
        Ok(Box::new(
            file.and_then(|file| Stream::new(file, WritePosition::End)).map_err(vfs_error)?,
        ))
    }

    fn metadata(&self, path: &str) -> VfsResult<VfsMetadata> {
        let stat = self.stat(path).map_err(vfs_error)?;
        let (file_type, len) = match stat.kind {
            FileType::Dir => (VfsFileType::Directory, 0),
            FileType::File
            | FileType::Symlink
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => (VfsFileType::File, stat.size),
        };
        Ok(VfsMetadata {
            file_type,
            len,
            created: None,
            modified: times::system_time(stat.modified),
            accessed: times::system_time(stat.accessed),
        })
    }

    fn set_creation_time(&self, _path: &str, _time: SystemTime) -> VfsResult<()> {
        Err(VfsErrorKind::NotSupported.into())
    }

    fn set_modification_time(&self, path: &str, time: SystemTime) -> VfsResult<()> {
        let modified = SetTime::At(Timestamp::from(time));
        self.set_times(path, SetTimes { accessed: SetTime::Keep, modified })
    }

    fn set_access_time(&self, path: &str, time: SystemTime) -> VfsResult<()> {
        let accessed = SetTime::At(Timestamp::from(time));
        self.set_times(path, SetTimes { accessed, modified: SetTime::Keep })
    }

    fn exists(&self, path: &str) -> VfsResult<bool> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Escape) => Ok(false),
            Err(Errno::Nametoolong | Errno::Inval) => Ok(false),
            Err(errno) => Err(vfs_error(errno)),
        }
    }

    fn remove_file(&self, path: &str) -> VfsResult<()> {
        path::remove_file(&*self.root, relative(path)).map_err(vfs_error)
    }

    fn remove_dir(&self, path: &str) -> VfsResult<()> {
        path::remove_dir(&*self.root, relative(path)).map_err(vfs_error)
    }

    fn copy_file(&self, src: &str, dest: &str) -> VfsResult<()> {
        self.copy(src, dest).map_err(vfs_error)
    }

    fn move_file(&self, src: &str, dest: &str) -> VfsResult<()> {
        self.rename(src, dest, VfsFileType::File)
    }

    fn move_dir(&self, src: &str, dest: &str) -> VfsResult<()> {
        self.rename(src, dest, VfsFileType::Directory)
    }
}

/// Converts a path of the crate to one relative to the root. Only one leading slash is removed; the
/// walker refuses a path that is still absolute.
fn relative(path: &str) -> &str {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => ".",
        path => path,
    }
}
