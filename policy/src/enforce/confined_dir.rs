//! Confinement as a layer: a directory that holds a directory and a place in a policy.
//!
//! What is done to it is judged by a [`View`] of the two. This file alone decides what a handle
//! carries: a fixed policy and a state of it ([`Fixed`]), or a place in a policy that may be
//! narrowed while the handle is open (`live_position.rs`). The first pays nothing for the
//! second: both are compiled apart.
//!
//! A handle of a fixed policy carries its state and nothing else: a directory is only renamed
//! between states that are equivalent (`Policy::movable`). A handle of a live policy has a position
//! besides, which renames move, because the policy may later tell apart what is equivalent now.
//!
//! Lock order: no lock for a fixed policy; for a live one that of `live_position.rs`.

use std::any::Any;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, Name, Node, OpenHow, Result, Rights,
    SetTimes, Stat, Stop,
};

use crate::automaton::policy::{Policy, State};
use crate::enforce::checked_dir::View;
use crate::enforce::confined_file::ConfinedFile;
use crate::enforce::name_tree::{Position, Renaming};

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

    /// What a file keeps of its place, beside the place of the directory it was opened through.
    #[cfg(feature = "audit")]
    type Beneath: Send + Sync + 'static;

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

    /// What a file that `path` leads to from `here`, at `state`, keeps of its place.
    #[cfg(feature = "audit")]
    fn place_of_file(
        &self,
        here: &Here<Self::Held<'_>>,
        path: Descent<'_>,
        state: State,
    ) -> Result<Self::Beneath>;

    /// As [`Stand::now`], of a file.
    #[cfg(feature = "audit")]
    fn now_of_file<'a>(&'a self, file: &'a Self::Beneath) -> Here<Self::Held<'a>>;

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

    /// Differs once the policy was narrowed or revoked, or a lease has ended.
    fn epoch(&self) -> u64;

    /// Announces a rename of `name`, before it is judged; `None` where nothing has a position.
    fn begin_rename(&self, name: Name<'_>) -> Option<Renaming<'_>>;

    /// The position of the directory, if it has one.
    fn position(&self) -> Option<Position>;

    /// Does `op` while no rename is under way.
    fn while_nothing_is_renamed<T>(&self, op: impl FnOnce() -> T) -> T;

    /// `name` was removed.
    fn removed(&self, name: Name<'_>);

    /// Lists `dir` from `here` on, and from where it stands by then whenever that has moved.
    fn list<'a>(
        &'a self,
        dir: &DirRef,
        mut here: Here<Self::Held<'a>>,
        mut from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if !Self::MOVES {
            return here.view(dir).read_dir(from, each);
        }
        loop {
            let mut ended = true;
            here.view(dir).read_dir(from, &mut |entry| {
                from = entry.next;
                if each(entry).is_break() {
                    return ControlFlow::Break(());
                }
                if self.has_moved(&here) {
                    ended = false;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            // Each further round means that the policy was narrowed, and an entry is told.
            if ended {
                return Ok(());
            }
            here = self.here()?;
        }
    }
}

/// A place in a policy.
pub(crate) struct Here<P> {
    pub(crate) policy: P,
    pub(crate) state: State,
    /// Which of the policies of a live confinement it is; 0 for a fixed one.
    pub(crate) generation: u64,
}

impl<P: Deref<Target = Policy>> Here<P> {
    /// `dir`, seen from here.
    #[inline]
    pub(crate) fn view<'a>(&'a self, dir: &'a DirRef) -> View<'a> {
        View { dir, policy: &self.policy, state: self.state }
    }
}

/// A state of a policy that does not change.
pub(crate) struct Fixed {
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: State,
}

impl Stand for Fixed {
    type Held<'a> = &'a Policy;

    #[cfg(feature = "audit")]
    type Beneath = State;

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

    #[cfg(feature = "audit")]
    fn place_of_file(
        &self,
        _here: &Here<&Policy>,
        _path: Descent<'_>,
        state: State,
    ) -> Result<State> {
        Ok(state)
    }

    #[cfg(feature = "audit")]
    fn now_of_file<'a>(&'a self, file: &'a State) -> Here<&'a Policy> {
        Here { policy: &self.policy, state: *file, generation: 0 }
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

    fn epoch(&self) -> u64 {
        0
    }

    fn begin_rename(&self, _name: Name<'_>) -> Option<Renaming<'_>> {
        None
    }

    fn position(&self) -> Option<Position> {
        None
    }

    fn while_nothing_is_renamed<T>(&self, op: impl FnOnce() -> T) -> T {
        op()
    }

    fn removed(&self, _name: Name<'_>) {}
}

/// Ends a rename that was done: the positions at and beneath the old name follow, unless it did
/// nothing because both names lead to one node already.
pub(crate) fn end_rename<S: Stand>(
    renaming: Option<Renaming<'_>>,
    into: &S,
    new_name: Name<'_>,
    is_same: impl FnOnce() -> bool,
) {
    if let Some(renaming) = renaming
        && let Some(position) = into.position()
        && !is_same()
    {
        renaming.moved(position, new_name);
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
    fn view<'a>(&'a self, here: &'a Here<S::Held<'_>>) -> View<'a> {
        here.view(&self.inner)
    }

    /// The other directory of an operation on two, if it is confined alike.
    fn other(into: &dyn Dir) -> Result<&Confine<S>> {
        let into: &dyn Any = into;
        into.downcast_ref::<Confine<S>>().ok_or(Errno::Xdev)
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
        self.stand.list(&self.inner, self.stand.here()?, from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.stand.while_nothing_is_renamed(|| self.view(&self.stand.here()?).create_dir(name))
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.view(&self.stand.here()?).create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.view(&self.stand.here()?).remove_file(name)?;
        self.stand.removed(name);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.view(&self.stand.here()?).remove_dir(name)?;
        self.stand.removed(name);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Self::other(into)?;
        let renaming = self.stand.begin_rename(name);
        let [here, there] = self.stand.both(&into.stand)?;
        let (from, to) = (self.view(&here), into.view(&there));
        from.rename(name, &to, new_name)?;
        end_rename(renaming, &into.stand, new_name, || from.is_same(name, &to, new_name));
        Ok(())
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = Self::other(into)?;
        let [here, there] = self.stand.both(&into.stand)?;
        self.view(&here).link(name, &into.view(&there), new_name)
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

    fn epoch(&self) -> u64 {
        self.stand.epoch().wrapping_add(self.inner.epoch())
    }
}
