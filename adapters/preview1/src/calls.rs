//! The functions of `wasi_snapshot_preview1`: each reads its arguments, asks the kernel, and writes
//! the answer. There is no rule here.
//!
//! Where a call has a result to write, its place is checked before anything happens, so that no
//! call does something and then cannot tell.

use std::ops::ControlFlow;

use palisade_kernel::{Dots, Exit, OpenAsked, RightsAsked, Subscription};
use palisade_vfs::{Errno, Result, SyncScope, bug};

use crate::memory::{Memory, Ptr, TransferLimits};
use crate::{Preview1, ZeroRights, errno, layout, rights};

/// An answer: nothing, or the errno that the guest gets.
pub(crate) type Answer = Result<()>;

impl Preview1 {
    #[inline(always)]
    fn transfer_limits(&self) -> TransferLimits {
        let limits = self.process.limits();
        TransferLimits { buffers_max: limits.buffers_max, bytes_max: limits.transfer_bytes_max }
    }

    pub(crate) fn args_get(&mut self, mem: &mut Memory<'_>, argv: Ptr, buf: Ptr) -> Answer {
        write_texts(mem, self.process.args(), argv, buf)
    }

    pub(crate) fn args_sizes_get(&mut self, mem: &mut Memory<'_>, argc: Ptr, len: Ptr) -> Answer {
        write_sizes(mem, self.process.args(), argc, len)
    }

    pub(crate) fn environ_get(&mut self, mem: &mut Memory<'_>, env: Ptr, buf: Ptr) -> Answer {
        write_texts(mem, self.process.env(), env, buf)
    }

    pub(crate) fn environ_sizes_get(
        &mut self,
        mem: &mut Memory<'_>,
        count: Ptr,
        len: Ptr,
    ) -> Answer {
        write_sizes(mem, self.process.env(), count, len)
    }

    #[inline]
    pub(crate) fn clock_res_get(&mut self, mem: &mut Memory<'_>, id: u32, result: Ptr) -> Answer {
        mem.write_u64(result, self.process.clock_resolution_ns(layout::clock_id(id)?)?)
    }

    #[inline]
    pub(crate) fn clock_time_get(
        &mut self,
        mem: &mut Memory<'_>,
        id: u32,
        _precision: u64,
        result: Ptr,
    ) -> Answer {
        mem.write_u64(result, self.process.clock_now_ns(layout::clock_id(id)?)?)
    }

    #[inline]
    pub(crate) fn fd_advise(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        offset: u64,
        len: u64,
        advice: u32,
    ) -> Answer {
        self.process.advise(fd, offset, len, layout::advice(advice)?)
    }

    #[inline]
    pub(crate) fn fd_allocate(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        offset: u64,
        len: u64,
    ) -> Answer {
        self.process.allocate(fd, offset, len)
    }

    #[inline]
    pub(crate) fn fd_close(&mut self, _mem: &mut Memory<'_>, fd: u32) -> Answer {
        self.process.close(fd)
    }

    #[inline]
    pub(crate) fn fd_datasync(&mut self, _mem: &mut Memory<'_>, fd: u32) -> Answer {
        self.process.sync(fd, SyncScope::Data)
    }

    #[inline]
    pub(crate) fn fd_fdstat_get(&mut self, mem: &mut Memory<'_>, fd: u32, result: Ptr) -> Answer {
        mem.write(result, &layout::fdstat(self.process.fdstat(fd)?))
    }

    #[inline]
    pub(crate) fn fd_fdstat_set_flags(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
    ) -> Answer {
        self.process.set_status(fd, layout::status(flags)?)
    }

    #[inline]
    pub(crate) fn fd_fdstat_set_rights(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> Answer {
        self.process.set_rights(fd, rights::from_bits(base), rights::from_bits(inheriting))
    }

    #[inline]
    pub(crate) fn fd_filestat_get(&mut self, mem: &mut Memory<'_>, fd: u32, result: Ptr) -> Answer {
        mem.check(result, layout::FILESTAT_LEN)?;
        mem.write(result, &layout::filestat(&self.process.stat(fd)?))
    }

    #[inline]
    pub(crate) fn fd_filestat_set_size(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        len: u64,
    ) -> Answer {
        self.process.set_len(fd, len)
    }

    #[inline]
    pub(crate) fn fd_filestat_set_times(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        accessed_ns: u64,
        modified_ns: u64,
        flags: u32,
    ) -> Answer {
        self.process.set_times(fd, layout::set_times(accessed_ns, modified_ns, flags)?)
    }

    #[inline]
    pub(crate) fn fd_pread(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        offset: u64,
        result: Ptr,
    ) -> Answer {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.read_into(iovs, count, limits, |bufs, before| {
            self.process.read_at(fd, bufs, offset.saturating_add(before as u64))
        })?;
        mem.write_size(result, done)
    }

    #[inline]
    pub(crate) fn fd_prestat_get(&mut self, mem: &mut Memory<'_>, fd: u32, result: Ptr) -> Answer {
        let name = self.process.preopen_name(fd)?;
        let len = u32::try_from(name.len()).map_err(|_| Errno::Overflow)?;
        mem.write(result, &layout::prestat(len))
    }

    #[inline]
    pub(crate) fn fd_prestat_dir_name(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        buf: Ptr,
        len: u32,
    ) -> Answer {
        let name = self.process.preopen_name(fd)?;
        if name.len() > len as usize {
            return Err(Errno::Nametoolong);
        }
        mem.write(buf, name.as_bytes())
    }

    #[inline]
    pub(crate) fn fd_pwrite(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        offset: u64,
        result: Ptr,
    ) -> Answer {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done =
            mem.write_from(iovs, count, limits, |bufs| self.process.write_at(fd, bufs, offset))?;
        mem.write_size(result, done)
    }

    #[inline]
    pub(crate) fn fd_read(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        result: Ptr,
    ) -> Answer {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.read_into(iovs, count, limits, |bufs, _| self.process.read(fd, bufs))?;
        mem.write_size(result, done)
    }

    #[inline]
    pub(crate) fn fd_readdir(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        buf: Ptr,
        len: u32,
        cookie: u64,
        result: Ptr,
    ) -> Answer {
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
                // A last entry that does not fit is cut: a full buffer tells that there is more.
                for (to, from) in room.iter_mut().zip(part) {
                    *to = *from;
                }
                used += n;
            }
            if used < out.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        mem.write_size(result, used)
    }

