//! The `errno` numbers of Preview 1.
//!
//! <https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#errno>

use palisade_vfs::{Errno, Result};

/// Returns the `errno` of the result of a call, 0 for success.
#[must_use]
#[inline]
pub(crate) fn number(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(errno) => i32::from(of(errno)),
    }
}

/// Returns the `errno` number of an error.
#[must_use]
pub fn of(errno: Errno) -> u16 {
    match errno {
        Errno::Toobig => 1,
        Errno::Acces => 2,
        Errno::Again => 6,
        Errno::Badf => 8,
        Errno::Busy => 10,
        Errno::Canceled => 11,
        Errno::Dquot => 19,
        Errno::Exist => 20,
        Errno::Fault => 21,
        Errno::Fbig => 22,
        Errno::Ilseq => 25,
        Errno::Intr => 27,
        Errno::Inval => 28,
        Errno::Io => 29,
        Errno::Isdir => 31,
        Errno::Loop => 32,
        Errno::Mfile => 33,
        Errno::Mlink => 34,
        Errno::Nametoolong => 37,
        Errno::Nfile => 41,
        Errno::Nodev => 43,
        Errno::Noent => 44,
        Errno::Nomem => 48,
        Errno::Nospc => 51,
        Errno::Nosys => 52,
        Errno::Notdir => 54,
        Errno::Notempty => 55,
        Errno::Notsock => 57,
        Errno::Notsup => 58,
        Errno::Nxio => 60,
        Errno::Overflow => 61,
        // wasi-filesystem's path-resolution.md: `EPERM` for a path that leaves its base directory.
        // `ENOTCAPABLE` is for a descriptor without a right.
        Errno::Perm | Errno::Escape => 63,
        Errno::Pipe => 64,
        Errno::Rofs => 69,
        Errno::Spipe => 70,
        Errno::Stale => 72,
        Errno::Timedout => 73,
        Errno::Txtbsy => 74,
        Errno::Xdev => 75,
        Errno::Notcapable => 76,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_numbers_are_unique_except_escape() {
        let mut numbers: Vec<_> = Errno::ALL.iter().map(|errno| of(*errno)).collect();
        assert!(numbers.iter().all(|number| (1..=76).contains(number)));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Errno::ALL.len() - 1);
    }
}
