//! The conversion of Linux error numbers to `Errno`.
//!
//! Unlisted numbers become `EIO`: a guest sees no number that no interface names.

use rustix::io::Errno as RustixErrno;

use crate::Errno;

/// Converts the error of a failed system call.
#[cfg(feature = "overlay")]
pub(super) fn errno_of_io(error: &std::io::Error) -> Errno {
    RustixErrno::from_io_error(error).map_or(Errno::Io, errno)
}

/// Converts an error number of Linux.
pub(super) fn errno(os: RustixErrno) -> Errno {
    match os {
        RustixErrno::ACCESS => Errno::Acces,
        RustixErrno::AGAIN => Errno::Again,
        RustixErrno::BADF => Errno::Badf,
        RustixErrno::BUSY => Errno::Busy,
        RustixErrno::CANCELED => Errno::Canceled,
        RustixErrno::DQUOT => Errno::Dquot,
        RustixErrno::EXIST => Errno::Exist,
        RustixErrno::FAULT => Errno::Fault,
        RustixErrno::FBIG => Errno::Fbig,
        RustixErrno::ILSEQ => Errno::Ilseq,
        RustixErrno::INTR => Errno::Intr,
        RustixErrno::INVAL => Errno::Inval,
        RustixErrno::ISDIR => Errno::Isdir,
        RustixErrno::LOOP => Errno::Loop,
        RustixErrno::MFILE => Errno::Mfile,
        RustixErrno::MLINK => Errno::Mlink,
        RustixErrno::NAMETOOLONG => Errno::Nametoolong,
        RustixErrno::NFILE => Errno::Nfile,
        RustixErrno::NODEV => Errno::Nodev,
        RustixErrno::NOENT => Errno::Noent,
        RustixErrno::NOMEM => Errno::Nomem,
        RustixErrno::NOSPC => Errno::Nospc,
        RustixErrno::NOSYS => Errno::Nosys,
        RustixErrno::NOTDIR => Errno::Notdir,
        RustixErrno::NOTEMPTY => Errno::Notempty,
        RustixErrno::OPNOTSUPP => Errno::Notsup,
        RustixErrno::NXIO => Errno::Nxio,
        RustixErrno::OVERFLOW => Errno::Overflow,
        RustixErrno::PERM => Errno::Perm,
        RustixErrno::PIPE => Errno::Pipe,
        RustixErrno::ROFS => Errno::Rofs,
        RustixErrno::SPIPE => Errno::Spipe,
        RustixErrno::STALE => Errno::Stale,
        RustixErrno::TIMEDOUT => Errno::Timedout,
        RustixErrno::TOOBIG => Errno::Toobig,
        RustixErrno::TXTBSY => Errno::Txtbsy,
        RustixErrno::XDEV => Errno::Xdev,
        _ => Errno::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_error_numbers_become_eio() {
        for (os, ours) in [
            (RustixErrno::NOENT, Errno::Noent),
            (RustixErrno::STALE, Errno::Stale),
            (RustixErrno::DQUOT, Errno::Dquot),
            (RustixErrno::NOTSUP, Errno::Notsup),
            (RustixErrno::IO, Errno::Io),
            (RustixErrno::UCLEAN, Errno::Io),
            (RustixErrno::from_raw_os_error(4000), Errno::Io),
        ] {
            assert_eq!(errno(os), ours, "{os:?}");
        }
        // The errnos that only Palisade returns never come from Linux.
        for raw in 1..4096 {
            let ours = errno(RustixErrno::from_raw_os_error(raw));
            assert!(!matches!(ours, Errno::Escape | Errno::Notcapable), "{raw}");
        }
    }
}
