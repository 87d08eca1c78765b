//! Conversions between [`Errno`], `io::Error` and `VfsError`.
//!
//! A converted [`Errno`] is the inner error of the `io::Error`, so that it is recovered unchanged.
//! `VfsErrorKind` is matched with a wildcard, because one variant depends on a feature of the
//! crate.

use std::io::{self, ErrorKind};

use palisade_vfs::Errno;
use vfs::VfsError;
use vfs::error::VfsErrorKind;

/// Converts an error of the crate.
pub(crate) fn errno_of(error: &VfsError) -> Errno {
    match error.kind() {
        VfsErrorKind::IoError(error) => errno_of_io(error),
        VfsErrorKind::FileNotFound => Errno::Noent,
        VfsErrorKind::InvalidPath => Errno::Inval,
        VfsErrorKind::DirectoryExists | VfsErrorKind::FileExists => Errno::Exist,
        VfsErrorKind::NotSupported => Errno::Notsup,
        _ => Errno::Io,
    }
}

/// Converts the error of an operation that every writable filesystem supports: `Notsup` becomes
/// `Rofs`.
pub(crate) fn errno_of_change(error: &VfsError) -> Errno {
    match errno_of(error) {
        Errno::Notsup => Errno::Rofs,
        errno => errno,
    }
}

/// Converts an `io::Error`. An inner [`Errno`] is returned unchanged.
pub(crate) fn errno_of_io(error: &io::Error) -> Errno {
    if let Some(errno) = error.get_ref().and_then(|inner| inner.downcast_ref::<Errno>()) {
        return *errno;
    }
    match error.kind() {
        ErrorKind::NotFound => Errno::Noent,
        ErrorKind::PermissionDenied => Errno::Acces,
        ErrorKind::AlreadyExists => Errno::Exist,
        ErrorKind::WouldBlock => Errno::Again,
        ErrorKind::NotADirectory => Errno::Notdir,
        ErrorKind::IsADirectory => Errno::Isdir,
        ErrorKind::DirectoryNotEmpty => Errno::Notempty,
        ErrorKind::ReadOnlyFilesystem => Errno::Rofs,
        ErrorKind::StaleNetworkFileHandle => Errno::Stale,
        ErrorKind::InvalidInput => Errno::Inval,
        ErrorKind::InvalidFilename => Errno::Nametoolong,
        ErrorKind::TimedOut => Errno::Timedout,
        ErrorKind::StorageFull => Errno::Nospc,
        ErrorKind::NotSeekable => Errno::Spipe,
        ErrorKind::QuotaExceeded => Errno::Dquot,
        ErrorKind::FileTooLarge => Errno::Fbig,
        ErrorKind::ResourceBusy => Errno::Busy,
        ErrorKind::ExecutableFileBusy => Errno::Txtbsy,
        ErrorKind::CrossesDevices => Errno::Xdev,
        ErrorKind::TooManyLinks => Errno::Mlink,
        ErrorKind::Interrupted => Errno::Intr,
        ErrorKind::Unsupported => Errno::Notsup,
        ErrorKind::OutOfMemory => Errno::Nomem,
        ErrorKind::BrokenPipe => Errno::Pipe,
        _ => Errno::Io,
    }
}

/// Converts an errno to an error of the crate.
pub(crate) fn vfs_error(errno: Errno) -> VfsError {
    let kind = match errno {
        Errno::Noent => VfsErrorKind::FileNotFound,
        Errno::Exist => VfsErrorKind::FileExists,
        Errno::Notsup | Errno::Nosys => VfsErrorKind::NotSupported,
        _ => VfsErrorKind::IoError(io_error(errno)),
    };
    VfsError::from(kind)
}

/// Converts an errno to an `io::Error` with the errno as its inner error.
pub(crate) fn io_error(errno: Errno) -> io::Error {
    io::Error::new(io_kind(errno), errno)
}

fn io_kind(errno: Errno) -> ErrorKind {
    match errno {
        Errno::Noent => ErrorKind::NotFound,
        Errno::Acces | Errno::Perm | Errno::Notcapable | Errno::Escape => {
            ErrorKind::PermissionDenied
        }
        Errno::Exist => ErrorKind::AlreadyExists,
        Errno::Again => ErrorKind::WouldBlock,
        Errno::Notdir => ErrorKind::NotADirectory,
        Errno::Isdir => ErrorKind::IsADirectory,
        Errno::Notempty => ErrorKind::DirectoryNotEmpty,
        Errno::Rofs => ErrorKind::ReadOnlyFilesystem,
        Errno::Stale => ErrorKind::StaleNetworkFileHandle,
        Errno::Inval | Errno::Ilseq | Errno::Badf => ErrorKind::InvalidInput,
        Errno::Nametoolong => ErrorKind::InvalidFilename,
        Errno::Timedout => ErrorKind::TimedOut,
        Errno::Nospc => ErrorKind::StorageFull,
        Errno::Spipe => ErrorKind::NotSeekable,
        Errno::Dquot => ErrorKind::QuotaExceeded,
        Errno::Fbig => ErrorKind::FileTooLarge,
        Errno::Busy => ErrorKind::ResourceBusy,
        Errno::Txtbsy => ErrorKind::ExecutableFileBusy,
        Errno::Xdev => ErrorKind::CrossesDevices,
        Errno::Mlink => ErrorKind::TooManyLinks,
        Errno::Intr => ErrorKind::Interrupted,
        Errno::Notsup | Errno::Nosys => ErrorKind::Unsupported,
        Errno::Nomem => ErrorKind::OutOfMemory,
        Errno::Pipe => ErrorKind::BrokenPipe,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_round_trips_through_vfs_and_io_errors() {
        for errno in Errno::ALL.iter().copied().filter(|errno| *errno != Errno::Nosys) {
            assert_eq!(errno_of(&vfs_error(errno)), errno);
            assert_eq!(errno_of_io(&io_error(errno)), errno);
        }
        assert_eq!(errno_of(&vfs_error(Errno::Nosys)), Errno::Notsup);
    }

    #[test]
    fn io_error_kinds_map_to_errno() {
        for errno in [Errno::Acces, Errno::Notempty, Errno::Nospc, Errno::Rofs, Errno::Isdir] {
            assert_eq!(errno_of_io(&io::Error::from(io_kind(errno))), errno);
        }
        assert_eq!(errno_of_io(&io::Error::other("whatever")), Errno::Io);
    }
}
