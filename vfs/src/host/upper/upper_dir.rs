//! Implements [`UpperDir`] on the host: whiteouts, opaque directories, tokens and freezing.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::fs::{self, AtFlags, FlockOperation};

use super::super::errno::{errno, errno_of_io};
use super::dir::stop_to_errno;
use super::name_cache::{CachedEntry, CachedNode, Origin};
use super::rename::OldName;
use super::work_dir::{TempKind, TempNode, WhiteoutStyle, WorkDir, make_whiteout};
use super::xattrs::{self, DirXattrs, Opaque};
use super::{HeldDir, HostUpper, UpperState, fault_points};
use crate::overlay::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperOpen, UpperRef};
use crate::{Errno, FileType, Name, OpenHow, Result, Stat, Stop};

/// Whether a new directory is opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaqueness {
    Always,
    /// Opaque in place of a whiteout, so that the lowers stay hidden.
    IfOverWhiteout,
}

impl HeldDir {
    /// Sets the modification time and the change time to the same value, as a new entry does. A
    /// diff reports a directory whose times differ as modified.
    fn set_equal_times(&self) -> Result<()> {
        let [omit, now] =
            [fs::UTIME_OMIT, fs::UTIME_NOW].map(|tv_nsec| fs::Timespec { tv_sec: 0, tv_nsec });
        let times = fs::Timestamps { last_access: omit, last_modification: now };
        fs::futimens(self.fd(), &times).map_err(errno)
    }

    /// Installs a temporary node in place of an absent entry, debris or a whiteout.
    pub(super) fn place(
        &self,
        temp: TempNode<'_>,
        shape: TempKind,
        name: Name<'_>,
        found: &CachedEntry,
    ) -> Result<()> {
        match (found, shape) {
            (CachedEntry::Absent, TempKind::Leaf | TempKind::Dir) => temp.move_new(self.fd(), name),
            (CachedEntry::Debris | CachedEntry::Whiteout, TempKind::Leaf) => {
                temp.move_over(self.fd(), name)
            }
            (CachedEntry::Debris | CachedEntry::Whiteout, TempKind::Dir) => {
                temp.exchange(self.fd(), name, TempKind::Leaf)
            }
            (CachedEntry::Node(_), TempKind::Leaf | TempKind::Dir) => Err(Errno::Exist),
        }
    }

    /// Returns the entry of a name without a node.
    ///
    /// # Errors
    /// - `EEXIST`: the entry is a node.
    pub(super) fn check_vacant(&self, name: Name<'_>) -> Result<CachedEntry> {
        match self.find(name)? {
            CachedEntry::Node(_) => Err(Errno::Exist),
            found @ (CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout) => {
                Ok(found)
            }
        }
    }

    pub(super) fn create_child_dir(
        &self,
        state: &UpperState,
        name: Name<'_>,
        opaqueness: Opaqueness,
    ) -> Result<()> {
        let found = self.check_vacant(name)?;
        let work = self.core.work(state)?;
        match (&found, opaqueness) {
            (CachedEntry::Absent, Opaqueness::IfOverWhiteout) => {
                fault_points::before_change().map_err(errno)?;
                let mode = fs::Mode::from_raw_mode(0o777);
                fs::mkdirat(self.fd(), name.as_str(), mode).map_err(errno)?;
            }
            (
                CachedEntry::Absent
                | CachedEntry::Debris
                | CachedEntry::Whiteout
                | CachedEntry::Node(_),
                _,
            ) => {
                let (temp, dir) = work.dir()?;
                let shows_lowers = matches!(
                    (&found, opaqueness),
                    (CachedEntry::Debris, Opaqueness::IfOverWhiteout)
                );
                if !shows_lowers {
                    xattrs::set(dir.as_fd(), xattrs::OPAQUE, b"y")?;
                }
                self.place(temp, TempKind::Dir, name, &found)?;
            }
        }
        self.record_change(name, CachedEntry::Node(CachedNode::new(FileType::Dir, Origin::Own)));
        Ok(())
    }

    pub(super) fn link_to(
        &self,
        state: &UpperState,
        name: Name<'_>,
        into: &HeldDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        let CachedEntry::Node(entry) = self.find(name)? else { return Err(Errno::Noent) };
        let found = into.check_vacant(new_name)?;
        if entry.kind == FileType::Dir {
            return Err(if into.is_removed()? { Errno::Noent } else { Errno::Perm });
        }
        let work = self.core.work(state)?;
        into.declare_copies(&entry)?;
        if let CachedEntry::Absent = found {
            fault_points::before_change().map_err(errno)?;
            let (from, to, flags) = (name.as_str(), new_name.as_str(), AtFlags::empty());
            fs::linkat(self.fd(), from, into.fd(), to, flags).map_err(errno)?;
        } else {
            work.link(self.fd(), name.as_str())?.move_over(into.fd(), new_name)?;
        }
        into.record_change(new_name, CachedEntry::Node(entry));
        Ok(())
    }

