//! Arguments, environment, clocks, random bytes, polling and exit.

use palisade_kernel::{Exit, Subscription};
use palisade_vfs::{Errno, Result, bug};

use super::CallResult;
use crate::memory::{Memory, Ptr};
use crate::{Preview1, errno, layout};

impl Preview1 {
    /// Writes the arguments, each with a NUL, and a table of pointers to them.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#args_get>
    pub(crate) fn args_get(&mut self, mem: &mut Memory<'_>, argv: Ptr, buf: Ptr) -> CallResult {
        write_strings(mem, self.process.args(), argv, buf)
    }

    /// Writes the number of arguments and their total size in bytes.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#args_sizes_get>
    pub(crate) fn args_sizes_get(
        &mut self,
        mem: &mut Memory<'_>,
        argc: Ptr,
        len: Ptr,
    ) -> CallResult {
        write_sizes(mem, self.process.args(), argc, len)
    }

    /// Writes the variables as `NAME=VALUE`, each with a NUL, and a table of pointers to them.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#environ_get>
    pub(crate) fn environ_get(&mut self, mem: &mut Memory<'_>, env: Ptr, buf: Ptr) -> CallResult {
        write_strings(mem, self.process.env(), env, buf)
    }

    /// Writes the number of variables and their total size in bytes.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#environ_sizes_get>
    pub(crate) fn environ_sizes_get(
        &mut self,
        mem: &mut Memory<'_>,
        count: Ptr,
        len: Ptr,
    ) -> CallResult {
        write_sizes(mem, self.process.env(), count, len)
    }

    /// Writes the resolution of a clock in nanoseconds.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#clock_res_get>
    #[inline]
    pub(crate) fn clock_res_get(
        &mut self,
        mem: &mut Memory<'_>,
        id: u32,
        result: Ptr,
    ) -> CallResult {
        mem.write_u64(result, self.process.clock_resolution_ns(layout::clock_id(id)?)?)
    }

    /// Writes the time of a clock in nanoseconds. `precision` is ignored.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#clock_time_get>
    #[inline]
    pub(crate) fn clock_time_get(
        &mut self,
        mem: &mut Memory<'_>,
        id: u32,
        _precision: u64,
        result: Ptr,
    ) -> CallResult {
        mem.write_u64(result, self.process.clock_now_ns(layout::clock_id(id)?)?)
    }

    /// Waits until at least one subscription is ready, and writes the events.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#poll_oneoff>
    pub(crate) fn poll_oneoff(
        &mut self,
        mem: &mut Memory<'_>,
        subscriptions: Ptr,
        events: Ptr,
        count: u32,
        result: Ptr,
    ) -> CallResult {
        if count == 0 || count > self.process.limits().subscriptions_max {
            return Err(Errno::Inval);
        }
        mem.check(result, 4)?;
        mem.check(events, count as usize * layout::EVENT_LEN as usize)?;
        let len = count.checked_mul(layout::SUBSCRIPTION_LEN).ok_or(Errno::Fault)?;
        let read = mem.slice(subscriptions, len)?.chunks_exact(layout::SUBSCRIPTION_LEN as usize);
        let requested = read.map(layout::subscription).collect::<Result<Vec<_>>>()?;
        let waits: Vec<Subscription> = requested.iter().map(|(_, _, wait)| *wait).collect();
        let ready = self.process.poll(&waits)?;
        let mut at = events;
        for event in &ready {
            let requested = requested.get(event.index);
            let (userdata, kind, _) = requested.ok_or_else(|| bug!("no event {}", event.index))?;
            let (number, bytes, hung_up) = match event.result {
                Ok(ready) => (0, ready.bytes, u16::from(ready.hung_up)),
                Err(refused) => (errno::of(refused), 0, 0),
            };
            mem.write(at, &layout::event(*userdata, number, *kind, bytes, hung_up))?;
            at += layout::EVENT_LEN;
        }
        mem.write_size(result, ready.len())
    }

    /// Returns the exit code as the value that an engine ends the guest with.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#proc_exit>
    pub(crate) fn proc_exit(code: u32) -> Exit {
        Exit(code)
    }

    /// Always `Notsup`: a guest has no signal handlers.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#proc_raise>
    pub(crate) fn proc_raise(&mut self, _mem: &mut Memory<'_>, _signal: u32) -> CallResult {
        Err(Errno::Notsup)
    }

    /// Fills a buffer with random bytes.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#random_get>
    #[inline]
    pub(crate) fn random_get(&mut self, mem: &mut Memory<'_>, buf: Ptr, len: u32) -> CallResult {
        self.process.random(mem.slice_mut(buf, len)?)
    }

    /// Yields the host thread.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#sched_yield>
    pub(crate) fn sched_yield(&mut self, _mem: &mut Memory<'_>) -> CallResult {
        std::thread::yield_now();
        Ok(())
    }
}

/// Writes the number of strings to `count` and their size with NULs to `len`.
fn write_sizes<'s>(
    mem: &mut Memory<'_>,
    strings: impl ExactSizeIterator<Item = &'s str>,
    count: Ptr,
    len: Ptr,
) -> CallResult {
    mem.check(count, 4)?;
    mem.check(len, 4)?;
    mem.write_size(count, strings.len())?;
    mem.write_size(len, strings.map(|string| string.len() + 1).sum())
}

/// Writes the strings with NULs from `buf` on, and a pointer to each from `table` on.
fn write_strings<'s>(
    mem: &mut Memory<'_>,
    strings: impl ExactSizeIterator<Item = &'s str>,
    table: Ptr,
    buf: Ptr,
) -> CallResult {
    let (mut table, mut buf) = (table, buf);
    for string in strings {
        let len = u32::try_from(string.len() + 1).map_err(|_| Errno::Overflow)?;
        mem.write_u32(table, buf)?;
        let slot = mem.slice_mut(buf, len)?;
        for (to, from) in slot.iter_mut().zip(string.bytes().chain([0])) {
            *to = from;
        }
        table = table.checked_add(4).ok_or(Errno::Fault)?;
        buf = buf.checked_add(len).ok_or(Errno::Fault)?;
    }
    Ok(())
}
