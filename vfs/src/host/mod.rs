//! Host directories: the `Dir` and `File` of a directory of the host. Linux only.
//!
//! This module guarantees that no path text of a guest makes Linux leave the directory that
//! was opened. Below that directory it makes only two forms of system call:
//!
//! 1. `openat2(BENEATH | NO_SYMLINKS | NO_MAGICLINKS)` on a [`Descent`];
//! 2. `*at(directory, one name)` that follows no link, or a call on a descriptor that is already
//!    open.
//!
//! A descent and a name cannot go up, and Linux never follows a link on behalf of a guest,
//! even if other processes change the tree concurrently: `resolve.rs` reads the target of a link
//! and returns it to the walker as [`Stop::Link`]. Ambient authority enters at
//! [`HostDir::open_ambient`], [`HostDir::open_ambient_with`] and [`HostDir::open_ambient_noatime`]
//! (and, for overlays, where `upper` opens its upper).
//!
//! Files: `resolve.rs` resolves a descent to a descriptor; `open.rs` opens one name; `file.rs` is
//! an open file; `list.rs` reads directory streams; `kind_cache.rs` caches node types;
//! `filesystem.rs` detects pseudo filesystems and case folding; `stat.rs` and `errno.rs`
//! convert. `upper` stores an overlay's changes: it makes only the second form of call, also on
//! private names in a directory of its own.
//!
//! Caches: each held directory caches which descents led to files and links (`kind_cache.rs`), and
//! keeps one directory stream (`list.rs`). The host may change everything at any time, so a cached
//! type is checked on each use, and neither metadata, entries nor bytes are cached. See
//! docs/performance.md.
//!
//! Lock order: every lock is a leaf, except one pair:
//!
//! - `HostDir::stream`
//! - `HostFile::appends`
//!   - `file::FALLBACK`
//!
//! Deliberately absent: FIFOs, sockets and devices, and files of pseudo filesystems,
//! which can be statted but never opened; names that are not UTF-8.
//!
//! Not promised: a directory that another process moves out of the root remains usable, with its
//! content, through handles that are already open, and so does a mount of the host below the root.
//! A process that can move directories into and out of the root controls its content.

mod errno;
mod file;
mod filesystem;
mod kind_cache;
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
use self::kind_cache::{CachedKind, KindCache};
use self::list::{StreamSlot, with_stream};
use self::open::{OpenedNode, open_name, open_regular_again};
use self::resolve::{Method, Target, held_target, hold, link_target, probe};
use self::stat::{kind, stat, timestamps};
use crate::dir::stop_at_link;
use crate::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, FileType, Name, Node, OpenFlags,
    OpenHow, Result, SetTimes, Stat, Stop,
};

/// How a descent of several names is resolved. All methods are equally safe; they differ in speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// `openat2` if Linux has it and no sandbox forbids it, else component by component.
    #[default]
    Auto,
    /// One `openat2` for the whole descent, with a fallback to single components.
    Openat2,
    /// One `openat` for each name.
    Components,
}

/// A directory of the host, as a [`Dir`].
///
/// Files are created with mode 0666 and directories with 0777, less the process's umask. All calls
/// are made with the credentials of the process. Nodes can be renamed and linked between handles of
/// two roots if the host's filesystem permits it; a policy layer decides whether they may.
pub struct HostDir {
    fd: OwnedFd,
    method: Method,
    /// Extra open flags for reads (`O_NOATIME` or none).
    read_flags: OFlags,
    /// The directory stream, kept between listings.
    stream: StreamSlot,
    /// The types of nodes that were opened before.
    kinds: KindCache,
}

impl HostDir {
    /// Opens a directory by a path of the host, with the ambient authority of the process. Symbolic
    /// links in `path` are followed.
    ///
    /// # Errors
    ///
    /// - The errors of the operating system, such as `NotADirectory`.
    /// - `Unsupported`: the directory is on a pseudo filesystem, such as `/proc`.
    pub fn open_ambient(path: &std::path::Path) -> std::io::Result<DirRef> {
        Self::open_ambient_with(path, Resolver::Auto)
    }

    /// Opens a directory like [`HostDir::open_ambient`], with an explicit resolver.
    pub fn open_ambient_with(
        path: &std::path::Path,
        resolver: Resolver,
    ) -> std::io::Result<DirRef> {
        let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
        Self::from_opened(dir, resolver)
    }

