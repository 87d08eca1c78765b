//! Renames in an upper on the host, with whiteouts as source or target.
//!
//! Linux checks which node may replace which. Two cases differ from the rename of Linux: a
//! directory may replace a whiteout, and a directory may replace a directory with nothing but
//! whiteouts. The latter is made opaque and its whiteouts are removed before the rename. That
//! reveals nothing, since the target has no visible entries before and after.

use std::sync::Arc;

use rustix::fs::{self, AtFlags, RenameFlags};
use rustix::io::Errno as RustixErrno;

use super::super::errno::errno;
use super::super::stat::stat;
use super::dir::stop_to_errno;
use super::name_cache::{CachedEntry, CachedNode};
use super::work_dir::{TempKind, WorkDir};
use super::{HeldDir, HostUpper, fault_points};
use crate::{Errno, FileType, Name, Result};

/// The entry that a rename leaves under the old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldName {
    Removed,
    Whiteout,
}

/// A rename after the lookup of both names.
struct Rename<'a> {
    work: &'a WorkDir,
    from: &'a HeldDir,
    name: Name<'a>,
    moved: CachedNode,
    into: &'a HeldDir,
    new_name: Name<'a>,
    target: CachedEntry,
}

impl HostUpper {
    pub(super) fn rename_with(
        &self,
        leave: OldName,
        name: Name<'_>,
        into: &Arc<HeldDir>,
        new_name: Name<'_>,
    ) -> Result<()> {
        let mut state = self.core().state.write();
        let from = &self.at;
        let CachedEntry::Node(moved) = from.find(name)? else { return Err(Errno::Noent) };
        let mut target = into.find(new_name)?;
        if is_same(from, name, &moved, into, new_name, &target)? {
            return Ok(());
        }
        if self.core().work(&state).is_err() {
            return Err(
                frozen_rename_errno(&moved, into, new_name, &target)?.unwrap_or(Errno::Rofs)
            );
        }
        let dying = match &target {
            CachedEntry::Node(entry) => into.dying_symlink(&state, new_name, entry.kind),
            CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout => None,
        };
        let work = self.core().work(&state)?;
        if let CachedEntry::Debris = target {
            into.remove_debris(new_name)?;
            target = CachedEntry::Absent;
        }
        let rename = Rename { work, from, name, moved, into, new_name, target };
        let left = rename.run(leave)?;
        let Rename { moved, .. } = rename;
        from.record_change(name, left);
        into.record_change(new_name, CachedEntry::Node(moved));
        dying.and_then(|id| state.links.remove(&id));
        Ok(())
    }
}

