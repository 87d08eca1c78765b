//! A stand-in overlay: the merged lowers copied to memory, optionally with a bug.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

mod file;

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use file::CopiedFile;
use palisade_props::Capabilities;
use palisade_props::faulty::{Faults, Kinds, faulty};
use palisade_props::overlay::{LowerTree, OverlaySubject, TestOverlay, merge};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, MemFs, Name, Node,
    OpenFlags, OpenHow, Result, SetTime, SetTimes, Stat, Stop,
};

/// A bug of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// No bug: the laws must hold.
    None,
    /// Whiteouts hide nothing.
    WhiteoutsIgnored,
    /// Opaque directories are merged.
    OpaqueIgnored,
    /// Only whiteouts of the topmost lower hide something.
    OnlyTopWhiteouts,
    /// A non-empty directory can be removed.
    RemovesFullDirs,
    /// A recreated directory shows the entries of the lower.
    NewDirsShowTheOld,
    /// A directory can be created with the name of a lower directory.
    LowerNamesAreFree,
    /// `EXCLUSIVE` is ignored for lower files.
    ExclusiveIgnored,
    /// A read-only handle truncates the lower.
    TruncatesTheLower,
    /// A read-only handle sets the times of the lower.
    SetsTimesOfTheLower,
    /// `allocate` extends the lower.
    AllocatesInTheLower,
    /// `TRUNCATE` is ignored for lower files.
    TruncateIgnored,
    /// `set_len` discards all bytes.
    SetLenLosesAll,
    /// A copy-up sets the current time.
    CopyUpIsNow,
    /// A copy-up changes the modification time of the directory.
    CopyUpTouchesTheDir,
    /// A copied-up node has another inode number.
    CopyUpIsAnotherNode,
    /// A copied-up file loses its hard links.
    CopyUpBreaksLinks,
    /// A renamed directory loses its entries.
    RenamedDirsAreEmpty,
    /// A directory of a lower cannot be renamed.
    DirsDoNotMove,
    /// Setting the times of a directory empties its listing.
    TimesEmptyADir,
    /// A cookie is the number of entries before it.
    CookiesAreIndices,
    /// Copied-up entries are listed first.
    CopiedUpIsListedFirst,
    /// Names that begin like a marker are refused.
    MarkersAreNames,
    /// Markers are listed.
    MarkersAreListed,
    /// A failed step rolls back the previous link; the rollback fails while the fault lasts.
    RollsBack,
    /// A read-only handle returns the bytes as of its opening.
    ReadersSeeTheOld,
    /// A read-only handle returns the size as of its opening.
    FstatIsOld,
    /// A failed operation changes the modification time of the directory.
    FailuresTouchTheDir,
    /// A hidden name can be opened.
    HiddenCanBeOpened,
    /// A directory handle refers to a path.
    DirsArePaths,
    /// Each failure is `Io`.
    AllIsIo,
    /// A listing contains other inode numbers than stat.
    ListedNumbersDiffer,
    /// A write to an unlinked file recreates its name.
    RemovedComesBack,
    /// A rename is a hard link followed by a removal.
    RenamesInTwoSteps,
    /// A copy-up truncates the file before it writes it.
    CopyUpEmptiesFirst,
    /// An operation can fail after it has created a directory.
    FailsAfterTheFact,
    /// A failed operation leaks space.
    Leaks,
}

pub struct StandIn(pub Bug);

struct State {
    bug: Bug,
    lowers: Vec<DirRef>,
    root: DirRef,
    /// The inode numbers of lower nodes.
    old: BTreeSet<u64>,
    /// The inode numbers of copied-up nodes.
    touched: Mutex<BTreeSet<u64>>,
    /// The directories whose listing is empty.
    emptied: Mutex<BTreeSet<u64>>,
    leaked: Arc<AtomicU64>,
}

