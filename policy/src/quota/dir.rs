//! A directory of a group: what changes names is counted, and everything else is passed on.
//!
//! Names change with [`Group::names`] held: between the look that says what a change will take or
//! give back, and the change, nobody of the group comes in between.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenHow, Result, SetTimes,
    Stat, Stop,
};

use super::count::{end, entries, look};
use super::meter::{Group, Permit, What};
use super::nodes::{Held, Identity};

/// A directory of a group. Dropped from the top, as a file is.
pub(super) struct QuotaDir {
    pub(super) inner: DirRef,
    /// `None` if it may not be looked at.
    pub(super) held: Option<Held>,
    pub(super) group: Arc<Group>,
    /// `None` for what the host was given.
    _permit: Option<Permit>,
}

impl QuotaDir {
    /// What the host is given.
    pub(super) fn root(inner: DirRef, group: Arc<Group>, held: Held) -> Self {
        QuotaDir { inner, held: Some(held), group, _permit: None }
    }

    /// What a guest has opened.
    pub(super) fn opened(
        inner: DirRef,
        group: &Arc<Group>,
        held: Option<Held>,
        permit: Permit,
    ) -> Self {
        QuotaDir { inner, held, group: Arc::clone(group), _permit: Some(permit) }
    }

    fn id(&self) -> Option<Identity> {
        self.held.as_ref().map(|held| held.node.id)
    }

    fn is_removed(&self) -> bool {
        self.inner.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0)
    }

    /// Another directory of this group, or `Xdev`.
    fn same<'d>(&self, into: &'d dyn Dir) -> Result<&'d QuotaDir> {
        QuotaDir::of(&self.group, into).ok_or(Errno::Xdev)
    }

    /// `dir`, if it is one of `group`'s.
    fn of<'d>(group: &Group, dir: &'d dyn Dir) -> Option<&'d QuotaDir> {
        let dir: &dyn Any = dir;
        dir.downcast_ref::<QuotaDir>().filter(|dir| std::ptr::eq(&*dir.group, group))
    }

    /// Whether there is room for one more entry in this directory.
    fn check_entry(&self) -> Result<()> {
        if self.group.entries.is_none() {
            return Ok(());
        }
        let stat = end(self.inner.stat(Descent::HERE))?;
        self.group.check_entry(&self.inner, &stat)
    }

    /// An entry more or fewer is here.
    fn count_entry(&self, more: i64) {
        if self.group.entries.is_some()
            && let Some(id) = self.id()
        {
            self.group.count_entry(id, more);
        }
    }

    /// For what would be created, but is refused: the error that comes first.
    fn refuse_new(&self, name: Name<'_>, refusal: Errno) -> Errno {
        match look(&*self.inner, name) {
            Ok(Some(_)) => Errno::Exist,
            Ok(None) if self.is_removed() => Errno::Noent,
            Ok(None) => refusal,
            Err(errno) => errno,
        }
    }

    /// Creates `name` by `create`, which takes `bytes`. If it cannot be found out what it is,
    /// `undo` removes it.
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
            let inode = self.group.reserve(What::Inodes, 1)?;
            Ok((inode, self.group.reserve(What::Bytes, bytes)?))
        };
        let (inode, bytes) = room().map_err(|refusal| self.refuse_new(name, refusal))?;
        create(inner)?;
        let found = inner.stat(name.into()).or_else(|_| inner.stat(name.into()));
        match end(found) {
            Ok(stat) => {
                inode.keep_all();
                bytes.keep_all();
                drop(self.group.created(&stat));
                self.count_entry(1);
                Ok(())
            }
            Err(errno) => {
                if undo(inner).is_err() {
                    // It is there, and what it takes is never given back.
                    inode.keep_all();
                    bytes.keep_all();
                    self.count_entry(1);
                }
                Err(errno)
            }
        }
    }

    /// Removes `name` by `remove`.
    fn remove(&self, name: Name<'_>, remove: impl FnOnce(&dyn Dir) -> Result<()>) -> Result<()> {
        let _names = self.group.names.write();
        let Some(stat) = look(&*self.inner, name)? else { return remove(&*self.inner) };
        remove(&*self.inner)?;
        self.group.lost_name(&stat);
        self.count_entry(-1);
        Ok(())
    }

    /// Whether `name` may become one more entry of `into`.
    fn check_entry_into(&self, name: Name<'_>, into: &QuotaDir) -> Result<()> {
        let Err(refusal) = into.check_entry() else { return Ok(()) };
        match look(&*self.inner, name)? {
            None => Err(Errno::Noent),
            Some(_) if into.is_removed() => Err(Errno::Noent),
            Some(_) => Err(refusal),
        }
    }
}

impl Group {
    /// Whether `dir` is one of this group's.
    pub(super) fn is_guarding(&self, dir: &dyn Dir) -> bool {
        QuotaDir::of(self, dir).is_some()
    }

    /// Whether there is room for one more entry in `dir`, whose entries are counted if they have
    /// not been.
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
        let new = look(&*into.inner, new_name)?;
        if let Some(new) = &new {
            let old = look(&*self.inner, name)?;
            if old.is_none_or(|old| (new.dev, new.ino) == (old.dev, old.ino)) {
                // Nothing has that name, or one node has both, and then there is nothing to do.
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
            let Some(stat) = look(&*self.inner, name)? else { return Err(Errno::Noent) };
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
        // Even where this directory cannot, whoever holds the names may.
        self.group.may_block.load(Ordering::Relaxed) || self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
