//! Copy-up into an upper on the host, without changes of the parents' times.
//!
//! A node is created in the work directory. One name is installed by one rename. Several names are
//! one step too: the inode is marked as pending ([`xattrs::PENDING`]), so its names are ignored
//! while they are installed, and the removal of the mark makes all of them visible. On an error the
//! names are rolled back. A name that cannot be removed either stays as [`CachedEntry::Debris`],
//! which callers see as absent, also after the upper is opened again. Symbolic links cannot have
//! user xattrs: pending links are recorded in memory while the upper is open.
//!
//! A copied-up node was visible before, so the times of its directory must not change. They are set
//! back after the rename. A failure to do so does not fail the operation, whose change is done: the
//! times are *deferred*, which means that `stat` returns them until they can be set.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{self, AtFlags, Mode, OFlags, Timestamps};

use super::super::errno::errno;
use super::super::file::HostFile;
use super::super::open::file_flags;
use super::super::stat::{stat, timestamps};
use super::file::UpperFile;
use super::name_cache::{CachedEntry, CachedNode, DirTimes, NameCache, Origin};
use super::work_dir::{TempKind, TempNode, WorkDir};
use super::xattrs::{self, DirXattrs, NodeId};
use super::{HeldDir, HostUpper, UpperState, fault_points};
use crate::overlay::{CopiedUp, CopyUp, NewName};
use crate::{
    Access, Errno, File, FileType, Name, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, bug,
};

/// A name in a directory of the upper.
type Target<'a> = (Arc<HeldDir>, Name<'a>);

/// The content of a copied-up file.
enum Content<'a> {
    Filled(&'a mut dyn FnMut(&dyn File) -> Result<()>),
    Truncated(OpenHow),
}

impl HeldDir {
    /// Returns the times to set back after a change.
    pub(super) fn times(&self) -> Result<DirTimes> {
        if let Some(deferred) = self.cache.lock().deferred {
            return Ok(deferred);
        }
        let node_stat = stat(&fs::fstat(self.fd()).map_err(errno)?);
        Ok(DirTimes { accessed: node_stat.accessed, modified: node_stat.modified })
    }

    /// Sets the times back after an invisible change. Defers them if Linux refuses.
    pub(super) fn restore_times(&self, times: &DirTimes) {
        if self.set_times(*times).is_err() {
            fault_points::ignore_failure();
            self.cache.lock().deferred = Some(*times);
            self.core.has_deferred_times.store(true, Ordering::Relaxed);
        }
    }

    fn set_times(&self, times: DirTimes) -> Result<()> {
        fault_points::before_change().map_err(errno)?;
        fs::futimens(self.fd(), &times_of(times.accessed, times.modified)).map_err(errno)
    }

    /// Sets the times that a caller requests. Times that the caller omits are the deferred ones.
    pub(super) fn set_own_times(&self, times: &Timestamps) -> Result<()> {
        self.apply_deferred_times()?;
        fs::futimens(self.fd(), times).map_err(errno)
    }

    /// Retries to set deferred times.
    pub(super) fn apply_deferred_times(&self) -> Result<()> {
        if !self.core.has_deferred_times.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut cache = self.cache.lock();
        if let Some(deferred) = cache.deferred {
            self.set_times(deferred)?;
            cache.deferred = None;
        }
        Ok(())
    }

    /// Replaces the times of `node_stat` by the deferred times, if there are any.
    pub(super) fn with_deferred_times(&self, node_stat: Stat) -> Stat {
        if !self.core.has_deferred_times.load(Ordering::Relaxed) {
            return node_stat;
        }
        let deferred = self.cache.lock().deferred;
        let _ = self.apply_deferred_times();
        match deferred {
            Some(DirTimes { accessed, modified }) => Stat { accessed, modified, ..node_stat },
            None => node_stat,
        }
    }

    /// Returns the subdirectory `name` if it is open and some times are deferred.
    pub(super) fn child_with_deferred_times(&self, name: Name<'_>) -> Option<Arc<HeldDir>> {
        if !self.core.has_deferred_times.load(Ordering::Relaxed) {
            return None;
        }
        let cache = self.cache.lock();
        let NameCache::Read(names) = &cache.names else { return None };
        match names.entries.get(name.as_str()) {
            Some(CachedEntry::Node(entry)) => entry.dir.upgrade(),
            _ => None,
        }
    }

