//! The `error-code` values of Preview 2.

use palisade_vfs::Errno;
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// Returns the `error-code` of an error, or the closest one if it has none.
///
/// <https://github.com/WebAssembly/wasi-filesystem/blob/main/wit/types.wit>
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
        // There is no code for too many open descriptors.
        Errno::Mfile | Errno::Nfile | Errno::Nomem | Errno::Toobig => ErrorCode::InsufficientMemory,
        Errno::Mlink => ErrorCode::TooManyLinks,
        Errno::Nametoolong => ErrorCode::NameTooLong,
        Errno::Nodev => ErrorCode::NoDevice,
        Errno::Noent => ErrorCode::NoEntry,
        Errno::Nospc => ErrorCode::InsufficientSpace,
        Errno::Nosys | Errno::Notsup | Errno::Notsock => ErrorCode::Unsupported,
        // A path that leaves its base directory, and a descriptor without a right. A missing
        // `mutate-directory` is converted to `Rofs` by `mutation_refused`.
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

/// Converts the error of a call.
pub(crate) fn refused(errno: Errno) -> FsError {
    error_code(errno).into()
}

/// Converts the error of a call that changes nodes under a directory: a missing right means that
/// `mutate-directory` is not set, which is `read-only`.
pub(crate) fn mutation_refused(errno: Errno) -> FsError {
    refused(if errno == Errno::Notcapable { Errno::Rofs } else { errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_shared_only_as_listed() {
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
    fn missing_mutate_directory_is_read_only() {
        let code = |error: FsError| error.downcast().unwrap();
        assert_eq!(code(mutation_refused(Errno::Notcapable)), ErrorCode::ReadOnly);
        assert_eq!(code(refused(Errno::Notcapable)), ErrorCode::NotPermitted);
        assert_eq!(code(mutation_refused(Errno::Escape)), ErrorCode::NotPermitted);
    }
}
