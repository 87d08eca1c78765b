//! The directories that an overlay knows: those that are held, those above them, and those where
//! the upper and the lowers meet.
//!
//! One lock is around all of it ([`super::Shared::tree`]), and layers are called with it held. A
//! directory that only the upper or only the lowers have is not stepped through name by name: what
//! lies beneath it is theirs alone, in one call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use slab::Slab;

use super::Identity;
use super::lowers::{Found, Lowers, MergedDir, end, not_a_dir};
use super::merged_list::{List, Seats};
use super::open_dirs::{Closed, IDLE_MAX, Idle};
use super::upper::{CopyUp, NewName, UpperEntry, UpperRef};
use crate::{Descent, Dir, Errno, FileType, Name, Result, Stat, Stop, bug};

pub(super) type DirKey = usize;

/// The root's key: the first of the slab, and never freed.
pub(super) const ROOT: DirKey = 0;

/// Directories that nobody holds are not swept out below this number.
const SWEEP_MIN: usize = 256;

/// A directory of the overlay.
///
/// INVARIANT: one of `upper` and `lower` is there unless it is closed. An upper's parent has an
/// upper.
pub(super) struct DirState {
    pub(super) parent: DirKey,
    pub(super) name: Box<str>,
    pub(super) upper: Option<UpperRef>,
    /// None if the upper hides it.
    pub(super) lower: Option<Arc<MergedDir>>,
    /// What it has if it is not open: see `open_dirs.rs`.
    pub(super) closed: Option<Closed>,
    /// Whether it is in [`Tree::idle`].
    pub(super) is_noted: bool,
    pub(super) children: HashMap<Box<str>, DirKey, RandomState>,
    pub(super) handles: AtomicUsize,
    pub(super) is_removed: bool,
    /// What the lowers listed when the directory was listed first: its order stays, also when the
    /// upper has come to hide them.
    pub(super) list: Option<Arc<List>>,
    /// What has been given for the upper's entries behind those.
    pub(super) seats: Mutex<Seats>,
}

impl DirState {
    pub(super) fn new(
        parent: DirKey,
        name: &str,
        upper: Option<UpperRef>,
        lower: Option<Arc<MergedDir>>,
    ) -> Self {
        DirState {
            parent,
            name: name.into(),
            upper,
            lower,
            closed: None,
            is_noted: false,
            children: HashMap::default(),
            handles: AtomicUsize::new(0),
            is_removed: false,
            list: None,
            seats: Mutex::default(),
        }
    }
}

impl DirState {
    /// No cookie that was given is good any more.
    pub(super) fn forget_listing(&mut self) {
        self.list = None;
        *self.seats.get_mut() = Seats::default();
    }
}

/// Who answers for a descent.
pub(super) enum Spot<'t, 'p> {
    /// The directory itself.
    Here(DirKey),
    /// The upper: nothing of the lowers shows there.
    Upper { dir: &'t UpperRef, rest: Descent<'p>, taken: usize },
    /// The lowers: the upper has nothing there.
    Lower { dir: &'t Arc<MergedDir>, rest: Descent<'p>, taken: usize },
    /// Upper and lowers meet in this directory, and nobody has asked for the first name of `rest`
    /// yet.
    Meeting { both: Meeting<'t>, name: Name<'p>, rest: Descent<'p>, taken: usize },
    /// A closed directory, which has to be opened first.
    Closed,
}

/// What meets in a directory.
#[derive(Clone, Copy)]
pub(super) struct Meeting<'t> {
    pub(super) upper: &'t UpperRef,
    pub(super) lower: &'t Arc<MergedDir>,
}

/// What a name leads to.
pub(super) enum Have {
    Nothing,
    Upper(Stat),
    Lower(Found),
}

impl Have {
    pub(super) fn is_dir(&self) -> bool {
        match self {
            Have::Upper(stat) => stat.kind == FileType::Dir,
            Have::Lower(Found::Dir(_)) => true,
            Have::Lower(Found::Leaf(_)) | Have::Nothing => false,
        }
    }

