//! The host's error numbers in ours.

use rustix::io::Errno as Os;

use crate::Errno;

/// The whole table. What is not in it cannot be told to a guest in its own words, and is `Io`.
pub(super) fn errno(os: Os) -> Errno {
    const TABLE: &[(Os, Errno)] = &[
        (Os::TOOBIG, Errno::Toobig),
        (Os::ACCESS, Errno::Acces),
        (Os::AGAIN, Errno::Again),
        (Os::BADF, Errno::Badf),
        (Os::BUSY, Errno::Busy),
        (Os::CANCELED, Errno::Canceled),
        (Os::DQUOT, Errno::Dquot),
        (Os::EXIST, Errno::Exist),
        (Os::FBIG, Errno::Fbig),
        (Os::ILSEQ, Errno::Ilseq),
        (Os::INTR, Errno::Intr),
        (Os::INVAL, Errno::Inval),
        (Os::ISDIR, Errno::Isdir),
        (Os::LOOP, Errno::Loop),
        (Os::MFILE, Errno::Mfile),
        (Os::MLINK, Errno::Mlink),
        (Os::NAMETOOLONG, Errno::Nametoolong),
        (Os::NFILE, Errno::Nfile),
        (Os::NODEV, Errno::Nodev),
        (Os::NOENT, Errno::Noent),
        (Os::NOMEM, Errno::Nomem),
        (Os::NOSPC, Errno::Nospc),
        (Os::NOSYS, Errno::Nosys),
        (Os::NOTDIR, Errno::Notdir),
        (Os::NOTEMPTY, Errno::Notempty),
        (Os::OPNOTSUPP, Errno::Notsup),
        (Os::NXIO, Errno::Nxio),
        (Os::OVERFLOW, Errno::Overflow),
        (Os::PERM, Errno::Perm),
        (Os::PIPE, Errno::Pipe),
        (Os::ROFS, Errno::Rofs),
        (Os::SPIPE, Errno::Spipe),
        (Os::STALE, Errno::Stale),
        (Os::TIMEDOUT, Errno::Timedout),
        (Os::TXTBSY, Errno::Txtbsy),
        (Os::XDEV, Errno::Xdev),
    ];
    TABLE.iter().find(|(from, _)| *from == os).map_or(Errno::Io, |(_, to)| *to)
}
