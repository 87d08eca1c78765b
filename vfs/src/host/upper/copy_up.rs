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
use super::name_cache::{DirTimes, Entry, Found, Image, Origin};
use super::work_dir::{Shape, Temp, Work};
use super::xattrs::{self, Id, Marks};
use super::{Held, HostUpper, Tree, fault_points};
use crate::overlay::{CopiedUp, CopyUp, NewName};
use crate::{
    Access, Errno, File, FileType, Name, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, bug,
};

/// A name in a directory of the layer.
type Target<'a> = (Arc<Held>, Name<'a>);

/// What is in an adopted file.
enum Content<'a> {
    Filled(&'a mut dyn FnMut(&dyn File) -> Result<()>),
    Truncated(OpenHow),
}

impl Held {
    /// The times of this directory, to be set again.
    pub(super) fn times(&self) -> Result<DirTimes> {
        if let Some(owed) = self.memory.lock().owed {
            return Ok(owed);
        }
        let found = stat(&fs::fstat(self.fd()).map_err(errno)?);
        Ok(DirTimes { accessed: found.accessed, modified: found.modified })
    }

    /// Sets the times again after a change that is not to be seen. If the kernel refuses, they are
    /// owed.
    pub(super) fn restore_times(&self, times: &DirTimes) {
        if self.set_times(*times).is_err() {
            fault_points::forgive();
            self.memory.lock().owed = Some(*times);
            self.core.owes.store(true, Ordering::Relaxed);
        }
    }

    fn set_times(&self, times: DirTimes) -> Result<()> {
        fault_points::next().map_err(errno)?;
        fs::futimens(self.fd(), &times_of(times.accessed, times.modified)).map_err(errno)
    }

    /// Sets the times that a caller asks for. Those that it does not set are the owed ones.
    pub(super) fn set_own_times(&self, times: &Timestamps) -> Result<()> {
        self.pay_times()?;
        fs::futimens(self.fd(), times).map_err(errno)
    }

    /// Tries again to set times that are owed.
    pub(super) fn pay_times(&self) -> Result<()> {
        if !self.core.owes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut memory = self.memory.lock();
        if let Some(owed) = memory.owed {
            self.set_times(owed)?;
            memory.owed = None;
        }
        Ok(())
    }

    /// What this directory is, with the times that are owed.
    pub(super) fn with_owed_times(&self, found: Stat) -> Stat {
        if !self.core.owes.load(Ordering::Relaxed) {
            return found;
        }
        let owed = self.memory.lock().owed;
        let _ = self.pay_times();
        match owed {
            Some(DirTimes { accessed, modified }) => Stat { accessed, modified, ..found },
            None => found,
        }
    }

    /// The directory of this name, if it is held and times are owed.
    pub(super) fn owing_child(&self, name: Name<'_>) -> Option<Arc<Held>> {
        if !self.core.owes.load(Ordering::Relaxed) {
            return None;
        }
        let memory = self.memory.lock();
        let Image::Read(names) = &memory.image else { return None };
        match names.found.get(name.as_str()) {
            Some(Found::Node(entry)) => entry.dir.upgrade(),
            _ => None,
        }
    }

    /// Puts an adopted node into place, and this directory's times back.
    fn adopt_made(
        &self,
        temp: Temp<'_>,
        (shape, name): (Shape, Name<'_>),
        found: &Found,
        entry: Entry,
    ) -> Result<()> {
        let times = self.times()?;
        self.expect(&entry)?;
        self.place(temp, shape, name, found)?;
        self.set(name, Found::Node(entry));
        self.restore_times(&times);
        Ok(())
    }

    fn adopt_dir(&self, tree: &Tree, name: Name<'_>, like: &Stat) -> Result<()> {
        let found = self.vacant(name)?;
        let work = self.core.work(tree)?;
        let (temp, dir) = work.dir()?;
        let entry = Entry::new(FileType::Dir, Origin::Lower(Id::of(like)));
        xattrs::set_origin(dir.as_fd(), Id::of(like))?;
        fs::futimens(&dir, &times_like(like)).map_err(errno)?;
        self.adopt_made(temp, (Shape::Dir, name), &found, entry)
    }

    /// Marks this directory as one that may hold pending files. Returns whether it was not marked.
    fn expect_pending(&self) -> Result<bool> {
        let marks = self.marks()?;
        if marks.holds_pending {
            return Ok(false);
        }
        xattrs::set(self.fd(), xattrs::HOLDS, b"p")?;
        self.learn_marks(Marks { holds_adopted: true, holds_pending: true, ..marks });
        Ok(true)
    }

    /// Takes the mark of [`Held::expect_pending`] away. If it stays, only looks take longer.
    fn expect_no_pending(&self) {
        let Ok(marks) = self.marks() else { return };
        match xattrs::set(self.fd(), xattrs::HOLDS, b"y") {
            Ok(()) => self.learn_marks(Marks { holds_pending: false, ..marks }),
            Err(_) => fault_points::forgive(),
        }
    }
}

/// A node that is given several names.
struct Naming<'a> {
    work: &'a Work,
    /// Where each name goes, and what is there.
    targets: Vec<(&'a Target<'a>, Found)>,
    entry: Entry,
    /// The inode.
    id: Id,
    /// The file, to be marked; `None` for a link.
    file: Option<BorrowedFd<'a>>,
    /// How many names are in place.
    placed: usize,
}

