//! Commit: makes a directory equal to the tree that an overlay over it shows.
//!
//! Everything that is needed is in the upper; the target keeps all entries that the upper does not
//! mention. So the lowers are not read, although the target may itself be a lower, and an
//! interrupted commit can be repeated: entries that are equal already are kept.
//!
//! A commit makes three passes. The survey reads the upper alone and rejects nodes that cannot be
//! committed, before anything changes. The second pass creates all nodes of the upper: a file is
//! written under a temporary name, its times are set, it is synced and renamed over the existing
//! entry. The third pass removes the entries that the upper hides and sets the times of
//! directories. So a renamed node has its new name before it loses the old one.
//!
//! Links in the target are never followed: the target is walked name by name, and a link that is in
//! the way is replaced.
//!
//! Deliberately absent: renames in the target. A renamed directory is written again and the old one
//! is removed: a directory that moved before its new content was complete could not be
//! distinguished from one that never moved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::super::Identity;
use super::super::lowers::to_errno;
use super::super::upper::UpperRef;
use super::diff::same_bytes;
use super::report::{Committed, Lost, Note, Progress, Step};
use super::{PathError, join, kind_of, node, remove_tree, whiteouts};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, Leave, Visit, Visitor, WalkDir, enter_path, names, walk};
use crate::{
    Access, Descent, Dir, DirRef, Errno, File, FileRef, FileType, Name, OpenFlags, OpenHow, Result,
    Stat, Stop, SyncScope, bug,
};

/// The prefix of temporary names; the token of the upper and a number follow.
const TEMPORARY: &str = ".palisade-commit-";
/// Attempts to create a temporary name. Only the upper knows the token, so the first name is free.
const ATTEMPTS_MAX: u32 = 1024;
/// The most notes in a report.
const NOTES_MAX: usize = 64;

/// Makes `target`, whose content is that of the lowers of `upper`, equal to the merged tree: files,
/// symbolic links, hard links, directories, and their times.
///
/// Each file is replaced atomically, also for a crash: it is synced before the rename. An error or
/// a crash in between leaves a target that is part old and part new. A repeated call with the same
/// upper completes it, and removes the temporary files of the interrupted commit, whose names no
/// guest can guess. An equal file is kept, with its identity and the host's metadata. A replaced
/// file passes on its permissions and its owner.
///
/// A file of another owner can be replaced if its directory is writable, but its times, permissions
/// and owner may not be settable: see [`Committed::notes`].
///
/// Neither the upper nor the target may change meanwhile. An overlay over `target` must not be used
/// afterwards, since its lower has changed.
///
/// # Errors
/// - `EPERM`: a node is neither a file nor a directory nor a symbolic link. Nothing has changed.
/// - The errors of the upper and of the target.
pub fn commit(
    upper: &UpperRef,
    target: &DirRef,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Committed, PathError> {
    let survey = Survey::of(upper)?;
    let mut commit = Commit {
        survey,
        target,
        progress,
        committed: Committed::default(),
        firsts: HashMap::default(),
        done: 0,
        bytes_done: 0,
        temporary: format!("{TEMPORARY}{:032x}-", upper.commit_token().at("")?),
        temporary_next: 0,
    };
    let dir = (Arc::clone(upper), Arc::clone(target));
    walk(commit.enter_to_place(dir.clone(), "")?, &mut PlacePass(&mut commit))?;
    walk(commit.enter_to_finish(dir, Hides::No, "")?, &mut FinishPass(&mut commit))?;
    Ok(commit.committed)
}

/// The totals of the upper, from the first pass.
#[derive(Default)]
struct Survey {
    total: u64,
    bytes: u64,
    /// The paths of the files with several names.
    groups: HashMap<Identity, Vec<SharedPath>, RandomState>,
}

struct Commit<'a> {
    survey: Survey,
    target: &'a DirRef,
    progress: &'a mut dyn FnMut(Progress<'_>),
    committed: Committed,
    /// The first name of each file with several names.
    firsts: HashMap<Identity, SharedPath, RandomState>,
    done: u64,
    bytes_done: u64,
    /// The prefix of the temporary names of this upper's commits.
    temporary: String,
    temporary_next: u32,
}

