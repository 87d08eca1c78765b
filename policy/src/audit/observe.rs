//! The observing layer: performs what it is asked for, under a policy or past it, and tells an
//! auditor each decision and what came of it.
//!
//! It holds the directory that is not confined, and is the confinement itself when it enforces: by
//! the same [`View`] that a confined directory uses. What is recorded is decided by `facts.rs`,
//! from what came of the operation and a look at what was there. Such a look is only made where the
//! policy lets the guest look too, or where the guest may do everything; so what is hidden is not
//! looked up for the sake of a record either. Between a look and the operation another guest can
//! change things; then the record says what was seen, and what was enforced is what was enforced.
//!
//! A handle keeps by which names it was opened, and records tell those, whatever its name is by
//! then; its decisions are those of the place where it was opened, as confinement has it.
//!
//! Lock order: none here; the auditor takes its own last. It is an allowlist: an operation that
//! this file does not know is not there.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    Rights, SetTimes, Stat, Stop,
};

use super::auditor::{At, Auditor, Happening};
use super::event::{Act, Decision, HowDecided};
use super::facts::{Facts, Spot, allowed, decide};
use super::file::{ObservedFile, Opened};
use crate::confine::confine_file;
use crate::trail::Trail;
use crate::view::View;
use crate::{Operation, Policy, State};

/// What an observing layer does with a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Carries it out.
    Enforce,
    /// Only records it: everything is performed.
    DryRun,
}

impl Mode {
    pub(super) fn how(self) -> HowDecided {
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
    let state = policy.at(guest_path);
    let watch = Arc::new(Watch { policy, auditor, mode });
    Arc::new(Observe { inner: dir, watch, state, trail: Trail::root(guest_path) })
}

/// What all handles of one observed directory share.
pub(super) struct Watch {
    pub(super) policy: Arc<Policy>,
    pub(super) auditor: Arc<Auditor>,
    pub(super) mode: Mode,
}

/// An observed directory.
struct Observe {
    inner: DirRef,
    watch: Arc<Watch>,
    state: State,
    trail: Arc<Trail>,
}

/// A second name.
#[derive(Clone, Copy)]
pub(super) struct Second<'a> {
    pub(super) at: At<'a>,
    pub(super) state: State,
}

impl Watch {
    fn is_shared_with(&self, other: &Watch) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy)
            && Arc::ptr_eq(&self.auditor, &other.auditor)
            && self.mode == other.mode
    }

    /// Decides, and tells the auditor.
    pub(super) fn record(
        &self,
        at: At<'_>,
        state: State,
        to: Option<Second<'_>>,
        facts: Facts,
        bytes: Option<u64>,
    ) {
        let spot = to.map(|to| Spot { state: to.state, path: to.at.path });
        let mut decided = decide(&self.policy, Spot { state, path: at.path }, spot, &facts);
        let was_done = self.mode == Mode::Enforce && facts.result.is_ok();
        if was_done && decided.decision != Decision::Allow {
            // Whatever has changed since.
            decided = allowed(None);
        }
        let (policy, how) = (&*self.policy, self.mode.how());
        let to = to.map(|to| to.at);
        self.auditor.emit(&Happening { policy, facts, decided, how, at, to, bytes });
    }
}

