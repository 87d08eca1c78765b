//! Confinement as a layer: a directory that holds a directory and a state of the policy.
//!
//! What is judged is the way really taken: names that hold neither links nor `..`, from the
//! confined directory down. The rights are those of the node ([`Rights`]): passing needs `LOOKUP`
//! on each directory passed, opening what [`OpenHow::needs`] says on what is opened, and creating,
//! removing and renaming a right on the directory, with `LOOKUP` on the name.
//!
//! Order of errors: what is granted is passed on in one call, and the inner directory answers.
//! Only if a right is missing is there a look at what is there, so that the errors that come
//! before a refusal come first. Where `LOOKUP` is missing too, nothing is told but the refusal;
//! with one exception: **a link is followed first**, so that it is judged where it leads, and not
//! where it lies. A race between look and refusal can confuse the error, but not grant anything:
//! what follows the look is refused, or needs no right that is missing.
//!
//! Rename and link between two states are `Xdev`: what is moved keeps its rights, whatever name it
//! gets. Programs fall back to copying, and a copy is judged file by file.
//!
//! Lock order: no lock. Deliberately absent: any memory of names; a handle carries its state.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow,
    Result, Rights, SetTimes, Stat, Stop,
};

use crate::file::ConfinedFile;
use crate::{Policy, State};

/// `dir` under `policy`, from [`Policy::START`] on.
///
/// What succeeds in it succeeds in `dir` with the same effect. Between two calls' results, rename
/// and link are `Xdev`, unless both were given the same `policy`.
#[must_use]
pub fn confine(dir: DirRef, policy: Arc<Policy>) -> DirRef {
    Arc::new(Confine { inner: dir, policy, state: Policy::START })
}

/// A directory under a policy.
struct Confine {
    inner: DirRef,
    policy: Arc<Policy>,
    state: State,
}

/// Where a descent leads in the policy.
#[derive(Clone, Copy)]
struct Judged {
    /// The directory that holds the last name.
    parent: State,
    /// What the descent leads to.
    here: State,
}

impl Confine {
    /// Steps through `path`. Every directory passed must grant `LOOKUP`; what `path` leads to
    /// need not.
    fn pass(&self, path: Descent<'_>) -> Result<Judged, Stop> {
        let mut judged = Judged { parent: self.state, here: self.state };
        for (passed, name) in path.names().enumerate() {
            if let Err(refusal) = self.policy.require(judged.here, Rights::LOOKUP) {
                let (seen, _) = path.split_at(passed);
                return Err(self.link_at(seen).unwrap_or(refusal.into()));
            }
            judged = Judged { parent: judged.here, here: self.policy.step(judged.here, name) };
        }
        Ok(judged)
    }

    /// The stop at a link on the way to, or at the end of, `path`.
    fn link_at(&self, path: Descent<'_>) -> Option<Stop> {
        match self.inner.open(path, OpenHow::HOLD) {
            Err(link @ Stop::Link { .. }) => Some(link),
            Err(Stop::Errno(_)) | Ok(_) => None,
        }
    }

    /// What is at `path`, for an operation that is going to be refused, or the error that comes
    /// before the refusal: the natural one if `here` grants `LOOKUP`, else `refusal` itself.
    fn look(&self, path: Descent<'_>, here: State, refusal: Errno) -> Result<FileType, Stop> {
        if !self.policy.rights(here).contains(Rights::LOOKUP) {
            return Err(self.link_at(path).unwrap_or(refusal.into()));
        }
        match self.inner.stat(path) {
            Ok(stat) => return Ok(stat.kind),
            // A layer below may let it be held, but not be looked at.
            Err(Stop::Errno(Errno::Acces) | Stop::Link { .. }) => {}
            Err(stop) => return Err(stop),
        }
        match self.inner.open(path, OpenHow::HOLD) {
            Ok(Node::Dir(_)) => Ok(FileType::Dir),
            Ok(Node::File(file)) => Ok(file.kind()),
            Err(Stop::Link { at, .. }) if at + 1 == path.depth() => Ok(FileType::Symlink),
            Err(stop) => Err(stop),
        }
    }

