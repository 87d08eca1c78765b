//! Rights: one bit per verb that a node knows.

bitflags::bitflags! {
    /// What may be done to a node. Rights are judged at the name that an operation is about:
    /// opening a file for writing needs `WRITE` there, and creating it `CREATE_FILE` there.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Rights: u32 {
        /// Pass through, or hold, the node.
        const LOOKUP = 1 << 0;
        /// See type, identity, size and times.
        const STAT = 1 << 1;
        /// Read the bytes of a file.
        const READ = 1 << 2;
        /// Write the bytes of a file.
        const WRITE = 1 << 3;
        /// Change the size of a file, truncation when it is opened included.
        const SET_LEN = 1 << 4;
        /// Change the times.
        const SET_TIMES = 1 << 5;
        /// List the entries of a directory.
        const LIST = 1 << 6;
        /// Read the target of a symbolic link.
        const READ_LINK = 1 << 7;
        /// Create a file of this name.
        const CREATE_FILE = 1 << 8;
        /// Create a directory of this name.
        const CREATE_DIR = 1 << 9;
        /// Create a symbolic link of this name.
        const CREATE_SYMLINK = 1 << 10;
        /// Remove the file or link.
        const REMOVE_FILE = 1 << 11;
        /// Remove the empty directory.
        const REMOVE_DIR = 1 << 12;
        /// Rename it away.
        const RENAME_FROM = 1 << 13;
        /// Rename something to this name; what is there is replaced.
        const RENAME_INTO = 1 << 14;
        /// Give the node a further name.
        const LINK_FROM = 1 << 15;
        /// Be a further name of a node.
        const LINK_INTO = 1 << 16;
    }
}

impl Rights {
    /// All that does not change anything.
    pub const READ_ONLY: Rights = Rights::LOOKUP
        .union(Rights::STAT)
        .union(Rights::READ)
        .union(Rights::LIST)
        .union(Rights::READ_LINK);

    /// What an open file can be asked to do.
    pub const OF_FILES: Rights = Rights::STAT
        .union(Rights::READ)
        .union(Rights::WRITE)
        .union(Rights::SET_LEN)
        .union(Rights::SET_TIMES);
}
