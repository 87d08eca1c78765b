//! Rights of descriptors: capabilities that a guest can reduce but never extend.
//!
//! They are independent of [`palisade_vfs::Rights`], the rights to a *node*, which policy layers
//! check. Both checks are made for each operation.

use palisade_vfs::{Access, Needs, OpenFlags, OpenHow};

bitflags::bitflags! {
    /// The operations that a descriptor permits.
    ///
    /// The set is that of WASI Preview 1
    /// (<https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md#rights>), a superset
    /// of the rights of other ABIs. The bits are in the same order, so that Preview 1 converts them
    /// with a mask.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct FdRights: u32 {
        /// Synchronize data; open with `DSYNC`.
        const DATASYNC = 1 << 0;
        /// Read bytes. With `SEEK`, at an offset.
        const READ = 1 << 1;
        /// Move the offset. Includes `TELL`.
        const SEEK = 1 << 2;
        /// Change the status flags.
        const SET_STATUS = 1 << 3;
        /// Synchronize data and metadata; open with `RSYNC` and `SYNC`.
        const SYNC = 1 << 4;
        /// Get the offset.
        const TELL = 1 << 5;
        /// Write bytes. With `SEEK`, at an offset.
        const WRITE = 1 << 6;
        /// Pass access pattern hints.
        const ADVISE = 1 << 7;
        /// Allocate space.
        const ALLOCATE = 1 << 8;
        /// Create directories under the directory.
        const CREATE_DIR = 1 << 9;
        /// Create files under the directory.
        const CREATE_FILE = 1 << 10;
        /// Create hard links to nodes under the directory.
        const LINK_FROM = 1 << 11;
        /// Create hard links under the directory.
        const LINK_INTO = 1 << 12;
        /// Open nodes under the directory.
        const OPEN = 1 << 13;
        /// List the directory.
        const LIST = 1 << 14;
        /// Read symbolic links under the directory.
        const READ_LINK = 1 << 15;
        /// Rename nodes under the directory.
        const RENAME_FROM = 1 << 16;
        /// Rename nodes to a path under the directory.
        const RENAME_INTO = 1 << 17;
        /// Get the attributes of nodes under the directory.
        const STAT_AT = 1 << 18;
        /// Truncate files by opening them under the directory.
        const SET_LEN_AT = 1 << 19;
        /// Set the times of nodes under the directory.
        const SET_TIMES_AT = 1 << 20;
        /// Get the attributes of the open node.
        const STAT = 1 << 21;
        /// Set the size of the file.
        const SET_LEN = 1 << 22;
        /// Set the times of the open node.
        const SET_TIMES = 1 << 23;
        /// Create symbolic links under the directory.
        const CREATE_SYMLINK = 1 << 24;
        /// Remove directories under the directory.
        const REMOVE_DIR = 1 << 25;
        /// Remove files and symbolic links under the directory.
        const REMOVE_FILE = 1 << 26;
        /// Poll the descriptor.
        const POLL = 1 << 27;
        /// Shut a socket down.
        const SHUTDOWN = 1 << 28;
        /// Accept a connection.
        const ACCEPT = 1 << 29;
    }
}

bitflags::bitflags! {
    /// Access modes of an open, for an ABI without finer rights (Preview 2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Modes: u8 {
        /// Read a file or list a directory.
        const READ = 1 << 0;
        /// Write a file.
        const WRITE = 1 << 1;
        /// Create, rename and remove nodes under a directory, and open files under it for writing.
        const MUTATE = 1 << 2;
    }
}

impl FdRights {
    /// The rights that change nodes under a directory or the directory itself.
    pub const MUTATING: FdRights = FdRights::CREATE_DIR
        .union(FdRights::CREATE_FILE)
        .union(FdRights::CREATE_SYMLINK)
        .union(FdRights::LINK_FROM)
        .union(FdRights::LINK_INTO)
        .union(FdRights::RENAME_FROM)
        .union(FdRights::RENAME_INTO)
        .union(FdRights::REMOVE_DIR)
        .union(FdRights::REMOVE_FILE)
        .union(FdRights::SET_LEN_AT)
        .union(FdRights::SET_TIMES_AT)
        .union(FdRights::SET_TIMES);

    /// Returns the base and inheriting rights of a directory descriptor with these modes.
    #[must_use]
    pub fn of_dir(modes: Modes) -> (FdRights, FdRights) {
        let changing = if modes.contains(Modes::MUTATE) {
            FdRights::empty()
        } else {
            FdRights::MUTATING | FdRights::WRITING
        };
        (FdRights::OF_DIRS - changing, FdRights::all() - changing)
    }

