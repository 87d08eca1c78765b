//! A guarded directory: accounts for operations that change names and forwards all others.
//!
//! Names change with [`Group::names`] held exclusively, so that no other operation of the group
//! runs between the stat that determines the change of the counters and the change itself.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenHow, Result, SetTimes,
    Stat, Stop,
};

use super::count::{end, entries, stat_entry};
use super::meter::{Counter, DescriptorSlot, Group};
use super::nodes::{Identity, NodeRef};

/// A directory of a group. The field order is the drop order, as for [`QuotaFile`].
///
/// [`QuotaFile`]: super::file::QuotaFile
pub(super) struct QuotaDir {
    pub(super) inner: DirRef,
    /// The node. `None` if the policy under the quota denies a stat.
    pub(super) held: Option<NodeRef>,
    pub(super) group: Arc<Group>,
    /// The descriptor. `None` for the root, which the host receives.
    _slot: Option<DescriptorSlot>,
}

impl QuotaDir {
    /// Creates the directory that the host receives.
    pub(super) fn root(inner: DirRef, group: Arc<Group>, held: NodeRef) -> Self {
        QuotaDir { inner, held: Some(held), group, _slot: None }
    }

    /// Creates a directory that a guest opened.
    pub(super) fn opened(
        inner: DirRef,
        group: &Arc<Group>,
        held: Option<NodeRef>,
        slot: DescriptorSlot,
    ) -> Self {
        QuotaDir { inner, held, group: Arc::clone(group), _slot: Some(slot) }
    }

    fn id(&self) -> Option<Identity> {
        self.held.as_ref().map(|held| held.node.id)
    }

    fn is_removed(&self) -> bool {
        self.inner.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0)
    }

    /// Returns `into` as a directory of this group, or `Xdev`.
    fn same<'d>(&self, into: &'d dyn Dir) -> Result<&'d QuotaDir> {
        QuotaDir::of(&self.group, into).ok_or(Errno::Xdev)
    }

    /// Returns `dir` as a directory of `group`.
    fn of<'d>(group: &Group, dir: &'d dyn Dir) -> Option<&'d QuotaDir> {
        let dir: &dyn Any = dir;
        dir.downcast_ref::<QuotaDir>().filter(|dir| std::ptr::eq(&*dir.group, group))
    }

    /// Checks that this directory has room for one more entry.
    fn check_entry(&self) -> Result<()> {
        if self.group.entries.is_none() {
            return Ok(());
        }
        let stat = end(self.inner.stat(Descent::HERE))?;
        self.group.check_entry(&self.inner, &stat)
    }

    /// Adds `more`, which is 1 or -1, to the number of entries.
    fn count_entry(&self, more: i64) {
        if self.group.entries.is_some()
            && let Some(id) = self.id()
        {
            self.group.count_entry(id, more);
        }
    }

    /// Returns the first error of a creation that `refusal` prevents.
    fn refuse_new(&self, name: Name<'_>, refusal: Errno) -> Errno {
        match stat_entry(&*self.inner, name) {
            Ok(Some(_)) => Errno::Exist,
            Ok(None) if self.is_removed() => Errno::Noent,
            Ok(None) => refusal,
            Err(errno) => errno,
        }
    }

    /// Runs `create`, which creates `name` and adds `bytes` to the byte counter. If the new node
    /// cannot be identified, `undo` removes it.
    fn create(
        &self,
        name: Name<'_>,
        bytes: u64,
        create: impl FnOnce(&dyn Dir) -> Result<()>,
        undo: impl FnOnce(&dyn Dir) -> Result<()>,
    ) -> Result<()> {
        let inner = &*self.inner;
        let _names = self.group.names.write();
        let room = || {
            self.check_entry()?;
            let inode = self.group.reservation(Counter::Inodes, 1)?;
            Ok((inode, self.group.reservation(Counter::Bytes, bytes)?))
        };
        let (inode, bytes) = room().map_err(|refusal| self.refuse_new(name, refusal))?;
        create(inner)?;
        let found = inner.stat(name.into()).or_else(|_| inner.stat(name.into()));
        match end(found) {
            Ok(stat) => {
                inode.commit_all();
                bytes.commit_all();
                drop(self.group.created(&stat));
                self.count_entry(1);
                Ok(())
            }
            Err(errno) => {
                if undo(inner).is_err() {
                    // The node remains, and its reservation is never released.
                    inode.commit_all();
                    bytes.commit_all();
                    self.count_entry(1);
                }
                Err(errno)
            }
        }
    }

    /// Runs `remove`, which removes `name`.
    fn remove(&self, name: Name<'_>, remove: impl FnOnce(&dyn Dir) -> Result<()>) -> Result<()> {
        let _names = self.group.names.write();
        let Some(stat) = stat_entry(&*self.inner, name)? else { return remove(&*self.inner) };
        remove(&*self.inner)?;
        self.group.lost_name(&stat);
        self.count_entry(-1);
        Ok(())
    }

    /// Checks that `into` has room for `name` as one more entry.
    fn check_entry_into(&self, name: Name<'_>, into: &QuotaDir) -> Result<()> {
        let Err(refusal) = into.check_entry() else { return Ok(()) };
        match stat_entry(&*self.inner, name)? {
            None => Err(Errno::Noent),
            Some(_) if into.is_removed() => Err(Errno::Noent),
            Some(_) => Err(refusal),
        }
    }
}

