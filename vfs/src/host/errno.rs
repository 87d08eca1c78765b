//! The conversion of Linux error numbers to `Errno`.
//!
//! Unlisted numbers become `EIO`: a guest sees no number that no interface names.

use rustix::io::Errno as Os;

use crate::Errno;

/// Converts the error of a failed system call.
#[cfg(feature = "overlay")]
pub(super) fn errno_of_io(error: &std::io::Error) -> Errno {
    Os::from_io_error(error).map_or(Errno::Io, errno)
}

/// Converts an error number of the kernel.
pub(super) fn errno(os: Os) -> Errno {
    match os {
        Os::ACCESS => Errno::Acces,
        Os::AGAIN => Errno::Again,
        Os::BADF => Errno::Badf,
        Os::BUSY => Errno::Busy,
        Os::CANCELED => Errno::Canceled,
        Os::DQUOT => Errno::Dquot,
        Os::EXIST => Errno::Exist,
        Os::FAULT => Errno::Fault,
        Os::FBIG => Errno::Fbig,
        Os::ILSEQ => Errno::Ilseq,
        Os::INTR => Errno::Intr,
        Os::INVAL => Errno::Inval,
        Os::ISDIR => Errno::Isdir,
        Os::LOOP => Errno::Loop,
        Os::MFILE => Errno::Mfile,
        Os::MLINK => Errno::Mlink,
        Os::NAMETOOLONG => Errno::Nametoolong,
        Os::NFILE => Errno::Nfile,
        Os::NODEV => Errno::Nodev,
        Os::NOENT => Errno::Noent,
        Os::NOMEM => Errno::Nomem,
        Os::NOSPC => Errno::Nospc,
        Os::NOSYS => Errno::Nosys,
        Os::NOTDIR => Errno::Notdir,
        Os::NOTEMPTY => Errno::Notempty,
        Os::OPNOTSUPP => Errno::Notsup,
        Os::NXIO => Errno::Nxio,
        Os::OVERFLOW => Errno::Overflow,
        Os::PERM => Errno::Perm,
        Os::PIPE => Errno::Pipe,
        Os::ROFS => Errno::Rofs,
        Os::SPIPE => Errno::Spipe,
        Os::STALE => Errno::Stale,
        Os::TIMEDOUT => Errno::Timedout,
        Os::TOOBIG => Errno::Toobig,
        Os::TXTBSY => Errno::Txtbsy,
        Os::XDEV => Errno::Xdev,
        _ => Errno::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_error_numbers_become_eio() {
        for (os, ours) in [
            (Os::NOENT, Errno::Noent),
            (Os::STALE, Errno::Stale),
            (Os::DQUOT, Errno::Dquot),
            (Os::NOTSUP, Errno::Notsup),
            (Os::IO, Errno::Io),
            (Os::UCLEAN, Errno::Io),
            (Os::from_raw_os_error(4000), Errno::Io),
        ] {
            assert_eq!(errno(os), ours, "{os:?}");
        }
        // The errnos that only Palisade returns never come from the kernel.
        for raw in 1..4096 {
            let ours = errno(Os::from_raw_os_error(raw));
            assert!(!matches!(ours, Errno::Escape | Errno::Notcapable), "{raw}");
        }
    }
}
