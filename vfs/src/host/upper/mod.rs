//! A directory of the host as a layer of an overlay, in the format of Linux's own.
//!
//! What this module alone is responsible for: that marks on disk (`marks.rs`) are never taken for
//! nodes nor nodes for marks; that every change is one step for observers, who wait for
//! [`Core::tree`], and for a crash, since what takes more than one call is made in the work area
//! (`work.rs`) and comes into place by one rename; and that what is remembered (`image.rs`) is what
//! is on disk, since all changes are made here, by one process: `open.rs` sees to that with locks.
//! The bytes of an adopted file are on the disk before a name leads to it; all else is as durable
//! as the filesystem makes it, in the order in which it was done.
//!
//! System calls have the second shape of [`host`](super) only: one [`Name`] in a held directory,
//! or in the work area a name of our own; nothing is ever followed. A descent goes by one held
//! directory after the other. `open.rs`, where the host's paths come in, is the exception.
//!
//! A held directory keeps one descriptor, and a second one with 32 KiB once it has been listed.
//! Besides what the caller holds, [`WARM_MAX`] directories are kept open for descents.
//!
//! Lock order: `Core::tree`, then `Held::memory` of one directory at a time, then `Core::held` or
//! `Warm`. No callback is called with any of them held, but a listing's with the stream taken out.
//!
//! Not promised: a host process that changes the directory while a layer is open is not seen. The
//! time of the last change of attributes cannot be set, so it alone tells of adoption. What a node
//! that is a link was adopted from is not on disk, since links take no marks: it lasts as long as
//! the layer is open. Where devices may not be made, a whiteout in an opaque directory is nothing
//! at all, since it has nothing to hide; and where a rename cannot leave a whiteout in the same
//! step, a crash, or calls that go on failing, may leave a moved file with both names, or a
//! directory's old name empty. Links take no marks, so a crash in the copy-up of a link with
//! several names may leave some of them linked to each other and some not.

mod copy_up;
mod dir;
mod fault_points;
mod file;
mod name_cache;
mod open;
mod rename;
mod upper_dir;
mod work_dir;
mod xattrs;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustix::fs::{self, AtFlags, FlockOperation, OFlags, RawDir, SeekFrom};
use rustix::io::Errno as Os;

use self::name_cache::{Entry, Found, Image, Memory, Names, Origin};
use self::work_dir::{LISTING_BYTES, Work};
use self::xattrs::{Id, Marks, Sort};
use super::errno::errno;
use super::list::StreamSlot;
use super::resolve::{link_target, open_quietly};
use super::stat::{file_type, stat};
use crate::{Descent, Errno, FileType, Name, Result, Stat, Stop};

/// Directories that are kept open so that descents need not open them anew.
const WARM_MAX: usize = 16;

/// How a directory is held: so that it can be asked for its marks. What is read of it for that
/// leaves no time of access, since nobody asked for it.
const HOLD: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);

/// Whether `dir` is the directory of this identity, or lies in it.
pub(super) fn lies_in(dir: BorrowedFd<'_>, top: (u64, u64)) -> std::io::Result<bool> {
    open::lies_in(dir, Id { dev: top.0, ino: top.1 })
}

/// A directory of the host, as a [`UpperDir`](crate::overlay::UpperDir) in the format of Linux's
/// overlay
/// filesystem with `userxattr`.
///
/// What is written can be mounted by the kernel, and what the kernel wrote with that option can be
/// opened. Whiteouts are character devices 0/0; where those may not be made, empty files with a
/// mark, which the kernel knows in all lowers but the last.
///
/// See <https://docs.kernel.org/filesystems/overlayfs.html>.
pub struct HostUpper {
    at: Arc<Held>,
    warm: Arc<Warm>,
}

/// Directories that were passed through lately.
#[derive(Default)]
struct Warm(Mutex<VecDeque<Arc<Held>>>);

/// What all directories and files of a layer share.
struct Core {
    /// Held to keep the lock on the layer's directory.
    upper: OwnedFd,
    /// `None` for a layer that was opened to be read only.
    area: Option<Area>,
    tree: RwLock<Tree>,
    /// The directories that are held, each once.
    held: Mutex<HashMap<Id, Weak<Held>>>,
    open_files: AtomicUsize,
    /// Whether the times of some directory are owed.
    owes: AtomicBool,
    /// Nodes that do not have all their names, because a name could not be given or taken back.
    pending: Mutex<HashSet<Id>>,
    /// Names in all images together.
    remembered: AtomicUsize,
    names_max: usize,
}

