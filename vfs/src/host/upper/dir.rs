//! Implements [`Dir`] for an upper on the host. Only nodes are visible, no whiteouts.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno as RustixErrno;

use super::super::errno::errno;
use super::super::file::HostFile;
use super::super::list::with_stream;
use super::super::open::{create, file_flags};
use super::super::resolve::link_target;
use super::super::stat::{stat, timestamps};
use super::file::UpperFile;
use super::name_cache::{CachedEntry, CachedNode, Origin};
use super::rename::OldName;
use super::upper_dir::Opaqueness;
use super::work_dir::TempKind;
use super::xattrs::{self, NodeId};
use super::{HeldDir, HostUpper, UpperState, fault_points};
use crate::dir::stop_at_link;
use crate::{
    Access, Cookie, Descent, Dir, Errno, FileRef, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop,
};

impl HostUpper {
    /// Returns `other` as a directory of this upper.
    ///
    /// # Errors
    /// - `EXDEV`: `other` belongs to another filesystem.
    pub(super) fn same<'d>(&self, other: &'d dyn Any) -> Result<&'d Arc<HeldDir>> {
        match other.downcast_ref::<HostUpper>() {
            Some(other) if Arc::ptr_eq(self.core(), other.core()) => Ok(&other.at),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    fn open_name(
        &self,
        state: &UpperState,
        (parent, name): (Descent<'_>, Name<'_>),
        how: OpenHow,
    ) -> Result<Node, Stop> {
        let dir = self.descend(parent)?;
        let entry = match dir.find(name)? {
            found @ (CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout) => {
                if !how.creates() {
                    return Err(Errno::Noent.into());
                }
                let file = dir.create_file(state, name, &found, how)?;
                let file = UpperFile::new(self.core(), file, None);
                return Ok(Node::File(Arc::new(file)));
            }
            CachedEntry::Node(entry) => entry,
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        match entry.kind {
            FileType::Dir if how.refuses_dir() => Err(Errno::Isdir.into()),
            FileType::Dir => Ok(Node::Dir(self.handle(dir.child(name, parent.depth())?))),
            _ => Ok(Node::File(dir.open_leaf(state, name, &entry, how, parent.depth())?)),
        }
    }
}

impl HeldDir {
    /// Creates an empty file in place of no entry or a whiteout.
    fn create_file(
        &self,
        state: &UpperState,
        name: Name<'_>,
        found: &CachedEntry,
        how: OpenHow,
    ) -> Result<HostFile> {
        let work = self.core.work(state)?;
        let file = match found {
            CachedEntry::Absent => {
                fault_points::before_change().map_err(errno)?;
                create(self.fd(), name, how).map_err(errno)?
            }
            CachedEntry::Debris | CachedEntry::Whiteout => {
                let (temp, file) = work.file(how)?;
                temp.move_over(self.fd(), name)?;
                file
            }
            CachedEntry::Node(_) => return Err(Errno::Exist),
        };
        self.record_change(name, CachedEntry::Node(CachedNode::new(FileType::File, Origin::Own)));
        Ok(file)
    }

    /// Opens a node that is not a directory; `at` is its position in a [`Stop::Link`].
    pub(super) fn open_leaf(
        &self,
        state: &UpperState,
        name: Name<'_>,
        entry: &CachedNode,
        how: OpenHow,
        at: usize,
    ) -> Result<FileRef, Stop> {
        match entry.kind {
            FileType::Symlink => Err(self.stop_at(name, at)),
            FileType::Dir => Err(Errno::Isdir.into()),
            _ if how.wants_dir() => Err(Errno::Notdir.into()),
            FileType::File => {
                if how.access.writes() || how.flags.contains(OpenFlags::TRUNCATE) {
                    self.core.work(state)?;
                }
                let (file, origin) = self.open_file(name, entry, how)?;
                Ok(Arc::new(UpperFile::new(&self.core, file, origin)))
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                Err(Errno::Nxio.into())
            }
        }
    }

    /// Opens a file. Also returns the identity of the lower's file that it is a copy of.
    fn open_file(
        &self,
        name: Name<'_>,
        entry: &CachedNode,
        how: OpenHow,
    ) -> Result<(HostFile, Option<NodeId>)> {
        if how.flags.contains(OpenFlags::TRUNCATE) {
            fault_points::before_change().map_err(errno)?;
        }
        let flags = file_flags(how) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(self.fd(), name.as_str(), flags, Mode::empty()).map_err(errno)?;
        let origin = match entry.origin {
            Origin::Unknown if how.access != Access::Hold => {
                let origin = xattrs::origin(std::os::fd::AsFd::as_fd(&fd))?;
                self.cache_origin(name, origin);
                origin
            }
            Origin::Own | Origin::Lower(_) | Origin::Unknown => self.origin(name, entry)?,
        };
        // The cached type is a file; another process may have replaced it, so the handle verifies
        // it.
        Ok((HostFile::unverified(fd, how), origin))
    }

    /// Returns the identity of a symbolic link that is about to lose its last name.
    pub(super) fn dying_symlink(
        &self,
        state: &UpperState,
        name: Name<'_>,
        kind: FileType,
    ) -> Option<NodeId> {
        if kind != FileType::Symlink || state.links.is_empty() {
            return None;
        }
        let stat_buf = fs::statat(self.fd(), name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let node_stat = stat(&stat_buf);
        (node_stat.nlink < 2).then(|| NodeId::of(&node_stat))
    }

    /// Removes a directory with no entries other than whiteouts.
    fn remove_child_dir(&self, state: &UpperState, name: Name<'_>) -> Result<()> {
        let Ok(work) = self.core.work(state) else {
            let child = self.child(name, 0).map_err(stop_to_errno)?;
            return Err(if child.has_nodes()? { Errno::Notempty } else { Errno::Rofs });
        };
        fault_points::before_change().map_err(errno)?;
        match fs::unlinkat(self.fd(), name.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(RustixErrno::NOTEMPTY | RustixErrno::EXIST) => {}
            Err(os) => return Err(errno(os)),
        }
        let child = self.child(name, 0).map_err(stop_to_errno)?;
        if child.has_nodes()? {
            return Err(Errno::Notempty);
        }
        work.move_out(self.fd(), name, TempKind::Dir)?;
        child.mark_removed();
        Ok(())
    }
}

/// Converts a stop to an errno, for paths of one name: a link is `ENOTDIR`.
pub(super) fn stop_to_errno(stop: Stop) -> Errno {
    match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Notdir,
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for HostUpper {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let Some(split) = path.split_last() else {
            if how.is_exclusive() {
                return Err(Errno::Exist.into());
            }
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
            return Ok(Node::Dir(self.handle(Arc::clone(&self.at))));
        };
        if how.creates() {
            return self.open_name(&self.core().state.write(), split, how);
        }
        self.open_name(&self.core().state.read(), split, how)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let state = self.core().state.read();
        let Some((parent, name)) = path.split_last() else { return Ok(self.at.stat_here()?) };
        let dir = self.descend(parent)?;
        match dir.find(name)? {
            CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout => {
                Err(Errno::Noent.into())
            }
            CachedEntry::Node(entry) => Ok(dir.stat_name(&state, name, &entry)?),
        }
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        stop_at_link(self, path, self.stat(path)?)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let _state = self.core().state.read();
        match self.at.find(name)? {
            CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout => Err(Errno::Noent),
            CachedEntry::Node(_) => link_target(self.at.fd(), name)?.ok_or(Errno::Inval),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(crate::Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut failed = None;
        let mut give = |listed: crate::Entry<'_>| {
            let shown = {
                let state = self.core().state.read();
                self.at.visible_entry(&state, listed)
            };
            match shown {
                Ok(Some(shown)) => each(shown),
                Ok(None) => ControlFlow::Continue(()),
                Err(errno) => {
                    failed = Some(errno);
                    ControlFlow::Break(())
                }
            }
        };
        let (fd, slot) = (self.at.fd(), &self.at.stream);
        // An overlay also lists for its own purposes, which must not update the access time.
        with_stream(fd, slot, OFlags::NOATIME, |stream| stream.read(from, &mut give))?;
        failed.map_or(Ok(()), Err)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.at.create_child_dir(&self.core().state.write(), name, Opaqueness::IfOverWhiteout)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        let state = self.core().state.write();
        let found = self.at.find(name)?;
        if let CachedEntry::Node(_) = found {
            return Err(Errno::Exist);
        }
        let work = self.core().work(&state)?;
        if let CachedEntry::Absent = found {
            fault_points::before_change().map_err(errno)?;
            fs::symlinkat(target, self.at.fd(), name.as_str()).map_err(errno)?;
        } else {
            work.symlink(target)?.move_over(self.at.fd(), name)?;
        }
        self.at.record_change(
            name,
            CachedEntry::Node(CachedNode::new(FileType::Symlink, Origin::Own)),
        );
        Ok(())
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let mut state = self.core().state.write();
        let CachedEntry::Node(entry) = self.at.find(name)? else { return Err(Errno::Noent) };
        if entry.kind == FileType::Dir {
            return Err(Errno::Isdir);
        }
        self.core().work(&state)?;
        let dying = self.at.dying_symlink(&state, name, entry.kind);
        fault_points::before_change().map_err(errno)?;
        fs::unlinkat(self.at.fd(), name.as_str(), AtFlags::empty()).map_err(errno)?;
        dying.and_then(|id| state.links.remove(&id));
        self.at.record_change(name, CachedEntry::Absent);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let state = self.core().state.write();
        let CachedEntry::Node(entry) = self.at.find(name)? else { return Err(Errno::Noent) };
        if entry.kind != FileType::Dir {
            return Err(Errno::Notdir);
        }
        self.at.remove_child_dir(&state, name)?;
        self.at.record_change(name, CachedEntry::Absent);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.rename_with(OldName::Removed, name, self.same(into)?, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        self.at.link_to(&self.core().state.write(), name, into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let state = self.core().state.read();
        let (dir, name) = match path.split_last() {
            None => (Arc::clone(&self.at), None),
            Some((parent, name)) => (self.descend(parent)?, Some(name)),
        };
        if let Some(name) = name
            && !matches!(dir.find(name)?, CachedEntry::Node(_))
        {
            return Err(Errno::Noent.into());
        }
        self.core().work(&state)?;
        let times = timestamps(times);
        fault_points::before_change().map_err(errno)?;
        match name {
            None => dir.set_own_times(&times)?,
            Some(name) => {
                if let Some(held) = dir.child_with_deferred_times(name) {
                    held.set_own_times(&times)?;
                } else {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    fs::utimensat(dir.fd(), name.as_str(), &times, flags).map_err(errno)?;
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        match fs::fsync(self.at.fd()) {
            // EINVAL: directories of this filesystem cannot be synced.
            Ok(()) | Err(RustixErrno::INVAL) => Ok(()),
            Err(os) => Err(errno(os)),
        }
    }

    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        0
    }
}

impl HeldDir {
    /// Converts an entry of the host's listing: `None` for a whiteout, else with the identity of
    /// the lower's node.
    fn visible_entry<'a>(
        &self,
        state: &UpperState,
        listed: crate::Entry<'a>,
    ) -> Result<Option<crate::Entry<'a>>> {
        let CachedEntry::Node(entry) = self.find(listed.name)? else { return Ok(None) };
        let origin = match entry.kind {
            FileType::Symlink => {
                state.links.get(&NodeId { dev: self.id.dev, ino: listed.ino }).copied()
            }
            _ => self.origin(listed.name, &entry)?,
        };
        Ok(Some(match origin {
            Some(id) => crate::Entry { ino: id.ino, ..listed },
            None => listed,
        }))
    }
}
