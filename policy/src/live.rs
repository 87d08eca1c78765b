//! A policy that is narrowed while a guest runs, down to nothing, and never widened.
//!
//! Each handle of a live confinement has a position in the guest's world, which follows renames
//! (`position.rs`), and knows one of the policies: a generation. An operation compares that with
//! the generation of the policy as it is, which is one atomic load, and only if the policy was
//! narrowed since, the handle walks the names of its position through the new one. A policy is only
//! ever followed by its intersection with another, so what a handle finds there is at most what it
//! had; an open file keeps its rights as a mask besides.
//!
//! What is narrowed holds for every operation that begins afterwards, through whatever handle: no
//! file of a live confinement is handed out bare. An operation that has begun is finished, but a
//! listing asks again at each entry.
//!
//! Lock order: the locks of `position.rs`, then `narrowing > lease > now`, and each handle's `seen`
//! by itself. The locks are held for a look or a store, but for `narrowing`, which no guest ever
//! waits for. Deliberately absent: any way back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use palisade_vfs::{Descent, DirRef, Errno, FileRef, Name, Result, Rights, Stat};

use crate::confine::{Confine, Here, Stand};
use crate::file::{ConfinedFile, Grip, never_opened};
use crate::position::{Position, Positions, Renaming};
use crate::view::veiled;
use crate::{Operation, Policy, PolicyError, Refusal, State};

/// A policy that can be narrowed while guests run under it. Clones are the same one.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

/// When a grant ends by itself. What is `None` does not end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// From then on nothing is granted.
    pub until: Option<Instant>,
    /// So many operations are granted yet: calls of [`Dir`](palisade_vfs::Dir) and
    /// [`File`](palisade_vfs::File), those that a walk through a path makes included.
    pub uses: Option<u64>,
}

