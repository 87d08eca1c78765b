//! The observing layer: performs what it is asked for, under a policy or past it, and tells an
//! auditor each decision and what came of it.
//!
//! It holds the directory that is not confined, and is the confinement itself when it enforces: by
//! the same [`View`] that a confined directory uses. What is recorded is decided by `decision.rs`,
//! from what came of the operation and a look at what was there. Such a look is only made where the
//! policy lets the guest look too, or where the guest may do everything; so what is hidden is not
//! looked up for the sake of a record either. Between a look and the operation another guest can
//! change things; then the record says what was seen, and what was enforced is what was enforced.
//!
//! A handle keeps by which names it was opened, and records tell those, whatever its name is by
//! then. Its decisions are those of the place where it is, as confinement has it: under a fixed
//! policy that is equivalent to the place where it was opened. Under a policy that may be narrowed
//! a record is of the policy by which the operation was judged, or of a narrower one that refuses
//! what was refused.
//!
//! Lock order: none here; the auditor takes its own last. It is an allowlist: an operation that
//! this file does not know is not there.

mod observed_file;

use std::any::Any;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, FileType, Name, Node, OpenFlags, OpenHow,
    Result, Rights, SetTimes, Stat, Stop,
};

use crate::audit::decision::{Decided, Facts, Spot, allowed, decide};
use crate::audit::event::{Act, Decision, HowDecided};
use crate::audit::event_path::{At, Beyond};
use crate::audit::handle_path::Trail;
use crate::audit::layer::observed_file::ObservedFile;
use crate::audit::ruling::Basis;
use crate::audit::writer::{Auditor, Happening};
use crate::automaton::policy::{Policy, State};
use crate::enforce::checked_dir::View;
use crate::enforce::confined_dir::{Fixed, Here, Stand, end_rename};
use crate::enforce::live_policy::Live;
use crate::enforce::live_position::Place;
use crate::rules::operation::Operation;

/// What an observing layer does with a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Carries it out.
    Enforce,
    /// Only records it: everything is performed.
    DryRun,
}

impl Mode {
    pub(crate) fn how(self) -> HowDecided {
        match self {
            Mode::Enforce => HowDecided::Enforced,
            Mode::DryRun => HowDecided::Dry,
        }
    }
}

/// `dir`, which is not confined, as what the guest knows as `guest_path`: under `policy` as
/// [`confine_at`](crate::confine_at) has it, or as it is for a dry run; and with a record of each
/// decision.
///
/// Between two results of this, rename and link are `Xdev`, unless both were given the same
/// `policy`, `auditor` and `mode`. A path of more than 65,536 names that is opened piece by piece
/// is `Nametoolong`.
#[must_use]
pub fn observe(
    dir: DirRef,
    policy: Arc<Policy>,
    guest_path: &str,
    mode: Mode,
    auditor: Arc<Auditor>,
) -> DirRef {
    let (state, trail) = (policy.at(guest_path), Trail::root(guest_path));
    let (stand, watch) = (Fixed { policy, state }, Watch::new(auditor, mode));
    Arc::new(Observe { inner: dir, anchor: Arc::new(Anchor { stand, watch, trail }) })
}

/// `dir`, which is not confined, under `live` as [`confine_live`](crate::confine_live) has it, and
/// with a record of each decision, by the policy as it was then.
///
/// The rules of a policy that was narrowed keep their numbers. Nothing is told of a lease that ends
/// but what is refused from then on.
#[must_use]
pub fn observe_live(dir: DirRef, live: &Live, guest_path: &str, auditor: Arc<Auditor>) -> DirRef {
    let (trail, stand) = (Trail::root(guest_path), Place::root(live, guest_path));
    let watch = Watch::new(auditor, Mode::Enforce);
    Arc::new(Observe { inner: dir, anchor: Arc::new(Anchor { stand, watch, trail }) })
}

/// What all handles of one observed directory share.
pub(crate) struct Watch {
    pub(crate) auditor: Arc<Auditor>,
    mode: Mode,
    /// No other of this auditor has it.
    number: u64,
}

/// Where a directory stands and what it is called: what the files that are opened through it share
/// with it, so that one of them costs one count, and does not keep the directory itself.
pub(crate) struct Anchor<S> {
    pub(crate) stand: S,
    pub(crate) watch: Arc<Watch>,
    pub(crate) trail: Arc<Trail>,
}

/// An observed directory.
struct Observe<S> {
    inner: DirRef,
    anchor: Arc<Anchor<S>>,
}

/// A second name.
#[derive(Clone, Copy)]
pub(crate) struct Second<'a> {
    pub(crate) at: At<'a>,
    pub(crate) state: State,
}

impl Watch {
    fn new(auditor: Arc<Auditor>, mode: Mode) -> Arc<Watch> {
        let number = auditor.next_watch();
        Arc::new(Watch { auditor, mode, number })
    }

