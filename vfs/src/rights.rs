//! The bit set `Rights`: one bit for each operation on a node.

bitflags::bitflags! {
    /// Permissions on a node, checked for the name that an operation uses: opening a file for
    /// writing requires `WRITE` on its name, and creating it requires `CREATE_FILE` too.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Rights: u32 {
        /// Traverse the node, or hold a handle on it without other access.
        const LOOKUP = 1 << 0;
        /// Stat the node: type, identity, size and times.
        const STAT = 1 << 1;
        /// Read the bytes of a file.
        const READ = 1 << 2;
        /// Write the bytes of a file.
        const WRITE = 1 << 3;
        /// Change the size of a file, including truncation on open.
        const SET_LEN = 1 << 4;
        /// Set the times.
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
        /// Remove the file or symbolic link.
        const REMOVE_FILE = 1 << 11;
        /// Remove the empty directory.
        const REMOVE_DIR = 1 << 12;
        /// Rename the node from this name.
        const RENAME_FROM = 1 << 13;
        /// Rename a node to this name, replacing the node there.
        const RENAME_INTO = 1 << 14;
        /// Create a hard link to the node.
        const LINK_FROM = 1 << 15;
        /// Create a hard link with this name.
        const LINK_INTO = 1 << 16;
    }
}

impl Rights {
    /// All rights of operations that change nothing.
    pub const READ_ONLY: Rights = Rights::LOOKUP
        .union(Rights::STAT)
        .union(Rights::READ)
        .union(Rights::LIST)
        .union(Rights::READ_LINK);

    /// The rights that operations of an open file require.
    pub const OF_FILES: Rights = Rights::STAT
        .union(Rights::READ)
        .union(Rights::WRITE)
        .union(Rights::SET_LEN)
        .union(Rights::SET_TIMES);
}
