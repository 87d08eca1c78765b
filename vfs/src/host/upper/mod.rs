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

use self::name_cache::{CachedEntry, CachedNames, CachedNode, DirCache, NameCache, Origin};
use self::work_dir::{LISTING_BYTES, WorkDir};
use self::xattrs::{DirXattrs, EntryType, NodeId};
use super::errno::errno;
use super::list::StreamSlot;
use super::resolve::{link_target, open_quietly};
use super::stat::{file_type, stat};
use crate::{Descent, Errno, FileType, Name, Result, Stat, Stop};

/// Directories that are kept open so that descents need not open them anew.
const DESCENT_CACHE_MAX: usize = 16;

/// How a directory is held: so that it can be asked for its marks. What is read of it for that
/// leaves no time of access, since nobody asked for it.
const HOLD: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);

/// Whether `dir` is the directory of this identity, or lies in it.
pub(super) fn lies_in(dir: BorrowedFd<'_>, top: (u64, u64)) -> std::io::Result<bool> {
    open::lies_in(dir, NodeId { dev: top.0, ino: top.1 })
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
    at: Arc<HeldDir>,
    descent_cache: Arc<DescentCache>,
}

/// Directories that were passed through lately.
#[derive(Default)]
struct DescentCache(Mutex<VecDeque<Arc<HeldDir>>>);

/// What all directories and files of a layer share.
struct UpperCore {
    /// Held to keep the lock on the layer's directory.
    upper: OwnedFd,
    /// `None` for a layer that was opened to be read only.
    area: Option<WorkArea>,
    state: RwLock<UpperState>,
    /// The directories that are held, each once.
    held: Mutex<HashMap<NodeId, Weak<HeldDir>>>,
    open_files: AtomicUsize,
    /// Whether the times of some directory are owed.
    has_deferred_times: AtomicBool,
    /// Nodes that do not have all their names, because a name could not be given or taken back.
    pending: Mutex<HashSet<NodeId>>,
    /// Names in all images together.
    cached_names: AtomicUsize,
    names_max: usize,
}

/// Where changes are prepared.
struct WorkArea {
    work: WorkDir,
    /// Held to keep the lock on the work directory.
    lock: OwnedFd,
}

/// What every operation takes the lock of: shared to look, alone to change.
#[derive(Default)]
struct UpperState {
    is_frozen: bool,
    /// What links were adopted from, by their own identity.
    links: HashMap<NodeId, NodeId>,
}

impl UpperCore {
    /// The work area, or `Rofs` for a layer that does not change any more.
    fn work(&self, state: &UpperState) -> Result<&WorkDir> {
        match &self.area {
            Some(area) if !state.is_frozen => Ok(&area.work),
            Some(_) | None => Err(Errno::Rofs),
        }
    }

    /// What a node is, with the names that it has in the layer only.
    fn without_leftover_links(&self, found: Stat) -> Stat {
        let leftovers =
            self.area.as_ref().map_or(0, |area| area.work.leftover_names(NodeId::of(&found)));
        Stat { nlink: found.nlink.saturating_sub(leftovers), ..found }
    }

    /// The directory of an open descriptor, which is held once only.
    fn hold(self: &Arc<Self>, fd: OwnedFd) -> Result<Arc<HeldDir>> {
        let id = NodeId::of(&stat(&fs::fstat(&fd).map_err(errno)?));
        let mut all = self.held.lock();
        if let Some(held) = all.get(&id).and_then(Weak::upgrade) {
            return Ok(held);
        }
        let core = Arc::clone(self);
        let held = HeldDir { fd, id, core, cache: Mutex::default(), stream: Mutex::new(None) };
        let held = Arc::new(held);
        all.insert(id, Arc::downgrade(&held));
        Ok(held)
    }
}

impl Drop for UpperCore {
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
struct HeldDir {
    fd: OwnedFd,
    /// Its own, whatever it was adopted from.
    id: NodeId,
    core: Arc<UpperCore>,
    cache: Mutex<DirCache>,
    stream: StreamSlot,
}

impl Drop for HeldDir {
    fn drop(&mut self) {
        let mut all = self.core.held.lock();
        // It may have been opened anew since the last handle went.
        if all.get(&self.id).is_some_and(|held| held.strong_count() == 0) {
            all.remove(&self.id);
        }
        drop(all);
        // If they cannot be set now either, they are lost.
        let _ = self.apply_deferred_times();
        self.drop_names(&mut self.cache.lock());
    }
}

impl HeldDir {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The image is not to be remembered any more.
    fn drop_names(&self, cache: &mut DirCache) {
        if let NameCache::Read(names) = &cache.names {
            self.core.cached_names.fetch_sub(names.entries.len(), Ordering::Relaxed);
        }
        cache.names = NameCache::TooLarge;
    }

