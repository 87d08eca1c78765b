//! Renaming: by the filesystem's move operations, else by copying and removing.
//!
//! Where the filesystem supports moving, the rename is as atomic as its move. Otherwise a rename
//! has several steps, and an error rolls back the previous ones. The contents of a replaced file
//! are kept in memory until the rename has succeeded.
//!
//! The lock of the mount hides the steps of a copy from users of the mount. Other users of the
//! filesystem can see them, and the end of the process can leave them incomplete.

use std::io::ErrorKind;
use std::time::SystemTime;

use palisade_vfs::{Errno, FileType, Name, Result};
use vfs::error::VfsErrorKind;
use vfs::{FileSystem, VfsError, VfsMetadata};

use super::contents::{Buffer, FileContents, SaveState};
use super::nodes::{Ino, NodeContents, RemovalCause};
use super::state::{NodeRef, State, gone, kind_of};
use crate::errors::{errno_of, errno_of_change};
use crate::streams::copy;

/// A directory and a name in it.
type DirAndName<'a> = (Ino, &'a str);

/// The paths of a rename, in the crate's syntax.
struct Paths {
    old: String,
    new: String,
}

/// A node of a tree that is copied: its path relative to the top, and its metadata.
struct TreeEntry {
    suffix: String,
    metadata: VfsMetadata,
}

impl State {
    /// Implements [`Dir::rename`](palisade_vfs::Dir::rename).
    pub(super) fn rename(&mut self, from: DirAndName<'_>, into: DirAndName<'_>) -> Result<()> {
        let source = self.child(from.0, from.1)?.ok_or(Errno::Noent)?;
        self.existing_dir(into.0)?;
        let is_dir = source.kind == FileType::Dir;
        if is_dir && self.nodes.is_under(into.0, source.ino) {
            return Err(Errno::Inval);
        }
        let target = self.child(into.0, into.1)?;
        if let Some(target) = target {
            if self.nodes.is_under(from.0, target.ino) {
                return Err(Errno::Notempty);
            }
            if target.ino == source.ino {
                return Ok(());
            }
            match (is_dir, target.kind == FileType::Dir) {
                (true, false) => return Err(Errno::Notdir),
                (false, true) => return Err(Errno::Isdir),
                (true, true) => self.check_empty(target.ino)?,
                (false, false) => self.load_if_open(target.ino)?,
            }
        }
        self.save_under(source.ino)?;
        let paths = Paths {
            old: self.path_in(from.0, from.1).ok_or(Errno::Noent)?,
            new: self.path_in(into.0, into.1).ok_or(Errno::Noent)?,
        };
        let last = target.map(|target| self.stat(target.ino)).transpose()?;
        if is_dir {
            self.move_dir(&paths, target)?;
        } else {
            self.move_file(&paths, target)?;
        }
        if let Some(last) = last {
            self.nodes.drop_name(into.0, into.1, RemovalCause::Removed, |_, _| gone(last));
        }
        self.nodes.moved(from, into)?;
        self.nodes.get_mut(source.ino)?.changed = SystemTime::now().into();
        Ok(())
    }

    /// Saves all changed files at or under a node, because the filesystem moves saved files.
    fn save_under(&mut self, top: Ino) -> Result<()> {
        for ino in self.nodes.ids() {
            if self.unsaved(ino).is_some() && self.nodes.is_under(ino, top) {
                self.save(ino)?;
            }
        }
        Ok(())
    }

    fn move_file(&mut self, paths: &Paths, target: Option<NodeRef>) -> Result<()> {
        match self.fs.move_file(&paths.old, &paths.new) {
            Ok(()) => return self.check_moved(paths, FileType::File),
            Err(error) if !is_unsupported(&error) => return Err(errno_of_change(&error)),
            Err(_) => {}
        }
        self.move_file_by_copy(paths, target)
    }

    fn move_file_by_copy(&mut self, paths: &Paths, target: Option<NodeRef>) -> Result<()> {
        // The contents of the target, for a rollback.
        let kept = match target {
            None => None,
            Some(target) => {
                let mut reader = self.fs.open_file(&paths.new).map_err(|error| errno_of(&error))?;
                Some((target.ino, Buffer::read(&self.budget, &mut reader)?))
            }
        };
        let metadata = self.metadata_of(&paths.old)?.ok_or(Errno::Noent)?;
        let moved = copy_file(&*self.fs, &paths.old, &paths.new).and_then(|()| {
            keep_times(&*self.fs, &paths.new, &metadata);
            self.fs.remove_file(&paths.old).map_err(|error| errno_of_change(&error))
        });
        if moved.is_ok() {
            self.reopen_all();
            return moved;
        }
        match kept {
            None => drop(self.fs.remove_file(&paths.new)),
            Some((ino, buffer)) => {
                // Rollback: restores the target as a change that is not saved yet, so that a failed
                // save is retried.
                let saved = SaveState::Dirty(SystemTime::now());
                self.nodes.get_mut(ino)?.contents =
                    NodeContents::File(FileContents::Buffered { buffer, saved });
                let _ = self.save(ino);
            }
        }
        moved
    }

    fn move_dir(&mut self, paths: &Paths, target: Option<NodeRef>) -> Result<()> {
        // The crate specifies a move only to a path that does not exist.
        if target.is_some() {
            self.fs.remove_dir(&paths.new).map_err(|error| errno_of_change(&error))?;
        }
        let moved = match self.fs.move_dir(&paths.old, &paths.new) {
            Ok(()) => self.check_moved(paths, FileType::Dir),
            Err(error) if !is_unsupported(&error) => Err(errno_of_change(&error)),
            Err(_) => self.move_dir_by_copy(paths),
        };
        if moved.is_err() && target.is_some() {
            // Rollback: the target was an empty directory.
            let _ = self.fs.create_dir(&paths.new);
        }
        moved
    }