impl OverlaySubject for StandIn {
    fn name(&self) -> String {
        format!("a copy of the lowers, {:?}", self.0)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn fresh(&self, lowers: &[LowerTree]) -> Result<TestOverlay> {
        self.fresh_faulty(lowers, &Faults::new(Kinds::Changes))
    }

    fn fresh_faulty(&self, literal: &[LowerTree], faults: &Arc<Faults>) -> Result<TestOverlay> {
        let mut lowers = Vec::new();
        for lower in literal {
            let dir = MemFs::new().root();
            LowerTree { tree: lower.tree.clone(), ..LowerTree::default() }.fill(&dir)?;
            lowers.push(dir);
        }
        let mut seen = literal.to_vec();
        for (nth, lower) in seen.iter_mut().enumerate() {
            match self.0 {
                Bug::WhiteoutsIgnored => lower.whiteouts.clear(),
                Bug::OpaqueIgnored => lower.opaque.clear(),
                Bug::OnlyTopWhiteouts if nth > 0 => lower.whiteouts.clear(),
                _ => {}
            }
        }
        let upper = MemFs::new();
        let (merged, memory) = (merge(&seen), upper.root());
        merged.build(&*memory)?;
        let mut old = BTreeSet::new();
        for path in merged.iter().map(|(path, _)| path).chain([""]) {
            let at = Descent::new(path)?;
            let stats = lowers.iter().zip(literal);
            let mut stats = stats
                .filter(|(_, literal)| path.is_empty() || literal.tree.get(path).is_some())
                .filter_map(|(dir, _)| dir.stat(at).ok());
            let stat = stats.next().ok_or(Errno::Io)?;
            let times = SetTimes {
                accessed: SetTime::At(stat.accessed),
                modified: SetTime::At(stat.modified),
            };
            memory.set_times(at, times).map_err(errno)?;
            old.insert(memory.stat(at).map_err(errno)?.ino);
        }
        let (root, leaked) = (faulty(memory, faults), Arc::new(AtomicU64::new(0)));
        let state = Arc::new(State {
            bug: self.0,
            lowers: lowers.clone(),
            root: root.clone(),
            old,
            touched: Mutex::default(),
            emptied: Mutex::default(),
            leaked: leaked.clone(),
        });
        let root = Arc::new(Copied { inner: root, path: String::new(), state });
        let used = move || upper.usage().bytes + leaked.load(Ordering::SeqCst);
        Ok(TestOverlay::new(root, lowers).metered_by(used))
    }
}

fn errno(stop: Stop) -> Errno {
    match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Loop,
    }
}

struct Copied {
    inner: DirRef,
    path: String,
    state: Arc<State>,
}

const NOW: SetTimes = SetTimes { accessed: SetTime::Keep, modified: SetTime::Now };

impl State {
    fn lower_stat(&self, path: &str) -> Option<Stat> {
        let path = Descent::new(path).ok()?;
        self.lowers.iter().find_map(|lower| lower.stat(path).ok())
    }

    fn lower_open(&self, path: &str, how: OpenHow) -> Option<Node> {
        let path = Descent::new(path).ok()?;
        self.lowers.iter().find_map(|lower| lower.open(path, how).ok())
    }

    fn is_touched(&self, ino: u64) -> bool {
        self.touched.lock().unwrap().contains(&ino)
    }

    fn seen(&self, mut stat: Stat) -> Stat {
        if self.bug == Bug::CopyUpIsAnotherNode && self.is_touched(stat.ino) {
            stat.ino |= 1 << 40;
        }
        stat
    }

    fn refused<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Err(Errno::Perm | Errno::Xdev | Errno::Fbig | Errno::Badf)
                if self.bug == Bug::AllIsIo =>
            {
                Err(Errno::Io)
            }
            other => other,
        }
    }
}

impl Copied {
    fn here(&self) -> Result<DirRef> {
        if self.state.bug == Bug::DirsArePaths {
            let path = Descent::new(&self.path)?;
            return self.state.root.open(path, OpenHow::HOLD_DIR).map_err(errno)?.into_dir();
        }
        Ok(self.inner.clone())
    }

