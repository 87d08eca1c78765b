//! The report of a commit: progress, totals, and lost metadata.

use std::fmt;

use super::shown;
use crate::Errno;

/// A step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates or keeps a directory.
    Directory,
    /// Writes a file.
    File,
    /// Creates a symbolic link.
    Symlink,
    /// Creates a hard link.
    HardLink,
    /// Keeps an equal file or symbolic link.
    Keep,
    /// Removes a node with its whole tree.
    Remove,
}

/// The progress of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The next step.
    pub step: Step,
    /// The path of the next step.
    pub path: &'a str,
    /// The completed nodes and whiteouts of the upper.
    pub done: u64,
    /// All nodes and whiteouts of the upper.
    pub total: u64,
    /// The completed bytes of files.
    pub bytes_done: u64,
    /// All bytes of files.
    pub bytes_total: u64,
}

/// The result of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Created directories.
    pub dirs: u64,
    /// Written files.
    pub files: u64,
    /// Bytes of the written files.
    pub bytes: u64,
    /// Created symbolic links.
    pub symlinks: u64,
    /// Created hard links.
    pub hard_links: u64,
    /// Files and symbolic links that were equal already.
    pub kept: u64,
    /// Removed names; a removed tree counts once.
    pub removed: u64,
    /// The first losses of metadata, which did not stop the commit.
    pub notes: Vec<Note>,
    /// The number of further losses.
    pub notes_left_out: u64,
}

/// A loss of metadata: the node has another owner, or its filesystem does not support the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The path: names joined by slashes, empty for the root.
    pub path: String,
    /// The lost metadata.
    pub lost: Lost,
    /// The error of setting it.
    pub errno: Errno,
}

/// Metadata that a commit may be unable to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The times of the node are those of the commit, or unchanged.
    Times,
    /// A replaced file has the permissions of a new one.
    Permissions,
    /// A replaced file belongs to the user that commits.
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
