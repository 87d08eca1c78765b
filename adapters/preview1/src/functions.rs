//! The list of all functions with their arguments, as a macro, and calls by name.

/// Calls the macro `$with` with the signatures of all functions except `proc_exit`, which does not
/// return.
macro_rules! for_each_function {
    ($with:ident) => {
        $with! {
            args_get(argv: u32, buf: u32)
            args_sizes_get(argc: u32, len: u32)
            environ_get(env: u32, buf: u32)
            environ_sizes_get(count: u32, len: u32)
            clock_res_get(id: u32, result: u32)
            clock_time_get(id: u32, precision: u64, result: u32)
            fd_advise(fd: u32, offset: u64, len: u64, advice: u32)
            fd_allocate(fd: u32, offset: u64, len: u64)
            fd_close(fd: u32)
            fd_datasync(fd: u32)
            fd_fdstat_get(fd: u32, result: u32)
            fd_fdstat_set_flags(fd: u32, flags: u32)
            fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64)
            fd_filestat_get(fd: u32, result: u32)
            fd_filestat_set_size(fd: u32, len: u64)
            fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, flags: u32)
            fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, result: u32)
            fd_prestat_get(fd: u32, result: u32)
            fd_prestat_dir_name(fd: u32, buf: u32, len: u32)
            fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, result: u32)
            fd_read(fd: u32, iovs: u32, count: u32, result: u32)
            fd_readdir(fd: u32, buf: u32, len: u32, cookie: u64, result: u32)
            fd_renumber(from: u32, to: u32)
            fd_seek(fd: u32, delta: i64, whence: u32, result: u32)
            fd_sync(fd: u32)
            fd_tell(fd: u32, result: u32)
            fd_write(fd: u32, iovs: u32, count: u32, result: u32)
            path_create_directory(fd: u32, path: u32, len: u32)
            path_filestat_get(fd: u32, flags: u32, path: u32, len: u32, result: u32)
            path_filestat_set_times(
                fd: u32, flags: u32, path: u32, len: u32, accessed: u64, modified: u64, times: u32
            )
            path_link(
                old_fd: u32, flags: u32, old: u32, old_len: u32, new_fd: u32, new: u32, new_len: u32
            )
            path_open(
                fd: u32, dir_flags: u32, path: u32, len: u32, open_flags: u32, base: u64,
                inheriting: u64, fd_flags: u32, result: u32
            )
            path_readlink(fd: u32, path: u32, len: u32, buf: u32, buf_len: u32, result: u32)
            path_remove_directory(fd: u32, path: u32, len: u32)
            path_rename(old_fd: u32, old: u32, old_len: u32, new_fd: u32, new: u32, new_len: u32)
            path_symlink(target: u32, target_len: u32, fd: u32, path: u32, len: u32)
            path_unlink_file(fd: u32, path: u32, len: u32)
            poll_oneoff(subscriptions: u32, events: u32, count: u32, result: u32)
            proc_raise(signal: u32)
            random_get(buf: u32, len: u32)
            sched_yield()
            sock_accept(fd: u32, flags: u32, result: u32)
            sock_recv(fd: u32, iovs: u32, count: u32, flags: u32, result: u32, result_flags: u32)
            sock_send(fd: u32, iovs: u32, count: u32, flags: u32, result: u32)
            sock_shutdown(fd: u32, how: u32)
        }
    };
}

#[cfg(any(feature = "wasmtime", feature = "wasmi"))]
pub(crate) use for_each_function;

macro_rules! names {
    ($($name:ident($($arg:ident: $ty:ty),*))*) => {
        /// The names of all functions that a module can import from [`MODULE`](crate::MODULE).
        pub const FUNCTIONS: &[&str] = &[$(stringify!($name),)* "proc_exit"];
    };
}

for_each_function!(names);

macro_rules! dispatch {
    ($($name:ident($($arg:ident: $ty:ident),*))*) => {
        impl crate::Preview1 {
            /// Calls a function by name, for engines without a binding and for tests. Missing
            /// arguments are 0.
            ///
            /// Returns the errno number, or [`Exit`](palisade_kernel::Exit) as the error for
            /// `proc_exit`; `None` for a name that is not in [`FUNCTIONS`].
            pub fn call(
                &mut self,
                memory: &mut (impl crate::GuestMemory + ?Sized),
                name: &str,
                args: &[u64],
            ) -> Option<Result<i32, palisade_kernel::Exit>> {
                let mut args = args.iter().copied().chain(std::iter::repeat(0));
                let mut next = || args.next().unwrap_or(0);
                match name {
                    $(stringify!($name) => {
                        $(let $arg = dispatch!(@cast $ty, next());)*
                        let mut memory = crate::memory::Memory::new(memory);
                        Some(Ok(crate::errno::number(self.$name(&mut memory, $($arg),*))))
                    })*
                    "proc_exit" => {
                        Some(Err(crate::Preview1::proc_exit(dispatch!(@cast u32, next()))))
                    }
                    _ => None,
                }
            }
        }
    };
    // WebAssembly integers are signless: the bits are reinterpreted.
    (@cast u32, $value:expr) => { ($value & 0xffff_ffff) as u32 };
    (@cast u64, $value:expr) => { $value };
    (@cast i64, $value:expr) => { ($value).cast_signed() };
}

for_each_function!(dispatch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_list_has_46_unique_names() {
        assert_eq!(FUNCTIONS.len(), 46);
        let mut sorted = FUNCTIONS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 46);
    }
}
