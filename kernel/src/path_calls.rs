//! System calls with paths relative to a directory descriptor.
//!
//! A call looks up the descriptor, checks its rights, and calls the function of
//! [`palisade_vfs::path`] of the same name. Paths are not interpreted here.

use palisade_vfs::{
    Access, Errno, Follow, Node, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, Timestamp,
    path,
};

use crate::descriptor::{Descriptor, Resource, Status};
use crate::table::Fd;
use crate::trace::traced;
use crate::{ClockId, FdRights, Modes, Process};

/// The rights that an open requests for the new descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsRequest {
    /// All inheriting rights of the directory. Write rights are dropped if the node is read-only.
    Inherited,
    /// Exactly these rights, or `Notcapable`. Rights that do not apply to the node's type are
    /// dropped.
    Exactly {
        /// The rights of the new descriptor.
        base: FdRights,
        /// The rights that the new descriptor can pass on.
        inheriting: FdRights,
    },
    /// The rights of these modes, or `Notcapable` if the directory cannot pass on any right of a
    /// mode. With `CREATE`, write rights are added if they are available.
    For(Modes),
}

/// An open descriptor that has no number in the descriptor table yet.
pub struct PendingDescriptor(Descriptor);

impl PendingDescriptor {
    /// Returns whether a call on the descriptor can block on a disk, a network or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.0.description.resource.may_block()
    }
}

/// The rights of the new descriptor, by the type of the node.
struct Wanted {
    file: FdRights,
    /// The base and inheriting rights of a directory.
    dir: (FdRights, FdRights),
    /// Whether the open fails if the node cannot be written. That is so only if `WRITE` is
    /// requested explicitly; else write rights that a directory or a read-only file does not have
    /// are dropped.
    insists: bool,
}

impl Wanted {
    fn new(request: OpenRequest, inherited: FdRights) -> Result<Wanted> {
        Ok(match request.rights {
            RightsRequest::Inherited => {
                Wanted { file: inherited, dir: (inherited, inherited), insists: false }
            }
            RightsRequest::Exactly { base, inheriting } => {
                let insists = base.contains(FdRights::WRITE);
                Wanted { file: base, dir: (base, inheriting), insists }
            }
            RightsRequest::For(modes) => {
                if !inherited.modes().contains(modes) {
                    return Err(Errno::Notcapable);
                }
                let creates = request.flags.contains(OpenFlags::CREATE);
                let written = if creates { modes | Modes::WRITE } else { modes };
                let (base, inheriting) = FdRights::of_dir(modes);
                Wanted {
                    file: FdRights::of_file(written) & inherited,
                    dir: (base & inherited, inheriting & inherited),
                    insists: modes.contains(Modes::WRITE),
                }
            }
        })
    }
}

/// The result of an open: the resource, and the rights to it.
struct OpenedResource {
    resource: Resource,
    base: FdRights,
    inheriting: FdRights,
}

/// The arguments of [`Process::open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// Whether a symbolic link as the last component is followed.
    pub follow: Follow,
    /// `CREATE`, `EXCLUSIVE`, `TRUNCATE`, `DIRECTORY`.
    pub flags: OpenFlags,
    /// The status flags of the new description.
    pub status: Status,
    /// The rights of the new descriptor.
    pub rights: RightsRequest,
}

impl Process {
    /// Opens `path` relative to the directory `fd` and returns the lowest free descriptor.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: `fd` lacks a right that the open needs, or cannot pass on a requested right.
    /// - `Mfile`: `Limits::descriptors_max` descriptors are open.
    /// - Those of [`path::open`].
    pub fn open(&mut self, fd: Fd, path: &str, request: OpenRequest) -> Result<Fd> {
        let OpenedResource { resource, base, inheriting } =
            self.open_resource(fd, path, request)?;
        self.table.open(Descriptor::new(resource, request.status, base, inheriting))
    }