    /// Verifies a move that the filesystem reported as successful.
    fn check_moved(&self, paths: &Paths, kind: FileType) -> Result<()> {
        let arrived = self.metadata_of(&paths.new)?.is_some_and(|it| kind_of(&it) == kind);
        if arrived && self.metadata_of(&paths.old)?.is_none() { Ok(()) } else { Err(Errno::Io) }
    }

    fn move_dir_by_copy(&mut self, paths: &Paths) -> Result<()> {
        let entries = self.entries(&paths.old)?;
        let fs = &*self.fs;
        for (nth, entry) in entries.iter().enumerate() {
            if let Err(errno) = copy_entry(fs, entry, &paths.old, &paths.new) {
                // Rollback, including the last entry, which may be incomplete.
                remove_entries(fs, entries.get(..=nth).unwrap_or(&entries), &paths.new);
                return Err(errno);
            }
        }
        keep_times_of(fs, &entries, &paths.new);
        let (left, failed) = remove_entries(fs, &entries, &paths.old);
        if let Some(errno) = failed {
            // Rollback: restores the removed entries from the copy, then removes the copy.
            let gone = entries.get(left..).unwrap_or_default();
            if gone.iter().all(|entry| copy_entry(fs, entry, &paths.new, &paths.old).is_ok()) {
                keep_times_of(fs, &entries, &paths.old);
                remove_entries(fs, &entries, &paths.new);
            }
            return Err(errno);
        }
        self.reopen_all();
        Ok(())
    }

    /// Returns a directory and all nodes under it, in pre-order.
    ///
    /// # Errors
    ///
    /// - `Nomem`: more than `Limits::names` nodes.
    /// - `Io`: the filesystem lists an invalid name.
    /// - Those of the filesystem.
    fn entries(&self, top: &str) -> Result<Vec<TreeEntry>> {
        let mut entries = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(suffix) = pending.pop() {
            let path = format!("{top}{suffix}");
            // The filesystem lists names that do not exist, or another user has removed one.
            let Some(metadata) = self.metadata_of(&path)? else { return Err(Errno::Io) };
            if kind_of(&metadata) == FileType::Dir {
                let names = self.fs.read_dir(&path).map_err(|error| errno_of(&error))?;
                for name in names {
                    Name::new(&name).map_err(|_| Errno::Io)?;
                    if entries.len() + pending.len() >= self.names_max {
                        return Err(Errno::Nomem);
                    }
                    pending.push(format!("{suffix}/{name}"));
                }
            }
            entries.push(TreeEntry { suffix, metadata });
        }
        Ok(entries)
    }

    /// Closes all streams: those of copied files refer to removed files.
    fn reopen_all(&mut self) {
        for body in self.nodes.file_contents_mut() {
            if let FileContents::Stored(reader) = body {
                *reader = None;
            }
        }
    }
}

/// Returns whether a filesystem does not support a move, as opposed to failing it.
fn is_unsupported(error: &VfsError) -> bool {
    match error.kind() {
        VfsErrorKind::IoError(error) => {
            matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AlreadyExists)
        }
        VfsErrorKind::FileNotFound | VfsErrorKind::InvalidPath => false,
        _ => true,
    }
}

fn copy_entry(fs: &dyn FileSystem, entry: &TreeEntry, from: &str, to: &str) -> Result<()> {
    let (from, to) = (format!("{from}{}", entry.suffix), format!("{to}{}", entry.suffix));
    match kind_of(&entry.metadata) {
        FileType::Dir => fs.create_dir(&to).map_err(|error| errno_of_change(&error)),
        _ => copy_file(fs, &from, &to),
    }
}

fn copy_file(fs: &dyn FileSystem, from: &str, to: &str) -> Result<()> {
    let mut reader = fs.open_file(from).map_err(|error| errno_of(&error))?;
    let mut writer = fs.create_file(to).map_err(|error| errno_of_change(&error))?;
    let len = copy(&mut reader, &mut writer)?;
    drop((reader, writer));
    match fs.metadata(to) {
        Ok(metadata) if metadata.len == len => Ok(()),
        Ok(_) => Err(Errno::Io),
        Err(error) => Err(errno_of(&error)),
    }
}

/// Removes entries from the last to the first. Returns the number of remaining entries, and the
/// error that stopped the removal.
fn remove_entries(fs: &dyn FileSystem, entries: &[TreeEntry], top: &str) -> (usize, Option<Errno>) {
    for (nth, entry) in entries.iter().enumerate().rev() {
        let path = format!("{top}{}", entry.suffix);
        let removed = match kind_of(&entry.metadata) {
            FileType::Dir => fs.remove_dir(&path),
            _ => fs.remove_file(&path),
        };
        match removed.map_err(|error| errno_of_change(&error)) {
            Ok(()) | Err(Errno::Noent) => {}
            Err(errno) => return (nth + 1, Some(errno)),
        }
    }
    (0, None)
}

/// Sets the times of copied entries in post-order, because creating an entry changes the times of
/// its directory.
fn keep_times_of(fs: &dyn FileSystem, entries: &[TreeEntry], top: &str) {
    for entry in entries.iter().rev() {
        keep_times(fs, &format!("{top}{}", entry.suffix), &entry.metadata);
    }
}

/// Sets the times of a copy to those of the original, if the filesystem supports it.
fn keep_times(fs: &dyn FileSystem, path: &str, metadata: &VfsMetadata) {
    if let Some(time) = metadata.modified {
        let _ = fs.set_modification_time(path, time);
    }
    if let Some(time) = metadata.accessed {
        let _ = fs.set_access_time(path, time);
    }
}
