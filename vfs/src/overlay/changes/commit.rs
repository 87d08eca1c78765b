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
use super::super::layer::{Layer, LayerRef};
use super::super::lowers::end;
use super::diff::same_bytes;
use super::{At, PathError, hold, join, kind_of, node, nodes, remove_tree, whiteouts};
use crate::copy::copy_bytes;
use crate::{
    Access, Descent, Dir, DirRef, Errno, FileType, Name, OpenFlags, OpenHow, Result, Stat, Stop,
    SyncScope,
};

/// What names of files begin with that are not whole yet; eight hexadecimal digits follow.
const TEMPORARY: &str = ".palisade-commit-";
/// How often another temporary name is tried.
const ATTEMPTS_MAX: u32 = 1024;

/// What a commit does at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creates a directory, or keeps it.
    Directory,
    /// Writes a file.
    File,
    /// Creates a symbolic link.
    Symlink,
    /// Gives a file another name.
    HardLink,
    /// Keeps a file or a link that is equal.
    Keep,
    /// Removes what is there, with all that is in it.
    Remove,
}

/// How far a commit has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// What is next.
    pub step: Step,
    /// Where.
    pub path: &'a str,
    /// How many of the layer's nodes and whiteouts are done.
    pub done: u64,
    /// How many there are.
    pub total: u64,
    /// How many bytes of files are done.
    pub bytes_done: u64,
    /// How many there are.
    pub bytes_total: u64,
}

/// What a commit has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Directories that were created.
    pub dirs: u64,
    /// Files that were written.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Symbolic links that were created.
    pub symlinks: u64,
    /// Names that were given to files that have another.
    pub hard_links: u64,
    /// Files and links that were equal already.
    pub kept: u64,
    /// Names that were removed, whatever was beneath them.
    pub removed: u64,
}

/// Makes `target`, which holds what lies beneath `upper`, equal to what shows through `upper`:
/// files, links, hard links, directories and the times of all of them.
///
/// Every file is all or nothing, for a crash too: it is synced before it takes its place. What
/// fails between the first file and the last leaves a target that is part old and part new; to
/// call it again with the same layer completes it. Names like `.palisade-commit-01234567` are
/// temporary ones: in the directories that it changes they are removed, and the layer cannot have
/// one. A file that is equal keeps its place, its identity and what the host keeps about it.
///
/// Neither the layer nor the target may be changed by others meanwhile. An overlay over `target`
/// shows nonsense afterwards: its lower changed. Make a new one.
///
/// Errors, before anything has changed: `Inval` for a temporary name, `Perm` for a node that is
/// neither file nor directory nor link. Then those of the layer and of the target.
pub fn commit(
    upper: &LayerRef,
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
        temporary_next: 0,
    };
    commit.place_all(upper)?;
    commit.finish_all(upper)?;
    Ok(commit.committed)
}

/// What the layer has.
#[derive(Default)]
struct Survey {
    total: u64,
    bytes: u64,
    /// The paths of the files that have several names.
    groups: HashMap<Identity, Vec<String>, RandomState>,
}

struct Commit<'a> {
    survey: Survey,
    target: &'a DirRef,
    progress: &'a mut dyn FnMut(Progress<'_>),
    committed: Committed,
    /// Where a file with several names has been put first.
    firsts: HashMap<Identity, String, RandomState>,
    done: u64,
    bytes_done: u64,
    temporary_next: u32,
}

/// A directory of the layer, and the target's.
struct Frame {
    path: String,
    upper: LayerRef,
    target: DirRef,
    names: Vec<String>,
    /// Whether nothing of what lies beneath shows in it.
    hides: bool,
}

