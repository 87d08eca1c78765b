//! The positions of directories and files under a live policy, with the state that each caches.
//!
//! Each handle has a node in the tree of held names (`name_tree.rs`), which follows renames, and
//! caches the state of that node in one generation of the policy. An operation compares the cached
//! generation with the current one, which is one atomic load. Only if the policy was narrowed since
//! does the handle walk the names of its node through the new policy. An open file keeps the rights
//! of its open as a mask besides.
//!
//! Lock order: the locks of `name_tree.rs`, then those of `live_policy.rs`; each handle's `cached`
//! is taken alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use palisade_vfs::{Descent, DirRef, Errno, Name, Result, Rights, bug};
use parking_lot::ReentrantMutexGuard;

use crate::automaton::policy::{Policy, State};
use crate::enforce::confined_dir::ConfinedDir;
use crate::enforce::live_policy::{
    Current, GENERATION, LEASED, Live, LiveShared, MASKS_COUNTS, read,
};
use crate::enforce::name_tree::{NodeId, PendingRename};
use crate::enforce::position::{PolicySnapshot, Position, check_opened};

/// Confines `dir` to the live policy `live`, where `guest_path` is the path of `dir` in the guest.
/// The root is the empty path.
///
/// As [`confine_at`](crate::confine_at), but each operation, also of a file that is already open,
/// is checked against the policy that is current when the operation begins. Rename and link between
/// directories that are not under the same `live` fail with `EXDEV`. Opening a path of more than
/// 65,536 names in several steps fails with `ENAMETOOLONG`.
#[must_use]
pub fn confine_live(dir: DirRef, live: &Live, guest_path: &str) -> DirRef {
    let position = Position::Live(Box::new(LivePosition::root(live, guest_path)));
    Arc::new(ConfinedDir { inner: dir, position })
}

/// A reference-counted node of the tree of held names.
struct HeldNode {
    live: Arc<LiveShared>,
    /// `None` for a `guest_path` that is not a valid path.
    node: Option<NodeId>,
}

impl HeldNode {
    fn descend(&self, path: Descent<'_>) -> Result<HeldNode> {
        let descend = |from| self.live.names.descend(from, path);
        let node = self.node.map(descend).transpose()?;
        Ok(HeldNode { live: Arc::clone(&self.live), node })
    }

    /// Returns the state of the node in `policy`, or `None` while another thread renames it.
    fn state(&self, policy: &Policy) -> Option<State> {
        let Some(node) = self.node else { return Some(State::NOWHERE) };
        self.live.names.state(node, policy)
    }
}

impl Drop for HeldNode {
    fn drop(&mut self) {
        if let Some(node) = self.node {
            self.live.names.release(node);
        }
    }
}

/// The position of a directory under a live policy.
pub(crate) struct LivePosition {
    held: HeldNode,
    cached: RwLock<CachedState>,
}

/// The state of a node in one generation of the policy.
struct CachedState {
    policy: Arc<Policy>,
    state: State,
    generation: u64,
}

impl LivePosition {
    /// Returns the position of `guest_path`.
    pub(crate) fn root(live: &Live, guest_path: &str) -> LivePosition {
        let Current { policy, generation, .. } = live.0.current();
        let node = live.0.names.node_at(guest_path);
        let held = HeldNode { live: Arc::clone(&live.0), node };
        let state = policy.at(guest_path);
        LivePosition { held, cached: RwLock::new(CachedState { policy, state, generation }) }
    }

