//! Operations, and the table of the rights that each needs.
//!
//! Enforcement, explanations, audit and learning all use this table, so they cannot disagree.
//!
//! Rights are needed at the path of the operation itself, also for creating, removing, renaming and
//! linking. So a rule about one file also determines whether the file may be removed or replaced,
//! independent of the rights on its parent directory.

use std::fmt;

use palisade_vfs::{Access, OpenFlags, OpenHow, Rights};

/// An operation on one path, or on the node that was opened by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opens a node, or creates a file.
    Open(OpenHow),
    /// Stats a node, by its path or through a handle.
    Stat,
    /// Reads the target of a symbolic link.
    ReadLink,
    /// Lists an open directory.
    List,
    /// Creates a directory.
    CreateDir,
    /// Creates a symbolic link.
    CreateSymlink,
    /// Removes a node other than a directory.
    RemoveFile,
    /// Removes an empty directory.
    RemoveDir,
    /// The old path of a rename.
    RenameFrom,
    /// The new path of a rename, whose node is replaced.
    RenameInto,
    /// The existing path of a new hard link.
    LinkFrom,
    /// The new path of a hard link.
    LinkInto,
    /// Sets the timestamps, by the path or through a handle.
    SetTimes,
    /// Reads from an open file.
    Read,
    /// Writes to an open file.
    Write,
    /// Sets the size of an open file, or allocates space in it.
    SetLen,
}

impl Operation {
    /// The operations with their names on the command line and in logs. An open has several names,
    /// of which [`Operation::key`] returns the first that applies.
    pub const NAMED: [(&'static str, Operation); 22] = [
        ("hold", Operation::Open(OpenHow::HOLD)),
        ("open-read", Operation::Open(OpenHow::READ)),
        ("open-write", Operation::Open(open(Access::Write, OpenFlags::empty()))),
        ("open-read-write", Operation::Open(open(Access::ReadWrite, OpenFlags::empty()))),
        ("open-dir", Operation::Open(open(Access::Read, OpenFlags::DIRECTORY))),
        ("create", Operation::Open(open(Access::Write, OpenFlags::CREATE))),
        ("truncate", Operation::Open(open(Access::Write, OpenFlags::TRUNCATE))),
        ("stat", Operation::Stat),
        ("read-link", Operation::ReadLink),
        ("list", Operation::List),
        ("create-dir", Operation::CreateDir),
        ("create-symlink", Operation::CreateSymlink),
        ("remove-file", Operation::RemoveFile),
        ("remove-dir", Operation::RemoveDir),
        ("rename-from", Operation::RenameFrom),
        ("rename-into", Operation::RenameInto),
        ("link-from", Operation::LinkFrom),
        ("link-into", Operation::LinkInto),
        ("set-times", Operation::SetTimes),
        ("read", Operation::Read),
        ("write", Operation::Write),
        ("set-len", Operation::SetLen),
    ];

    /// Returns the rights that the operation needs at its path. `LOOKUP` is always one of them;
    /// each directory of the path needs it too.
    ///
    /// An open that may create a file needs the rights of creating it, even if the file exists; an
    /// open for reading needs the rights of reading a file, unless it requires a directory. If such
    /// a right is missing, the confining layer evaluates the open again for the existing node.
    #[must_use]
    pub fn needs(self) -> Rights {
        let rights = match self {
            Operation::Open(how) => {
                let needs = how.needs();
                needs.node | needs.parent
            }
            Operation::Stat => Rights::STAT,
            Operation::ReadLink => Rights::READ_LINK,
            Operation::List => Rights::LIST,
            Operation::CreateDir => Rights::CREATE_DIR,
            Operation::CreateSymlink => Rights::CREATE_SYMLINK,
            Operation::RemoveFile => Rights::REMOVE_FILE,
            Operation::RemoveDir => Rights::REMOVE_DIR,
            Operation::RenameFrom => Rights::RENAME_FROM,
            Operation::RenameInto => Rights::RENAME_INTO,
            Operation::LinkFrom => Rights::LINK_FROM,
            Operation::LinkInto => Rights::LINK_INTO,
            Operation::SetTimes => Rights::SET_TIMES,
            Operation::Read => Rights::READ,
            Operation::Write => Rights::WRITE,
            Operation::SetLen => Rights::WRITE | Rights::SET_LEN,
        };
        Rights::LOOKUP | rights
    }

    /// Whether the operation creates its path. On a hidden path it fails with `EACCES`, where all
    /// other operations fail with `ENOENT`.
    #[must_use]
    pub fn creates(self) -> bool {
        match self {
            Operation::Open(how) => how.creates(),
            Operation::CreateDir
            | Operation::CreateSymlink
            | Operation::RenameInto
            | Operation::LinkInto => true,
            Operation::Stat
            | Operation::ReadLink
            | Operation::List
            | Operation::RemoveFile
            | Operation::RemoveDir
            | Operation::RenameFrom
            | Operation::LinkFrom
            | Operation::SetTimes
            | Operation::Read
            | Operation::Write
            | Operation::SetLen => false,
        }
    }

    /// Returns the name in a log, one of [`Operation::NAMED`].
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Operation::Open(how) if how.creates() => "create",
            Operation::Open(how) if how.flags.contains(OpenFlags::TRUNCATE) => "truncate",
            Operation::Open(how) => match how.access {
                Access::Hold => "hold",
                Access::Read if how.wants_dir() => "open-dir",
                Access::Read => "open-read",
                Access::Write => "open-write",
                Access::ReadWrite => "open-read-write",
            },
            Operation::Stat => "stat",
            Operation::ReadLink => "read-link",
            Operation::List => "list",
            Operation::CreateDir => "create-dir",
            Operation::CreateSymlink => "create-symlink",
            Operation::RemoveFile => "remove-file",
            Operation::RemoveDir => "remove-dir",
            Operation::RenameFrom => "rename-from",
            Operation::RenameInto => "rename-into",
            Operation::LinkFrom => "link-from",
            Operation::LinkInto => "link-into",
            Operation::SetTimes => "set-times",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::SetLen => "set-len",
        }
    }

    /// Returns the operation with this name in [`Operation::NAMED`].
    #[must_use]
    pub fn named(name: &str) -> Option<Operation> {
        Operation::NAMED.iter().find(|(known, _)| *known == name).map(|(_, operation)| *operation)
    }
}