impl Naming<'_> {
    fn run(mut self, temp: Temp<'_>) -> Result<()> {
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
                    dir.learn(*name, Found::Node(self.entry.clone()));
                }
                true
            }
            Err(_) => self.take_back(),
        };
        if is_clean {
            core.pending.lock().remove(&self.id);
            marked.iter().for_each(|dir| dir.expect_no_pending());
        }
        done
    }

    fn place_all(&mut self, temp: Temp<'_>, marked: &mut Vec<Arc<Held>>) -> Result<()> {
        if let Some(file) = self.file {
            xattrs::set(file, xattrs::PENDING, b"y")?;
        }
        for ((dir, _), _) in &self.targets {
            if dir.expect_pending()? {
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

    fn place(&mut self, temp: Temp<'_>, nth: usize) -> Result<()> {
        let Some(((dir, name), found)) = self.targets.get(nth) else {
            return Err(bug!("a name is placed that is none of the node's"));
        };
        let times = dir.times()?;
        dir.place(temp, Shape::Leaf, *name, found)?;
        dir.set(*name, Found::Debris);
        dir.restore_times(&times);
        self.placed += 1;
        Ok(())
    }

    /// Removes the names that are in place. Returns whether none is left.
    fn take_back(&self) -> bool {
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
    pub(super) fn adopt_node(
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
                dir.adopt_dir(&self.core().tree.write(), *name, like)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::Dir, _) | (CopyUp::Symlink(_), []) => Err(Errno::Inval),
            (CopyUp::Symlink(target), names) => {
                self.adopt_link(names, like, target)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::File(fill), names) => self.adopt_file(names, like, Content::Filled(fill)),
            (CopyUp::Truncated(how), names) => {
                self.adopt_file(names, like, Content::Truncated(how))
            }
        }
    }

    fn adopt_link(&self, names: &[Target<'_>], like: &Stat, to: &str) -> Result<()> {
        let mut tree = self.core().tree.write();
        let work = self.core().work(&tree)?;
        for (dir, name) in names {
            dir.vacant(*name)?;
        }
        let temp = work.symlink(to)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::utimensat(work.fd(), temp.name(), &times_like(like), flags).map_err(errno)?;
        let made = stat(&fs::statat(work.fd(), temp.name(), flags).map_err(errno)?);
        let entry = Entry::new(FileType::Symlink, Origin::Own);
        self.name(work, temp, names, (entry, None))?;
        tree.links.insert(Id::of(&made), Id::of(like));
        Ok(())
    }

    fn adopt_file(
        &self,
        names: &[Target<'_>],
        like: &Stat,
        content: Content<'_>,
    ) -> Result<CopiedUp> {
        let id = Id::of(like);
        let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        // Filling takes as long as the file is large: nobody waits for it.
        let (work, temp, file) = {
            let tree = self.core().tree.read();
            for (dir, name) in names {
                dir.vacant(*name)?;
            }
            let work = self.core().work(&tree)?;
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
        fault_points::next().map_err(errno)?;
        fs::futimens(file.host(), &times_like(like)).map_err(errno)?;
        // After the times, so that the truncation shows in them.
        let opened = truncated.map(|how| self.open_temp(work, &temp, how, id)).transpose()?;
        // The name hides the lower's bytes, so these have to be on the disk before it.
        if !names.is_empty() && file.stat()?.size > 0 {
            fault_points::sync_bytes(file.host())?;
        }
        let tree = self.core().tree.write();
        self.core().work(&tree)?;
        if names.is_empty() {
            temp.unname()?;
        } else {
            let entry = Entry::new(FileType::File, Origin::Lower(id));
            self.name(work, temp, names, (entry, Some(file.host().as_fd())))?;
        }
        drop(tree);
        let file = Arc::new(file);
        Ok(match opened {
            Some(opened) => CopiedUp::Truncated { file, opened: Arc::new(opened) },
            None => CopiedUp::File(file),
        })
    }

    /// Opens a file of the work area once more.
    fn open_temp(&self, work: &Work, temp: &Temp<'_>, how: OpenHow, id: Id) -> Result<UpperFile> {
        let flags = file_flags(how) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fault_points::next().map_err(errno)?;
        let fd = fs::openat(work.fd(), temp.name(), flags, Mode::empty()).map_err(errno)?;
        Ok(UpperFile::new(self.core(), HostFile::verified(fd, how), Some(id)))
    }

    /// Gives an adopted file or link its names, with the tree locked.
    fn name(
        &self,
        work: &Work,
        temp: Temp<'_>,
        names: &[Target<'_>],
        (entry, file): (Entry, Option<BorrowedFd<'_>>),
    ) -> Result<()> {
        if let [(dir, name)] = names {
            let found = dir.vacant(*name)?;
            return dir.adopt_made(temp, (Shape::Leaf, *name), &found, entry);
        }
        let mut targets = Vec::with_capacity(names.len());
        for target @ (dir, name) in names {
            let found = dir.vacant(*name)?;
            // It could not be put back if another name fails, and what it hides is no such name.
            if let Found::Whiteout = found {
                return Err(Errno::Exist);
            }
            dir.expect(&entry)?;
            targets.push((target, found));
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let id = Id::of(&stat(&fs::statat(work.fd(), temp.name(), flags).map_err(errno)?));
        Naming { work, targets, entry, id, file, placed: 0 }.run(temp)
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
