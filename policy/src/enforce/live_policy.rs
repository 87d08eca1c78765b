//! A policy that can be narrowed or revoked while a guest runs.
//!
//! The policy is only ever replaced by its intersection with another, or by the empty policy. Each
//! replacement has a generation number. Handles cache the state of one generation
//! (`live_position.rs`) and compare it with the current stamp at each operation.
//!
//! Narrowing applies to every operation that begins afterwards, through any handle: files of a live
//! confinement are always wrapped. An operation in progress completes, but a listing checks the
//! stamp at each entry.
//!
//! Lock order, after the locks of `name_tree.rs`:
//!
//! ```text
//! narrowing        held while the narrower policy is compiled; no guest operation takes it
//!   lease          held for one check
//!     current      held for one load or store
//! ```
//!
//! Deliberately absent: any way to widen the policy again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use palisade_vfs::Rights;

use crate::automaton::builder::PolicyError;
use crate::automaton::policy::{Policy, Refusal};
use crate::enforce::name_tree::NameTree;

/// A policy that can be narrowed while guests run under it. Clones share one policy.
#[derive(Clone)]
pub struct Live(pub(crate) Arc<LiveShared>);

/// Limits after which a live policy revokes itself. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The time from which nothing is granted.
    pub until: Option<Instant>,
    /// The number of further operations: calls of [`Dir`](palisade_vfs::Dir) and
    /// [`File`](palisade_vfs::File), including those of a path walk.
    pub uses: Option<u64>,
}

impl Live {
    /// Returns a live policy that starts as `policy`.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Live(Arc::new(LiveShared {
            stamp: AtomicU64::new(0),
            current: RwLock::new(Current { policy, generation: 0, is_revoked: false }),
            narrowing: Mutex::new(()),
            lease: Mutex::new(Lease::default()),
            names: NameTree::new(),
        }))
    }

    /// Returns the current policy.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.0.current().policy
    }

    /// Intersects the policy with `other`. Open handles are checked against the result from their
    /// next operation on. A revocation that happens meanwhile takes precedence.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::attenuate`]. The policy is then unchanged; [`Live::revoke`] never fails.
    pub fn narrow(&self, other: &Policy) -> Result<(), PolicyError> {
        let _one_at_a_time = locked(&self.0.narrowing);
        let before = self.0.current();
        let narrower = before.policy.attenuate(other)?;
        self.0.replace_generation(before.generation, Arc::new(narrower));
        Ok(())
    }

    /// Replaces the policy by one that grants nothing.
    pub fn revoke(&self) {
        self.0.revoke();
    }

    /// Whether the policy was revoked. A lease that has ended revokes the policy at the next
    /// operation or [`Dir::epoch`](palisade_vfs::Dir::epoch) call.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.0.current().is_revoked
    }

    /// Adds a lease. Of two leases the tighter limits apply; a lease cannot be extended.
    pub fn lease(&self, lease: Lease) {
        let mut current = locked(&self.0.lease);
        current.until = tighter(current.until, lease.until);
        current.uses = tighter(current.uses, lease.uses);
        if *current != Lease::default() {
            self.0.stamp.fetch_or(LEASED, Ordering::AcqRel);
        }
    }
}

fn has_ended(lease: &Lease) -> bool {
    lease.uses == Some(0) || lease.until.is_some_and(|until| Instant::now() >= until)
}

/// The lower of two limits.
fn tighter<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

/// The step between generations. The bits under it hold what an open file caches: its rights, and
/// [`MASKS_COUNTS`].
pub(crate) const GENERATION: u64 = 1 << 24;
/// A flag of the stamp: there is a lease, so no cached state may be used without counting the
/// operation.
pub(crate) const LEASED: u64 = GENERATION >> 1;
/// A flag that an open file caches: the policy hides names, so counts are masked.
pub(crate) const MASKS_COUNTS: u64 = GENERATION >> 2;
const _: () = assert!((Rights::all().bits() as u64) < MASKS_COUNTS);

/// The state that all handles of one live policy share.
pub(crate) struct LiveShared {
    /// The current generation, and [`LEASED`].
    pub(crate) stamp: AtomicU64,
    current: RwLock<Current>,
    /// Serializes [`Live::narrow`].
    narrowing: Mutex<()>,
    lease: Mutex<Lease>,
    pub(crate) names: NameTree,
}

/// The current policy.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) policy: Arc<Policy>,
    /// A multiple of [`GENERATION`].
    pub(crate) generation: u64,
    is_revoked: bool,
}

impl LiveShared {
    pub(crate) fn current(&self) -> Current {
        read(&self.current).clone()
    }

    /// Counts an operation against the lease and returns the policy for it.
    #[cold]
    pub(crate) fn begin_operation(&self) -> Current {
        if self.stamp.load(Ordering::Acquire) & LEASED != 0 && self.is_used_up() {
            self.revoke();
        }
        self.current()
    }

    /// Returns the current generation. Revokes the policy if its lease has ended.
    pub(crate) fn epoch(&self) -> u64 {
        let stamp = self.stamp.load(Ordering::Acquire);
        if stamp & LEASED != 0 && has_ended(&locked(&self.lease)) {
            self.revoke();
            return self.stamp.load(Ordering::Acquire) & !LEASED;
        }
        stamp & !LEASED
    }

    /// Takes one use from the lease. Returns whether there was none left.
    fn is_used_up(&self) -> bool {
        let mut lease = locked(&self.lease);
        if has_ended(&lease) {
            return true;
        }
        if let Some(left) = &mut lease.uses {
            *left -= 1;
        }
        false
    }

    /// Replaces the policy of `generation` by `policy`, unless it was already replaced.
    fn replace_generation(&self, generation: u64, policy: Arc<Policy>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.generation == generation {
            let generation = generation + GENERATION;
            self.publish(&mut current, Current { policy, generation, is_revoked: false });
        }
    }

    fn revoke(&self) {
        let empty = Arc::new(Policy::uniform(Rights::empty(), Refusal::Denied));
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !current.is_revoked {
            let generation = current.generation + GENERATION;
            self.publish(&mut current, Current { policy: empty, generation, is_revoked: true });
        }
    }

    /// Stores the policy, then the stamp: a thread that loads the new stamp reads the new policy,
    /// or waits for the lock.
    fn publish(&self, current: &mut Current, next: Current) {
        *current = next;
        self.stamp.fetch_add(GENERATION, Ordering::AcqRel);
    }
}

// The data under these locks is consistent even if a thread panicked while it held one.

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
