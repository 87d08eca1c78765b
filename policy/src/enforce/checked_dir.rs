//! A directory as a policy sees it: every operation, judged and then handed on.
//!
//! What is judged is the way really taken: names that hold neither links nor `..`, from the
//! confined directory down. Passing a directory takes `LOOKUP` on it; what an operation takes at
//! the name that it is about, [`Operation::needs`] says. What is granted is handed on in one call,
//! and the inner directory answers. What is not granted is `error_order.rs`'s.
//!
//! Nothing is ever looked up by a name that is hidden, so that neither an error nor the time that
//! an answer takes can depend on what is there. What counts hidden names is not told either: under
//! a policy that hides anything there is one name to each node, and a directory has no size. Only
//! one thing tells of them, because something must: a directory in which nothing but hidden names
//! is left can be neither removed nor replaced, and that is `Acces`.
//!
//! Rename and link: what a node may be used for, it may be used for by whatever name it gets. So
//! the new name must grant at most what the old one grants; for a rename also everything that can
//! lie beneath, which is decided on the policy, and never by a walk through the tree. A directory
//! may only be renamed between places that grant the same ([`Policy::movable`]), because handles
//! that are held on it keep the state of the old place. Otherwise it is `Xdev`: programs fall back
//! to copying, and a copy is judged file by file.
//!
//! Deliberately absent: any memory, and any lock.

use std::ops::ControlFlow;

use palisade_vfs::{
    Cookie, Descent, DirRef, Entry, Errno, FileType, Name, Node, OpenHow, Result, Rights, SetTimes,
    Stat, Stop,
};

use crate::automaton::policy::{Movable, Policy, State};
use crate::enforce::verdict::Verdict;
use crate::rules::operation::Operation;

/// A held directory at a state of a policy.
pub(crate) struct View<'a> {
    pub(crate) dir: &'a DirRef,
    pub(crate) policy: &'a Policy,
    pub(crate) state: State,
}