    /// Returns the rights of a file descriptor with these modes.
    #[must_use]
    pub fn of_file(modes: Modes) -> FdRights {
        let mut rights = FdRights::OF_FILES - FdRights::READ - FdRights::WRITING;
        if modes.contains(Modes::READ) {
            rights |= FdRights::READ;
        }
        if modes.contains(Modes::WRITE) {
            rights |= FdRights::WRITING;
        }
        rights
    }

    /// Returns the modes of which at least one right is present.
    #[must_use]
    pub fn modes(self) -> Modes {
        let mut modes = Modes::empty();
        modes.set(Modes::READ, self.intersects(FdRights::READ | FdRights::LIST));
        modes.set(Modes::WRITE, self.contains(FdRights::WRITE));
        modes.set(Modes::MUTATE, self.intersects(FdRights::MUTATING - FdRights::SET_TIMES));
        modes
    }

    /// The rights that apply to a directory.
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

    /// The rights that apply to a file.
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

    /// The rights that apply to a stream, such as standard output.
    pub const OF_STREAMS: FdRights = FdRights::READ
        .union(FdRights::WRITE)
        .union(FdRights::SET_STATUS)
        .union(FdRights::STAT)
        .union(FdRights::POLL);

    /// The rights that change the contents of a file.
    pub const WRITING: FdRights =
        FdRights::WRITE.union(FdRights::ALLOCATE).union(FdRights::SET_LEN);

    /// The rights that need a file opened for reading; without them [`Access::Hold`] is enough.
    const NEEDS_HANDLE: FdRights = FdRights::READ
        .union(FdRights::LIST)
        .union(FdRights::SET_TIMES)
        .union(FdRights::SYNC)
        .union(FdRights::DATASYNC)
        .union(FdRights::ADVISE)
        .union(FdRights::POLL);

    /// Returns the access mode that a file must be opened with for these rights.
    #[must_use]
    pub fn access(self) -> Access {
        match (self.intersects(Self::NEEDS_HANDLE), self.intersects(Self::WRITING)) {
            (false, false) => Access::Hold,
            (true, false) => Access::Read,
            (false, true) => Access::Write,
            (true, true) => Access::ReadWrite,
        }
    }

    /// Removes the rights that a file with this access mode cannot have.
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

    /// Returns the rights that a directory descriptor needs for an open under it. They are derived
    /// from [`OpenHow::needs`], the single definition of the rights that an open needs.
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

    /// Returns the rights of a new directory descriptor that [`FdRights::for_open`] is checked
    /// against: `base`, and `SET_LEN_AT` if `inheriting` contains `SET_LEN`.
    ///
    /// A guest with the inheriting right `SET_LEN` can open a file and then truncate it, so
    /// refusing `O_TRUNC` would protect nothing. It would break programs: Go opens directories
    /// without `SET_LEN_AT` and creates files under them with `O_TRUNC`.
    #[must_use]
    pub fn for_opens_under(base: FdRights, inheriting: FdRights) -> FdRights {
        let mut rights = base;
        if inheriting.contains(FdRights::SET_LEN) {
            rights |= FdRights::SET_LEN_AT;
        }
        rights
    }

    /// Returns the inheriting rights that the status flags of an open need.
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
    fn inheriting_set_len_allows_o_trunc() {
        let (none, both) = (FdRights::empty(), FdRights::OPEN | FdRights::SET_LEN_AT);
        let rights = FdRights::for_opens_under;
        assert_eq!(rights(FdRights::OPEN, FdRights::SET_LEN), both);
        assert_eq!(rights(both, none), both);
        assert_eq!(rights(FdRights::OPEN, FdRights::all() - FdRights::SET_LEN), FdRights::OPEN);
        assert_eq!(rights(none, FdRights::SET_LEN), FdRights::SET_LEN_AT);
    }

    #[test]
    fn modes_without_mutate_have_no_mutating_rights() {
        let (base, inheriting) = FdRights::of_dir(Modes::READ);
        let changes = FdRights::MUTATING | FdRights::WRITING;
        assert!(!(base | inheriting).intersects(changes));
        assert_eq!(base.modes(), Modes::READ);
        let (base, inheriting) = FdRights::of_dir(Modes::READ | Modes::MUTATE);
        assert_eq!((base, inheriting), (FdRights::OF_DIRS, FdRights::all()));
        assert_eq!(base.modes(), Modes::READ | Modes::MUTATE);
        for modes in [Modes::READ, Modes::WRITE, Modes::READ | Modes::WRITE] {
            assert_eq!(FdRights::of_file(modes).modes(), modes);
        }
    }

    #[test]
    fn access_mode_of_a_right_includes_the_right() {
        for right in FdRights::OF_FILES.iter() {
            assert_eq!(right.within(right.access()), right, "{right:?}");
        }
        assert_eq!(FdRights::STAT.access(), Access::Hold);
        assert!(!FdRights::OF_FILES.within(Access::Read).intersects(FdRights::WRITING));
    }
}
