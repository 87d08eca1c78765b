//! What each operation means for a path: the one table of trailing slashes, `.`, `..` and links.
//!
//! Every function takes a directory and a path beneath it, as a guest wrote it. The rules are
//! Linux's (`fs/namei.c`), which refine POSIX's, and where WASI is stricter (absolute link
//! targets) WASI's. Layers and filesystems never see what is decided here.

use crate::walk::{self, Ending, Follow, Last, Slash};
use crate::{
    Descent, Dir, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result, SetTimes, Stat, Stop,
};

/// Opens what `path` leads to.
///
/// Errors, in order: `Inval` for flags that contradict themselves ([`OpenHow::check`]); those of
/// the walk; with `CREATE`, `Isdir` for a path that can only be a directory's; those of
/// [`Dir::open`]; `Loop` for a link that is not to be followed.
#[inline]
pub fn open(dir: &dyn Dir, path: &str, last: Follow, how: OpenHow) -> Result<Node> {
    how.check()?;
    walk::walk(dir, path, last, |at, ending| match ending {
        Ending::Name => dir.open(at, how),
        Ending::Slash if how.creates() => walk::in_parent(dir, at, |_, _| Err(Errno::Isdir.into())),
        Ending::Dot | Ending::DotDot if how.creates() => {
            dir.open(at, OpenHow::HOLD_DIR)?;
            Err(if how.is_exclusive() { Errno::Exist } else { Errno::Isdir }.into())
        }
        Ending::Slash | Ending::Dot | Ending::DotDot => {
            dir.open(at, OpenHow { flags: how.flags | OpenFlags::DIRECTORY, ..how })
        }
    })
}

/// What the node is that `path` leads to.
///
/// Errors: those of the walk, of [`Dir::stat`] and of [`Dir::stat_following`]; `Notdir` for
/// anything but a directory at the end of a path with a trailing slash.
#[inline]
pub fn stat(dir: &dyn Dir, path: &str, last: Follow) -> Result<Stat> {
    walk::walk(dir, path, last, |at, ending| {
        if ending == Ending::Name && last == Follow::No {
            return dir.stat(at);
        }
        // What is answered stays where it is: to move it right behind who wrote it takes as long as
        // to look it up.
        match dir.stat_following(at) {
            Ok(Stat { kind, .. }) if kind != FileType::Dir && ending != Ending::Name => {
                Err(Errno::Notdir.into())
            }
            answer => answer,
        }
    })
}

/// The target of the link that `path` leads to.
///
/// Errors, in order: those of the walk; `Noent`; `Inval` if it is no link; `Escape` for an
/// absolute target, which no guest can use and which would tell about the host; `Ilseq`.
pub fn read_link(dir: &dyn Dir, path: &str) -> Result<Box<str>> {
    let target = walk::walk(dir, path, Follow::No, |at, ending| {
        if ending != Ending::Name {
            dir.open(at, OpenHow::HOLD_DIR)?;
            return Err(Errno::Inval.into());
        }
        walk::in_parent(dir, at, |parent, name| Ok(parent.read_link(name)?))
    })?;
    if target.starts_with('/') {
        return Err(Errno::Escape);
    }
    Ok(target)
}

/// Creates an empty directory.
///
/// Errors, in order: those of the walk; `Exist` also for `.` and `..`; those of
/// [`Dir::create_dir`].
pub fn create_dir(dir: &dyn Dir, path: &str) -> Result<()> {
    walk::at(dir, path, |parent, last| match last {
        Last::Name { name, slash: _ } => parent.create_dir(name),
        Last::Dot | Last::DotDot => Err(Errno::Exist),
    })
}

/// Creates a symbolic link at `path` that says `target`.
///
/// Errors, in order: `Noent` for an empty target; `Nametoolong`; `Inval` for a NUL in it; `Escape`
/// for an absolute one; those of the walk; `Exist`, or `Noent` if there is nothing, for a path
/// with a trailing slash; those of [`Dir::create_symlink`].
pub fn create_symlink(dir: &dyn Dir, target: &str, path: &str) -> Result<()> {
    if target.is_empty() {
        return Err(Errno::Noent);
    }
    if target.len() > walk::PATH_LEN_MAX {
        return Err(Errno::Nametoolong);
    }
    if target.bytes().any(|b| b == 0) {
        return Err(Errno::Inval);
    }
    if target.starts_with('/') {
        return Err(Errno::Escape);
    }
    walk::at(dir, path, |parent, last| {
        let name = new_name(parent, last)?;
        parent.create_symlink(name, target)
    })
}

/// Removes a name that leads to anything but a directory.
///
/// Errors, in order: those of the walk; `Isdir` for `.` and `..`; with a trailing slash `Noent`,
/// `Isdir` or `Notdir`, as what is there; those of [`Dir::remove_file`].
pub fn remove_file(dir: &dyn Dir, path: &str) -> Result<()> {
    walk::at(dir, path, |parent, last| match last {
        Last::Name { name, slash: Slash::No } => parent.remove_file(name),
        Last::Name { name, slash: Slash::Yes } => match kind_of(parent, name)? {
            FileType::Dir => Err(Errno::Isdir),
            _ => Err(Errno::Notdir),
        },
        Last::Dot | Last::DotDot => Err(Errno::Isdir),
    })
}

