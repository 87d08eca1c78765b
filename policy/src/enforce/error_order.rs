//! Error precedence: the errors that a denied operation returns instead of the denial.
//!
//! [`Dir`] lists the denial last among the errors of each operation. So a denied operation first
//! stats the node, and an earlier error, such as `EEXIST`, is returned in place of the denial. Each
//! `before_*` function is an ordered list of checks: it returns the first error that precedes the
//! denial, or `Ok` if there is none, and [`deny`] then returns the denial. No result of this module
//! allows an operation.
//!
//! Where `LOOKUP` is missing too, nothing is statted, with one exception: a symbolic link on the
//! path is followed first, so that the policy is applied to the target and not to the link. A
//! hidden path is neither statted nor followed: it is `ENOENT`, after the errors of its parent
//! directory, and creating it is `EACCES`.
//!
//! A race between the stat and the denial can select the wrong errno but cannot grant anything,
//! because the operation is denied in any case. A layer may stat on its own account, but must not
//! change anything.

use std::ops::ControlFlow;

#[cfg(doc)]
use palisade_vfs::Dir;
use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    Rights, Stop,
};

use crate::automaton::policy::State;
use crate::enforce::checked_dir::CheckedDir;
use crate::enforce::verdict::{CheckOutcome, Denial, Recorder, Verdict};

/// The error of a denied operation.
pub(crate) enum Refused<E> {
    /// An error that precedes the denial.
    Precedes(E),
    /// The denial, or the error that a hidden path returns in its place.
    Denied(E, Denial),
    /// An error of an operation for which all rights are granted at this state.
    Failed(E, State),
}