    fn is_shared_with(&self, other: &Watch) -> bool {
        Arc::ptr_eq(&self.auditor, &other.auditor) && self.mode == other.mode
    }

    /// Decides, and tells the auditor.
    #[inline]
    pub(crate) fn record(
        &self,
        here: &Here<impl Deref<Target = Policy>>,
        at: &At<'_>,
        facts: &Facts,
        bytes: Option<u64>,
    ) {
        let (policy, how, to) = (&*here.policy, self.mode.how(), None);
        // What is mostly told. What follows from it is only looked up if it is not told already.
        match policy.grants_beneath(here.state, at.path(), facts.wanted) {
            Some(state) => {
                let basis = self.granted(here.generation, state);
                self.auditor.emit(&Happening { policy, facts, basis, how, at, to, bytes });
            }
            None => self.record_by_all(policy, here.state, at, facts, bytes),
        }
    }

    #[inline(never)]
    fn record_by_all(
        &self,
        policy: &Policy,
        state: State,
        at: &At<'_>,
        facts: &Facts,
        bytes: Option<u64>,
    ) {
        let decided = self.decide(policy, Spot { state, path: at.path() }, None, facts);
        let (basis, how, to) = (Basis::Decided(&decided), self.mode.how(), None);
        self.auditor.emit(&Happening { policy, facts, basis, how, at, to, bytes });
    }

    /// As [`Watch::record`], of what has two names.
    fn record_two(
        &self,
        here: &Here<impl Deref<Target = Policy>>,
        at: &At<'_>,
        second: Second<'_>,
        facts: &Facts,
    ) {
        let (policy, how, bytes) = (&*here.policy, self.mode.how(), None);
        let (from, to) = (here.state, Some(&second.at));
        let [wanted, wanted_there] = facts.wanted();
        let state = policy.grants_beneath(from, at.path(), wanted);
        // Between places that are one in the policy nothing can be gained.
        if let Some(state) = state
            && policy.grants_beneath(second.state, second.at.path(), wanted_there) == Some(state)
        {
            let basis = self.granted(here.generation, state);
            return self.auditor.emit(&Happening { policy, facts, basis, how, at, to, bytes });
        }
        let spot = Spot { state: second.state, path: second.at.path() };
        let decided = self.decide(policy, Spot { state: from, path: at.path() }, Some(spot), facts);
        let basis = Basis::Decided(&decided);
        self.auditor.emit(&Happening { policy, facts, basis, how, at, to, bytes });
    }

    fn granted(&self, generation: u64, state: State) -> Basis<'static> {
        Basis::Granted { watch: self.number, generation, state }
    }

    fn decide(
        &self,
        policy: &Policy,
        from: Spot<'_>,
        to: Option<Spot<'_>>,
        facts: &Facts,
    ) -> Decided {
        let decided = decide(policy, from, to, facts);
        let was_done = self.mode == Mode::Enforce && facts.result.is_ok();
        if was_done && decided.decision != Decision::Allow {
            // Whatever has changed since: a name, or a policy that was narrowed.
            return allowed(None);
        }
        decided
    }
}

impl<S: Stand> Observe<S> {
    #[inline]
    fn at<'a>(&'a self, path: Descent<'a>) -> At<'a> {
        At { trail: &self.anchor.trail, beyond: Beyond::Walked(path) }
    }