    /// Wraps a directory that was opened by a path of the host.
    ///
    /// # Errors
    ///
    /// - `Unsupported`, as for [`HostDir::open_ambient`].
    pub(crate) fn from_opened(
        dir: cap_std::fs::Dir,
        resolver: Resolver,
    ) -> std::io::Result<DirRef> {
        filesystem::refuse_pseudo_filesystem(dir.as_fd())?;
        Ok(Self::from_cap_std(dir, resolver))
    }

    /// Opens a directory like [`HostDir::open_ambient`], for read-only use without access times:
    /// reads do not update `atime` where the process owns the node or has `CAP_FOWNER`. Reading a
    /// link may update its `atime`.
    ///
    /// # Errors
    ///
    /// - As for [`HostDir::open_ambient`].
    pub fn open_ambient_noatime(path: &std::path::Path) -> std::io::Result<DirRef> {
        let dir = cap_std::fs::Dir::open_ambient_dir(path, ambient_authority())?;
        filesystem::refuse_pseudo_filesystem(dir.as_fd())?;
        let fd = OwnedFd::from(dir.into_std_file());
        let method = probe(fd.as_fd());
        Ok(Self::from_fd(fd, method, OFlags::NOATIME))
    }

    /// Returns whether `dir` is a host directory that finds names case-insensitively, so that a
    /// rule about a name can be bypassed. Subdirectories are not checked.
    #[must_use]
    pub fn folds_case(dir: &dyn Dir) -> bool {
        let dir: Option<&HostDir> = (dir as &dyn Any).downcast_ref();
        dir.is_some_and(|dir| filesystem::folds_case(dir.fd()).unwrap_or(false))
    }

    /// Returns whether this directory is, or is under, the directory of identity `dir`.
    #[cfg(feature = "overlay")]
    pub(crate) fn is_in(&self, dir: (u64, u64)) -> Result<bool> {
        upper::is_in(self.fd(), dir).map_err(|why| errno::errno_of_io(&why))
    }

    /// Creates a file that will replace the file `like`, with at most the permissions of `like`.
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

