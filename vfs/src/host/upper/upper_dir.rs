//! The methods of a layer that a directory does not have: whiteouts, opaque directories, adoption.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::fs::{self, AtFlags, FlockOperation};

use super::super::errno::{errno, errno_of_io};
use super::dir::errno_of;
use super::name_cache::{Entry, Found, Origin};
use super::rename::Leave;
use super::work_dir::{Shape, Style, Temp, Work, make_whiteout};
use super::xattrs::{self, Marks, Opaque};
use super::{Held, HostUpper, Tree, fault_points};
use crate::overlay::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperOpen, UpperRef};
use crate::{Errno, FileType, Name, OpenHow, Result, Stat, Stop};

/// Whether a new directory hides what is beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaqueness {
    Always,
    /// What takes the place of a whiteout goes on hiding.
    IfOverWhiteout,
}

impl Held {
    /// Sets the times of last modification and last change to one value, as a new entry does. The
    /// comparison with the lowers finds a directory whose times differ to be changed.
    fn set_equal_times(&self) -> Result<()> {
        let [omit, now] =
            [fs::UTIME_OMIT, fs::UTIME_NOW].map(|tv_nsec| fs::Timespec { tv_sec: 0, tv_nsec });
        let times = fs::Timestamps { last_access: omit, last_modification: now };
        fs::futimens(self.fd(), &times).map_err(errno)
    }

    /// Puts what was made in the work area where nothing or a whiteout is.
    pub(super) fn place(
        &self,
        temp: Temp<'_>,
        shape: Shape,
        name: Name<'_>,
        found: &Found,
    ) -> Result<()> {
        match (found, shape) {
            (Found::Nothing, Shape::Leaf | Shape::Dir) => temp.put_new(self.fd(), name),
            (Found::Debris | Found::Whiteout, Shape::Leaf) => temp.put(self.fd(), name),
            (Found::Debris | Found::Whiteout, Shape::Dir) => {
                temp.swap(self.fd(), name, Shape::Leaf)
            }
            (Found::Node(_), Shape::Leaf | Shape::Dir) => Err(Errno::Exist),
        }
    }

    /// What `name` says, if it is no node.
    pub(super) fn vacant(&self, name: Name<'_>) -> Result<Found> {
        match self.find(name)? {
            Found::Node(_) => Err(Errno::Exist),
            found @ (Found::Nothing | Found::Debris | Found::Whiteout) => Ok(found),
        }
    }

    pub(super) fn create_child_dir(
        &self,
        tree: &Tree,
        name: Name<'_>,
        opaqueness: Opaqueness,
    ) -> Result<()> {
        let found = self.vacant(name)?;
        let work = self.core.work(tree)?;
        match (&found, opaqueness) {
            (Found::Nothing, Opaqueness::IfOverWhiteout) => {
                fault_points::next().map_err(errno)?;
                let mode = fs::Mode::from_raw_mode(0o777);
                fs::mkdirat(self.fd(), name.as_str(), mode).map_err(errno)?;
            }
            (Found::Nothing | Found::Debris | Found::Whiteout | Found::Node(_), _) => {
                let (temp, dir) = work.dir()?;
                let shows_lowers =
                    matches!((&found, opaqueness), (Found::Debris, Opaqueness::IfOverWhiteout));
                if !shows_lowers {
                    xattrs::set(dir.as_fd(), xattrs::OPAQUE, b"y")?;
                }
                self.place(temp, Shape::Dir, name, &found)?;
            }
        }
        self.set(name, Found::Node(Entry::new(FileType::Dir, Origin::Own)));
        Ok(())
    }

    pub(super) fn link_to(
        &self,
        tree: &Tree,
        name: Name<'_>,
        into: &Held,
        new_name: Name<'_>,
    ) -> Result<()> {
        let Found::Node(entry) = self.find(name)? else { return Err(Errno::Noent) };
        let found = into.vacant(new_name)?;
        if entry.kind == FileType::Dir {
            return Err(if into.is_dead()? { Errno::Noent } else { Errno::Perm });
        }
        let work = self.core.work(tree)?;
        into.expect(&entry)?;
        if let Found::Nothing = found {
            fault_points::next().map_err(errno)?;
            let (from, to, flags) = (name.as_str(), new_name.as_str(), AtFlags::empty());
            fs::linkat(self.fd(), from, into.fd(), to, flags).map_err(errno)?;
        } else {
            work.link(self.fd(), name.as_str())?.put(into.fd(), new_name)?;
        }
        into.set(new_name, Found::Node(entry));
        Ok(())
    }