    /// An open for which a right is missing: the error that comes first. It may turn out to be a
    /// directory that needs less, or to need nothing in its parent because it is there.
    fn open_refused(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        judged: Judged,
    ) -> Result<OpenHow, Stop> {
        let needs = how.needs();
        let node = self.policy.require(judged.here, needs.node);
        let parent = self.policy.require(judged.parent, needs.parent);
        let refusal = node.and(parent).err().unwrap_or(Errno::Acces);
        let kind = match self.look(path, judged.here, refusal) {
            Ok(kind) => kind,
            // An exclusive open never follows the link at the end.
            Err(Stop::Link { at, .. }) if how.is_exclusive() && at + 1 == path.depth() => {
                return Err(refusal.into());
            }
            Err(Stop::Errno(Errno::Noent)) if how.creates() => {
                if let Some((above, _)) = path.split_last() {
                    self.inner.open(above, OpenHow::HOLD_DIR)?;
                }
                return Err(refusal.into());
            }
            Err(stop) => return Err(stop),
        };
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        let mut flags = how.flags - OpenFlags::CREATE;
        match kind {
            FileType::Symlink => return Err(self.link_at(path).unwrap_or(Errno::Again.into())),
            FileType::Dir if how.refuses_dir() => return Err(Errno::Isdir.into()),
            FileType::Dir => flags |= OpenFlags::DIRECTORY,
            _ if how.wants_dir() => return Err(Errno::Notdir.into()),
            FileType::Fifo | FileType::Socket | FileType::BlockDevice => {
                return Err(Errno::Nxio.into());
            }
            FileType::File | FileType::CharDevice => {}
        }
        let how = OpenHow { flags, ..how };
        // It is there: what it takes now is judged anew, and nothing can be created any more.
        self.policy.require(judged.here, how.needs().node)?;
        Ok(how)
    }

    /// The rights for an operation on `name`: `right` on this directory, `LOOKUP` on the name.
    fn require_name(&self, name: Name<'_>, right: Rights) -> Result<()> {
        let here = self.policy.require(self.state, right | Rights::LOOKUP);
        let below = self.policy.require(self.step(name), Rights::LOOKUP);
        below.and(here)
    }

    /// The type of what `name` leads to, for an operation that is going to be refused; `refusal`
    /// if that may not be known.
    fn look_name(&self, name: Name<'_>, refusal: Errno) -> Result<FileType> {
        let here = self.policy.rights(self.state) & self.policy.rights(self.step(name));
        if !here.contains(Rights::LOOKUP) {
            return Err(refusal);
        }
        match self.look(name.into(), self.step(name), refusal) {
            Ok(kind) => Ok(kind),
            Err(Stop::Link { .. }) => Ok(FileType::Symlink),
            Err(Stop::Errno(errno)) => Err(errno),
        }
    }

    /// `Exist` if there is something, else `refusal`.
    fn refuse_new(&self, name: Name<'_>, refusal: Errno) -> Errno {
        match self.look_name(name, refusal) {
            Ok(_) => Errno::Exist,
            Err(Errno::Noent) => refusal,
            Err(errno) => errno,
        }
    }

    /// `Notempty` for a directory that is seen to have entries.
    fn look_empty(&self, name: Name<'_>) -> Result<()> {
        if !self.policy.rights(self.step(name)).contains(Rights::LIST) {
            return Ok(());
        }
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let Ok(Node::Dir(dir)) = self.inner.open(name.into(), how) else { return Ok(()) };
        let mut answer = Ok(());
        dir.read_dir(Cookie::START, &mut |_| {
            answer = Err(Errno::Notempty);
            ControlFlow::Break(())
        })?;
        answer
    }

    /// A rename for which a right is missing: the error that comes first.
    fn refuse_rename(
        &self,
        name: Name<'_>,
        into: &Confine,
        new_name: Name<'_>,
        refusal: Errno,
    ) -> Result<()> {
        let old = self.look_name(name, refusal)?;
        let new = match into.look_name(new_name, refusal) {
            Ok(new) => new,
            Err(Errno::Noent) => return Err(refusal),
            Err(errno) => return Err(errno),
        };
        // Both names stand at one state. What may not be seen is not told.
        if self.policy.rights(self.step(name)).contains(Rights::STAT)
            && let Ok(old) = self.inner.stat(name.into())
            && let Ok(new) = into.inner.stat(new_name.into())
            && (old.dev, old.ino) == (new.dev, new.ino)
        {
            return Ok(());
        }
        match (old == FileType::Dir, new == FileType::Dir) {
            (true, false) => Err(Errno::Notdir),
            (false, true) => Err(Errno::Isdir),
            (true, true) => into.look_empty(new_name).and(Err(refusal)),
            (false, false) => Err(refusal),
        }
    }

    fn step(&self, name: Name<'_>) -> State {
        self.policy.step(self.state, name)
    }

