//! The state of a mount: the filesystem of the crate and the node table.
//!
//! All functions run with the lock of the mount. A change is made in the filesystem first and in
//! the node table after it, so that a failure changes neither.

use std::sync::Arc;
use std::time::SystemTime;

use palisade_vfs::{
    Descent, Errno, FileType, Name, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, Timestamp,
};
use vfs::{FileSystem, VfsFileType, VfsMetadata};

use super::Limits;
use super::contents::{Buffer, FileContents, MemoryBudget, SaveState};
use super::nodes::{Ino, NodeContents, NodeParent, Nodes, RemovalCause};
use crate::errors::{errno_of, errno_of_change};
use crate::times;

/// A filesystem of the crate, and the nodes that are known of it.
pub(super) struct State {
    pub(super) fs: Box<dyn FileSystem>,
    pub(super) nodes: Nodes,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) names_max: usize,
    dev: u64,
}

/// The result of a lookup: a node and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeRef {
    pub(super) ino: Ino,
    pub(super) kind: FileType,
}

impl State {
    pub(super) fn new(fs: Box<dyn FileSystem>, dev: u64, limits: Limits) -> Self {
        let nodes = Nodes::new(limits.names);
        State { fs, nodes, budget: MemoryBudget::new(limits), names_max: limits.names, dev }
    }