    /// Installs a copied-up node, and sets the times of this directory back.
    fn place_copy(
        &self,
        temp: TempNode<'_>,
        (shape, name): (TempKind, Name<'_>),
        found: &CachedEntry,
        entry: CachedNode,
    ) -> Result<()> {
        let times = self.times()?;
        self.declare_copies(&entry)?;
        self.place(temp, shape, name, found)?;
        self.record_change(name, CachedEntry::Node(entry));
        self.restore_times(&times);
        Ok(())
    }

    fn copy_up_dir(&self, state: &UpperState, name: Name<'_>, like: &Stat) -> Result<()> {
        let found = self.check_vacant(name)?;
        let work = self.core.work(state)?;
        let (temp, dir) = work.dir()?;
        let entry = CachedNode::new(FileType::Dir, Origin::Lower(NodeId::of(like)));
        xattrs::set_origin(dir.as_fd(), NodeId::of(like))?;
        fs::futimens(&dir, &times_like(like)).map_err(errno)?;
        self.place_copy(temp, (TempKind::Dir, name), &found, entry)
    }

    /// Marks this directory as one that may hold pending files. Returns whether the mark is new.
    fn declare_pending(&self) -> Result<bool> {
        let xattrs = self.xattrs()?;
        if xattrs.may_hold_pending {
            return Ok(false);
        }
        xattrs::set(self.fd(), xattrs::MAY_HOLD, b"p")?;
        self.cache_xattrs(DirXattrs { may_hold_copies: true, may_hold_pending: true, ..xattrs });
        Ok(true)
    }

    /// Removes the mark of [`HeldDir::declare_pending`]. If that fails, lookups are only slower.
    fn retract_pending(&self) {
        let Ok(xattrs) = self.xattrs() else { return };
        match xattrs::set(self.fd(), xattrs::MAY_HOLD, b"y") {
            Ok(()) => self.cache_xattrs(DirXattrs { may_hold_pending: false, ..xattrs }),
            Err(_) => fault_points::ignore_failure(),
        }
    }
}

/// The installation of a node under several names.
struct MultiLink<'a> {
    work: &'a WorkDir,
    /// The names, with the entries that they replace.
    targets: Vec<(&'a Target<'a>, CachedEntry)>,
    entry: CachedNode,
    /// The inode of the node.
    id: NodeId,
    /// The file that gets the mark; `None` for a symbolic link.
    file: Option<BorrowedFd<'a>>,
    /// The number of installed names.
    placed: usize,
}

impl MultiLink<'_> {
    fn run(mut self, temp: TempNode<'_>) -> Result<()> {
        let mut marked = Vec::new();
        let done = self.place_all(temp, &mut marked).and_then(|()| match self.file {
            // The step: all names become visible.
            Some(file) => xattrs::remove(file, xattrs::PENDING),
            None => Ok(()),
        });
        let Some(((first, _), _)) = self.targets.first() else { return done };
        let core = Arc::clone(&first.core);
        let is_clean = match &done {
            Ok(()) => {
                for ((dir, name), _) in &self.targets {
                    dir.cache_entry(*name, CachedEntry::Node(self.entry.clone()));
                }
                true
            }
            Err(_) => self.roll_back(),
        };
        if is_clean {
            core.pending.lock().remove(&self.id);
            marked.iter().for_each(|dir| dir.retract_pending());
        }
        done
    }

    fn place_all(&mut self, temp: TempNode<'_>, marked: &mut Vec<Arc<HeldDir>>) -> Result<()> {
        if let Some(file) = self.file {
            xattrs::set(file, xattrs::PENDING, b"y")?;
        }
        for ((dir, _), _) in &self.targets {
            if dir.declare_pending()? {
                marked.push(Arc::clone(dir));
            }
            dir.core.pending.lock().insert(self.id);
        }
        for nth in 1..self.targets.len() {
            let link = self.work.link(self.work.fd(), temp.name())?;
            self.place(link, nth - 1)?;
        }
        self.place(temp, self.targets.len() - 1)
    }

    fn place(&mut self, temp: TempNode<'_>, nth: usize) -> Result<()> {
        let Some(((dir, name), found)) = self.targets.get(nth) else {
            return Err(bug!("a name is placed that is none of the node's"));
        };
        let times = dir.times()?;
        dir.place(temp, TempKind::Leaf, *name, found)?;
        dir.record_change(*name, CachedEntry::Debris);
        dir.restore_times(&times);
        self.placed += 1;
        Ok(())
    }

    /// Rolls back: removes the installed names. Returns whether all were removed.
    fn roll_back(&self) -> bool {
        let mut is_clean = true;
        for ((dir, name), _) in self.targets.iter().take(self.placed) {
            let removed = dir.times().and_then(|times| {
                dir.remove_debris(*name)?;
                dir.restore_times(&times);
                Ok(())
            });
            is_clean &= removed.is_ok();
        }
        is_clean
    }
}