/// A phrase for messages, such as "open for writing".
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open(how) => return fmt_open(*how, f),
            Operation::Stat => "read the metadata",
            Operation::ReadLink => "read the symbolic link",
            Operation::List => "list the directory",
            Operation::CreateDir => "create a directory",
            Operation::CreateSymlink => "create a symbolic link",
            Operation::RemoveFile => "remove the file",
            Operation::RemoveDir => "remove the directory",
            Operation::RenameFrom => "rename it",
            Operation::RenameInto => "rename another node to it",
            Operation::LinkFrom => "create a hard link to it",
            Operation::LinkInto => "create it as a hard link",
            Operation::SetTimes => "set the times",
            Operation::Read => "read from the open file",
            Operation::Write => "write to the open file",
            Operation::SetLen => "set the size of the open file",
        })
    }
}

fn fmt_open(how: OpenHow, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match how.flags {
        flags if flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => "create a new file",
        flags if flags.contains(OpenFlags::CREATE) => "open or create",
        flags if flags.contains(OpenFlags::DIRECTORY) => "open the directory",
        _ => "open",
    })?;
    if how.flags.contains(OpenFlags::TRUNCATE) {
        f.write_str(" and empty it")?;
    }
    f.write_str(match how.access {
        Access::Hold => "",
        Access::Read if how.wants_dir() => " for listing",
        Access::Read => " for reading",
        Access::Write => " for writing",
        Access::ReadWrite => " for reading and writing",
    })
}

const fn open(access: Access, flags: OpenFlags) -> OpenHow {
    OpenHow::new(access, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_open() -> impl Iterator<Item = OpenHow> {
        (0..=OpenFlags::all().bits()).flat_map(|bits| {
            let flags = OpenFlags::from_bits(bits).unwrap();
            Access::ALL.map(|access| OpenHow::new(access, flags))
        })
    }

    /// The inverse of the table: by right.
    #[test]
    fn each_right_is_needed_by_its_operations() {
        for (right, operations) in [
            (Rights::STAT, &["stat"][..]),
            (Rights::READ, &["open-read", "open-read-write", "read"]),
            (
                Rights::WRITE,
                &["open-write", "open-read-write", "create", "truncate", "write", "set-len"],
            ),
            (Rights::SET_LEN, &["truncate", "set-len"]),
            (Rights::SET_TIMES, &["set-times"]),
            (Rights::LIST, &["open-dir", "list"]),
            (Rights::READ_LINK, &["read-link"]),
            (Rights::CREATE_FILE, &["create"]),
            (Rights::CREATE_DIR, &["create-dir"]),
            (Rights::CREATE_SYMLINK, &["create-symlink"]),
            (Rights::REMOVE_FILE, &["remove-file"]),
            (Rights::REMOVE_DIR, &["remove-dir"]),
            (Rights::RENAME_FROM, &["rename-from"]),
            (Rights::RENAME_INTO, &["rename-into"]),
            (Rights::LINK_FROM, &["link-from"]),
            (Rights::LINK_INTO, &["link-into"]),
        ] {
            let needing = Operation::NAMED.iter().filter(|(_, it)| it.needs().contains(right));
            assert_eq!(needing.map(|(name, _)| *name).collect::<Vec<_>>(), operations, "{right:?}");
        }
        assert!(Operation::NAMED.iter().all(|(_, it)| it.needs().contains(Rights::LOOKUP)));
    }

    #[test]
    fn open_needs_the_rights_of_all_of_its_flags() {
        for how in every_open() {
            let (needs, rights) = (how.needs(), Operation::Open(how).needs());
            assert_eq!(rights, needs.node | needs.parent | Rights::LOOKUP, "{how:?}");
            assert_eq!(Operation::Open(how).creates(), how.creates());
        }
    }

    #[test]
    fn only_reading_operations_need_only_reading_rights() {
        for (name, operation) in Operation::NAMED {
            let reads = ["hold", "open-read", "open-dir", "stat", "read-link", "list", "read"];
            let needs_only_reading = Rights::READ_ONLY.contains(operation.needs());
            assert_eq!(needs_only_reading, reads.contains(&name), "{name}");
        }
    }

    #[test]
    fn names_and_phrases_are_unique() {
        let mut phrases = Vec::new();
        for (name, operation) in Operation::NAMED {
            assert_eq!(operation.key(), name);
            assert_eq!(Operation::named(name), Some(operation));
            phrases.push(operation.to_string());
        }
        phrases.sort();
        phrases.dedup();
        assert_eq!(phrases.len(), Operation::NAMED.len(), "{phrases:?}");
        for how in every_open() {
            assert!(Operation::named(Operation::Open(how).key()).is_some(), "{how:?}");
        }
        let both = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let phrase = "open or create and empty it for reading and writing";
        assert_eq!(Operation::Open(both).to_string(), phrase);
        assert_eq!(Operation::named("fly"), None);
    }
}