impl Group {
    /// Returns whether `dir` is a directory of this group.
    pub(super) fn is_guarding(&self, dir: &dyn Dir) -> bool {
        QuotaDir::of(self, dir).is_some()
    }

    /// Checks that `dir` has room for one more entry. Counts its entries on the first call.
    pub(super) fn check_entry(&self, dir: &DirRef, stat: &Stat) -> Result<()> {
        let Some((limit, refusal)) = self.entries else { return Ok(()) };
        let there = match self.entries_of((stat.dev, stat.ino)) {
            Some(there) => there,
            None => {
                let there = entries(dir)?;
                self.set_entries(stat, there);
                there
            }
        };
        if there < limit { Ok(()) } else { Err(refusal) }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for QuotaDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.open_counted(path, how)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.create(name, 0, |dir| dir.create_dir(name), |dir| dir.remove_dir(name))
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        let bytes = target.len() as u64;
        let create = |dir: &dyn Dir| dir.create_symlink(name, target);
        self.create(name, bytes, create, |dir| dir.remove_file(name))
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.remove(name, |dir| dir.remove_file(name))
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.remove(name, |dir| dir.remove_dir(name))
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let rename = || self.inner.rename(name, &*into.inner, new_name);
        let _names = self.group.names.write();
        let new = stat_entry(&*into.inner, new_name)?;
        if let Some(new) = &new {
            let old = stat_entry(&*self.inner, name)?;
            if old.is_none_or(|old| (new.dev, new.ino) == (old.dev, old.ino)) {
                // The old name does not exist, or both name one node, so that nothing changes.
                return rename();
            }
        } else if self.id().is_none() || self.id() != into.id() {
            self.check_entry_into(name, into)?;
        }
        rename()?;
        self.count_entry(-1);
        match &new {
            Some(new) => self.group.lost_name(new),
            None => into.count_entry(1),
        }
        Ok(())
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?;
        let link = || self.inner.link(name, &*into.inner, new_name);
        let _names = self.group.names.write();
        if let Err(refusal) = into.check_entry() {
            let Some(stat) = stat_entry(&*self.inner, name)? else { return Err(Errno::Noent) };
            return Err(match into.refuse_new(new_name, refusal) {
                errno if errno != refusal => errno,
                _ if stat.kind == FileType::Dir => Errno::Perm,
                refusal => refusal,
            });
        }
        link()?;
        into.count_entry(1);
        Ok(())
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        // An operation may wait for another holder of `names`, even if this directory never blocks.
        self.group.may_block.load(Ordering::Relaxed) || self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