impl<E> Refused<E> {
    /// The denial of `verdict`.
    pub(crate) fn denied(verdict: &Verdict<'_>) -> Self
    where
        E: From<Errno>,
    {
        Refused::Denied(denial_errno(verdict).into(), verdict.denial())
    }

    /// Records the outcome and returns the error.
    pub(crate) fn record(self, recorder: &mut impl Recorder) -> E {
        match self {
            Refused::Precedes(error) => {
                recorder.decided(CheckOutcome::Preempted);
                error
            }
            Refused::Denied(error, denial) => {
                recorder.decided(CheckOutcome::Denied(denial));
                error
            }
            Refused::Failed(error, state) => {
                recorder.decided(CheckOutcome::Granted(state));
                error
            }
        }
    }
}

impl Refused<Stop> {
    /// The error `stop` of a lookup for an operation that `verdict` denies. An error that does not
    /// depend on the node, such as `EACCES` or `EIO` of an inner directory, is returned but does
    /// not precede the denial: the operation is recorded as denied.
    fn before(stop: Stop, verdict: &Verdict<'_>) -> Self {
        let is_of_node = match &stop {
            Stop::Link { .. } => true,
            Stop::Errno(errno) => matches!(
                errno,
                Errno::Noent | Errno::Exist | Errno::Isdir | Errno::Notdir | Errno::Nxio
            ),
        };
        if is_of_node { Refused::Precedes(stop) } else { Refused::Denied(stop, verdict.denial()) }
    }
}

/// Returns the error of a denied operation: the first that precedes the denial, or the denial.
pub(crate) fn deny<E: From<Errno>>(
    verdict: &Verdict<'_>,
    preceding: Result<(), Refused<E>>,
    recorder: &mut impl Recorder,
) -> E {
    preceding.err().unwrap_or_else(|| Refused::denied(verdict)).record(recorder)
}

/// The errno of a denial.
pub(crate) fn denial_errno(verdict: &Verdict<'_>) -> Errno {
    verdict.errno().unwrap_or(Errno::Acces)
}

// The lists of checks.
impl CheckedDir<'_> {
    /// Errors that precede the denial of an operation on the node at `path`, not following a link.
    pub(crate) fn before_node_denial(
        &self,
        path: Descent<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Stop>> {
        match self.lookup(path, verdict) {
            // The operation is about the link itself.
            Err(Refused::Precedes(Stop::Link { at, .. })) if at + 1 == path.depth() => Ok(()),
            Err(refused) => Err(refused),
            Ok(_) => Ok(()),
        }
    }

    /// As [`CheckedDir::before_node_denial`], but follows a link at the end of `path`.
    pub(crate) fn before_target_denial(
        &self,
        path: Descent<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Stop>> {
        if !verdict.is_hidden()
            && verdict.passed() == path.depth()
            && let Some(link) = self.link_at(path)
        {
            return Err(Refused::Precedes(link));
        }
        self.before_node_denial(path, verdict)
    }

    /// Returns the type of the existing node that a denied open refers to. The caller then
    /// evaluates the open again, because opening an existing node needs no right to create it, and
    /// listing a directory needs none to read a file.
    ///
    /// # Errors
    ///
    /// In this order: errors of the parent directory, `ENOENT`, the denial of creating a file,
    /// `EEXIST`.
    pub(crate) fn existing_kind(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        verdict: &Verdict<'_>,
    ) -> Result<FileType, Refused<Stop>> {
        let at_end = verdict.passed() == path.depth();
        if at_end && verdict.is_hidden() && how.creates() && !path.is_here() {
            let of_parent = self.parent_error(path);
            of_parent.map_err(|stop| Refused::Denied(stop, verdict.denial()))?;
            return Err(Refused::Denied(self.hidden_name_errno().into(), verdict.denial()));
        }
        match self.lookup(path, verdict) {
            Ok(_) if how.is_exclusive() => Err(Refused::Precedes(Errno::Exist.into())),
            // An exclusive open never follows the link at the end.
            Err(Refused::Precedes(Stop::Link { at, .. }))
                if how.is_exclusive() && at + 1 == path.depth() =>
            {
                Err(Refused::denied(verdict))
            }
            Err(Refused::Precedes(Stop::Errno(Errno::Noent))) if at_end && how.creates() => {
                self.parent_error(path).map_err(|stop| Refused::before(stop, verdict))?;
                self.enoent_if_removed()?;
                Err(Refused::denied(verdict))
            }
            kind_or_error => kind_or_error,
        }
    }

    /// Errors that precede the denial of opening the existing node at `path`, which is a `kind`.
    pub(crate) fn before_open_denial(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        kind: FileType,
    ) -> Result<(), Refused<Stop>> {
        let errno = match kind {
            FileType::Symlink => {
                let link = self.link_at(path).unwrap_or(Errno::Again.into());
                return Err(Refused::Precedes(link));
            }
            FileType::Dir if how.refuses_dir() => Errno::Isdir,
            FileType::Dir => return Ok(()),
            _ if how.wants_dir() => Errno::Notdir,
            FileType::Fifo | FileType::Socket | FileType::BlockDevice => Errno::Nxio,
            FileType::File | FileType::CharDevice => return Ok(()),
        };
        Err(Refused::Precedes(errno.into()))
    }

    /// Errors that precede the denial of reading a link: `ENOENT`, `EINVAL`.
    pub(crate) fn before_read_link_denial(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        match self.kind(name, verdict)? {
            FileType::Symlink => Ok(()),
            _ => Err(Refused::Precedes(Errno::Inval)),
        }
    }

    /// Errors that precede the denial of creating `name`: `EEXIST`, `ENOENT`.
    pub(crate) fn before_create_denial(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        if verdict.passed() > 0 && verdict.is_hidden() {
            return Err(Refused::Denied(self.hidden_name_errno(), verdict.denial()));
        }
        match self.kind(name, verdict) {
            Ok(_) => Err(Refused::Precedes(Errno::Exist)),
            Err(Refused::Precedes(Errno::Noent)) => self.enoent_if_removed(),
            Err(refused) => Err(refused),
        }
    }

    /// Errors that precede the denial of removing a file: `ENOENT`, `EISDIR`.
    pub(crate) fn before_remove_file_denial(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        match self.kind(name, verdict)? {
            FileType::Dir => Err(Refused::Precedes(Errno::Isdir)),
            _ => Ok(()),
        }
    }

    /// Errors that precede the denial of removing a directory: `ENOENT`, `ENOTDIR`, `ENOTEMPTY`.
    pub(crate) fn before_remove_dir_denial(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        match self.kind(name, verdict)? {
            FileType::Dir => self.enotempty_if_listable(name, verdict.state()),
            _ => Err(Refused::Precedes(Errno::Notdir)),
        }
    }

    /// Errors that precede the denial of a rename: `ENOENT`. `verdict` denies either name.
    ///
    /// Which of `EINVAL`, `ENOTEMPTY`, `ENOTDIR` and `EISDIR` a filesystem returns depends on
    /// whether one directory contains the other, which cannot be found out from their handles. So
    /// none of the four precedes the denial, not even where it could be determined.
    pub(crate) fn before_rename_denial(
        &self,
        name: Name<'_>,
        into: &CheckedDir<'_>,
        new_name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        self.kind_if_lookup_granted(name, verdict)?;
        into.eacces_if_hidden(new_name, verdict)?;
        into.enoent_if_removed()
    }

    /// Errors that precede the denial of a hard link: `ENOENT`, `EEXIST`, `EPERM`. `verdict` denies
    /// either name.
    pub(crate) fn before_link_denial(
        &self,
        name: Name<'_>,
        into: &CheckedDir<'_>,
        new_name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        let kind = self.kind_if_lookup_granted(name, verdict)?;
        into.eacces_if_hidden(new_name, verdict)?;
        match into.kind_if_lookup_granted(new_name, verdict) {
            Ok(_) => return Err(Refused::Precedes(Errno::Exist)),
            // Also in a hidden directory: the denial of the link comes first.
            Err(Refused::Precedes(Errno::Noent) | Refused::Denied(Errno::Noent, _)) => {}
            Err(refused) => return Err(refused),
        }
        into.enoent_if_removed()?;
        if kind == FileType::Dir { Err(Refused::Precedes(Errno::Perm)) } else { Ok(()) }
    }
}

// The checks.
impl CheckedDir<'_> {
    /// Returns the stop at a symbolic link on, or at the end of, `path`.
    fn link_at(&self, path: Descent<'_>) -> Option<Stop> {
        match self.dir.open(path, OpenHow::HOLD) {
            Err(link @ Stop::Link { .. }) => Some(link),
            Err(Stop::Errno(_)) | Ok(_) => None,
        }
    }

    /// The error of a hidden path: an error of its parent directory, or `ENOENT`.
    fn hidden_path_error(&self, path: Descent<'_>) -> Stop {
        match path.split_last() {
            None => {}
            // A lookup as for a missing name, so that the latency is about the same.
            Some((parent, _)) if parent.is_here() => drop(self.dir.stat(parent)),
            Some((parent, _)) => {
                if let Err(stop) = self.dir.open(parent, OpenHow::HOLD_DIR) {
                    return stop;
                }
            }
        }
        Errno::Noent.into()
    }

    /// Returns the type of the node at `path`, for an operation that `verdict` denies.
    ///
    /// # Errors
    ///
    /// An error that precedes the denial, or the denial itself if `LOOKUP` is missing.
    fn lookup(&self, path: Descent<'_>, verdict: &Verdict<'_>) -> Result<FileType, Refused<Stop>> {
        let (passed, rest) = path.split_at(verdict.passed());
        if verdict.is_hidden() {
            return Err(Refused::Denied(self.hidden_path_error(passed), verdict.denial()));
        }
        if !rest.is_here() || !self.grants(verdict.state(), Rights::LOOKUP) {
            let link = self.link_at(passed).map(Refused::Precedes);
            return Err(link.unwrap_or_else(|| Refused::denied(verdict)));
        }
        self.kind_at(path).map_err(|stop| Refused::before(stop, verdict))
    }

    /// Returns the type of the node at `path`, on which the policy must grant `LOOKUP`.
    fn kind_at(&self, path: Descent<'_>) -> Result<FileType, Stop> {
        match self.dir.stat(path) {
            Ok(stat) => return Ok(stat.kind),
            // An inner layer may allow holding the node but not statting it.
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

    /// Returns the type of the node `name`, for an operation that `verdict` denies.
    ///
    /// # Errors
    ///
    /// An error that precedes the denial, or the denial itself if `LOOKUP` is missing.
    fn kind(&self, name: Name<'_>, verdict: &Verdict<'_>) -> Result<FileType, Refused<Errno>> {
        let may_lookup = verdict.is_hidden() || self.grants(verdict.state(), Rights::LOOKUP);
        if verdict.passed() == 0 || !may_lookup {
            return Err(Refused::denied(verdict));
        }
        match self.lookup(name.into(), verdict) {
            Ok(kind) => Ok(kind),
            Err(Refused::Precedes(Stop::Errno(errno))) => Err(Refused::Precedes(errno)),
            Err(Refused::Denied(Stop::Errno(errno), denial)) => Err(Refused::Denied(errno, denial)),
            Err(Refused::Failed(Stop::Errno(errno), state)) => Err(Refused::Failed(errno, state)),
            Err(
                Refused::Precedes(Stop::Link { .. })
                | Refused::Denied(Stop::Link { .. }, _)
                | Refused::Failed(Stop::Link { .. }, _),
            ) => Ok(FileType::Symlink),
        }
    }

    /// As [`CheckedDir::kind`] for an operation on two names: `verdict` may deny the other name, so
    /// `LOOKUP` is evaluated for this one.
    fn kind_if_lookup_granted(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<FileType, Refused<Errno>> {
        let lookup = self.policy.judge(self.state, name.into(), Rights::LOOKUP);
        if !lookup.is_allowed() && !lookup.is_hidden() {
            return Err(Refused::denied(verdict));
        }
        self.kind(name, &lookup).map_err(|refused| match refused {
            Refused::Denied(errno, _) => Refused::Denied(errno, verdict.denial()),
            refused => refused,
        })
    }

    /// Whether `name`, on which the policy must grant `LOOKUP`, is a directory. A missing node is
    /// not.
    ///
    /// # Errors
    ///
    /// Those of the stat.
    pub(crate) fn is_dir(&self, name: Name<'_>) -> Result<bool> {
        match self.kind_at(name.into()) {
            Ok(kind) => Ok(kind == FileType::Dir),
            Err(Stop::Errno(Errno::Noent) | Stop::Link { .. }) => Ok(false),
            Err(Stop::Errno(errno)) => Err(errno),
        }
    }

    /// Returns the errors of the parent directory of `path`.
    fn parent_error(&self, path: Descent<'_>) -> Result<(), Stop> {
        if let Some((parent, _)) = path.split_last() {
            self.dir.open(parent, OpenHow::HOLD_DIR)?;
        }
        Ok(())
    }

    /// Whether the directory was removed.
    fn is_removed(&self) -> bool {
        self.dir.stat(Descent::HERE).is_ok_and(|stat| stat.nlink == 0)
    }

    /// `ENOENT` if the directory was removed: no caller can create a name in it.
    fn enoent_if_removed<E: From<Errno>>(&self) -> Result<(), Refused<E>> {
        if self.is_removed() { Err(Refused::Precedes(Errno::Noent.into())) } else { Ok(()) }
    }

    /// The errno of creating a hidden name.
    fn hidden_name_errno(&self) -> Errno {
        if self.is_removed() { Errno::Noent } else { Errno::Acces }
    }

    /// `EACCES` if the second name of an operation is hidden in a directory that is not hidden.
    fn eacces_if_hidden(
        &self,
        name: Name<'_>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        if self.policy.is_hidden(self.state) || !self.policy.is_hidden(self.step(name)) {
            return Ok(());
        }
        self.enoent_if_removed()?;
        Err(Refused::Denied(Errno::Acces, verdict.denial()))
    }

    /// Turns an error that precedes the denial into the denial, with the same errno, if this second
    /// directory of an operation is hidden: its handle grants nothing.
    pub(crate) fn denied_if_hidden(
        &self,
        preceding: Result<(), Refused<Errno>>,
        verdict: &Verdict<'_>,
    ) -> Result<(), Refused<Errno>> {
        match preceding {
            Err(Refused::Precedes(errno)) if self.policy.is_hidden(self.state) => {
                Err(Refused::Denied(errno, verdict.denial()))
            }
            preceding => preceding,
        }
    }

    /// `ENOTEMPTY` for a directory with visible entries, if the policy grants `LIST` on it.
    fn enotempty_if_listable(&self, name: Name<'_>, state: State) -> Result<(), Refused<Errno>> {
        let is_listable = self.grants(state, Rights::LIST);
        if is_listable && self.has_visible_entries(name, state) == Some(true) {
            return Err(Refused::Precedes(Errno::Notempty));
        }
        Ok(())
    }

    /// The errno for a directory that is not empty: `EACCES` if all of its entries are hidden.
    #[cold]
    pub(crate) fn nonempty_errno(&self, name: Name<'_>, state: State) -> Errno {
        if self.policy.may_hide_in(state) && self.has_visible_entries(name, state) == Some(false) {
            return Errno::Acces;
        }
        Errno::Notempty
    }

    /// Whether a directory has an entry that is not hidden; `None` if it cannot be listed.
    fn has_visible_entries(&self, name: Name<'_>, state: State) -> Option<bool> {
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let dir: DirRef = self.dir.open(name.into(), how).ok()?.into_dir().ok()?;
        let mut is_visible = false;
        dir.read_dir(Cookie::START, &mut |entry| {
            if self.policy.is_hidden(self.policy.step(state, entry.name)) {
                return ControlFlow::Continue(());
            }
            is_visible = true;
            ControlFlow::Break(())
        })
        .ok()?;
        Some(is_visible)
    }
}
