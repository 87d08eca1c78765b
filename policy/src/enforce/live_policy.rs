//! A policy that is narrowed while a guest runs, down to nothing, and never widened.
//!
//! Each handle of a live confinement has a position in the guest's world, which follows renames
//! (`name_tree.rs`), and knows one of the policies: a generation. An operation compares that with
//! the generation of the policy as it is, which is one atomic load, and only if the policy was
//! narrowed since, the handle walks the names of its position through the new one. A policy is only
//! ever followed by its intersection with another, so what a handle finds there is at most what it
//! had; an open file keeps its rights as a mask besides.
//!
//! What is narrowed holds for every operation that begins afterwards, through whatever handle: no
//! file of a live confinement is handed out bare. An operation that has begun is finished, but a
//! listing asks again at each entry.
//!
//! Lock order: the locks of `name_tree.rs`, then `narrowing > lease > now`, and each handle's
//! `seen` by itself. The locks are held for a look or a store, but for `narrowing`, which no
//! guest ever waits for. Deliberately absent: any way back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use palisade_vfs::Rights;

use crate::automaton::builder::PolicyError;
use crate::automaton::policy::{Policy, Refusal};
use crate::enforce::name_tree::Positions;

/// A policy that can be narrowed while guests run under it. Clones are the same one.
#[derive(Clone)]
pub struct Live(pub(crate) Arc<Shared>);

/// When a grant ends by itself. What is `None` does not end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// From then on nothing is granted.
    pub until: Option<Instant>,
    /// So many operations are granted yet: calls of [`Dir`](palisade_vfs::Dir) and
    /// [`File`](palisade_vfs::File), those that a walk through a path makes included.
    pub uses: Option<u64>,
}

impl Live {
    /// Begins with `policy`.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Live(Arc::new(Shared {
            stamp: AtomicU64::new(0),
            now: RwLock::new(Now { policy, generation: 0, is_revoked: false }),
            narrowing: Mutex::new(()),
            lease: Mutex::new(Lease::default()),
            positions: Positions::new(),
        }))
    }

    /// The policy as it is.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.0.now().policy
    }

    /// From now on only what `asked` grants too. What is open obeys it at its next operation.
    ///
    /// Errors: those of [`Policy::attenuate`]; then all is as it was, and [`Live::revoke`] is what
    /// never fails.
    pub fn narrow(&self, asked: &Policy) -> Result<(), PolicyError> {
        let _one_at_a_time = locked(&self.0.narrowing);
        let before = self.0.now();
        let narrower = before.policy.attenuate(asked)?;
        // It may have been revoked meanwhile, and that stands.
        self.0.follow(before.generation, Arc::new(narrower));
        Ok(())
    }

    /// From now on nothing.
    pub fn revoke(&self) {
        self.0.revoke();
    }

    /// Whether nothing is granted any more: because it was revoked, or the lease ended and somebody
    /// asked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.0.now().is_revoked
    }

    /// Lets the grant end by itself. Of two leases whatever ends earlier counts: none is longer
    /// than the one before.
    pub fn lease(&self, lease: Lease) {
        let mut held = locked(&self.0.lease);
        held.until = earlier(held.until, lease.until);
        held.uses = earlier(held.uses, lease.uses);
        if *held != Lease::default() {
            self.0.stamp.fetch_or(LEASED, Ordering::AcqRel);
        }
    }
}

fn has_ended(lease: &Lease) -> bool {
    lease.uses == Some(0) || lease.until.is_some_and(|until| Instant::now() >= until)
}

fn earlier<T: Ord>(one: Option<T>, two: Option<T>) -> Option<T> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

/// Below a generation there is room for what an open file knows: its rights, and two marks.
pub(crate) const GENERATION: u64 = 1 << 24;
/// In the stamp: there is a lease, so that no handle takes what it knows for granted.
pub(crate) const LEASED: u64 = GENERATION >> 1;
/// In what a file knows: what counts names is not to be told.
pub(crate) const VEILED: u64 = GENERATION >> 2;
const _: () = assert!((Rights::all().bits() as u64) < VEILED);

/// What all handles of one live confinement share.
pub(crate) struct Shared {
    /// The generation of the policy as it is, and [`LEASED`].
    pub(crate) stamp: AtomicU64,
    now: RwLock<Now>,
    /// Taken by who narrows.
    narrowing: Mutex<()>,
    lease: Mutex<Lease>,
    pub(crate) positions: Positions,
}

#[derive(Clone)]
pub(crate) struct Now {
    pub(crate) policy: Arc<Policy>,
    /// A multiple of [`GENERATION`].
    pub(crate) generation: u64,
    /// Whether nothing is granted any more.
    is_revoked: bool,
}

impl Shared {
    pub(crate) fn now(&self) -> Now {
        read(&self.now).clone()
    }

    /// The policy for an operation that begins now, of which the lease is told.
    #[cold]
    pub(crate) fn enter(&self) -> Now {
        if self.stamp.load(Ordering::Acquire) & LEASED != 0 && self.use_up() {
            self.revoke();
        }
        self.now()
    }

    /// The generation of the policy as it is, of a lease that has ended too.
    pub(crate) fn epoch(&self) -> u64 {
        let stamp = self.stamp.load(Ordering::Acquire);
        if stamp & LEASED != 0 && has_ended(&locked(&self.lease)) {
            self.revoke();
            return self.stamp.load(Ordering::Acquire) & !LEASED;
        }
        stamp & !LEASED
    }

    /// Takes one operation off the lease. Answers whether there was none left.
    fn use_up(&self) -> bool {
        let mut lease = locked(&self.lease);
        if has_ended(&lease) {
            return true;
        }
        if let Some(left) = &mut lease.uses {
            *left -= 1;
        }
        false
    }

    /// Makes `policy` the one that follows that of `generation`; not if another already did.
    fn follow(&self, generation: u64, policy: Arc<Policy>) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.generation == generation {
            let generation = generation + GENERATION;
            self.replace(&mut now, Now { policy, generation, is_revoked: false });
        }
    }

    fn revoke(&self) {
        let nothing = Arc::new(Policy::uniform(Rights::empty(), Refusal::Denied));
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if !now.is_revoked {
            let generation = now.generation + GENERATION;
            self.replace(&mut now, Now { policy: nothing, generation, is_revoked: true });
        }
    }

    /// Who sees the new stamp finds the new policy, or waits for it.
    fn replace(&self, now: &mut Now, next: Now) {
        *now = next;
        self.stamp.fetch_add(GENERATION, Ordering::AcqRel);
    }
}

// What the locks guard is whole at any time, whatever happened to who held one.

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
