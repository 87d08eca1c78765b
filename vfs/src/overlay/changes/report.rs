//! What a commit reports: how far it has come, what it has done, and what it could not keep.

use std::fmt;

use super::shown;
use crate::Errno;

/// What a commit does at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates a directory, or keeps it.
    Directory,
    /// Writes a file.
    File,
    /// Creates a symbolic link.
    Symlink,
    /// Gives a file another name.
    HardLink,
    /// Keeps a file or a link that is equal.
    Keep,
    /// Removes what is there, with all that is in it.
    Remove,
}

/// How far a commit has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is next.
    pub step: Step,
    /// Where.
    pub path: &'a str,
    /// How many of the layer's nodes and whiteouts are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// How many bytes of files are done.
    pub bytes_done: u64,
    /// How many there are.
    pub bytes_total: u64,
}

/// What a commit has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Directories that were created.
    pub dirs: u64,
    /// Files that were written.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Symbolic links that were created.
    pub symlinks: u64,
    /// Names that were given to files that have another.
    pub hard_links: u64,
    /// Files and links that were equal already.
    pub kept: u64,
    /// Names that were removed, whatever was beneath them.
    pub removed: u64,
    /// The first few things that could not be kept, which did not end the commit.
    pub notes: Vec<Note>,
    /// How many more there are.
    pub notes_left_out: u64,
}

/// Something about a node that could not be kept: the node belongs to someone else, or its
/// filesystem does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where: names joined by slashes, empty for the root.
    pub path: String,
    /// What was lost.
    pub lost: Lost,
    /// Why.
    pub errno: Errno,
}

/// What can be lost of a node whose content is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Its times are those of the commit, or of before.
    Times,
    /// A file that replaces another has the permissions of a new one.
    Permissions,
    /// A file that replaces another belongs to who commits.
    Owner,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = match self.lost {
            Lost::Times => "its times",
            Lost::Permissions => "its permissions",
            Lost::Owner => "its owner",
        };
        write!(f, "{}: {lost} could not be kept: {}", shown(&self.path), self.errno)
    }
}