    /// Returns the cached state if it is of generation `stamp`. A stamp with the lease flag never
    /// matches.
    fn cached_at(&self, stamp: u64) -> Option<PolicySnapshot<'static>> {
        let cached = read(&self.cached);
        (cached.generation == stamp).then(|| {
            PolicySnapshot::live(Arc::clone(&cached.policy), cached.state, cached.generation)
        })
    }

    /// Returns the state in the `current` policy, and caches it.
    fn snapshot_of(&self, current: Current) -> PolicySnapshot<'static> {
        if let Some(snapshot) = self.cached_at(current.generation) {
            return snapshot;
        }
        let Current { policy, generation, .. } = current;
        let Some(state) = self.held.state(&policy) else {
            return PolicySnapshot::live(policy, State::NOWHERE, generation);
        };
        let snapshot = PolicySnapshot::live(Arc::clone(&policy), state, generation);
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        *cached = CachedState { policy, state, generation };
        snapshot
    }

    pub(crate) fn begin(&self) -> PolicySnapshot<'static> {
        let live = &self.held.live;
        match self.cached_at(live.stamp.load(Ordering::Acquire)) {
            Some(snapshot) => snapshot,
            None => self.snapshot_of(live.begin_operation()),
        }
    }

    pub(crate) fn begin_pair(&self, into: &Self) -> Result<[PolicySnapshot<'static>; 2]> {
        if !Arc::ptr_eq(&self.held.live, &into.held.live) {
            return Err(Errno::Xdev);
        }
        let current = self.held.live.begin_operation();
        Ok([self.snapshot_of(current.clone()), into.snapshot_of(current)])
    }

    #[cfg(feature = "audit")]
    pub(crate) fn peek(&self) -> PolicySnapshot<'static> {
        self.snapshot_of(self.held.live.current())
    }

    /// Returns the position of the node at `path`, which has `state` in `snapshot`.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: more than 65,536 names.
    pub(crate) fn descend(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
    ) -> Result<Self> {
        let held = self.held.descend(path)?;
        let Some(policy) = snapshot.counted_policy() else {
            return bug!(Err(Errno::Io); "a live position got a snapshot of a fixed policy");
        };
        let generation = snapshot.generation;
        let cached = RwLock::new(CachedState { policy, state, generation });
        Ok(LivePosition { held, cached })
    }

    /// As [`LivePosition::descend`], of a file.
    pub(crate) fn descend_to_file(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
    ) -> Result<LiveFilePosition> {
        let opened = snapshot.policy().rights(state);
        let cached = pack_file_rights(snapshot.policy(), opened, snapshot.generation);
        let held = self.held.descend(path)?;
        Ok(LiveFilePosition { held, opened, cached: AtomicU64::new(cached) })
    }

    pub(crate) fn is_stale(&self, snapshot: &PolicySnapshot<'_>) -> bool {
        self.held.live.stamp.load(Ordering::Acquire) & !LEASED != snapshot.generation
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.held.live.epoch()
    }

    pub(crate) fn node(&self) -> Option<NodeId> {
        self.held.node
    }

    pub(crate) fn begin_rename(&self, name: Name<'_>) -> Option<PendingRename<'_>> {
        Some(self.held.live.names.begin_rename(self.held.node?, name))
    }

    pub(crate) fn block_renames(&self) -> ReentrantMutexGuard<'_, ()> {
        self.held.live.names.block_renames()
    }

    pub(crate) fn removed(&self, name: Name<'_>) {
        if let Some(node) = self.held.node {
            self.held.live.names.remove(node, name);
        }
    }

    pub(crate) fn check_sync(&self) -> Result<()> {
        let snapshot = self.begin();
        snapshot.policy().require(snapshot.state, Rights::LOOKUP)
    }
}

/// The position of an open file under a live policy.
pub(crate) struct LiveFilePosition {
    held: HeldNode,
    /// The rights that the policy granted when the file was opened.
    opened: Rights,
    /// A generation, the granted rights in it, and [`MASKS_COUNTS`].
    cached: AtomicU64,
}

fn pack_file_rights(policy: &Policy, rights: Rights, generation: u64) -> u64 {
    let masks_counts = if policy.hides() { MASKS_COUNTS } else { 0 };
    generation | u64::from(rights.bits()) | masks_counts
}

fn unpack_rights(cached: u64) -> Rights {
    let bits = cached & (MASKS_COUNTS - 1);
    Rights::from_bits_truncate(u32::try_from(bits).unwrap_or(0))
}

impl LiveFilePosition {
    /// Returns the packed rights in the current policy.
    fn current_rights(&self) -> u64 {
        let live = &self.held.live;
        let cached = self.cached.load(Ordering::Relaxed);
        if cached & !(GENERATION - 1) == live.stamp.load(Ordering::Acquire) {
            return cached;
        }
        let current = live.begin_operation();
        if cached & !(GENERATION - 1) == current.generation {
            return cached;
        }
        let Some(state) = self.held.state(&current.policy) else {
            return pack_file_rights(&current.policy, Rights::empty(), current.generation);
        };
        let rights = current.policy.rights(state) & unpack_rights(cached);
        let updated = pack_file_rights(&current.policy, rights, current.generation);
        // A slower thread may store an older generation over a newer one; the next operation then
        // finds that it is stale.
        self.cached.store(updated, Ordering::Relaxed);
        updated
    }

    #[cold]
    fn denial(&self, wanted: Rights) -> Errno {
        let policy = self.held.live.current().policy;
        let state = self.held.state(&policy).unwrap_or(State::NOWHERE);
        policy.require(state, wanted).err().unwrap_or(Errno::Acces)
    }

    #[inline]
    pub(crate) fn require(&self, wanted: Rights, unopened: Errno) -> Result<()> {
        if unpack_rights(self.current_rights()).contains(wanted) {
            return Ok(());
        }
        check_opened(wanted - self.opened, unopened)?;
        Err(self.denial(wanted))
    }

    pub(crate) fn masks_counts(&self) -> bool {
        self.cached.load(Ordering::Relaxed) & MASKS_COUNTS != 0
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.held.live.epoch()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if unpack_rights(self.current_rights()).contains(Rights::LOOKUP) {
            return Ok(());
        }
        Err(self.denial(Rights::LOOKUP))
    }
}
