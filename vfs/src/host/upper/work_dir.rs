//! The work directory: temporary nodes before their installation and after their removal.
//!
//! It is a subdirectory of the upper's `work` directory, so files of others in `work` are never
//! touched. Files that a crash leaves in it are removed on the next open of the upper. All names in
//! it are generated numbers, never names of a guest.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FileType as OsType, Mode, OFlags, RawDir, RenameFlags};
use rustix::io::{self, Errno as RustixErrno};

use super::super::errno::errno;
use super::super::file::HostFile;
use super::super::open::create;
use super::super::stat::stat;
use super::xattrs::NodeId;
use super::{fault_points, xattrs};
use crate::{Name, OpenHow, Result};

/// The buffer size for one `getdents` call, in bytes.
pub(super) const LISTING_BYTES: usize = 16 * 1024;
/// Passes over a directory to empty it: filesystems may skip entries while others are removed.
const PASSES_MAX: u32 = 8;

/// How whiteouts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhiteoutStyle {
    /// A character device 0/0.
    Device,
    /// An empty file with an xattr, where devices may not be made.
    Xattr,
}

/// The work directory of an upper.
pub(super) struct WorkDir {
    dir: OwnedFd,
    pub(super) style: WhiteoutStyle,
    /// Whether the filesystem supports `RENAME_WHITEOUT`.
    pub(super) renames_leave_whiteouts: bool,
    next: AtomicU64,
    has_leftovers: AtomicBool,
    /// Names in here that could not be removed, by inode. They are subtracted from its link count.
    leftovers: Mutex<HashMap<NodeId, Vec<String>>>,
}

/// The type of a [`TempNode`], which determines how it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TempKind {
    Leaf,
    /// A directory with nothing but whiteouts.
    Dir,
}

/// A node in the work directory. Dropping it removes the node, unless it was moved elsewhere.
pub(super) struct TempNode<'a> {
    work: &'a WorkDir,
    name: String,
    shape: TempKind,
    is_here: bool,
}

impl WorkDir {
    pub(super) fn new(dir: OwnedFd, style: WhiteoutStyle, renames_leave_whiteouts: bool) -> Self {
        WorkDir {
            dir,
            style,
            renames_leave_whiteouts,
            next: AtomicU64::new(0),
            has_leftovers: AtomicBool::new(false),
            leftovers: Mutex::default(),
        }
    }

    /// Returns the number of names in here that `id` has because they could not be removed.
    pub(super) fn leftover_names(&self, id: NodeId) -> u64 {
        if !self.has_leftovers.load(Ordering::Relaxed) {
            return 0;
        }
        self.leftovers.lock().get(&id).map_or(0, |names| names.len() as u64)
    }

    /// Records a name that could not be removed.
    fn record_leftover(&self, name: &str) {
        if let Ok(found) = fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            let mut leftovers = self.leftovers.lock();
            leftovers.entry(NodeId::of(&stat(&found))).or_default().push(name.to_owned());
            self.has_leftovers.store(true, Ordering::Relaxed);
        }
    }

    /// Retries to remove the recorded names.
    fn retry_leftovers(&self) {
        if !self.has_leftovers.load(Ordering::Relaxed) {
            return;
        }
        let mut leftovers = self.leftovers.lock();
        leftovers.retain(|_, names| {
            names.retain(|name| self.unlink(name).is_err());
            !names.is_empty()
        });
        self.has_leftovers.store(!leftovers.is_empty(), Ordering::Relaxed);
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let unlinked = fault_points::before_change()
            .and_then(|()| fs::unlinkat(self.fd(), name, AtFlags::empty()));
        unlinked.inspect_err(|_| fault_points::ignore_failure())
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn temp(&self, shape: TempKind) -> TempNode<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        TempNode { work: self, name: format!("#{number}"), shape, is_here: false }
    }

    /// Creates a node under a new name.
    fn make<T>(
        &self,
        shape: TempKind,
        make: impl FnOnce(BorrowedFd<'_>, &str) -> io::Result<T>,
    ) -> Result<(TempNode<'_>, T)> {
        self.retry_leftovers();
        let mut temp = self.temp(shape);
        fault_points::before_change().map_err(errno)?;
        let made = make(self.fd(), &temp.name).map_err(errno)?;
        temp.is_here = true;
        Ok((temp, made))
    }

    /// Creates and opens an empty file.
    pub(super) fn file(&self, how: OpenHow) -> Result<(TempNode<'_>, HostFile)> {
        self.make(TempKind::Leaf, |dir, name| {
            create(dir, Name::new(name).map_err(|_| RustixErrno::INVAL)?, how)
        })
    }

    /// Creates and opens an empty directory.
    pub(super) fn dir(&self) -> Result<(TempNode<'_>, OwnedFd)> {
        let (temp, ()) = self
            .make(TempKind::Dir, |dir, name| fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)))?;
        let fd = fs::openat(self.fd(), &*temp.name, DIR, Mode::empty()).map_err(errno)?;
        Ok((temp, fd))
    }

    /// Creates a symbolic link.
    pub(super) fn symlink(&self, target: &str) -> Result<TempNode<'_>> {
        let made = self.make(TempKind::Leaf, |dir, name| fs::symlinkat(target, dir, name))?;
        Ok(made.0)
    }

    /// Creates a hard link to a file or a symbolic link.
    pub(super) fn link(&self, from: BorrowedFd<'_>, name: &str) -> Result<TempNode<'_>> {
        let made = self.make(TempKind::Leaf, |dir, new_name| {
            fs::linkat(from, name, dir, new_name, AtFlags::empty())
        })?;
        Ok(made.0)
    }

    /// Creates a whiteout.
    pub(super) fn whiteout(&self) -> Result<TempNode<'_>> {
        match self.style {
            WhiteoutStyle::Device => Ok(self.make(TempKind::Leaf, make_whiteout)?.0),
            WhiteoutStyle::Xattr => {
                let (temp, file) = self.make(TempKind::Leaf, |dir, name| {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    // The owner needs write permission to set the xattr.
                    fs::openat(dir, name, flags, Mode::from_raw_mode(0o644))
                })?;
                xattrs::set(file.as_fd(), xattrs::WHITEOUT, b"y")?;
                Ok(temp)
            }
        }
    }

    /// Moves `name` out of a directory in one step, and removes it here.
    pub(super) fn move_out(
        &self,
        from: BorrowedFd<'_>,
        name: Name<'_>,
        shape: TempKind,
    ) -> Result<()> {
        let made = self.make(shape, |dir, temp| {
            fs::renameat_with(from, name.as_str(), dir, temp, RenameFlags::NOREPLACE)
        })?;
        drop(made.0);
        Ok(())
    }
}