impl Survey {
    fn of(upper: &LayerRef) -> Result<Survey, PathError> {
        let mut survey = Survey::default();
        let mut pending = vec![(String::new(), Arc::clone(upper), nodes(&**upper).at("")?)];
        survey.whiteouts("", &**upper)?;
        while let Some((above, upper, names)) = pending.last_mut() {
            let Some(name) = names.pop() else {
                pending.pop();
                continue;
            };
            let path = join(above, &name);
            let checked = Name::new(&name).at(&path)?;
            if is_temporary(&name) {
                return Err(Errno::Inval).at(&path);
            }
            let stat = node(&**upper, checked).at(&path)?;
            survey.total += 1;
            match stat.kind {
                FileType::Dir => {
                    let dir = upper.enter(checked).at(&path)?;
                    survey.whiteouts(&path, &*dir)?;
                    let names = nodes(&*dir).at(&path)?;
                    pending.push((path, dir, names));
                    continue;
                }
                FileType::File => survey.bytes += stat.size,
                FileType::Symlink => {}
                FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => return Err(Errno::Perm).at(&path),
            }
            if stat.nlink > 1 {
                survey.groups.entry((stat.dev, stat.ino)).or_default().push(path);
            }
        }
        Ok(survey)
    }

    fn whiteouts(&mut self, path: &str, upper: &dyn Layer) -> Result<(), PathError> {
        self.total += whiteouts(upper).at(path)?.len() as u64;
        Ok(())
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

    fn root(&self, upper: &LayerRef) -> Result<Frame, PathError> {
        let names = nodes(&**upper).at("")?;
        let hides = upper.is_opaque().at("")?;
        let (upper, target) = (Arc::clone(upper), Arc::clone(self.target));
        Ok(Frame { path: String::new(), upper, target, names, hides })
    }

    /// The second pass.
    fn place_all(&mut self, upper: &LayerRef) -> Result<(), PathError> {
        let mut frames = vec![self.root(upper)?];
        sweep(&**self.target, "")?;
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.pop() else {
                frames.pop();
                continue;
            };
            let path = join(&frame.path, &name);
            let name = Name::new(&name).at(&path)?;
            let stat = node(&*frame.upper, name).at(&path)?;
            if stat.kind == FileType::Dir {
                self.place_dir(&*frame.target, name, &path)?;
                let below = frame.enter(name, path)?;
                sweep(&*below.target, &below.path)?;
                frames.push(below);
            } else {
                self.place_leaf(frame, name, &stat, &path)?;
                self.bytes_done += if stat.kind == FileType::File { stat.size } else { 0 };
            }
            self.done += 1;
        }
        Ok(())
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

    fn place_leaf(
        &mut self,
        at: &Frame,
        name: Name<'_>,
        stat: &Stat,
        path: &str,
    ) -> Result<(), PathError> {
        let id = (stat.dev, stat.ino);
        let there = look(&*at.target, name).at(path)?;
        if let Some(first) = self.firsts.get(&id).cloned() {
            return self.place_link(at, name, &first, there.as_ref(), path);
        }
        let can_stay = match (&there, self.survey.groups.get(&id)) {
            (None, _) => false,
            (Some(there), None) => there.nlink == 1,
            (Some(there), Some(group)) => self.is_group(there, group),
        };
        if let Some(there) = there.as_ref().filter(|_| can_stay)
            && is_same(at, name, stat, there).at(path)?
        {
            self.say(Step::Keep, path);
            if there.times() != stat.times() {
                end(at.target.set_times(name.into(), stat.times())).at(path)?;
            }
            self.committed.kept += 1;
        } else {
            self.write(at, name, stat, there.as_ref(), path)?;
        }
        if self.survey.groups.contains_key(&id) {
            self.firsts.insert(id, path.to_owned());
        }
        Ok(())
    }

    /// Whether all these paths, and no others, lead to `there` in the target.
    fn is_group(&self, there: &Stat, group: &[String]) -> bool {
        let is_it = |path: &String| {
            let Ok(path) = Descent::new(path) else { return false };
            let stat = self.target.stat(path);
            stat.is_ok_and(|stat| (stat.dev, stat.ino) == (there.dev, there.ino))
        };
        there.nlink == group.len() as u64 && group.iter().all(is_it)
    }

    /// Gives what was put in place at `first` another name.
    fn place_link(
        &mut self,
        at: &Frame,
        name: Name<'_>,
        first: &str,
        there: Option<&Stat>,
        path: &str,
    ) -> Result<(), PathError> {
        let (parent, first_name) = first.rsplit_once('/').unwrap_or(("", first));
        let dir = hold(self.target, parent).at(first)?;
        let first_name = Name::new(first_name).at(first)?;
        let stat = end(dir.stat(first_name.into())).at(first)?;
        if there.is_some_and(|there| (there.dev, there.ino) == (stat.dev, stat.ino)) {
            self.say(Step::Keep, path);
            self.committed.kept += 1;
            return Ok(());
        }
        self.say(Step::HardLink, path);
        let temporary = self.temporary(|name| dir.link(first_name, &*at.target, name)).at(path)?;
        self.put(at, &temporary, name, there, path)?;
        self.committed.hard_links += 1;
        Ok(())
    }

    /// Writes a file or a link under a temporary name, and puts it in its place.
    fn write(
        &mut self,
        at: &Frame,
        name: Name<'_>,
        stat: &Stat,
        there: Option<&Stat>,
        path: &str,
    ) -> Result<(), PathError> {
        let target = &*at.target;
        let temporary = if stat.kind == FileType::Symlink {
            self.say(Step::Symlink, path);
            let says = at.upper.read_link(name).at(path)?;
            let temporary = self.temporary(|name| target.create_symlink(name, &says)).at(path)?;
            let checked = Name::new(&temporary).at(path)?;
            let set = end(target.set_times(checked.into(), stat.times()));
            clean_up(set, target, checked).at(path)?;
            self.committed.symlinks += 1;
            temporary
        } else {
            self.say(Step::File, path);
            let from = end(at.upper.open(name.into(), OpenHow::READ)).at(path)?;
            let from = from.into_file().at(path)?;
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
            let mut file = None;
            let open = |name: Name<'_>| {
                file = Some(end(target.open(name.into(), how))?.into_file()?);
                Ok(())
            };
            let temporary = self.temporary(open).at(path)?;
            let file = file.ok_or(Errno::Io).at(path)?;
            let written = copy_bytes(&*from, &*file).and_then(|bytes| {
                file.set_times(stat.times())?;
                file.sync(SyncScope::All)?;
                Ok(bytes)
            });
            let checked = Name::new(&temporary).at(path)?;
            self.committed.bytes += clean_up(written, target, checked).at(path)?;
            self.committed.files += 1;
            temporary
        };
        self.put(at, &temporary, name, there, path)
    }

