//! `sock_*`: refused, because a guest has no sockets.

use palisade_vfs::Errno;

use super::CallResult;
use crate::memory::{Memory, Ptr};
use crate::{Preview1, layout};

impl Preview1 {
    /// Always an error: no descriptor is a socket.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#sock_accept>
    pub(crate) fn sock_accept(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        flags: u32,
        _result: Ptr,
    ) -> CallResult {
        layout::status(flags)?;
        self.no_socket(fd)
    }

    /// Always an error: no descriptor is a socket.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#sock_recv>
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
    ) -> CallResult {
        self.no_socket(fd)
    }

    /// Always an error: no descriptor is a socket.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#sock_send>
    pub(crate) fn sock_send(
        &mut self,
        _mem: &mut Memory<'_>,
        fd: u32,
        _iovs: Ptr,
        _count: u32,
        _flags: u32,
        _result: Ptr,
    ) -> CallResult {
        self.no_socket(fd)
    }

    /// Always an error: no descriptor is a socket.
    ///
    /// <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#sock_shutdown>
    pub(crate) fn sock_shutdown(&mut self, _mem: &mut Memory<'_>, fd: u32, how: u32) -> CallResult {
        if how == 0 || how > 3 {
            return Err(Errno::Inval);
        }
        self.no_socket(fd)
    }

    /// Returns `Badf` for a closed descriptor, else `Notsock`.
    fn no_socket(&self, fd: u32) -> CallResult {
        self.process.kind(fd)?;
        Err(Errno::Notsock)
    }
}