    /// Whether this directory was removed.
    fn is_dead(&self) -> Result<bool> {
        Ok(fs::fstat(self.fd()).map_err(errno)?.st_nlink == 0)
    }

    /// Sees to it that a node that may have been adopted is known for it when it is in here.
    pub(super) fn expect(&self, entry: &Entry) -> Result<()> {
        let marks = self.marks()?;
        if entry.origin == Origin::Own || marks.holds_adopted {
            return Ok(());
        }
        xattrs::set(self.fd(), xattrs::HOLDS, b"y")?;
        self.learn_marks(Marks { holds_adopted: true, ..marks });
        Ok(())
    }

    /// Sees to it that whiteouts in here are known for what they are. `false` if they have nothing
    /// to hide and could not be told from empty files by the kernel.
    pub(super) fn expect_whiteouts(&self, work: &Work) -> Result<bool> {
        if work.style == Style::Device {
            return Ok(true);
        }
        let marks = self.marks()?;
        match marks.opaque {
            Opaque::Yes => return Ok(false),
            Opaque::HoldsWhiteouts => return Ok(true),
            Opaque::No => {}
        }
        xattrs::set(self.fd(), xattrs::OPAQUE, b"x")?;
        self.learn_marks(Marks { opaque: Opaque::HoldsWhiteouts, ..marks });
        Ok(true)
    }

    /// Puts a whiteout where nothing, a file, a link or an empty directory is.
    fn place_whiteout(&self, work: &Work, name: Name<'_>, found: &Found) -> Result<()> {
        let writes = self.expect_whiteouts(work)?;
        let is_debris = matches!(found, Found::Debris);
        let entry = match found {
            Found::Whiteout => return Ok(()),
            Found::Nothing if !writes => {
                // A removed directory takes no whiteouts, not even ones that need not be written.
                return if self.is_dead()? { Err(Errno::Noent) } else { Ok(()) };
            }
            Found::Nothing if work.style == Style::Device => {
                fault_points::next().map_err(errno)?;
                make_whiteout(self.fd(), name.as_str()).map_err(errno)?;
                self.set(name, Found::Whiteout);
                return Ok(());
            }
            Found::Nothing | Found::Debris => None,
            Found::Node(entry) => Some(entry),
        };
        let dir = match entry {
            Some(entry) if entry.kind == FileType::Dir => Some(self.child(name, 0)),
            Some(_) | None => None,
        };
        let dir = dir.transpose().map_err(errno_of)?;
        if let Some(dir) = &dir
            && dir.has_nodes()?
        {
            return Err(Errno::Notempty);
        }
        if writes {
            let temp = work.whiteout()?;
            match (entry, &dir) {
                (None, _) if !is_debris => temp.put_new(self.fd(), name)?,
                (None, _) | (Some(_), None) => temp.put(self.fd(), name)?,
                (Some(_), Some(_)) => temp.swap(self.fd(), name, Shape::Dir)?,
            }
        } else {
            let shape = if dir.is_some() { Shape::Dir } else { Shape::Leaf };
            work.take(self.fd(), name, shape)?;
        }
        if let Some(dir) = dir {
            dir.set_dead();
        }
        self.set(name, if writes { Found::Whiteout } else { Found::Nothing });
        Ok(())
    }

    /// Hides what is beneath. Whiteouts that are files go, since in an opaque directory the kernel
    /// would show them.
    pub(super) fn make_opaque(&self) -> Result<()> {
        let marks = self.marks()?;
        if marks.opaque == Opaque::Yes {
            return Ok(());
        }
        xattrs::set(self.fd(), xattrs::OPAQUE, b"y")?;
        self.learn_marks(Marks { opaque: Opaque::Yes, ..marks });
        if marks.opaque == Opaque::HoldsWhiteouts { self.remove_whiteouts() } else { Ok(()) }
    }

    /// Removes the whiteouts of an opaque directory and what else is no node, and leaves its times
    /// as they are.
    pub(super) fn remove_whiteouts(&self) -> Result<()> {
        let times = self.times()?;
        for name in self.debris_names()? {
            self.remove_debris(Name::new(&name)?)?;
        }
        self.restore_times(&times);
        Ok(())
    }

