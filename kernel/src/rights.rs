//! Rights of descriptors: one bit per verb that a guest may speak to one.
//!
//! These are the capabilities of a descriptor, and they only shrink. What may be done to a *node*
//! is [`palisade_vfs::Rights`], judged by layers; the kernel has never heard of those layers. The
//! same change refused twice, by the descriptor and by the layer, is a pair assertion.

use palisade_vfs::{Access, Needs, OpenFlags, OpenHow};

bitflags::bitflags! {
    /// What may be done through a descriptor. The verbs are those of WASI Preview 1, which are a
    /// superset of every other ABI's, in its order, so that translating them is free; nothing here
    /// depends on it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct FdRights: u32 {
        /// Make data durable; open with `DSYNC`.
        const DATASYNC = 1 << 0;
        /// Read bytes. With `SEEK`, at an offset.
        const READ = 1 << 1;
        /// Move the offset. Implies `TELL`.
        const SEEK = 1 << 2;
        /// Change the status flags.
        const SET_STATUS = 1 << 3;
        /// Make everything durable; open with `RSYNC` and `SYNC`.
        const SYNC = 1 << 4;
        /// Ask for the offset.
        const TELL = 1 << 5;
        /// Write bytes. With `SEEK`, at an offset.
        const WRITE = 1 << 6;
        /// Give advice on use to come.
        const ADVISE = 1 << 7;
        /// Make room.
        const ALLOCATE = 1 << 8;
        /// Create directories beneath it.
        const CREATE_DIR = 1 << 9;
        /// Create files beneath it.
        const CREATE_FILE = 1 << 10;
        /// Give what lies beneath it a further name.
        const LINK_FROM = 1 << 11;
        /// Put further names beneath it.
        const LINK_INTO = 1 << 12;
        /// Open what lies beneath it.
        const OPEN = 1 << 13;
        /// List it.
        const LIST = 1 << 14;
        /// Read symbolic links beneath it.
        const READ_LINK = 1 << 15;
        /// Rename what lies beneath it.
        const RENAME_FROM = 1 << 16;
        /// Rename to a place beneath it.
        const RENAME_INTO = 1 << 17;
        /// See what lies beneath it.
        const STAT_AT = 1 << 18;
        /// Truncate what is opened beneath it.
        const SET_LEN_AT = 1 << 19;
        /// Change the times of what lies beneath it.
        const SET_TIMES_AT = 1 << 20;
        /// See what it is.
        const STAT = 1 << 21;
        /// Change the size.
        const SET_LEN = 1 << 22;
        /// Change the times.
        const SET_TIMES = 1 << 23;
        /// Create symbolic links beneath it.
        const CREATE_SYMLINK = 1 << 24;
        /// Remove directories beneath it.
        const REMOVE_DIR = 1 << 25;
        /// Remove files and links beneath it.
        const REMOVE_FILE = 1 << 26;
        /// Wait for it.
        const POLL = 1 << 27;
        /// Shut a socket down.
        const SHUTDOWN = 1 << 28;
        /// Accept a connection.
        const ACCEPT = 1 << 29;
    }
}

bitflags::bitflags! {
    /// What is going to be done with what is opened, for an ABI that knows no finer rights.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Modes: u8 {
        /// Read a file, list a directory.
        const READ = 1 << 0;
        /// Write a file.
        const WRITE = 1 << 1;
        /// Change what lies beneath a directory, and open it to be changed.
        const MUTATE = 1 << 2;
    }
}

impl FdRights {
    /// What changes what lies beneath a directory, or the directory itself.
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

    /// The rights of a directory's descriptor for these modes, and those to pass on.
    #[must_use]
    pub fn of_dir(modes: Modes) -> (FdRights, FdRights) {
        let changing = if modes.contains(Modes::MUTATE) {
            FdRights::empty()
        } else {
            FdRights::MUTATING | FdRights::WRITING
        };
        (FdRights::OF_DIRS - changing, FdRights::all() - changing)
    }

    /// The rights of a file's descriptor for these modes.
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

    /// The modes of a descriptor with these rights: what can be done with it at all.
    #[must_use]
    pub fn modes(self) -> Modes {
        let mut modes = Modes::empty();
        modes.set(Modes::READ, self.intersects(FdRights::READ | FdRights::LIST));
        modes.set(Modes::WRITE, self.contains(FdRights::WRITE));
        modes.set(Modes::MUTATE, self.intersects(FdRights::MUTATING - FdRights::SET_TIMES));
        modes
    }

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

    /// What a directory that is opened with `base`, to pass `inheriting` on, has for
    /// [`FdRights::for_open`].
    ///
    /// That is `base`; and `SET_LEN_AT` also where `SET_LEN` is passed on. Who can open a file and
    /// then truncate it is refused nothing by refusing to do both at once, except that programs
    /// fail: Go opens every directory without `SET_LEN_AT`, and creates files beneath it.
    #[must_use]
    pub fn for_opens_under(base: FdRights, inheriting: FdRights) -> FdRights {
        let mut rights = base;
        if inheriting.contains(FdRights::SET_LEN) {
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
    fn who_is_passed_the_right_to_truncate_a_file_may_truncate_it_in_opening_it() {
        let (none, both) = (FdRights::empty(), FdRights::OPEN | FdRights::SET_LEN_AT);
        let beneath = FdRights::for_opens_under;
        assert_eq!(beneath(FdRights::OPEN, FdRights::SET_LEN), both);
        assert_eq!(beneath(both, none), both);
        assert_eq!(beneath(FdRights::OPEN, FdRights::all() - FdRights::SET_LEN), FdRights::OPEN);
        assert_eq!(beneath(none, FdRights::SET_LEN), FdRights::SET_LEN_AT);
    }

    #[test]
    fn a_directory_that_is_not_to_be_changed_opens_nothing_that_changes() {
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
    fn an_access_gives_back_at_least_the_rights_that_asked_for_it() {
        for right in FdRights::OF_FILES.iter() {
            assert_eq!(right.within(right.access()), right, "{right:?}");
        }
        assert_eq!(FdRights::STAT.access(), Access::Hold);
        assert!(!FdRights::OF_FILES.within(Access::Read).intersects(FdRights::WRITING));
    }
}
