//! An open regular file of the host.
//!
//! The handle stores its access mode and checks it itself: the descriptor may permit more (a file
//! that is created and only held is open for reading).
//!
//! The type of a file is checked a moment before the open, and another process may have replaced
//! the file by a FIFO or a device in between. So the first use of the handle checks the type of the
//! open descriptor, and nothing but a regular file is read or written.
//!
//! Lock order:
//!
//! - `HostFile::appends`
//!   - [`FALLBACK`]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FallocateFlags, OFlags, SeekFrom};
use rustix::io::{self, Errno as RustixErrno, ReadWriteFlags};

use super::errno::errno;
use super::filesystem::is_pseudo_file;
use super::stat::{kind, stat, timestamps};
use crate::{
    Access, Advice, Errno, File, FileType, OpenFlags, OpenHow, Result, SetTimes, Stat, SyncScope,
    bug,
};

/// The most buffers in one call: Linux's `IOV_MAX`.
const BUFFERS_MAX: usize = 1024;
/// The largest offset: Linux's `loff_t`.
const OFFSET_MAX: u64 = i64::MAX.unsigned_abs();
/// The offset with which `pwritev2` uses the descriptor's position: its `-1`.
const AT_POSITION: u64 = u64::MAX;

/// Serializes appends on filesystems without an atomic append, among the handles of this process.
static FALLBACK: Mutex<()> = Mutex::new(());

/// An open regular file of the host.
pub(super) struct HostFile {
    fd: OwnedFd,
    access: Access,
    /// Whether the descriptor is known to be a regular file's. Changes only to true, and orders no
    /// other memory, so `Relaxed` suffices.
    is_verified: AtomicBool,
    /// Whether the descriptor was opened with `O_APPEND`.
    was_opened_to_append: bool,
    /// The current append mode of the descriptor. Locked during an append, and while the mode
    /// changes.
    appends: Mutex<Appends>,
}

/// How appends to the descriptor are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appends {
    /// Every write appends (`O_APPEND`).
    Always,
    /// Only writes with `RWF_APPEND` append.
    PerWrite,
}

impl HostFile {
    /// Wraps a descriptor that is known to be a regular file's.
    pub(super) fn verified(fd: OwnedFd, how: OpenHow) -> Self {
        Self::new(fd, how, AtomicBool::new(true))
    }

    /// Wraps a descriptor whose name led to a regular file a moment ago.
    pub(super) fn unverified(fd: OwnedFd, how: OpenHow) -> Self {
        Self::new(fd, how, AtomicBool::new(false))
    }

    fn new(fd: OwnedFd, how: OpenHow, is_verified: AtomicBool) -> Self {
        let was_opened_to_append = how.flags.contains(OpenFlags::APPEND);
        let appends = if was_opened_to_append { Appends::Always } else { Appends::PerWrite };
        let appends = Mutex::new(appends);
        HostFile { fd, access: how.access, is_verified, was_opened_to_append, appends }
    }

    /// Returns the descriptor.
    ///
    /// # Errors
    ///
    /// - `ENXIO`: the descriptor is not a regular file's.
    /// - `EACCES`: the file is on a pseudo filesystem.
    fn fd(&self) -> Result<BorrowedFd<'_>> {
        if !self.is_verified.load(Ordering::Relaxed) {
            self.fstat()?;
        }
        Ok(self.fd.as_fd())
    }

    fn fstat(&self) -> Result<Stat> {
        let stat_buf = fs::fstat(&self.fd).map_err(errno)?;
        if kind(&stat_buf) != FileType::File {
            return Err(Errno::Nxio);
        }
        if !self.is_verified.load(Ordering::Relaxed)
            && is_pseudo_file(self.fd.as_fd(), &stat_buf).map_err(errno)?
        {
            return Err(Errno::Acces);
        }
        self.is_verified.store(true, Ordering::Relaxed);
        Ok(stat(&stat_buf))
    }

    fn writable_fd(&self) -> Result<BorrowedFd<'_>> {
        if !self.access.writes() {
            return Err(Errno::Badf);
        }
        self.fd()
    }

    /// Clears `O_APPEND`: Linux ignores the offset of `pwrite` on a descriptor with that flag.
    fn clear_append_flag(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let mut appends = self.appends.lock();
        if *appends == Appends::Always {
            let flags = fs::fcntl_getfl(fd).map_err(errno)?;
            fs::fcntl_setfl(fd, flags - OFlags::APPEND).map_err(errno)?;
            *appends = Appends::PerWrite;
        }
        Ok(())
    }
}

