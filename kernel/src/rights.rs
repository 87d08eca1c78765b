//! Rights of descriptors: one bit per verb that a guest may speak to one.
//!
//! These are the capabilities of a descriptor, and they only shrink. What may be done to a *node*
//! is [`palisade_vfs::Rights`], judged by layers; the kernel has never heard of those layers. The
//! same change refused twice, by the descriptor and by the layer, is a pair assertion.

use palisade_vfs::{Access, Needs, OpenFlags, OpenHow};

bitflags::bitflags! {
    /// What may be done through a descriptor. The verbs are those of WASI Preview 1, which are a
    /// superset of every other ABI's; the numbers are ours.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct FdRights: u32 {
        /// Read bytes. With `SEEK`, at an offset.
        const READ = 1 << 0;
        /// Write bytes. With `SEEK`, at an offset.
        const WRITE = 1 << 1;
        /// Move the offset. Implies `TELL`.
        const SEEK = 1 << 2;
        /// Ask for the offset.
        const TELL = 1 << 3;
        /// Change the status flags.
        const SET_STATUS = 1 << 4;
        /// Make data durable; open with `DSYNC`.
        const DATASYNC = 1 << 5;
        /// Make everything durable; open with `RSYNC` and `SYNC`.
        const SYNC = 1 << 6;
        /// Give advice on use to come.
        const ADVISE = 1 << 7;
        /// Make room.
        const ALLOCATE = 1 << 8;
        /// See what it is.
        const STAT = 1 << 9;
        /// Change the size.
        const SET_LEN = 1 << 10;
        /// Change the times.
        const SET_TIMES = 1 << 11;
        /// Wait for it.
        const POLL = 1 << 12;
        /// Open what lies beneath it.
        const OPEN = 1 << 13;
        /// List it.
        const LIST = 1 << 14;
        /// Create directories beneath it.
        const CREATE_DIR = 1 << 15;
        /// Create files beneath it.
        const CREATE_FILE = 1 << 16;
        /// Create symbolic links beneath it.
        const CREATE_SYMLINK = 1 << 17;
        /// Give what lies beneath it a further name.
        const LINK_FROM = 1 << 18;
        /// Put further names beneath it.
        const LINK_INTO = 1 << 19;
        /// Read symbolic links beneath it.
        const READ_LINK = 1 << 20;
        /// Rename what lies beneath it.
        const RENAME_FROM = 1 << 21;
        /// Rename to a place beneath it.
        const RENAME_INTO = 1 << 22;
        /// See what lies beneath it.
        const STAT_AT = 1 << 23;
        /// Truncate what is opened beneath it.
        const SET_LEN_AT = 1 << 24;
        /// Change the times of what lies beneath it.
        const SET_TIMES_AT = 1 << 25;
        /// Remove directories beneath it.
        const REMOVE_DIR = 1 << 26;
        /// Remove files and links beneath it.
        const REMOVE_FILE = 1 << 27;
        /// Shut a socket down.
        const SHUTDOWN = 1 << 28;
        /// Accept a connection.
        const ACCEPT = 1 << 29;
    }
}

impl FdRights {
    /// What makes sense for a directory.
    pub const OF_DIRS: FdRights = FdRights::SET_STATUS
        .union(FdRights::SYNC)
        .union(FdRights::DATASYNC)
        .union(FdRights::STAT)
        .union(FdRights::SET_TIMES)
        .union(FdRights::OPEN)
        .union(FdRights::LIST)
        .union(FdRights::CREATE_DIR)
        .union(FdRights::CREATE_FILE)
        .union(FdRights::CREATE_SYMLINK)
        .union(FdRights::LINK_FROM)
        .union(FdRights::LINK_INTO)
        .union(FdRights::READ_LINK)
        .union(FdRights::RENAME_FROM)
        .union(FdRights::RENAME_INTO)
        .union(FdRights::STAT_AT)
        .union(FdRights::SET_LEN_AT)
        .union(FdRights::SET_TIMES_AT)
        .union(FdRights::REMOVE_DIR)
        .union(FdRights::REMOVE_FILE);

