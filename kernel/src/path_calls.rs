//! Calls with a path: each finds its directory, asks for the right, and hands over to
//! [`palisade_vfs::path`]. No path is looked at here.

use palisade_vfs::{
    Access, Errno, Follow, Node, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, Timestamp,
    path,
};

use crate::descriptor::{Descriptor, Resource, Status};
use crate::table::Fd;
use crate::trace::traced;
use crate::{ClockId, FdRights, Modes, Process};

/// The rights that an open asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsRequest {
    /// Whatever the directory may pass on and the node allows.
    Inherited,
    /// Exactly these, or `Notcapable`. What makes no sense for the node is left out.
    Exactly {
        /// For the new descriptor.
        base: FdRights,
        /// To pass on to what is opened beneath it.
        inheriting: FdRights,
    },
    /// What these modes take, or `Notcapable` if the directory may pass on nothing of a mode. With
    /// `CREATE` a file can be written too, if that can be had.
    For(Modes),
}

/// What is open, but in no table yet.
pub struct PendingDescriptor(Descriptor);

impl PendingDescriptor {
    /// Whether a call on it can wait for a disk or a device.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.0.description.resource.may_block()
    }
}

/// The rights that an open is to give, by what it finds.
struct Wanted {
    file: FdRights,
    /// For the directory, and to pass on.
    dir: (FdRights, FdRights),
    /// Whether a file that cannot be written will not do. Only asking for bytes to write insists
    /// on it. Who takes what there is, or lists further rights that a directory or a read-only
    /// file does not have, gets it without them.
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

/// What an open has found, and the rights to it.
struct OpenedResource {
    resource: Resource,
    base: FdRights,
    inheriting: FdRights,
}

/// How something is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// Whether a link at the end of the path is followed.
    pub follow: Follow,
    /// `CREATE`, `EXCLUSIVE`, `TRUNCATE`, `DIRECTORY`.
    pub flags: OpenFlags,
    /// How the description shall behave.
    pub status: Status,
    /// The rights.
    pub rights: RightsRequest,
}

impl Process {
    /// Opens `path` beneath the directory `fd`, at the lowest free number.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable` if the directory's descriptor may not do
    /// or pass on what is requested; `Mfile`; those of [`path::open`].
    pub fn open(&mut self, fd: Fd, path: &str, request: OpenRequest) -> Result<Fd> {
        let OpenedResource { resource, base, inheriting } =
            self.open_resource(fd, path, request)?;
        self.table.open(Descriptor::new(resource, request.status, base, inheriting))
    }

    /// The first half of [`Process::open`], which may have to wait and changes nothing here: the
    /// descriptor, not yet in the table.
    ///
    /// Errors: as for [`Process::open`].
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

    /// What is opened. A part of both its callers: what has just been put together of pieces is
    /// waited for each time that it is handed on whole.
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

    /// Puts what was opened into the table, at the lowest free number.
    ///
    /// Errors: `Mfile`.
    pub fn install(&mut self, opened: PendingDescriptor) -> Result<Fd> {
        self.table.open(opened.0)
    }

    /// What `path` leads to.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::stat`].
    #[inline]
    pub fn stat_at(&self, fd: Fd, path: &str, follow: Follow) -> Result<Stat> {
        traced!("stat_at", fd, path);
        let (dir, _) = self.dir(fd, FdRights::STAT_AT)?;
        path::stat(&**dir, path, follow)
    }

    /// Changes the times of what `path` leads to.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::set_times`].
    pub fn set_times_at(&self, fd: Fd, path: &str, follow: Follow, times: SetTimes) -> Result<()> {
        traced!("set_times_at", fd, path);
        let (dir, _) = self.dir(fd, FdRights::SET_TIMES_AT)?;
        path::set_times(&**dir, path, follow, self.resolve_now(times))
    }

    /// Creates a directory.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::create_dir`].
    pub fn create_dir(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("create_dir", fd, path);
        let (dir, _) = self.dir(fd, FdRights::CREATE_DIR)?;
        path::create_dir(&**dir, path)
    }

    /// Creates a symbolic link at `path` that says `target`.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::create_symlink`].
    pub fn create_symlink(&self, target: &str, fd: Fd, path: &str) -> Result<()> {
        traced!("create_symlink", fd, path);
        let (dir, _) = self.dir(fd, FdRights::CREATE_SYMLINK)?;
        path::create_symlink(&**dir, target, path)
    }

    /// The target of a symbolic link.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::read_link`].
    pub fn read_link(&self, fd: Fd, path: &str) -> Result<Box<str>> {
        traced!("read_link", fd, path);
        let (dir, _) = self.dir(fd, FdRights::READ_LINK)?;
        path::read_link(&**dir, path)
    }

    /// Gives a node a further name. `follow` must be `No`, else `Inval`: what a link leads to
    /// cannot be named by a link in one step.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; `Inval`; those of [`path::link`].
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

    /// Gives a node another name.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::rename`].
    pub fn rename(&self, (old_fd, old): (Fd, &str), (new_fd, new): (Fd, &str)) -> Result<()> {
        traced!("rename", old_fd, old);
        let (from, _) = self.dir(old_fd, FdRights::RENAME_FROM)?;
        let (into, _) = self.dir(new_fd, FdRights::RENAME_INTO)?;
        path::rename(&**from, old, &**into, new)
    }

    /// Removes a file or a link.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::remove_file`].
    pub fn remove_file(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("remove_file", fd, path);
        let (dir, _) = self.dir(fd, FdRights::REMOVE_FILE)?;
        path::remove_file(&**dir, path)
    }

    /// Removes an empty directory.
    ///
    /// Errors, in order: `Badf`; `Notdir`; `Notcapable`; those of [`path::remove_dir`].
    pub fn remove_dir(&self, fd: Fd, path: &str) -> Result<()> {
        traced!("remove_dir", fd, path);
        let (dir, _) = self.dir(fd, FdRights::REMOVE_DIR)?;
        path::remove_dir(&**dir, path)
    }

    /// On a fixed clock, now is the guest's now and not the filesystem's.
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
