//! An overlay's upper in a directory of the host, in the format of Linux overlayfs.
//!
//! This module guarantees:
//! - Whiteouts and opaque marks on disk (`xattrs.rs`) are never taken for nodes, nor nodes for
//!   marks.
//! - Every change is atomic for observers, which lock [`UpperCore::state`], and across a crash: a
//!   change of several system calls is prepared in the work directory (`work_dir.rs`) and installed
//!   by one rename.
//! - The cached names (`name_cache.rs`) equal the names on disk, since one process makes all
//!   changes: `open.rs` takes file locks.
//! - The content of a copied-up file is synced before a name leads to the file. All other changes
//!   are as durable as the filesystem makes them, in the order of the operations.
//!
//! System calls take one [`Name`] in a held directory, or a generated name in the work directory;
//! no symbolic link is followed. A path is opened directory by directory. `open.rs`, which opens
//! paths of the host, is the exception.
//!
//! A held directory has one descriptor, and after its first listing a second one with a buffer of
//! 32 KiB. Up to [`DESCENT_CACHE_MAX`] more directories are kept open for later descents.
//!
//! Lock order:
//!
//! ```text
//! UpperCore::state
//!   HeldDir::cache (one directory at a time)
//!     UpperCore::held
//!     UpperCore::pending
//!     DescentCache
//!   WorkDir::leftovers
//! ```
//!
//! No callback is called with one of them held. A listing takes the stream out of its slot first.
//!
//! Limits:
//! - A change that another process makes while an upper is open is not noticed.
//! - The change time (`st_ctime`) cannot be set, so it alone reveals a copy-up.
//! - Symbolic links cannot have user xattrs. The identity of a copied-up link is kept in memory
//!   while the upper is open, and a crash in the copy-up of a link with several names may leave
//!   some of them not linked to the others.
//! - Without permission to make devices, a whiteout in an opaque directory is not written at all,
//!   since it has nothing to hide.
//! - On a filesystem without `RENAME_WHITEOUT`, a crash or persistent errors may leave a renamed
//!   file with both names, or an empty directory under the old name of a renamed directory.

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
use rustix::io::Errno as RustixErrno;

use self::name_cache::{CachedEntry, CachedNames, CachedNode, DirCache, NameCache, Origin};
use self::work_dir::{LISTING_BYTES, WorkDir};
use self::xattrs::{DirXattrs, EntryType, NodeId};
use super::errno::errno;
use super::list::StreamSlot;
use super::resolve::{link_target, open_with_noatime_fallback};
use super::stat::{file_type, stat};
use crate::{Descent, Errno, FileType, Name, Result, Stat, Stop};

/// Directories that are kept open for later descents.
const DESCENT_CACHE_MAX: usize = 16;

/// Open flags of held directories, which permit `fgetxattr` and listing. Reads for the overlay's
/// own purposes do not update the access time.
const HOLD: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::CLOEXEC);

/// Returns whether `dir` is the directory with the identity `top` or a descendant of it.
pub(super) fn is_in(dir: BorrowedFd<'_>, top: (u64, u64)) -> std::io::Result<bool> {
    open::is_in(dir, NodeId { dev: top.0, ino: top.1 })
}

/// An upper in a directory of the host, in the format of Linux overlayfs with `userxattr`.
///
/// Linux can mount the directory, and directories that Linux wrote with that option can be opened.
/// Whiteouts are character devices 0/0. Without permission to make devices they are empty files
/// with an xattr, which Linux recognizes in all lowers but the last.
///
/// See <https://docs.kernel.org/filesystems/overlayfs.html>.
pub struct HostUpper {
    at: Arc<HeldDir>,
    descent_cache: Arc<DescentCache>,
}

/// A queue of directories that descents opened last.
#[derive(Default)]
struct DescentCache(Mutex<VecDeque<Arc<HeldDir>>>);

/// The state shared by all directories and files of an upper.
struct UpperCore {
    /// Kept open for the lock on the upper's directory.
    upper: OwnedFd,
    /// `None` for an upper that was opened frozen.
    work_area: Option<WorkArea>,
    state: RwLock<UpperState>,
    /// The open directories by inode, each held once.
    held: Mutex<HashMap<NodeId, Weak<HeldDir>>>,
    open_files: AtomicUsize,
    /// Whether the times of some directory are deferred (see `copy_up.rs`).
    has_deferred_times: AtomicBool,
    /// Inodes without all their names, since a name could be neither added nor rolled back.
    pending: Mutex<HashSet<NodeId>>,
    /// The number of names in all caches.
    cached_names: AtomicUsize,
    names_max: usize,
}

/// The work directory, where changes are prepared, and its lock.
struct WorkArea {
    work: WorkDir,
    /// Kept open for the lock on the work directory.
    lock: OwnedFd,
}