    /// Removes what is at a name and is no node.
    pub(super) fn remove_debris(&self, name: Name<'_>) -> Result<()> {
        fault_points::next().map_err(errno)?;
        fs::unlinkat(self.fd(), name.as_str(), AtFlags::empty()).map_err(errno)?;
        self.set(name, Found::Nothing);
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl UpperDir for HostUpper {
    fn set_node_dev(&self, _dev: u64) {}

    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry> {
        let tree = self.core().tree.read();
        Ok(match self.at.find(name)? {
            Found::Nothing | Found::Debris => UpperEntry::Absent,
            Found::Whiteout => UpperEntry::Whiteout,
            Found::Node(entry) => UpperEntry::Node(self.at.stat_name(&tree, name, &entry)?),
        })
    }

    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<UpperOpen, Stop> {
        let tree = self.core().tree.read();
        let entry = match self.at.find(name)? {
            Found::Nothing | Found::Debris => return Ok(UpperOpen::Absent),
            Found::Whiteout => return Ok(UpperOpen::Whiteout),
            Found::Node(Entry { kind: FileType::Dir, .. }) => return Ok(UpperOpen::Dir),
            Found::Node(entry) => entry,
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        Ok(UpperOpen::File(self.at.open_leaf(&tree, name, &entry, how, 0)?))
    }

    fn enter(&self, name: Name<'_>) -> Result<UpperRef> {
        let _tree = self.core().tree.read();
        Ok(self.handle(self.at.child(name, 0).map_err(errno_of)?))
    }

    fn is_opaque(&self) -> Result<bool> {
        let _tree = self.core().tree.read();
        Ok(self.at.marks()?.opaque == Opaque::Yes)
    }

    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()> {
        let names = {
            let _tree = self.core().tree.read();
            self.at.whiteout_names()?
        };
        for name in names {
            each(Name::new(&name)?);
        }
        Ok(())
    }

    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp> {
        self.adopt_node(names, stat, what)
    }

    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let tree = self.core().tree.write();
        let times = into.times()?;
        self.at.link_to(&tree, name, into, new_name)?;
        into.restore_times(&times);
        Ok(())
    }

    fn create_whiteout(&self, name: Name<'_>) -> Result<()> {
        let mut tree = self.core().tree.write();
        let found = self.at.find(name)?;
        let work = self.core().work(&tree)?;
        let dying = match &found {
            Found::Node(entry) => self.at.link_dying(&tree, name, entry.kind),
            Found::Nothing | Found::Debris | Found::Whiteout => None,
        };
        self.at.place_whiteout(work, name, &found)?;
        dying.and_then(|id| tree.links.remove(&id));
        Ok(())
    }

    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()> {
        self.at.create_child_dir(&self.core().tree.write(), name, Opaqueness::Always)
    }

    fn commit_token(&self) -> Result<u128> {
        let tree = self.core().tree.write();
        if let Some(token) = xattrs::token(self.at.fd())? {
            return Ok(token);
        }
        self.core().work(&tree)?;
        let token = crate::overlay::fresh_token();
        let before = super::super::stat::stat(&fs::fstat(self.at.fd()).map_err(errno)?);
        xattrs::set(self.at.fd(), xattrs::TOKEN, format!("{token:032x}").as_bytes())?;
        // The attribute changes only the time of last change. A root whose times were set before
        // stays changed.
        if before.modified == before.changed {
            self.at.set_equal_times()?;
        }
        Ok(token)
    }

    fn begin_discard(&self) -> Result<()> {
        let tree = self.core().tree.write();
        self.core().work(&tree)?;
        xattrs::set(self.at.fd(), xattrs::DISCARDED, b"y")
    }

    fn end_discard(&self) -> Result<()> {
        let tree = self.core().tree.write();
        self.core().work(&tree)?;
        xattrs::remove(self.at.fd(), xattrs::DISCARDED)?;
        self.at.set_equal_times()
    }

    fn set_opaque(&self) -> Result<()> {
        let tree = self.core().tree.write();
        self.core().work(&tree)?;
        self.at.make_opaque()
    }

    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        self.rename_leaving(Leave::Whiteout, name, self.same(into)?, new_name)
    }

    fn lies_in(&self, dir: (u64, u64)) -> Result<bool> {
        super::lies_in(self.at.fd(), dir).map_err(|why| errno_of_io(&why))
    }

    fn freeze(&self) -> Result<()> {
        let core = self.core();
        let mut tree = core.tree.write();
        if core.open_files.load(Ordering::Acquire) > 0 {
            return Err(Errno::Txtbsy);
        }
        if tree.is_frozen {
            return Ok(());
        }
        tree.is_frozen = true;
        // Others may read it from now on. If they may not, that is no failure of freezing.
        let _ = fs::flock(&core.upper, FlockOperation::NonBlockingLockShared);
        if let Some(area) = &core.area {
            let _ = fs::flock(&area.lock, FlockOperation::NonBlockingUnlock);
        }
        Ok(())
    }
}
