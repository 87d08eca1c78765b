//! Making a directory equal to what an overlay over it shows.
//!
//! Everything that is needed lies in the layer: what it does not say stays as it is in the target.
//! So the lowers are not read, though the target may be the very directory that lies beneath, and
//! whoever was interrupted begins anew: what is there already is found to be equal and kept.
//!
//! There are three passes. The first looks at the layer alone, and refuses what cannot be
//! committed before anything has changed. The second puts everything in place that the layer has:
//! a file is written under a temporary name, given its times, synced, and renamed over what is
//! there. The third takes away what the layer hides and sets the times of the directories. So a
//! node that was renamed has its new name before it loses the old one.
//!
//! A target's links are never followed: it is stepped through name by name, and a link in the way
//! is replaced.
//!
//! Deliberately absent: renaming in the target. A renamed directory is written anew and the old one
//! removed, because a directory that moves before its new content is whole cannot be told from one
//! that never moved.

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

/// What names of files begin with that are not whole yet; the layer's token and a number follow.
const TEMPORARY: &str = ".palisade-commit-";
/// How often another temporary name is tried. Nobody else knows the token, so the first is free.
const ATTEMPTS_MAX: u32 = 1024;
/// Notes that are kept for the report.
const NOTES_MAX: usize = 64;

/// Makes `target`, which holds what lies beneath `upper`, equal to what shows through `upper`:
/// files, links, hard links, directories and the times of all of them.
///
/// Every file is all or nothing, for a crash too: it is synced before it takes its place. What
/// fails between the first file and the last leaves a target that is part old and part new; to
/// call it again with the same layer completes it, and removes the temporary files of the one
/// before, whose names no guest can know. A file that is equal keeps its place, its identity and
/// what the host keeps about it; one that is replaced passes on its permissions and its owner.
///
/// What belongs to someone else can be written where its directory may be, but its times, its
/// permissions and its owner cannot be set then: [`Committed::notes`] tells of it.
///
/// Neither the layer nor the target may be changed by others meanwhile. An overlay over `target`
/// shows nonsense afterwards: its lower changed. Make a new one.
///
/// Errors, before anything has changed: `Perm` for a node that is neither file nor directory nor
/// link. Then those of the layer and of the target.
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
    walk(commit.enter_to_place(dir.clone(), "")?, &mut Place(&mut commit))?;
    walk(commit.enter_to_finish(dir, Hides::No, "")?, &mut Finish(&mut commit))?;
    Ok(commit.committed)
}

/// What the layer has.
#[derive(Default)]
struct Survey {
    total: u64,
    bytes: u64,
    /// The paths of the files that have several names.
    groups: HashMap<Identity, Vec<SharedPath>, RandomState>,
}

struct Commit<'a> {
    survey: Survey,
    target: &'a DirRef,
    progress: &'a mut dyn FnMut(Progress<'_>),
    committed: Committed,
    /// Where a file with several names has been put first.
    firsts: HashMap<Identity, SharedPath, RandomState>,
    done: u64,
    bytes_done: u64,
    /// What the temporary names of this layer's commits begin with.
    temporary: String,
    temporary_next: u32,
}

/// A directory of the layer, and the target's.
type Pair = (UpperRef, DirRef);

/// Whether nothing of what lies beneath shows in a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hides {
    No,
    Yes,
}

/// The second pass.
struct Place<'c, 'a>(&'c mut Commit<'a>);

/// The third pass. What is in a directory is finished before its times are set.
struct Finish<'c, 'a>(&'c mut Commit<'a>);

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

/// The first pass.
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

impl Visitor for Place<'_, '_> {
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

impl Visitor for Finish<'_, '_> {
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
    fn say(&mut self, step: Step, path: &str) {
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

    /// Removes what an interrupted commit of this layer has left in a directory.
    fn evict(&self, target: &DirRef, path: &str) -> Result<(), PathError> {
        for name in names(&**target).at(path)? {
            if name.starts_with(&self.temporary) {
                let path = join(path, &name);
                remove_tree(target, Name::new(&name).at(&path)?, &path)?;
            }
        }
        Ok(())
    }

    /// Goes on without what could not be kept, if it was not allowed or is not there.
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
        self.say(Step::Directory, path);
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
        let there = look(&**target, at.name).at(at.path)?;
        if let Some(first) = self.firsts.get(&id).cloned() {
            return self.place_link(at, &first, there.as_ref());
        }
        let can_stay = match (&there, self.survey.groups.get(&id)) {
            (None, _) => false,
            (Some(there), None) => there.nlink == 1,
            (Some(there), Some(group)) => self.is_group(there, group),
        };
        if let Some(there) = there.as_ref().filter(|_| can_stay)
            && is_same(at, stat, there).at(at.path)?
        {
            self.say(Step::Keep, at.path);
            if there.times() != stat.times() {
                let set = to_errno(target.set_times(at.name.into(), stat.times()));
                self.note(set, Lost::Times, at.path)?;
            }
            self.committed.kept += 1;
        } else {
            self.write(at, stat, there.as_ref())?;
        }
        if self.survey.groups.contains_key(&id) {
            self.firsts.insert(id, at.shared_path());
        }
        Ok(())
    }

    /// Whether all these paths, and no others, lead to `there` in the target.
    fn is_group(&self, there: &Stat, group: &[SharedPath]) -> bool {
        let is_it = |path: &SharedPath| {
            let stat = self.target_stat(path);
            stat.is_ok_and(|stat| (stat.dev, stat.ino) == (there.dev, there.ino))
        };
        there.nlink == group.len() as u64 && group.iter().all(is_it)
    }

