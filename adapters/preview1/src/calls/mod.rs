//! The functions of `wasi_snapshot_preview1`, one method of [`Preview1`](crate::Preview1) each.
//!
//! A method decodes its arguments, calls the kernel and encodes the result; it contains no policy.
//! The names, argument lists and order are those of
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md>.
//!
//! Errors of each function, in order: `Inval` for unknown flags and values; `Fault` for a range
//! outside the memory and `Ilseq` for a path that is not UTF-8; those of the method of
//! [`Process`](palisade_kernel::Process) that it calls.
//!
//! INVARIANT: result pointers are checked before the kernel is called, so that no call takes effect
//! and then fails to report its result.

mod descriptors;
mod paths;
mod process;
mod sockets;

/// The result of a call: `Err` holds the errno that is returned to the guest.
pub(crate) type CallResult = palisade_vfs::Result<()>;