    fn xattrs(&self) -> Result<DirXattrs> {
        self.xattrs_in(&mut self.cache.lock())
    }

    fn xattrs_in(&self, cache: &mut DirCache) -> Result<DirXattrs> {
        if let Some(xattrs) = cache.xattrs {
            return Ok(xattrs);
        }
        let xattrs = DirXattrs::read(self.fd())?;
        cache.xattrs = Some(xattrs);
        Ok(xattrs)
    }

    /// Remembers marks that were set.
    fn cache_xattrs(&self, xattrs: DirXattrs) {
        self.cache.lock().xattrs = Some(xattrs);
    }

    /// The memory of this directory, with its image read if there is room.
    fn load_cache(&self) -> Result<MutexGuard<'_, DirCache>> {
        let mut cache = self.cache.lock();
        if !matches!(cache.names, NameCache::Unread) {
            return Ok(cache);
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let room = self.remaining_names();
        let mut names = CachedNames::default();
        let mut has_room = true;
        self.scan(xattrs, &mut |name, sort| {
            match name {
                None => names.has_unnamed |= matches!(sort, EntryType::Node(_)),
                Some(name) => names.set(name.as_str(), cached_entry(xattrs, sort)),
            }
            has_room = names.entries.len() <= room;
            if has_room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        cache.names = if has_room {
            self.core.cached_names.fetch_add(names.entries.len(), Ordering::Relaxed);
            NameCache::Read(names)
        } else {
            NameCache::TooLarge
        };
        Ok(cache)
    }

    /// Names that can still be remembered.
    fn remaining_names(&self) -> usize {
        self.core.names_max.saturating_sub(self.core.cached_names.load(Ordering::Relaxed))
    }

    /// What this directory says of a name.
    fn find(&self, name: Name<'_>) -> Result<CachedEntry> {
        let mut cache = self.load_cache()?;
        if let NameCache::Read(names) = &cache.names {
            return Ok(names.find(name.as_str()));
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let sort = xattrs::classify(self.fd(), xattrs, (name.as_str(), None), &self.core.pending)?;
        Ok(sort.map_or(CachedEntry::Absent, |sort| cached_entry(xattrs, sort)))
    }

    /// Makes the image what the directory has become.
    fn record_change(&self, name: Name<'_>, found: CachedEntry) {
        let mut cache = self.cache.lock();
        // A change has given the directory its time.
        cache.deferred = None;
        drop(cache);
        self.cache_entry(name, found);
    }

    /// Makes the image what the directory has been found to be.
    fn cache_entry(&self, name: Name<'_>, found: CachedEntry) {
        let mut cache = self.cache.lock();
        let NameCache::Read(names) = &mut cache.names else { return };
        let before = names.entries.len();
        names.set(name.as_str(), found);
        let after = names.entries.len();
        self.core.cached_names.fetch_add(after, Ordering::Relaxed);
        self.core.cached_names.fetch_sub(before, Ordering::Relaxed);
        if self.core.cached_names.load(Ordering::Relaxed) > self.core.names_max {
            self.drop_names(&mut cache);
        }
    }

    /// The directory was removed: nothing is in it any more.
    fn mark_removed(&self) {
        let mut cache = self.cache.lock();
        self.drop_names(&mut cache);
        cache.names = NameCache::Read(CachedNames::default());
    }

    /// Whether there is anything but whiteouts in it.
    fn has_nodes(&self) -> Result<bool> {
        let mut cache = self.load_cache()?;
        if let NameCache::Read(names) = &cache.names {
            return Ok(names.has_nodes());
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let mut has_nodes = false;
        self.scan(xattrs, &mut |_, sort| match sort {
            EntryType::Debris | EntryType::Whiteout => ControlFlow::Continue(()),
            EntryType::Node(_) => {
                has_nodes = true;
                ControlFlow::Break(())
            }
        })?;
        Ok(has_nodes)
    }

    /// The names of the whiteouts, sorted.
    fn whiteout_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|sort| sort == EntryType::Whiteout)
    }

    /// The names that lead to no nodes, sorted.
    fn debris_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|sort| matches!(sort, EntryType::Debris | EntryType::Whiteout))
    }

