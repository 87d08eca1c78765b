//! `path_*`: operations on paths relative to a directory descriptor.

use palisade_kernel::{OpenRequest, RightsRequest};

use super::CallResult;
use crate::memory::{Memory, Ptr};
use crate::{Preview1, ZeroRights, layout, rights};

impl Preview1 {
    /// Creates a directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_create_directory>
    #[inline]
    pub(crate) fn path_create_directory(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> CallResult {
        self.process.create_dir(fd, mem.text(path, len)?)
    }

    /// Writes the attributes of the node at a path.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_filestat_get>
    #[inline]
    pub(crate) fn path_filestat_get(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
        path: Ptr,
        len: u32,
        result: Ptr,
    ) -> CallResult {
        let follow = layout::follow(flags)?;
        mem.check(result, layout::FILESTAT_LEN)?;
        let stat = self.process.stat_at(fd, mem.text(path, len)?, follow)?;
        mem.write(result, &layout::filestat(&stat))
    }

    /// Sets the times of the node at a path.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_filestat_set_times>
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn path_filestat_set_times(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
        path: Ptr,
        len: u32,
        accessed_ns: u64,
        modified_ns: u64,
        times: u32,
    ) -> CallResult {
        let follow = layout::follow(flags)?;
        let times = layout::set_times(accessed_ns, modified_ns, times)?;
        self.process.set_times_at(fd, mem.text(path, len)?, follow, times)
    }

    /// Creates a hard link.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_link>
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn path_link(
        &mut self,
        mem: &mut Memory<'_>,
        old_fd: u32,
        flags: u32,
        old: Ptr,
        old_len: u32,
        new_fd: u32,
        new: Ptr,
        new_len: u32,
    ) -> CallResult {
        let follow = layout::follow(flags)?;
        let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
        self.process.link((old_fd, old), follow, (new_fd, new))
    }

    /// Opens a file or directory and writes the new descriptor.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_open>
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn path_open(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        dir_flags: u32,
        path: Ptr,
        len: u32,
        open_flags: u32,
        base: u64,
        inheriting: u64,
        fd_flags: u32,
        result: Ptr,
    ) -> CallResult {
        // See `ZeroRights`: guests that do not use rights pass 0 for both.
        let rights = match (base, inheriting, self.zero_rights) {
            (0, 0, ZeroRights::Inherited) => RightsRequest::Inherited,
            _ => RightsRequest::Exactly {
                base: rights::from_bits(base),
                inheriting: rights::from_bits(inheriting),
            },
        };
        let requested = OpenRequest {
            follow: layout::follow(dir_flags)?,
            flags: layout::open_flags(open_flags)?,
            status: layout::status(fd_flags)?,
            rights,
        };
        mem.check(result, 4)?;
        let opened = self.process.open(fd, mem.text(path, len)?, requested)?;
        mem.write_u32(result, opened)
    }

    /// Writes the target of a symbolic link, truncated to the buffer.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_readlink>
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn path_readlink(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
        buf: Ptr,
        buf_len: u32,
        result: Ptr,
    ) -> CallResult {
        mem.check(result, 4)?;
        mem.check(buf, buf_len as usize)?;
        let target = self.process.read_link(fd, mem.text(path, len)?)?;
        let cut = target.as_bytes().get(..buf_len as usize).unwrap_or(target.as_bytes());
        mem.write(buf, cut)?;
        mem.write_size(result, cut.len())
    }

    /// Removes an empty directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_remove_directory>
    #[inline]
    pub(crate) fn path_remove_directory(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> CallResult {
        self.process.remove_dir(fd, mem.text(path, len)?)
    }

    /// Renames a file or directory.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_rename>
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn path_rename(
        &mut self,
        mem: &mut Memory<'_>,
        old_fd: u32,
        old: Ptr,
        old_len: u32,
        new_fd: u32,
        new: Ptr,
        new_len: u32,
    ) -> CallResult {
        let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
        self.process.rename((old_fd, old), (new_fd, new))
    }

    /// Creates a symbolic link.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_symlink>
    #[inline]
    pub(crate) fn path_symlink(
        &mut self,
        mem: &mut Memory<'_>,
        target: Ptr,
        target_len: u32,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> CallResult {
        self.process.create_symlink(mem.text(target, target_len)?, fd, mem.text(path, len)?)
    }

    /// Removes a file or symbolic link.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#path_unlink_file>
    #[inline]
    pub(crate) fn path_unlink_file(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> CallResult {
        self.process.remove_file(fd, mem.text(path, len)?)
    }
}