impl HostUpper {
    /// Implements [`UpperDir::copy_up`](crate::overlay::UpperDir::copy_up).
    pub(super) fn copy_up_node(
        &self,
        names: &[NewName<'_>],
        like: &Stat,
        what: CopyUp<'_>,
    ) -> Result<CopiedUp> {
        let target = |new: &NewName<'_>| -> Result<_> { Ok(Arc::clone(self.same(new.dir)?)) };
        let dirs = names.iter().map(target).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = dirs.into_iter().zip(names.iter().map(|new| new.name)).collect();
        match (what, &names[..]) {
            (CopyUp::Dir, [(dir, name)]) => {
                dir.copy_up_dir(&self.core().state.write(), *name, like)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::Dir, _) | (CopyUp::Symlink(_), []) => Err(Errno::Inval),
            (CopyUp::Symlink(target), names) => {
                self.copy_up_symlink(names, like, target)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::File(fill), names) => self.copy_up_file(names, like, Content::Filled(fill)),
            (CopyUp::Truncated(how), names) => {
                self.copy_up_file(names, like, Content::Truncated(how))
            }
        }
    }

    fn copy_up_symlink(&self, names: &[Target<'_>], like: &Stat, to: &str) -> Result<()> {
        let mut state = self.core().state.write();
        let work = self.core().work(&state)?;
        for (dir, name) in names {
            dir.check_vacant(*name)?;
        }
        let temp = work.symlink(to)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::utimensat(work.fd(), temp.name(), &times_like(like), flags).map_err(errno)?;
        let made = stat(&fs::statat(work.fd(), temp.name(), flags).map_err(errno)?);
        let entry = CachedNode::new(FileType::Symlink, Origin::Own);
        self.name(work, temp, names, (entry, None))?;
        state.links.insert(NodeId::of(&made), NodeId::of(like));
        Ok(())
    }

    fn copy_up_file(
        &self,
        names: &[Target<'_>],
        like: &Stat,
        content: Content<'_>,
    ) -> Result<CopiedUp> {
        let id = NodeId::of(like);
        let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        // The fill takes time proportional to the file's size, so it runs without the lock.
        let (work, temp, file) = {
            let state = self.core().state.read();
            for (dir, name) in names {
                dir.check_vacant(*name)?;
            }
            let work = self.core().work(&state)?;
            let (temp, file) = work.file(how)?;
            (work, temp, UpperFile::new(self.core(), file, Some(id)))
        };
        let truncated = match content {
            Content::Filled(fill) => {
                fill(&file)?;
                None
            }
            Content::Truncated(how) => Some(how),
        };
        if !names.is_empty() {
            xattrs::set_origin(file.host().as_fd(), id)?;
        }
        fault_points::before_change().map_err(errno)?;
        fs::futimens(file.host(), &times_like(like)).map_err(errno)?;
        // Opened after the times are set, so that the truncation updates them.
        let opened = truncated.map(|how| self.open_temp(work, &temp, how, id)).transpose()?;
        // The name hides the lower's content, so the copy must be on disk first.
        if !names.is_empty() && file.stat()?.size > 0 {
            fault_points::sync_bytes(file.host())?;
        }
        let state = self.core().state.write();
        self.core().work(&state)?;
        if names.is_empty() {
            temp.unlink_name()?;
        } else {
            let entry = CachedNode::new(FileType::File, Origin::Lower(id));
            self.name(work, temp, names, (entry, Some(file.host().as_fd())))?;
        }
        drop(state);
        let file = Arc::new(file);
        Ok(match opened {
            Some(opened) => CopiedUp::Truncated { file, opened: Arc::new(opened) },
            None => CopiedUp::File(file),
        })
    }

    /// Opens a file of the work directory again.
    fn open_temp(
        &self,
        work: &WorkDir,
        temp: &TempNode<'_>,
        how: OpenHow,
        id: NodeId,
    ) -> Result<UpperFile> {
        let flags = file_flags(how) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fault_points::before_change().map_err(errno)?;
        let fd = fs::openat(work.fd(), temp.name(), flags, Mode::empty()).map_err(errno)?;
        Ok(UpperFile::new(self.core(), HostFile::verified(fd, how), Some(id)))
    }

    /// Installs the names of a copied-up file or link. The caller holds the exclusive lock.
    fn name(
        &self,
        work: &WorkDir,
        temp: TempNode<'_>,
        names: &[Target<'_>],
        (entry, file): (CachedNode, Option<BorrowedFd<'_>>),
    ) -> Result<()> {
        if let [(dir, name)] = names {
            let found = dir.check_vacant(*name)?;
            return dir.place_copy(temp, (TempKind::Leaf, *name), &found, entry);
        }
        let mut targets = Vec::with_capacity(names.len());
        for target @ (dir, name) in names {
            let found = dir.check_vacant(*name)?;
            // A replaced whiteout could not be rolled back. It also hides the name of the lower, so
            // the name is not one of the file's visible names.
            if let CachedEntry::Whiteout = found {
                return Err(Errno::Exist);
            }
            dir.declare_copies(&entry)?;
            targets.push((target, found));
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let id = NodeId::of(&stat(&fs::statat(work.fd(), temp.name(), flags).map_err(errno)?));
        MultiLink { work, targets, entry, id, file, placed: 0 }.run(temp)
    }
}

/// The access and modification time of `like`.
fn times_like(like: &Stat) -> Timestamps {
    times_of(like.accessed, like.modified)
}

fn times_of(accessed: crate::Timestamp, modified: crate::Timestamp) -> Timestamps {
    let (accessed, modified) = (SetTime::At(accessed), SetTime::At(modified));
    timestamps(SetTimes { accessed, modified })
}
