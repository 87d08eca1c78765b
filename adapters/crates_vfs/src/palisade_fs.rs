//! A Palisade tree as a filesystem of the crate.
//!
//! A path of the crate is text from the root; it loses its leading slash and goes through
//! Palisade's walker, which follows symbolic links and lets none of them out. So everything that
//! can be named here lies under the directory that was handed in, whatever the text is.
//!
//! The crate knows files and directories and nothing else. What is no directory shows as a file;
//! a symbolic link shows as what it leads to, and one that leads nowhere is left out of listings.
//!
//! Deliberately absent: a time of birth, which no `Stat` has.

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

/// `dir` as the root of a filesystem of the crate.
#[must_use]
pub fn as_vfs(dir: DirRef) -> VfsPath {
    VfsPath::new(PalisadeFs::new(dir))
}

/// A Palisade directory, as a filesystem of the crate.
///
/// Errors carry the [`Errno`](palisade_vfs::Errno) as the inner error of their `io::Error`.
pub struct PalisadeFs {
    root: DirRef,
}

impl PalisadeFs {
    /// With `root` as its root.
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
        // From the root: a link may lead up, out of the directory that it stands in.
        links.retain(|name| self.stat(&format!("{path}/{name}")).is_ok());
        names.append(&mut links);
        Ok(names)
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let mut from =
            Stream::new(self.open(from, OpenHow::READ)?.into_file()?, WritePosition::Cursor)?;
        // Exclusive, because truncating could empty what is being read.
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let mut into = Stream::new(self.open(to, how)?.into_file()?, WritePosition::Cursor)?;
        let copied = copy(&mut from, &mut into).map(drop);
        if copied.is_err() {
            // Half a copy is none; the error that counts is the first.
            let _ = path::remove_file(&*self.root, relative(to));
        }
        copied
    }

    /// Renames a node of the type that is asked for. A link is a file here, and renamed itself.
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
            // Another filesystem is mounted there: the crate copies if it is told so.
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

/// A path of the crate as one relative to the root. Only the one leading slash goes: what is
/// absolute without it the walker refuses.
fn relative(path: &str) -> &str {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => ".",
        path => path,
    }
}
