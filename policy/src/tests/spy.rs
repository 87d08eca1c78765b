//! A layer that records how what lies below it is opened.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, Name, Node, OpenHow, Result, SetTimes, Stat, Stop,
};

/// Passes everything on, and writes down each open.
pub(super) struct Spy {
    pub(super) inner: DirRef,
    pub(super) opened: Arc<Mutex<Vec<OpenHow>>>,
}

impl Spy {
    fn same<'d>(&self, into: &'d dyn Dir) -> Result<&'d dyn Dir> {
        let into: &dyn Any = into;
        into.downcast_ref::<Spy>().map(|spy| &*spy.inner).ok_or(Errno::Xdev)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Spy {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.opened.lock().unwrap().push(how);
        Ok(match self.inner.open(path, how)? {
            Node::Dir(inner) => {
                Node::Dir(Arc::new(Spy { inner, opened: Arc::clone(&self.opened) }))
            }
            file => file,
        })
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
        self.inner.create_dir(name)
    }
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner.create_symlink(name, target)
    }
    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_dir(name)
    }
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.rename(name, self.same(into)?, new_name)
    }
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.link(name, self.same(into)?, new_name)
    }
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)
    }
    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }
    fn may_block(&self) -> bool {
        // As a back end on a disk.
        true
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
