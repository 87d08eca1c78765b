//! An observed directory.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileRef, FileType, Name, Node, OpenFlags, OpenHow,
    Result, Rights, SetTimes, Stat, Stop,
};

use crate::audit::decision::Observation;
use crate::audit::event::{Action, Mode};
use crate::audit::event_path::{EventPath, Suffix};
use crate::audit::layer::observed_file::{FileAt, ObservedFile};
use crate::audit::layer::{HandleContext, Operated, SecondAt};
use crate::automaton::policy::State;
use crate::enforce::checked_dir::CheckedDir;
use crate::enforce::position::{PolicySnapshot, Position};
use crate::enforce::verdict::CheckOutcome;
use crate::rules::operation::Operation;

/// A directory whose operations are recorded.
pub(super) struct ObservedDir {
    pub(super) inner: DirRef,
    pub(super) context: Arc<HandleContext>,
}

/// The outcome of the check of an operation; `None` in a dry run.
type Outcome = Option<CheckOutcome>;

impl ObservedDir {
    #[inline]
    fn event_path<'a>(&'a self, path: Descent<'a>) -> EventPath<'a> {
        EventPath { handle: &self.context.path, suffix: Suffix::Walked(path) }
    }

    /// Records an operation that needs the rights of its table entry.
    #[inline]
    fn record(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        operation: Operation,
        result: Result<()>,
        outcome: Outcome,
    ) {
        let (action, wanted) = (Action::One(operation), operation.needs());
        let observation = Observation { action, wanted, result, same: false, is_dir: false };
        self.record_observation(snapshot, path, &observation, outcome);
    }

    #[inline]
    fn record_observation(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        observation: &Observation,
        outcome: Outcome,
    ) {
        let path = &self.event_path(path);
        let operated = Operated { snapshot, path, to: None, observation, bytes: None };
        self.context.observer.record(&operated, outcome);
    }

    /// Records an operation that may have stopped at a symbolic link. Then following the link is
    /// recorded.
    #[inline(always)]
    fn record_stop(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        operation: Operation,
        result: Result<(), &Stop>,
        outcome: Outcome,
    ) {
        match result {
            Ok(()) => self.record(snapshot, path, operation, Ok(()), outcome),
            Err(Stop::Errno(errno)) => {
                self.record(snapshot, path, operation, Err(*errno), outcome);
            }
            Err(Stop::Link { at, .. }) => {
                let (link, _) = path.split_at(at + 1);
                let observation = Observation::FOLLOW;
                // No rule is needed to follow a link.
                let outcome = outcome.map(|_| CheckOutcome::Preempted);
                self.record_observation(snapshot, link, &observation, outcome);
            }
        }
    }