/// Removes an empty directory.
///
/// Errors, in order: those of the walk; `Inval` for `.`, `Notempty` for `..`; those of
/// [`Dir::remove_dir`]: a link is `Notdir`, with a trailing slash too.
pub fn remove_dir(dir: &dyn Dir, path: &str) -> Result<()> {
    walk::at(dir, path, |parent, last| match last {
        Last::Name { name, slash: _ } => parent.remove_dir(name),
        Last::Dot => Err(Errno::Inval),
        Last::DotDot => Err(Errno::Notempty),
    })
}

/// Gives the node at `old` beneath `from` the name `new` beneath `into`.
///
/// Errors, in order: those of both walks; `Busy` for `.` and `..`; `Noent` for the old name;
/// `Notdir` for anything but a directory if either path has a trailing slash; those of
/// [`Dir::rename`].
pub fn rename(from: &dyn Dir, old: &str, into: &dyn Dir, new: &str) -> Result<()> {
    walk::at(from, old, |old_parent, old_last| {
        walk::at(into, new, |new_parent, new_last| {
            let (
                Last::Name { name: old_name, slash: old_slash },
                Last::Name { name: new_name, slash: new_slash },
            ) = (old_last, new_last)
            else {
                return Err(Errno::Busy);
            };
            if (old_slash == Slash::Yes || new_slash == Slash::Yes)
                && kind_of(old_parent, old_name)? != FileType::Dir
            {
                // Nothing is looked up in a dead directory, so that comes first.
                return Err(if is_dead(new_parent) { Errno::Noent } else { Errno::Notdir });
            }
            old_parent.rename(old_name, new_parent, new_name)
        })
    })
}

/// Gives the node at `old` beneath `from`, a link itself, the further name `new` beneath `into`.
///
/// Errors, in order: those of the walk of `old`; `Noent`; `Notdir` for anything but a directory
/// with a trailing slash; those of the walk of `new`; `Exist`, or with a trailing slash `Noent`;
/// `Perm` for a directory; those of [`Dir::link`].
pub fn link(from: &dyn Dir, old: &str, into: &dyn Dir, new: &str) -> Result<()> {
    walk::walk(from, old, Follow::No, |at, ending| {
        if ending != Ending::Name {
            from.open(at, OpenHow::HOLD_DIR)?;
        }
        if at.is_here() {
            return Ok(walk::at(into, new, |parent, last| {
                new_name(parent, last)?;
                Err(match parent_has(parent, last) {
                    true => Errno::Exist,
                    false if is_dead(parent) => Errno::Noent,
                    false => Errno::Perm,
                })
            })?);
        }
        walk::in_parent(from, at, |old_parent, old_name| {
            // The old name comes first, also if the new path is nonsense.
            kind_of(old_parent, old_name)?;
            Ok(walk::at(into, new, |new_parent, last| {
                let name = new_name(new_parent, last)?;
                old_parent.link(old_name, new_parent, name)
            })?)
        })
    })
}

/// Changes the times of what `path` leads to.
///
/// Errors: those of the walk; `Noent`; `Notdir` for anything but a directory at the end of a path
/// with a trailing slash; those of [`Dir::set_times`].
pub fn set_times(dir: &dyn Dir, path: &str, last: Follow, times: SetTimes) -> Result<()> {
    walk::walk(dir, path, last, |at, ending| {
        if ending != Ending::Name {
            dir.open(at, OpenHow::HOLD_DIR)?;
        } else if last == Follow::Yes {
            // Stops at a link; what else it opens it only holds.
            dir.open(at, OpenHow::HOLD)?;
        }
        dir.set_times(at, times)
    })
}

/// Whether a held directory is removed. One that may not be looked at is taken to be there.
fn is_dead(dir: &dyn Dir) -> bool {
    dir.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0)
}

/// The name for a node that is no directory: `Exist` for `.` and `..`; with a trailing slash
/// `Exist` if there is something and `Noent` if there is nothing.
fn new_name<'a>(parent: &dyn Dir, last: Last<'a>) -> Result<Name<'a>> {
    match last {
        Last::Name { name, slash: Slash::No } => Ok(name),
        Last::Name { name, slash: Slash::Yes } => {
            kind_of(parent, name)?;
            Err(Errno::Exist)
        }
        Last::Dot | Last::DotDot => Err(Errno::Exist),
    }
}

fn parent_has(parent: &dyn Dir, last: Last<'_>) -> bool {
    match last {
        Last::Name { name, .. } => kind_of(parent, name).is_ok(),
        Last::Dot | Last::DotDot => true,
    }
}

/// The type of a child, also of one that may be held or followed, but not looked at.
pub(crate) fn kind_of(parent: &dyn Dir, name: Name<'_>) -> Result<FileType> {
    match parent.stat(name.into()) {
        Ok(stat) => Ok(stat.kind),
        Err(Stop::Errno(Errno::Acces)) => match parent.open(name.into(), OpenHow::HOLD) {
            Ok(Node::Dir(_)) => Ok(FileType::Dir),
            Ok(Node::File(file)) => Ok(file.kind()),
            Err(Stop::Link { .. }) => Ok(FileType::Symlink),
            Err(Stop::Errno(errno)) => Err(errno),
        },
        Err(stop) => Err(stop.without_following()),
    }
}