/// `dir` under `live`, as what the guest knows as `guest_path`; the root is the empty path.
///
/// As [`confine_at`](crate::confine_at), but what is opened through it obeys `live` as it is when
/// an operation begins, and not as it was when it was opened. Rename and link are `Xdev` between
/// directories that are not under the same `live`. A path of more than 65,536 names that is opened
/// piece by piece is `Nametoolong`.
#[must_use]
pub fn confine_live(dir: DirRef, live: &Live, guest_path: &str) -> DirRef {
    Arc::new(Confine { inner: dir, stand: Place::root(live, guest_path) })
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
const GENERATION: u64 = 1 << 24;
/// In the stamp: there is a lease, so that no handle takes what it knows for granted.
const LEASED: u64 = GENERATION >> 1;
/// In what a file knows: what counts names is not to be told.
const VEILED: u64 = GENERATION >> 2;
const _: () = assert!((Rights::all().bits() as u64) < VEILED);

/// What all handles of one live confinement share.
pub(crate) struct Shared {
    /// The generation of the policy as it is, and [`LEASED`].
    stamp: AtomicU64,
    now: RwLock<Now>,
    /// Taken by who narrows.
    narrowing: Mutex<()>,
    lease: Mutex<Lease>,
    positions: Positions,
}

#[derive(Clone)]
struct Now {
    policy: Arc<Policy>,
    /// A multiple of [`GENERATION`].
    generation: u64,
    /// Whether nothing is granted any more.
    is_revoked: bool,
}

impl Shared {
    fn now(&self) -> Now {
        read(&self.now).clone()
    }

    /// The policy for an operation that begins now, of which the lease is told.
    #[cold]
    fn enter(&self) -> Now {
        if self.stamp.load(Ordering::Acquire) & LEASED != 0 && self.use_up() {
            self.revoke();
        }
        self.now()
    }

    /// The generation of the policy as it is, of a lease that has ended too.
    fn epoch(&self) -> u64 {
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

/// A held position of a live policy.
struct HeldPosition {
    live: Arc<Shared>,
    /// `None` for what is no path of the guest's world.
    position: Option<Position>,
}

impl HeldPosition {
    fn beneath(&self, path: Descent<'_>) -> Result<HeldPosition> {
        let beneath = |from| self.live.positions.beneath(from, path);
        let position = self.position.map(beneath).transpose()?;
        Ok(HeldPosition { live: Arc::clone(&self.live), position })
    }

    /// Its state in `policy`; `None` while it is renamed by another thread.
    fn state(&self, policy: &Policy) -> Option<State> {
        let Some(position) = self.position else { return Some(State::NOWHERE) };
        self.live.positions.state(position, policy)
    }
}

impl Drop for HeldPosition {
    fn drop(&mut self) {
        if let Some(position) = self.position {
            self.live.positions.release(position);
        }
    }
}

/// Where a directory of a live confinement stands.
pub(crate) struct Place {
    at: HeldPosition,
    seen: RwLock<Seen>,
}

/// What a directory knows of the policy.
struct Seen {
    policy: Arc<Policy>,
    state: State,
    generation: u64,
}

impl Place {
    /// The place of what the guest knows as `guest_path`.
    pub(crate) fn root(live: &Live, guest_path: &str) -> Place {
        let now = live.0.now();
        let position = live.0.positions.of(guest_path);
        let at = HeldPosition { live: Arc::clone(&live.0), position };
        let state = now.policy.at(guest_path);
        let seen = Seen { policy: now.policy, state, generation: now.generation };
        Place { at, seen: RwLock::new(seen) }
    }

    /// What it knows, if it is what a handle may go by at `stamp`.
    fn known(&self, stamp: u64) -> Option<Here<Arc<Policy>>> {
        let seen = read(&self.seen);
        (seen.generation == stamp).then(|| Here {
            policy: Arc::clone(&seen.policy),
            state: seen.state,
            generation: seen.generation,
        })
    }

    fn at(&self, now: Now) -> Here<Arc<Policy>> {
        if let Some(here) = self.known(now.generation) {
            return here;
        }
        let Now { policy, generation, .. } = now;
        let Some(state) = self.at.state(&policy) else {
            return Here { policy, state: State::NOWHERE, generation };
        };
        let here = Here { policy: Arc::clone(&policy), state, generation };
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        *seen = Seen { policy, state, generation };
        here
    }
}

impl Stand for Place {
    type Held<'a> = Arc<Policy>;

    #[cfg(feature = "audit")]
    type Beneath = Place;

    const MOVES: bool = true;

    fn here(&self) -> Result<Here<Arc<Policy>>> {
        match self.known(self.at.live.stamp.load(Ordering::Acquire)) {
            Some(here) => Ok(here),
            None => Ok(self.at(self.at.live.enter())),
        }
    }

    #[cfg(feature = "audit")]
    fn now(&self) -> Here<Arc<Policy>> {
        self.at(self.at.live.now())
    }

    fn both<'a>(&'a self, into: &'a Self) -> Result<[Here<Arc<Policy>>; 2]> {
        if !Arc::ptr_eq(&self.at.live, &into.at.live) {
            return Err(Errno::Xdev);
        }
        let now = self.at.live.enter();
        Ok([self.at(now.clone()), into.at(now)])
    }

    #[cfg(feature = "audit")]
    fn place_of_file(
        &self,
        here: &Here<Arc<Policy>>,
        path: Descent<'_>,
        state: State,
    ) -> Result<Place> {
        self.beneath(here, path, state)
    }

    #[cfg(feature = "audit")]
    fn now_of_file<'a>(&'a self, file: &'a Place) -> Here<Arc<Policy>> {
        file.now()
    }

    fn beneath(&self, here: &Here<Arc<Policy>>, path: Descent<'_>, state: State) -> Result<Self> {
        let seen = Seen { policy: Arc::clone(&here.policy), state, generation: here.generation };
        Ok(Place { at: self.at.beneath(path)?, seen: RwLock::new(seen) })
    }

    fn file(
        &self,
        here: &Here<Arc<Policy>>,
        path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<FileRef> {
        let opened = here.policy.rights(state);
        let known = known_by_file(&here.policy, opened, here.generation);
        let grip = FilePlace { at: self.at.beneath(path)?, opened, known: AtomicU64::new(known) };
        Ok(Arc::new(ConfinedFile { inner, grip }))
    }

    fn has_moved(&self, here: &Here<Arc<Policy>>) -> bool {
        self.at.live.stamp.load(Ordering::Acquire) & !LEASED != here.generation
    }

    fn epoch(&self) -> u64 {
        self.at.live.epoch()
    }

    fn begin_rename(&self, name: Name<'_>) -> Option<Renaming<'_>> {
        Some(self.at.live.positions.begin_rename(self.at.position?, name))
    }

    fn position(&self) -> Option<Position> {
        self.at.position
    }

    fn while_nothing_is_renamed<T>(&self, op: impl FnOnce() -> T) -> T {
        let _nothing_is_renamed = self.at.live.positions.hold_renames();
        op()
    }

    fn removed(&self, name: Name<'_>) {
        if let Some(position) = self.at.position {
            self.at.live.positions.remove(position, name);
        }
    }

    fn check_sync(&self) -> Result<()> {
        let here = self.here()?;
        here.policy.require(here.state, Rights::LOOKUP)
    }
}

/// Where an open file of a live confinement stands.
pub(crate) struct FilePlace {
    at: HeldPosition,
    /// What was granted when it was opened.
    opened: Rights,
    /// A generation, the rights in it, and [`VEILED`].
    known: AtomicU64,
}

fn known_by_file(policy: &Policy, rights: Rights, generation: u64) -> u64 {
    let veiled = if policy.hides() { VEILED } else { 0 };
    generation | u64::from(rights.bits()) | veiled
}

fn rights_in(known: u64) -> Rights {
    let bits = known & (VEILED - 1);
    Rights::from_bits_truncate(u32::try_from(bits).unwrap_or(0))
}

impl FilePlace {
    fn known(&self) -> u64 {
        let known = self.known.load(Ordering::Relaxed);
        if known & !(GENERATION - 1) == self.at.live.stamp.load(Ordering::Acquire) {
            return known;
        }
        let now = self.at.live.enter();
        if known & !(GENERATION - 1) == now.generation {
            return known;
        }
        let Some(state) = self.at.state(&now.policy) else {
            return known_by_file(&now.policy, Rights::empty(), now.generation);
        };
        let rights = now.policy.rights(state) & rights_in(known);
        let known = known_by_file(&now.policy, rights, now.generation);
        // Another thread may have been quicker, and what an older one stores is not gone by.
        self.known.store(known, Ordering::Relaxed);
        known
    }

    /// The error that tells that `wanted` is missing in part.
    #[cold]
    fn refusal(&self, wanted: Rights) -> Errno {
        let policy = self.at.live.now().policy;
        let state = self.at.state(&policy).unwrap_or(State::NOWHERE);
        policy.require(state, wanted).err().unwrap_or(Errno::Acces)
    }
}

impl Grip for FilePlace {
    fn require(&self, operation: Operation, unopened: Errno) -> Result<()> {
        let wanted = operation.needs();
        if rights_in(self.known()).contains(wanted) {
            return Ok(());
        }
        never_opened(wanted - self.opened, unopened)?;
        Err(self.refusal(wanted))
    }

    fn veiled(&self, stat: Stat) -> Stat {
        if self.known.load(Ordering::Relaxed) & VEILED == 0 {
            return stat;
        }
        veiled(stat)
    }

    fn epoch(&self) -> u64 {
        self.at.live.epoch()
    }

    fn check(&self) -> Result<()> {
        if rights_in(self.known()).contains(Rights::LOOKUP) {
            return Ok(());
        }
        Err(self.refusal(Rights::LOOKUP))
    }
}

// What the locks guard is whole at any time, whatever happened to who held one.

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
