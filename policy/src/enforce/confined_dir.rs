//! The confining layer: a directory that wraps a directory and enforces a policy.
//!
//! Each operation takes a [`PolicySnapshot`] from the handle's [`Position`] and is performed by a
//! [`CheckedDir`](crate::enforce::checked_dir::CheckedDir).
//!
//! Lock order: that of `position.rs`.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, Name, Node, OpenHow, Result, SetTimes, Stat, Stop,
};

use crate::automaton::policy::Policy;
use crate::enforce::position::{FixedPosition, Position};

#[cfg(doc)]
use crate::enforce::position::PolicySnapshot;

/// Confines `dir` to `policy`. `dir` is the root of the guest's filesystem.
///
/// An operation that succeeds has the same effect as in `dir`. Rename and link between the results
/// of two calls fail with `EXDEV`, unless both calls were given the same `policy`.
#[must_use]
pub fn confine(dir: DirRef, policy: Arc<Policy>) -> DirRef {
    confine_fixed(dir, FixedPosition { policy, state: Policy::START })
}

/// Confines `dir` to `policy`, where `guest_path` is the path of `dir` in the guest: for a
/// preopened directory, or a mounted tree. A `guest_path` that is not a valid path grants nothing.
///
/// Otherwise as [`confine`].
#[must_use]
pub fn confine_at(dir: DirRef, policy: Arc<Policy>, guest_path: &str) -> DirRef {
    let state = policy.at(guest_path);
    confine_fixed(dir, FixedPosition { policy, state })
}

fn confine_fixed(inner: DirRef, position: FixedPosition) -> DirRef {
    Arc::new(ConfinedDir { inner, position: Position::Fixed(position) })
}

/// A directory under a policy.
pub(crate) struct ConfinedDir {
    pub(crate) inner: DirRef,
    pub(crate) position: Position,
}

impl ConfinedDir {
    /// Returns the second directory of a rename or link.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: the directory is not confined.
    fn downcast(dir: &dyn Dir) -> Result<&ConfinedDir> {
        let dir: &dyn Any = dir;
        dir.downcast_ref::<ConfinedDir>().ok_or(Errno::Xdev)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for ConfinedDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let snapshot = self.position.begin();
        let (node, state) = snapshot.check(&self.inner).open(path, how, &mut ())?;
        Ok(match node {
            Node::Dir(inner) => {
                let position = self.position.descend(&snapshot, path, state)?;
                Node::Dir(Arc::new(ConfinedDir { inner, position }))
            }
            Node::File(inner) => {
                Node::File(self.position.confine_file(&snapshot, path, state, inner)?)
            }
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.position.begin().check(&self.inner).stat(path, &mut ())
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.position.begin().check(&self.inner).stat_following(path, &mut ())
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.position.begin().check(&self.inner).read_link(name, &mut ())
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.position.list(&self.inner, self.position.begin(), from, each, &mut ()).0
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.position.with_renames_blocked(|| {
            self.position.begin().check(&self.inner).create_dir(name, &mut ())
        })
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.position.begin().check(&self.inner).create_symlink(name, target, &mut ())
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.position.begin().check(&self.inner).remove_file(name, &mut ())?;
        self.position.removed(name);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.position.begin().check(&self.inner).remove_dir(name, &mut ())?;
        self.position.removed(name);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Self::downcast(into)?;
        let pending = self.position.begin_rename(name);
        let [here, there] = self.position.begin_pair(&into.position)?;
        let (from, to) = (here.check(&self.inner), there.check(&into.inner));
        from.rename(name, &to, new_name, &mut ())?;
        Position::complete_rename(pending, &into.position, new_name, || {
            from.is_same(name, &to, new_name)
        });
        Ok(())
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Self::downcast(into)?;
        let [here, there] = self.position.begin_pair(&into.position)?;
        here.check(&self.inner).link(name, &there.check(&into.inner), new_name, &mut ())
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.position.begin().check(&self.inner).set_times(path, times, &mut ())
    }

    fn sync(&self) -> Result<()> {
        self.position.check_sync()?;
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.position.epoch().wrapping_add(self.inner.epoch())
    }
}