    /// Opens `path` without assigning a number: the first half of [`Process::open`], which can run
    /// on another thread because it does not change the descriptor table.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/openat.html>
    ///
    /// # Errors
    ///
    /// - Those of [`Process::open`].
    pub fn open_pending(
        &self,
        fd: Fd,
        path: &str,
        request: OpenRequest,
    ) -> Result<PendingDescriptor> {
        let OpenedResource { resource, base, inheriting } =
            self.open_resource(fd, path, request)?;
        Ok(PendingDescriptor(Descriptor::new(resource, request.status, base, inheriting)))
    }

    /// Checks the rights of the directory and opens `path`.
    // perf: store forwarding, see docs/performance.md. Inlined, so that the result is not copied.
    #[inline(always)]
    fn open_resource(&self, fd: Fd, path: &str, request: OpenRequest) -> Result<OpenedResource> {
        traced!("open", fd, path);
        let (dir, parent) = self.dir(fd, FdRights::OPEN)?;
        let mut flags = request.flags;
        if request.status.contains(Status::APPEND) {
            flags |= OpenFlags::APPEND;
        }
        if request.status.contains(Status::DSYNC) {
            flags |= OpenFlags::DSYNC;
        }
        if request.status.intersects(Status::SYNC | Status::RSYNC) {
            flags |= OpenFlags::SYNC;
        }
        let wanted = Wanted::new(request, parent.inheriting)?;
        let on_dir = FdRights::for_open(OpenHow::new(Access::Hold, flags));
        let passable = parent.base | parent.inheriting;
        if !parent.open_rights.contains(on_dir)
            || !passable.contains(FdRights::for_status(flags))
            || !parent.inheriting.contains(wanted.file | wanted.dir.0 | wanted.dir.1)
        {
            return Err(Errno::Notcapable);
        }
        self.table.check_room()?;
        let mut access = wanted.file.access();
        loop {
            return match path::open(&**dir, path, request.follow, OpenHow::new(access, flags)) {
                Ok(Node::File(file)) => Ok(OpenedResource {
                    resource: Resource::File(file),
                    base: wanted.file.within(access),
                    inheriting: FdRights::empty(),
                }),
                Ok(Node::Dir(dir)) => {
                    let (base, inheriting) = wanted.dir;
                    Ok(OpenedResource { resource: Resource::Dir(dir), base, inheriting })
                }
                Err(Errno::Isdir | Errno::Acces | Errno::Rofs | Errno::Perm | Errno::Txtbsy)
                    if access.writes() && !wanted.insists =>
                {
                    access = Access::Read;
                    continue;
                }
                Err(errno) => Err(errno),
            };
        }
    }

    /// Assigns the lowest free number to a pending descriptor: the second half of
    /// [`Process::open`].
    ///
    /// # Errors
    ///
    /// - `Mfile`: `Limits::descriptors_max` descriptors are open.
    pub fn install(&mut self, opened: PendingDescriptor) -> Result<Fd> {
        self.table.open(opened.0)
    }

    /// Returns the attributes of the node at `path`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstatat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `STAT_AT`.
    /// - Those of [`path::stat`].
    #[inline]
    pub fn stat_at(&self, fd: Fd, path: &str, follow: Follow) -> Result<Stat> {
        traced!("stat_at", fd, path);
        let (dir, _) = self.dir(fd, FdRights::STAT_AT)?;
        path::stat(&**dir, path, follow)
    }

    /// Sets the access and modification times of the node at `path`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/utimensat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `SET_TIMES_AT`.
    /// - Those of [`path::set_times`].
    pub fn set_times_at(&self, fd: Fd, path: &str, follow: Follow, times: SetTimes) -> Result<()> {
        traced!("set_times_at", fd, path);
        let (dir, _) = self.dir(fd, FdRights::SET_TIMES_AT)?;
        path::set_times(&**dir, path, follow, self.resolve_now(times))
    }