/// A directory of the upper, and the same directory of the target.
type Pair = (UpperRef, DirRef);

/// Whether a directory, or an ancestor, is opaque.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hides {
    No,
    Yes,
}

/// The second pass: creates the nodes of the upper.
struct PlacePass<'c, 'a>(&'c mut Commit<'a>);

/// The third pass: removes hidden entries and sets times. A directory's times are set after its
/// entries are finished.
struct FinishPass<'c, 'a>(&'c mut Commit<'a>);

impl Survey {
    fn of(upper: &UpperRef) -> Result<Survey, PathError> {
        let mut survey = Survey::default();
        walk(survey.enter(Arc::clone(upper), "")?, &mut survey)?;
        Ok(survey)
    }

    fn enter(&mut self, dir: UpperRef, path: &str) -> Result<Entered<UpperRef, ()>, PathError> {
        self.total += whiteouts(&*dir).at(path)?.len() as u64;
        let names = names(&*dir).at(path)?;
        Ok(Entered { dir, names, data: () })
    }
}

/// The first pass: counts, and rejects special files.
impl Visitor for Survey {
    type Dir = UpperRef;
    type Data = ();
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, UpperRef, ()>,
    ) -> Result<Option<Entered<UpperRef, ()>>, PathError> {
        let stat = node(&**at.dir, at.name).at(at.path)?;
        self.total += 1;
        match stat.kind {
            FileType::Dir => {
                let dir = WalkDir::enter(at.dir, at.name).at(at.path)?;
                return self.enter(dir, at.path).map(Some);
            }
            FileType::File => self.bytes += stat.size,
            FileType::Symlink => {}
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                return Err(Errno::Perm).at(at.path);
            }
        }
        if stat.nlink > 1 {
            self.groups.entry((stat.dev, stat.ino)).or_default().push(at.shared_path());
        }
        Ok(None)
    }
}

impl Visitor for PlacePass<'_, '_> {
    type Dir = Pair;
    type Data = ();
    type Error = PathError;

    fn node(&mut self, at: Visit<'_, Pair, ()>) -> Result<Option<Entered<Pair, ()>>, PathError> {
        let (upper, target) = at.dir;
        let stat = node(&**upper, at.name).at(at.path)?;
        let entered = if stat.kind == FileType::Dir {
            self.0.place_dir(&**target, at.name, at.path)?;
            Some(self.0.enter_to_place(at.dir.enter(at.name).at(at.path)?, at.path)?)
        } else {
            self.0.place_leaf(&at, &stat)?;
            self.0.bytes_done += if stat.kind == FileType::File { stat.size } else { 0 };
            None
        };
        self.0.done += 1;
        Ok(entered)
    }
}

impl Visitor for FinishPass<'_, '_> {
    type Dir = Pair;
    type Data = Hides;
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, Pair, Hides>,
    ) -> Result<Option<Entered<Pair, Hides>>, PathError> {
        if node(&*at.dir.0, at.name).at(at.path)?.kind != FileType::Dir {
            return Ok(None);
        }
        let dir = at.dir.enter(at.name).at(at.path)?;
        self.0.enter_to_finish(dir, *at.data, at.path).map(Some)
    }

    fn leave(&mut self, at: Leave<'_, Pair, Hides>) -> Result<(), PathError> {
        let ((upper, target), path) = (at.dir, at.path);
        let times = to_errno(upper.stat(Descent::HERE)).at(path)?.times();
        if to_errno(target.stat(Descent::HERE)).at(path)?.times() != times {
            self.0.note(to_errno(target.set_times(Descent::HERE, times)), Lost::Times, path)?;
        }
        target.sync().at(path)
    }
}