    fn target_stat(&self, path: &SharedPath) -> Result<Stat> {
        let (parent, name) = path.split_last().ok_or_else(|| bug!("a file at the root"))?;
        to_errno(enter_path(self.target, parent)?.stat(Name::new(name)?.into()))
    }

    /// Gives what was put in place at `first` another name.
    fn place_link(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        first: &SharedPath,
        there: Option<&Stat>,
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
        if there.is_some_and(|there| (there.dev, there.ino) == (stat.dev, stat.ino)) {
            self.say(Step::Keep, at.path);
            self.committed.kept += 1;
            return Ok(());
        }
        self.say(Step::HardLink, at.path);
        let temporary = self.temporary(|name| dir.link(first_name, &**target, name)).at(at.path)?;
        self.put(at, &temporary, there)?;
        self.committed.hard_links += 1;
        Ok(())
    }

    /// Writes a file or a link under a temporary name, and puts it in its place.
    fn write(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        stat: &Stat,
        there: Option<&Stat>,
    ) -> Result<(), PathError> {
        let ((upper, target), name, path) = (at.dir, at.name, at.path);
        let target = &**target;
        let temporary = if stat.kind == FileType::Symlink {
            self.say(Step::Symlink, path);
            let says = upper.read_link(name).at(path)?;
            let temporary = self.temporary(|name| target.create_symlink(name, &says)).at(path)?;
            let checked = Name::new(&temporary).at(path)?;
            let set = to_errno(target.set_times(checked.into(), stat.times()));
            clean_up(self.note(set, Lost::Times, path), target, checked)?;
            self.committed.symlinks += 1;
            temporary
        } else {
            self.say(Step::File, path);
            let from = to_errno(upper.open(name.into(), OpenHow::READ)).at(path)?;
            let from = from.into_file().at(path)?;
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
            let mut file = None;
            let like = there.filter(|there| there.kind == FileType::File).map(|_| name);
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
        self.put(at, &temporary, there)
    }

    /// Writes a file, to the disk too. Returns how many bytes it has.
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

    /// Puts what is whole in its place.
    fn put(
        &mut self,
        at: &Visit<'_, Pair, ()>,
        temporary: &str,
        there: Option<&Stat>,
    ) -> Result<(), PathError> {
        let ((_, target), name, path) = (at.dir, at.name, at.path);
        let dir = &**target;
        let temporary = Name::new(temporary).at(path)?;
        let is_dir = there.is_some_and(|there| there.kind == FileType::Dir);
        // A directory makes way in one step too, and goes when its place is taken.
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
        if there.is_some_and(|there| there.kind == FileType::File) {
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

    /// Makes something under a temporary name that is free.
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

    /// Removes what of a target's directory the layer hides; `kept` are the layer's names.
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
                self.say(Step::Remove, &path);
                remove_tree(target, name, &path)?;
                self.committed.removed += 1;
            }
        }
        self.done += marked;
        Ok(())
    }
}

/// What a name of the target leads to, if anything.
fn look(target: &dyn Dir, name: Name<'_>) -> Result<Option<Stat>> {
    match target.stat(name.into()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Stop::Errno(Errno::Noent)) => Ok(None),
        Err(stop) => to_errno(Err(stop)),
    }
}

/// Whether the target has the file's bytes, or the link's target, already.
fn is_same(at: &Visit<'_, Pair, ()>, stat: &Stat, there: &Stat) -> Result<bool> {
    let ((upper, target), name) = (at.dir, at.name);
    if (stat.kind, stat.size) != (there.kind, there.size) {
        return Ok(false);
    }
    if stat.kind == FileType::Symlink {
        return Ok(upper.read_link(name)? == target.read_link(name)?);
    }
    let from = to_errno(upper.open(name.into(), OpenHow::READ))?.into_file()?;
    // What cannot be read is replaced.
    match to_errno(target.open(name.into(), OpenHow::READ)) {
        Ok(there) => same_bytes(&*from, &*there.into_file()?, stat.size),
        Err(Errno::Acces) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes a temporary file away if what was to be done with it failed. If that fails too, the next
/// commit does it.
fn clean_up<T, E>(done: Result<T, E>, target: &dyn Dir, temporary: Name<'_>) -> Result<T, E> {
    if done.is_err() {
        let _ = target.remove_file(temporary);
    }
    done
}

/// Creates a file. One that is going to replace the file `like` may be opened by nobody who may not
/// open that one, from its creation on.
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

/// What the host keeps about a file beside what a [`Dir`] knows goes on to what replaces it: its
/// owner and its permissions, as far as each is possible.
#[cfg_attr(not(all(feature = "host", target_os = "linux")), expect(unused_variables))]
fn copy_ownership(target: &dyn Dir, like: Name<'_>, name: Name<'_>) -> (Result<()>, Result<()>) {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(host) = (target as &dyn std::any::Any).downcast_ref::<crate::HostDir>() {
        // A link in its place has none.
        let stop_at_link = |done| if done == Err(Errno::Loop) { Ok(()) } else { done };
        let owner = stop_at_link(host.copy_owner(like, name));
        return (owner, stop_at_link(host.copy_permissions(like, name)));
    }
    (Ok(()), Ok(()))
}
