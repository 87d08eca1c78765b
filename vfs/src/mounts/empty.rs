//! The synthesized directory: empty and read-only.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{
    Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenHow, Result, SetTimes, Stat,
    Stop, Timestamp,
};

/// An empty directory whose changes fail with `EROFS`.
#[derive(Clone)]
pub(super) struct Empty {
    pub(super) dev: u64,
    pub(super) ino: u64,
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Empty {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        if !path.is_here() {
            let creates = how.creates() && path.as_name().is_some();
            return Err(if creates { Errno::Rofs } else { Errno::Noent }.into());
        }
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        if how.refuses_dir() {
            return Err(Errno::Isdir.into());
        }
        Ok(Node::Dir(Arc::new(self.clone())))
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        if !path.is_here() {
            return Err(Errno::Noent.into());
        }
        Ok(Stat {
            kind: FileType::Dir,
            dev: self.dev,
            ino: self.ino,
            nlink: 2,
            size: 0,
            accessed: Timestamp::EPOCH,
            modified: Timestamp::EPOCH,
            changed: Timestamp::EPOCH,
        })
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.stat(path)
    }

    fn read_link(&self, _name: Name<'_>) -> Result<Box<str>> {
        Err(Errno::Noent)
    }

    fn read_dir(
        &self,
        from: Cookie,
        _each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from == Cookie::START { Ok(()) } else { Err(Errno::Inval) }
    }

    fn create_dir(&self, _name: Name<'_>) -> Result<()> {
        Err(Errno::Rofs)
    }

    fn create_symlink(&self, _name: Name<'_>, _target: &str) -> Result<()> {
        Err(Errno::Rofs)
    }

    fn remove_file(&self, _name: Name<'_>) -> Result<()> {
        Err(Errno::Noent)
    }

    fn remove_dir(&self, _name: Name<'_>) -> Result<()> {
        Err(Errno::Noent)
    }

    fn rename(&self, _name: Name<'_>, into: &dyn Dir, _new_name: Name<'_>) -> Result<()> {
        self.no_such_name(into)
    }

    fn link(&self, _name: Name<'_>, into: &dyn Dir, _new_name: Name<'_>) -> Result<()> {
        self.no_such_name(into)
    }

    fn set_times(&self, path: Descent<'_>, _times: SetTimes) -> Result<(), Stop> {
        Err(if path.is_here() { Errno::Rofs } else { Errno::Noent }.into())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }

    fn epoch(&self) -> u64 {
        0
    }
}

impl Empty {
    /// Returns the error of a rename or link of a name of this directory: it has none.
    fn no_such_name(&self, into: &dyn Dir) -> Result<()> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Empty>() {
            Some(into) if into.dev == self.dev => Err(Errno::Noent),
            Some(_) | None => Err(Errno::Xdev),
        }
    }
}
