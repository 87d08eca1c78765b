//! Directories of the host. Linux only: on other systems there is no such module.
//!
//! What this module alone is responsible for: that no path text of a guest makes the kernel leave
//! the directory that was opened. Below it only two shapes of system call are made:
//!
//! 1. `openat2(BENEATH | NO_SYMLINKS | NO_MAGICLINKS)` on a [`Descent`];
//! 2. `*at(directory, one name)` that follows no link, or a call on a descriptor already held.
//!
//! A descent and a name cannot go up, and the kernel never follows a link for us, whatever another
//! process of the host does meanwhile: links are data, found in `resolve.rs` and answered to the
//! walker as [`Stop::Link`]. Ambient authority enters at one function, [`HostDir::open_ambient`]
//! (and its twin that names the resolver).
//!
//! `resolve.rs` holds nodes; `open.rs` opens one name for its bytes; `file.rs` is an open file;
//! `list.rs` is a directory's stream; `stat.rs` and `errno.rs` translate. `upper` keeps an
//! overlay's changes: the second shape alone, also with names of its own in a directory of its own.
//!
//! Locks: only leaves, in `list.rs` and `file.rs`.
//!
//! Deliberately absent: a cache of any kind, since the host may change everything at any time;
//! FIFOs, sockets and devices, and files of the kernel's own filesystems (`filesystem.rs`), which
//! are seen but never opened; names that are not UTF-8.
//!
//! Not promised: a directory that another process moves out of the root goes on working through
//! the handles that are held already, as a directory and with what lies beneath it, and so does a
//! mount of the host beneath the root. Who can move directories across the border of the root
//! decides what is inside.

mod errno;
mod file;
mod filesystem;
mod known;
mod list;
mod open;
mod resolve;
mod stat;
#[cfg(feature = "overlay")]
mod upper;

use std::any::Any;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use cap_std::ambient_authority;
use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, Mode, OFlags};

#[cfg(feature = "overlay")]
pub use self::upper::HostUpper;

use self::errno::errno;
use self::file::HostFile;
use self::known::{Known, Seen};
use self::list::{Slot, with_stream};
use self::open::{Opened, open_known, open_name};
use self::resolve::{Want, Way, held_target, hold, link_target, probe};
use self::stat::{kind, stat, timestamps};
use crate::dir::unless_link;
use crate::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, FileType, Name, Node, OpenFlags,
    OpenHow, Result, SetTimes, Stat, Stop,
};

/// How a descent of several names is resolved. All are equally strong; they differ in speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2` if the kernel has it and a sandbox does not forbid it, else by components.
    #[default]
    Auto,
    /// One `openat2` for the whole descent. What it cannot answer is walked by components.
    Openat2,
    /// One `openat` for each name.
    Components,
}

/// A directory of the host, as a [`Dir`].
///
/// Files are created with mode 0666 and directories with 0777, less the process's umask. All is
/// done with the process's own rights. Handles of two roots can be renamed and linked into each
/// other, where the host's filesystem allows it; a layer decides whether they may.
pub struct HostDir {
    fd: OwnedFd,
    way: Way,
    /// Said besides when bytes or entries are read: nothing, or `O_NOATIME`.
    reading: OFlags,
    stream: Slot,
    known: Known,
}

impl HostDir {
    /// Opens a directory of the host by a path of the host, with the process's own authority: the
    /// one place where that enters. Links in `path` are followed.
    ///
    /// Errors: the kernel's, among them `NotADirectory`; `Unsupported` for a directory on one of
    /// the kernel's own filesystems, such as `/proc`.
    pub fn open_ambient(path: &std::path::Path) -> std::io::Result<DirRef> {
        Self::open_ambient_with(path, Resolver::Auto)
    }

    /// As [`HostDir::open_ambient`], with a resolver of the caller's choice.
    pub fn open_ambient_with(
        path: &std::path::Path,
        resolver: Resolver,
    ) -> std::io::Result<DirRef> {
        let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
        Self::from_opened(dir, resolver)
    }

    /// Takes a directory that was opened by a path of the host.
    ///
    /// Errors: as for [`HostDir::open_ambient`], without the kernel's.
    pub(crate) fn from_opened(
        dir: cap_std::fs::Dir,
        resolver: Resolver,
    ) -> std::io::Result<DirRef> {
        filesystem::refuse_kernels(dir.as_fd())?;
        Ok(Self::from_cap_std(dir, resolver))
    }

    /// As [`HostDir::open_ambient`], for a directory that is only looked at: what is read leaves
    /// no time of access, wherever the process owns the node or may act as its owner. A link that
    /// is followed may leave one.
    ///
    /// Errors: as for [`HostDir::open_ambient`].
    pub fn open_ambient_noatime(path: &std::path::Path) -> std::io::Result<DirRef> {
        let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
        filesystem::refuse_kernels(dir.as_fd())?;
        let fd = OwnedFd::from(dir.into_std_file());
        let way = probe(fd.as_fd());
        Ok(Self::held(fd, way, OFlags::NOATIME))
    }

