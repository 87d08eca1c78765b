//! A directory of the merged lowers as a [`Dir`]: it is only read, and what would change it is
//! `Rofs`, behind the errors that come first.

use std::any::Any;
use std::ops::ControlFlow;

use super::lowers::{Found, MergedDir};
use crate::{
    Access, Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop,
};

impl MergedDir {
    /// Asks the directory that has what `path` leads to.
    fn ask(
        &self,
        path: Descent<'_>,
        stat: impl Fn(&dyn Dir, Descent<'_>) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        if path.is_here() {
            return match self.parts.first() {
                Some(part) => part.dir().stat(path),
                // Nothing is below an opaque root.
                None => Err(Errno::Noent.into()),
            };
        }
        if let Some(dir) = self.single() {
            return stat(&**dir, path);
        }
        if let Some((part, name)) = self.known_leaf(path) {
            return stat(part.dir(), name.into());
        }
        let (parent, name) = self.parent_of(path)?;
        match parent.find(name)? {
            None => Err(Errno::Noent.into()),
            Some(Found::Dir(dir)) => dir.stat(Descent::HERE),
            Some(Found::Leaf(part)) => {
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
                // It has to be a directory of this tree.
                Node::Dir(_) => {}
            }
        }
        if let Some((part, name)) = self.known_leaf(path).filter(|_| !changes) {
            return part.dir().open(name.into(), how);
        }
        let (parent, name) = self.parent_of(path)?;
        let depth = path.depth() - 1;
        match parent.find(name)? {
            None if how.creates() => Err(Errno::Rofs.into()),
            None => Err(Errno::Noent.into()),
            Some(_) if how.is_exclusive() => Err(Errno::Exist.into()),
            Some(Found::Dir(_)) if how.refuses_dir() => Err(Errno::Isdir.into()),
            Some(Found::Dir(dir)) => Ok(Node::Dir(dir)),
            Some(Found::Leaf(part)) => {
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
        self.ask(path, |dir, path| dir.stat(path))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.ask(path, |dir, path| dir.stat_following(path))
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.find(name)? {
            None => Err(Errno::Noent),
            Some(Found::Dir(_)) => Err(Errno::Inval),
            Some(Found::Leaf(part)) => part.dir().read_link(name),
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
        match self.find(name)?.ok_or(Errno::Noent)? {
            Found::Leaf(_) => Err(Errno::Notdir),
            Found::Dir(dir) if !dir.list()?.is_empty() => Err(Errno::Notempty),
            Found::Dir(_) => Err(Errno::Rofs),
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
