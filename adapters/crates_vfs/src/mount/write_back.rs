//! Reading, changing and saving the contents of files: the write-back buffer of a mount.
//!
//! A change is made in the buffer of the file, which [`State::save`] writes to the filesystem.
//! After a failed save the buffer stays dirty, and the save is retried.

use std::io::{IoSlice, IoSliceMut};
use std::time::SystemTime;

use palisade_vfs::{Errno, Result};
use vfs::FileSystem;

use super::contents::{self, Buffer, FileContents, SaveState};
use super::nodes::{Ino, NodeContents, NodeParent, RemovalCause};
use super::state::State;
use crate::errors::{errno_of, errno_of_change, errno_of_io};
use crate::streams::write_all;

impl State {
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

    /// Opens a stream for a file that is neither buffered nor has one.
    pub(super) fn reader(&mut self, ino: Ino) -> Result<()> {
        if !matches!(&self.nodes.get(ino)?.contents, NodeContents::File(FileContents::Stored(None)))
        {
            return Ok(());
        }
        let path = self.nodes.path(ino).ok_or(Errno::Stale)?;
        let reader = self.fs.open_file(&path).map_err(|error| errno_of(&error))?;
        self.nodes.get_mut(ino)?.contents = NodeContents::File(FileContents::Stored(Some(reader)));
        Ok(())
    }

    /// Loads a file into a buffer.
    ///
    /// # Errors
    ///
    /// - `Stale`: the filesystem no longer has it.
    /// - Those of [`Buffer::read`].
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

    /// Changes the contents of a file. An unwritable file is detected before the change.
    ///
    /// # Errors
    ///
    /// - Those of [`State::load`].
    /// - `Rofs`, `Acces`: the file cannot be written.
    /// - Those of `change`, which must not have changed the buffer.
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

    /// Truncates a file to 0 in the filesystem, without a buffer: every filesystem of the crate can
    /// create a file anew.
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

    /// Appends, and returns the new end of the file. A file that is too large for a buffer is
    /// appended to in the filesystem.
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
        stream.flush().map_err(|error| errno_of_io(&error))?;
        drop(stream);
        self.nodes.get_mut(ino)?.contents = NodeContents::File(FileContents::Stored(None));
        match self.metadata_of(&path)? {
            Some(metadata) if metadata.len == end => Ok(end),
            Some(_) | None => Err(Errno::Io),
        }
    }

    /// Returns the time of the last unsaved change of a file.
    pub(super) fn unsaved(&self, ino: Ino) -> Option<SystemTime> {
        match &self.nodes.get(ino).ok()?.contents {
            NodeContents::File(body) => body.unsaved(),
            NodeContents::Dir(_) => None,
        }
    }

    /// Writes a changed buffer to the filesystem. After an error the buffer stays dirty.
    ///
    /// # Errors
    ///
    /// - `Stale`: the filesystem no longer has the file or its directory.
    /// - Those of the filesystem.
    /// - `Io`: the file has another length after the write.
    pub(super) fn save(&mut self, ino: Ino) -> Result<()> {
        let Some(when) = self.unsaved(ino) else { return Ok(()) };
        let path = match &self.nodes.get(ino)?.parent {
            // A removed file is not saved.
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
        // A save keeps the time of the change, if the filesystem supports setting times.
        let _ = self.fs.set_modification_time(&path, when);
        Ok(())
    }

    /// Saves all closed files whose last save failed, and returns the first error.
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

    /// Closes a handle. The last one saves the file; after an error the buffer stays in memory for
    /// the next open and for [`State::save_pending`].
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
}

/// Writes a whole file and verifies its length: a stream of the crate may write when it is dropped,
/// and cannot return an error then.
fn write_whole(fs: &dyn FileSystem, path: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = fs.create_file(path).map_err(|error| errno_of_change(&error))?;
    write_all(&mut stream, bytes)?;
    stream.flush().map_err(|error| errno_of_io(&error))?;
    drop(stream);
    match fs.metadata(path) {
        Ok(metadata) if metadata.len == bytes.len() as u64 => Ok(()),
        Ok(_) => Err(Errno::Io),
        Err(error) => Err(errno_of(&error)),
    }
}

/// Converts the `Noent` of an open file to `Stale`.
fn stale(errno: Errno) -> Errno {
    if errno == Errno::Noent { Errno::Stale } else { errno }
}