    /// Whether `dir` is a directory of the host that finds a name by another case, so that a rule
    /// about the name can be passed by. Directories in it are not looked at.
    #[must_use]
    pub fn folds_case(dir: &dyn Dir) -> bool {
        let dir: Option<&HostDir> = (dir as &dyn Any).downcast_ref();
        dir.is_some_and(|dir| filesystem::folds_case(dir.fd()).unwrap_or(false))
    }

    /// Whether this is the directory of this identity, or lies in it.
    #[cfg(feature = "overlay")]
    pub(crate) fn lies_in(&self, dir: (u64, u64)) -> Result<bool> {
        upper::lies_in(self.fd(), dir).map_err(|why| errno::errno_of_io(&why))
    }

    /// Creates a file that is going to replace the file `like`: with no more permissions than that
    /// one has.
    #[cfg(feature = "overlay")]
    pub(crate) fn create_like(
        &self,
        name: Name<'_>,
        like: Name<'_>,
        how: OpenHow,
    ) -> Result<FileRef> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let stat = fs::statat(self.fd(), like.as_str(), nofollow).map_err(errno)?;
        let mode = Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777);
        let file = open::create_with(self.fd(), name, how, mode).map_err(errno)?;
        Ok(Arc::new(file))
    }

    /// Gives the file `name` the owner and the group of the file `like`, as far as that is
    /// possible.
    ///
    /// Errors: `Perm` if one of them is another one and stays.
    #[cfg(feature = "overlay")]
    pub(crate) fn copy_owner(&self, like: Name<'_>, name: Name<'_>) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let old = fs::statat(self.fd(), like.as_str(), nofollow).map_err(errno)?;
        let new = fs::statat(self.fd(), name.as_str(), nofollow).map_err(errno)?;
        if (old.st_uid, old.st_gid) == (new.st_uid, new.st_gid) || kind(&old) != FileType::File {
            return Ok(());
        }
        let (uid, gid) = (fs::Uid::from_raw(old.st_uid), fs::Gid::from_raw(old.st_gid));
        let name = name.as_str();
        fs::chownat(self.fd(), name, Some(uid), Some(gid), nofollow).map_err(|os| {
            // Who does not own everything can still give it to a group of its own.
            let _ = fs::chownat(self.fd(), name, None, Some(gid), nofollow);
            errno(os)
        })
    }

    /// Gives the file `name` the permissions of the file `like`, which it is going to replace. What
    /// makes a program run as somebody else is not passed on to other bytes.
    #[cfg(feature = "overlay")]
    pub(crate) fn copy_permissions(&self, like: Name<'_>, name: Name<'_>) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let stat = fs::statat(self.fd(), like.as_str(), nofollow).map_err(errno)?;
        if kind(&stat) != FileType::File {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match fs::openat(self.fd(), name.as_str(), flags, Mode::empty()) {
            // It was created with the same permissions, which allow no reading; less the umask.
            Err(rustix::io::Errno::ACCESS) => return Ok(()),
            opened => opened.map_err(errno)?,
        };
        fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777))
            .map_err(errno)
    }

    /// Takes a directory that the caller holds already.
    #[must_use]
    pub fn from_cap_std(dir: cap_std::fs::Dir, resolver: Resolver) -> DirRef {
        let fd = OwnedFd::from(dir.into_std_file());
        let way = match resolver {
            Resolver::Auto => probe(fd.as_fd()),
            Resolver::Openat2 => Way::Openat2,
            Resolver::Components => Way::Components,
        };
        Self::held(fd, way, OFlags::empty())
    }

    fn held(fd: OwnedFd, way: Way, reading: OFlags) -> DirRef {
        Arc::new(HostDir { fd, way, reading, stream: Mutex::new(None), known: Known::default() })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn dir_node(&self, fd: OwnedFd) -> Node {
        Node::Dir(Self::held(fd, self.way, self.reading))
    }

    /// Holds the directory that `path` leads to.
    fn open_dir(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let held = hold(self.fd(), self.way, path, Want::Dir)?;
        if how.refuses_dir() {
            return Err(Errno::Isdir.into());
        }
        Ok(self.dir_node(held))
    }

    /// Opens what `path` led to before, if it is remembered and still so.
    fn open_recalled(&self, path: Descent<'_>, how: OpenHow) -> Result<Option<Node>, Stop> {
        if how.is_exclusive() {
            return Ok(None);
        }
        match self.known.recall(path) {
            None => return Ok(None),
            Some(Seen::Link) => return self.recalled_link(path).map_or(Ok(None), Err),
            Some(Seen::File) => {}
        }
        let file = open_known(self.fd(), self.way, path, how, self.reading);
        if file.is_none() {
            self.known.forget(path);
        }
        Ok(file.map(|file| Node::File(Arc::new(file))))
    }

    /// The stop at the link that `path`, a single name, led to before.
    fn recalled_link(&self, path: Descent<'_>) -> Option<Stop> {
        let name = path.as_name().filter(|_| self.known.recall(path) == Some(Seen::Link))?;
        if let Ok(Some(target)) = link_target(self.fd(), name) {
            return Some(Stop::Link { at: 0, target });
        }
        self.known.forget(path);
        None
    }

    /// Remembers the link if `path` is its name.
    fn learn_link(&self, path: Descent<'_>, stop: Stop) -> Stop {
        if matches!(stop, Stop::Link { .. }) && path.as_name().is_some() {
            self.known.learn(path, Seen::Link);
        }
        stop
    }

    /// Holds what `path` leads to, without a byte of it.
    fn open_held(&self, path: Descent<'_>) -> Result<Node, Stop> {
        let held = hold(self.fd(), self.way, path, Want::Any)?;
        match kind(&fs::fstat(&held).map_err(errno)?) {
            FileType::Dir => Ok(self.dir_node(held)),
            FileType::File => Ok(Node::File(Arc::new(HostFile::verified(held, OpenHow::HOLD)))),
            FileType::Symlink => {
                let at = path.depth().saturating_sub(1);
                Err(Stop::Link { at, target: held_target(held.as_fd())? })
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                Err(Errno::Nxio.into())
            }
        }
    }

    /// Calls `op` with the directory that holds the last name of `path`, the name, and how many
    /// names lie before it.
    fn in_parent<T>(
        &self,
        (parent, name): (Descent<'_>, Name<'_>),
        op: impl FnOnce(BorrowedFd<'_>, Name<'_>, usize) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if parent.is_here() {
            return op(self.fd(), name, 0);
        }
        let held = hold(self.fd(), self.way, parent, Want::Dir)?;
        op(held.as_fd(), name, parent.depth())
    }
}