    /// The identity of what `name` was found to lead to.
    pub(super) fn id(&self, name: Name<'_>) -> Result<Identity> {
        let stat = match self {
            Have::Nothing => return Err(Errno::Noent),
            Have::Upper(stat) => *stat,
            Have::Lower(Found::Dir(dir)) => end(dir.stat(Descent::HERE))?,
            Have::Lower(Found::Leaf(part)) => end(part.dir().stat(name.into()))?,
        };
        Ok((stat.dev, stat.ino))
    }
}

/// The invariant of [`DirState`] does not hold.
#[cold]
pub(super) fn on_no_layer() -> Errno {
    bug!("a directory of the overlay has neither an upper nor a lower")
}

/// A directory has no upper where it was raised, or where its upper had a node.
#[cold]
pub(super) fn on_no_upper() -> Errno {
    bug!("a raised directory of the overlay has no upper")
}

pub(super) struct Tree {
    pub(super) dirs: Slab<DirState>,
    /// What the root was stacked upon, with what is remembered of it.
    pub(super) lowers: Lowers,
    /// The root's, which no layer can keep: each has a root of its own.
    root_id: Identity,
    sweep_at: usize,
    pub(super) idle: Idle,
    /// Directories without a handle that stay open for the next operation. `None` if no layer takes
    /// descriptors.
    pub(super) idle_max: Option<usize>,
}

impl Tree {
    pub(super) fn new(root: DirState, root_id: Identity, lowers: Lowers) -> Self {
        let may_block =
            root.upper.as_ref().is_some_and(|upper| upper.may_block()) || lowers.root.may_block();
        let mut dirs = Slab::new();
        dirs.insert(root);
        Tree {
            dirs,
            lowers,
            root_id,
            sweep_at: 0,
            idle: Idle::default(),
            idle_max: may_block.then_some(IDLE_MAX),
        }
    }

    /// What shows beneath the root: nothing, if the upper's hides it.
    pub(super) fn beneath_root(&self) -> Result<Lowers> {
        let shows = self.dir(ROOT)?.lower.is_some();
        Ok(if shows { self.lowers.clone() } else { Lowers::none() })
    }

    /// A directory that has a handle, or that is above one.
    pub(super) fn dir(&self, key: DirKey) -> Result<&DirState> {
        self.dirs.get(key).ok_or_else(|| bug!("the overlay has no directory {key}"))
    }

    pub(super) fn dir_mut(&mut self, key: DirKey) -> Result<&mut DirState> {
        self.dirs.get_mut(key).ok_or_else(|| bug!("the overlay has no directory {key}"))
    }

