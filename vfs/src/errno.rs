//! Why an operation was refused: one byte, with its whole meaning.

use std::fmt;

/// The result of an operation on a filesystem.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

macro_rules! errnos {
    ($($name:ident $text:literal,)*) => {
        /// An error number. The names are POSIX's, and four refusals are never mixed: a path that
        /// leaves its start is [`Errno::Escape`], a descriptor without the right is
        /// [`Errno::Notcapable`], a rule that denies is [`Errno::Acces`], and what may only be
        /// read is [`Errno::Rofs`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Errno { $(#[doc = $text] $name,)* }

        impl Errno {
            /// Every error number, in the order of the declaration.
            pub const ALL: &'static [Errno] = &[$(Errno::$name,)*];

            /// What it means, as a person would say it.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }

            /// The name in lower case, as scripts and logs print it.
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
    Escape "the path leaves the directory that it starts from",
    Exist "file exists",
    Fault "bad address",
    Fbig "file too large",
    Ilseq "the text is not valid UTF-8",
    Intr "interrupted",
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
    Nospc "no space left",
    Nosys "function not supported",
    Notcapable "the descriptor lacks the right",
    Notdir "not a directory",
    Notempty "directory not empty",
    Notsock "not a socket",
    Notsup "not supported",
    Nxio "no such device or address",
    Overflow "value too large",
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
    fn an_errno_is_one_byte_and_so_is_a_result_without_value() {
        assert_eq!(size_of::<Errno>(), 1);
        assert_eq!(size_of::<Result<()>>(), 1);
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = Errno::ALL.iter().map(|e| e.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Errno::ALL.len());
    }
}