impl Commit<'_> {
    fn report(&mut self, step: Step, path: &str) {
        (self.progress)(Progress {
            step,
            path,
            done: self.done,
            total: self.survey.total,
            bytes_done: self.bytes_done,
            bytes_total: self.survey.bytes,
        });
    }

    fn enter_to_place(&mut self, dir: Pair, path: &str) -> Result<Entered<Pair, ()>, PathError> {
        self.evict(&dir.1, path)?;
        let names = names(&*dir.0).at(path)?;
        Ok(Entered { dir, names, data: () })
    }

    /// Removes the temporary files of an interrupted commit from a directory.
    fn evict(&self, target: &DirRef, path: &str) -> Result<(), PathError> {
        for name in names(&**target).at(path)? {
            if name.starts_with(&self.temporary) {
                let path = join(path, &name);
                remove_tree(target, Name::new(&name).at(&path)?, &path)?;
            }
        }
        Ok(())
    }

    /// Records a loss of metadata instead of an error, if it is not permitted or not supported.
    fn note(&mut self, kept: Result<()>, lost: Lost, path: &str) -> Result<(), PathError> {
        match kept {
            Err(errno @ (Errno::Perm | Errno::Acces | Errno::Notsup)) => {
                if self.committed.notes.len() < NOTES_MAX {
                    self.committed.notes.push(Note { path: path.to_owned(), lost, errno });
                } else {
                    self.committed.notes_left_out += 1;
                }
                Ok(())
            }
            kept => kept.at(path),
        }
    }

    fn place_dir(&mut self, target: &dyn Dir, name: Name<'_>, path: &str) -> Result<(), PathError> {
        self.report(Step::Directory, path);
        match kind_of(target, name).at(path)? {
            Some(FileType::Dir) => return Ok(()),
            Some(_) => target.remove_file(name).at(path)?,
            None => {}
        }
        target.create_dir(name).at(path)?;
        self.committed.dirs += 1;
        Ok(())
    }

    fn place_leaf(&mut self, at: &Visit<'_, Pair, ()>, stat: &Stat) -> Result<(), PathError> {
        let id = (stat.dev, stat.ino);
        let target = &at.dir.1;
        let existing = stat_target(&**target, at.name).at(at.path)?;
        if let Some(first) = self.firsts.get(&id).cloned() {
            return self.place_link(at, &first, existing.as_ref());
        }
        let can_stay = match (&existing, self.survey.groups.get(&id)) {
            (None, _) => false,
            (Some(existing), None) => existing.nlink == 1,
            (Some(existing), Some(group)) => self.is_group(existing, group),
        };
        if let Some(existing) = existing.as_ref().filter(|_| can_stay)
            && is_same(at, stat, existing).at(at.path)?
        {
            self.report(Step::Keep, at.path);
            if existing.times() != stat.times() {
                let set = to_errno(target.set_times(at.name.into(), stat.times()));
                self.note(set, Lost::Times, at.path)?;
            }
            self.committed.kept += 1;
        } else {
            self.write(at, stat, existing.as_ref())?;
        }
        if self.survey.groups.contains_key(&id) {
            self.firsts.insert(id, at.shared_path());
        }
        Ok(())
    }

    /// Returns whether `group` contains exactly the names of `existing` in the target.
    fn is_group(&self, existing: &Stat, group: &[SharedPath]) -> bool {
        let is_existing = |path: &SharedPath| {
            let stat = self.target_stat(path);
            stat.is_ok_and(|stat| (stat.dev, stat.ino) == (existing.dev, existing.ino))
        };
        existing.nlink == group.len() as u64 && group.iter().all(is_existing)
    }

    fn target_stat(&self, path: &SharedPath) -> Result<Stat> {
        let (parent, name) = path.split_last().ok_or_else(|| bug!("a file at the root"))?;
        to_errno(enter_path(self.target, parent)?.stat(Name::new(name)?.into()))
    }

    /// Creates a hard link to the file at `first`.
    fn place_link(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        first: &SharedPath,
        existing: Option<&Stat>,
    ) -> Result<(), PathError> {
        let target = &at.dir.1;
        let (parent, first_name) =
            first.split_last().ok_or_else(|| bug!("a file at the root")).at(at.path)?;
        let dir = match parent == at.dir_path {
            true => Arc::clone(target),
            false => enter_path(self.target, parent).at(at.path)?,
        };
        let first_name = Name::new(first_name).at(at.path)?;
        let stat = to_errno(dir.stat(first_name.into())).at(at.path)?;
        if existing.is_some_and(|existing| (existing.dev, existing.ino) == (stat.dev, stat.ino)) {
            self.report(Step::Keep, at.path);
            self.committed.kept += 1;
            return Ok(());
        }
        self.report(Step::HardLink, at.path);
        let temporary = self.temporary(|name| dir.link(first_name, &**target, name)).at(at.path)?;
        self.install(at, &temporary, existing)?;
        self.committed.hard_links += 1;
        Ok(())
    }

    /// Writes a file or a symbolic link under a temporary name, and installs it.
    fn write(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        stat: &Stat,
        existing: Option<&Stat>,
    ) -> Result<(), PathError> {
        let ((upper, target), name, path) = (at.dir, at.name, at.path);
        let target = &**target;
        let temporary = if stat.kind == FileType::Symlink {
            self.report(Step::Symlink, path);
            let link_target = upper.read_link(name).at(path)?;
            let temporary =
                self.temporary(|name| target.create_symlink(name, &link_target)).at(path)?;
            let checked = Name::new(&temporary).at(path)?;
            let set = to_errno(target.set_times(checked.into(), stat.times()));
            clean_up(self.note(set, Lost::Times, path), target, checked)?;
            self.committed.symlinks += 1;
            temporary
        } else {
            self.report(Step::File, path);
            let from = to_errno(upper.open(name.into(), OpenHow::READ)).at(path)?;
            let from = from.into_file().at(path)?;
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
            let mut file = None;
            let like = existing.filter(|existing| existing.kind == FileType::File).map(|_| name);
            let open = |temporary: Name<'_>| {
                file = Some(create(target, temporary, like, how)?);
                Ok(())
            };
            let temporary = self.temporary(open).at(path)?;
            let file = file.ok_or_else(|| bug!("no file was opened")).at(path)?;
            let written = self.fill(&*from, &*file, stat, path);
            let checked = Name::new(&temporary).at(path)?;
            self.committed.bytes += clean_up(written, target, checked)?;
            self.committed.files += 1;
            temporary
        };
        self.install(at, &temporary, existing)
    }

    /// Copies and syncs a file. Returns its length in bytes.
    fn fill(
        &mut self,
        from: &dyn File,
        to: &dyn File,
        stat: &Stat,
        path: &str,
    ) -> Result<u64, PathError> {
        let bytes = copy_bytes(from, to).at(path)?;
        self.note(to.set_times(stat.times()), Lost::Times, path)?;
        to.sync(SyncScope::All).at(path)?;
        Ok(bytes)
    }

    /// Renames a temporary node to its name.
    fn install(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        temporary: &str,
        existing: Option<&Stat>,
    ) -> Result<(), PathError> {
        let ((_, target), name, path) = (at.dir, at.name, at.path);
        let dir = &**target;
        let temporary = Name::new(temporary).at(path)?;
        let is_dir = existing.is_some_and(|existing| existing.kind == FileType::Dir);
        // A directory is renamed out of the way, so that its name is free in one step, and removed
        // afterwards.
        let away = if is_dir {
            let move_away = |away: Name<'_>| match kind_of(dir, away)? {
                Some(_) => Err(Errno::Exist),
                None => dir.rename(name, dir, away),
            };
            let moved = self.temporary(move_away);
            Some(clean_up(moved, dir, temporary).at(path)?)
        } else {
            None
        };
        if existing.is_some_and(|existing| existing.kind == FileType::File) {
            let (owner, permissions) = copy_ownership(dir, name, temporary);
            let noted = self.note(owner, Lost::Owner, path);
            let noted = noted.and_then(|()| self.note(permissions, Lost::Permissions, path));
            clean_up(noted, dir, temporary)?;
        }
        clean_up(dir.rename(temporary, dir, name), dir, temporary).at(path)?;
        if let Some(away) = away {
            remove_tree(target, Name::new(&away).at(path)?, path)?;
            self.committed.removed += 1;
        }
        Ok(())
    }

    /// Creates a node under a free temporary name.
    fn temporary(&mut self, mut make: impl FnMut(Name<'_>) -> Result<()>) -> Result<String> {
        for _ in 0..ATTEMPTS_MAX {
            let name = format!("{}{:08x}", self.temporary, self.temporary_next);
            self.temporary_next = self.temporary_next.wrapping_add(1);
            match make(Name::new(&name)?) {
                Ok(()) => return Ok(name),
                Err(Errno::Exist) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::Exist)
    }

    fn enter_to_finish(
        &mut self,
        dir: Pair,
        above: Hides,
        path: &str,
    ) -> Result<Entered<Pair, Hides>, PathError> {
        let names = names(&*dir.0).at(path)?;
        let hides = if dir.0.is_opaque().at(path)? { Hides::Yes } else { above };
        self.remove_hidden(&dir, &names, hides, path)?;
        Ok(Entered { dir, names, data: hides })
    }

    /// Removes the entries of a target's directory that the upper hides; `kept` are the upper's
    /// names.
    fn remove_hidden(
        &mut self,
        (upper, target): &Pair,
        kept: &[Box<str>],
        hides: Hides,
        path: &str,
    ) -> Result<(), PathError> {
        let mut hidden = whiteouts(&**upper).at(path)?;
        let marked = hidden.len() as u64;
        if hides == Hides::Yes {
            let kept: HashSet<&str> = kept.iter().map(|name| &**name).collect();
            hidden = names(&**target).at(path)?;
            hidden.retain(|name| !kept.contains(&**name));
        }
        for name in hidden {
            let path = join(path, &name);
            let name = Name::new(&name).at(&path)?;
            if kind_of(&**target, name).at(&path)?.is_some() {
                self.report(Step::Remove, &path);
                remove_tree(target, name, &path)?;
                self.committed.removed += 1;
            }
        }
        self.done += marked;
        Ok(())
    }
}

/// Stats a name of the target.
fn stat_target(target: &dyn Dir, name: Name<'_>) -> Result<Option<Stat>> {
    match target.stat(name.into()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Stop::Errno(Errno::Noent)) => Ok(None),
        Err(stop) => to_errno(Err(stop)),
    }
}