    /// Puts what is whole in its place.
    fn put(
        &mut self,
        at: &Frame,
        temporary: &str,
        name: Name<'_>,
        there: Option<&Stat>,
        path: &str,
    ) -> Result<(), PathError> {
        let target = &*at.target;
        let temporary = Name::new(temporary).at(path)?;
        let is_dir = there.is_some_and(|there| there.kind == FileType::Dir);
        // A directory makes way in one step too, and goes when its place is taken.
        let away = if is_dir {
            let move_away = |away: Name<'_>| match kind_of(target, away)? {
                Some(_) => Err(Errno::Exist),
                None => target.rename(name, target, away),
            };
            let moved = self.temporary(move_away);
            Some(clean_up(moved, target, temporary).at(path)?)
        } else {
            None
        };
        if there.is_some_and(|there| there.kind == FileType::File) {
            clean_up(copy_permissions(target, name, temporary), target, temporary).at(path)?;
        }
        clean_up(target.rename(temporary, target, name), target, temporary).at(path)?;
        if let Some(away) = away {
            remove_tree(target, Name::new(&away).at(path)?, path)?;
            self.committed.removed += 1;
        }
        Ok(())
    }

    /// Makes something under a temporary name that is free.
    fn temporary(&mut self, mut make: impl FnMut(Name<'_>) -> Result<()>) -> Result<String> {
        for _ in 0..ATTEMPTS_MAX {
            let name = format!("{TEMPORARY}{:08x}", self.temporary_next);
            self.temporary_next = self.temporary_next.wrapping_add(1);
            match make(Name::new(&name)?) {
                Ok(()) => return Ok(name),
                Err(Errno::Exist) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::Exist)
    }

    /// The third pass. What is in a directory is finished before its times are set.
    fn finish_all(&mut self, upper: &LayerRef) -> Result<(), PathError> {
        let root = self.root(upper)?;
        self.remove_hidden(&root)?;
        let mut frames = vec![root];
        while let Some(frame) = frames.last_mut() {
            if let Some(name) = frame.names.pop() {
                let path = join(&frame.path, &name);
                let name = Name::new(&name).at(&path)?;
                if node(&*frame.upper, name).at(&path)?.kind == FileType::Dir {
                    let below = frame.enter(name, path)?;
                    self.remove_hidden(&below)?;
                    frames.push(below);
                }
                continue;
            }
            let Some(done) = frames.pop() else { break };
            let times = end(done.upper.stat(Descent::HERE)).at(&done.path)?.times();
            if end(done.target.stat(Descent::HERE)).at(&done.path)?.times() != times {
                end(done.target.set_times(Descent::HERE, times)).at(&done.path)?;
            }
            done.target.sync().at(&done.path)?;
        }
        Ok(())
    }

    /// Removes what of a target's directory the layer hides.
    fn remove_hidden(&mut self, at: &Frame) -> Result<(), PathError> {
        let mut hidden = whiteouts(&*at.upper).at(&at.path)?;
        let marked = hidden.len() as u64;
        if at.hides {
            let kept: HashSet<&String> = at.names.iter().collect();
            let there = nodes(&*at.target).at(&at.path)?;
            hidden = there.into_iter().filter(|name| !kept.contains(name)).collect();
        }
        for name in hidden {
            let path = join(&at.path, &name);
            let name = Name::new(&name).at(&path)?;
            if kind_of(&*at.target, name).at(&path)?.is_some() {
                self.say(Step::Remove, &path);
                remove_tree(&*at.target, name, &path)?;
                self.committed.removed += 1;
            }
        }
        self.done += marked;
        Ok(())
    }
}

impl Frame {
    fn enter(&self, name: Name<'_>, path: String) -> Result<Frame, PathError> {
        let upper = self.upper.enter(name).at(&path)?;
        let opened = end(self.target.open(name.into(), OpenHow::HOLD_DIR)).at(&path)?;
        let target = opened.into_dir().at(&path)?;
        let names = nodes(&*upper).at(&path)?;
        let hides = self.hides || upper.is_opaque().at(&path)?;
        Ok(Frame { path, upper, target, names, hides })
    }
}

/// Removes what an interrupted commit has left in a directory.
fn sweep(target: &dyn Dir, path: &str) -> Result<(), PathError> {
    for name in nodes(target).at(path)? {
        if is_temporary(&name) {
            let path = join(path, &name);
            remove_tree(target, Name::new(&name).at(&path)?, &path)?;
        }
    }
    Ok(())
}

fn is_temporary(name: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(TEMPORARY)
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(is_digit))
}

