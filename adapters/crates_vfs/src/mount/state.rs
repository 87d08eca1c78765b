//! Asks the filesystem, and keeps what is remembered in step with what it says.
//!
//! Every function runs under the lock of the mount. A change is made in the filesystem first and
//! remembered after it, so that a failure leaves both as they were.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::SystemTime;

use palisade_vfs::{
    Descent, Errno, FileType, Name, OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, Timestamp,
};
use vfs::{FileSystem, VfsFileType, VfsMetadata};

use super::Limits;
use super::contents::{self, Buffer, FileContents, MemoryBudget, SaveState};
use super::nodes::{Ino, NodeContents, NodeParent, Nodes, RemovalCause};
use crate::errors::{errno_of, errno_of_change};
use crate::streams::write_all;
use crate::times;

/// A filesystem of the crate, and what is remembered of it.
pub(super) struct State {
    pub(super) fs: Box<dyn FileSystem>,
    pub(super) nodes: Nodes,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) names_max: usize,
    dev: u64,
}

/// What is there at a name.
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

    /// What the filesystem says of a path; `None` if there is nothing.
    pub(super) fn metadata_of(&self, path: &str) -> Result<Option<VfsMetadata>> {
        match self.fs.metadata(path) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) => match errno_of(&error) {
                Errno::Noent | Errno::Notdir => Ok(None),
                // Some have no error of their own for what is missing.
                errno => match self.fs.exists(path) {
                    Ok(false) => Ok(None),
                    Ok(true) | Err(_) => Err(errno),
                },
            },
        }
    }

    /// The path of a name in a directory; `None` if the directory is gone.
    pub(super) fn path_in(&self, dir: Ino, name: &str) -> Option<String> {
        self.nodes.path(dir).map(|path| format!("{path}/{name}"))
    }

    /// What is there at a name of a directory.
    pub(super) fn child(&mut self, dir: Ino, name: &str) -> Result<Option<NodeRef>> {
        let Some(path) = self.path_in(dir, name) else { return Ok(None) };
        let known = self.nodes.child(dir, name);
        if let Some(ino) = known
            && self.unsaved(ino).is_some()
        {
            // What is not saved yet is there, whatever became of the file.
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

    /// Where a descent leads. Errors, in order: `Notdir`, `Noent` on the way.
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

    /// The path of a directory in which something is to be made. Errors: `Noent` if it is gone.
    pub(super) fn existing_dir(&self, dir: Ino) -> Result<String> {
        let path = self.nodes.path(dir).ok_or(Errno::Noent)?;
        match self.metadata_of(&path)? {
            Some(metadata) if kind_of(&metadata) == FileType::Dir => Ok(path),
            Some(_) | None => Err(Errno::Noent),
        }
    }

    /// As [`Dir::open`](palisade_vfs::Dir::open); the handle is counted.
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

    /// Remembers what `make` makes. There is room for it before it is made.
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

    /// Removes a name that leads to a node of this kind.
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
            // A file that was made and vanished before it was saved.
            Err(Errno::Noent) if self.unsaved(found.ino).is_some() => {}
            removed => removed?,
        }
        self.nodes.drop_name(dir, name.as_str(), RemovalCause::Removed, |_, _| gone(last));
        Ok(())
    }

    /// Errors: `Notempty`, also for names that a listing leaves out.
    pub(super) fn check_empty(&self, dir: Ino) -> Result<()> {
        let path = self.nodes.path(dir).ok_or(Errno::Noent)?;
        let mut names = self.fs.read_dir(&path).map_err(|error| errno_of(&error))?;
        if names.next().is_some() { Err(Errno::Notempty) } else { Ok(()) }
    }

    /// Brings an open file into memory, before its name goes. Errors: `Busy` if it is too long.
    pub(super) fn load_if_open(&mut self, ino: Ino) -> Result<()> {
        if self.nodes.get(ino)?.handles == 0 {
            return Ok(());
        }
        match self.load(ino) {
            Err(Errno::Fbig | Errno::Nospc | Errno::Nomem) => Err(Errno::Busy),
            loaded => loaded,
        }
    }

    /// The names of a directory with their positions behind `from`, in the order of the positions.
    ///
    /// Errors, in order: `Inval` for a position that was never given; those of the filesystem;
    /// `Nomem` above the limit.
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
        // Whatever the filesystem says: what is no name is not one, and each is there once.
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

    /// What a node is. Errors: `Noent` if it vanished.
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
        let says = |time: fn(&VfsMetadata) -> Option<SystemTime>| {
            found.as_ref().and_then(time).map(Timestamp::from)
        };
        let born = says(|metadata| metadata.created).unwrap_or_default();
        let modified = unsaved.or(says(|metadata| metadata.modified)).unwrap_or(born);
        let kind = node.contents.kind();
        let len = found.as_ref().map_or(0, |metadata| metadata.len);
        Ok(Stat {
            kind,
            dev: self.dev,
            ino,
            nlink: 1,
            size: if kind == FileType::Dir { 0 } else { here.unwrap_or(len) },
            accessed: says(|metadata| metadata.accessed).unwrap_or(modified),
            modified,
            changed: modified.max(node.changed),
        })
    }

    pub(super) fn set_times(&mut self, ino: Ino, times: SetTimes) -> Result<()> {
        // A save would change the times again, so it comes first.
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
                // Both or none; the error that counts is the first.
                let _ = self.fs.set_modification_time(&path, time);
            }
            return Err(errno_of(&error));
        }
        self.nodes.get_mut(ino)?.changed = now.into();
        Ok(())
    }

    pub(super) fn read_at(
        &mut self,
        ino: Ino,
        bufs: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Result<usize> {
        self.reader(ino)?;
        match &mut self.nodes.get_mut(ino)?.contents {
            NodeContents::Dir(_) => Err(Errno::Isdir),
            NodeContents::File(FileContents::Buffered { buffer, .. }) => {
                Ok(buffer.read_at(bufs, offset))
            }
            NodeContents::File(FileContents::Stored(None)) => Err(Errno::Stale),
            NodeContents::File(FileContents::Stored(Some(reader))) => {
                contents::read_at(reader, bufs, offset)
            }
        }
    }

    /// Opens a stream, if that is where the bytes are.
    fn reader(&mut self, ino: Ino) -> Result<()> {
        if !matches!(&self.nodes.get(ino)?.contents, NodeContents::File(FileContents::Stored(None)))
        {
            return Ok(());
        }
        let path = self.nodes.path(ino).ok_or(Errno::Stale)?;
        let reader = self.fs.open_file(&path).map_err(|error| errno_of(&error))?;
        self.nodes.get_mut(ino)?.contents = NodeContents::File(FileContents::Stored(Some(reader)));
        Ok(())
    }

    /// Brings a file into memory. Errors: `Stale` if it vanished; `Fbig`, `Nospc`.
    pub(super) fn load(&mut self, ino: Ino) -> Result<()> {
        if !matches!(&self.nodes.get(ino)?.contents, NodeContents::File(FileContents::Stored(_))) {
            return Ok(());
        }
        let path = self.nodes.path(ino).ok_or(Errno::Stale)?;
        let mut reader = self.fs.open_file(&path).map_err(|error| stale(errno_of(&error)))?;
        let buffer = Buffer::read(&self.budget, &mut reader)?;
        self.nodes.get_mut(ino)?.contents =
            NodeContents::File(FileContents::Buffered { buffer, saved: SaveState::Unverified });
        Ok(())
    }

    /// Changes the bytes of a file. A file that cannot be written to says so here, before a byte
    /// of the change is accepted.
    ///
    /// Errors: those of [`State::load`]; `Rofs`, `Acces`; those of `change`, which must leave the
    /// buffer as it was.
    pub(super) fn change<T>(
        &mut self,
        ino: Ino,
        change: impl FnOnce(&mut Buffer) -> Result<T>,
    ) -> Result<T> {
        self.load(ino)?;
        let path = self.nodes.path(ino);
        let node = self.nodes.get_mut(ino)?;
        let NodeContents::File(FileContents::Buffered { buffer, saved }) = &mut node.contents
        else {
            return Err(Errno::Isdir);
        };
        if *saved == SaveState::Unverified
            && let Some(path) = &path
        {
            let stream = self.fs.append_file(path);
            drop(stream.map_err(|error| stale(errno_of_change(&error)))?);
        }
        let done = change(buffer)?;
        let now = SystemTime::now();
        *saved = SaveState::Dirty(now);
        if let NodeParent::Removed { last, .. } = &mut node.parent {
            (last.modified, last.changed) = (now.into(), now.into());
        }
        Ok(done)
    }

    /// Empties a file, at once: its bytes are not wanted any more, and a filesystem that can only
    /// make files anew can do this as well.
    pub(super) fn empty(&mut self, ino: Ino) -> Result<()> {
        let Some(path) = self.nodes.path(ino) else {
            return self.change(ino, |buffer| buffer.set_len(0));
        };
        drop(self.fs.create_file(&path).map_err(|error| errno_of_change(&error))?);
        let body =
            FileContents::Buffered { buffer: Buffer::new(&self.budget), saved: SaveState::Clean };
        self.nodes.get_mut(ino)?.contents = NodeContents::File(body);
        Ok(())
    }

    /// Appends, and answers the offset behind it. A file that is too long for memory is appended
    /// to where it is.
    pub(super) fn append(&mut self, ino: Ino, bufs: &[IoSlice<'_>]) -> Result<u64> {
        match self.load(ino) {
            Err(Errno::Fbig | Errno::Nospc) => {}
            loaded => {
                loaded?;
                return self.change(ino, |buffer| {
                    buffer.write(bufs, buffer.len())?;
                    Ok(buffer.len())
                });
            }
        }
        let path = self.nodes.path(ino).ok_or(Errno::Stale)?;
        let before = self.metadata_of(&path)?.ok_or(Errno::Stale)?.len;
        let end = contents::end_of(bufs, before)?;
        let mut stream = self.fs.append_file(&path).map_err(|error| errno_of_change(&error))?;
        for buf in bufs {
            write_all(&mut stream, buf)?;
        }
        stream.flush().map_err(|error| crate::errors::errno_of_io(&error))?;
        drop(stream);
        self.nodes.get_mut(ino)?.contents = NodeContents::File(FileContents::Stored(None));
        match self.metadata_of(&path)? {
            Some(metadata) if metadata.len == end => Ok(end),
            Some(_) | None => Err(Errno::Io),
        }
    }

    /// When a file was changed, if that is not saved yet.
    pub(super) fn unsaved(&self, ino: Ino) -> Option<SystemTime> {
        match &self.nodes.get(ino).ok()?.contents {
            NodeContents::File(body) => body.unsaved(),
            NodeContents::Dir(_) => None,
        }
    }

    /// Writes a changed file back, as a whole. It stays unsaved until all of it is there.
    ///
    /// Errors: `Stale` if it vanished with its directory; those of the filesystem; `Io` if it has
    /// another length afterwards.
    pub(super) fn save(&mut self, ino: Ino) -> Result<()> {
        let Some(when) = self.unsaved(ino) else { return Ok(()) };
        let path = match &self.nodes.get(ino)?.parent {
            // A removed file is nobody's to keep.
            NodeParent::Removed { how: RemovalCause::Removed, .. } => return Ok(()),
            NodeParent::Removed { how: RemovalCause::Vanished, .. } => return Err(Errno::Stale),
            NodeParent::Root | NodeParent::In { .. } => self.nodes.path(ino).ok_or(Errno::Stale)?,
        };
        let node = self.nodes.get_mut(ino)?;
        let NodeContents::File(FileContents::Buffered { buffer, saved }) = &mut node.contents
        else {
            return Ok(());
        };
        write_whole(&*self.fs, &path, buffer.bytes())?;
        *saved = SaveState::Clean;
        // Saving is no change; where a time cannot be set, it is the time of the save.
        let _ = self.fs.set_modification_time(&path, when);
        Ok(())
    }

    /// Saves every file that a failed save left behind and nobody has open; answers the first
    /// error.
    pub(super) fn save_pending(&mut self) -> Result<()> {
        let mut result = Ok(());
        for ino in self.nodes.ids() {
            let is_left = self.nodes.get(ino).is_ok_and(|node| node.handles == 0);
            if is_left && self.unsaved(ino).is_some() {
                result = result.and(self.close(ino));
            }
        }
        result
    }

    /// Gives a handle back. The last one saves; what cannot be saved stays in memory, where it is
    /// found by whoever opens the file next and by [`State::save_pending`].
    pub(super) fn release(&mut self, ino: Ino) {
        let Ok(node) = self.nodes.get_mut(ino) else { return };
        node.handles = node.handles.saturating_sub(1);
        if node.handles > 0 {
            return;
        }
        self.nodes.free_if_closed(ino);
        let _ = self.close(ino);
    }

    fn close(&mut self, ino: Ino) -> Result<()> {
        self.save(ino)?;
        if let Ok(node) = self.nodes.get_mut(ino)
            && let NodeContents::File(body) = &mut node.contents
        {
            body.refresh();
        }
        Ok(())
    }

    /// Takes a name away, with what is remembered beneath it.
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
        // Nobody is left to be told.
        let _ = self.save_pending();
    }
}

/// Makes a file that is `bytes`, and looks whether it is that long: a stream of the crate may save
/// only when it is dropped, and cannot say then that it failed.
fn write_whole(fs: &dyn FileSystem, path: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = fs.create_file(path).map_err(|error| errno_of_change(&error))?;
    write_all(&mut stream, bytes)?;
    stream.flush().map_err(|error| crate::errors::errno_of_io(&error))?;
    drop(stream);
    match fs.metadata(path) {
        Ok(metadata) if metadata.len == bytes.len() as u64 => Ok(()),
        Ok(_) => Err(Errno::Io),
        Err(error) => Err(errno_of(&error)),
    }
}

pub(super) fn kind_of(metadata: &VfsMetadata) -> FileType {
    match metadata.file_type {
        VfsFileType::Directory => FileType::Dir,
        VfsFileType::File => FileType::File,
    }
}

/// What an open node is once its name is gone.
pub(super) fn gone(last: Stat) -> Stat {
    Stat { nlink: 0, changed: SystemTime::now().into(), ..last }
}

/// What an open file answers when it is not there any more.
fn stale(errno: Errno) -> Errno {
    if errno == Errno::Noent { Errno::Stale } else { errno }
}
