//! The position of a handle in a policy: a state of a fixed policy, or a node under a live one.
//!
//! A handle of a fixed policy keeps its automaton state only: a directory may only be renamed
//! between equivalent states (`Policy::movable`). A handle of a live policy also has a node in the
//! tree of held names, which renames move, because the policy may be narrowed later and then
//! distinguish states that are equivalent now.
//!
//! Lock order: none for a fixed policy; for a live one that of `live_position.rs`.

use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use palisade_vfs::{Cookie, Descent, DirRef, Entry, Errno, FileRef, Name, Result, Rights, Stat};

use crate::automaton::policy::{Policy, State};
use crate::enforce::checked_dir::{CheckedDir, mask_stat, mask_stat_under};
use crate::enforce::confined_file::ConfinedFile;
use crate::enforce::live_position::{LiveFilePosition, LivePosition};
use crate::enforce::name_tree::PendingRename;
use crate::enforce::verdict::Recorder;
use crate::rules::operation::Operation;

/// The position of a directory handle.
pub(crate) enum Position {
    Fixed(FixedPosition),
    /// Boxed, so that handles of a fixed policy stay small.
    Live(Box<LivePosition>),
}

/// The position of a file handle.
pub(crate) enum FilePosition {
    Fixed(FixedPosition),
    /// Boxed, so that handles of a fixed policy stay small.
    Live(Box<LiveFilePosition>),
}

/// A state of a policy that does not change.
pub(crate) struct FixedPosition {
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: State,
}

/// The policy and the state by which one operation is checked.
pub(crate) struct PolicySnapshot<'a> {
    policy: PolicyRef<'a>,
    pub(crate) state: State,
    /// The generation of a live policy; 0 for a fixed one.
    pub(crate) generation: u64,
}

/// A policy for the duration of one operation: a live one may be replaced meanwhile.
enum PolicyRef<'a> {
    Borrowed(&'a Policy),
    Counted(Arc<Policy>),
}

impl Deref for PolicyRef<'_> {
    type Target = Policy;

    #[inline]
    fn deref(&self) -> &Policy {
        match self {
            PolicyRef::Borrowed(policy) => policy,
            PolicyRef::Counted(policy) => policy,
        }
    }
}

impl<'a> PolicySnapshot<'a> {
    #[inline]
    pub(crate) fn fixed(policy: &'a Policy, state: State) -> Self {
        PolicySnapshot { policy: PolicyRef::Borrowed(policy), state, generation: 0 }
    }

    #[inline]
    pub(crate) fn live(policy: Arc<Policy>, state: State, generation: u64) -> Self {
        PolicySnapshot { policy: PolicyRef::Counted(policy), state, generation }
    }

    #[inline]
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The reference-counted policy of a live position.
    pub(crate) fn counted_policy(&self) -> Option<Arc<Policy>> {
        match &self.policy {
            PolicyRef::Borrowed(_) => None,
            PolicyRef::Counted(policy) => Some(Arc::clone(policy)),
        }
    }

    /// Returns `dir` checked under this policy, at this state.
    #[inline]
    pub(crate) fn check<'d>(&'d self, dir: &'d DirRef) -> CheckedDir<'d> {
        CheckedDir { dir, policy: &self.policy, state: self.state }
    }
}

impl FixedPosition {
    #[inline]
    fn clone_at(&self, state: State) -> Self {
        FixedPosition { policy: Arc::clone(&self.policy), state }
    }
}