/// What a name of the target leads to, if anything.
fn look(target: &dyn Dir, name: Name<'_>) -> Result<Option<Stat>> {
    match target.stat(name.into()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Stop::Errno(Errno::Noent)) => Ok(None),
        Err(stop) => end(Err(stop)),
    }
}

/// Whether the target has the file's bytes, or the link's target, already.
fn is_same(at: &Frame, name: Name<'_>, stat: &Stat, there: &Stat) -> Result<bool> {
    if (stat.kind, stat.size) != (there.kind, there.size) {
        return Ok(false);
    }
    if stat.kind == FileType::Symlink {
        return Ok(at.upper.read_link(name)? == at.target.read_link(name)?);
    }
    let from = end(at.upper.open(name.into(), OpenHow::READ))?.into_file()?;
    // What cannot be read is replaced.
    match end(at.target.open(name.into(), OpenHow::READ)) {
        Ok(there) => same_bytes(&*from, &*there.into_file()?, stat.size),
        Err(Errno::Acces) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes a temporary file away if what was to be done with it failed. If that fails too, the next
/// commit does it.
fn clean_up<T>(done: Result<T>, target: &dyn Dir, temporary: Name<'_>) -> Result<T> {
    if done.is_err() {
        let _ = target.remove_file(temporary);
    }
    done
}

/// What the host keeps about a file beside what a [`Dir`] knows goes on to what replaces it.
#[cfg_attr(not(all(feature = "host", target_os = "linux")), expect(unused_variables))]
fn copy_permissions(target: &dyn Dir, like: Name<'_>, name: Name<'_>) -> Result<()> {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(host) = (target as &dyn std::any::Any).downcast_ref::<crate::HostDir>() {
        // A link in its place has none.
        return match host.copy_permissions(like, name) {
            Err(Errno::Loop) => Ok(()),
            done => done,
        };
    }
    Ok(())
}