impl Observe {
    fn view(&self) -> View<'_> {
        View { dir: &self.inner, policy: &self.watch.policy, state: self.state }
    }

    fn at<'a>(&'a self, path: Descent<'a>) -> At<'a> {
        At { trail: &self.trail, held: Descent::HERE, path }
    }

    /// Records an operation on `path` that takes what its table says.
    fn record(&self, path: Descent<'_>, operation: Operation, result: Result<()>) {
        let act = Act::One(operation);
        self.record_act(path, act, operation.needs(), result);
    }

    fn record_act(&self, path: Descent<'_>, act: Act, wanted: Rights, result: Result<()>) {
        let facts = Facts { act, wanted, result, same: false };
        self.watch.record(self.at(path), self.state, None, facts, None);
    }

    /// Records an operation that may have ended at a link; then that the link was told.
    fn record_stop(&self, path: Descent<'_>, operation: Operation, result: Result<(), &Stop>) {
        match result {
            Ok(()) => self.record(path, operation, Ok(())),
            Err(Stop::Errno(errno)) => self.record(path, operation, Err(*errno)),
            Err(Stop::Link { at, .. }) => {
                let (link, _) = path.split_at(at + 1);
                self.record_act(link, Act::Follow, Rights::empty(), Ok(()));
            }
        }
    }

    /// Performs by the policy, or past it.
    fn perform<T, E>(
        &self,
        enforced: impl FnOnce(&View<'_>) -> Result<T, E>,
        dry: impl FnOnce(&DirRef) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Errno>,
    {
        self.watch.auditor.check()?;
        match self.watch.mode {
            Mode::Enforce => enforced(&self.view()),
            Mode::DryRun => dry(&self.inner),
        }
    }

    /// The type of what is at `path`, for a record.
    fn look(&self, path: Descent<'_>) -> Option<FileType> {
        let may_look = self.watch.mode == Mode::DryRun
            || self.watch.policy.judge(self.state, path, Rights::LOOKUP).is_allowed();
        if may_look { self.inner.stat(path).ok().map(|stat| stat.kind) } else { None }
    }

    /// What an open took, as things were: one that found something created nothing, and one that
    /// found a directory would not have read a file.
    fn record_open(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        found: Option<FileType>,
        answer: Result<&Node, &Stop>,
    ) {
        let result = match answer {
            Ok(_) => Ok(()),
            Err(Stop::Errno(errno)) => Err(*errno),
            Err(link @ Stop::Link { .. }) => {
                return self.record_stop(path, Operation::Open(how), Err(link));
            }
        };
        let kind = match answer {
            Ok(Node::Dir(_)) => Some(FileType::Dir),
            Ok(Node::File(_)) => found,
            Err(_) => self.look(path),
        };
        let mut took = how;
        if kind.is_some() && !how.is_exclusive() {
            took.flags -= OpenFlags::CREATE;
        }
        if kind == Some(FileType::Dir) && !how.refuses_dir() {
            took.flags |= OpenFlags::DIRECTORY;
        }
        let wanted = Operation::Open(took).needs();
        self.record_act(path, Act::One(Operation::Open(how)), wanted, result);
    }

    fn record_two(&self, names: [Name<'_>; 2], into: &Observe, act: Act, result: Result<()>) {
        let [name, new_name] = names;
        let wanted = act.needs().into_iter().fold(Rights::empty(), Rights::union);
        let same = act == Act::Rename && result.is_ok() && self.is_same(name, into, new_name);
        let facts = Facts { act, wanted, result, same };
        let to = Second { at: into.at(new_name.into()), state: into.state };
        self.watch.record(self.at(name.into()), self.state, Some(to), facts, None);
    }

    /// Whether both names lead to one node, so that renaming one to the other did nothing.
    fn is_same(&self, name: Name<'_>, into: &Observe, new_name: Name<'_>) -> bool {
        match (self.inner.stat(name.into()), into.inner.stat(new_name.into())) {
            (Ok(old), Ok(new)) => (old.dev, old.ino) == (new.dev, new.ino),
            _ => false,
        }
    }

    /// The other directory of an operation on two; `Xdev` if it is not observed alike.
    fn other<'d>(&self, into: &'d dyn Dir) -> Result<&'d Observe> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Observe>() {
            Some(into) if self.watch.is_shared_with(&into.watch) => Ok(into),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// What `path` has opened, observed.
    fn wrap(&self, path: Descent<'_>, node: Node) -> Result<Node> {
        let watch = Arc::clone(&self.watch);
        let state = path.names().fold(self.state, |at, name| watch.policy.step(at, name));
        Ok(match node {
            Node::Dir(inner) => {
                let trail = Trail::beneath(&self.trail, path)?;
                Node::Dir(Arc::new(Observe { inner, watch, state, trail }))
            }
            Node::File(inner) => {
                let inner = match watch.mode {
                    Mode::DryRun => inner,
                    Mode::Enforce => confine_file(inner, &watch.policy, state),
                };
                let opened = Opened::new(&self.trail, path);
                Node::File(Arc::new(ObservedFile::new(inner, watch, state, opened)))
            }
        })
    }
}

/// An answer without its value.
fn done<T, E: Copy>(answer: &Result<T, E>) -> Result<(), E> {
    answer.as_ref().map(|_| ()).map_err(|error| *error)
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Observe {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.trail.check(path)?;
        let may_create = how.creates() && !how.is_exclusive();
        let found = if may_create { self.look(path) } else { None };
        let answer = self
            .perform(|view| view.open(path, how).map(|(node, _)| node), |dir| dir.open(path, how));
        self.record_open(path, how, found, answer.as_ref());
        Ok(self.wrap(path, answer?)?)
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let answer = self.perform(|view| view.stat(path), |dir| dir.stat(path));
        self.record_stop(path, Operation::Stat, answer.as_ref().map(|_| ()));
        answer
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let answer = self.perform(|view| view.read_link(name), |dir| dir.read_link(name));
        self.record(name.into(), Operation::ReadLink, done(&answer));
        answer
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.watch.auditor.check()?;
        let answer = match self.watch.mode {
            Mode::Enforce => self.view().read_dir(from, each),
            Mode::DryRun => self.inner.read_dir(from, each),
        };
        // A listing is one thing, in however many pieces it is read.
        if from == Cookie::START || answer.is_err() {
            self.record(Descent::HERE, Operation::List, answer);
        }
        answer
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        let answer = self.perform(|view| view.create_dir(name), |dir| dir.create_dir(name));
        self.record(name.into(), Operation::CreateDir, answer);
        answer
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        let answer = self.perform(
            |view| view.create_symlink(name, target),
            |dir| dir.create_symlink(name, target),
        );
        self.record(name.into(), Operation::CreateSymlink, answer);
        answer
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let answer = self.perform(|view| view.remove_file(name), |dir| dir.remove_file(name));
        self.record(name.into(), Operation::RemoveFile, answer);
        answer
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let answer = self.perform(|view| view.remove_dir(name), |dir| dir.remove_dir(name));
        self.record(name.into(), Operation::RemoveDir, answer);
        answer
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.other(into)?;
        let answer = self.perform(
            |view| view.rename(name, &into.view(), new_name),
            |dir| dir.rename(name, &*into.inner, new_name),
        );
        self.record_two([name, new_name], into, Act::Rename, answer);
        answer
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.other(into)?;
        let answer = self.perform(
            |view| view.link(name, &into.view(), new_name),
            |dir| dir.link(name, &*into.inner, new_name),
        );
        self.record_two([name, new_name], into, Act::Link, answer);
        answer
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let answer =
            self.perform(|view| view.set_times(path, times), |dir| dir.set_times(path, times));
        self.record_stop(path, Operation::SetTimes, answer.as_ref().copied());
        answer
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    // A sink may write to a disk, and a guest waits for it.
    fn may_block(&self) -> bool {
        true
    }
}
