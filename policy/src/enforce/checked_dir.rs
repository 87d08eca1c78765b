//! A directory whose operations are checked against a policy before they reach the inner directory.
//!
//! Each operation is evaluated for the path that is really walked: names without links and `..`,
//! from the confined directory down. Each directory of the path needs `LOOKUP`; the rights needed
//! at its end are [`Operation::needs`]. A granted operation is one call of the inner directory,
//! whose result is returned. A denied operation fails with the errno that `error_order.rs` selects.
//! The outcome is passed to a [`Recorder`].
//!
//! A hidden name is never looked up, so neither an errno nor latency depends on whether it exists.
//! Counts that include hidden names are masked: under a policy that hides anything, the link count
//! of a node is at most one and the size of a directory is zero. One trace remains: a directory
//! that contains only hidden names can be neither removed nor replaced, and the errno is `EACCES`.
//!
//! Rename and link must not widen rights. The new name must grant at most what the old one grants;
//! for a rename also at every path under it, which is decided on the automaton and never by walking
//! the tree. A directory may only be renamed between equivalent states ([`Policy::movable`]),
//! because open handles on it keep the state of the old name. Otherwise the errno is `EXDEV`:
//! programs then fall back to copying, and each file of a copy is checked.
//!
//! Deliberately absent: mutable state, and locks.

use std::ops::ControlFlow;

use palisade_vfs::{
    Cookie, Descent, DirRef, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    Rights, SetTimes, Stat, Stop,
};

use crate::automaton::policy::{Movable, Policy, State};
use crate::enforce::error_order::{Refused, deny};
use crate::enforce::verdict::{CheckOutcome, Recorder, Verdict};
use crate::rules::operation::Operation;

/// A directory and its state in a policy.
pub(crate) struct CheckedDir<'a> {
    pub(crate) dir: &'a DirRef,
    pub(crate) policy: &'a Policy,
    pub(crate) state: State,
}