const DIR: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Creates a whiteout as a device.
pub(super) fn make_whiteout(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    fs::mknodat(dir, name, OsType::CharacterDevice, Mode::empty(), 0)
}

impl TempNode<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Moves the node to a name that does not exist.
    pub(super) fn move_new(self, dir: BorrowedFd<'_>, name: Name<'_>) -> Result<()> {
        self.move_with(dir, name, RenameFlags::NOREPLACE)
    }

    /// Moves the node to `name`, and replaces a file, a link or a whiteout in the same step.
    pub(super) fn move_over(self, dir: BorrowedFd<'_>, name: Name<'_>) -> Result<()> {
        self.move_with(dir, name, RenameFlags::empty())
    }

    fn move_with(mut self, dir: BorrowedFd<'_>, name: Name<'_>, flags: RenameFlags) -> Result<()> {
        fault_points::before_change().map_err(errno)?;
        let work = self.work.fd();
        fs::renameat_with(work, &*self.name, dir, name.as_str(), flags).map_err(errno)?;
        self.is_here = false;
        Ok(())
    }

    /// Exchanges the node with the node `name`, which is then removed here.
    pub(super) fn exchange(
        mut self,
        dir: BorrowedFd<'_>,
        name: Name<'_>,
        out: TempKind,
    ) -> Result<()> {
        fault_points::before_change().map_err(errno)?;
        let (work, flags) = (self.work.fd(), RenameFlags::EXCHANGE);
        fs::renameat_with(work, &*self.name, dir, name.as_str(), flags).map_err(errno)?;
        self.shape = out;
        Ok(())
    }

    /// Removes the name now, for a file without a name.
    pub(super) fn unlink_name(mut self) -> Result<()> {
        fault_points::before_change().map_err(errno)?;
        fs::unlinkat(self.work.fd(), &*self.name, AtFlags::empty()).map_err(errno)?;
        self.is_here = false;
        Ok(())
    }
}

impl Drop for TempNode<'_> {
    fn drop(&mut self) {
        if !self.is_here {
            return;
        }
        // A node that cannot be removed now is removed on the next open of the upper.
        match self.shape {
            TempKind::Leaf => {
                if self.work.unlink(&self.name).is_err() {
                    self.work.record_leftover(&self.name);
                }
            }
            TempKind::Dir => {
                if remove_dir(self.work.fd(), &self.name).is_err() {
                    fault_points::ignore_failure();
                }
            }
        }
    }
}

/// Removes a directory and the leaves in it.
fn remove_dir(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    fault_points::before_change()?;
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(RustixErrno::NOTEMPTY | RustixErrno::EXIST) => {}
        other => return other,
    }
    let dir = fs::openat(parent, name, DIR, Mode::empty())?;
    empty(dir.as_fd(), Depth::Leaves)?;
    fault_points::before_change()?;
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The entries that may be in a directory to be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// Leaves only.
    Leaves,
    /// Leaves and directories of leaves.
    Dirs,
}

/// Removes the files that a crash left in a work directory. Fails on entries that an upper never
/// creates.
pub(super) fn clear(dir: BorrowedFd<'_>) -> io::Result<()> {
    empty(dir, Depth::Dirs)
}

fn empty(dir: BorrowedFd<'_>, depth: Depth) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    for _ in 0..PASSES_MAX {
        let mut removed = 0_u64;
        fs::seek(dir, fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            remove(dir, entry.file_name(), depth)?;
            removed += 1;
        }
        if removed == 0 {
            return Ok(());
        }
    }
    Err(RustixErrno::NOTEMPTY)
}

fn remove(dir: BorrowedFd<'_>, name: &CStr, depth: Depth) -> io::Result<()> {
    fault_points::before_change()?;
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(RustixErrno::ISDIR | RustixErrno::PERM) if depth == Depth::Dirs => {}
        other => return other,
    }
    let name = name.to_str().map_err(|_| RustixErrno::NOTEMPTY)?;
    remove_dir(dir, name)
}
