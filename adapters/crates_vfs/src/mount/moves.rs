//! Renaming: by the filesystem where it can, else by a copy that is whole before anything goes.
//!
//! Where a filesystem of the crate moves files over files, that is used, and it is one step if it
//! is one there. Where it does not, a rename is many steps, and a failure of any undoes those
//! before it. What a replaced file held is kept in memory until the rename is over.
//!
//! A rename by copy cannot be seen half done through the mount, because the lock is held; from
//! behind it can, and it is not safe against the end of the process.

use std::io::ErrorKind;
use std::time::SystemTime;

use palisade_vfs::{Errno, FileType, Name, Result};
use vfs::error::VfsErrorKind;
use vfs::{FileSystem, VfsError, VfsMetadata};

use super::bytes::{Body, Buffer, Saved};
use super::nodes::{Gone, Ino, What};
use super::state::{Found, State, gone, kind_of};
use crate::errors::{inward, inward_change};
use crate::streams::copy;

/// A name in a directory.
type Spot<'a> = (Ino, &'a str);

/// Where a rename leads from and to, as the crate writes paths.
struct Paths {
    old: String,
    new: String,
}

/// One node of a tree that is copied: its path beneath the top, and what it was.
struct Item {
    below: String,
    metadata: VfsMetadata,
}

impl State {
    /// As [`Dir::rename`](palisade_vfs::Dir::rename).
    pub(super) fn rename(&mut self, from: Spot<'_>, into: Spot<'_>) -> Result<()> {
        let source = self.child(from.0, from.1)?.ok_or(Errno::Noent)?;
        self.living_dir(into.0)?;
        let is_dir = source.kind == FileType::Dir;
        if is_dir && self.nodes.is_beneath(into.0, source.ino) {
            return Err(Errno::Inval);
        }
        let target = self.child(into.0, into.1)?;
        if let Some(target) = target {
            if self.nodes.is_beneath(from.0, target.ino) {
                return Err(Errno::Notempty);
            }
            if target.ino == source.ino {
                return Ok(());
            }
            match (is_dir, target.kind == FileType::Dir) {
                (true, false) => return Err(Errno::Notdir),
                (false, true) => return Err(Errno::Isdir),
                (true, true) => self.check_empty(target.ino)?,
                (false, false) => self.keep_open(target.ino)?,
            }
        }
        self.save_beneath(source.ino)?;
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
            self.nodes.drop_name(into.0, into.1, Gone::Removed, |_, _| gone(last));
        }
        self.nodes.moved(from, into)?;
        self.nodes.get_mut(source.ino)?.changed = SystemTime::now().into();
        Ok(())
    }

    /// Saves what is changed at or beneath a node: the filesystem moves what it has.
    fn save_beneath(&mut self, top: Ino) -> Result<()> {
        for ino in self.nodes.inos() {
            if self.unsaved(ino).is_some() && self.nodes.is_beneath(ino, top) {
                self.save(ino)?;
            }
        }
        Ok(())
    }

    fn move_file(&mut self, paths: &Paths, target: Option<Found>) -> Result<()> {
        match self.fs.move_file(&paths.old, &paths.new) {
            Ok(()) => return self.check_moved(paths, FileType::File),
            Err(error) if !is_unable(&error) => return Err(inward_change(&error)),
            Err(_) => {}
        }
        self.move_file_by_copy(paths, target)
    }

    fn move_file_by_copy(&mut self, paths: &Paths, target: Option<Found>) -> Result<()> {
        // What the target held, in case that it must be put back.
        let kept = match target {
            None => None,
            Some(target) => {
                let mut reader = self.fs.open_file(&paths.new).map_err(|error| inward(&error))?;
                Some((target.ino, Buffer::read(&self.meter, &mut reader)?))
            }
        };
        let metadata = self.look(&paths.old)?.ok_or(Errno::Noent)?;
        let moved = copy_file(&*self.fs, &paths.old, &paths.new).and_then(|()| {
            keep_times(&*self.fs, &paths.new, &metadata);
            self.fs.remove_file(&paths.old).map_err(|error| inward_change(&error))
        });
        if moved.is_ok() {
            self.reopen_all();
            return moved;
        }
        match kept {
            None => drop(self.fs.remove_file(&paths.new)),
            Some((ino, buffer)) => {
                // As if somebody had just written it: what cannot be saved now stays, and is tried
                // again.
                let saved = Saved::No(SystemTime::now());
                self.nodes.get_mut(ino)?.what = What::File(Body::Here { buffer, saved });
                let _ = self.save(ino);
            }
        }
        moved
    }

    fn move_dir(&mut self, paths: &Paths, target: Option<Found>) -> Result<()> {
        // The crate promises a move only to where nothing is.
        if target.is_some() {
            self.fs.remove_dir(&paths.new).map_err(|error| inward_change(&error))?;
        }
        let moved = match self.fs.move_dir(&paths.old, &paths.new) {
            Ok(()) => self.check_moved(paths, FileType::Dir),
            Err(error) if !is_unable(&error) => Err(inward_change(&error)),
            Err(_) => self.move_dir_by_copy(paths),
        };
        if moved.is_err() && target.is_some() {
            // It was empty, so this is all that there was.
            let _ = self.fs.create_dir(&paths.new);
        }
        moved
    }

    /// A filesystem that says it moved something must have.
    fn check_moved(&self, paths: &Paths, kind: FileType) -> Result<()> {
        let arrived = self.look(&paths.new)?.is_some_and(|it| kind_of(&it) == kind);
        if arrived && self.look(&paths.old)?.is_none() { Ok(()) } else { Err(Errno::Io) }
    }

    fn move_dir_by_copy(&mut self, paths: &Paths) -> Result<()> {
        let items = self.items(&paths.old)?;
        let fs = &*self.fs;
        for (nth, item) in items.iter().enumerate() {
            if let Err(errno) = copy_item(fs, item, &paths.old, &paths.new) {
                // The last one may be half there.
                remove_items(fs, items.get(..=nth).unwrap_or(&items), &paths.new);
                return Err(errno);
            }
        }
        keep_times_of(fs, &items, &paths.new);
        let (left, failed) = remove_items(fs, &items, &paths.old);
        if let Some(errno) = failed {
            // What is gone already comes back from the copy, and the copy goes.
            let gone = items.get(left..).unwrap_or_default();
            if gone.iter().all(|item| copy_item(fs, item, &paths.new, &paths.old).is_ok()) {
                keep_times_of(fs, &items, &paths.old);
                remove_items(fs, &items, &paths.new);
            }
            return Err(errno);
        }
        self.reopen_all();
        Ok(())
    }

    /// A directory and all that lies beneath it, each directory before what it holds.
    ///
    /// Errors: `Nomem` above the limit of names; `Io` for a name that is none.
    fn items(&self, top: &str) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(below) = pending.pop() {
            let path = format!("{top}{below}");
            let metadata = self.look(&path)?.ok_or(Errno::Io)?;
            if kind_of(&metadata) == FileType::Dir {
                let names = self.fs.read_dir(&path).map_err(|error| inward(&error))?;
                for name in names {
                    Name::new(&name).map_err(|_| Errno::Io)?;
                    if items.len() + pending.len() >= self.names_max {
                        return Err(Errno::Nomem);
                    }
                    pending.push(format!("{below}/{name}"));
                }
            }
            items.push(Item { below, metadata });
        }
        Ok(items)
    }

    /// Streams of what was copied lead to what is not there any more.
    fn reopen_all(&mut self) {
        for body in self.nodes.bodies_mut() {
            if let Body::Elsewhere(reader) = body {
                *reader = None;
            }
        }
    }
}