impl<'a> View<'a> {
    /// The state of what `path` leads to, if `operation` is granted there and the way to it is.
    #[inline]
    pub(crate) fn judge(
        &self,
        path: Descent<'_>,
        operation: Operation,
    ) -> Result<State, Verdict<'a>> {
        if let Some(state) = self.policy.grants_beneath(self.state, path, operation.needs()) {
            return Ok(state);
        }
        let verdict = self.policy.judge(self.state, path, operation.needs());
        // Every operation takes some right, so what is hidden misses one.
        if verdict.missing().is_empty() { Ok(verdict.state()) } else { Err(verdict) }
    }

    pub(crate) fn step(&self, name: Name<'_>) -> State {
        self.policy.step(self.state, name)
    }

    /// What `path` leads to, and its state.
    #[inline]
    pub(crate) fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<(Node, State), Stop> {
        let (how, state) = match self.judge(path, Operation::Open(how)) {
            Ok(state) => (how, state),
            Err(verdict) => (self.refuse_open(path, how, &verdict)?, verdict.state()),
        };
        Ok((self.dir.open(path, how)?, state))
    }

    #[inline]
    pub(crate) fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.judge(path, Operation::Stat) {
            Ok(_) if self.policy.hides() => self.dir.stat(path).map(veiled),
            // As it is: not even copied.
            Ok(_) => self.dir.stat(path),
            Err(verdict) => Err(self.refuse_node(path, &verdict)),
        }
    }

    #[inline]
    pub(crate) fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.judge(path, Operation::Stat) {
            Ok(_) if self.policy.hides() => self.dir.stat_following(path).map(veiled),
            Ok(_) => self.dir.stat_following(path),
            Err(verdict) => Err(self.refuse_target(path, &verdict)),
        }
    }

    pub(crate) fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.judge(name.into(), Operation::ReadLink) {
            Ok(_) => self.dir.read_link(name),
            Err(verdict) => Err(match self.kind(name, &verdict)? {
                FileType::Symlink => refusal(&verdict),
                _ => Errno::Inval,
            }),
        }
    }

    pub(crate) fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.judge(Descent::HERE, Operation::List).map_err(|verdict| refusal(&verdict))?;
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

    pub(crate) fn create_dir(&self, name: Name<'_>) -> Result<()> {
        match self.judge(name.into(), Operation::CreateDir) {
            Ok(_) => self.dir.create_dir(name),
            Err(verdict) => Err(self.refuse_new(name, &verdict)),
        }
    }

    pub(crate) fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        match self.judge(name.into(), Operation::CreateSymlink) {
            Ok(_) => self.dir.create_symlink(name, target),
            Err(verdict) => Err(self.refuse_new(name, &verdict)),
        }
    }

    pub(crate) fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.judge(name.into(), Operation::RemoveFile) {
            Ok(_) => self.dir.remove_file(name),
            Err(verdict) => Err(match self.kind(name, &verdict)? {
                FileType::Dir => Errno::Isdir,
                _ => refusal(&verdict),
            }),
        }
    }

    pub(crate) fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.judge(name.into(), Operation::RemoveDir) {
            Ok(state) => match self.dir.remove_dir(name) {
                Err(Errno::Notempty) => Err(self.full(name, state)),
                answer => answer,
            },
            Err(verdict) => Err(self.refuse_remove_dir(name, &verdict)),
        }
    }

    /// `into` must be under the same policy.
    pub(crate) fn rename(&self, name: Name<'_>, into: &View<'_>, new_name: Name<'_>) -> Result<()> {
        let (old, new) = (self.step(name), into.step(new_name));
        let movable = self.policy.movable(old, new);
        // What is hidden is not there to be moved, wherever to.
        if movable == Movable::Nothing && !self.policy.is_hidden(old) {
            return Err(Errno::Xdev);
        }
        let from = self.judge(name.into(), Operation::RenameFrom);
        match (from, into.judge(new_name.into(), Operation::RenameInto)) {
            (Ok(_), Ok(_)) if movable != Movable::Everything && self.is_dir(name)? => {
                Err(Errno::Xdev)
            }
            (Ok(_), Ok(state)) => match self.dir.rename(name, &**into.dir, new_name) {
                Err(Errno::Notempty) => Err(into.full(new_name, state)),
                answer => answer,
            },
            (Err(verdict), _) | (Ok(_), Err(verdict)) => {
                self.refuse_rename(name, into, new_name, &verdict)
            }
        }
    }

    /// Whether, after a rename, both names lead to one node, so that it did nothing.
    pub(crate) fn is_same(&self, name: Name<'_>, into: &View<'_>, new_name: Name<'_>) -> bool {
        // The old name of what was really renamed is gone, and then this is the only look.
        let Ok(old) = self.dir.stat(name.into()) else { return false };
        let new = into.dir.stat(new_name.into());
        new.is_ok_and(|new| (old.dev, old.ino) == (new.dev, new.ino))
    }

    /// `into` must be under the same policy.
    pub(crate) fn link(&self, name: Name<'_>, into: &View<'_>, new_name: Name<'_>) -> Result<()> {
        let (old, new) = (self.step(name), into.step(new_name));
        let (given, kept) = (self.policy.rights(new), self.policy.rights(old));
        if !self.policy.is_hidden(old) && !kept.contains(given) {
            return Err(Errno::Xdev);
        }
        let from = self.judge(name.into(), Operation::LinkFrom);
        match (from, into.judge(new_name.into(), Operation::LinkInto)) {
            (Ok(_), Ok(_)) => self.dir.link(name, &**into.dir, new_name),
            (Err(verdict), _) | (Ok(_), Err(verdict)) => {
                Err(self.refuse_link(name, into, new_name, &verdict))
            }
        }
    }

    pub(crate) fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        match self.judge(path, Operation::SetTimes) {
            Ok(_) => self.dir.set_times(path, times),
            Err(verdict) => Err(self.refuse_node(path, &verdict)),
        }
    }

    /// Whether all of `rights` hold at `state`.
    pub(crate) fn grants(&self, state: State, rights: Rights) -> bool {
        self.policy.rights(state).contains(rights)
    }
}

/// The error that tells what `verdict` refuses.
pub(crate) fn refusal(verdict: &Verdict<'_>) -> Errno {
    verdict.errno().unwrap_or(Errno::Acces)
}

/// `stat` as `policy` lets it be told.
pub(crate) fn veil(policy: &Policy, stat: Stat) -> Stat {
    if policy.hides() { veiled(stat) } else { stat }
}

/// `stat` without what would count hidden names. That a directory is removed is told: no hidden
/// name can keep it.
pub(crate) fn veiled(stat: Stat) -> Stat {
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