#[cfg(feature = "overlay")]
impl AsFd for HostFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl File for HostFile {
    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        if offset > OFFSET_MAX {
            return Ok(0);
        }
        let fd = self.fd()?;
        let skipped = bufs.iter().take_while(|buf| buf.is_empty()).count();
        let end = bufs.len().min(skipped + BUFFERS_MAX);
        let Some(bufs) = bufs.get_mut(skipped..end) else {
            return Err(bug!("no buffers from {skipped} to {end}"));
        };
        let room = OFFSET_MAX - offset;
        let is_past = total_len(bufs.iter().map(|buf| buf.len())) > room;
        match bufs {
            [] => Ok(0),
            // Linux rejects a read past the last offset with `EINVAL` instead of returning a
            // short read.
            [first, ..] if is_past => {
                let len = usize::try_from(room).unwrap_or(usize::MAX).min(first.len());
                let Some(first) = first.get_mut(..len) else {
                    return Err(bug!("a buffer is shorter than {len}"));
                };
                io::pread(fd, first, offset).map_err(errno)
            }
            [only] => io::pread(fd, &mut **only, offset).map_err(errno),
            several => io::preadv(fd, several, offset).map_err(errno),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        let fd = self.writable_fd()?;
        if self.was_opened_to_append {
            self.clear_append_flag(fd)?;
        }
        let bufs = buffers_of_one_call(bufs);
        if offset > OFFSET_MAX - total_len(bufs.iter().map(|buf| buf.len())) {
            return Err(Errno::Fbig);
        }
        match bufs {
            [] => Ok(0),
            [only] => io::pwrite(fd, only, offset).map_err(errno),
            several => io::pwritev(fd, several, offset).map_err(errno),
        }
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        let fd = self.writable_fd()?;
        let bufs = buffers_of_one_call(bufs);
        if bufs.is_empty() {
            return Ok(0);
        }
        let appends = self.appends.lock();
        let appended = match (*appends, bufs) {
            (Appends::Always, [only]) => io::write(fd, only),
            (Appends::Always, several) => io::writev(fd, several),
            (Appends::PerWrite, _) => io::pwritev2(fd, bufs, AT_POSITION, ReadWriteFlags::APPEND),
        };
        match appended {
            Err(RustixErrno::OPNOTSUPP | RustixErrno::NOSYS) => {}
            other => return other.map_err(errno),
        }
        // Not atomic for other processes; [`FALLBACK`] excludes the other handles of this process.
        let _turn = FALLBACK.lock();
        let end = self.fstat()?.size;
        let len = self.write_at(bufs, end)?;
        fs::seek(fd, SeekFrom::Start(end.saturating_add(len as u64))).map_err(errno)?;
        Ok(len)
    }

    /// Returns the descriptor's position: each append moves it to the end, and nothing else uses
    /// it.
    fn appended_to(&self) -> Result<u64> {
        fs::tell(self.fd()?).map_err(errno)
    }