    /// `into`, if it is confined by the same policy and the two names stand at the same state:
    /// a node must not get other rights with another name.
    fn same_policy<'d>(
        &self,
        name: Name<'_>,
        into: &'d dyn Dir,
        new_name: Name<'_>,
    ) -> Result<&'d Confine> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Confine>() {
            Some(into)
                if Arc::ptr_eq(&self.policy, &into.policy)
                    && self.step(name) == into.step(new_name) =>
            {
                Ok(into)
            }
            Some(_) | None => Err(Errno::Xdev),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Confine {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let judged = self.pass(path)?;
        let needs = how.needs();
        let node = self.policy.require(judged.here, needs.node);
        let parent = self.policy.require(judged.parent, needs.parent);
        let how = match node.and(parent) {
            Ok(()) => how,
            Err(_) => self.open_refused(path, how, judged)?,
        };
        let (policy, state) = (Arc::clone(&self.policy), judged.here);
        Ok(match self.inner.open(path, how)? {
            Node::Dir(inner) => Node::Dir(Arc::new(Confine { inner, policy, state })),
            Node::File(file) if policy.rights(state).contains(Rights::OF_FILES) => Node::File(file),
            Node::File(inner) => Node::File(Arc::new(ConfinedFile { inner, policy, state })),
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let judged = self.pass(path)?;
        if let Err(refusal) = self.policy.require(judged.here, Rights::LOOKUP | Rights::STAT) {
            // A link is answered as one, so that it can be followed.
            if let Some(link) = self.link_at(path) {
                return Err(link);
            }
            self.look(path, judged.here, refusal)?;
            return Err(refusal.into());
        }
        self.inner.stat(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.policy.require(self.state, Rights::LOOKUP)?;
        let wanted = Rights::LOOKUP | Rights::READ_LINK;
        if let Err(refusal) = self.policy.require(self.step(name), wanted) {
            return Err(match self.look_name(name, refusal)? {
                FileType::Symlink => refusal,
                _ => Errno::Inval,
            });
        }
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.policy.require(self.state, Rights::LIST)?;
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        match self.require_name(name, Rights::CREATE_DIR) {
            Ok(()) => self.inner.create_dir(name),
            Err(refusal) => Err(self.refuse_new(name, refusal)),
        }
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        match self.require_name(name, Rights::CREATE_SYMLINK) {
            Ok(()) => self.inner.create_symlink(name, target),
            Err(refusal) => Err(self.refuse_new(name, refusal)),
        }
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.require_name(name, Rights::REMOVE_FILE) {
            Ok(()) => self.inner.remove_file(name),
            Err(refusal) => Err(match self.look_name(name, refusal)? {
                FileType::Dir => Errno::Isdir,
                _ => refusal,
            }),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.require_name(name, Rights::REMOVE_DIR) {
            Ok(()) => self.inner.remove_dir(name),
            Err(refusal) => match self.look_name(name, refusal)? {
                FileType::Dir => self.look_empty(name).and(Err(refusal)),
                _ => Err(Errno::Notdir),
            },
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_policy(name, into, new_name)?;
        let old = self.require_name(name, Rights::RENAME_FROM);
        let new = into.require_name(new_name, Rights::RENAME_INTO);
        match old.and(new) {
            Ok(()) => self.inner.rename(name, &*into.inner, new_name),
            Err(refusal) => self.refuse_rename(name, into, new_name, refusal),
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_policy(name, into, new_name)?;
        let old = self.require_name(name, Rights::LINK_FROM);
        let new = into.require_name(new_name, Rights::LINK_INTO);
        let refusal = match old.and(new) {
            Ok(()) => return self.inner.link(name, &*into.inner, new_name),
            Err(refusal) => refusal,
        };
        let kind = self.look_name(name, refusal)?;
        match into.refuse_new(new_name, refusal) {
            errno if errno != refusal => Err(errno),
            _ if kind == FileType::Dir => Err(Errno::Perm),
            refusal => Err(refusal),
        }
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let judged = self.pass(path)?;
        let wanted = Rights::LOOKUP | Rights::SET_TIMES;
        if let Err(refusal) = self.policy.require(judged.here, wanted) {
            return Err(match self.look(path, judged.here, refusal) {
                // The link at the end is what is meant, and not where it leads.
                Err(Stop::Link { at, .. }) if at + 1 == path.depth() => refusal.into(),
                Err(stop) => stop,
                Ok(_) => refusal.into(),
            });
        }
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}