    /// Returns the metadata of a path, or `None` if it does not exist.
    pub(super) fn metadata_of(&self, path: &str) -> Result<Option<VfsMetadata>> {
        match self.fs.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) => match errno_of(&error) {
                Errno::Noent | Errno::Notdir => Ok(None),
                // Some filesystems have no distinct error for a missing path.
                errno => match self.fs.exists(path) {
                    Ok(false) => Ok(None),
                    Ok(true) | Err(_) => Err(errno),
                },
            },
        }
    }

    /// Returns the path of a name in a directory, or `None` if the directory was removed.
    pub(super) fn path_in(&self, dir: Ino, name: &str) -> Option<String> {
        self.nodes.path(dir).map(|path| format!("{path}/{name}"))
    }

    /// Looks up a name in a directory. A known node is replaced if its type has changed.
    pub(super) fn child(&mut self, dir: Ino, name: &str) -> Result<Option<NodeRef>> {
        let Some(path) = self.path_in(dir, name) else { return Ok(None) };
        let known = self.nodes.child(dir, name);
        if let Some(ino) = known
            && self.unsaved(ino).is_some()
        {
            // A file with unsaved changes exists, even if the filesystem has lost it.
            return Ok(Some(NodeRef { ino, kind: FileType::File }));
        }
        let Some(metadata) = self.metadata_of(&path)? else {
            if known.is_some() {
                self.drop_name(dir, name, RemovalCause::Vanished);
            }
            return Ok(None);
        };
        let kind = kind_of(&metadata);
        if let Some(ino) = known {
            if self.nodes.get(ino)?.contents.kind() == kind {
                return Ok(Some(NodeRef { ino, kind }));
            }
            self.drop_name(dir, name, RemovalCause::Vanished);
        }
        let contents = match kind {
            FileType::Dir => NodeContents::Dir(Default::default()),
            _ => NodeContents::File(FileContents::Stored(None)),
        };
        Ok(Some(NodeRef { ino: self.nodes.insert(dir, name, contents)?, kind }))
    }

    /// Looks up a descent.
    ///
    /// # Errors
    ///
    /// - `Notdir`: a component before the last is not a directory.
    /// - `Noent`: a component does not exist.
    /// - Those of the filesystem.
    pub(super) fn descend(&mut self, from: Ino, path: Descent<'_>) -> Result<NodeRef> {
        let mut at = NodeRef { ino: from, kind: FileType::Dir };
        for name in path.names() {
            if at.kind != FileType::Dir {
                return Err(Errno::Notdir);
            }
            at = self.child(at.ino, name.as_str())?.ok_or(Errno::Noent)?;
        }
        Ok(at)
    }

    /// Returns the path of a directory that still exists, else `Noent`.
    pub(super) fn existing_dir(&self, dir: Ino) -> Result<String> {
        let path = self.nodes.path(dir).ok_or(Errno::Noent)?;
        match self.metadata_of(&path)? {
            Some(metadata) if kind_of(&metadata) == FileType::Dir => Ok(path),
            Some(_) | None => Err(Errno::Noent),
        }
    }

    /// Implements [`Dir::open`](palisade_vfs::Dir::open), and counts the handle.
    pub(super) fn open(&mut self, from: Ino, path: Descent<'_>, how: OpenHow) -> Result<NodeRef> {
        let found = match path.split_last() {
            None if how.is_exclusive() => return Err(Errno::Exist),
            None => NodeRef { ino: from, kind: FileType::Dir },
            Some((parent, name)) => {
                let dir = self.descend(from, parent)?;
                if dir.kind != FileType::Dir {
                    return Err(Errno::Notdir);
                }
                match self.child(dir.ino, name.as_str())? {
                    Some(_) if how.is_exclusive() => return Err(Errno::Exist),
                    Some(found) => found,
                    None if how.creates() => self.create_file(dir.ino, name)?,
                    None => return Err(Errno::Noent),
                }
            }
        };
        match found.kind {
            FileType::Dir if how.refuses_dir() => return Err(Errno::Isdir),
            FileType::Dir => {}
            _ if how.wants_dir() => return Err(Errno::Notdir),
            _ if how.flags.contains(OpenFlags::TRUNCATE) => self.empty(found.ino)?,
            _ => {
                if let NodeContents::File(body) = &mut self.nodes.get_mut(found.ino)?.contents {
                    body.refresh();
                }
                if how.access.reads() {
                    self.reader(found.ino)?;
                }
            }
        }
        self.nodes.get_mut(found.ino)?.handles += 1;
        Ok(found)
    }

    fn create_file(&mut self, dir: Ino, name: Name<'_>) -> Result<NodeRef> {
        let path = format!("{}/{}", self.existing_dir(dir)?, name.as_str());
        let body =
            FileContents::Buffered { buffer: Buffer::new(&self.budget), saved: SaveState::Clean };
        let ino = self.insert_created(dir, name, NodeContents::File(body), |state| {
            drop(state.fs.create_file(&path).map_err(|error| errno_of_change(&error))?);
            match state.metadata_of(&path)? {
                Some(metadata) if kind_of(&metadata) == FileType::File => Ok(()),
                Some(_) | None => Err(Errno::Io),
            }
        })?;
        Ok(NodeRef { ino, kind: FileType::File })
    }

    pub(super) fn create_dir(&mut self, dir: Ino, name: Name<'_>) -> Result<()> {
        if self.child(dir, name.as_str())?.is_some() {
            return Err(Errno::Exist);
        }
        let path = format!("{}/{}", self.existing_dir(dir)?, name.as_str());
        self.insert_created(dir, name, NodeContents::Dir(Default::default()), |state| {
            state.fs.create_dir(&path).map_err(|error| errno_of_change(&error))
        })?;
        Ok(())
    }

    /// Creates a node with `make` and inserts it. Space in the table is reserved first.
    fn insert_created(
        &mut self,
        dir: Ino,
        name: Name<'_>,
        contents: NodeContents,
        make: impl FnOnce(&State) -> Result<()>,
    ) -> Result<Ino> {
        self.nodes.assign_position(dir, name.as_str())?;
        if let Err(errno) = make(self) {
            self.drop_name(dir, name.as_str(), RemovalCause::Vanished);
            return Err(errno);
        }
        self.nodes.insert(dir, name.as_str(), contents)
    }

    /// Removes a node of this type.
    pub(super) fn remove(&mut self, dir: Ino, name: Name<'_>, kind: FileType) -> Result<()> {
        let found = self.child(dir, name.as_str())?.ok_or(Errno::Noent)?;
        match (kind, found.kind) {
            (FileType::Dir, FileType::Dir) => self.check_empty(found.ino)?,
            (FileType::Dir, _) => return Err(Errno::Notdir),
            (_, FileType::Dir) => return Err(Errno::Isdir),
            _ => self.load_if_open(found.ino)?,
        }
        let path = self.path_in(dir, name.as_str()).ok_or(Errno::Noent)?;
        let last = self.stat(found.ino)?;
        let removed = match kind {
            FileType::Dir => self.fs.remove_dir(&path),
            _ => self.fs.remove_file(&path),
        };
        match removed.map_err(|error| errno_of_change(&error)) {
            // The file was removed from the filesystem before it was saved.
            Err(Errno::Noent) if self.unsaved(found.ino).is_some() => {}
            removed => removed?,
        }
        self.nodes.drop_name(dir, name.as_str(), RemovalCause::Removed, |_, _| gone(last));
        Ok(())
    }

    /// Returns `Notempty` unless a directory is empty. Invalid names count too.
    pub(super) fn check_empty(&self, dir: Ino) -> Result<()> {
        let path = self.nodes.path(dir).ok_or(Errno::Noent)?;
        let mut names = self.fs.read_dir(&path).map_err(|error| errno_of(&error))?;
        if names.next().is_some() { Err(Errno::Notempty) } else { Ok(()) }
    }

    /// Loads an open file before its name is removed. Returns `Busy` if it is too large.
    pub(super) fn load_if_open(&mut self, ino: Ino) -> Result<()> {
        if self.nodes.get(ino)?.handles == 0 {
            return Ok(());
        }
        match self.load(ino) {
            Err(Errno::Fbig | Errno::Nospc | Errno::Nomem) => Err(Errno::Busy),
            loaded => loaded,
        }
    }

    /// Returns the names of a directory with their positions after `from`, in the order of the
    /// positions.
    ///
    /// # Errors
    ///
    /// - `Inval`: `from` was never assigned.
    /// - Those of the filesystem.
    /// - `Nomem`: more than `Limits::names` names.
    pub(super) fn list(&mut self, dir: Ino, from: u64) -> Result<Vec<(u64, String)>> {
        if from > self.nodes.last_position(dir) {
            return Err(Errno::Inval);
        }
        let Some(path) = self.nodes.path(dir) else { return Ok(Vec::new()) };
        if self.metadata_of(&path)?.is_none() {
            return Ok(Vec::new());
        }
        let listed = self.fs.read_dir(&path).map_err(|error| errno_of(&error))?;
        let mut names: Vec<String> = listed.take(self.names_max.saturating_add(1)).collect();
        if names.len() > self.names_max {
            return Err(Errno::Nomem);
        }
        // Removes invalid names and duplicates that the filesystem lists.
        names.retain(|name| Name::new(name).is_ok());
        names.sort();
        names.dedup();
        let known = self.nodes.positions(dir);
        let missing: Vec<String> = known
            .filter(|(_, name, ino)| {
                let is_unsaved = ino.is_some_and(|ino| self.unsaved(ino).is_some());
                !is_unsaved && names.binary_search_by(|it| it.as_str().cmp(name)).is_err()
            })
            .map(|(_, name, _)| name.to_owned())
            .collect();
        for name in missing {
            self.drop_name(dir, &name, RemovalCause::Vanished);
        }
        for name in &names {
            self.nodes.assign_position(dir, name)?;
        }
        let positions = self.nodes.positions(dir).filter(|(position, ..)| *position > from);
        let mut positions: Vec<_> =
            positions.map(|(position, name, _)| (position, name.to_owned())).collect();
        positions.sort();
        Ok(positions)
    }

    /// Returns the attributes of a node, or `Noent` if the filesystem no longer has it.
    pub(super) fn stat(&self, ino: Ino) -> Result<Stat> {
        let node = self.nodes.get(ino)?;
        let here = match &node.contents {
            NodeContents::File(body) => body.buffered_len(),
            NodeContents::Dir(_) => None,
        };
        if let NodeParent::Removed { last, .. } = &node.parent {
            return Ok(Stat { size: here.unwrap_or(last.size), ..*last });
        }
        let path = self.nodes.path(ino).ok_or(Errno::Noent)?;
        let unsaved = self.unsaved(ino).map(Timestamp::from);
        let found = self.metadata_of(&path)?;
        if found.is_none() && unsaved.is_none() {
            return Err(Errno::Noent);
        }
        let timestamp = |time: fn(&VfsMetadata) -> Option<SystemTime>| {
            found.as_ref().and_then(time).map(Timestamp::from)
        };
        let born = timestamp(|metadata| metadata.created).unwrap_or_default();
        let modified = unsaved.or(timestamp(|metadata| metadata.modified)).unwrap_or(born);
        let kind = node.contents.kind();
        let len = found.as_ref().map_or(0, |metadata| metadata.len);
        Ok(Stat {
            kind,
            dev: self.dev,
            ino,
            nlink: 1,
            size: if kind == FileType::Dir { 0 } else { here.unwrap_or(len) },
            accessed: timestamp(|metadata| metadata.accessed).unwrap_or(modified),
            modified,
            changed: modified.max(node.changed),
        })
    }

    pub(super) fn set_times(&mut self, ino: Ino, times: SetTimes) -> Result<()> {
        // A later save would change the times again, so the file is saved first.
        self.save(ino)?;
        let before = self.stat(ino)?;
        let now = SystemTime::now();
        let at = |time| match time {
            SetTime::Keep => Ok(None),
            SetTime::Now => Ok(Some(now)),
            SetTime::At(time) => times::checked_system_time(time).map(Some),
        };
        let (accessed, modified) = (at(times.accessed)?, at(times.modified)?);
        if let NodeParent::Removed { last, .. } = &mut self.nodes.get_mut(ino)?.parent {
            last.accessed = accessed.map_or(last.accessed, Timestamp::from);
            last.modified = modified.map_or(last.modified, Timestamp::from);
            last.changed = now.into();
            return Ok(());
        }
        let path = self.nodes.path(ino).ok_or(Errno::Noent)?;
        if let Some(time) = modified {
            let set = self.fs.set_modification_time(&path, time);
            set.map_err(|error| errno_of(&error))?;
        }
        if let Some(time) = accessed
            && let Err(error) = self.fs.set_access_time(&path, time)
        {
            if modified.is_some()
                && let Some(time) = times::system_time(before.modified)
            {
                // Rollback of the modification time; the first error is returned.
                let _ = self.fs.set_modification_time(&path, time);
            }
            return Err(errno_of(&error));
        }
        self.nodes.get_mut(ino)?.changed = now.into();
        Ok(())
    }

    /// Removes a name and all nodes under it from the node table.
    pub(super) fn drop_name(&mut self, dir: Ino, name: &str, how: RemovalCause) {
        let dev = self.dev;
        self.nodes.drop_name(dir, name, how, |node, ino| Stat {
            kind: node.contents.kind(),
            dev,
            ino,
            nlink: 0,
            size: 0,
            accessed: node.changed,
            modified: node.changed,
            changed: node.changed,
        });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // A drop cannot return the error.
        let _ = self.save_pending();
    }
}

pub(super) fn kind_of(metadata: &VfsMetadata) -> FileType {
    match metadata.file_type {
        VfsFileType::Directory => FileType::Dir,
        VfsFileType::File => FileType::File,
    }
}

/// Returns the attributes of an open node after its name was removed.
pub(super) fn gone(last: Stat) -> Stat {
    Stat { nlink: 0, changed: SystemTime::now().into(), ..last }
}
