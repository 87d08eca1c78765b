//! Directory streams: listing a directory with `getdents64`.
//!
//! An `O_PATH` descriptor cannot be read, so the first listing opens a second descriptor and keeps
//! it with its buffer. Cookies are those of Linux (`d_off`), which keeps them valid across
//! removals: nothing is counted, sorted or stored, so a listing is linear, and a large directory
//! costs no memory.
//!
//! Locks: the slot's mutex is a leaf, held only to take the stream out or to put it back. Callbacks
//! run without it, so a callback may list the same directory; that listing opens its own stream, so
//! the position of the descriptor is never shared.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, OFlags, RawDir, RawDirEntry, SeekFrom};
use rustix::io::Errno as RustixErrno;

use super::errno::errno;
use super::resolve::open_with_noatime_fallback;
use super::stat::{file_type, kind};
use crate::{Cookie, Entry, Errno, FileType, Name, Result, bug};

/// The largest buffer for one `getdents64`, in bytes: that of common libcs.
const WINDOW_MAX: usize = 32 * 1024;
/// The smallest buffer, in bytes: it must fit a few entries with names of 255 bytes.
const WINDOW_MIN: usize = 1024;
/// The buffer of the first call, in bytes.
const WINDOW_START: usize = 8 * 1024;

/// The stream of a held directory, if one is open and not in use.
pub(super) type StreamSlot = Mutex<Option<Stream>>;

/// A readable directory descriptor and its buffer.
pub(super) struct Stream {
    fd: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
    /// The buffer size of the first call of a listing, adapted to the last one. A caller with
    /// little room breaks early and comes back, and entries beyond that are read for nothing.
    window: usize,
    /// Whether Linux has returned an entry through this descriptor.
    has_listed: bool,
    /// Whether this descriptor must not be reused.
    is_spent: bool,
}

/// Calls `run` with the stream of `dir`, opened with the extra flags `read_flags` if there is none.
///
/// # Errors
///
/// - `EACCES`: the directory is not readable.
/// - Those of `run`.
pub(super) fn with_stream<T>(
    dir: BorrowedFd<'_>,
    slot: &StreamSlot,
    read_flags: OFlags,
    run: impl FnOnce(&mut Stream) -> Result<T>,
) -> Result<T> {
    let kept = slot.lock().take();
    let mut stream = match kept {
        Some(stream) => stream,
        None => Stream::open(dir, read_flags)?,
    };
    let result = run(&mut stream);
    let mut slot = slot.lock();
    if slot.is_none() && !stream.is_spent {
        *slot = Some(stream);
    }
    result
}

impl Stream {
    fn open(dir: BorrowedFd<'_>, read_flags: OFlags) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | read_flags;
        let fd = open_with_noatime_fallback(dir, ".", flags).map_err(errno)?;
        let buffer = Box::new_uninit_slice(WINDOW_MAX);
        Ok(Stream { fd, buffer, window: WINDOW_START, has_listed: false, is_spent: false })
    }

    /// Makes the entries durable.
    pub(super) fn sync(&self) -> Result<()> {
        match fs::fsync(&self.fd) {
            // Directories of this filesystem cannot be synced, so there is nothing to make durable.
            Ok(()) | Err(RustixErrno::INVAL) => Ok(()),
            Err(os) => Err(errno(os)),
        }
    }

    /// Calls `each` for the entries after `from`. The implementation of
    /// [`Dir::read_dir`](crate::Dir::read_dir).
    pub(super) fn read(
        &mut self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if i64::try_from(from.0).is_err() {
            return Err(Errno::Inval);
        }
        fs::seek(&self.fd, SeekFrom::Start(from.0)).map_err(errno)?;
        let (mut window, mut used_len) = (self.window, 0);
        loop {
            let Some(area) = self.buffer.get_mut(..window) else {
                return Err(bug!("the buffer of a listing is shorter than {window}"));
            };
            let mut entries = RawDir::new(&self.fd, area);
            loop {
                let entry = match entries.next() {
                    None => {
                        // ext4 treats a seek to the end as the beginning if it is the first use of
                        // the descriptor, and the next listing would be empty.
                        self.is_spent = !self.has_listed;
                        return Ok(());
                    }
                    // A removed directory is empty.
                    Some(Err(RustixErrno::NOENT)) => return Ok(()),
                    Some(Err(os)) => return Err(errno(os)),
                    Some(Ok(entry)) => entry,
                };
                self.has_listed = true;
                used_len += raw_len(&entry);
                match emit(self.fd.as_fd(), &entry, each)? {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(()) => {
                        self.window = (used_len + used_len / 4).clamp(WINDOW_MIN, WINDOW_MAX);
                        return Ok(());
                    }
                }
                if window < WINDOW_MAX && entries.is_buffer_empty() {
                    break;
                }
            }
            window = WINDOW_MAX;
        }
    }
}

/// Returns the size of the entry in the buffer of `getdents64`: `struct linux_dirent64`.
fn raw_len(entry: &RawDirEntry<'_>) -> usize {
    (19 + entry.file_name().count_bytes() + 1).next_multiple_of(8)
}

/// Passes one entry to `each`, unless its name is not a valid [`Name`].
fn emit(
    dir: BorrowedFd<'_>,
    entry: &RawDirEntry<'_>,
    each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    // Skips `.`, `..` and names that are not UTF-8.
    let Ok(Ok(name)) = entry.file_name().to_str().map(Name::new) else {
        return Ok(ControlFlow::Continue(()));
    };
    let Some(kind) = kind_of(dir, name, entry)? else { return Ok(ControlFlow::Continue(())) };
    let next = entry.next_entry_cookie();
    if i64::try_from(next).is_err() {
        return Err(Errno::Overflow);
    }
    let ino = entry.ino().max(1);
    Ok(each(Entry { name, kind, ino, next: Cookie(next) }))
}

/// Returns the type of an entry, or `None` if the entry is gone. Few filesystems omit the type,
/// which costs a `statat`.
fn kind_of(
    dir: BorrowedFd<'_>,
    name: Name<'_>,
    entry: &RawDirEntry<'_>,
) -> Result<Option<FileType>> {
    if let Some(kind) = file_type(entry.file_type()) {
        return Ok(Some(kind));
    }
    match fs::statat(dir, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(kind(&stat))),
        Err(RustixErrno::NOENT) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}
