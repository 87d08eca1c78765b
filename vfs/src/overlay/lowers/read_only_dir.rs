//! Implements [`Dir`] for the merged lowers: reads only, changes fail with `EROFS`.
//!
//! An operation that would change the tree returns the errors that precede `EROFS` in the contract
//! of [`Dir`] first.

use std::any::Any;
use std::ops::ControlFlow;

use super::{LowerNode, MergedDir};
use crate::{
    Access, Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop,
};

impl MergedDir {
    /// Calls `stat` on the part that has the node at `path`.
    fn stat_with(
        &self,
        path: Descent<'_>,
        stat: impl Fn(&dyn Dir, Descent<'_>) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        if path.is_here() {
            return match self.parts.first() {
                Some(part) => part.dir().stat(path),
                // An opaque root has no parts under it.
                None => Err(Errno::Noent.into()),
            };
        }
        if let Some(dir) = self.single() {
            return stat(&**dir, path);
        }
        if let Some((part, name)) = self.cached_leaf(path) {
            return stat(part.dir(), name.into());
        }
        let (parent, name) = self.parent_of(path)?;
        match parent.lookup(name)? {
            None => Err(Errno::Noent.into()),
            Some(LowerNode::Dir(dir)) => dir.stat(Descent::HERE),
            Some(LowerNode::Leaf(part)) => {
                stat(part.dir(), name.into()).map_err(|stop| stop.shifted_by(path.depth() - 1))
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for MergedDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        if path.is_here() {
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
            return Ok(Node::Dir(self.me()?));
        }
        let changes = how.access.writes() || how.refuses_dir();
        if let Some(dir) = self.single().filter(|_| !changes) {
            match dir.open(path, how)? {
                Node::File(file) => return Ok(Node::File(file)),
                // A directory is returned as a `MergedDir`, below.
                Node::Dir(_) => {}
            }
        }
        if let Some((part, name)) = self.cached_leaf(path).filter(|_| !changes) {
            return part.dir().open(name.into(), how);
        }
        let (parent, name) = self.parent_of(path)?;
        let depth = path.depth() - 1;
        match parent.lookup(name)? {
            None if how.creates() => Err(Errno::Rofs.into()),
            None => Err(Errno::Noent.into()),
            Some(_) if how.is_exclusive() => Err(Errno::Exist.into()),
            Some(LowerNode::Dir(_)) if how.refuses_dir() => Err(Errno::Isdir.into()),
            Some(LowerNode::Dir(dir)) => Ok(Node::Dir(dir)),
            Some(LowerNode::Leaf(part)) => {
                let held = OpenHow::new(how.access, how.flags & !OpenFlags::TRUNCATE);
                let is_changed = how.access.writes() || held != how;
                let how = if is_changed { OpenHow { access: Access::Hold, ..held } } else { how };
                let how = OpenHow::new(how.access, how.flags & !OpenFlags::CREATE);
                let node =
                    part.dir().open(name.into(), how).map_err(|stop| stop.shifted_by(depth))?;
                if is_changed { Err(Errno::Rofs.into()) } else { Ok(node) }
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat_with(path, |dir, path| dir.stat(path))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat_with(path, |dir, path| dir.stat_following(path))
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.lookup(name)? {
            None => Err(Errno::Noent),
            Some(LowerNode::Dir(_)) => Err(Errno::Inval),
            Some(LowerNode::Leaf(part)) => part.dir().read_link(name),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list()?.read(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        Err(self.refuse_new(name))
    }

    fn create_symlink(&self, name: Name<'_>, _target: &str) -> Result<()> {
        Err(self.refuse_new(name))
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.kind(name)?.ok_or(Errno::Noent)? {
            FileType::Dir => Err(Errno::Isdir),
            _ => Err(Errno::Rofs),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.lookup(name)?.ok_or(Errno::Noent)? {
            LowerNode::Leaf(_) => Err(Errno::Notdir),
            LowerNode::Dir(dir) if !dir.list()?.is_empty() => Err(Errno::Notempty),
            LowerNode::Dir(_) => Err(Errno::Rofs),
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = (into as &dyn Any).downcast_ref::<MergedDir>().ok_or(Errno::Xdev)?;
        let kind = self.kind(name)?.ok_or(Errno::Noent)?;
        match (kind, into.kind(new_name)?) {
            (FileType::Dir, Some(other)) if other != FileType::Dir => Err(Errno::Notdir),
            (other, Some(FileType::Dir)) if other != FileType::Dir => Err(Errno::Isdir),
            (_, _) => Err(Errno::Rofs),
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = (into as &dyn Any).downcast_ref::<MergedDir>().ok_or(Errno::Xdev)?;
        let kind = self.kind(name)?.ok_or(Errno::Noent)?;
        match into.refuse_new(new_name) {
            Errno::Rofs if kind == FileType::Dir => Err(Errno::Perm),
            errno => Err(errno),
        }
    }

    fn set_times(&self, path: Descent<'_>, _times: SetTimes) -> Result<(), Stop> {
        self.stat(path)?;
        Err(Errno::Rofs.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        self.parts.iter().any(|part| part.dir().may_block())
    }

    fn epoch(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.wrapping_add(part.dir().epoch()))
    }
}