impl Rename<'_> {
    /// Renames, and returns the entry that remains under the old name.
    fn run(&self, leave: OldName) -> Result<CachedEntry> {
        if self.moved.kind == FileType::Dir
            && let CachedEntry::Node(CachedNode { kind: FileType::Dir, .. }) = self.target
        {
            self.clear_target()?;
        }
        self.into.declare_copies(&self.moved)?;
        let leaves = leave == OldName::Whiteout && self.from.declare_whiteouts(self.work)?;
        match (&self.target, leaves) {
            (CachedEntry::Whiteout, true) => {
                self.exchange()?;
                Ok(CachedEntry::Whiteout)
            }
            (CachedEntry::Whiteout, false) if self.moved.kind == FileType::Dir => {
                // Between the two calls both names exist. The old one is then a whiteout, over an
                // absent name or one that is to be hidden.
                self.exchange()?;
                let (from, flags) = (self.from.fd(), AtFlags::empty());
                let unlink = |()| fs::unlinkat(from, self.name.as_str(), flags);
                match fault_points::before_change().and_then(unlink) {
                    Ok(()) => Ok(CachedEntry::Absent),
                    Err(_) => Ok(CachedEntry::Whiteout),
                }
            }
            (
                CachedEntry::Absent
                | CachedEntry::Debris
                | CachedEntry::Whiteout
                | CachedEntry::Node(_),
                false,
            ) => {
                self.rename(RenameFlags::empty()).map_err(errno)?;
                Ok(CachedEntry::Absent)
            }
            (CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Node(_), true) => {
                if self.work.renames_leave_whiteouts {
                    self.rename(RenameFlags::WHITEOUT).map_err(errno)?;
                } else {
                    self.rename_with_whiteout()?;
                }
                Ok(CachedEntry::Whiteout)
            }
        }
    }

    fn rename(&self, flags: RenameFlags) -> rustix::io::Result<()> {
        fault_points::before_change()?;
        let (from, into) = (self.from.fd(), self.into.fd());
        fs::renameat_with(from, self.name.as_str(), into, self.new_name.as_str(), flags)
    }

    fn exchange(&self) -> Result<()> {
        self.rename(RenameFlags::EXCHANGE).map_err(errno)
    }

    /// Empties a target directory of whiteouts, so that Linux can replace it.
    fn clear_target(&self) -> Result<()> {
        let target = self.into.child(self.new_name, 0).map_err(stop_to_errno)?;
        if !target.has_nodes()? && target.debris_names()?.is_empty() {
            return Ok(());
        }
        // Linux refuses a target that is not empty, after it has checked for other errors.
        match self.rename(RenameFlags::empty()) {
            Err(RustixErrno::NOTEMPTY | RustixErrno::EXIST) => {}
            Err(os) => return Err(errno(os)),
            // Another process emptied the target, so the rename succeeded.
            Ok(()) => return Err(Errno::Busy),
        }
        if target.has_nodes()? {
            return Err(Errno::Notempty);
        }
        target.make_opaque()?;
        target.remove_whiteouts()
    }

    /// Renames and creates the whiteout in several calls, on a filesystem without
    /// `RENAME_WHITEOUT`. The order minimizes the effect of a crash between the calls.
    fn rename_with_whiteout(&self) -> Result<()> {
        let whiteout = self.work.whiteout()?;
        let (from, into) = (self.from.fd(), self.into.fd());
        match (self.moved.kind, &self.target) {
            (FileType::Dir, CachedEntry::Node(_)) => {
                self.exchange()?;
                // Between the calls an empty directory has the old name.
                whiteout.exchange(from, self.name, TempKind::Dir).inspect_err(|_| {
                    let _ = self.exchange();
                })
            }
            (FileType::Dir, CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout) => {
                // Between the calls a whiteout hides the lowers that the directory is to hide.
                whiteout.move_new(into, self.new_name)?;
                self.exchange().inspect_err(|_| {
                    let _ = fs::unlinkat(into, self.new_name.as_str(), AtFlags::empty());
                })
            }
            _ => {
                // Between the calls the file has both names.
                self.work.link(from, self.name.as_str())?.move_over(into, self.new_name)?;
                whiteout.move_over(from, self.name)
            }
        }
    }
}

/// Returns whether both names lead to the same node.
fn is_same(
    from: &Arc<HeldDir>,
    name: Name<'_>,
    moved: &CachedNode,
    into: &Arc<HeldDir>,
    new_name: Name<'_>,
    target: &CachedEntry,
) -> Result<bool> {
    if Arc::ptr_eq(from, into) && name == new_name {
        return Ok(true);
    }
    let CachedEntry::Node(target) = target else { return Ok(false) };
    if moved.kind == FileType::Dir || target.kind == FileType::Dir {
        return Ok(false);
    }
    let look = |dir: &HeldDir, name: Name<'_>| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        fs::statat(dir.fd(), name.as_str(), flags).map(|stat_buf| stat(&stat_buf)).map_err(errno)
    };
    let one = look(from, name)?;
    if one.nlink < 2 {
        return Ok(false);
    }
    let other = look(into, new_name)?;
    Ok((one.dev, one.ino) == (other.dev, other.ino))
}

/// Returns the error that precedes `EROFS` for a rename in a frozen upper, if any.
fn frozen_rename_errno(
    moved: &CachedNode,
    into: &HeldDir,
    new_name: Name<'_>,
    target: &CachedEntry,
) -> Result<Option<Errno>> {
    let CachedEntry::Node(target) = target else { return Ok(None) };
    Ok(match (moved.kind == FileType::Dir, target.kind == FileType::Dir) {
        (true, false) => Some(Errno::Notdir),
        (false, true) => Some(Errno::Isdir),
        (false, false) => None,
        (true, true) => {
            let target = into.child(new_name, 0).map_err(stop_to_errno)?;
            target.has_nodes()?.then_some(Errno::Notempty)
        }
    })
}