    #[inline]
    pub(crate) fn fd_renumber(&mut self, _mem: &mut Memory<'_>, from: u32, to: u32) -> Answer {
        self.process.renumber(from, to)
    }

    #[inline]
    pub(crate) fn fd_seek(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        delta: i64,
        whence: u32,
        result: Ptr,
    ) -> Answer {
        let whence = layout::whence(whence)?;
        mem.check(result, 8)?;
        mem.write_u64(result, self.process.seek(fd, delta, whence)?)
    }

    #[inline]
    pub(crate) fn fd_sync(&mut self, _mem: &mut Memory<'_>, fd: u32) -> Answer {
        self.process.sync(fd, SyncScope::All)
    }

    #[inline]
    pub(crate) fn fd_tell(&mut self, mem: &mut Memory<'_>, fd: u32, result: Ptr) -> Answer {
        mem.write_u64(result, self.process.tell(fd)?)
    }

    #[inline]
    pub(crate) fn fd_write(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        iovs: Ptr,
        count: u32,
        result: Ptr,
    ) -> Answer {
        let limits = self.transfer_limits();
        mem.check(result, 4)?;
        let done = mem.write_from(iovs, count, limits, |bufs| self.process.write(fd, bufs))?;
        mem.write_size(result, done)
    }

    #[inline]
    pub(crate) fn path_create_directory(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> Answer {
        self.process.create_dir(fd, mem.text(path, len)?)
    }

    #[inline]
    pub(crate) fn path_filestat_get(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
        path: Ptr,
        len: u32,
        result: Ptr,
    ) -> Answer {
        let follow = layout::follow(flags)?;
        mem.check(result, layout::FILESTAT_LEN)?;
        let stat = self.process.stat_at(fd, mem.text(path, len)?, follow)?;
        mem.write(result, &layout::filestat(&stat))
    }

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
    ) -> Answer {
        let follow = layout::follow(flags)?;
        let times = layout::set_times(accessed_ns, modified_ns, times)?;
        self.process.set_times_at(fd, mem.text(path, len)?, follow, times)
    }

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
    ) -> Answer {
        let follow = layout::follow(flags)?;
        let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
        self.process.link((old_fd, old), follow, (new_fd, new))
    }

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
    ) -> Answer {
        // A caller that asks for no right at all does not speak rights; all others are taken at
        // their word.
        let rights = match (base, inheriting, self.zero_rights) {
            (0, 0, ZeroRights::Unspoken) => RightsAsked::Inherited,
            _ => RightsAsked::Exactly {
                base: rights::from_bits(base),
                inheriting: rights::from_bits(inheriting),
            },
        };
        let asked = OpenAsked {
            follow: layout::follow(dir_flags)?,
            flags: layout::open_flags(open_flags)?,
            status: layout::status(fd_flags)?,
            rights,
        };
        mem.check(result, 4)?;
        let opened = self.process.open(fd, mem.text(path, len)?, asked)?;
        mem.write_u32(result, opened)
    }

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
    ) -> Answer {
        mem.check(result, 4)?;
        mem.check(buf, buf_len as usize)?;
        let target = self.process.read_link(fd, mem.text(path, len)?)?;
        let cut = target.as_bytes().get(..buf_len as usize).unwrap_or(target.as_bytes());
        mem.write(buf, cut)?;
        mem.write_size(result, cut.len())
    }

    #[inline]
    pub(crate) fn path_remove_directory(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> Answer {
        self.process.remove_dir(fd, mem.text(path, len)?)
    }

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
    ) -> Answer {
        let (old, new) = (mem.text(old, old_len)?, mem.text(new, new_len)?);
        self.process.rename((old_fd, old), (new_fd, new))
    }

    #[inline]
    pub(crate) fn path_symlink(
        &mut self,
        mem: &mut Memory<'_>,
        target: Ptr,
        target_len: u32,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> Answer {
        self.process.create_symlink(mem.text(target, target_len)?, fd, mem.text(path, len)?)
    }

    #[inline]
    pub(crate) fn path_unlink_file(
        &mut self,
        mem: &mut Memory<'_>,
        fd: u32,
        path: Ptr,
        len: u32,
    ) -> Answer {
        self.process.remove_file(fd, mem.text(path, len)?)
    }

    pub(crate) fn poll_oneoff(
        &mut self,
        mem: &mut Memory<'_>,
        subscriptions: Ptr,
        events: Ptr,
        count: u32,
        result: Ptr,
    ) -> Answer {
        if count == 0 || count > self.process.limits().subscriptions_max {
            return Err(Errno::Inval);
        }
        mem.check(result, 4)?;
        mem.check(events, count as usize * layout::EVENT_LEN as usize)?;
        let len = count.checked_mul(layout::SUBSCRIPTION_LEN).ok_or(Errno::Fault)?;
        let read = mem.slice(subscriptions, len)?.chunks_exact(layout::SUBSCRIPTION_LEN as usize);
        let asked = read.map(layout::subscription).collect::<Result<Vec<_>>>()?;
        let waits: Vec<Subscription> = asked.iter().map(|(_, _, wait)| *wait).collect();
        let told = self.process.poll(&waits)?;
        let mut at = events;
        for event in &told {
            let asked = asked.get(event.index);
            let (userdata, kind, _) = asked.ok_or_else(|| bug!("no event {}", event.index))?;
            let (number, bytes, hung_up) = match event.result {
                Ok(ready) => (0, ready.bytes, u16::from(ready.hung_up)),
                Err(refused) => (errno::of(refused), 0, 0),
            };
            mem.write(at, &layout::event(*userdata, number, *kind, bytes, hung_up))?;
            at += layout::EVENT_LEN;
        }
        mem.write_size(result, told.len())
    }

    /// Ends the guest, as a value.
    pub(crate) fn proc_exit(code: u32) -> Exit {
        Exit(code)
    }

    pub(crate) fn proc_raise(&mut self, _mem: &mut Memory<'_>, _signal: u32) -> Answer {
        // There is nobody who could handle it.
        Err(Errno::Notsup)
    }

    #[inline]
    pub(crate) fn random_get(&mut self, mem: &mut Memory<'_>, buf: Ptr, len: u32) -> Answer {
        self.process.random(mem.slice_mut(buf, len)?)
    }

    pub(crate) fn sched_yield(&mut self, _mem: &mut Memory<'_>) -> Answer {
        std::thread::yield_now();
        Ok(())
    }

    pub(crate) fn sock_accept(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
        _result: Ptr,
    ) -> Answer {
        layout::status(flags)?;
        self.no_socket(fd)
    }

    #[expect(clippy::too_many_arguments, reason = "the specification's arguments")]
    pub(crate) fn sock_recv(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        _iovs: Ptr,
        _count: u32,
        _flags: u32,
        _result: Ptr,
        _result_flags: Ptr,
    ) -> Answer {
        self.no_socket(fd)
    }

    pub(crate) fn sock_send(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        _iovs: Ptr,
        _count: u32,
        _flags: u32,
        _result: Ptr,
    ) -> Answer {
        self.no_socket(fd)
    }

    pub(crate) fn sock_shutdown(&mut self, _mem: &mut Memory<'_>, fd: u32, how: u32) -> Answer {
        if how == 0 || how > 3 {
            return Err(Errno::Inval);
        }
        self.no_socket(fd)
    }

    /// No descriptor is a socket.
    fn no_socket(&self, fd: u32) -> Answer {
        self.process.kind(fd)?;
        Err(Errno::Notsock)
    }
}

fn write_sizes<'t>(
    mem: &mut Memory<'_>,
    texts: impl ExactSizeIterator<Item = &'t str>,
    count: Ptr,
    len: Ptr,
) -> Answer {
    mem.check(count, 4)?;
    mem.check(len, 4)?;
    mem.write_size(count, texts.len())?;
    mem.write_size(len, texts.map(|text| text.len() + 1).sum())
}

/// Writes each text with a NUL at `buf`, and where it begins at `table`.
fn write_texts<'t>(
    mem: &mut Memory<'_>,
    texts: impl ExactSizeIterator<Item = &'t str>,
    table: Ptr,
    buf: Ptr,
) -> Answer {
    let (mut table, mut buf) = (table, buf);
    for text in texts {
        let len = u32::try_from(text.len() + 1).map_err(|_| Errno::Overflow)?;
        mem.write_u32(table, buf)?;
        let place = mem.slice_mut(buf, len)?;
        for (to, from) in place.iter_mut().zip(text.bytes().chain([0])) {
            *to = from;
        }
        table = table.checked_add(4).ok_or(Errno::Fault)?;
        buf = buf.checked_add(len).ok_or(Errno::Fault)?;
    }
    Ok(())
}