/// Where changes are prepared.
struct Area {
    work: Work,
    /// Held to keep the lock on the work directory.
    lock: OwnedFd,
}

/// What every operation takes the lock of: shared to look, alone to change.
#[derive(Default)]
struct Tree {
    is_frozen: bool,
    /// What links were adopted from, by their own identity.
    links: HashMap<Id, Id>,
}

impl Core {
    /// The work area, or `Rofs` for a layer that does not change any more.
    fn work(&self, tree: &Tree) -> Result<&Work> {
        match &self.area {
            Some(area) if !tree.is_frozen => Ok(&area.work),
            Some(_) | None => Err(Errno::Rofs),
        }
    }

    /// What a node is, with the names that it has in the layer only.
    fn with_true_links(&self, found: Stat) -> Stat {
        let stuck = self.area.as_ref().map_or(0, |area| area.work.stuck_names(Id::of(&found)));
        Stat { nlink: found.nlink.saturating_sub(stuck), ..found }
    }

    /// The directory of an open descriptor, which is held once only.
    fn hold(self: &Arc<Self>, fd: OwnedFd) -> Result<Arc<Held>> {
        let id = Id::of(&stat(&fs::fstat(&fd).map_err(errno)?));
        let mut all = self.held.lock();
        if let Some(held) = all.get(&id).and_then(Weak::upgrade) {
            return Ok(held);
        }
        let core = Arc::clone(self);
        let held = Held { fd, id, core, memory: Mutex::default(), stream: Mutex::new(None) };
        let held = Arc::new(held);
        all.insert(id, Arc::downgrade(&held));
        Ok(held)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started may have the descriptors too.
        let unlock = FlockOperation::NonBlockingUnlock;
        let _ = fs::flock(&self.upper, unlock);
        if let Some(area) = &self.area {
            let _ = fs::flock(&area.lock, unlock);
        }
    }
}

/// A held directory of the layer.
struct Held {
    fd: OwnedFd,
    /// Its own, whatever it was adopted from.
    id: Id,
    core: Arc<Core>,
    memory: Mutex<Memory>,
    stream: StreamSlot,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.core.held.lock();
        // It may have been opened anew since the last handle went.
        if all.get(&self.id).is_some_and(|held| held.strong_count() == 0) {
            all.remove(&self.id);
        }
        drop(all);
        // If they cannot be set now either, they are lost.
        let _ = self.pay_times();
        self.forget(&mut self.memory.lock());
    }
}

impl Held {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The image is not to be remembered any more.
    fn forget(&self, memory: &mut Memory) {
        if let Image::Read(names) = &memory.image {
            self.core.remembered.fetch_sub(names.found.len(), Ordering::Relaxed);
        }
        memory.image = Image::TooLarge;
    }

    fn marks(&self) -> Result<Marks> {
        self.marks_in(&mut self.memory.lock())
    }

    fn marks_in(&self, memory: &mut Memory) -> Result<Marks> {
        if let Some(marks) = memory.marks {
            return Ok(marks);
        }
        let marks = Marks::read(self.fd())?;
        memory.marks = Some(marks);
        Ok(marks)
    }

    /// Remembers marks that were set.
    fn learn_marks(&self, marks: Marks) {
        self.memory.lock().marks = Some(marks);
    }