impl Dir for HostDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let Some(split) = path.split_last() else {
            if how.is_exclusive() {
                return Err(Errno::Exist.into());
            }
            return self.open_dir(path, how);
        };
        if how.wants_dir() {
            return self.open_dir(path, how);
        }
        let acts = how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        if how.access == Access::Hold && !acts {
            if let Some(link) = self.recalled_link(path) {
                return Err(link);
            }
            return self.open_held(path).map_err(|stop| self.learn_link(path, stop));
        }
        if let Some(node) = self.open_recalled(path, how)? {
            return Ok(node);
        }
        match self.in_parent(split, |dir, name, at| open_name(dir, name, how, at, self.reading)) {
            Ok(Opened::Dir(held)) => Ok(self.dir_node(held)),
            Ok(Opened::File(file)) => {
                self.known.learn(path, Seen::File);
                Ok(Node::File(Arc::new(file)))
            }
            Err(stop) => Err(self.learn_link(path, stop)),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let found = if path.is_here() {
            fs::fstat(self.fd())
        } else if let Some(name) = path.as_name() {
            fs::statat(self.fd(), name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
        } else {
            fs::fstat(hold(self.fd(), self.way, path, Want::Any)?)
        };
        Ok(stat(&found.map_err(errno)?))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        // What was a link is asked as one first.
        if let Some(link) = self.recalled_link(path) {
            return Err(link);
        }
        unless_link(self, path, self.stat(path)?)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        link_target(self.fd(), name)?.ok_or(Errno::Inval)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        with_stream(self.fd(), &self.stream, self.reading, |stream| stream.read(from, each))
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        fs::mkdirat(self.fd(), name.as_str(), Mode::from_raw_mode(0o777)).map_err(errno)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        fs::symlinkat(target, self.fd(), name.as_str()).map_err(errno)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::empty()).map_err(errno)?;
        self.known.forget(name.into());
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::REMOVEDIR).map_err(errno)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = same(into)?;
        fs::renameat(self.fd(), name.as_str(), into.fd(), new_name.as_str()).map_err(errno)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = same(into)?;
        // Without AT_SYMLINK_FOLLOW a link is linked itself.
        let flags = AtFlags::empty();
        fs::linkat(self.fd(), name.as_str(), into.fd(), new_name.as_str(), flags).map_err(errno)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        if times == SetTimes::default() {
            // `utimensat` would not even look whether there is such a node.
            return self.stat(path).map(drop);
        }
        let times = timestamps(times);
        let Some(split) = path.split_last() else {
            return Ok(
                fs::utimensat(self.fd(), ".", &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)?
            );
        };
        self.in_parent(split, |dir, name, _| {
            Ok(fs::utimensat(dir, name.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(errno)?)
        })
    }

    fn sync(&self) -> Result<()> {
        with_stream(self.fd(), &self.stream, self.reading, |stream| stream.sync())
    }
}

/// `dir` as a directory of the host, or `Xdev`.
fn same(dir: &dyn Dir) -> Result<&HostDir> {
    (dir as &dyn Any).downcast_ref().ok_or(Errno::Xdev)
}