    /// Creates a directory at `path`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mkdirat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `CREATE_DIR`.
    /// - Those of [`path::create_dir`].
    pub fn create_dir(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("create_dir", fd, path);
        let (dir, _) = self.dir(fd, FdRights::CREATE_DIR)?;
        path::create_dir(&**dir, path)
    }

    /// Creates a symbolic link to `target` at `path`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/symlinkat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `CREATE_SYMLINK`.
    /// - Those of [`path::create_symlink`].
    pub fn create_symlink(&self, target: &str, fd: Fd, path: &str) -> Result<()> {
        traced!("create_symlink", fd, path);
        let (dir, _) = self.dir(fd, FdRights::CREATE_SYMLINK)?;
        path::create_symlink(&**dir, target, path)
    }

    /// Returns the target of the symbolic link at `path`.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readlinkat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `READ_LINK`.
    /// - Those of [`path::read_link`].
    pub fn read_link(&self, fd: Fd, path: &str) -> Result<Box<str>> {
        traced!("read_link", fd, path);
        let (dir, _) = self.dir(fd, FdRights::READ_LINK)?;
        path::read_link(&**dir, path)
    }

    /// Creates a hard link at the second path to the node at the first path.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/linkat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `LINK_FROM` or `LINK_INTO`.
    /// - `Inval`: `follow` is `Yes`; following a symbolic link and linking its target is not
    ///   atomic.
    /// - Those of [`path::link`].
    pub fn link(
        &self,
        (old_fd, old): (Fd, &str),
        follow: Follow,
        (new_fd, new): (Fd, &str),
    ) -> Result<()> {
        traced!("link", old_fd, old);
        let (from, _) = self.dir(old_fd, FdRights::LINK_FROM)?;
        let (into, _) = self.dir(new_fd, FdRights::LINK_INTO)?;
        if follow == Follow::Yes {
            return Err(Errno::Inval);
        }
        path::link(&**from, old, &**into, new)
    }

    /// Renames a node.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/renameat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `RENAME_FROM` or `RENAME_INTO`.
    /// - Those of [`path::rename`].
    pub fn rename(&self, (old_fd, old): (Fd, &str), (new_fd, new): (Fd, &str)) -> Result<()> {
        traced!("rename", old_fd, old);
        let (from, _) = self.dir(old_fd, FdRights::RENAME_FROM)?;
        let (into, _) = self.dir(new_fd, FdRights::RENAME_INTO)?;
        path::rename(&**from, old, &**into, new)
    }

    /// Removes a file or a symbolic link.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/unlinkat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `REMOVE_FILE`.
    /// - Those of [`path::remove_file`].
    pub fn remove_file(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("remove_file", fd, path);
        let (dir, _) = self.dir(fd, FdRights::REMOVE_FILE)?;
        path::remove_file(&**dir, path)
    }

    /// Removes an empty directory.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/functions/unlinkat.html>
    ///
    /// # Errors
    ///
    /// - `Badf`: not open.
    /// - `Notdir`: not a directory.
    /// - `Notcapable`: without the right `REMOVE_DIR`.
    /// - Those of [`path::remove_dir`].
    pub fn remove_dir(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("remove_dir", fd, path);
        let (dir, _) = self.dir(fd, FdRights::REMOVE_DIR)?;
        path::remove_dir(&**dir, path)
    }

    /// With a fixed clock, replaces `SetTime::Now` by the time of the guest's clock.
    pub(crate) fn resolve_now(&self, times: SetTimes) -> SetTimes {
        if !self.clocks.is_fixed() {
            return times;
        }
        let now = self.clocks.now_ns(ClockId::Realtime).map(Timestamp::from_nanos);
        let fix = |time| match (time, now) {
            (SetTime::Now, Ok(now)) => SetTime::At(now),
            (time, _) => time,
        };
        SetTimes { accessed: fix(times.accessed), modified: fix(times.modified) }
    }
}