    /// Performs an operation: checked, or in a dry run on the inner directory.
    #[inline]
    fn perform<T, E>(
        &self,
        snapshot: &PolicySnapshot<'_>,
        outcome: &mut Outcome,
        checked: impl FnOnce(&CheckedDir<'_>, &mut Outcome) -> Result<T, E>,
        unchecked: impl FnOnce(&DirRef) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.context.observer.mode {
            Mode::Enforce => checked(&snapshot.check(&self.inner), outcome),
            Mode::DryRun => unchecked(&self.inner),
        }
    }

    /// Performs and records an operation on one name.
    fn perform_on_name<T>(
        &self,
        name: Name<'_>,
        operation: Operation,
        checked: impl FnOnce(&CheckedDir<'_>, &mut Outcome) -> Result<T>,
        unchecked: impl FnOnce(&DirRef) -> Result<T>,
    ) -> Result<T> {
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let result = self.perform(&snapshot, &mut outcome, checked, unchecked);
        let recorded = result.as_ref().map(|_| ()).map_err(|errno| *errno);
        self.record(&snapshot, name.into(), operation, recorded, outcome);
        result
    }

    /// Performs and records an operation on two names.
    fn perform_on_two_names(
        &self,
        [name, new_name]: [Name<'_>; 2],
        into: &dyn Dir,
        action: Action,
        checked: impl FnOnce(&CheckedDir<'_>, &CheckedDir<'_>, &mut Outcome) -> Result<()>,
        unchecked: impl FnOnce(&DirRef, &DirRef) -> Result<()>,
    ) -> Result<()> {
        let into = self.downcast(into)?;
        let HandleContext { position, observer, .. } = &*self.context;
        observer.auditor.check()?;
        let is_rename = action == Action::Rename;
        let pending = if is_rename { position.begin_rename(name) } else { None };
        let [old, new] = position.begin_pair(&into.context.position)?;
        let (from, to) = (old.check(&self.inner), new.check(&into.inner));
        let mut outcome = None;
        let result = match observer.mode {
            Mode::Enforce => checked(&from, &to, &mut outcome),
            Mode::DryRun => unchecked(&self.inner, &into.inner),
        };
        let same = is_rename && result.is_ok() && from.is_same(name, &to, new_name);
        if result.is_ok() {
            Position::complete_rename(pending, &into.context.position, new_name, || same);
        }
        let is_dir = is_rename
            && match result {
                Ok(()) => into.kind(&new, new_name.into()) == Some(FileType::Dir),
                Err(_) => self.kind(&old, name.into()) == Some(FileType::Dir),
            };
        let wanted = action.needs().into_iter().fold(Rights::empty(), Rights::union);
        let observation = &Observation { action, wanted, result, same, is_dir };
        let second = SecondAt { path: into.event_path(new_name.into()), state: new.state };
        let path = &self.event_path(name.into());
        let to = Some(second);
        observer.record(&Operated { snapshot: &old, path, to, observation, bytes: None }, outcome);
        result
    }

    /// Returns the type of the node at `path` for a record, if the guest may look it up.
    fn kind(&self, snapshot: &PolicySnapshot<'_>, path: Descent<'_>) -> Option<FileType> {
        let may_lookup = self.context.observer.mode == Mode::DryRun
            || snapshot.policy().judge(snapshot.state, path, Rights::LOOKUP).is_allowed();
        if may_lookup { self.inner.stat(path).ok().map(|stat| stat.kind) } else { None }
    }

    /// Records an open. `kind` is the type of the node that was opened, or that existed before.
    ///
    /// The recorded rights are those that the open needed in the end: an open of an existing node
    /// creates nothing, and an open of a directory reads no file.
    #[inline]
    fn record_open(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        how: OpenHow,
        kind: Option<FileType>,
        result: Result<()>,
        outcome: Outcome,
    ) {
        let mut needed = how;
        if kind.is_some() && !how.is_exclusive() {
            needed.flags -= OpenFlags::CREATE;
        }
        if kind == Some(FileType::Dir) && !how.refuses_dir() {
            needed.flags |= OpenFlags::DIRECTORY;
        }
        let wanted = Operation::Open(needed).needs();
        let action = Action::One(Operation::Open(how));
        let observation = Observation { action, wanted, result, same: false, is_dir: false };
        self.record_observation(snapshot, path, &observation, outcome);
    }

    /// Records a failed open.
    #[inline(never)]
    fn record_failed_open(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        how: OpenHow,
        stop: &Stop,
        outcome: Outcome,
    ) {
        match stop {
            Stop::Errno(errno) => {
                let kind = self.kind(snapshot, path);
                self.record_open(snapshot, path, how, kind, Err(*errno), outcome);
            }
            Stop::Link { .. } => {
                self.record_stop(snapshot, path, Operation::Open(how), Err(stop), outcome);
            }
        }
    }

    /// Returns the second directory of a rename or link.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: the directory is not observed by the same auditor in the same mode.
    fn downcast<'d>(&self, into: &'d dyn Dir) -> Result<&'d ObservedDir> {
        let into: &dyn Any = into;
        match into.downcast_ref::<ObservedDir>() {
            Some(into) if self.context.observer.is_equivalent(&into.context.observer) => Ok(into),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// Wraps a file that was opened at `path` and `state`.
    #[inline]
    fn wrap_file(
        &self,
        snapshot: &PolicySnapshot<'_>,
        path: Descent<'_>,
        state: State,
        inner: FileRef,
    ) -> Result<Node> {
        let HandleContext { position, observer, .. } = &*self.context;
        let inner = match observer.mode {
            Mode::DryRun => inner,
            Mode::Enforce => position.confine_file(snapshot, path, state, inner)?,
        };
        let at = match position {
            Position::Fixed(_) => FileAt::Fixed(state),
            Position::Live(live) => FileAt::Live(live.descend(snapshot, path, state)?),
        };
        Ok(Node::File(Arc::new(ObservedFile::new(inner, &self.context, at, path))))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for ObservedDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        self.context.path.check(path)?;
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let may_create = how.creates() && !how.is_exclusive();
        let existing = if may_create { self.kind(&snapshot, path) } else { None };
        let result = self.perform(
            &snapshot,
            &mut outcome,
            |dir, outcome| dir.open(path, how, outcome),
            |dir| {
                let node = dir.open(path, how)?;
                let step = |at, name| snapshot.policy().step(at, name);
                Ok((node, path.names().fold(snapshot.state, step)))
            },
        );
        match result {
            Ok((Node::File(inner), state)) => {
                self.record_open(&snapshot, path, how, existing, Ok(()), outcome);
                Ok(self.wrap_file(&snapshot, path, state, inner)?)
            }
            Ok((Node::Dir(inner), state)) => {
                let kind = Some(FileType::Dir);
                self.record_open(&snapshot, path, how, kind, Ok(()), outcome);
                let context = self.context.descend(&snapshot, path, state)?;
                Ok(Node::Dir(Arc::new(ObservedDir { inner, context })))
            }
            Err(stop) => {
                self.record_failed_open(&snapshot, path, how, &stop, outcome);
                Err(stop)
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let result = self.perform(
            &snapshot,
            &mut outcome,
            |dir, outcome| dir.stat(path, outcome),
            |dir| dir.stat(path),
        );
        let recorded = result.as_ref().map(|_| ());
        self.record_stop(&snapshot, path, Operation::Stat, recorded, outcome);
        result
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let result = self.perform(
            &snapshot,
            &mut outcome,
            |dir, outcome| dir.stat_following(path, outcome),
            |dir| dir.stat_following(path),
        );
        let recorded = result.as_ref().map(|_| ());
        self.record_stop(&snapshot, path, Operation::Stat, recorded, outcome);
        result
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.perform_on_name(
            name,
            Operation::ReadLink,
            |dir, outcome| dir.read_link(name, outcome),
            |dir| dir.read_link(name),
        )
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let HandleContext { position, observer, .. } = &*self.context;
        let (result, snapshot) = match observer.mode {
            Mode::Enforce => position.list(&self.inner, snapshot, from, each, &mut outcome),
            Mode::DryRun => (self.inner.read_dir(from, each), snapshot),
        };
        // A listing that is read in several calls is recorded once, and again if it fails later.
        if from == Cookie::START || result.is_err() {
            self.record(&snapshot, Descent::HERE, Operation::List, result, outcome);
        }
        result
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.context.position.with_renames_blocked(|| {
            self.perform_on_name(
                name,
                Operation::CreateDir,
                |dir, outcome| dir.create_dir(name, outcome),
                |dir| dir.create_dir(name),
            )
        })
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.perform_on_name(
            name,
            Operation::CreateSymlink,
            |dir, outcome| dir.create_symlink(name, target, outcome),
            |dir| dir.create_symlink(name, target),
        )
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.perform_on_name(
            name,
            Operation::RemoveFile,
            |dir, outcome| dir.remove_file(name, outcome),
            |dir| dir.remove_file(name),
        )?;
        self.context.position.removed(name);
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.perform_on_name(
            name,
            Operation::RemoveDir,
            |dir, outcome| dir.remove_dir(name, outcome),
            |dir| dir.remove_dir(name),
        )?;
        self.context.position.removed(name);
        Ok(())
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.perform_on_two_names(
            [name, new_name],
            into,
            Action::Rename,
            |from, into, outcome| from.rename(name, into, new_name, outcome),
            |from, into| from.rename(name, &**into, new_name),
        )
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.perform_on_two_names(
            [name, new_name],
            into,
            Action::Link,
            |from, into, outcome| from.link(name, into, new_name, outcome),
            |from, into| from.link(name, &**into, new_name),
        )
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let (snapshot, mut outcome) = (self.context.begin()?, None);
        let result = self.perform(
            &snapshot,
            &mut outcome,
            |dir, outcome| dir.set_times(path, times, outcome),
            |dir| dir.set_times(path, times),
        );
        let recorded = result.as_ref().copied();
        self.record_stop(&snapshot, path, Operation::SetTimes, recorded, outcome);
        result
    }

    fn sync(&self) -> Result<()> {
        match self.context.observer.mode {
            Mode::Enforce => self.context.position.check_sync()?,
            Mode::DryRun => {}
        }
        self.inner.sync()
    }

    // A sink may write to a disk while the guest waits.
    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        self.context.position.epoch().wrapping_add(self.inner.epoch())
    }
}
