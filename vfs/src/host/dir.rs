//! Held directories of the host.

use std::any::Any;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno as Os;

use super::errno::errno;
use super::file::HostFile;
use super::list::Stream;
use super::resolve::{HOLD, HOLD_DIR, Resolver, link_target};
use super::stat::{stat_of, timestamps};
use crate::{
    Access, Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop,
};

/// Attempts at an open that another process of the host keeps changing.
const ATTEMPTS_MAX: u32 = 16;

/// A held directory of the host.
pub(super) struct HeldDir {
    /// Held only: it can be passed through and looked at.
    fd: Arc<OwnedFd>,
    resolver: Resolver,
    /// The same directory, open to be read; taken out while it is used.
    stream: Mutex<Option<Stream>>,
}

/// The directory that a last name is in.
enum Parent<'d> {
    Here(BorrowedFd<'d>),
    Below(OwnedFd),
}

impl Parent<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Parent::Here(fd) => fd.as_fd(),
            Parent::Below(fd) => fd.as_fd(),
        }
    }
}

impl HeldDir {
    pub(super) fn new(fd: OwnedFd, resolver: Resolver) -> Self {
        HeldDir { fd: Arc::new(fd), resolver, stream: Mutex::new(None) }
    }

    fn node(&self, fd: OwnedFd) -> Node {
        Node::Dir(Arc::new(HeldDir::new(fd, self.resolver)))
    }

    /// The directory of the last name, that name, and its place in the descent.
    fn parent<'n>(&self, path: Descent<'n>) -> Result<(Parent<'_>, Name<'n>, usize), Stop> {
        let Some((parent, name)) = path.split_last() else { return Err(Errno::Inval.into()) };
        if parent.is_here() {
            return Ok((Parent::Here(self.fd.as_fd()), name, 0));
        }
        let held = self.resolver.hold(self.fd.as_fd(), parent, HOLD_DIR)?;
        Ok((Parent::Below(held), name, parent.depth()))
    }

    /// Holds what `path` leads to, and tells what it is.
    fn hold(&self, path: Descent<'_>) -> Result<Node, Stop> {
        let fd = self.resolver.hold(self.fd.as_fd(), path, HOLD)?;
        match stat_of(&fs::fstat(&fd).map_err(errno)?).kind {
            FileType::Dir => Ok(self.node(fd)),
            FileType::File => Ok(Node::File(Arc::new(HostFile::verified(fd, Access::Hold)))),
            FileType::Symlink => {
                // The link is held: what it says cannot change any more.
                let target = fs::readlinkat(&fd, "", Vec::new()).map_err(errno)?;
                let target = target.into_string().map_err(|_| Errno::Ilseq)?.into();
                Err(Stop::Link { at: path.depth() - 1, target })
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                Err(Errno::Nxio.into())
            }
        }
    }

    /// Opens a file, or whatever turns out to be there.
    ///
    /// The type is looked up first: opening a FIFO would release whoever waits at its other end,
    /// and opening a device is up to its driver. What is not there is created exclusively, so that
    /// creating never opens anything either.
    fn open_last(
        &self,
        parent: BorrowedFd<'_>,
        (name, depth): (Name<'_>, usize),
        how: OpenHow,
    ) -> Result<Node, Stop> {
        for _ in 0..ATTEMPTS_MAX {
            if how.is_exclusive() {
                return Ok(create(parent, name, how).map_err(errno)?);
            }
            let kind = match fs::statat(parent, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat_of(&stat).kind,
                Err(Os::NOENT) if how.creates() => match create(parent, name, how) {
                    Err(Os::EXIST) => continue,
                    done => return Ok(done.map_err(errno)?),
                },
                Err(os) => return Err(errno(os).into()),
            };
            let opened = match kind {
                FileType::Dir if how.refuses_dir() => return Err(Errno::Isdir.into()),
                FileType::Dir => fs::openat(parent, name.as_str(), HOLD_DIR, Mode::empty())
                    .map(|fd| self.node(fd)),
                FileType::Symlink => match link_target(parent, name) {
                    Ok(target) => return Err(Stop::Link { at: depth, target }),
                    Err(Errno::Inval | Errno::Noent) => continue,
                    Err(errno) => return Err(errno.into()),
                },
                FileType::File => fs::openat(parent, name.as_str(), flags(how), Mode::empty())
                    .map(|fd| Node::File(Arc::new(HostFile::unverified(fd, how.access)))),
                FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => return Err(Errno::Nxio.into()),
            };
            match opened {
                Ok(node) => return Ok(node),
                // It is not any more what it was a moment ago.
                Err(Os::LOOP | Os::NOTDIR | Os::ISDIR | Os::NOENT | Os::NXIO | Os::INTR) => {}
                Err(os) => return Err(errno(os).into()),
            }
        }
        Err(Errno::Again.into())
    }

    /// Calls `with` with the directory open to be read.
    fn with_stream<T>(&self, with: impl FnOnce(&mut Stream) -> Result<T>) -> Result<T> {
        let kept = self.stream.lock().take();
        let mut stream = match kept {
            Some(stream) => stream,
            None => Stream::open(self.fd.as_fd())?,
        };
        let done = with(&mut stream);
        *self.stream.lock() = Some(stream);
        done
    }

    /// Another directory of the host, or `Xdev`.
    fn same<'d>(&self, other: &'d dyn Dir) -> Result<&'d HeldDir> {
        (other as &dyn Any).downcast_ref::<HeldDir>().ok_or(Errno::Xdev)
    }
}