    /// What makes sense for a file.
    pub const OF_FILES: FdRights = FdRights::READ
        .union(FdRights::WRITE)
        .union(FdRights::SEEK)
        .union(FdRights::TELL)
        .union(FdRights::SET_STATUS)
        .union(FdRights::DATASYNC)
        .union(FdRights::SYNC)
        .union(FdRights::ADVISE)
        .union(FdRights::ALLOCATE)
        .union(FdRights::STAT)
        .union(FdRights::SET_LEN)
        .union(FdRights::SET_TIMES)
        .union(FdRights::POLL);

    /// What makes sense for a stream, such as standard output.
    pub const OF_STREAMS: FdRights = FdRights::READ
        .union(FdRights::WRITE)
        .union(FdRights::SET_STATUS)
        .union(FdRights::STAT)
        .union(FdRights::POLL);

    /// What changes the bytes of a file.
    pub const WRITING: FdRights =
        FdRights::WRITE.union(FdRights::ALLOCATE).union(FdRights::SET_LEN);

    /// What an open handle is needed for; without any of it, holding the node is enough.
    const NEEDS_HANDLE: FdRights = FdRights::READ
        .union(FdRights::LIST)
        .union(FdRights::SET_TIMES)
        .union(FdRights::SYNC)
        .union(FdRights::DATASYNC)
        .union(FdRights::ADVISE)
        .union(FdRights::POLL);

    /// The access that a file must be opened with for these rights.
    #[must_use]
    pub fn access(self) -> Access {
        match (self.intersects(Self::NEEDS_HANDLE), self.intersects(Self::WRITING)) {
            (false, false) => Access::Hold,
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            (true, true) => Access::ReadWrite,
        }
    }

    /// Leaves out what a handle of `access` cannot do.
    #[must_use]
    pub fn within(self, access: Access) -> FdRights {
        let mut rights = self;
        if !access.writes() {
            rights -= Self::WRITING;
        }
        if !access.reads() {
            rights -= FdRights::READ;
        }
        rights
    }

    /// The rights that a directory's descriptor must have for an open beneath it: translated from
    /// [`OpenHow::needs`], which alone knows what an open takes.
    #[must_use]
    pub fn for_open(how: OpenHow) -> FdRights {
        let Needs { node, parent } = how.needs();
        let mut rights = FdRights::OPEN;
        if parent.contains(palisade_vfs::Rights::CREATE_FILE) {
            rights |= FdRights::CREATE_FILE;
        }
        if node.contains(palisade_vfs::Rights::SET_LEN) {
            rights |= FdRights::SET_LEN_AT;
        }
        rights
    }

    /// The rights to pass on that status flags take.
    #[must_use]
    pub fn for_status(flags: OpenFlags) -> FdRights {
        let mut rights = FdRights::empty();
        if flags.contains(OpenFlags::DSYNC) {
            rights |= FdRights::DATASYNC;
        }
        if flags.contains(OpenFlags::SYNC) {
            rights |= FdRights::SYNC;
        }
        rights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_open_that_creates_or_truncates_takes_the_right_on_the_directory() {
        for access in Access::ALL {
            for bits in 0..=OpenFlags::all().bits() {
                let flags = OpenFlags::from_bits(bits).unwrap();
                let rights = FdRights::for_open(OpenHow::new(access, flags));
                let has = |right| rights.contains(right);
                assert!(has(FdRights::OPEN));
                assert_eq!(has(FdRights::CREATE_FILE), flags.contains(OpenFlags::CREATE));
                assert_eq!(has(FdRights::SET_LEN_AT), flags.contains(OpenFlags::TRUNCATE));
            }
        }
    }

    #[test]
    fn an_access_gives_back_at_least_the_rights_that_asked_for_it() {
        for right in FdRights::OF_FILES.iter() {
            assert_eq!(right.within(right.access()), right, "{right:?}");
        }
        assert_eq!(FdRights::STAT.access(), Access::Hold);
        assert!(!FdRights::OF_FILES.within(Access::Read).intersects(FdRights::WRITING));
    }
}