    fn child(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}/{name}"),
        }
    }

    fn of(dir: &dyn Dir) -> Result<&Copied> {
        let any: &dyn Any = dir;
        any.downcast_ref::<Copied>().ok_or(Errno::Xdev)
    }

    fn lower_has(&self, name: &str) -> bool {
        self.state.lower_stat(&self.child(name)).is_some()
    }

    fn refuses(&self, name: Name<'_>) -> Result<()> {
        if self.state.bug == Bug::MarkersAreNames && name.as_str().starts_with(".wh.") {
            return Err(Errno::Inval);
        }
        Ok(())
    }

    /// Simulates a copy-up.
    fn touch(&self, path: Descent<'_>) -> Result<()> {
        let Ok(stat) = self.inner.stat(path) else { return Ok(()) };
        if !self.state.old.contains(&stat.ino)
            || !self.state.touched.lock().unwrap().insert(stat.ino)
        {
            return Ok(());
        }
        let Some((parent, name)) = path.split_last() else { return Ok(()) };
        match self.state.bug {
            Bug::CopyUpIsNow => self.inner.set_times(path, NOW).map_err(errno),
            Bug::CopyUpTouchesTheDir => self.inner.set_times(parent, NOW).map_err(errno),
            Bug::CopyUpBreaksLinks if stat.nlink > 1 && stat.kind == FileType::File => {
                let bytes = bytes(&*self.open_inner(path, OpenHow::READ)?)?;
                let dir = self.inner.open(parent, OpenHow::HOLD_DIR).map_err(errno)?.into_dir()?;
                dir.remove_file(name)?;
                let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
                self.open_inner(path, how)?.write_at(&[IoSlice::new(&bytes)], 0).map(drop)
            }
            Bug::CopyUpEmptiesFirst if stat.kind == FileType::File => {
                let file =
                    self.open_inner(path, OpenHow::new(Access::ReadWrite, OpenFlags::empty()))?;
                let (bytes, at) = (bytes(&*file)?, SetTime::At(stat.modified));
                file.set_len(0)?;
                file.write_at(&[IoSlice::new(&bytes)], 0)?;
                file.set_times(SetTimes { accessed: SetTime::Keep, modified: at })
            }
            _ => Ok(()),
        }
    }

    fn open_inner(&self, path: Descent<'_>, how: OpenHow) -> Result<FileRef> {
        self.inner.open(path, how).map_err(errno)?.into_file()
    }

    /// Returns the open options with the bug applied.
    fn buggy_how(&self, path: Descent<'_>, mut how: OpenHow) -> Result<OpenHow> {
        let name = path.as_str();
        match self.state.bug {
            Bug::ExclusiveIgnored if self.lower_has(name) => how.flags.remove(OpenFlags::EXCLUSIVE),
            Bug::TruncateIgnored if self.lower_has(name) => how.flags.remove(OpenFlags::TRUNCATE),
            Bug::TruncatesTheLower
                if how.flags.contains(OpenFlags::TRUNCATE) && how.access == Access::Read =>
            {
                let _ = self.state.lower_open(&self.child(name), how);
            }
            _ => {}
        }
        if let (true, Some((_, last))) = (how.creates(), path.split_last()) {
            self.refuses(last)?;
        }
        if how.access.writes() || how.flags.contains(OpenFlags::TRUNCATE) {
            self.touch(path)?;
        }
        Ok(how)
    }
}

fn bytes(file: &dyn File) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.stat()?.size).unwrap().min(1 << 20)];
    let count = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

