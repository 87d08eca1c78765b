//! The codes that Preview 2 has for errors.

use palisade_vfs::Errno;
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// The code of an error: `error-code` in
/// <https://github.com/WebAssembly/WASI/blob/main/proposals/filesystem/wit/types.wit>.
///
/// What has no code of its own gets the nearest one that a guest can do something with.
#[must_use]
pub fn error_code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::Acces => ErrorCode::Access,
        Errno::Again => ErrorCode::WouldBlock,
        Errno::Badf => ErrorCode::BadDescriptor,
        Errno::Busy => ErrorCode::Busy,
        Errno::Dquot => ErrorCode::Quota,
        Errno::Exist => ErrorCode::Exist,
        Errno::Fbig => ErrorCode::FileTooLarge,
        Errno::Ilseq => ErrorCode::IllegalByteSequence,
        Errno::Intr | Errno::Canceled | Errno::Timedout => ErrorCode::Interrupted,
        Errno::Inval | Errno::Fault => ErrorCode::Invalid,
        Errno::Io | Errno::Stale => ErrorCode::Io,
        Errno::Isdir => ErrorCode::IsDirectory,
        Errno::Loop => ErrorCode::Loop,
        // There is no code for too many open descriptors: what is missing is room for one more.
        Errno::Mfile | Errno::Nfile | Errno::Nomem | Errno::Toobig => ErrorCode::InsufficientMemory,
        Errno::Mlink => ErrorCode::TooManyLinks,
        Errno::Nametoolong => ErrorCode::NameTooLong,
        Errno::Nodev => ErrorCode::NoDevice,
        Errno::Noent => ErrorCode::NoEntry,
        Errno::Nospc => ErrorCode::InsufficientSpace,
        Errno::Nosys | Errno::Notsup | Errno::Notsock => ErrorCode::Unsupported,
        // A path that leaves its start, and a descriptor without the right. What `mutate-directory`
        // refuses has become `Rofs` before it comes here.
        Errno::Perm | Errno::Escape | Errno::Notcapable => ErrorCode::NotPermitted,
        Errno::Notdir => ErrorCode::NotDirectory,
        Errno::Notempty => ErrorCode::NotEmpty,
        Errno::Nxio => ErrorCode::NoSuchDevice,
        Errno::Overflow => ErrorCode::Overflow,
        Errno::Pipe => ErrorCode::Pipe,
        Errno::Rofs => ErrorCode::ReadOnly,
        Errno::Spipe => ErrorCode::InvalidSeek,
        Errno::Txtbsy => ErrorCode::TextFileBusy,
        Errno::Xdev => ErrorCode::CrossDevice,
    }
}

/// The error of a call.
pub(crate) fn refused(errno: Errno) -> FsError {
    error_code(errno).into()
}

/// The error of a call that changes what lies beneath a directory: without the right,
/// `mutate-directory` is not set, and that is `read-only`.
pub(crate) fn mutation_refused(errno: Errno) -> FsError {
    refused(if errno == Errno::Notcapable { Errno::Rofs } else { errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_code_of_its_own_shares_one() {
        let first = |code| Errno::ALL.iter().find(|errno| error_code(**errno) == code);
        let sharing: Vec<_> = Errno::ALL
            .iter()
            .filter(|errno| first(error_code(**errno)) != Some(*errno))
            .map(|errno| (*errno, *first(error_code(*errno)).unwrap()))
            .collect();
        let want = [
            (Errno::Intr, Errno::Canceled),
            (Errno::Inval, Errno::Fault),
            (Errno::Nfile, Errno::Mfile),
            (Errno::Nomem, Errno::Mfile),
            (Errno::Notcapable, Errno::Escape),
            (Errno::Notsock, Errno::Nosys),
            (Errno::Notsup, Errno::Nosys),
            (Errno::Perm, Errno::Escape),
            (Errno::Stale, Errno::Io),
            (Errno::Timedout, Errno::Canceled),
            (Errno::Toobig, Errno::Mfile),
        ];
        assert_eq!(sharing, want);
    }

    #[test]
    fn a_missing_right_to_change_a_directory_is_read_only() {
        let code = |error: FsError| error.downcast().unwrap();
        assert_eq!(code(mutation_refused(Errno::Notcapable)), ErrorCode::ReadOnly);
        assert_eq!(code(refused(Errno::Notcapable)), ErrorCode::NotPermitted);
        assert_eq!(code(mutation_refused(Errno::Escape)), ErrorCode::NotPermitted);
    }
}
