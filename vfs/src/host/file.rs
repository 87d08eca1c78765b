//! Open files of the host.

use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FallocateFlags};
use rustix::io::{self, Errno as Os, ReadWriteFlags};

use super::errno::errno;
use super::stat::{stat_of, timestamps};
use crate::{Access, Advice, Errno, File, FileType, Result, SetTimes, Stat, SyncScope};

/// Buffers that the kernel takes in one call.
const BUFFERS_MAX: usize = 1024;
/// The largest offset: POSIX's `off_t`.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// An open file.
///
/// Its type was looked up by name before it was opened, and a process of the host may have put
/// something else there in between. So no byte goes through the handle before the handle itself
/// has been asked, once: `is_regular` remembers that it has.
pub(super) struct HostFile {
    fd: OwnedFd,
    access: Access,
    is_regular: AtomicBool,
}

impl HostFile {
    /// A handle whose type was only seen by name.
    pub(super) fn unverified(fd: OwnedFd, access: Access) -> Self {
        HostFile { fd, access, is_regular: AtomicBool::new(false) }
    }

    /// A handle that is known to be a regular file.
    pub(super) fn verified(fd: OwnedFd, access: Access) -> Self {
        HostFile { fd, access, is_regular: AtomicBool::new(true) }
    }

    /// `Nxio` unless it is a regular file.
    fn verify(&self) -> Result<()> {
        if !self.is_regular.load(Ordering::Relaxed) {
            self.stat()?;
        }
        Ok(())
    }

    fn check_reads(&self) -> Result<()> {
        if !self.access.reads() {
            return Err(Errno::Badf);
        }
        self.verify()
    }

    fn check_writes(&self, errno: Errno) -> Result<()> {
        if !self.access.writes() {
            return Err(errno);
        }
        self.verify()
    }
}

/// Does it again as long as a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Os::INTR) => {}
            done => return done.map_err(errno),
        }
    }
}

impl File for HostFile {
    fn kind(&self) -> FileType {
        FileType::File
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.check_reads()?;
        if offset > OFFSET_MAX {
            return Ok(0);
        }
        let count = bufs.len().min(BUFFERS_MAX);
        match bufs.get_mut(..count).unwrap_or_default() {
            [] => Ok(0),
            [buf] => retry(|| io::pread(&self.fd, &mut buf[..], offset)),
            bufs => retry(|| io::preadv(&self.fd, bufs, offset)),
        }
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.check_writes(Errno::Badf)?;
        if offset > OFFSET_MAX {
            return Err(Errno::Fbig);
        }
        match bufs.get(..bufs.len().min(BUFFERS_MAX)).unwrap_or_default() {
            [] => Ok(0),
            [buf] => retry(|| io::pwrite(&self.fd, buf, offset)),
            bufs => retry(|| io::pwritev(&self.fd, bufs, offset)),
        }
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<(usize, u64)> {
        self.check_writes(Errno::Badf)?;
        let bufs = bufs.get(..bufs.len().min(BUFFERS_MAX)).unwrap_or_default();
        // An offset of -1 means the host's own offset, which moves behind what was written.
        let appended = retry(|| io::pwritev2(&self.fd, bufs, u64::MAX, ReadWriteFlags::APPEND));
        match appended {
            Ok(done) => Ok((done, fs::tell(&self.fd).map_err(errno)?)),
            // Some filesystems know no flags for a write. Two steps are the best that is left.
            Err(Errno::Notsup) => {
                let end = self.stat()?.size;
                let done = self.write_at(bufs, end)?;
                Ok((done, end.saturating_add(done as u64)))
            }
            Err(errno) => Err(errno),
        }
    }

    fn stat(&self) -> Result<Stat> {
        let stat = stat_of(&fs::fstat(&self.fd).map_err(errno)?);
        if stat.kind != FileType::File {
            return Err(Errno::Nxio);
        }
        self.is_regular.store(true, Ordering::Relaxed);
        Ok(stat)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.check_writes(Errno::Inval)?;
        if len > OFFSET_MAX {
            return Err(Errno::Fbig);
        }
        retry(|| fs::ftruncate(&self.fd, len))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.check_writes(Errno::Badf)?;
        if len == 0 {
            return Err(Errno::Inval);
        }
        match offset.checked_add(len) {
            Some(end) if end <= OFFSET_MAX => {}
            Some(_) | None => return Err(Errno::Fbig),
        }
        retry(|| fs::fallocate(&self.fd, FallocateFlags::empty(), offset, len))
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.verify()?;
        // On the handle itself, which may be one that only holds.
        fs::utimensat(&self.fd, "", &timestamps(times), AtFlags::EMPTY_PATH).map_err(errno)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        if self.access == Access::Hold {
            return Ok(());
        }
        self.verify()?;
        match scope {
            SyncScope::Data => retry(|| fs::fdatasync(&self.fd)),
            SyncScope::All => retry(|| fs::fsync(&self.fd)),
        }
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        if self.access == Access::Hold {
            return Ok(());
        }
        self.verify()?;
        let advice = match advice {
            Advice::Normal => fs::Advice::Normal,
            Advice::Sequential => fs::Advice::Sequential,
            Advice::Random => fs::Advice::Random,
            Advice::WillNeed => fs::Advice::WillNeed,
            Advice::DontNeed => fs::Advice::DontNeed,
            Advice::NoReuse => fs::Advice::NoReuse,
        };
        // A hint that the host does not take is no error.
        let _ = fs::fadvise(&self.fd, offset, NonZeroU64::new(len), advice);
        Ok(())
    }
}