impl Position {
    /// Returns the policy and state for an operation that begins now. Uses up a lease.
    #[inline]
    pub(crate) fn begin(&self) -> PolicySnapshot<'_> {
        match self {
            Position::Fixed(fixed) => PolicySnapshot::fixed(&fixed.policy, fixed.state),
            Position::Live(live) => live.begin(),
        }
    }

    /// Returns the policies and states of two directories for one operation.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: the directories are not under the same policy.
    pub(crate) fn begin_pair<'a>(&'a self, into: &'a Self) -> Result<[PolicySnapshot<'a>; 2]> {
        match (self, into) {
            (Position::Fixed(from), Position::Fixed(to)) => {
                if !Arc::ptr_eq(&from.policy, &to.policy) {
                    return Err(Errno::Xdev);
                }
                Ok([self.begin(), into.begin()])
            }
            (Position::Live(from), Position::Live(to)) => from.begin_pair(to),
            (Position::Fixed(_), Position::Live(_)) | (Position::Live(_), Position::Fixed(_)) => {
                Err(Errno::Xdev)
            }
        }
    }

    /// Returns the position of the node at `path`, which has `state`.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: a live position would have more than 65,536 names.
    #[inline]
    pub(crate) fn descend(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
    ) -> Result<Self> {
        Ok(match self {
            Position::Fixed(fixed) => Position::Fixed(fixed.clone_at(state)),
            Position::Live(live) => Position::Live(Box::new(live.descend(snapshot, path, state)?)),
        })
    }

    /// Returns `file`, opened at `path` and `state`, as a file whose operations are checked.
    ///
    /// # Errors
    ///
    /// As [`Position::descend`].
    #[inline]
    pub(crate) fn confine_file(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<FileRef> {
        let position = match self {
            Position::Fixed(fixed) => {
                let policy = &fixed.policy;
                // All operations are granted and nothing is masked: no check is needed.
                if policy.rights(state).contains(Rights::OF_FILES) && !policy.hides() {
                    return Ok(inner);
                }
                FilePosition::Fixed(fixed.clone_at(state))
            }
            Position::Live(live) => {
                FilePosition::Live(Box::new(live.descend_to_file(snapshot, path, state)?))
            }
        };
        Ok(Arc::new(ConfinedFile { inner, position }))
    }

    /// Whether the policy was narrowed since `snapshot`.
    fn is_stale(&self, snapshot: &PolicySnapshot<'_>) -> bool {
        match self {
            Position::Fixed(_) => false,
            Position::Live(live) => live.is_stale(snapshot),
        }
    }

    /// Lists `dir`, which is at this position, and returns the last snapshot that was used. A
    /// listing that is in progress when the policy is narrowed continues under the narrower policy.
    pub(crate) fn list<'a>(
        &'a self,
        dir: &DirRef,
        mut snapshot: PolicySnapshot<'a>,
        mut from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
        recorder: &mut impl Recorder,
    ) -> (Result<()>, PolicySnapshot<'a>) {
        if let Position::Fixed(_) = self {
            return (snapshot.check(dir).read_dir(from, each, recorder), snapshot);
        }
        loop {
            let mut is_done = true;
            let result = snapshot.check(dir).read_dir(
                from,
                &mut |entry| {
                    from = entry.next;
                    if each(entry).is_break() {
                        return ControlFlow::Break(());
                    }
                    if self.is_stale(&snapshot) {
                        is_done = false;
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                },
                recorder,
            );
            // Bounded: each further round follows a narrowing and passes at least one entry.
            if is_done || result.is_err() {
                return (result, snapshot);
            }
            snapshot = self.begin();
        }
    }

    /// The check of `fsync` on a directory, which needs no right of its own.
    ///
    /// # Errors
    ///
    /// - `EACCES`: a live policy no longer grants `LOOKUP`.
    pub(crate) fn check_sync(&self) -> Result<()> {
        match self {
            Position::Fixed(_) => Ok(()),
            Position::Live(live) => live.check_sync(),
        }
    }

    /// A number that changes when a live policy is narrowed or revoked, or a lease ends.
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            Position::Fixed(_) => 0,
            Position::Live(live) => live.epoch(),
        }
    }

    /// Marks the node `name` as being renamed, before the rename is checked. `None` for a fixed
    /// policy.
    pub(crate) fn begin_rename(&self, name: Name<'_>) -> Option<PendingRename<'_>> {
        match self {
            Position::Fixed(_) => None,
            Position::Live(live) => live.begin_rename(name),
        }
    }

    /// Completes a successful rename: the nodes at and under the old name move to `new_name` in
    /// `into`, unless both names already led to one node.
    pub(crate) fn complete_rename(
        rename: Option<PendingRename<'_>>,
        into: &Position,
        new_name: Name<'_>,
        is_same: impl FnOnce() -> bool,
    ) {
        if let Some(rename) = rename
            && let Position::Live(into) = into
            && let Some(node) = into.node()
            && !is_same()
        {
            rename.complete(node, new_name);
        }
    }

    /// Calls `operation` while no rename under the same live policy is in progress.
    pub(crate) fn with_renames_blocked<T>(&self, operation: impl FnOnce() -> T) -> T {
        match self {
            Position::Fixed(_) => operation(),
            Position::Live(live) => {
                let _blocked = live.block_renames();
                operation()
            }
        }
    }

    /// Detaches the node `name` after its removal.
    pub(crate) fn removed(&self, name: Name<'_>) {
        match self {
            Position::Fixed(_) => {}
            Position::Live(live) => live.removed(name),
        }
    }
}

impl FilePosition {
    /// Checks `operation`.
    ///
    /// # Errors
    ///
    /// - `unopened`: a right to the content is missing, so the handle was not opened for it.
    /// - `EACCES`, `EROFS`: the denial.
    #[inline]
    pub(crate) fn require(&self, operation: Operation, unopened: Errno) -> Result<()> {
        let wanted = operation.needs();
        match self {
            FilePosition::Fixed(FixedPosition { policy, state }) => {
                let missing = wanted - policy.rights(*state);
                if missing.is_empty() {
                    return Ok(());
                }
                check_opened(missing, unopened)?;
                policy.require(*state, wanted)
            }
            FilePosition::Live(live) => live.require(wanted, unopened),
        }
    }

    /// Checks an operation that needs no right of its own, which a revoked policy denies.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            FilePosition::Fixed(_) => Ok(()),
            FilePosition::Live(live) => live.check(),
        }
    }

    /// Masks the counts of `stat` if the policy hides anything.
    #[inline]
    pub(crate) fn mask_stat(&self, stat: Stat) -> Stat {
        match self {
            FilePosition::Fixed(fixed) => mask_stat_under(&fixed.policy, stat),
            FilePosition::Live(live) if live.masks_counts() => mask_stat(stat),
            FilePosition::Live(_) => stat,
        }
    }

    /// As [`Position::epoch`].
    pub(crate) fn epoch(&self) -> u64 {
        match self {
            FilePosition::Fixed(_) => 0,
            FilePosition::Live(live) => live.epoch(),
        }
    }
}

/// `unopened` if a right to read or write is missing: the handle cannot have been opened for that,
/// and the inner file would return the same errno.
pub(crate) fn check_opened(missing: Rights, unopened: Errno) -> Result<()> {
    if missing.intersects(Rights::READ | Rights::WRITE) { Err(unopened) } else { Ok(()) }
}