    fn names_of(&self, is_wanted: impl Fn(EntryType) -> bool) -> Result<Vec<Box<str>>> {
        let mut cache = self.load_cache()?;
        let mut wanted = Vec::new();
        if let NameCache::Read(names) = &cache.names {
            let all = names.entries.iter();
            let all = all.filter(|(_, found)| found.entry_type().is_some_and(&is_wanted));
            wanted.extend(all.map(|(name, _)| name.clone()));
            return Ok(wanted);
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        self.scan(xattrs, &mut |name, sort| {
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
        xattrs: DirXattrs,
        each: &mut dyn FnMut(Option<Name<'_>>, EntryType) -> ControlFlow<()>,
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
                    xattrs::classify(self.fd(), xattrs, (name.as_str(), hint), &self.core.pending)?
                }
                // Whatever it is, it is nothing that we have put there.
                None => Some(EntryType::Node(hint.unwrap_or(FileType::File))),
            };
            if sort.is_some_and(|sort| each(name, sort).is_break()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Holds the directory that `name` leads to; `at` is its position for a [`Stop::Link`].
    fn child(&self, name: Name<'_>, at: usize) -> Result<Arc<HeldDir>, Stop> {
        let CachedEntry::Node(entry) = self.find(name)? else { return Err(Errno::Noent.into()) };
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
        if let NameCache::Read(names) = &mut self.cache.lock().names
            && let Some(CachedEntry::Node(entry)) = names.entries.get_mut(name.as_str())
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
        let found = self.with_deferred_times(stat(&fs::fstat(&self.fd).map_err(errno)?));
        Ok(self.xattrs()?.origin.map_or(found, |id| id.put_on(found)))
    }

    /// The node that `name` leads to.
    fn stat_name(&self, state: &UpperState, name: Name<'_>, entry: &CachedNode) -> Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let found = stat(&fs::statat(self.fd(), name.as_str(), flags).map_err(errno)?);
        let found = self.core.without_leftover_links(found);
        let found = match entry.dir.upgrade() {
            Some(dir) if self.core.has_deferred_times.load(Ordering::Relaxed) => {
                dir.with_deferred_times(found)
            }
            Some(_) | None => found,
        };
        let origin = match found.kind {
            FileType::Symlink => state.links.get(&NodeId::of(&found)).copied(),
            _ => self.origin(name, entry)?,
        };
        Ok(origin.map_or(found, |id| id.put_on(found)))
    }

    /// What the file or directory `name` was adopted from.
    fn origin(&self, name: Name<'_>, entry: &CachedNode) -> Result<Option<NodeId>> {
        match entry.origin {
            Origin::Own => return Ok(None),
            Origin::Lower(id) => return Ok(Some(id)),
            Origin::Unknown => {}
        }
        let id = match xattrs::open_for_xattrs(self.fd(), name.as_str())? {
            Some(node) => xattrs::origin(node.as_fd())?,
            None => None,
        };
        self.cache_origin(name, id);
        Ok(id)
    }

    fn cache_origin(&self, name: Name<'_>, id: Option<NodeId>) {
        if let NameCache::Read(names) = &mut self.cache.lock().names
            && let Some(CachedEntry::Node(entry)) = names.entries.get_mut(name.as_str())
        {
            entry.origin = id.map_or(Origin::Own, Origin::Lower);
        }
    }
}

impl HostUpper {
    fn new(at: Arc<HeldDir>, descent_cache: Arc<DescentCache>) -> Self {
        HostUpper { at, descent_cache }
    }

    fn core(&self) -> &Arc<UpperCore> {
        &self.at.core
    }

    /// A handle on another directory of the layer.
    fn handle(&self, at: Arc<HeldDir>) -> Arc<HostUpper> {
        Arc::new(HostUpper::new(at, Arc::clone(&self.descent_cache)))
    }

    /// Holds the directory at the end of a descent.
    fn descend(&self, path: Descent<'_>) -> Result<Arc<HeldDir>, Stop> {
        let mut held = Arc::clone(&self.at);
        for (at, name) in path.names().enumerate() {
            held = held.child(name, at)?;
            // Nobody else holds it, so it would be closed again.
            if Arc::strong_count(&held) == 1 {
                self.descent_cache.keep(&held);
            }
        }
        Ok(held)
    }
}

impl DescentCache {
    fn keep(&self, held: &Arc<HeldDir>) {
        let mut all = self.0.lock();
        let coldest = if all.len() < DESCENT_CACHE_MAX { None } else { all.pop_front() };
        all.push_back(Arc::clone(held));
        drop(all);
        drop(coldest);
    }
}

fn cached_entry(xattrs: DirXattrs, sort: EntryType) -> CachedEntry {
    match sort {
        EntryType::Debris => CachedEntry::Debris,
        EntryType::Whiteout => CachedEntry::Whiteout,
        EntryType::Node(kind @ (FileType::Dir | FileType::File)) if xattrs.may_hold_copies => {
            CachedEntry::Node(CachedNode::new(kind, Origin::Unknown))
        }
        EntryType::Node(kind) => CachedEntry::Node(CachedNode::new(kind, Origin::Own)),
    }
}
