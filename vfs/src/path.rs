//! The operations on paths: the rules for trailing slashes, `.`, `..` and symbolic links.
//!
//! Every function takes a directory and a path relative to it, as a guest wrote it. The rules are
//! Linux's (`fs/namei.c`), which refine POSIX's; where WASI is stricter (absolute link targets),
//! the rule is WASI's. Filesystems and policy layers see only the resulting descents and names.

use crate::walk::{self, Ending, Follow, Last, Slash};
use crate::{
    Descent, Dir, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result, SetTimes, Stat, Stop,
};

/// Opens the node at `path`.
///
/// # Errors
///
/// - `EINVAL`: contradictory flags ([`OpenHow::check`]).
/// - Those of [`walk::walk`].
/// - `EISDIR`: with `CREATE`, the path ends in a slash, `.` or `..`.
/// - Those of [`Dir::open`].
/// - `ELOOP`: the node is a symbolic link and `last` is [`Follow::No`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/open.html>
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

/// Returns the metadata of the node at `path`.
///
/// # Errors
///
/// - Those of [`walk::walk`].
/// - Those of [`Dir::stat`] and [`Dir::stat_following`].
/// - `ENOTDIR`: the path ends in a slash and the node is not a directory.
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstatat.html>
#[inline]
pub fn stat(dir: &dyn Dir, path: &str, last: Follow) -> Result<Stat> {
    walk::walk(dir, path, last, |at, ending| {
        if ending == Ending::Name && last == Follow::No {
            return dir.stat(at);
        }
        // perf: store forwarding, see docs/performance.md. The `Stat` is returned in place.
        match dir.stat_following(at) {
            Ok(Stat { kind, .. }) if kind != FileType::Dir && ending != Ending::Name => {
                Err(Errno::Notdir.into())
            }
            result => result,
        }
    })
}

/// Returns the target of the symbolic link at `path`.
///
/// # Errors
///
/// - Those of [`walk::walk`].
/// - `ENOENT`: the last name is missing.
/// - `EINVAL`: the node is not a symbolic link.
/// - [`Errno::Escape`]: the target is absolute. No guest can use such a target, and it would
///   disclose a path of the host.
/// - `EILSEQ`: the target is not UTF-8.
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/readlink.html>
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
/// # Errors
///
/// - Those of [`walk::walk`].
/// - `EEXIST`: the path ends in `.` or `..`.
/// - Those of [`Dir::create_dir`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/mkdir.html>
pub fn create_dir(dir: &dyn Dir, path: &str) -> Result<()> {
    walk::at(dir, path, |parent, last| match last {
        Last::Name { name, slash: _ } => parent.create_dir(name),
        Last::Dot | Last::DotDot => Err(Errno::Exist),
    })
}

/// Creates a symbolic link to `target` at `path`.
///
/// # Errors
///
/// - `ENOENT`: `target` is empty.
/// - `ENAMETOOLONG`: `target` is longer than [`walk::PATH_LEN_MAX`] bytes.
/// - `EINVAL`: `target` contains a NUL.
/// - [`Errno::Escape`]: `target` is absolute.
/// - Those of [`walk::walk`].
/// - `EEXIST`, or `ENOENT` if the name is missing: the path ends in a slash.
/// - Those of [`Dir::create_symlink`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/symlink.html>
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

/// Removes the name of a node that is not a directory.
///
/// # Errors
///
/// - Those of [`walk::walk`].
/// - `EISDIR`: the path ends in `.` or `..`.
/// - `ENOENT`, `EISDIR` or `ENOTDIR`, by the type of the node: the path ends in a slash.
/// - Those of [`Dir::remove_file`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/unlink.html>
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

/// Removes an empty directory. A symbolic link to one is `ENOTDIR`, also with a trailing slash.
///
/// # Errors
///
/// - Those of [`walk::walk`].
/// - `EINVAL` if the path ends in `.`, `ENOTEMPTY` if it ends in `..`.
/// - Those of [`Dir::remove_dir`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/rmdir.html>
pub fn remove_dir(dir: &dyn Dir, path: &str) -> Result<()> {
    walk::at(dir, path, |parent, last| match last {
        Last::Name { name, slash: _ } => parent.remove_dir(name),
        Last::Dot => Err(Errno::Inval),
        Last::DotDot => Err(Errno::Notempty),
    })
}

/// Renames the node at `old`, relative to `from`, to `new`, relative to `into`.
///
/// # Errors
///
/// - Those of [`walk::walk`], for `old` and then for `new`.
/// - `EBUSY`: a path ends in `.` or `..`.
/// - `ENOENT`: the old name is missing.
/// - `ENOTDIR`: a path ends in a slash and the node is not a directory.
/// - Those of [`Dir::rename`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/rename.html>
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
                // A lookup in a removed directory is `ENOENT`, which comes before the type of the
                // node.
                return Err(if is_removed(new_parent) { Errno::Noent } else { Errno::Notdir });
            }
            old_parent.rename(old_name, new_parent, new_name)
        })
    })
}

/// Creates a hard link `new`, relative to `into`, to the node at `old`, relative to `from`. A
/// symbolic link at `old` is not followed.
///
/// # Errors
///
/// - Those of [`walk::walk`], for `old`.
/// - `ENOENT`: the old name is missing.
/// - `ENOTDIR`: `old` ends in a slash and the node is not a directory.
/// - Those of [`walk::walk`], for `new`.
/// - `EEXIST`, or `ENOENT` if `new` ends in a slash and its name is missing.
/// - `EPERM`: the node is a directory.
/// - Those of [`Dir::link`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/link.html>
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
                    false if is_removed(parent) => Errno::Noent,
                    false => Errno::Perm,
                })
            })?);
        }
        walk::in_parent(from, at, |old_parent, old_name| {
            // A missing old name is reported before a malformed new path.
            kind_of(old_parent, old_name)?;
            Ok(walk::at(into, new, |new_parent, last| {
                let name = new_name(new_parent, last)?;
                old_parent.link(old_name, new_parent, name)
            })?)
        })
    })
}

/// Sets the times of the node at `path`.
///
/// # Errors
///
/// - Those of [`walk::walk`].
/// - `ENOENT`: the last name is missing.
/// - `ENOTDIR`: the path ends in a slash and the node is not a directory.
/// - Those of [`Dir::set_times`].
///
/// POSIX: <https://pubs.opengroup.org/onlinepubs/9799919799/functions/futimens.html>
pub fn set_times(dir: &dyn Dir, path: &str, last: Follow, times: SetTimes) -> Result<()> {
    walk::walk(dir, path, last, |at, ending| {
        if ending != Ending::Name {
            dir.open(at, OpenHow::HOLD_DIR)?;
        } else if last == Follow::Yes {
            // Stops at a symbolic link, which the walker then follows. Any other node is only held.
            dir.open(at, OpenHow::HOLD)?;
        }
        dir.set_times(at, times)
    })
}

/// Returns whether a directory is removed. A directory that cannot be statted counts as present.
fn is_removed(dir: &dyn Dir) -> bool {
    dir.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0)
}

/// Returns the last name of a path at which a node other than a directory is created.
///
/// # Errors
///
/// - `EEXIST`: the path ends in `.` or `..`, or in a slash after a name that exists.
/// - `ENOENT`: the path ends in a slash after a missing name.
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

/// Returns the type of a child. If the caller may not stat it, the type comes from a handle on it
/// or from the stop at a symbolic link.
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