    /// Returns whether this directory is removed.
    fn is_removed(&self) -> Result<bool> {
        Ok(fs::fstat(self.fd()).map_err(errno)?.st_nlink == 0)
    }

    /// Marks this directory as one that may hold copies, if `entry` may be one.
    pub(super) fn declare_copies(&self, entry: &CachedNode) -> Result<()> {
        let xattrs = self.xattrs()?;
        if entry.origin == Origin::Own || xattrs.may_hold_copies {
            return Ok(());
        }
        xattrs::set(self.fd(), xattrs::MAY_HOLD, b"y")?;
        self.cache_xattrs(DirXattrs { may_hold_copies: true, ..xattrs });
        Ok(())
    }

    /// Marks this directory as one that may hold whiteouts in form of files. Returns false in an
    /// opaque directory, where whiteouts have nothing to hide and Linux would show the files.
    pub(super) fn declare_whiteouts(&self, work: &WorkDir) -> Result<bool> {
        if work.style == WhiteoutStyle::Device {
            return Ok(true);
        }
        let xattrs = self.xattrs()?;
        match xattrs.opaque {
            Opaque::Yes => return Ok(false),
            Opaque::HoldsWhiteouts => return Ok(true),
            Opaque::No => {}
        }
        xattrs::set(self.fd(), xattrs::OPAQUE, b"x")?;
        self.cache_xattrs(DirXattrs { opaque: Opaque::HoldsWhiteouts, ..xattrs });
        Ok(true)
    }

    /// Installs a whiteout in place of an absent entry, a file, a link or an empty directory.
    fn place_whiteout(&self, work: &WorkDir, name: Name<'_>, found: &CachedEntry) -> Result<()> {
        let writes = self.declare_whiteouts(work)?;
        let is_debris = matches!(found, CachedEntry::Debris);
        let entry = match found {
            CachedEntry::Whiteout => return Ok(()),
            CachedEntry::Absent if !writes => {
                // A removed directory is `ENOENT`, also if the whiteout need not be written.
                return if self.is_removed()? { Err(Errno::Noent) } else { Ok(()) };
            }
            CachedEntry::Absent if work.style == WhiteoutStyle::Device => {
                fault_points::before_change().map_err(errno)?;
                make_whiteout(self.fd(), name.as_str()).map_err(errno)?;
                self.record_change(name, CachedEntry::Whiteout);
                return Ok(());
            }
            CachedEntry::Absent | CachedEntry::Debris => None,
            CachedEntry::Node(entry) => Some(entry),
        };
        let dir = match entry {
            Some(entry) if entry.kind == FileType::Dir => Some(self.child(name, 0)),
            Some(_) | None => None,
        };
        let dir = dir.transpose().map_err(stop_to_errno)?;
        if let Some(dir) = &dir
            && dir.has_nodes()?
        {
            return Err(Errno::Notempty);
        }
        if writes {
            let temp = work.whiteout()?;
            match (entry, &dir) {
                (None, _) if !is_debris => temp.move_new(self.fd(), name)?,
                (None, _) | (Some(_), None) => temp.move_over(self.fd(), name)?,
                (Some(_), Some(_)) => temp.exchange(self.fd(), name, TempKind::Dir)?,
            }
        } else {
            let shape = if dir.is_some() { TempKind::Dir } else { TempKind::Leaf };
            work.move_out(self.fd(), name, shape)?;
        }
        if let Some(dir) = dir {
            dir.mark_removed();
        }
        self.record_change(name, if writes { CachedEntry::Whiteout } else { CachedEntry::Absent });
        Ok(())
    }

    /// Makes the directory opaque. Removes whiteouts in form of files, which Linux would show
    /// in an opaque directory.
    pub(super) fn make_opaque(&self) -> Result<()> {
        let xattrs = self.xattrs()?;
        if xattrs.opaque == Opaque::Yes {
            return Ok(());
        }
        xattrs::set(self.fd(), xattrs::OPAQUE, b"y")?;
        self.cache_xattrs(DirXattrs { opaque: Opaque::Yes, ..xattrs });
        if xattrs.opaque == Opaque::HoldsWhiteouts { self.remove_whiteouts() } else { Ok(()) }
    }

    /// Removes the whiteouts and the leftovers of failed rollbacks in an opaque directory. Its
    /// times do not change.
    pub(super) fn remove_whiteouts(&self) -> Result<()> {
        let times = self.times()?;
        for name in self.debris_names()? {
            self.remove_debris(Name::new(&name)?)?;
        }
        self.restore_times(&times);
        Ok(())
    }