    /// Sets the owner and the group of the file `name` to those of the file `like`, as far as
    /// permitted.
    ///
    /// # Errors
    ///
    /// - `EPERM`: the owner or the group differs and cannot be changed.
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
            // A process without `CAP_CHOWN` can still set a group of its own.
            let _ = fs::chownat(self.fd(), name, None, Some(gid), nofollow);
            errno(os)
        })
    }

    /// Sets the permissions of the file `name` to those of the file `like`, which it will replace.
    /// Set-user-ID and set-group-ID bits are not copied to other bytes.
    #[cfg(feature = "overlay")]
    pub(crate) fn copy_permissions(&self, like: Name<'_>, name: Name<'_>) -> Result<()> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let stat = fs::statat(self.fd(), like.as_str(), nofollow).map_err(errno)?;
        if kind(&stat) != FileType::File {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match fs::openat(self.fd(), name.as_str(), flags, Mode::empty()) {
            // The file was created with the same permissions less the umask, and they do not permit
            // reading.
            Err(rustix::io::Errno::ACCESS) => return Ok(()),
            opened => opened.map_err(errno)?,
        };
        fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777))
            .map_err(errno)
    }

    /// Wraps a directory that the caller has opened.
    #[must_use]
    pub fn from_cap_std(dir: cap_std::fs::Dir, resolver: Resolver) -> DirRef {
        let fd = OwnedFd::from(dir.into_std_file());
        let method = match resolver {
            Resolver::Auto => probe(fd.as_fd()),
            Resolver::Openat2 => Method::Openat2,
            Resolver::Components => Method::Components,
        };
        Self::from_fd(fd, method, OFlags::empty())
    }

    fn from_fd(fd: OwnedFd, method: Method, read_flags: OFlags) -> DirRef {
        Arc::new(HostDir {
            fd,
            method,
            read_flags,
            stream: Mutex::new(None),
            kinds: KindCache::default(),
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn dir_node(&self, fd: OwnedFd) -> Node {
        Node::Dir(Self::from_fd(fd, self.method, self.read_flags))
    }

    /// Holds the directory at `path`.
    fn open_dir(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let held = hold(self.fd(), self.method, path, Target::Dir)?;
        if how.refuses_dir() {
            return Err(Errno::Isdir.into());
        }
        Ok(self.dir_node(held))
    }

    /// Opens the node at `path` by its cached type. `None` if no type is cached or the type has
    /// changed.
    fn open_cached(&self, path: Descent<'_>, how: OpenHow) -> Result<Option<Node>, Stop> {
        if how.is_exclusive() {
            return Ok(None);
        }
        match self.kinds.get(path) {
            None => return Ok(None),
            Some(CachedKind::Link) => return self.cached_link(path).map_or(Ok(None), Err),
            Some(CachedKind::File) => {}
        }
        let file = open_regular_again(self.fd(), self.method, path, how, self.read_flags);
        if file.is_none() {
            self.kinds.remove(path);
        }
        Ok(file.map(|file| Node::File(Arc::new(file))))
    }

    /// Returns the stop at the symbolic link that `path`, a single name, led to before.
    fn cached_link(&self, path: Descent<'_>) -> Option<Stop> {
        let name = path.as_name().filter(|_| self.kinds.get(path) == Some(CachedKind::Link))?;
        if let Ok(Some(target)) = link_target(self.fd(), name) {
            return Some(Stop::Link { at: 0, target });
        }
        self.kinds.remove(path);
        None
    }

    /// Caches the type of `path` if it is a single name and `stop` is a link.
    fn cache_link(&self, path: Descent<'_>, stop: Stop) -> Stop {
        if matches!(stop, Stop::Link { .. }) && path.as_name().is_some() {
            self.kinds.insert(path, CachedKind::Link);
        }
        stop
    }

    /// Holds the node at `path` without access to its bytes.
    fn open_held(&self, path: Descent<'_>) -> Result<Node, Stop> {
        let held = hold(self.fd(), self.method, path, Target::Any)?;
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

    /// Calls `op` with the parent directory, the last name, and the number of names before it.
    fn in_parent<T>(
        &self,
        (parent, name): (Descent<'_>, Name<'_>),
        op: impl FnOnce(BorrowedFd<'_>, Name<'_>, usize) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if parent.is_here() {
            return op(self.fd(), name, 0);
        }
        let held = hold(self.fd(), self.method, parent, Target::Dir)?;
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
            if let Some(link) = self.cached_link(path) {
                return Err(link);
            }
            return self.open_held(path).map_err(|stop| self.cache_link(path, stop));
        }
        if let Some(node) = self.open_cached(path, how)? {
            return Ok(node);
        }
        match self.in_parent(split, |dir, name, at| open_name(dir, name, how, at, self.read_flags))
        {
            Ok(OpenedNode::Dir(held)) => Ok(self.dir_node(held)),
            Ok(OpenedNode::File(file)) => {
                self.kinds.insert(path, CachedKind::File);
                Ok(Node::File(Arc::new(file)))
            }
            Err(stop) => Err(self.cache_link(path, stop)),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let stat_buf = if path.is_here() {
            fs::fstat(self.fd())
        } else if let Some(name) = path.as_name() {
            fs::statat(self.fd(), name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
        } else {
            fs::fstat(hold(self.fd(), self.method, path, Target::Any)?)
        };
        Ok(stat(&stat_buf.map_err(errno)?))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        // A name that was a link is read as a link first, which saves the `statat`.
        if let Some(link) = self.cached_link(path) {
            return Err(link);
        }
        stop_at_link(self, path, self.stat(path)?)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        link_target(self.fd(), name)?.ok_or(Errno::Inval)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        with_stream(self.fd(), &self.stream, self.read_flags, |stream| stream.read(from, each))
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        fs::mkdirat(self.fd(), name.as_str(), Mode::from_raw_mode(0o777)).map_err(errno)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        fs::symlinkat(target, self.fd(), name.as_str()).map_err(errno)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::empty()).map_err(errno)?;
        self.kinds.remove(name.into());
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::REMOVEDIR).map_err(errno)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = host_dir(into)?;
        fs::renameat(self.fd(), name.as_str(), into.fd(), new_name.as_str()).map_err(errno)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = host_dir(into)?;
        // Without `AT_SYMLINK_FOLLOW`, the link itself gets the new name.
        let flags = AtFlags::empty();
        fs::linkat(self.fd(), name.as_str(), into.fd(), new_name.as_str(), flags).map_err(errno)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        if times == SetTimes::default() {
            // `utimensat` with two `UTIME_OMIT` does not check that the node exists.
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
        with_stream(self.fd(), &self.stream, self.read_flags, |stream| stream.sync())
    }
}

/// Returns `dir` as a host directory.
///
/// # Errors
///
/// - `EXDEV`: `dir` is another kind of directory.
fn host_dir(dir: &dyn Dir) -> Result<&HostDir> {
    (dir as &dyn Any).downcast_ref().ok_or(Errno::Xdev)
}