    /// The place for the operation that begins now.
    #[inline]
    fn begin(&self) -> Result<Here<S::Held<'_>>> {
        self.anchor.watch.auditor.check()?;
        self.anchor.stand.here()
    }

    /// Records an operation on `path` that takes what its table says.
    #[inline]
    fn record(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        operation: Operation,
        result: Result<()>,
    ) {
        self.record_act(here, path, Act::One(operation), operation.needs(), result);
    }

    #[inline]
    fn record_act(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        act: Act,
        wanted: Rights,
        result: Result<()>,
    ) {
        let facts = Facts { act, wanted, result, same: false, is_dir: false };
        self.anchor.watch.record(here, &self.at(path), &facts, None);
    }

    /// Records an operation that may have ended at a link; then that the link was told.
    #[inline(always)]
    fn record_stop(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        operation: Operation,
        result: Result<(), &Stop>,
    ) {
        match result {
            Ok(()) => self.record(here, path, operation, Ok(())),
            Err(Stop::Errno(errno)) => self.record(here, path, operation, Err(*errno)),
            Err(Stop::Link { at, .. }) => {
                let (link, _) = path.split_at(at + 1);
                self.record_act(here, link, Act::Follow, Rights::empty(), Ok(()));
            }
        }
    }

    /// Performs by the policy, or past it.
    #[inline]
    fn perform<T, E>(
        &self,
        here: &Here<S::Held<'_>>,
        enforced: impl FnOnce(&View<'_>) -> Result<T, E>,
        dry: impl FnOnce(&DirRef) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.anchor.watch.mode {
            Mode::Enforce => enforced(&here.view(&self.inner)),
            Mode::DryRun => dry(&self.inner),
        }
    }

    /// Performs by the policy, or past it, what is done to one name, and records it.
    fn change(
        &self,
        name: Name<'_>,
        operation: Operation,
        enforced: impl FnOnce(&View<'_>) -> Result<()>,
        dry: impl FnOnce(&DirRef) -> Result<()>,
    ) -> Result<()> {
        let here = self.begin()?;
        let answer = self.perform(&here, enforced, dry);
        self.record(&here, name.into(), operation, answer);
        answer
    }

    /// Performs by the policy, or past it, what is done to two names, and records it.
    fn change_two(
        &self,
        names: [Name<'_>; 2],
        into: &dyn Dir,
        act: Act,
        enforced: impl FnOnce(&View<'_>, &View<'_>) -> Result<()>,
        dry: impl FnOnce(&DirRef, &DirRef) -> Result<()>,
    ) -> Result<()> {
        let into = self.other(into)?;
        let Anchor { stand, watch, .. } = &*self.anchor;
        watch.auditor.check()?;
        let [name, new_name] = names;
        let renaming = if act == Act::Rename { stand.begin_rename(name) } else { None };
        let [old, new] = stand.both(&into.anchor.stand)?;
        let result = match watch.mode {
            Mode::Enforce => enforced(&old.view(&self.inner), &new.view(&into.inner)),
            Mode::DryRun => dry(&self.inner, &into.inner),
        };
        let wanted = act.needs().into_iter().fold(Rights::empty(), Rights::union);
        let (from, to) = (old.view(&self.inner), new.view(&into.inner));
        let same = act == Act::Rename && result.is_ok() && from.is_same(name, &to, new_name);
        if result.is_ok() {
            end_rename(renaming, &into.anchor.stand, new_name, || same);
        }
        let is_dir = act == Act::Rename
            && match result {
                Ok(()) => into.look(&new, new_name.into()) == Some(FileType::Dir),
                Err(_) => self.look(&old, name.into()) == Some(FileType::Dir),
            };
        let facts = Facts { act, wanted, result, same, is_dir };
        let to = Second { at: into.at(new_name.into()), state: new.state };
        watch.record_two(&old, &self.at(name.into()), to, &facts);
        result
    }

    /// The type of what is at `path`, for a record.
    fn look(&self, here: &Here<S::Held<'_>>, path: Descent<'_>) -> Option<FileType> {
        let may_look = self.anchor.watch.mode == Mode::DryRun
            || here.policy.judge(here.state, path, Rights::LOOKUP).is_allowed();
        if may_look { self.inner.stat(path).ok().map(|stat| stat.kind) } else { None }
    }

    /// Records an open of what is of type `kind`, if that is known or was there before.
    ///
    /// It is told with what it took, as things were: one that found something created nothing, and
    /// one that found a directory would not have read a file.
    #[inline]
    fn record_open(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        how: OpenHow,
        kind: Option<FileType>,
        result: Result<()>,
    ) {
        let mut took = how;
        if kind.is_some() && !how.is_exclusive() {
            took.flags -= OpenFlags::CREATE;
        }
        if kind == Some(FileType::Dir) && !how.refuses_dir() {
            took.flags |= OpenFlags::DIRECTORY;
        }
        let wanted = Operation::Open(took).needs();
        self.record_act(here, path, Act::One(Operation::Open(how)), wanted, result);
    }

    /// Records an open that has opened nothing.
    #[inline(never)]
    fn record_unopened(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        how: OpenHow,
        stop: &Stop,
    ) {
        match stop {
            Stop::Errno(errno) => {
                self.record_open(here, path, how, self.look(here, path), Err(*errno));
            }
            Stop::Link { .. } => self.record_stop(here, path, Operation::Open(how), Err(stop)),
        }
    }

    /// The other directory of an operation on two; `Xdev` if it is not observed alike.
    fn other<'d>(&self, into: &'d dyn Dir) -> Result<&'d Observe<S>> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Observe<S>>() {
            Some(into) if self.anchor.watch.is_shared_with(&into.anchor.watch) => Ok(into),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// The directory that `path` has opened, at `state`, observed.
    fn dir(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        state: State,
        inner: DirRef,
    ) -> Result<Node> {
        let Anchor { stand, watch, trail } = &*self.anchor;
        let (stand, watch) = (stand.beneath(here, path, state)?, Arc::clone(watch));
        let trail = Trail::beneath(trail, path)?;
        let anchor = Arc::new(Anchor { stand, watch, trail });
        Ok(Node::Dir(Arc::new(Observe { inner, anchor })))
    }

    /// The file that `path` has opened, at `state`, observed.
    #[inline]
    fn file(
        &self,
        here: &Here<S::Held<'_>>,
        path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<Node> {
        let Anchor { stand, watch, .. } = &*self.anchor;
        let inner = match watch.mode {
            Mode::DryRun => inner,
            Mode::Enforce => stand.file(here, path, state, inner)?,
        };
        let place = stand.place_of_file(here, path, state)?;
        Ok(Node::File(Arc::new(ObservedFile::new(inner, &self.anchor, place, path))))
    }
}

/// An answer without its value.
fn done<T, E: Copy>(answer: &Result<T, E>) -> Result<(), E> {
    answer.as_ref().map(|_| ()).map_err(|error| *error)
}

#[deny(clippy::missing_trait_methods)]
impl<S: Stand> Dir for Observe<S> {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.anchor.trail.check(path)?;
        let here = self.begin()?;
        let may_create = how.creates() && !how.is_exclusive();
        let found = if may_create { self.look(&here, path) } else { None };
        let answer = self.perform(
            &here,
            |view| view.open(path, how),
            |dir| {
                let node = dir.open(path, how)?;
                let step = |at, name| here.policy.step(at, name);
                Ok((node, path.names().fold(here.state, step)))
            },
        );
        match answer {
            Ok((Node::File(inner), state)) => {
                self.record_open(&here, path, how, found, Ok(()));
                Ok(self.file(&here, path, state, inner)?)
            }
            Ok((Node::Dir(inner), state)) => {
                self.record_open(&here, path, how, Some(FileType::Dir), Ok(()));
                Ok(self.dir(&here, path, state, inner)?)
            }
            Err(stop) => {
                self.record_unopened(&here, path, how, &stop);
                Err(stop)
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let here = self.begin()?;
        let answer = self.perform(&here, |view| view.stat(path), |dir| dir.stat(path));
        self.record_stop(&here, path, Operation::Stat, answer.as_ref().map(|_| ()));
        answer
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let here = self.begin()?;
        let answer =
            self.perform(&here, |view| view.stat_following(path), |dir| dir.stat_following(path));
        self.record_stop(&here, path, Operation::Stat, answer.as_ref().map(|_| ()));
        answer
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let here = self.begin()?;
        let answer = self.perform(&here, |view| view.read_link(name), |dir| dir.read_link(name));
        self.record(&here, name.into(), Operation::ReadLink, done(&answer));
        answer
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let here = self.begin()?;
        let Anchor { stand, watch, .. } = &*self.anchor;
        let answer = match watch.mode {
            Mode::Enforce => stand.list(&self.inner, here, from, each),
            Mode::DryRun => self.inner.read_dir(from, each),
        };
        // A listing is one thing, in however many pieces it is read, and may have been refused in
        // its middle.
        if from == Cookie::START || answer.is_err() {
            self.record(&stand.now(), Descent::HERE, Operation::List, answer);
        }
        answer
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        let (stand, operation) = (&self.anchor.stand, Operation::CreateDir);
        stand.while_nothing_is_renamed(|| {
            self.change(name, operation, |view| view.create_dir(name), |dir| dir.create_dir(name))
        })
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.change(
            name,
            Operation::CreateSymlink,
            |view| view.create_symlink(name, target),
            |dir| dir.create_symlink(name, target),
        )
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let operation = Operation::RemoveFile;
        self.change(name, operation, |view| view.remove_file(name), |dir| dir.remove_file(name))?;
        self.anchor.stand.removed(name);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let operation = Operation::RemoveDir;
        self.change(name, operation, |view| view.remove_dir(name), |dir| dir.remove_dir(name))?;
        self.anchor.stand.removed(name);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.change_two(
            [name, new_name],
            into,
            Act::Rename,
            |from, into| from.rename(name, into, new_name),
            |from, into| from.rename(name, &**into, new_name),
        )
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.change_two(
            [name, new_name],
            into,
            Act::Link,
            |from, into| from.link(name, into, new_name),
            |from, into| from.link(name, &**into, new_name),
        )
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let here = self.begin()?;
        let answer = self.perform(
            &here,
            |view| view.set_times(path, times),
            |dir| dir.set_times(path, times),
        );
        self.record_stop(&here, path, Operation::SetTimes, answer.as_ref().copied());
        answer
    }

    fn sync(&self) -> Result<()> {
        match self.anchor.watch.mode {
            Mode::Enforce => self.anchor.stand.check_sync()?,
            Mode::DryRun => {}
        }
        self.inner.sync()
    }

    // A sink may write to a disk, and a guest waits for it.
    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        self.anchor.stand.epoch().wrapping_add(self.inner.epoch())
    }
}