    /// The memory of this directory, with its image read if there is room.
    fn recall(&self) -> Result<MutexGuard<'_, Memory>> {
        let mut memory = self.memory.lock();
        if !matches!(memory.image, Image::Unread) {
            return Ok(memory);
        }
        let marks = self.marks_in(&mut memory)?;
        let room = self.room();
        let mut names = Names::default();
        let mut has_room = true;
        self.scan(marks, &mut |name, sort| {
            match name {
                None => names.has_unnamed |= matches!(sort, Sort::Node(_)),
                Some(name) => names.set(name.as_str(), found(marks, sort)),
            }
            has_room = names.found.len() <= room;
            if has_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        memory.image = if has_room {
            self.core.remembered.fetch_add(names.found.len(), Ordering::Relaxed);
            Image::Read(names)
        } else {
            Image::TooLarge
        };
        Ok(memory)
    }

    /// Names that can still be remembered.
    fn room(&self) -> usize {
        self.core.names_max.saturating_sub(self.core.remembered.load(Ordering::Relaxed))
    }

    /// What this directory says of a name.
    fn find(&self, name: Name<'_>) -> Result<Found> {
        let mut memory = self.recall()?;
        if let Image::Read(names) = &memory.image {
            return Ok(names.find(name.as_str()));
        }
        let marks = self.marks_in(&mut memory)?;
        let sort = xattrs::sort(self.fd(), marks, (name.as_str(), None), &self.core.pending)?;
        Ok(sort.map_or(Found::Nothing, |sort| found(marks, sort)))
    }

    /// Makes the image what the directory has become.
    fn set(&self, name: Name<'_>, found: Found) {
        let mut memory = self.memory.lock();
        // A change has given the directory its time.
        memory.owed = None;
        drop(memory);
        self.learn(name, found);
    }

    /// Makes the image what the directory has been found to be.
    fn learn(&self, name: Name<'_>, found: Found) {
        let mut memory = self.memory.lock();
        let Image::Read(names) = &mut memory.image else { return };
        let before = names.found.len();
        names.set(name.as_str(), found);
        let after = names.found.len();
        self.core.remembered.fetch_add(after, Ordering::Relaxed);
        self.core.remembered.fetch_sub(before, Ordering::Relaxed);
        if self.core.remembered.load(Ordering::Relaxed) > self.core.names_max {
            self.forget(&mut memory);
        }
    }

    /// The directory was removed: nothing is in it any more.
    fn set_dead(&self) {
        let mut memory = self.memory.lock();
        self.forget(&mut memory);
        memory.image = Image::Read(Names::default());
    }

    /// Whether there is anything but whiteouts in it.
    fn has_nodes(&self) -> Result<bool> {
        let mut memory = self.recall()?;
        if let Image::Read(names) = &memory.image {
            return Ok(names.has_nodes());
        }
        let marks = self.marks_in(&mut memory)?;
        let mut has_nodes = false;
        self.scan(marks, &mut |_, sort| match sort {
            Sort::Debris | Sort::Whiteout => ControlFlow::Continue(()),
            Sort::Node(_) => {
                has_nodes = true;
                ControlFlow::Break(())
            }
        })?;
        Ok(has_nodes)
    }

    /// The names of the whiteouts, sorted.
    fn whiteout_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|sort| sort == Sort::Whiteout)
    }

    /// The names that lead to no nodes, sorted.
    fn debris_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|sort| matches!(sort, Sort::Debris | Sort::Whiteout))
    }

    fn names_of(&self, is_wanted: impl Fn(Sort) -> bool) -> Result<Vec<Box<str>>> {
        let mut memory = self.recall()?;
        let mut wanted = Vec::new();
        if let Image::Read(names) = &memory.image {
            let all = names.found.iter();
            let all = all.filter(|(_, found)| found.sort().is_some_and(&is_wanted));
            wanted.extend(all.map(|(name, _)| name.clone()));
            return Ok(wanted);
        }
        let marks = self.marks_in(&mut memory)?;
        self.scan(marks, &mut |name, sort| {
            if let Some(name) = name.filter(|_| is_wanted(sort)) {
                wanted.push(name.as_str().into());
            }
            ControlFlow::Continue(())
        })?;
        wanted.sort();
        Ok(wanted)
    }

    /// Reads the directory from its beginning, with the memory locked: it has one position.
    fn scan(
        &self,
        marks: Marks,
        each: &mut dyn FnMut(Option<Name<'_>>, Sort) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut buffer = Vec::with_capacity(LISTING_BYTES);
        fs::seek(self.fd(), SeekFrom::Start(0)).map_err(errno)?;
        let mut entries = RawDir::new(self.fd(), buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // A removed directory is empty.
                Err(Os::NOENT) => return Ok(()),
                Err(os) => return Err(errno(os)),
            };
            let (raw, hint) = (entry.file_name(), file_type(entry.file_type()));
            if matches!(raw.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = raw.to_str().ok().and_then(|name| Name::new(name).ok());
            let sort = match name {
                Some(name) => {
                    xattrs::sort(self.fd(), marks, (name.as_str(), hint), &self.core.pending)?
                }
                // Whatever it is, it is nothing that we have put there.
                None => Some(Sort::Node(hint.unwrap_or(FileType::File))),
            };
            if sort.is_some_and(|sort| each(name, sort).is_break()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Holds the directory that `name` leads to; `at` is its position for a [`Stop::Link`].
    fn child(&self, name: Name<'_>, at: usize) -> Result<Arc<Held>, Stop> {
        let Found::Node(entry) = self.find(name)? else { return Err(Errno::Noent.into()) };
        match entry.kind {
            FileType::Dir => {}
            FileType::Symlink => return Err(self.stop_at(name, at)),
            FileType::File
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => return Err(Errno::Notdir.into()),
        }
        if let Some(held) = entry.dir.upgrade() {
            return Ok(held);
        }
        let fd = open_quietly(self.fd(), name.as_str(), HOLD).map_err(errno)?;
        let held = self.core.hold(fd)?;
        if let Image::Read(names) = &mut self.memory.lock().image
            && let Some(Found::Node(entry)) = names.found.get_mut(name.as_str())
        {
            entry.dir = Arc::downgrade(&held);
        }
        Ok(held)
    }

    /// The stop at the link `name`.
    fn stop_at(&self, name: Name<'_>, at: usize) -> Stop {
        match link_target(self.fd(), name) {
            Ok(Some(target)) => Stop::Link { at, target },
            Ok(None) => Errno::Again.into(),
            Err(errno) => errno.into(),
        }
    }

    /// This directory.
    fn stat_here(&self) -> Result<Stat> {
        let found = self.with_owed_times(stat(&fs::fstat(&self.fd).map_err(errno)?));
        Ok(self.marks()?.origin.map_or(found, |id| id.put_on(found)))
    }

    /// The node that `name` leads to.
    fn stat_name(&self, tree: &Tree, name: Name<'_>, entry: &Entry) -> Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = stat(&fs::statat(self.fd(), name.as_str(), flags).map_err(errno)?);
        let found = self.core.with_true_links(found);
        let found = match entry.dir.upgrade() {
            Some(dir) if self.core.owes.load(Ordering::Relaxed) => dir.with_owed_times(found),
            Some(_) | None => found,
        };
        let origin = match found.kind {
            FileType::Symlink => tree.links.get(&Id::of(&found)).copied(),
            _ => self.origin(name, entry)?,
        };
        Ok(origin.map_or(found, |id| id.put_on(found)))
    }

    /// What the file or directory `name` was adopted from.
    fn origin(&self, name: Name<'_>, entry: &Entry) -> Result<Option<Id>> {
        match entry.origin {
            Origin::Own => return Ok(None),
            Origin::Lower(id) => return Ok(Some(id)),
            Origin::Unknown => {}
        }
        let id = match xattrs::open_to_ask(self.fd(), name.as_str())? {
            Some(node) => xattrs::origin(node.as_fd())?,
            None => None,
        };
        self.learn_origin(name, id);
        Ok(id)
    }

    fn learn_origin(&self, name: Name<'_>, id: Option<Id>) {
        if let Image::Read(names) = &mut self.memory.lock().image
            && let Some(Found::Node(entry)) = names.found.get_mut(name.as_str())
        {
            entry.origin = id.map_or(Origin::Own, Origin::Lower);
        }
    }
}

impl HostUpper {
    fn new(at: Arc<Held>, warm: Arc<Warm>) -> Self {
        HostUpper { at, warm }
    }

    fn core(&self) -> &Arc<Core> {
        &self.at.core
    }

    /// A handle on another directory of the layer.
    fn handle(&self, at: Arc<Held>) -> Arc<HostUpper> {
        Arc::new(HostUpper::new(at, Arc::clone(&self.warm)))
    }

    /// Holds the directory at the end of a descent.
    fn descend(&self, path: Descent<'_>) -> Result<Arc<Held>, Stop> {
        let mut held = Arc::clone(&self.at);
        for (at, name) in path.names().enumerate() {
            held = held.child(name, at)?;
            // Nobody else holds it, so it would be closed again.
            if Arc::strong_count(&held) == 1 {
                self.warm.keep(&held);
            }
        }
        Ok(held)
    }
}

impl Warm {
    fn keep(&self, held: &Arc<Held>) {
        let mut all = self.0.lock();
        let coldest = if all.len() < WARM_MAX { None } else { all.pop_front() };
        all.push_back(Arc::clone(held));
        drop(all);
        drop(coldest);
    }
}

fn found(marks: Marks, sort: Sort) -> Found {
    match sort {
        Sort::Debris => Found::Debris,
        Sort::Whiteout => Found::Whiteout,
        Sort::Node(kind @ (FileType::Dir | FileType::File)) if marks.holds_adopted => {
            Found::Node(Entry::new(kind, Origin::Unknown))
        }
        Sort::Node(kind) => Found::Node(Entry::new(kind, Origin::Own)),
    }
}
