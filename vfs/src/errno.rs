//! The error number `Errno`: one byte, with POSIX's names.

use std::fmt;

/// The result of a filesystem operation.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

macro_rules! errnos {
    ($($name:ident $text:literal,)*) => {
        /// An error number. The names are POSIX's: `ENOENT` is [`Errno::Noent`].
        ///
        /// Four refusals are kept apart: [`Errno::Escape`] for a path that leaves its starting
        /// directory, [`Errno::Notcapable`] for a descriptor without the required right,
        /// [`Errno::Acces`] for a policy that denies the operation, and [`Errno::Rofs`] for a
        /// read-only filesystem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Errno { $(#[doc = $text] $name,)* }

        impl Errno {
            /// Every error number, in declaration order.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)*];

            /// Returns the message for people, such as `no such file or directory`.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }

            /// Returns the name in lower case, such as `noent`, for scripts and logs.
            #[must_use]
            pub fn name(self) -> String {
                match self { $(Errno::$name => stringify!($name).to_lowercase(),)* }
            }
        }
    };
}

errnos! {
    Acces "permission denied",
    Again "resource unavailable, try again",
    Badf "bad file descriptor",
    Busy "device or resource busy",
    Canceled "operation canceled",
    Dquot "quota exceeded",
    Escape "path escapes its starting directory",
    Exist "file exists",
    Fault "bad address",
    Fbig "file too large",
    Ilseq "invalid UTF-8",
    Intr "interrupted system call",
    Inval "invalid argument",
    Io "input/output error",
    Isdir "is a directory",
    Loop "too many levels of symbolic links",
    Mfile "too many open descriptors",
    Mlink "too many links",
    Nametoolong "name too long",
    Nfile "too many open files in the system",
    Nodev "no such device",
    Noent "no such file or directory",
    Nomem "out of memory",
    Nospc "no space left on device",
    Nosys "function not supported",
    Notcapable "descriptor lacks the required right",
    Notdir "not a directory",
    Notempty "directory not empty",
    Notsock "not a socket",
    Notsup "operation not supported",
    Nxio "no such device or address",
    Overflow "value too large for its type",
    Perm "operation not permitted",
    Pipe "broken pipe",
    Rofs "read-only filesystem",
    Spipe "invalid seek",
    Stale "stale file handle",
    Timedout "timed out",
    Toobig "argument list too long",
    Txtbsy "text file busy",
    Xdev "cross-device link",
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_and_result_of_unit_are_one_byte() {
        assert_eq!(size_of::<Errno>(), 1);
        assert_eq!(size_of::<Result<()>>(), 1);
    }

    #[test]
    fn errno_names_are_distinct() {
        let mut names: Vec<_> = Errno::ALL.iter().map(|e| e.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Errno::ALL.len());
    }
}