    /// Takes the names off `path` under which the upper and the lowers meet.
    pub(super) fn locate<'p>(&self, key: DirKey, path: Descent<'p>) -> Result<Spot<'_, 'p>, Stop> {
        let (mut at, mut left, mut taken) = (key, path, 0);
        loop {
            let dir = self.dir(at)?;
            let Some((name, rest)) = left.split_first() else {
                return Ok(if dir.closed.is_some() { Spot::Closed } else { Spot::Here(at) });
            };
            if dir.is_removed {
                return Err(Errno::Noent.into());
            }
            if dir.closed.is_some() {
                let Some(child) = dir.children.get(name.as_str()) else { return Ok(Spot::Closed) };
                (at, left, taken) = (*child, rest, taken + 1);
                continue;
            }
            let (upper, lower) = match (&dir.upper, &dir.lower) {
                (Some(dir), None) => return Ok(Spot::Upper { dir, rest: left, taken }),
                (None, Some(dir)) => return Ok(Spot::Lower { dir, rest: left, taken }),
                (Some(upper), Some(lower)) => (upper, lower),
                (None, None) => return Err(on_no_layer().into()),
            };
            if let Some(child) = dir.children.get(name.as_str()) {
                (at, left, taken) = (*child, rest, taken + 1);
                continue;
            }
            let both = Meeting { upper, lower };
            return Ok(Spot::Meeting { both, name, rest: left, taken });
        }
    }

    /// What `name` leads to in the directory `key`.
    pub(super) fn have(&self, key: DirKey, name: Name<'_>) -> Result<Have> {
        let dir = self.dir(key)?;
        if dir.is_removed {
            return Ok(Have::Nothing);
        }
        if let Some(upper) = &dir.upper {
            match upper.lookup(name)? {
                UpperEntry::Absent => {}
                UpperEntry::Whiteout => return Ok(Have::Nothing),
                UpperEntry::Node(stat) => return Ok(Have::Upper(stat)),
            }
        }
        match &dir.lower {
            Some(lower) => Ok(lower.find(name)?.map_or(Have::Nothing, Have::Lower)),
            None => Ok(Have::Nothing),
        }
    }

    /// The upper's directory for `key`, if the name is its own affair: nothing of that name lies
    /// beneath, and it leads to no directory that is known here. The upper's operations on such a
    /// name are then the overlay's, errors included, with the tree held to be read alone.
    pub(super) fn own(&self, key: DirKey, name: Name<'_>) -> Result<Option<&UpperRef>> {
        let dir = self.dir(key)?;
        let beneath = dir.lower.as_ref().is_some_and(|lower| !lower.lacks(name));
        if dir.is_removed || beneath || dir.children.contains_key(name.as_str()) {
            return Ok(None);
        }
        Ok(dir.upper.as_ref())
    }

    /// What the node is that `name` leads to, if there is one.
    pub(super) fn stat(&self, key: DirKey, name: Name<'_>) -> Result<Option<Stat>> {
        match self.have(key, name)? {
            Have::Nothing => Ok(None),
            Have::Upper(stat) => Ok(Some(stat)),
            Have::Lower(Found::Dir(dir)) => end(dir.stat(Descent::HERE)).map(Some),
            Have::Lower(Found::Leaf(part)) => end(part.dir().stat(name.into())).map(Some),
        }
    }

    /// The filesystem that the tree is of.
    pub(super) fn dev(&self) -> u64 {
        self.root_id.0
    }

    /// What the directory itself is.
    pub(super) fn stat_dir(&self, key: DirKey) -> Result<Stat> {
        let dir = self.dir(key)?;
        let stat = match (&dir.upper, &dir.lower) {
            (Some(upper), _) => end(upper.stat(Descent::HERE))?,
            (None, Some(lower)) => end(lower.stat(Descent::HERE))?,
            (None, None) => return Err(on_no_layer()),
        };
        let (dev, ino) = if key == ROOT { self.root_id } else { (stat.dev, stat.ino) };
        let nlink = if dir.is_removed { 0 } else { stat.nlink };
        Ok(Stat { dev, ino, nlink, ..stat })
    }

    /// Whether the lowers have something of that name, which the upper has to hide once its own
    /// is gone.
    pub(super) fn lies_beneath(&self, key: DirKey, name: Name<'_>) -> Result<bool> {
        match &self.dir(key)?.lower {
            Some(lower) => Ok(lower.find(name)?.is_some()),
            None => Ok(false),
        }
    }

    /// The directory that `name` leads to, from now on known. It is open.
    ///
    /// Errors: `Noent`; `Notdir` or [`Stop::Link`] at 0.
    pub(super) fn child(&mut self, key: DirKey, name: Name<'_>) -> Result<DirKey, Stop> {
        let child = self.known_child(key, name)?;
        self.open(child)?;
        self.note_idle(child);
        Ok(child)
    }

    /// As [`Tree::child`], but a child that is known already may be closed.
    fn known_child(&mut self, key: DirKey, name: Name<'_>) -> Result<DirKey, Stop> {
        if let Some(child) = self.dir(key)?.children.get(name.as_str()) {
            return Ok(*child);
        }
        self.open(key)?;
        let (upper, lower) = match self.have(key, name)? {
            Have::Nothing => return Err(Errno::Noent.into()),
            Have::Lower(Found::Dir(dir)) => (None, Some(dir)),
            Have::Lower(Found::Leaf(part)) => return Err(not_a_dir(part.dir(), name, 0)),
            Have::Upper(stat) => {
                let dir = self.dir(key)?;
                let upper = dir.upper.as_ref().ok_or_else(on_no_upper)?;
                if stat.kind != FileType::Dir {
                    return Err(not_a_dir(&**upper, name, 0));
                }
                let entered = upper.enter(name)?;
                let lower = match &dir.lower {
                    Some(lower) if !entered.is_opaque()? => match lower.find(name)? {
                        Some(Found::Dir(dir)) => Some(dir),
                        Some(Found::Leaf(_)) | None => None,
                    },
                    Some(_) | None => None,
                };
                (Some(entered), lower)
            }
        };
        let child = self.dirs.insert(DirState::new(key, name.as_str(), upper, lower));
        self.dir_mut(key)?.children.insert(name.as_str().into(), child);
        Ok(child)
    }

    /// The directory that `path` leads to, from now on known. It is open; those on the way that
    /// were not open are closed again.
    pub(super) fn descend(&mut self, key: DirKey, path: Descent<'_>) -> Result<DirKey, Stop> {
        let (mut at, mut is_new) = (key, false);
        for (depth, name) in path.names().enumerate() {
            let (was_open, known) = (self.dir(at)?.closed.is_none(), self.dirs.len());
            let child = self.known_child(at, name).map_err(|stop| stop.shifted_by(depth))?;
            if is_new || !was_open {
                self.close(at);
            }
            (at, is_new) = (child, self.dirs.len() > known);
        }
        self.open(at)?;
        self.note_idle(at);
        Ok(at)
    }

    /// The upper's directory for `key`, which has been raised.
    pub(super) fn upper(&self, key: DirKey) -> Result<&UpperRef> {
        self.dir(key)?.upper.as_ref().ok_or_else(on_no_upper)
    }

    /// The upper's directory for `key`, made with those above it where it is missing. Nothing that
    /// is visible changes.
    ///
    /// Errors: `Noent` if it is removed; those of [`UpperDir::copy_up`](super::UpperDir::copy_up).
    pub(super) fn raise(&mut self, key: DirKey) -> Result<UpperRef> {
        match self.dir(key)? {
            DirState { is_removed: true, .. } => return Err(Errno::Noent),
            DirState { upper: Some(upper), .. } => return Ok(Arc::clone(upper)),
            DirState { upper: None, .. } => {}
        }
        let (mut chain, mut at) = (Vec::new(), key);
        loop {
            let dir = self.dir(at)?;
            if dir.is_removed {
                return Err(Errno::Noent);
            }
            if dir.upper.is_some() || dir.closed.is_some_and(|closed| closed.has_upper) {
                break;
            }
            if at == ROOT {
                return Err(on_no_upper());
            }
            chain.push(at);
            at = dir.parent;
        }
        let mut was_open = self.dir(at)?.closed.is_none();
        self.open(at)?;
        let mut upper = Arc::clone(self.upper(at)?);
        while let Some(next) = chain.pop() {
            let is_open = self.dir(next)?.closed.is_none();
            self.open(next)?;
            upper = self.adopt_dir(next, &upper)?;
            if !was_open {
                self.close(at);
            }
            (at, was_open) = (next, is_open);
        }
        Ok(upper)
    }

    fn adopt_dir(&mut self, key: DirKey, above: &UpperRef) -> Result<UpperRef> {
        let dir = self.dir_mut(key)?;
        let name = Name::new(&dir.name)?;
        let lower = dir.lower.as_ref().ok_or_else(on_no_layer)?;
        let stat = end(lower.stat(Descent::HERE))?;
        match above.copy_up(&[NewName { dir: &**above, name }], &stat, CopyUp::Dir) {
            // CopyUp already, by an operation that failed right behind that.
            Ok(_) | Err(Errno::Exist) => {}
            Err(errno) => return Err(errno),
        }
        let made = above.enter(name)?;
        dir.upper = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Whether `key` is `above`, or lies below it.
    pub(super) fn is_below(&self, key: DirKey, above: DirKey) -> Result<bool> {
        let mut at = key;
        loop {
            if at == above {
                return Ok(true);
            }
            let dir = self.dir(at)?;
            if at == ROOT || dir.is_removed {
                return Ok(false);
            }
            at = dir.parent;
        }
    }

    /// Whether nothing shows in the directory `key`.
    pub(super) fn is_empty(&self, key: DirKey) -> Result<bool> {
        let dir = self.dir(key)?;
        let mut has_node = false;
        if let Some(upper) = &dir.upper {
            upper.read_dir(crate::Cookie::START, &mut |_| {
                has_node = true;
                std::ops::ControlFlow::Break(())
            })?;
        }
        if has_node {
            return Ok(false);
        }
        let Some(lower) = &dir.lower else { return Ok(true) };
        for entry in lower.list()?.behind(0) {
            let says = match &dir.upper {
                Some(upper) => upper.lookup(entry.name)?,
                None => UpperEntry::Absent,
            };
            if says != UpperEntry::Whiteout {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes an empty directory of the upper hide the lowers' of its name, which its whiteouts
    /// hide already: an upper that removes these to make room for another node shows nothing then
    /// either. Nothing happens where `name` leads to anything else.
    pub(super) fn close_empty(&mut self, key: DirKey, name: Name<'_>) -> Result<()> {
        let Some(child) = self.dir(key)?.children.get(name.as_str()).copied() else {
            return Ok(());
        };
        self.open(child)?;
        let dir = self.dir_mut(child)?;
        if let (Some(upper), Some(_)) = (&dir.upper, &dir.lower) {
            upper.set_opaque()?;
            dir.lower = None;
        }
        Ok(())
    }

    /// The name no longer leads to a directory.
    pub(super) fn forget(&mut self, key: DirKey, name: Name<'_>) -> Result<()> {
        let Some(child) = self.dir_mut(key)?.children.remove(name.as_str()) else { return Ok(()) };
        self.dir_mut(child)?.is_removed = true;
        self.free_unused(child);
        Ok(())
    }

    /// The directory `moved` has got a new name.
    pub(super) fn moved(&mut self, moved: DirKey, into: DirKey, name: Name<'_>) -> Result<()> {
        let dir = self.dir_mut(moved)?;
        let old_name = std::mem::replace(&mut dir.name, name.as_str().into());
        let old = std::mem::replace(&mut dir.parent, into);
        self.dir_mut(old)?.children.remove(&old_name);
        self.dir_mut(into)?.children.insert(name.as_str().into(), moved);
        Ok(())
    }

    /// The last handle has gone: what was kept for listings goes too.
    pub(super) fn let_go(&mut self, key: DirKey) {
        if let Some(dir) = self.dirs.get_mut(key)
            && dir.handles.load(Ordering::Acquire) == 0
        {
            dir.forget_listing();
        }
        self.free_unused(key);
        self.note_idle(key);
        self.close_idle();
    }

    /// Frees a removed directory without handles.
    pub(super) fn free_unused(&mut self, key: DirKey) {
        let is_unused = |dir: &DirState| dir.is_removed && dir.handles.load(Ordering::Acquire) == 0;
        if key != ROOT && self.dirs.get(key).is_some_and(is_unused) {
            self.dirs.remove(key);
        }
    }

    /// Forgets directories without handles, if there are many, and closes all but a few. To be
    /// called before an operation, since none may go while one is under way.
    pub(super) fn sweep(&mut self) {
        self.close_idle();
        if self.dirs.len() <= self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.sweep_all();
        self.sweep_at = self.dirs.len() * 2;
    }

    /// Forgets all directories that nobody holds and that do not lie above a held one.
    pub(super) fn sweep_all(&mut self) {
        let mut idle: Vec<DirKey> = self.dirs.iter().map(|(key, _)| key).collect();
        while let Some(key) = idle.pop() {
            idle.extend(self.forget_idle(key));
        }
    }

    /// Forgets a directory without a handle and without known children. Returns its parent, which
    /// may be such a one now.
    pub(super) fn forget_idle(&mut self, key: DirKey) -> Option<DirKey> {
        let is_idle =
            |dir: &DirState| dir.children.is_empty() && dir.handles.load(Ordering::Acquire) == 0;
        if key == ROOT || !self.dirs.get(key).is_some_and(is_idle) {
            return None;
        }
        let dir = self.dirs.remove(key);
        if dir.is_removed {
            return None;
        }
        self.dirs.get_mut(dir.parent)?.children.remove(&dir.name);
        Some(dir.parent)
    }
}
