//! Refusals: of the errors that an operation could have, the one that comes first.
//!
//! A refusal is the last of the errors that [`Dir`] lists. So only if a right is missing is there a
//! look at what is there, and what is wrong apart from the right is told first. Where `LOOKUP` is
//! missing too, nothing is told but the refusal; with one exception: **a link is followed first**,
//! so that it is judged where it leads, and not where it lies. What is hidden is not looked at, and
//! not followed: it is `Noent`, after the errors of the way to it; what would create something
//! there is `Acces`.
//!
//! A race between look and refusal can confuse the error, but not grant anything: what follows the
//! look is refused, or needs no right that is missing. A layer may look for itself; what it may not
//! do is to act.

use std::ops::ControlFlow;

#[cfg(doc)]
use palisade_vfs::Dir;
use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    Rights, Stop,
};

use crate::automaton::policy::State;
use crate::enforce::checked_dir::{View, refusal};
use crate::enforce::verdict::Verdict;
use crate::rules::operation::Operation;

impl View<'_> {
    /// The stop at a link on the way to, or at the end of, `path`.
    fn link_at(&self, path: Descent<'_>) -> Option<Stop> {
        match self.dir.open(path, OpenHow::HOLD) {
            Err(link @ Stop::Link { .. }) => Some(link),
            Err(Stop::Errno(_)) | Ok(_) => None,
        }
    }

    /// `Noent` for the hidden end of `path`, unless something is wrong on the way to it.
    fn absent(&self, path: Descent<'_>) -> Stop {
        match path.split_last() {
            None => {}
            // A look as for a name that is missing, so that it takes about as long.
            Some((above, _)) if above.is_here() => drop(self.dir.stat(above)),
            Some((above, _)) => {
                if let Err(stop) = self.dir.open(above, OpenHow::HOLD_DIR) {
                    return stop;
                }
            }
        }
        Errno::Noent.into()
    }

    /// What is at the end of `path`, for an operation that is refused by `verdict`; or the error
    /// that comes before the refusal, or the refusal itself if no more may be told.
    fn look(&self, path: Descent<'_>, verdict: &Verdict<'_>) -> Result<FileType, Stop> {
        let (seen, rest) = path.split_at(verdict.passed());
        if verdict.is_hidden() {
            return Err(self.absent(seen));
        }
        if !rest.is_here() || !self.grants(verdict.state(), Rights::LOOKUP) {
            return Err(self.link_at(seen).unwrap_or(refusal(verdict).into()));
        }
        self.kind_at(path)
    }

    /// The type of what is at the end of `path`, which the guest may know.
    fn kind_at(&self, path: Descent<'_>) -> Result<FileType, Stop> {
        match self.dir.stat(path) {
            Ok(stat) => return Ok(stat.kind),
            // A layer below may let it be held, but not be looked at.
            Err(Stop::Errno(Errno::Acces)) => {}
            Err(stop) => return Err(stop),
        }
        match self.dir.open(path, OpenHow::HOLD) {
            Ok(Node::Dir(_)) => Ok(FileType::Dir),
            Ok(Node::File(file)) => Ok(file.kind()),
            Err(Stop::Link { at, .. }) if at + 1 == path.depth() => Ok(FileType::Symlink),
            Err(stop) => Err(stop),
        }
    }

    /// The type of what `name` leads to, for an operation that is refused by `verdict`; the
    /// refusal if that may not be known.
    pub(crate) fn kind(&self, name: Name<'_>, verdict: &Verdict<'_>) -> Result<FileType> {
        let may_know = verdict.is_hidden() || self.grants(verdict.state(), Rights::LOOKUP);
        if verdict.passed() == 0 || !may_know {
            return Err(refusal(verdict));
        }
        match self.look(name.into(), verdict) {
            Ok(kind) => Ok(kind),
            Err(Stop::Link { .. }) => Ok(FileType::Symlink),
            Err(Stop::Errno(errno)) => Err(errno),
        }
    }

    /// Whether `name`, which the guest may know, is a directory. Nothing at all is none.
    ///
    /// Errors: whatever keeps the type from being known.
    pub(crate) fn is_dir(&self, name: Name<'_>) -> Result<bool> {
        match self.kind_at(name.into()) {
            Ok(kind) => Ok(kind == FileType::Dir),
            Err(Stop::Errno(Errno::Noent) | Stop::Link { .. }) => Ok(false),
            Err(Stop::Errno(errno)) => Err(errno),
        }
    }

    /// An open for which a right is missing: the error that comes first; or how it is to be opened
    /// after all. It may turn out to be a directory that needs less, or to need no creating because
    /// it is there.
    pub(crate) fn refuse_open(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        verdict: &Verdict<'_>,
    ) -> Result<OpenHow, Stop> {
        let at_end = verdict.passed() == path.depth();
        if at_end && verdict.is_hidden() && how.creates() && !path.is_here() {
            self.above(path)?;
            return Err(self.unless_removed(Errno::Acces).into());
        }
        let kind = match self.look(path, verdict) {
            Ok(kind) => kind,
            // An exclusive open never follows the link at the end.
            Err(Stop::Link { at, .. }) if how.is_exclusive() && at + 1 == path.depth() => {
                return Err(refusal(verdict).into());
            }
            Err(Stop::Errno(Errno::Noent)) if at_end && how.creates() => {
                self.above(path)?;
                return Err(self.unless_removed(refusal(verdict)).into());
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
        self.policy.require(verdict.state(), how.needs().node)?;
        Ok(how)
    }

    /// `refused`, unless the directory is removed: nothing can be created in it, by anybody.
    fn unless_removed(&self, refused: Errno) -> Errno {
        let is_removed = self.dir.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0);
        if is_removed { Errno::Noent } else { refused }
    }

    /// What is wrong with the directory in which something would be created.
    fn above(&self, path: Descent<'_>) -> Result<(), Stop> {
        if let Some((above, _)) = path.split_last() {
            self.dir.open(above, OpenHow::HOLD_DIR)?;
        }
        Ok(())
    }

    /// The refusal of what would be done to the node that a link at the end leads to.
    pub(crate) fn refuse_target(&self, path: Descent<'_>, verdict: &Verdict<'_>) -> Stop {
        if !verdict.is_hidden()
            && verdict.passed() == path.depth()
            && let Some(link) = self.link_at(path)
        {
            return link;
        }
        self.refuse_node(path, verdict)
    }

    /// The refusal of what would be done to the node at the end, a link too.
    pub(crate) fn refuse_node(&self, path: Descent<'_>, verdict: &Verdict<'_>) -> Stop {
        match self.look(path, verdict) {
            // The link at the end is what is meant, and not where it leads.
            Err(Stop::Link { at, .. }) if at + 1 == path.depth() => refusal(verdict).into(),
            Err(stop) => stop,
            Ok(_) => refusal(verdict).into(),
        }
    }

    /// Something new that is refused: `Exist` if there is something already.
    pub(crate) fn refuse_new(&self, name: Name<'_>, verdict: &Verdict<'_>) -> Errno {
        if verdict.passed() > 0 && verdict.is_hidden() {
            return self.unless_removed(Errno::Acces);
        }
        match self.kind(name, verdict) {
            Ok(_) => Errno::Exist,
            Err(Errno::Noent) => self.unless_removed(refusal(verdict)),
            Err(errno) => errno,
        }
    }

    pub(crate) fn refuse_remove_dir(&self, name: Name<'_>, verdict: &Verdict<'_>) -> Errno {
        match self.kind(name, verdict) {
            Ok(FileType::Dir) => {
                self.look_empty(name, verdict.state()).err().unwrap_or(refusal(verdict))
            }
            Ok(_) => Errno::Notdir,
            Err(errno) => errno,
        }
    }

    /// `Notempty` for a directory that is seen to have entries, by one who may see them.
    fn look_empty(&self, name: Name<'_>, state: State) -> Result<()> {
        if self.grants(state, Rights::LIST) && self.shows_entries(name, state) == Some(Shows::Some)
        {
            return Err(Errno::Notempty);
        }
        Ok(())
    }

    /// The error for a directory that is not empty: `Acces` if all that is in it is hidden.
    #[cold]
    pub(crate) fn full(&self, name: Name<'_>, state: State) -> Errno {
        if self.policy.may_hide_in(state) && self.shows_entries(name, state) == Some(Shows::None) {
            return Errno::Acces;
        }
        Errno::Notempty
    }

    /// Whether a directory has entries that are not hidden; `None` if that cannot be found out.
    fn shows_entries(&self, name: Name<'_>, state: State) -> Option<Shows> {
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let dir: DirRef = self.dir.open(name.into(), how).ok()?.into_dir().ok()?;
        let mut shows = Shows::None;
        dir.read_dir(Cookie::START, &mut |entry| {
            if self.policy.is_hidden(self.policy.step(state, entry.name)) {
                return ControlFlow::Continue(());
            }
            shows = Shows::Some;
            ControlFlow::Break(())
        })
        .ok()?;
        Some(shows)
    }

    /// A rename for which a right is missing: the error that comes first. `verdict` is the refusal
    /// of either name.
    ///
    /// Which of `Inval`, `Notempty`, `Notdir` and `Isdir` it would be depends on whether one of the
    /// directories lies above the other, and that cannot be seen from where they are held. So none
    /// of them is told in place of the refusal, not even those that could be seen: an error that
    /// depends on what is there is told by the filesystem's order, or not at all.
    pub(crate) fn refuse_rename(
        &self,
        name: Name<'_>,
        into: &View<'_>,
        new_name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<()> {
        self.kind_of(name, verdict)?;
        if into.hides(new_name) {
            return Err(into.unless_removed(Errno::Acces));
        }
        // What may not be seen is not told.
        if self.judge(name.into(), Operation::Stat).is_ok()
            && into.judge(new_name.into(), Operation::Stat).is_ok()
            && let Ok(old) = self.dir.stat(name.into())
            && let Ok(new) = into.dir.stat(new_name.into())
            && (old.dev, old.ino) == (new.dev, new.ino)
        {
            return Ok(());
        }
        Err(into.unless_removed(refusal(verdict)))
    }

    /// A link for which a right is missing: the error that comes first. `verdict` is the refusal of
    /// either name.
    pub(crate) fn refuse_link(
        &self,
        name: Name<'_>,
        into: &View<'_>,
        new_name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Errno {
        let kind = match self.kind_of(name, verdict) {
            Ok(kind) => kind,
            Err(errno) => return errno,
        };
        if into.hides(new_name) {
            return into.unless_removed(Errno::Acces);
        }
        match into.kind_of(new_name, verdict) {
            Ok(_) => Errno::Exist,
            Err(Errno::Noent) if kind == FileType::Dir => into.unless_removed(Errno::Perm),
            Err(Errno::Noent) => into.unless_removed(refusal(verdict)),
            Err(errno) => errno,
        }
    }

    /// Whether `name` is hidden in a directory that is not.
    fn hides(&self, name: Name<'_>) -> bool {
        !self.policy.is_hidden(self.state) && self.policy.is_hidden(self.step(name))
    }

    /// The type of what `name` leads to, for an operation on two names that is refused by
    /// `verdict`, which may be about the other one.
    fn kind_of(&self, name: Name<'_>, verdict: &Verdict<'_>) -> Result<FileType> {
        let look = self.policy.judge(self.state, name.into(), Rights::LOOKUP);
        if !look.is_allowed() && !look.is_hidden() {
            return Err(refusal(verdict));
        }
        self.kind(name, &look)
    }
}

/// Whether a listing has anything to show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    None,
    Some,
}
