//! The stream of a directory's entries.
//!
//! A held directory cannot be read, so a listing opens a descriptor of its own when it is first
//! asked for, and keeps it with its buffer. Cookies are the kernel's (`d_off`), which keeps them
//! good across removals: nothing is counted, sorted or remembered, so a listing is linear, and a
//! large directory costs no memory.
//!
//! Lock order: the slot's mutex is a leaf, held only to take the stream out or to put it back. The
//! callback runs without it, so it may list the same directory; it gets a stream of its own then,
//! and the kernel's position is never shared.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, OFlags, RawDir, RawDirEntry, SeekFrom};
use rustix::io::Errno as Os;

use super::errno::errno;
use super::resolve::open_quietly;
use super::stat::{file_type, kind};
use crate::{Cookie, Entry, Errno, FileType, Name, Result, bug};

/// The most that one call asks the kernel for, in bytes: what libcs use.
const WINDOW_MAX: usize = 32 * 1024;
/// The least, in bytes: it must hold a few entries with names of 255 bytes.
const WINDOW_MIN: usize = 1024;
/// What the first call asks for, in bytes.
const WINDOW_START: usize = 8 * 1024;

/// A directory's stream, if it has one already.
pub(super) type Slot = Mutex<Option<Stream>>;

/// A descriptor that can be listed, and the buffer.
pub(super) struct Stream {
    fd: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
    /// How much to ask for first. A caller with little room breaks early and comes back, and what
    /// the kernel filled in beyond that is work for nothing.
    window: usize,
    /// Whether the kernel has given an entry through this descriptor.
    has_listed: bool,
    /// Whether this descriptor must not be listed again.
    is_spent: bool,
}

/// Calls `run` with the stream of `dir`; `reading` is what is said besides when it is opened.
///
/// Errors, in order: `Acces` if the directory may not be read; those of `run`.
pub(super) fn with_stream<T>(
    dir: BorrowedFd<'_>,
    slot: &Slot,
    reading: OFlags,
    run: impl FnOnce(&mut Stream) -> Result<T>,
) -> Result<T> {
    let kept = slot.lock().take();
    let mut stream = match kept {
        Some(stream) => stream,
        None => Stream::open(dir, reading)?,
    };
    let result = run(&mut stream);
    let mut slot = slot.lock();
    if slot.is_none() && !stream.is_spent {
        *slot = Some(stream);
    }
    result
}

/// What became of an entry.
enum Given {
    Go,
    Break,
}

impl Stream {
    fn open(dir: BorrowedFd<'_>, reading: OFlags) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | reading;
        let fd = open_quietly(dir, ".", flags).map_err(errno)?;
        let buffer = Box::new_uninit_slice(WINDOW_MAX);
        Ok(Stream { fd, buffer, window: WINDOW_START, has_listed: false, is_spent: false })
    }

    /// Makes the entries durable.
    pub(super) fn sync(&self) -> Result<()> {
        match fs::fsync(&self.fd) {
            // A filesystem whose directories cannot be synced has nothing to make durable.
            Ok(()) | Err(Os::INVAL) => Ok(()),
            Err(os) => Err(errno(os)),
        }
    }

    /// Calls `each` for the entries behind `from`, as
    /// [`Dir::read_dir`](crate::Dir::read_dir) says.
    pub(super) fn read(
        &mut self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if i64::try_from(from.0).is_err() {
            return Err(Errno::Inval);
        }
        fs::seek(&self.fd, SeekFrom::Start(from.0)).map_err(errno)?;
        let (mut window, mut given_len) = (self.window, 0);
        loop {
            let Some(area) = self.buffer.get_mut(..window) else {
                return Err(bug!("the buffer of a listing is shorter than {window}"));
            };
            let mut entries = RawDir::new(&self.fd, area);
            loop {
                let entry = match entries.next() {
                    None => {
                        // ext4 takes a position at the end, if it is the first that it is asked
                        // for, for the beginning too: the next listing would be empty.
                        self.is_spent = !self.has_listed;
                        return Ok(());
                    }
                    // A removed directory is empty.
                    Some(Err(Os::NOENT)) => return Ok(()),
                    Some(Err(os)) => return Err(errno(os)),
                    Some(Ok(entry)) => entry,
                };
                self.has_listed = true;
                given_len += raw_len(&entry);
                match give(self.fd.as_fd(), &entry, each)? {
                    Given::Go => {}
                    Given::Break => {
                        self.window = (given_len + given_len / 4).clamp(WINDOW_MIN, WINDOW_MAX);
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

/// The bytes that the entry takes in the kernel's buffer: `struct linux_dirent64`.
fn raw_len(entry: &RawDirEntry<'_>) -> usize {
    (19 + entry.file_name().count_bytes() + 1).next_multiple_of(8)
}

/// Gives one entry to `each`, unless it is none of ours.
fn give(
    dir: BorrowedFd<'_>,
    entry: &RawDirEntry<'_>,
    each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<Given> {
    // `.` and `..` are no names either.
    let Ok(Ok(name)) = entry.file_name().to_str().map(Name::new) else { return Ok(Given::Go) };
    let Some(kind) = kind_of(dir, name, entry)? else { return Ok(Given::Go) };
    let next = entry.next_entry_cookie();
    if i64::try_from(next).is_err() {
        return Err(Errno::Overflow);
    }
    let ino = entry.ino().max(1);
    Ok(match each(Entry { name, kind, ino, next: Cookie(next) }) {
        ControlFlow::Continue(()) => Given::Go,
        ControlFlow::Break(()) => Given::Break,
    })
}

/// The type of an entry; `None` if it is gone. Few filesystems make us ask.
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
        Err(Os::NOENT) => Ok(None),
        Err(os) => Err(errno(os)),
    }
}
