//! The `Dir` of an immutable tree.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::file::FixedFile;
use super::{Index, Kind, Tree, ino, kind_type};
use crate::{
    Cookie, Descent, Dir, Entry, Errno, Name, Node, OpenFlags, OpenHow, Result, SetTimes, Stat,
    Stop,
};

/// A held directory. The cookie after an entry is the entry's index in the directory plus 1.
pub(super) struct FixedDir {
    pub(super) tree: Arc<Tree>,
    pub(super) index: Index,
}

impl FixedDir {
    fn open_dir(&self, index: Index, how: OpenHow) -> Result<Node, Stop> {
        if how.refuses_dir() {
            return Err(Errno::Isdir.into());
        }
        Ok(Node::Dir(Arc::new(FixedDir { tree: Arc::clone(&self.tree), index })))
    }

    /// Returns the node at `path`.
    fn find(&self, path: Descent<'_>) -> Result<Index, Stop> {
        let Some((parent, name)) = path.split_last() else { return Ok(self.index) };
        let parent = self.tree.descend(self.index, parent)?;
        Ok(self.tree.get(parent, name).ok_or(Errno::Noent)?)
    }

    fn child(&self, name: Name<'_>) -> Result<(Index, Kind)> {
        let index = self.tree.get(self.index, name).ok_or(Errno::Noent)?;
        Ok((index, self.tree.node(index)?.kind))
    }

    fn refuse_new(&self, name: Name<'_>) -> Result<()> {
        Err(if self.tree.get(self.index, name).is_some() { Errno::Exist } else { Errno::Rofs })
    }

    /// Returns `other` as a directory of this tree.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: `other` is of another filesystem.
    fn same_tree<'d>(&self, other: &'d dyn Dir) -> Result<&'d FixedDir> {
        match (other as &dyn Any).downcast_ref::<FixedDir>() {
            Some(other) if Arc::ptr_eq(&self.tree, &other.tree) => Ok(other),
            Some(_) | None => Err(Errno::Xdev),
        }
    }
}

impl Dir for FixedDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let index = match self.find(path) {
            Ok(index) => index,
            Err(Stop::Errno(Errno::Noent)) if how.creates() => {
                // `EROFS` only if the parent exists.
                if let Some((parent, _)) = path.split_last() {
                    self.tree.descend(self.index, parent)?;
                }
                return Err(Errno::Rofs.into());
            }
            Err(stop) => return Err(stop),
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        let content = match self.tree.node(index)?.kind {
            Kind::Dir { .. } => return self.open_dir(index, how),
            Kind::Symlink(target) => {
                return Err(self.tree.link(path.depth().saturating_sub(1), target));
            }
            Kind::File(content) => content,
        };
        if how.wants_dir() {
            return Err(Errno::Notdir.into());
        }
        if how.access.writes() || how.flags.contains(OpenFlags::TRUNCATE) {
            return Err(Errno::Rofs.into());
        }
        let file = FixedFile::open(&self.tree, index, content, how.access)?;
        Ok(Node::File(Arc::new(file)))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        Ok(self.tree.stat(self.find(path)?)?)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let index = self.find(path)?;
        match self.tree.node(index)?.kind {
            Kind::Symlink(target) => Err(self.tree.link(path.depth().saturating_sub(1), target)),
            Kind::Dir { .. } | Kind::File(_) => Ok(self.tree.stat(index)?),
        }
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.child(name)?.1 {
            Kind::Symlink(target) => Ok(self.tree.text(target).into()),
            Kind::Dir { .. } | Kind::File(_) => Err(Errno::Inval),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let entries = self.tree.entries(self.tree.node(self.index)?.kind);
        let start = usize::try_from(from.0).map_err(|_| Errno::Inval)?;
        let rest = entries.get(start..).ok_or(Errno::Inval)?;
        for (next, entry) in (from.0 + 1..).zip(rest) {
            let name = Name::new(self.tree.text(entry.name))?;
            let kind = kind_type(self.tree.node(entry.node)?.kind);
            let next = Cookie(next);
            if each(Entry { name, kind, ino: ino(entry.node), next }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.refuse_new(name)
    }

    fn create_symlink(&self, name: Name<'_>, _target: &str) -> Result<()> {
        self.refuse_new(name)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.child(name)?.1 {
            Kind::Dir { .. } => Err(Errno::Isdir),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::Rofs),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.child(name)?.1 {
            Kind::Dir { count: 0, .. } => Err(Errno::Rofs),
            Kind::Dir { .. } => Err(Errno::Notempty),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::Notdir),
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_tree(into)?;
        let (old, old_kind) = self.child(name)?;
        let is_dir = matches!(old_kind, Kind::Dir { .. });
        if is_dir && self.tree.is_at_or_under(into.index, old) {
            return Err(Errno::Inval);
        }
        let Ok((new, new_kind)) = into.child(new_name) else { return Err(Errno::Rofs) };
        if matches!(new_kind, Kind::Dir { .. }) && self.tree.is_at_or_under(self.index, new) {
            return Err(Errno::Notempty);
        }
        if old == new {
            return Ok(());
        }
        Err(match (is_dir, new_kind) {
            (true, Kind::File(_) | Kind::Symlink(_)) => Errno::Notdir,
            (false, Kind::Dir { .. }) => Errno::Isdir,
            (true, Kind::Dir { count, .. }) if count > 0 => Errno::Notempty,
            (true, Kind::Dir { .. }) | (false, Kind::File(_) | Kind::Symlink(_)) => Errno::Rofs,
        })
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_tree(into)?;
        let (_, kind) = self.child(name)?;
        if into.child(new_name).is_ok() {
            return Err(Errno::Exist);
        }
        Err(if matches!(kind, Kind::Dir { .. }) { Errno::Perm } else { Errno::Rofs })
    }

    fn set_times(&self, path: Descent<'_>, _times: SetTimes) -> Result<(), Stop> {
        self.find(path)?;
        Err(Errno::Rofs.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        self.tree.source.may_block()
    }
}
