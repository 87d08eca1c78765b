//! Operations, and the one table of the rights that each takes.
//!
//! Enforcing, explaining, auditing and learning all read it, so that none of them can think that
//! an operation takes anything else than what is asked for when it is done.
//!
//! A right is taken at the name that the operation is about: creating, removing, renaming and
//! linking too. A rule about one file therefore also says whether the file may be removed or
//! replaced, whatever holds for the directory that it lies in.

use std::fmt;

use palisade_vfs::{Access, OpenFlags, OpenHow, Rights};

/// One thing that is done to one name, or to what was opened by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opens what is there, or creates it.
    Open(OpenHow),
    /// Looks at what is there, by its name or through a handle.
    Stat,
    /// Reads what a symbolic link says.
    ReadLink,
    /// Lists a directory that is held.
    List,
    /// Creates a directory.
    CreateDir,
    /// Creates a symbolic link.
    CreateSymlink,
    /// Removes anything but a directory.
    RemoveFile,
    /// Removes an empty directory.
    RemoveDir,
    /// Renames, at the old name.
    RenameFrom,
    /// Renames, at the new name; what is there is replaced.
    RenameInto,
    /// Gives a further name, at the old name.
    LinkFrom,
    /// Gives a further name, at the new name.
    LinkInto,
    /// Changes the times, by the name or through a handle.
    SetTimes,
    /// Reads bytes of an open file.
    Read,
    /// Writes bytes of an open file.
    Write,
    /// Changes the size of an open file, or makes room in it.
    SetLen,
}

impl Operation {
    /// Every operation, with the name by which a person asks for it and a log tells it. An open
    /// has several, of which [`Operation::key`] tells the first that fits.
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

    /// The rights that it takes at the name: pure, total, and the only place that knows. `LOOKUP`
    /// is always among them, as on each directory on the way.
    ///
    /// An open that may create takes what creation takes, also if the file turns out to be there;
    /// one that may read takes what reading a file takes, unless only a directory will do. The
    /// confining layer asks again, for less, if that is missing and something else is there.
    #[must_use]
    pub fn needs(self) -> Rights {
        let further = match self {
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
        Rights::LOOKUP | further
    }

    /// Whether it brings something to a name: to a hidden one it is `Acces`, where all others are
    /// `Noent`.
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

    /// The name by which a log tells it: one of [`Operation::NAMED`].
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

    /// The operation of that name, of those in [`Operation::NAMED`].
    #[must_use]
    pub fn named(name: &str) -> Option<Operation> {
        Operation::NAMED.iter().find(|(known, _)| *known == name).map(|(_, operation)| *operation)
    }
}

/// As a person would say what is done: "open for writing".
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open(how) => return fmt_open(*how, f),
            Operation::Stat => "look at the metadata",
            Operation::ReadLink => "read the symbolic link",
            Operation::List => "list the directory",
            Operation::CreateDir => "create a directory",
            Operation::CreateSymlink => "create a symbolic link",
            Operation::RemoveFile => "remove the file",
            Operation::RemoveDir => "remove the directory",
            Operation::RenameFrom => "rename it away",
            Operation::RenameInto => "rename something to it",
            Operation::LinkFrom => "give it a further name",
            Operation::LinkInto => "link something to it",
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

    /// The table, written a second time: by right.
    #[test]
    fn each_right_is_taken_by_the_operations_that_it_is_named_after() {
        for (right, takers) in [
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
            assert_eq!(needing.map(|(name, _)| *name).collect::<Vec<_>>(), takers, "{right:?}");
        }
        assert!(Operation::NAMED.iter().all(|(_, it)| it.needs().contains(Rights::LOOKUP)));
    }

    #[test]
    fn an_open_takes_all_that_its_flags_can_do() {
        for how in every_open() {
            let (needs, taken) = (how.needs(), Operation::Open(how).needs());
            assert_eq!(taken, needs.node | needs.parent | Rights::LOOKUP, "{how:?}");
            assert_eq!(Operation::Open(how).creates(), how.creates());
        }
    }

    #[test]
    fn what_changes_something_takes_a_right_that_changes_something() {
        for (name, operation) in Operation::NAMED {
            let reads = ["hold", "open-read", "open-dir", "stat", "read-link", "list", "read"];
            let takes_only_reading = Rights::READ_ONLY.contains(operation.needs());
            assert_eq!(takes_only_reading, reads.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_operation_has_one_name_and_a_sentence() {
        let mut sentences = Vec::new();
        for (name, operation) in Operation::NAMED {
            assert_eq!(operation.key(), name);
            assert_eq!(Operation::named(name), Some(operation));
            sentences.push(operation.to_string());
        }
        sentences.sort();
        sentences.dedup();
        assert_eq!(sentences.len(), Operation::NAMED.len(), "{sentences:?}");
        for how in every_open() {
            assert!(Operation::named(Operation::Open(how).key()).is_some(), "{how:?}");
        }
        let both = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let sentence = "open or create and empty it for reading and writing";
        assert_eq!(Operation::Open(both).to_string(), sentence);
        assert_eq!(Operation::named("fly"), None);
    }
}