/// Guarded by [`UpperCore::state`]: operations that read lock it shared, changes exclusive.
#[derive(Default)]
struct UpperState {
    is_frozen: bool,
    /// The identities of the lowers' links that were copied up, by the identity of the copy.
    links: HashMap<NodeId, NodeId>,
}

impl UpperCore {
    /// Returns the work directory.
    ///
    /// # Errors
    /// - `EROFS`: the upper is frozen.
    fn work(&self, state: &UpperState) -> Result<&WorkDir> {
        match &self.work_area {
            Some(work_area) if !state.is_frozen => Ok(&work_area.work),
            Some(_) | None => Err(Errno::Rofs),
        }
    }

    /// Subtracts the leftover names in the work directory from `nlink`.
    fn without_leftover_links(&self, node_stat: Stat) -> Stat {
        let leftovers = self
            .work_area
            .as_ref()
            .map_or(0, |work_area| work_area.work.leftover_names(NodeId::of(&node_stat)));
        Stat { nlink: node_stat.nlink.saturating_sub(leftovers), ..node_stat }
    }

    /// Returns the held directory of an open descriptor.
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
        // A process between `fork` and `execve` may share the descriptors, so close does not
        // unlock.
        let unlock = FlockOperation::NonBlockingUnlock;
        let _ = fs::flock(&self.upper, unlock);
        if let Some(work_area) = &self.work_area {
            let _ = fs::flock(&work_area.lock, unlock);
        }
    }
}

/// An open directory of the upper.
struct HeldDir {
    fd: OwnedFd,
    /// The identity on the host, not that of a lower's directory.
    id: NodeId,
    core: Arc<UpperCore>,
    cache: Mutex<DirCache>,
    stream: StreamSlot,
}

impl Drop for HeldDir {
    fn drop(&mut self) {
        let mut all = self.core.held.lock();
        // The directory may have been opened again after its last handle was closed.
        if all.get(&self.id).is_some_and(|held| held.strong_count() == 0) {
            all.remove(&self.id);
        }
        drop(all);
        // If the deferred times cannot be set now, they are lost.
        let _ = self.apply_deferred_times();
        self.drop_names(&mut self.cache.lock());
    }
}

impl HeldDir {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Drops the cached names.
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

    /// Caches xattrs that were set.
    fn cache_xattrs(&self, xattrs: DirXattrs) {
        self.cache.lock().xattrs = Some(xattrs);
    }

