//! Adoption: nodes that stand for one of a lower, and changes that leave a directory's times.
//!
//! A node is made whole in the work area. One name is given to it by one rename. Several names are
//! one step too: the inode is marked as pending ([`xattrs::PENDING`]), so none of its names counts
//! while they are put into place, and removing the mark shows them all. If that fails, and if what
//! was put into place cannot be removed either, it stays as [`Found::Debris`], which is nothing to
//! every caller, for a layer that is opened anew too. Links take no marks: pending ones are
//! remembered while the layer is open.
//!
//! What is adopted was visible before, so the directory's times must not change. They are set again
//! after the rename. A failure of that is not one of the operation, which is done: the times are
//! owed, which means that the directory is shown with them until it can be given them.

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

/// A name in a directory of the layer.
type Target<'a> = (Arc<HeldDir>, Name<'a>);

/// What is in an adopted file.
enum Content<'a> {
    Filled(&'a mut dyn FnMut(&dyn File) -> Result<()>),
    Truncated(OpenHow),
}

impl HeldDir {
    /// The times of this directory, to be set again.
    pub(super) fn times(&self) -> Result<DirTimes> {
        if let Some(deferred) = self.cache.lock().deferred {
            return Ok(deferred);
        }
        let found = stat(&fs::fstat(self.fd()).map_err(errno)?);
        Ok(DirTimes { accessed: found.accessed, modified: found.modified })
    }

    /// Sets the times again after a change that is not to be seen. If the kernel refuses, they are
    /// owed.
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

    /// Sets the times that a caller asks for. Those that it does not set are the owed ones.
    pub(super) fn set_own_times(&self, times: &Timestamps) -> Result<()> {
        self.apply_deferred_times()?;
        fs::futimens(self.fd(), times).map_err(errno)
    }

    /// Tries again to set times that are owed.
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

    /// What this directory is, with the times that are owed.
    pub(super) fn with_deferred_times(&self, found: Stat) -> Stat {
        if !self.core.has_deferred_times.load(Ordering::Relaxed) {
            return found;
        }
        let deferred = self.cache.lock().deferred;
        let _ = self.apply_deferred_times();
        match deferred {
            Some(DirTimes { accessed, modified }) => Stat { accessed, modified, ..found },
            None => found,
        }
    }

    /// The directory of this name, if it is held and times are owed.
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

    /// Puts an adopted node into place, and this directory's times back.
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

    /// Marks this directory as one that may hold pending files. Returns whether it was not marked.
    fn declare_pending(&self) -> Result<bool> {
        let xattrs = self.xattrs()?;
        if xattrs.may_hold_pending {
            return Ok(false);
        }
        xattrs::set(self.fd(), xattrs::MAY_HOLD, b"p")?;
        self.cache_xattrs(DirXattrs { may_hold_copies: true, may_hold_pending: true, ..xattrs });
        Ok(true)
    }

    /// Takes the mark of [`Held::expect_pending`] away. If it stays, only looks take longer.
    fn retract_pending(&self) {
        let Ok(xattrs) = self.xattrs() else { return };
        match xattrs::set(self.fd(), xattrs::MAY_HOLD, b"y") {
            Ok(()) => self.cache_xattrs(DirXattrs { may_hold_pending: false, ..xattrs }),
            Err(_) => fault_points::ignore_failure(),
        }
    }
}

/// A node that is given several names.
struct MultiLink<'a> {
    work: &'a WorkDir,
    /// Where each name goes, and what is there.
    targets: Vec<(&'a Target<'a>, CachedEntry)>,
    entry: CachedNode,
    /// The inode.
    id: NodeId,
    /// The file, to be marked; `None` for a link.
    file: Option<BorrowedFd<'a>>,
    /// How many names are in place.
    placed: usize,
}

impl MultiLink<'_> {
    fn run(mut self, temp: TempNode<'_>) -> Result<()> {
        let mut marked = Vec::new();
        let done = self.place_all(temp, &mut marked).and_then(|()| match self.file {
            // The step: all names count from here on.
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

    /// Removes the names that are in place. Returns whether none is left.
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
    /// As [`UpperDir::copy_up`](crate::overlay::UpperDir::copy_up).
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
        // Filling takes as long as the file is large: nobody waits for it.
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
        // After the times, so that the truncation shows in them.
        let opened = truncated.map(|how| self.open_temp(work, &temp, how, id)).transpose()?;
        // The name hides the lower's bytes, so these have to be on the disk before it.
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

    /// Opens a file of the work area once more.
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

    /// Gives an adopted file or link its names, with the tree locked.
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
            // It could not be put back if another name fails, and what it hides is no such name.
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

/// Access and modification of a node, to be set.
fn times_like(like: &Stat) -> Timestamps {
    times_of(like.accessed, like.modified)
}

fn times_of(accessed: crate::Timestamp, modified: crate::Timestamp) -> Timestamps {
    let (accessed, modified) = (SetTime::At(accessed), SetTime::At(modified));
    timestamps(SetTimes { accessed, modified })
}
