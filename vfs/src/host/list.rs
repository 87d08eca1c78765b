//! Listing a held directory: the kernel's own stream, with its own cookies.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno as Os;

use super::errno::errno;
use super::stat::{kind_of, stat_of};
use crate::{Cookie, Entry, Name, Result};

/// Bytes of entries that one system call fetches.
const BLOCK_BYTES: usize = 32 * 1024;

/// A directory, open to be read.
pub(super) struct Stream {
    fd: OwnedFd,
    block: Box<[MaybeUninit<u8>]>,
}

impl Stream {
    /// Opens the held directory itself for reading: `.` is no name and leads nowhere else.
    pub(super) fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(dir, ".", flags, Mode::empty()).map_err(errno)?;
        Ok(Stream { fd, block: vec![MaybeUninit::uninit(); BLOCK_BYTES].into() })
    }

    pub(super) fn sync(&self) -> Result<()> {
        fs::fsync(&self.fd).map_err(errno)
    }

    /// Calls `each` for the entries behind `from`.
    pub(super) fn read(
        &mut self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        fs::seek(&self.fd, SeekFrom::Start(from.0)).map_err(errno)?;
        let mut entries = RawDir::new(&self.fd, &mut self.block);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory was removed: it is empty.
                Err(Os::NOENT) => return Ok(()),
                Err(os) => return Err(errno(os)),
            };
            // Names that are not UTF-8 cannot be spoken by a guest; `.` and `..` are no names.
            let Ok(text) = entry.file_name().to_str() else { continue };
            let Ok(name) = Name::new(text) else { continue };
            let kind = match kind_of(entry.file_type()) {
                Some(kind) => kind,
                // The filesystem keeps no types in its directories.
                None => match fs::statat(self.fd.as_fd(), text, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat_of(&stat).kind,
                    Err(_) => continue,
                },
            };
            let next = Cookie(entry.next_entry_cookie());
            if each(Entry { name, kind, ino: entry.ino().max(1), next }).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}