    /// Locks the cache, and reads the directory into it if there is room.
    fn load_cache(&self) -> Result<MutexGuard<'_, DirCache>> {
        let mut cache = self.cache.lock();
        if !matches!(cache.names, NameCache::Unread) {
            return Ok(cache);
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let room = self.remaining_names();
        let mut names = CachedNames::default();
        let mut has_room = true;
        self.scan(xattrs, &mut |name, entry_type| {
            match name {
                None => names.has_unnamed |= matches!(entry_type, EntryType::Node(_)),
                Some(name) => names.set(name.as_str(), cached_entry(xattrs, entry_type)),
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

    /// Returns how many names may still be cached.
    fn remaining_names(&self) -> usize {
        self.core.names_max.saturating_sub(self.core.cached_names.load(Ordering::Relaxed))
    }

    /// Looks up an entry of this directory.
    fn find(&self, name: Name<'_>) -> Result<CachedEntry> {
        let mut cache = self.load_cache()?;
        if let NameCache::Read(names) = &cache.names {
            return Ok(names.find(name.as_str()));
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let entry_type =
            xattrs::classify(self.fd(), xattrs, (name.as_str(), None), &self.core.pending)?;
        Ok(entry_type.map_or(CachedEntry::Absent, |entry_type| cached_entry(xattrs, entry_type)))
    }

    /// Updates the cache after a change of the directory.
    fn record_change(&self, name: Name<'_>, found: CachedEntry) {
        let mut cache = self.cache.lock();
        // The change has updated the times of the directory.
        cache.deferred = None;
        drop(cache);
        self.cache_entry(name, found);
    }

    /// Updates the cache with an entry that was found.
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

    /// Marks the directory as removed: it has no entries any more.
    fn mark_removed(&self) {
        let mut cache = self.cache.lock();
        self.drop_names(&mut cache);
        cache.names = NameCache::Read(CachedNames::default());
    }

    /// Returns whether the directory has an entry that is not a whiteout.
    fn has_nodes(&self) -> Result<bool> {
        let mut cache = self.load_cache()?;
        if let NameCache::Read(names) = &cache.names {
            return Ok(names.has_nodes());
        }
        let xattrs = self.xattrs_in(&mut cache)?;
        let mut has_nodes = false;
        self.scan(xattrs, &mut |_, entry_type| match entry_type {
            EntryType::Debris | EntryType::Whiteout => ControlFlow::Continue(()),
            EntryType::Node(_) => {
                has_nodes = true;
                ControlFlow::Break(())
            }
        })?;
        Ok(has_nodes)
    }

    /// Returns the names of the whiteouts, sorted.
    fn whiteout_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|entry_type| entry_type == EntryType::Whiteout)
    }

    /// Returns the names of whiteouts and of leftovers of failed rollbacks ([`EntryType::Debris`]),
    /// sorted.
    fn debris_names(&self) -> Result<Vec<Box<str>>> {
        self.names_of(|entry_type| matches!(entry_type, EntryType::Debris | EntryType::Whiteout))
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
        self.scan(xattrs, &mut |name, entry_type| {
            if let Some(name) = name.filter(|_| is_wanted(entry_type)) {
                wanted.push(name.as_str().into());
            }
            ControlFlow::Continue(())
        })?;
        wanted.sort();
        Ok(wanted)
    }

    /// Reads the directory from its start. The cache is locked, since a descriptor has one
    /// position.
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
                // A removed directory returns ENOENT.
                Err(RustixErrno::NOENT) => return Ok(()),
                Err(os) => return Err(errno(os)),
            };
            let (raw, hint) = (entry.file_name(), file_type(entry.file_type()));
            if matches!(raw.to_bytes(), b"." | b"..") {
                continue;
            }
            let name = raw.to_str().ok().and_then(|name| Name::new(name).ok());
            let entry_type = match name {
                Some(name) => {
                    xattrs::classify(self.fd(), xattrs, (name.as_str(), hint), &self.core.pending)?
                }
                // A name that is not UTF-8 was created by another process.
                None => Some(EntryType::Node(hint.unwrap_or(FileType::File))),
            };
            if entry_type.is_some_and(|entry_type| each(name, entry_type).is_break()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the subdirectory `name`; `at` is its position in a [`Stop::Link`].
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
        let fd = open_with_noatime_fallback(self.fd(), name.as_str(), HOLD).map_err(errno)?;
        let held = self.core.hold(fd)?;
        if let NameCache::Read(names) = &mut self.cache.lock().names
            && let Some(CachedEntry::Node(entry)) = names.entries.get_mut(name.as_str())
        {
            entry.dir = Arc::downgrade(&held);
        }
        Ok(held)
    }

    /// Returns the stop at the symbolic link `name`.
    fn stop_at(&self, name: Name<'_>, at: usize) -> Stop {
        match link_target(self.fd(), name) {
            Ok(Some(target)) => Stop::Link { at, target },
            Ok(None) => Errno::Again.into(),
            Err(errno) => errno.into(),
        }
    }

    /// Returns the [`Stat`] of this directory.
    fn stat_here(&self) -> Result<Stat> {
        let node_stat = self.with_deferred_times(stat(&fs::fstat(&self.fd).map_err(errno)?));
        Ok(self.xattrs()?.origin.map_or(node_stat, |id| id.put_on(node_stat)))
    }

    /// Returns the [`Stat`] of the node `name`.
    fn stat_name(&self, state: &UpperState, name: Name<'_>, entry: &CachedNode) -> Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let node_stat = stat(&fs::statat(self.fd(), name.as_str(), flags).map_err(errno)?);
        let node_stat = self.core.without_leftover_links(node_stat);
        let node_stat = match entry.dir.upgrade() {
            Some(dir) if self.core.has_deferred_times.load(Ordering::Relaxed) => {
                dir.with_deferred_times(node_stat)
            }
            Some(_) | None => node_stat,
        };
        let origin = match node_stat.kind {
            FileType::Symlink => state.links.get(&NodeId::of(&node_stat)).copied(),
            _ => self.origin(name, entry)?,
        };
        Ok(origin.map_or(node_stat, |id| id.put_on(node_stat)))
    }

    /// Returns the identity of the lower's node that the file or directory `name` is a copy of.
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

    /// Returns a handle on another directory of the upper.
    fn handle(&self, at: Arc<HeldDir>) -> Arc<HostUpper> {
        Arc::new(HostUpper::new(at, Arc::clone(&self.descent_cache)))
    }

    /// Opens the directory at the end of a descent.
    fn descend(&self, path: Descent<'_>) -> Result<Arc<HeldDir>, Stop> {
        let mut held = Arc::clone(&self.at);
        for (at, name) in path.names().enumerate() {
            held = held.child(name, at)?;
            // Without another reference the directory would be closed right away.
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
        let oldest = if all.len() < DESCENT_CACHE_MAX { None } else { all.pop_front() };
        all.push_back(Arc::clone(held));
        drop(all);
        drop(oldest);
    }
}

fn cached_entry(xattrs: DirXattrs, entry_type: EntryType) -> CachedEntry {
    match entry_type {
        EntryType::Debris => CachedEntry::Debris,
        EntryType::Whiteout => CachedEntry::Whiteout,
        EntryType::Node(kind @ (FileType::Dir | FileType::File)) if xattrs.may_hold_copies => {
            CachedEntry::Node(CachedNode::new(kind, Origin::Unknown))
        }
        EntryType::Node(kind) => CachedEntry::Node(CachedNode::new(kind, Origin::Own)),
    }
}
