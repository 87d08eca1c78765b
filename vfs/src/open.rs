//! How a node is to be opened, and the one function that says which rights that takes.

use crate::{Errno, Result, Rights};

bitflags::bitflags! {
    /// What an open does besides opening.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u8 {
        /// Create a file if there is none.
        const CREATE = 1 << 0;
        /// With `CREATE`: fail with `Exist` if there is something. Without it: no meaning.
        const EXCLUSIVE = 1 << 1;
        /// Empty the file.
        const TRUNCATE = 1 << 2;
        /// Fail with `Notdir` unless it is a directory.
        const DIRECTORY = 1 << 3;
        /// Every write reaches the disk with the data that is needed to read it back (`O_DSYNC`).
        const DSYNC = 1 << 4;
        /// Every write reaches the disk with all metadata (`O_SYNC`).
        const SYNC = 1 << 5;
        /// The handle is going to be appended to; it can be used in every other way all the same.
        const APPEND = 1 << 6;
    }
}

/// What the open handle shall be able to do with the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Hold the node: pass through a directory; read metadata, but no byte, of a file.
    Hold,
    /// Read a file; list a directory.
    Read,
    /// Write a file. A directory is `Isdir`.
    Write,
    /// Read and write a file. A directory is `Isdir`.
    ReadWrite,
}

impl Access {
    /// Every access.
    pub const ALL: [Access; 4] = [Access::Hold, Access::Read, Access::Write, Access::ReadWrite];

    /// Whether bytes may be read.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Access::Read | Access::ReadWrite)
    }

    /// Whether bytes may be written.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Access::Write | Access::ReadWrite)
    }
}

/// How a node is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenHow {
    /// What the handle shall be able to do.
    pub access: Access,
    /// What the open does besides opening.
    pub flags: OpenFlags,
}

/// The rights that an open needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// On the node that is opened (or would be, if it is created).
    pub node: Rights,
    /// At its name besides, in case it is created.
    pub parent: Rights,
}

impl OpenHow {
    /// Just hold it.
    pub const HOLD: OpenHow = OpenHow { access: Access::Hold, flags: OpenFlags::empty() };
    /// Just hold it, and let it be a directory.
    pub const HOLD_DIR: OpenHow = OpenHow { access: Access::Hold, flags: OpenFlags::DIRECTORY };
    /// Read it.
    pub const READ: OpenHow = OpenHow { access: Access::Read, flags: OpenFlags::empty() };

    /// With this access and these flags.
    #[must_use]
    pub const fn new(access: Access, flags: OpenFlags) -> Self {
        OpenHow { access, flags }
    }

    /// Whether the open creates what is missing.
    #[must_use]
    pub fn creates(self) -> bool {
        self.flags.contains(OpenFlags::CREATE)
    }

    /// Whether the open may not find anything.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        self.flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE)
    }

    /// Whether only a directory will do.
    #[must_use]
    pub fn wants_dir(self) -> bool {
        self.flags.contains(OpenFlags::DIRECTORY)
    }

    /// Whether a directory must be refused with `Isdir`.
    #[must_use]
    pub fn refuses_dir(self) -> bool {
        self.access.writes() || self.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
    }

    /// Refuses what contradicts itself: `Inval` for `DIRECTORY` together with `CREATE` or
    /// `TRUNCATE`.
    pub fn check(self) -> Result<()> {
        if self.wants_dir() && self.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            return Err(Errno::Inval);
        }
        Ok(())
    }

    /// The rights that this open needs: pure, total, and the only place that knows.
    ///
    /// Truncation is a change whatever the access, and so is creation: four hosts have been
    /// escaped because one of them was not counted as writing.
    #[must_use]
    pub fn needs(self) -> Needs {
        let mut node = Rights::LOOKUP;
        if self.access.reads() {
            node |= if self.wants_dir() { Rights::LIST } else { Rights::READ };
        }
        if self.access.writes() {
            node |= Rights::WRITE;
        }
        if self.flags.contains(OpenFlags::TRUNCATE) {
            node |= Rights::SET_LEN;
        }
        let parent = if self.creates() { Rights::CREATE_FILE } else { Rights::empty() };
        Needs { node, parent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of access and flags, against the rule written a second way: what the
    /// combination can change must be asked for, and nothing else.
    #[test]
    fn every_combination_of_flags_asks_for_what_it_changes() {
        let mut seen = 0;
        for access in Access::ALL {
            for bits in 0..=OpenFlags::all().bits() {
                let flags = OpenFlags::from_bits(bits).unwrap();
                let how = OpenHow::new(access, flags);
                let needs = how.needs();
                let has = |flag| flags.contains(flag);
                for (right, wanted) in [
                    (Rights::LOOKUP, true),
                    (Rights::READ, access.reads() && !has(OpenFlags::DIRECTORY)),
                    (Rights::LIST, access.reads() && has(OpenFlags::DIRECTORY)),
                    (Rights::WRITE, matches!(access, Access::Write | Access::ReadWrite)),
                    (Rights::SET_LEN, has(OpenFlags::TRUNCATE)),
                ] {
                    assert_eq!(needs.node.contains(right), wanted, "{how:?} {right:?}");
                }
                assert_eq!(needs.parent == Rights::CREATE_FILE, has(OpenFlags::CREATE));
                let changes = access.writes() || has(OpenFlags::CREATE) || has(OpenFlags::TRUNCATE);
                let asks = !(Rights::READ_ONLY.contains(needs.node | needs.parent));
                assert_eq!(changes, asks, "{how:?}");
                seen += 1;
            }
        }
        assert_eq!(seen, 4 * 128);
    }
}