    fn stat(&self) -> Result<Stat> {
        self.fstat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        if !self.access.writes() {
            return Err(Errno::Inval);
        }
        if len > OFFSET_MAX {
            return Err(Errno::Fbig);
        }
        fs::ftruncate(self.fd()?, len).map_err(errno)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        let fd = self.writable_fd()?;
        if len == 0 {
            return Err(Errno::Inval);
        }
        if offset.checked_add(len).is_none_or(|end| end > OFFSET_MAX) {
            return Err(Errno::Fbig);
        }
        fs::fallocate(fd, FallocateFlags::empty(), offset, len).map_err(errno)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        let fd = self.fd()?;
        let times = timestamps(times);
        if self.access != Access::Hold {
            return fs::futimens(fd, &times).map_err(errno);
        }
        // `futimens` rejects an `O_PATH` descriptor.
        match fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH) {
            Ok(()) => Ok(()),
            // Versions of Linux before 5.8 do not support the flag.
            Err(RustixErrno::INVAL) => Err(Errno::Notsup),
            Err(os) => Err(errno(os)),
        }
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        if self.access == Access::Hold {
            return Ok(());
        }
        let fd = self.fd()?;
        match scope {
            SyncScope::Data => fs::fdatasync(fd).map_err(errno),
            SyncScope::All => fs::fsync(fd).map_err(errno),
        }
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        if offset > OFFSET_MAX || len > OFFSET_MAX {
            return Err(Errno::Inval);
        }
        if self.access == Access::Hold {
            return Ok(());
        }
        let advice = match advice {
            Advice::Normal => fs::Advice::Normal,
            Advice::Sequential => fs::Advice::Sequential,
            Advice::Random => fs::Advice::Random,
            Advice::WillNeed => fs::Advice::WillNeed,
            Advice::DontNeed => fs::Advice::DontNeed,
            Advice::NoReuse => fs::Advice::NoReuse,
        };
        // A rejected hint is not an error.
        let _ = fs::fadvise(self.fd()?, offset, std::num::NonZeroU64::new(len), advice);
        Ok(())
    }
}

/// Returns the buffers for one call, without leading empty ones: 0 written bytes must mean that
/// there was nothing to write.
fn buffers_of_one_call<'a, 'b>(bufs: &'a [IoSlice<'b>]) -> &'a [IoSlice<'b>] {
    let skipped = bufs.iter().take_while(|buf| buf.is_empty()).count();
    let buffers_of_one_call = bufs.get(skipped..bufs.len().min(skipped + BUFFERS_MAX));
    buffers_of_one_call.unwrap_or_else(|| bug!(&[]; "no buffers from {skipped}"))
}

/// Returns the sum of lengths, at most [`OFFSET_MAX`].
fn total_len(lens: impl Iterator<Item = usize>) -> u64 {
    let add = |sum: u64, len| sum.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    lens.fold(0, add).min(OFFSET_MAX)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the tests arrange the host's side")]
mod tests {
    use rustix::fs::{CWD, Mode};

    use super::*;

    /// The state after `open_unless_replaced` if another process puts a FIFO in the file's place
    /// between the `statat` and the open.
    #[test]
    fn unverified_handle_of_a_fifo_is_enxio() {
        let temp = tempfile::tempdir().unwrap();
        let at = temp.path().join("fifo");
        fs::mkfifoat(CWD, &at, Mode::from_raw_mode(0o600)).unwrap();
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            // Both ends, so that a write would succeed.
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let fd = fs::openat(CWD, &at, flags, Mode::empty()).unwrap();
            let reader = fs::openat(CWD, &at, flags, Mode::empty()).unwrap();
            let file = HostFile::unverified(fd, OpenHow::new(access, OpenFlags::empty()));
            let bytes = [IoSlice::new(b"leak")];
            if access.writes() {
                assert_eq!(file.append(&bytes), Err(Errno::Nxio));
                assert_eq!(file.write_at(&bytes, 0), Err(Errno::Nxio));
                assert_eq!(file.set_len(0), Err(Errno::Nxio));
                assert_eq!(file.allocate(0, 1), Err(Errno::Nxio));
            }
            if access.reads() {
                let mut room = [0; 4];
                let read = file.read_at(&mut [IoSliceMut::new(&mut room)], 0);
                assert_eq!(read, Err(Errno::Nxio));
            }
            assert_eq!(file.stat().map(drop), Err(Errno::Nxio));
            assert_eq!(file.set_times(SetTimes::default()), Err(Errno::Nxio));
            assert_eq!(file.sync(SyncScope::All), Err(Errno::Nxio));
            assert_eq!(file.appended_to(), Err(Errno::Nxio));
            let mut room = [0; 4];
            assert_eq!(io::read(&reader, &mut room), Err(RustixErrno::AGAIN), "{access:?}");
        }
    }
}