/// Returns whether the target already has the file's content or the link's target.
fn is_same(at: &Visit<'_, Pair, ()>, stat: &Stat, existing: &Stat) -> Result<bool> {
    let ((upper, target), name) = (at.dir, at.name);
    if (stat.kind, stat.size) != (existing.kind, existing.size) {
        return Ok(false);
    }
    if stat.kind == FileType::Symlink {
        return Ok(upper.read_link(name)? == target.read_link(name)?);
    }
    let from = to_errno(upper.open(name.into(), OpenHow::READ))?.into_file()?;
    // An unreadable file is replaced.
    match to_errno(target.open(name.into(), OpenHow::READ)) {
        Ok(existing) => same_bytes(&*from, &*existing.into_file()?, stat.size),
        Err(Errno::Acces) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes the temporary node if `done` is an error. If that fails too, the next commit removes it.
fn clean_up<T, E>(done: Result<T, E>, target: &dyn Dir, temporary: Name<'_>) -> Result<T, E> {
    if done.is_err() {
        let _ = target.remove_file(temporary);
    }
    done
}

/// Creates a file. A file that will replace `like` has no permissions beyond those of `like`, from
/// its creation on.
#[cfg_attr(not(all(feature = "host", target_os = "linux")), expect(unused_variables))]
fn create(
    target: &dyn Dir,
    name: Name<'_>,
    like: Option<Name<'_>>,
    how: OpenHow,
) -> Result<FileRef> {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(host) = (target as &dyn std::any::Any).downcast_ref::<crate::HostDir>()
        && let Some(like) = like
    {
        return host.create_like(name, like, how);
    }
    to_errno(target.open(name.into(), how))?.into_file()
}

/// Copies the owner and the permissions, which a [`Dir`] does not expose, as far as each is
/// permitted.
#[cfg_attr(not(all(feature = "host", target_os = "linux")), expect(unused_variables))]
fn copy_ownership(target: &dyn Dir, like: Name<'_>, name: Name<'_>) -> (Result<()>, Result<()>) {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(host) = (target as &dyn std::any::Any).downcast_ref::<crate::HostDir>() {
        // A symbolic link has none.
        let stop_at_link = |done| if done == Err(Errno::Loop) { Ok(()) } else { done };
        let owner = stop_at_link(host.copy_owner(like, name));
        return (owner, stop_at_link(host.copy_permissions(like, name)));
    }
    (Ok(()), Ok(()))
}