fn flags(how: OpenHow) -> OFlags {
    let mut flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    flags |= match how.access {
        Access::Hold | Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    for (flag, os) in [
        (OpenFlags::TRUNCATE, OFlags::TRUNC),
        (OpenFlags::DSYNC, OFlags::DSYNC),
        (OpenFlags::SYNC, OFlags::SYNC),
    ] {
        if how.flags.contains(flag) {
            flags |= os;
        }
    }
    flags
}

fn create(parent: BorrowedFd<'_>, name: Name<'_>, how: OpenHow) -> rustix::io::Result<Node> {
    let flags = flags(how) | OFlags::CREATE | OFlags::EXCL;
    let fd = fs::openat(parent, name.as_str(), flags, Mode::from_raw_mode(0o666))?;
    Ok(Node::File(Arc::new(HostFile::verified(fd, how.access))))
}

impl Dir for HeldDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        if path.is_here() {
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
            let (fd, resolver) = (Arc::clone(&self.fd), self.resolver);
            return Ok(Node::Dir(Arc::new(HeldDir { fd, resolver, stream: Mutex::new(None) })));
        }
        if how.wants_dir() {
            let fd = self.resolver.hold(self.fd.as_fd(), path, HOLD_DIR)?;
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
            return Ok(self.node(fd));
        }
        if how == OpenHow::HOLD {
            return self.hold(path);
        }
        let (parent, name, depth) = self.parent(path)?;
        self.open_last(parent.fd(), (name, depth), how)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let stat = match path.as_name() {
            Some(name) => fs::statat(&*self.fd, name.as_str(), AtFlags::SYMLINK_NOFOLLOW),
            None if path.is_here() => fs::fstat(&*self.fd),
            None => fs::fstat(self.resolver.hold(self.fd.as_fd(), path, HOLD)?),
        };
        Ok(stat_of(&stat.map_err(errno)?))
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        link_target(self.fd.as_fd(), name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.with_stream(|stream| stream.read(from, each))
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        fs::mkdirat(&*self.fd, name.as_str(), Mode::from_raw_mode(0o777)).map_err(errno)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        fs::symlinkat(target, &*self.fd, name.as_str()).map_err(errno)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        fs::unlinkat(&*self.fd, name.as_str(), AtFlags::empty()).map_err(errno)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match fs::unlinkat(&*self.fd, name.as_str(), AtFlags::REMOVEDIR) {
            // POSIX lets a filesystem say either.
            Err(Os::EXIST) => Err(Errno::Notempty),
            done => done.map_err(errno),
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        match fs::renameat(&*self.fd, name.as_str(), &*into.fd, new_name.as_str()) {
            Err(Os::EXIST) => Err(Errno::Notempty),
            done => done.map_err(errno),
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let (name, new_name) = (name.as_str(), new_name.as_str());
        fs::linkat(&*self.fd, name, &*into.fd, new_name, AtFlags::empty()).map_err(errno)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let times = timestamps(times);
        if path.is_here() {
            return Ok(fs::utimensat(&*self.fd, "", &times, AtFlags::EMPTY_PATH).map_err(errno)?);
        }
        let (parent, name, _) = self.parent(path)?;
        let done = fs::utimensat(parent.fd(), name.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW);
        Ok(done.map_err(errno)?)
    }

    fn sync(&self) -> Result<()> {
        self.with_stream(|stream| stream.sync())
    }
}
