//! `fd_*`: operations on open descriptors.

use std::ops::ControlFlow;

use palisade_kernel::Dots;
use palisade_vfs::{Errno, SyncScope, bug};

use super::CallResult;
use crate::memory::{Memory, Ptr, TransferLimits};
use crate::{Preview1, layout, rights};

impl Preview1 {
    #[inline(always)]
    fn transfer_limits(&self) -> TransferLimits {
        let limits = self.process.limits();
        TransferLimits { buffers_max: limits.buffers_max, bytes_max: limits.transfer_bytes_max }
    }

    /// Passes an access pattern hint to the file.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_advise>
    #[inline]
    pub(crate) fn fd_advise(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        offset: u64,
        len: u64,
        advice: u32,
    ) -> CallResult {
        self.process.advise(fd, offset, len, layout::advice(advice)?)
    }

    /// Allocates space in a file.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_allocate>
    #[inline]
    pub(crate) fn fd_allocate(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        offset: u64,
        len: u64,
    ) -> CallResult {
        self.process.allocate(fd, offset, len)
    }

    /// Closes a descriptor.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_close>
    #[inline]
    pub(crate) fn fd_close(&mut self, _mem: &mut Memory<'_>, fd: u32) -> CallResult {
        self.process.close(fd)
    }

    /// Synchronizes the data of a file to disk.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_datasync>
    #[inline]
    pub(crate) fn fd_datasync(&mut self, _mem: &mut Memory<'_>, fd: u32) -> CallResult {
        self.process.sync(fd, SyncScope::Data)
    }

    /// Writes the type, flags and rights of a descriptor.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_fdstat_get>
    #[inline]
    pub(crate) fn fd_fdstat_get(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        result: Ptr,
    ) -> CallResult {
        mem.write(result, &layout::fdstat(self.process.fdstat(fd)?))
    }

    /// Replaces the status flags of a descriptor.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_fdstat_set_flags>
    #[inline]
    pub(crate) fn fd_fdstat_set_flags(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
    ) -> CallResult {
        self.process.set_status(fd, layout::status(flags)?)
    }

    /// Reduces the rights of a descriptor.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_fdstat_set_rights>
    #[inline]
    pub(crate) fn fd_fdstat_set_rights(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> CallResult {
        self.process.set_rights(fd, rights::from_bits(base), rights::from_bits(inheriting))
    }

    /// Writes the attributes of an open file or directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_filestat_get>
    #[inline]
    pub(crate) fn fd_filestat_get(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        result: Ptr,
    ) -> CallResult {
        mem.check(result, layout::FILESTAT_LEN)?;
        mem.write(result, &layout::filestat(&self.process.stat(fd)?))
    }

    /// Sets the size of a file.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_filestat_set_size>
    #[inline]
    pub(crate) fn fd_filestat_set_size(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        len: u64,
    ) -> CallResult {
        self.process.set_len(fd, len)
    }

    /// Sets the times of an open file or directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_filestat_set_times>
    #[inline]
    pub(crate) fn fd_filestat_set_times(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        accessed_ns: u64,
        modified_ns: u64,
        flags: u32,
    ) -> CallResult {
        self.process.set_times(fd, layout::set_times(accessed_ns, modified_ns, flags)?)
    }

    /// Reads at an offset, without using or moving the current offset.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_pread>
    #[inline]
    pub(crate) fn fd_pread(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        offset: u64,
        result: Ptr,
    ) -> CallResult {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.read_into(iovs, count, limits, |bufs, before| {
            self.process.read_at(fd, bufs, offset.saturating_add(before as u64))
        })?;
        mem.write_size(result, done)
    }

    /// Writes the length of the name of a preopened directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_prestat_get>
    #[inline]
    pub(crate) fn fd_prestat_get(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        result: Ptr,
    ) -> CallResult {
        let name = self.process.preopen_name(fd)?;
        let len = u32::try_from(name.len()).map_err(|_| Errno::Overflow)?;
        mem.write(result, &layout::prestat(len))
    }

    /// Writes the name of a preopened directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_prestat_dir_name>
    #[inline]
    pub(crate) fn fd_prestat_dir_name(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        buf: Ptr,
        len: u32,
    ) -> CallResult {
        let name = self.process.preopen_name(fd)?;
        if name.len() > len as usize {
            return Err(Errno::Nametoolong);
        }
        mem.write(buf, name.as_bytes())
    }

    /// Writes at an offset, without using or moving the current offset.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_pwrite>
    #[inline]
    pub(crate) fn fd_pwrite(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        offset: u64,
        result: Ptr,
    ) -> CallResult {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done =
            mem.write_from(iovs, count, limits, |bufs| self.process.write_at(fd, bufs, offset))?;
        mem.write_size(result, done)
    }

    /// Reads at the current offset and advances it.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_read>
    #[inline]
    pub(crate) fn fd_read(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        result: Ptr,
    ) -> CallResult {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.read_into(iovs, count, limits, |bufs, _| self.process.read(fd, bufs))?;
        mem.write_size(result, done)
    }

    /// Writes as many directory entries as fit. The last entry may be truncated.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_readdir>
    #[inline]
    pub(crate) fn fd_readdir(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        buf: Ptr,
        len: u32,
        cookie: u64,
        result: Ptr,
    ) -> CallResult {
        mem.check(result, 4)?;
        let out = mem.slice_mut(buf, len)?;
        let mut used = 0;
        self.process.read_dir(fd, cookie, Dots::With, &mut |entry| {
            let name = entry.name.as_bytes();
            let name_len = u32::try_from(name.len());
            let name_len = name_len.unwrap_or_else(|_| bug!(u32::MAX; "a name is too long"));
            let head = layout::dirent(entry.next, entry.ino, name_len, entry.kind);
            for part in [&head[..], name] {
                let room = out.get_mut(used..).unwrap_or_else(|| bug!(&mut []; "{used} bytes"));
                let n = part.len().min(room.len());
                // The last entry is truncated: a full buffer means that there are more entries.
                for (to, from) in room.iter_mut().zip(part) {
                    *to = *from;
                }
                used += n;
            }
            if used < out.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        mem.write_size(result, used)
    }

    /// Moves a descriptor to another open number.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_renumber>
    #[inline]
    pub(crate) fn fd_renumber(&mut self, _mem: &mut Memory<'_>, from: u32, to: u32) -> CallResult {
        self.process.renumber(from, to)
    }

    /// Moves the current offset and writes it.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_seek>
    #[inline]
    pub(crate) fn fd_seek(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        delta: i64,
        whence: u32,
        result: Ptr,
    ) -> CallResult {
        let whence = layout::whence(whence)?;
        mem.check(result, 8)?;
        mem.write_u64(result, self.process.seek(fd, delta, whence)?)
    }

    /// Synchronizes the data and metadata of a file to disk.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_sync>
    #[inline]
    pub(crate) fn fd_sync(&mut self, _mem: &mut Memory<'_>, fd: u32) -> CallResult {
        self.process.sync(fd, SyncScope::All)
    }

    /// Writes the current offset.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_tell>
    #[inline]
    pub(crate) fn fd_tell(&mut self, mem: &mut Memory<'_>, fd: u32, result: Ptr) -> CallResult {
        mem.write_u64(result, self.process.tell(fd)?)
    }

    /// Writes at the current offset and advances it.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#fd_write>
    #[inline]
    pub(crate) fn fd_write(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        result: Ptr,
    ) -> CallResult {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.write_from(iovs, count, limits, |bufs| self.process.write(fd, bufs))?;
        mem.write_size(result, done)
    }
}