fn empty_out(dir: &DirRef) -> Result<()> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })?;
    for name in names {
        let name = Name::new(&name)?;
        if dir.remove_file(name).is_err() {
            empty_out(&dir.open(name.into(), OpenHow::READ).map_err(errno)?.into_dir()?)?;
            dir.remove_dir(name)?;
        }
    }
    Ok(())
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Copied {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let how = self.buggy_how(path, how)?;
        let node = match self.here()?.open(path, how) {
            Err(Stop::Errno(Errno::Noent)) if self.state.bug == Bug::HiddenCanBeOpened => {
                let read = how == OpenHow::READ || how == OpenHow::HOLD;
                let node = self.state.lower_open(&self.child(path.as_str()), how);
                node.filter(|_| read).ok_or(Errno::Noent)?
            }
            other => other?,
        };
        let state = self.state.clone();
        match node {
            Node::Dir(inner) => {
                let path = self.child(path.as_str());
                Ok(Node::Dir(Arc::new(Copied { inner, path, state })))
            }
            Node::File(inner) => {
                let (parent, name) = path.split_last().ok_or(Errno::Io)?;
                let reads = !how.access.writes() && state.old.contains(&inner.stat()?.ino);
                let old = |bug| reads && state.bug == bug;
                let old_bytes = match old(Bug::ReadersSeeTheOld) && how.access == Access::Read {
                    true => Some(bytes(&*inner)?),
                    false => None,
                };
                let old_stat = if old(Bug::FstatIsOld) { Some(inner.stat()?) } else { None };
                let parent = self.inner.open(parent, OpenHow::HOLD_DIR)?.into_dir()?;
                let (path, name) = (self.child(path.as_str()), name.as_str().to_owned());
                let access = how.access;
                Ok(Node::File(Arc::new(CopiedFile {
                    inner,
                    state,
                    parent,
                    name,
                    path,
                    access,
                    old_bytes,
                    old_stat,
                })))
            }
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        Ok(self.state.seen(self.here()?.stat(path)?))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        Ok(self.state.seen(self.here()?.stat_following(path)?))
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.here()?.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (here, state) = (self.here()?, &self.state);
        let mut each = |mut entry: Entry<'_>| {
            match state.bug {
                Bug::ListedNumbersDiffer => entry.ino += 1,
                Bug::CopyUpIsAnotherNode if state.is_touched(entry.ino) => entry.ino |= 1 << 40,
                Bug::MarkersAreNames if entry.name.as_str().starts_with(".wh.") => {
                    return ControlFlow::Continue(());
                }
                _ => {}
            }
            each(entry)
        };
        match state.bug {
            Bug::TimesEmptyADir => {
                let ino = here.stat(Descent::HERE).map_err(errno)?.ino;
                if state.emptied.lock().unwrap().contains(&ino) {
                    return Ok(());
                }
                here.read_dir(from, &mut each)
            }
            Bug::CookiesAreIndices | Bug::CopiedUpIsListedFirst => {
                let mut all = Vec::new();
                here.read_dir(Cookie::START, &mut |entry| {
                    all.push((entry.name.as_str().to_owned(), entry.kind, entry.ino));
                    ControlFlow::Continue(())
                })?;
                if state.bug == Bug::CopiedUpIsListedFirst {
                    all.sort_by_key(|(_, _, ino)| !state.is_touched(*ino));
                }
                for (nth, (name, kind, ino)) in (1..).zip(all) {
                    let entry = Entry { name: Name::new(&name)?, kind, ino, next: Cookie(nth) };
                    if nth > from.0 && each(entry).is_break() {
                        return Ok(());
                    }
                }
                Ok(())
            }
            _ => here.read_dir(from, &mut each),
        }
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.refuses(name)?;
        let here = self.here()?;
        let made = here.create_dir(name);
        match (self.state.bug, made) {
            (Bug::LowerNamesAreFree, Err(Errno::Exist)) if self.lower_has(name.as_str()) => Ok(()),
            (Bug::FailuresTouchTheDir, Err(errno)) => {
                let _ = here.set_times(Descent::HERE, NOW);
                Err(errno)
            }
            (Bug::FailsAfterTheFact, Ok(())) => {
                here.set_times(Descent::HERE, SetTimes::default()).map_err(errno)
            }
            (Bug::NewDirsShowTheOld, Ok(())) => {
                let lower = self.state.lower_open(&self.child(name.as_str()), OpenHow::READ);
                if let Some(Node::Dir(lower)) = lower {
                    let new = here.open(name.into(), OpenHow::READ).map_err(errno)?.into_dir()?;
                    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
                    lower.read_dir(Cookie::START, &mut |entry| {
                        let _ = new.open(entry.name.into(), how);
                        ControlFlow::Continue(())
                    })?;
                }
                Ok(())
            }
            (_, made) => made,
        }
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.refuses(name)?;
        self.here()?.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        let here = self.here()?;
        here.remove_file(name)?;
        if self.state.bug == Bug::MarkersAreListed && self.lower_has(name.as_str()) {
            let mark = format!(".wh.{}", name.as_str());
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
            let _ = here.open(Descent::new(&mark)?, how);
        }
        Ok(())
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        let here = self.here()?;
        if self.state.bug == Bug::RemovesFullDirs
            && let Ok(Node::Dir(dir)) = here.open(name.into(), OpenHow::READ)
        {
            empty_out(&dir)?;
        }
        here.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.state.refused(Copied::of(into))?;
        into.refuses(new_name)?;
        let (from, to) = (self.here()?, into.here()?);
        let kind = from.stat(name.into()).ok().map(|stat| stat.kind);
        match (self.state.bug, kind) {
            (Bug::DirsDoNotMove, Some(FileType::Dir)) if self.lower_has(name.as_str()) => {
                return Err(Errno::Xdev);
            }
            (Bug::RenamesInTwoSteps, Some(FileType::File | FileType::Symlink))
                if to.stat(new_name.into()).is_err() =>
            {
                from.link(name, &*to, new_name)?;
                return from.remove_file(name);
            }
            _ => {}
        }
        if kind != Some(FileType::Dir) {
            self.touch(name.into())?;
        }
        from.rename(name, &*to, new_name)?;
        if self.state.bug == Bug::RenamedDirsAreEmpty
            && kind == Some(FileType::Dir)
            && let Ok(Node::Dir(dir)) = to.open(new_name.into(), OpenHow::READ)
        {
            empty_out(&dir)?;
        }
        Ok(())
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.state.refused(Copied::of(into))?;
        into.refuses(new_name)?;
        let before = into.here()?.stat(Descent::HERE).map_err(errno)?.times();
        let linked = self.here()?.link(name, &*into.here()?, new_name);
        if self.state.bug == Bug::RollsBack && linked.is_ok() {
            let dir = into.here()?;
            if let Err(first) = dir.set_times(Descent::HERE, SetTimes::default()) {
                dir.remove_file(new_name)?;
                dir.set_times(Descent::HERE, before).map_err(errno)?;
                return Err(errno(first));
            }
        }
        if self.state.bug == Bug::Leaks && linked == Err(Errno::Nospc) {
            self.state.leaked.fetch_add(1, Ordering::SeqCst);
        }
        self.state.refused(linked)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let here = self.here()?;
        self.touch(path)?;
        here.set_times(path, times)?;
        if self.state.bug == Bug::TimesEmptyADir {
            self.state.emptied.lock().unwrap().insert(here.stat(path)?.ino);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        true
    }

    fn epoch(&self) -> u64 {
        0
    }
}
