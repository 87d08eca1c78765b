//! [`Dir`] for a directory of a mounted filesystem.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenHow, Result, SetTimes,
    Stat, Stop,
};
use parking_lot::Mutex;

use super::file::MountFile;
use super::nodes::{Ino, ROOT};
use super::state::State;

/// A handle of a directory, counted in its node.
pub(super) struct MountDir {
    state: Arc<Mutex<State>>,
    ino: Ino,
}

impl MountDir {
    pub(super) fn root(state: Arc<Mutex<State>>) -> DirRef {
        if let Ok(root) = state.lock().nodes.get_mut(ROOT) {
            root.handles += 1;
        }
        Arc::new(MountDir { state, ino: ROOT })
    }

    /// Downcasts a directory of the same mount, or returns `Xdev`.
    fn same_mount<'a>(&self, other: &'a dyn Dir) -> Result<&'a MountDir> {
        let other: &dyn Any = other;
        let other = other.downcast_ref::<MountDir>().ok_or(Errno::Xdev)?;
        if Arc::ptr_eq(&self.state, &other.state) { Ok(other) } else { Err(Errno::Xdev) }
    }
}

impl Drop for MountDir {
    fn drop(&mut self) {
        self.state.lock().release(self.ino);
    }
}

impl Dir for MountDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let found = self.state.lock().open(self.ino, path, how)?;
        let state = Arc::clone(&self.state);
        Ok(match found.kind {
            FileType::Dir => Node::Dir(Arc::new(MountDir { state, ino: found.ino })),
            _ => Node::File(Arc::new(MountFile::new(state, found.ino, how))),
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let mut state = self.state.lock();
        let found = state.descend(self.ino, path)?;
        Ok(state.stat(found.ino)?)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.state.lock().child(self.ino, name.as_str())? {
            Some(_) => Err(Errno::Inval),
            None => Err(Errno::Noent),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let positions = self.state.lock().list(self.ino, from.0)?;
        for (position, text) in positions {
            let name = Name::new(&text)?;
            // `each` is called without the lock, because it may call the mount.
            let found = match self.state.lock().child(self.ino, &text) {
                Ok(Some(found)) => found,
                // Removed meanwhile, or the filesystem lists a name that it cannot find.
                Ok(None) => continue,
                Err(errno) => return Err(errno),
            };
            let entry = Entry { name, kind: found.kind, ino: found.ino, next: Cookie(position) };
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.state.lock().create_dir(self.ino, name)
    }

    /// Always an error; `Perm` is POSIX's errno of a filesystem without symbolic links.
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        let _ = target;
        let mut state = self.state.lock();
        if state.child(self.ino, name.as_str())?.is_some() {
            return Err(Errno::Exist);
        }
        state.existing_dir(self.ino)?;
        Err(Errno::Perm)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.state.lock().remove(self.ino, name, FileType::File)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.state.lock().remove(self.ino, name, FileType::Dir)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        self.state.lock().rename((self.ino, name.as_str()), (into.ino, new_name.as_str()))
    }

    /// Always an error; `Perm` is POSIX's errno of a filesystem without hard links.
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        let mut state = self.state.lock();
        state.child(self.ino, name.as_str())?.ok_or(Errno::Noent)?;
        if state.child(into.ino, new_name.as_str())?.is_some() {
            return Err(Errno::Exist);
        }
        state.existing_dir(into.ino)?;
        Err(Errno::Perm)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let mut state = self.state.lock();
        let found = state.descend(self.ino, path)?;
        Ok(state.set_times(found.ino, times)?)
    }

    /// Saves all closed files of the mount whose last save failed.
    fn sync(&self) -> Result<()> {
        self.state.lock().save_pending()
    }
}