/// Whether a filesystem did not move because it cannot, and not because it may not.
fn is_unable(error: &VfsError) -> bool {
    match error.kind() {
        VfsErrorKind::IoError(error) => {
            matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::AlreadyExists)
        }
        VfsErrorKind::FileNotFound | VfsErrorKind::InvalidPath => false,
        _ => true,
    }
}

fn copy_item(fs: &dyn FileSystem, item: &Item, from: &str, to: &str) -> Result<()> {
    let (from, to) = (format!("{from}{}", item.below), format!("{to}{}", item.below));
    match kind_of(&item.metadata) {
        FileType::Dir => fs.create_dir(&to).map_err(|error| inward_change(&error)),
        _ => copy_file(fs, &from, &to),
    }
}

fn copy_file(fs: &dyn FileSystem, from: &str, to: &str) -> Result<()> {
    let mut reader = fs.open_file(from).map_err(|error| inward(&error))?;
    let mut writer = fs.create_file(to).map_err(|error| inward_change(&error))?;
    let len = copy(&mut reader, &mut writer)?;
    drop((reader, writer));
    match fs.metadata(to) {
        Ok(metadata) if metadata.len == len => Ok(()),
        Ok(_) => Err(Errno::Io),
        Err(error) => Err(inward(&error)),
    }
}

/// Removes what is there, from the end to the beginning. Answers how many are left and why.
fn remove_items(fs: &dyn FileSystem, items: &[Item], top: &str) -> (usize, Option<Errno>) {
    for (nth, item) in items.iter().enumerate().rev() {
        let path = format!("{top}{}", item.below);
        let removed = match kind_of(&item.metadata) {
            FileType::Dir => fs.remove_dir(&path),
            _ => fs.remove_file(&path),
        };
        match removed.map_err(|error| inward_change(&error)) {
            Ok(()) | Err(Errno::Noent) => {}
            Err(errno) => return (nth + 1, Some(errno)),
        }
    }
    (0, None)
}

/// A directory's times are changed by what is made in it, so they are set from below.
fn keep_times_of(fs: &dyn FileSystem, items: &[Item], top: &str) {
    for item in items.iter().rev() {
        keep_times(fs, &format!("{top}{}", item.below), &item.metadata);
    }
}

/// A copy has the times of what it was made from, where times can be set.
fn keep_times(fs: &dyn FileSystem, path: &str, metadata: &VfsMetadata) {
    if let Some(time) = metadata.modified {
        let _ = fs.set_modification_time(path, time);
    }
    if let Some(time) = metadata.accessed {
        let _ = fs.set_access_time(path, time);
    }
}
