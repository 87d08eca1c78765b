//! Counts the nodes that exist when a directory is guarded.

use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Errno, FileType, Name, OpenFlags, OpenHow, PathError,
    Recurse, Result, Stat, Stop, visit_nodes,
};

use super::meter::{Counter, Group};
use super::nodes::sized;

/// Opens a directory for listing.
pub(super) const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);

/// Counts each node under `root` that `group` does not track: all nodes, or none on an error.
pub(super) fn count(group: &Arc<Group>, root: &DirRef) -> Result<()> {
    let _names = group.names.write();
    let mut counted = Vec::new();
    let done = walk(group, root, &mut counted);
    if done.is_err() {
        counted.into_iter().for_each(|id| group.lost(id));
    }
    done
}

fn walk(group: &Group, root: &DirRef, counted: &mut Vec<(u64, u64)>) -> Result<()> {
    let root = end(root.open(Descent::HERE, LIST))?.into_dir()?;
    let visit = |dir: &DirRef, name: Name<'_>| {
        let stat = match dir.stat(name.into()) {
            // Another process removed the entry in the meantime.
            Err(Stop::Errno(Errno::Noent)) => return Ok(Recurse::No),
            stat => end(stat)?,
        };
        if !group.knows(&stat) {
            let inode = group.reservation(Counter::Inodes, 1)?;
            group.reservation(Counter::Bytes, sized(&stat))?.commit_all();
            inode.commit_all();
            group.count(&stat);
            counted.push((stat.dev, stat.ino));
        }
        Ok(if stat.kind == FileType::Dir { Recurse::Yes } else { Recurse::No })
    };
    visit_nodes(&root, LIST, visit).map_err(|PathError { errno, .. }| errno)
}

/// Returns the number of entries of `dir`, which it reopens for listing.
pub(super) fn entries(dir: &DirRef) -> Result<u64> {
    let dir = end(dir.open(Descent::HERE, LIST))?.into_dir()?;
    let mut entries = 0;
    dir.read_dir(Cookie::START, &mut |_| {
        entries += 1;
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// Converts the result of an operation on at most one name: a symbolic link that the policy does
/// not let the caller read becomes `Acces`.
pub(super) fn end<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(|stop| match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Acces,
    })
}

/// Stats the node `name`. Returns `None` if it does not exist.
pub(super) fn stat_entry(dir: &dyn Dir, name: Name<'_>) -> Result<Option<Stat>> {
    match end(dir.stat(name.into())) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::Noent) => Ok(None),
        Err(errno) => Err(errno),
    }
}