    /// Removes an entry that is not a node.
    pub(super) fn remove_debris(&self, name: Name<'_>) -> Result<()> {
        fault_points::before_change().map_err(errno)?;
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::empty()).map_err(errno)?;
        self.record_change(name, CachedEntry::Absent);
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl UpperDir for HostUpper {
    fn set_node_dev(&self, _dev: u64) {}

    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry> {
        let state = self.core().state.read();
        Ok(match self.at.find(name)? {
            CachedEntry::Absent | CachedEntry::Debris => UpperEntry::Absent,
            CachedEntry::Whiteout => UpperEntry::Whiteout,
            CachedEntry::Node(entry) => UpperEntry::Node(self.at.stat_name(&state, name, &entry)?),
        })
    }

    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<UpperOpen, Stop> {
        let state = self.core().state.read();
        let entry = match self.at.find(name)? {
            CachedEntry::Absent | CachedEntry::Debris => return Ok(UpperOpen::Absent),
            CachedEntry::Whiteout => return Ok(UpperOpen::Whiteout),
            CachedEntry::Node(CachedNode { kind: FileType::Dir, .. }) => return Ok(UpperOpen::Dir),
            CachedEntry::Node(entry) => entry,
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        Ok(UpperOpen::File(self.at.open_leaf(&state, name, &entry, how, 0)?))
    }

    fn enter(&self, name: Name<'_>) -> Result<UpperRef> {
        let _state = self.core().state.read();
        Ok(self.handle(self.at.child(name, 0).map_err(stop_to_errno)?))
    }

    fn is_opaque(&self) -> Result<bool> {
        let _state = self.core().state.read();
        Ok(self.at.xattrs()?.opaque == Opaque::Yes)
    }

    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()> {
        let names = {
            let _state = self.core().state.read();
            self.at.whiteout_names()?
        };
        for name in names {
            each(Name::new(&name)?);
        }
        Ok(())
    }

    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp> {
        self.copy_up_node(names, stat, what)
    }

    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let state = self.core().state.write();
        let times = into.times()?;
        self.at.link_to(&state, name, into, new_name)?;
        into.restore_times(&times);
        Ok(())
    }

    fn create_whiteout(&self, name: Name<'_>) -> Result<()> {
        let mut state = self.core().state.write();
        let found = self.at.find(name)?;
        let work = self.core().work(&state)?;
        let dying = match &found {
            CachedEntry::Node(entry) => self.at.dying_symlink(&state, name, entry.kind),
            CachedEntry::Absent | CachedEntry::Debris | CachedEntry::Whiteout => None,
        };
        self.at.place_whiteout(work, name, &found)?;
        dying.and_then(|id| state.links.remove(&id));
        Ok(())
    }

    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()> {
        self.at.create_child_dir(&self.core().state.write(), name, Opaqueness::Always)
    }

    fn commit_token(&self) -> Result<u128> {
        let state = self.core().state.write();
        if let Some(token) = xattrs::token(self.at.fd())? {
            return Ok(token);
        }
        self.core().work(&state)?;
        let token = crate::overlay::random_token();
        let before = super::super::stat::stat(&fs::fstat(self.at.fd()).map_err(errno)?);
        xattrs::set(self.at.fd(), xattrs::TOKEN, format!("{token:032x}").as_bytes())?;
        // The xattr updates only the change time. A root whose times were set before stays
        // modified.
        if before.modified == before.changed {
            self.at.set_equal_times()?;
        }
        Ok(token)
    }

    fn begin_discard(&self) -> Result<()> {
        let state = self.core().state.write();
        self.core().work(&state)?;
        xattrs::set(self.at.fd(), xattrs::DISCARDED, b"y")
    }

    fn end_discard(&self) -> Result<()> {
        let state = self.core().state.write();
        self.core().work(&state)?;
        xattrs::remove(self.at.fd(), xattrs::DISCARDED)?;
        self.at.set_equal_times()
    }

    fn set_opaque(&self) -> Result<()> {
        let state = self.core().state.write();
        self.core().work(&state)?;
        self.at.make_opaque()
    }

    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        self.rename_with(OldName::Whiteout, name, self.same(into)?, new_name)
    }

    fn is_in(&self, dir: (u64, u64)) -> Result<bool> {
        super::is_in(self.at.fd(), dir).map_err(|why| errno_of_io(&why))
    }

    fn freeze(&self) -> Result<()> {
        let core = self.core();
        let mut state = core.state.write();
        if core.open_files.load(Ordering::Acquire) > 0 {
            return Err(Errno::Txtbsy);
        }
        if state.is_frozen {
            return Ok(());
        }
        state.is_frozen = true;
        // Others may open the frozen upper from now on. A failure to share the lock does not undo
        // the freeze.
        let _ = fs::flock(&core.upper, FlockOperation::NonBlockingLockShared);
        if let Some(work_area) = &core.work_area {
            let _ = fs::flock(&work_area.lock, FlockOperation::NonBlockingUnlock);
        }
        Ok(())
    }
}
