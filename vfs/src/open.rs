//! The parameters of an open, and the rights that it requires.

use crate::{Errno, Result, Rights};

bitflags::bitflags! {
    /// Flags of an open.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u8 {
        /// Create a file if the name is missing (`O_CREAT`).
        const CREATE = 1 << 0;
        /// With `CREATE`: fail with `EEXIST` if the name exists (`O_EXCL`). Ignored without
        /// `CREATE`.
        const EXCLUSIVE = 1 << 1;
        /// Truncate the file to 0 bytes (`O_TRUNC`).
        const TRUNCATE = 1 << 2;
        /// Fail with `ENOTDIR` unless the node is a directory (`O_DIRECTORY`).
        const DIRECTORY = 1 << 3;
        /// Each write is durable, with the metadata needed to read it back (`O_DSYNC`).
        const DSYNC = 1 << 4;
        /// Each write is durable, with all metadata (`O_SYNC`).
        const SYNC = 1 << 5;
        /// The handle will mostly append (`O_APPEND` where the host has it). A hint: positional
        /// writes work too.
        const APPEND = 1 << 6;
    }
}

/// The access mode of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Hold the node without access to its bytes: traverse a directory, or stat a file (`O_PATH`).
    Hold,
    /// Read a file, or list a directory.
    Read,
    /// Write a file. `EISDIR` for a directory.
    Write,
    /// Read and write a file. `EISDIR` for a directory.
    ReadWrite,
}

impl Access {
    /// Every access mode.
    pub const ALL: [Access; 4] = [Access::Hold, Access::Read, Access::Write, Access::ReadWrite];

    /// Returns whether the mode permits reading bytes.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Access::Read | Access::ReadWrite)
    }

    /// Returns whether the mode permits writing bytes.
    #[must_use]
    pub fn writes(self) -> bool {
        matches!(self, Access::Write | Access::ReadWrite)
    }
}

/// The parameters of an open: access mode and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenHow {
    /// The access mode of the handle.
    pub access: Access,
    /// The flags.
    pub flags: OpenFlags,
}

/// The rights that an open requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// On the node that is opened or created.
    pub node: Rights,
    /// In addition, on its name, if the open may create it.
    pub parent: Rights,
}

impl OpenHow {
    /// Holds a node of any type.
    pub const HOLD: OpenHow = OpenHow { access: Access::Hold, flags: OpenFlags::empty() };
    /// Holds a directory; `ENOTDIR` for another node.
    pub const HOLD_DIR: OpenHow = OpenHow { access: Access::Hold, flags: OpenFlags::DIRECTORY };
    /// Opens a node for reading.
    pub const READ: OpenHow = OpenHow { access: Access::Read, flags: OpenFlags::empty() };

    /// Combines an access mode and flags.
    #[must_use]
    pub const fn new(access: Access, flags: OpenFlags) -> Self {
        OpenHow { access, flags }
    }

    /// Returns whether the open creates a missing file.
    #[must_use]
    pub fn creates(self) -> bool {
        self.flags.contains(OpenFlags::CREATE)
    }

    /// Returns whether the open fails if the name exists.
    #[must_use]
    pub fn is_exclusive(self) -> bool {
        self.flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE)
    }

    /// Returns whether the open fails unless the node is a directory.
    #[must_use]
    pub fn wants_dir(self) -> bool {
        self.flags.contains(OpenFlags::DIRECTORY)
    }

    /// Returns whether the open fails with `EISDIR` for a directory.
    #[must_use]
    pub fn refuses_dir(self) -> bool {
        self.access.writes() || self.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
    }

    /// Rejects contradictory flags.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: `DIRECTORY` together with `CREATE` or `TRUNCATE`.
    pub fn check(self) -> Result<()> {
        if self.wants_dir() && self.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            return Err(Errno::Inval);
        }
        Ok(())
    }

    /// Returns the rights that this open requires. This is the only derivation of rights from
    /// flags: policy layers and the kernel's descriptor rights both use it.
    #[must_use]
    pub fn needs(self) -> Needs {
        // Truncation and creation change the node in every access mode. Four hosts had sandbox
        // escapes because they did not count one of them as a write.
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

    /// Every combination of access and flags, checked against a second formulation of the rule: an
    /// open requires the rights for exactly the changes that it can make.
    #[test]
    fn every_combination_of_flags_requires_the_rights_for_its_changes() {
        let mut checked = 0;
        for access in Access::ALL {
            for bits in 0..=OpenFlags::all().bits() {
                let flags = OpenFlags::from_bits(bits).unwrap();
                let how = OpenHow::new(access, flags);
                let needs = how.needs();
                let has = |flag| flags.contains(flag);
                for (right, expected) in [
                    (Rights::LOOKUP, true),
                    (Rights::READ, access.reads() && !has(OpenFlags::DIRECTORY)),
                    (Rights::LIST, access.reads() && has(OpenFlags::DIRECTORY)),
                    (Rights::WRITE, matches!(access, Access::Write | Access::ReadWrite)),
                    (Rights::SET_LEN, has(OpenFlags::TRUNCATE)),
                ] {
                    assert_eq!(needs.node.contains(right), expected, "{how:?} {right:?}");
                }
                assert_eq!(needs.parent == Rights::CREATE_FILE, has(OpenFlags::CREATE));
                let changes = access.writes() || has(OpenFlags::CREATE) || has(OpenFlags::TRUNCATE);
                let requires_a_change = !(Rights::READ_ONLY.contains(needs.node | needs.parent));
                assert_eq!(changes, requires_a_change, "{how:?}");
                checked += 1;
            }
        }
        assert_eq!(checked, 4 * 128);
    }
}