impl<'a> CheckedDir<'a> {
    /// Returns the state at the end of `path` if `operation` is granted there, or the verdict that
    /// denies it.
    #[inline]
    pub(crate) fn judge(
        &self,
        path: Descent<'_>,
        operation: Operation,
    ) -> Result<State, Verdict<'a>> {
        if let Some(state) = self.policy.state_if_constant(self.state, path, operation.needs()) {
            return Ok(state);
        }
        let verdict = self.policy.judge(self.state, path, operation.needs());
        // Every operation needs a right, and a hidden state grants none.
        if verdict.missing().is_empty() { Ok(verdict.state()) } else { Err(verdict) }
    }

    /// As [`CheckedDir::judge`], and records a grant. The caller records a denial by [`deny`].
    #[inline]
    fn grant(
        &self,
        path: Descent<'_>,
        operation: Operation,
        recorder: &mut impl Recorder,
    ) -> Result<State, Verdict<'a>> {
        let state = self.judge(path, operation)?;
        recorder.decided(CheckOutcome::Granted(state));
        Ok(state)
    }

    pub(crate) fn step(&self, name: Name<'_>) -> State {
        self.policy.step(self.state, name)
    }

    /// Opens `path` and returns the node with its state.
    #[inline]
    pub(crate) fn open(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        recorder: &mut impl Recorder,
    ) -> Result<(Node, State), Stop> {
        let (how, state) = match self.judge(path, Operation::Open(how)) {
            Ok(state) => (how, state),
            Err(verdict) => match self.judge_existing(path, how, verdict) {
                Ok(how) => (how, verdict.state()),
                Err(refused) => return Err(refused.record(recorder)),
            },
        };
        recorder.decided(CheckOutcome::Granted(state));
        Ok((self.dir.open(path, how)?, state))
    }

    /// Evaluates an open that `verdict` denies for the node that exists at `path`: without the
    /// right to create a file, and with `LIST` in place of `READ` for a directory. Returns the open
    /// that needs no more than that.
    #[cold]
    fn judge_existing(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        verdict: Verdict<'_>,
    ) -> Result<OpenHow, Refused<Stop>> {
        let kind = self.existing_kind(path, how, &verdict)?;
        let is_refused_dir = kind == FileType::Dir && how.refuses_dir();
        let mut needed = OpenHow { flags: how.flags - OpenFlags::CREATE, ..how };
        if kind == FileType::Dir && !is_refused_dir {
            needed.flags |= OpenFlags::DIRECTORY;
        }
        let verdict = verdict.with_wanted(Operation::Open(needed).needs());
        if verdict.missing().is_empty() {
            // `needed` has lost the flag by which an open of a directory fails.
            let isdir = Refused::Failed(Errno::Isdir.into(), verdict.state());
            return if is_refused_dir { Err(isdir) } else { Ok(needed) };
        }
        self.before_open_denial(path, how, kind)?;
        Err(Refused::denied(&verdict))
    }

    #[inline]
    pub(crate) fn stat(
        &self,
        path: Descent<'_>,
        recorder: &mut impl Recorder,
    ) -> Result<Stat, Stop> {
        match self.grant(path, Operation::Stat, recorder) {
            Ok(_) => {
                // perf: without a mask the inner directory writes the result in place.
                if self.policy.hides() {
                    return self.dir.stat(path).map(mask_stat);
                }
                self.dir.stat(path)
            }
            Err(verdict) => Err(deny(&verdict, self.before_node_denial(path, &verdict), recorder)),
        }
    }

    #[inline]
    pub(crate) fn stat_following(
        &self,
        path: Descent<'_>,
        recorder: &mut impl Recorder,
    ) -> Result<Stat, Stop> {
        match self.grant(path, Operation::Stat, recorder) {
            Ok(_) => {
                if self.policy.hides() {
                    return self.dir.stat_following(path).map(mask_stat);
                }
                self.dir.stat_following(path)
            }
            Err(verdict) => {
                Err(deny(&verdict, self.before_target_denial(path, &verdict), recorder))
            }
        }
    }

    pub(crate) fn read_link(
        &self,
        name: Name<'_>,
        recorder: &mut impl Recorder,
    ) -> Result<Box<str>> {
        match self.grant(name.into(), Operation::ReadLink, recorder) {
            Ok(_) => self.dir.read_link(name),
            Err(verdict) => {
                Err(deny(&verdict, self.before_read_link_denial(name, &verdict), recorder))
            }
        }
    }

    /// Lists the directory without its hidden entries.
    pub(crate) fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
        recorder: &mut impl Recorder,
    ) -> Result<()> {
        if let Err(verdict) = self.grant(Descent::HERE, Operation::List, recorder) {
            return Err(deny(&verdict, Ok(()), recorder));
        }
        if !self.policy.may_hide_in(self.state) {
            return self.dir.read_dir(from, each);
        }
        self.dir.read_dir(from, &mut |entry| {
            let state = self.step(entry.name);
            if self.policy.is_hidden(state) {
                self.policy.visit(state);
                return ControlFlow::Continue(());
            }
            each(entry)
        })
    }

    pub(crate) fn create_dir(&self, name: Name<'_>, recorder: &mut impl Recorder) -> Result<()> {
        match self.grant(name.into(), Operation::CreateDir, recorder) {
            Ok(_) => self.dir.create_dir(name),
            Err(verdict) => {
                Err(deny(&verdict, self.before_create_denial(name, &verdict), recorder))
            }
        }
    }

    pub(crate) fn create_symlink(
        &self,
        name: Name<'_>,
        target: &str,
        recorder: &mut impl Recorder,
    ) -> Result<()> {
        match self.grant(name.into(), Operation::CreateSymlink, recorder) {
            Ok(_) => self.dir.create_symlink(name, target),
            Err(verdict) => {
                Err(deny(&verdict, self.before_create_denial(name, &verdict), recorder))
            }
        }
    }

    pub(crate) fn remove_file(&self, name: Name<'_>, recorder: &mut impl Recorder) -> Result<()> {
        match self.grant(name.into(), Operation::RemoveFile, recorder) {
            Ok(_) => self.dir.remove_file(name),
            Err(verdict) => {
                Err(deny(&verdict, self.before_remove_file_denial(name, &verdict), recorder))
            }
        }
    }

    pub(crate) fn remove_dir(&self, name: Name<'_>, recorder: &mut impl Recorder) -> Result<()> {
        match self.grant(name.into(), Operation::RemoveDir, recorder) {
            Ok(state) => match self.dir.remove_dir(name) {
                Err(Errno::Notempty) => Err(self.nonempty_errno(name, state)),
                result => result,
            },
            Err(verdict) => {
                Err(deny(&verdict, self.before_remove_dir_denial(name, &verdict), recorder))
            }
        }
    }

    /// Renames `name` to `new_name` in `into`, which must be under the same policy.
    pub(crate) fn rename(
        &self,
        name: Name<'_>,
        into: &CheckedDir<'_>,
        new_name: Name<'_>,
        recorder: &mut impl Recorder,
    ) -> Result<()> {
        let (old, new) = (self.step(name), into.step(new_name));
        let movable = self.policy.movable(old, new);
        // A hidden node is ENOENT for any new name.
        if movable == Movable::Nothing && !self.policy.is_hidden(old) {
            return Err(self.refuse_widening(old, new, recorder));
        }
        let from = self.judge(name.into(), Operation::RenameFrom);
        let (from, to) = match (from, into.judge(new_name.into(), Operation::RenameInto)) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(verdict), _) | (Ok(_), Err(verdict)) => {
                if self.is_visibly_same(name, into, new_name) {
                    recorder.decided(CheckOutcome::Preempted);
                    return Ok(());
                }
                let preceding = self.before_rename_denial(name, into, new_name, &verdict);
                let preceding = into.denied_if_hidden(preceding, &verdict);
                return Err(deny(&verdict, preceding, recorder));
            }
        };
        let is_dir = if movable == Movable::Everything { Ok(false) } else { self.is_dir(name) };
        if is_dir == Ok(true) {
            return Err(self.refuse_widening(old, new, recorder));
        }
        recorder.decided(CheckOutcome::Granted(from));
        is_dir?;
        match self.dir.rename(name, &**into.dir, new_name) {
            Err(Errno::Notempty) => Err(into.nonempty_errno(new_name, to)),
            result => result,
        }
    }

    /// Whether both names lead to one node, and the policy grants `STAT` on both. A rename between
    /// them does nothing and needs no right.
    #[cold]
    fn is_visibly_same(&self, name: Name<'_>, into: &CheckedDir<'_>, new_name: Name<'_>) -> bool {
        self.judge(name.into(), Operation::Stat).is_ok()
            && into.judge(new_name.into(), Operation::Stat).is_ok()
            && self.is_same(name, into, new_name)
    }

    /// Whether both names lead to one node. After a rename this means that the rename did nothing.
    pub(crate) fn is_same(
        &self,
        name: Name<'_>,
        into: &CheckedDir<'_>,
        new_name: Name<'_>,
    ) -> bool {
        // After a rename that moved the node, this stat fails and is the only one.
        let Ok(old) = self.dir.stat(name.into()) else { return false };
        let new = into.dir.stat(new_name.into());
        new.is_ok_and(|new| (old.dev, old.ino) == (new.dev, new.ino))
    }

    /// Creates the hard link `new_name` in `into`, which must be under the same policy.
    pub(crate) fn link(
        &self,
        name: Name<'_>,
        into: &CheckedDir<'_>,
        new_name: Name<'_>,
        recorder: &mut impl Recorder,
    ) -> Result<()> {
        let (old, new) = (self.step(name), into.step(new_name));
        if !self.policy.is_hidden(old) && !self.grants(old, self.policy.rights(new)) {
            return Err(self.refuse_widening(old, new, recorder));
        }
        let from = self.judge(name.into(), Operation::LinkFrom);
        match (from, into.judge(new_name.into(), Operation::LinkInto)) {
            (Ok(state), Ok(_)) => {
                recorder.decided(CheckOutcome::Granted(state));
                self.dir.link(name, &**into.dir, new_name)
            }
            (Err(verdict), _) | (Ok(_), Err(verdict)) => {
                let preceding = self.before_link_denial(name, into, new_name, &verdict);
                let preceding = into.denied_if_hidden(preceding, &verdict);
                Err(deny(&verdict, preceding, recorder))
            }
        }
    }

    /// `EXDEV` for a new name at `new` that grants, or hides, something else than `old`.
    fn refuse_widening(&self, old: State, new: State, recorder: &mut impl Recorder) -> Errno {
        let gained = self.policy.rights(new) - self.policy.rights(old);
        recorder.decided(CheckOutcome::Widens { gained });
        Errno::Xdev
    }

    pub(crate) fn set_times(
        &self,
        path: Descent<'_>,
        times: SetTimes,
        recorder: &mut impl Recorder,
    ) -> Result<(), Stop> {
        match self.grant(path, Operation::SetTimes, recorder) {
            Ok(_) => self.dir.set_times(path, times),
            Err(verdict) => Err(deny(&verdict, self.before_node_denial(path, &verdict), recorder)),
        }
    }

    /// Whether the policy grants all of `rights` at `state`.
    pub(crate) fn grants(&self, state: State, rights: Rights) -> bool {
        self.policy.rights(state).contains(rights)
    }
}

/// Masks the counts of `stat` if `policy` hides anything.
pub(crate) fn mask_stat_under(policy: &Policy, stat: Stat) -> Stat {
    if policy.hides() { mask_stat(stat) } else { stat }
}

/// Masks the counts of `stat` that include hidden names. A link count of zero is kept: a removed
/// directory has no hidden names.
pub(crate) fn mask_stat(stat: Stat) -> Stat {
    match stat.kind {
        FileType::Dir => Stat { nlink: stat.nlink.min(1), size: 0, ..stat },
        FileType::File
        | FileType::Symlink
        | FileType::CharDevice
        | FileType::BlockDevice
        | FileType::Fifo
        | FileType::Socket => Stat { nlink: 1, ..stat },
    }
}
