//! Confinement as a layer: a directory that holds a directory and a place in a policy.
//!
//! What is done to it is judged by a [`View`] of the two. This file alone decides what a handle
//! carries: a fixed policy and a state of it ([`Fixed`]), or a place in a policy that may be
//! narrowed while the handle is open (`live.rs`). The first pays nothing for the second: both are
//! compiled apart.
//!
//! Lock order: no lock for a fixed policy. Deliberately absent: any memory of names; a handle
//! carries its state, and keeps it whatever name its node gets.

use std::any::Any;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, Name, Node, OpenHow, Result, Rights,
    SetTimes, Stat, Stop,
};

use crate::file::ConfinedFile;
use crate::view::View;
use crate::{Policy, State};

/// `dir` under `policy`, from [`Policy::START`] on: `dir` is the root of the guest's world.
///
/// What succeeds in it succeeds in `dir` with the same effect. Between two calls' results, rename
/// and link are `Xdev`, unless both were given the same `policy`.
#[must_use]
pub fn confine(dir: DirRef, policy: Arc<Policy>) -> DirRef {
    Arc::new(Confine { inner: dir, stand: Fixed { policy, state: Policy::START } })
}

/// `dir` under `policy`, as what the guest knows as `guest_path`: for a preopened directory, or a
/// tree that is mounted. What `policy` does not know as a path grants nothing.
///
/// Otherwise as [`confine`].
#[must_use]
pub fn confine_at(dir: DirRef, policy: Arc<Policy>, guest_path: &str) -> DirRef {
    let state = policy.at(guest_path);
    Arc::new(Confine { inner: dir, stand: Fixed { policy, state } })
}

/// A directory under a policy.
pub(crate) struct Confine<S> {
    pub(crate) inner: DirRef,
    pub(crate) stand: S,
}

/// Where a handle stands.
pub(crate) trait Stand: Sized + Send + Sync + 'static {
    /// How the policy is held while an operation is judged.
    type Held<'a>: Deref<Target = Policy>;

    /// Whether [`Stand::has_moved`] can ever say so: who holds a fixed policy need not ask it of
    /// each entry of a listing.
    const MOVES: bool;

    /// The place for the operation that begins now.
    ///
    /// Errors: the refusal, if no operation is allowed any more.
    fn here(&self) -> Result<Here<Self::Held<'_>>>;

    /// The place as it is now, for who tells of an operation and does not begin one.
    #[cfg(feature = "audit")]
    fn now(&self) -> Here<Self::Held<'_>>;

    /// The places of two directories for one operation; `Xdev` if they are not under the same
    /// policy.
    fn both<'a>(&'a self, into: &'a Self) -> Result<[Here<Self::Held<'a>>; 2]>;

    /// The place of what `path` leads to from `here`, at `state`.
    fn beneath(&self, here: &Here<Self::Held<'_>>, path: Descent<'_>, state: State)
    -> Result<Self>;

    /// A handle of the file that `path` leads to from `here`, at `state`.
    fn file(
        &self,
        here: &Here<Self::Held<'_>>,
        path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<FileRef>;

    /// Whether a listing that began at `here` must ask again where it stands.
    fn has_moved(&self, here: &Here<Self::Held<'_>>) -> bool;

    /// Whether making the directory durable is refused.
    fn check_sync(&self) -> Result<()>;
}

/// A place in a policy.
pub(crate) struct Here<P> {
    pub(crate) policy: P,
    pub(crate) state: State,
    /// Which of the policies of a live confinement it is; 0 for a fixed one.
    pub(crate) generation: u64,
}

/// A state of a policy that does not change.
pub(crate) struct Fixed {
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: State,
}

impl Stand for Fixed {
    type Held<'a> = &'a Policy;

    const MOVES: bool = false;

    fn here(&self) -> Result<Here<&Policy>> {
        Ok(Here { policy: &self.policy, state: self.state, generation: 0 })
    }

    #[cfg(feature = "audit")]
    fn now(&self) -> Here<&Policy> {
        Here { policy: &self.policy, state: self.state, generation: 0 }
    }

    fn both<'a>(&'a self, into: &'a Self) -> Result<[Here<&'a Policy>; 2]> {
        if !Arc::ptr_eq(&self.policy, &into.policy) {
            return Err(Errno::Xdev);
        }
        Ok([self.here()?, into.here()?])
    }

    fn beneath(&self, _here: &Here<&Policy>, _path: Descent<'_>, state: State) -> Result<Self> {
        Ok(Fixed { policy: Arc::clone(&self.policy), state })
    }

    fn file(
        &self,
        _here: &Here<&Policy>,
        _path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<FileRef> {
        Ok(confine_file(inner, &self.policy, state))
    }

    fn has_moved(&self, _here: &Here<&Policy>) -> bool {
        false
    }

    fn check_sync(&self) -> Result<()> {
        Ok(())
    }
}

/// An open file at `state` of `policy`.
pub(crate) fn confine_file(inner: FileRef, policy: &Arc<Policy>, state: State) -> FileRef {
    // Nothing about it needs a guard.
    if policy.rights(state).contains(Rights::OF_FILES) && !policy.hides() {
        return inner;
    }
    let grip = Fixed { policy: Arc::clone(policy), state };
    Arc::new(ConfinedFile { inner, grip })
}

impl<S: Stand> Confine<S> {
    pub(crate) fn view<'a>(&'a self, here: &'a Here<S::Held<'_>>) -> View<'a> {
        View { dir: &self.inner, policy: &here.policy, state: here.state }
    }

    /// Lists from `here` on, and from where it stands by then whenever that has moved.
    pub(crate) fn list<'a>(
        &'a self,
        mut here: Here<S::Held<'a>>,
        mut from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if !S::MOVES {
            return self.view(&here).read_dir(from, each);
        }
        loop {
            let mut ended = true;
            self.view(&here).read_dir(from, &mut |entry| {
                from = entry.next;
                if each(entry).is_break() {
                    return ControlFlow::Break(());
                }
                if self.stand.has_moved(&here) {
                    ended = false;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            // Each further round means that the policy was narrowed, and an entry is told.
            if ended {
                return Ok(());
            }
            here = self.stand.here()?;
        }
    }

    /// Calls `op` with the views of two directories under one policy.
    fn with_both(
        &self,
        into: &dyn Dir,
        op: impl FnOnce(&View<'_>, &View<'_>) -> Result<()>,
    ) -> Result<()> {
        let into: &dyn Any = into;
        let Some(into) = into.downcast_ref::<Confine<S>>() else { return Err(Errno::Xdev) };
        let [here, there] = self.stand.both(&into.stand)?;
        op(&self.view(&here), &into.view(&there))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Stand> Dir for Confine<S> {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let here = self.stand.here()?;
        let (node, state) = self.view(&here).open(path, how)?;
        Ok(match node {
            Node::Dir(inner) => {
                let stand = self.stand.beneath(&here, path, state)?;
                Node::Dir(Arc::new(Confine { inner, stand }))
            }
            Node::File(inner) => Node::File(self.stand.file(&here, path, state, inner)?),
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.view(&self.stand.here()?).stat(path)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.view(&self.stand.here()?).stat_following(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.view(&self.stand.here()?).read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(self.stand.here()?, from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.view(&self.stand.here()?).create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.view(&self.stand.here()?).create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.view(&self.stand.here()?).remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.view(&self.stand.here()?).remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.with_both(into, |from, into| from.rename(name, into, new_name))
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.with_both(into, |from, into| from.link(name, into, new_name))
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.view(&self.stand.here()?).set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.stand.check_sync()?;
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}
