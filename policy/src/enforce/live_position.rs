//! The positions of directories and files under a live policy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use palisade_vfs::{Descent, DirRef, Errno, FileRef, Name, Result, Rights, Stat};

use crate::automaton::policy::{Policy, State};
use crate::enforce::checked_dir::veiled;
use crate::enforce::confined_dir::{Confine, Here, Stand};
use crate::enforce::confined_file::{ConfinedFile, Grip, never_opened};
use crate::enforce::live_policy::{GENERATION, LEASED, Live, Now, Shared, VEILED, read};
use crate::enforce::name_tree::{Position, Renaming};
use crate::rules::operation::Operation;

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
