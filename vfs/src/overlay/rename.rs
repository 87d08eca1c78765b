//! Renaming in an overlay.
//!
//! A name that no lower has is renamed by the upper, under the shared lock of the [`DirTable`]. All
//! other renames take the exclusive lock. The checks follow the order of errors of
//! [`Dir::rename`](crate::Dir::rename); then the cases are, by the two entries:
//!
//! | source \ target | absent | file or symlink | empty directory | other directory |
//! |---|---|---|---|---|
//! | absent | `ENOENT` | `ENOENT` | `ENOENT` | `ENOENT` |
//! | file or symlink | rename | replace | `EISDIR` | `EISDIR` |
//! | directory | rename | `ENOTDIR` | replace | `ENOTEMPTY` |
//!
//! Both names of one file: nothing happens. A directory into itself: `EINVAL`.
//!
//! The preparation changes nothing that is visible:
//!
//! | entry | preparation |
//! |---|---|
//! | source: file of a lower | copy-up |
//! | source: directory | copy-up of the whole tree, since the format has no redirects |
//! | target: file of a lower with several names | copy-up, so that its other names stay linked |
//! | target: empty directory | opaque, so that its lowers stay hidden |
//! | source: directory, target in a lower | the source becomes opaque |
//!
//! Then one step of the upper renames. It leaves a whiteout if a lower has the old name.

use super::dir_table::{DirKey, DirTable, MergedEntry};
use super::lowers::{LowerNode, to_errno};
use super::{Identity, OverlayState};
use crate::{Errno, Name, Result};

/// A name in a directory of the overlay.
type NameAt<'a> = (DirKey, Name<'a>);

impl OverlayState {
    /// Renames `source` to `target`.
    pub(super) fn rename(&self, source: NameAt<'_>, target: NameAt<'_>) -> Result<()> {
        if let Some(done) = self.rename_upper_only(source, target)? {
            return Ok(done);
        }
        let mut table = self.write_table();
        Rename { fs: self, table: &mut table, source, target }.run()
    }

    /// Renames under the shared lock; `None` unless both names concern only the upper.
    fn rename_upper_only(
        &self,
        (from, name): NameAt<'_>,
        (into, new_name): NameAt<'_>,
    ) -> Result<Option<()>> {
        let table = self.table.read();
        let upper = table.upper_only(from, name)?;
        let (Some(upper), Some(into)) = (upper, table.upper_only(into, new_name)?) else {
            return Ok(None);
        };
        upper.rename(name, &**into, new_name).map(Some)
    }
}

/// A rename under the exclusive lock.
struct Rename<'a> {
    fs: &'a OverlayState,
    table: &'a mut DirTable,
    source: NameAt<'a>,
    target: NameAt<'a>,
}

impl Rename<'_> {
    fn run(mut self) -> Result<()> {
        let Some((source, target)) = self.check()? else { return Ok(()) };
        let hidden = self.prepare_target_file(&target)?;
        let dir = if source.is_dir() {
            Some(self.prepare_source_dir(&source)?)
        } else {
            self.fs.copy_up(self.table, self.source, &source)?;
            None
        };
        self.prepare_parents(dir)?;
        self.rename_in_upper()?;
        let (into, new_name) = self.target;
        if let Some(id) = hidden {
            self.fs.lower_files.hide(id);
        }
        if !matches!(target, MergedEntry::Absent) {
            self.table.forget(into, new_name)?;
        }
        match dir {
            Some(dir) => self.table.relocate(dir, into, new_name),
            None => Ok(()),
        }
    }

    /// Checks the rename. Returns the source and the target, or `None` if both names lead to the
    /// same node.
    fn check(&mut self) -> Result<Option<(MergedEntry, MergedEntry)>> {
        let ((from, name), (into, new_name)) = (self.source, self.target);
        let table = &mut *self.table;
        let source = table.lookup(from, name)?;
        if matches!(source, MergedEntry::Absent) || table.dir(into)?.is_removed {
            return Err(Errno::Noent);
        }
        let target = table.lookup(into, new_name)?;
        if source.is_dir() {
            let key = to_errno(table.child(from, name, &source))?;
            if table.is_within(into, key)? {
                return Err(Errno::Inval);
            }
        }
        if matches!(target, MergedEntry::Absent) {
            return Ok(Some((source, target)));
        }
        if target.is_dir() {
            let key = to_errno(table.child(into, new_name, &target))?;
            if table.is_within(from, key)? {
                return Err(Errno::Notempty);
            }
        }
        match (source.is_dir(), target.is_dir()) {
            _ if source.id(name)? == target.id(new_name)? => return Ok(None),
            (true, false) => return Err(Errno::Notdir),
            (false, true) => return Err(Errno::Isdir),
            (false, false) => {}
            (true, true) => {
                let key = to_errno(table.child(into, new_name, &target))?;
                if !table.is_empty(key)? {
                    return Err(Errno::Notempty);
                }
            }
        }
        Ok(Some((source, target)))
    }

    /// Returns the identity of a lower's file that the rename hides.
    fn prepare_target_file(&mut self, target: &MergedEntry) -> Result<Option<Identity>> {
        match target {
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                self.fs.detach_before_hiding(self.table, self.target, part)
            }
            MergedEntry::Lower(LowerNode::Dir(_)) | MergedEntry::Upper(_) | MergedEntry::Absent => {
                Ok(None)
            }
        }
    }

    /// Copies up the whole tree of the source directory.
    fn prepare_source_dir(&mut self, source: &MergedEntry) -> Result<DirKey> {
        let (from, name) = self.source;
        let dir = to_errno(self.table.child(from, name, source))?;
        self.fs.copy_up_tree(self.table, dir)?;
        Ok(dir)
    }

    /// Creates both parents in the upper, and hides the lowers of the target.
    fn prepare_parents(&mut self, source_dir: Option<DirKey>) -> Result<()> {
        let ((from, _), (into, new_name)) = (self.source, self.target);
        let table = &mut *self.table;
        table.ensure_upper(from)?;
        table.ensure_upper(into)?;
        table.hide_target_lowers(into, new_name)?;
        if let Some(dir) = source_dir
            && table.has_lower(into, new_name)?
        {
            table.upper(dir)?.set_opaque()?;
        }
        Ok(())
    }

    /// The step: renames in the upper.
    fn rename_in_upper(&self) -> Result<()> {
        let ((from, name), (into, new_name)) = (self.source, self.target);
        let (upper, into_upper) = (self.table.upper(from)?, self.table.upper(into)?);
        if self.table.has_lower(from, name)? {
            upper.rename_with_whiteout(name, &**into_upper, new_name)
        } else {
            upper.rename(name, &**into_upper, new_name)
        }
    }
}
