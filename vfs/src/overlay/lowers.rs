//! Any number of lowers, seen as one tree that is only read.
//!
//! A [`MergedDir`] is a directory of that tree: the directories of one path in the lowers, the
//! topmost first, down to the first that hides the rest. What it finds by a name it remembers, so
//! a stack of many lowers costs what one costs. It is shared by all overlays over the same lowers.
//!
//! That is right because lowers do not change while something is stacked upon them: that is the
//! contract, as it is overlayfs'. A lower that changes all the same gives wrong answers about what
//! changed, and nothing worse.
//!
//! Lock order: `known` and `list` are leaves; none is held while a lower is called.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use super::merged_list::{List, Merge};
use super::negative_filter::NegativeFilter;
use super::upper::{UpperEntry, UpperRef};
use crate::path::kind_of;
use crate::shared_path::SharedPath;
use crate::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, OpenHow, Result, Stop, bug,
};

/// Names that one directory remembers. Beyond them it forgets all and starts anew.
const KNOWN_MAX: usize = 4096;
/// Merged directories that are kept for the next descent.
const RECENT_MAX: usize = 128;
/// The same where they may take descriptors: up to two for each lower, counted by lowers.
const RECENT_PARTS_MAX: usize = 32;

/// What lies beneath an overlay's upper: any number of lowers, the topmost first. A clone is the
/// same one.
///
/// Lowers must not change as long as something is stacked upon them. They are never written.
#[derive(Clone)]
pub struct Lowers {
    pub(super) root: Arc<MergedDir>,
    /// Held here and not by the directories, which it holds: nothing would ever go.
    _recent: Arc<Recent>,
}

/// Builds [`Lowers`]; what is given first lies on top.
#[derive(Default)]
pub struct LowersBuilder {
    parts: Vec<LowerDir>,
}

impl Lowers {
    /// A builder.
    #[must_use]
    pub fn builder() -> LowersBuilder {
        LowersBuilder::default()
    }

    /// One directory alone.
    #[must_use]
    pub fn of(dir: DirRef) -> Lowers {
        Lowers::stack(vec![LowerDir::Plain(dir)])
    }

    fn stack(parts: Vec<LowerDir>) -> Lowers {
        let may_block = parts.iter().any(|part| part.dir().may_block());
        let max = match may_block {
            true => (RECENT_PARTS_MAX / parts.len().max(1)).max(1),
            false => RECENT_MAX,
        };
        let recent = Arc::new(Recent { max, kept: Mutex::default() });
        let root = MergedDir::new(parts, SharedPath::default(), Arc::downgrade(&recent));
        Lowers { root, _recent: recent }
    }

    /// The merged tree, to be read. What would change it is `Rofs`.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::clone(&self.root) as DirRef
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.root.parts.len()
    }

    /// The topmost `count`, and the others; `None` unless there are so many.
    pub(super) fn split(&self, count: usize) -> Option<(Vec<LowerDir>, Vec<LowerDir>)> {
        let (top, rest) = self.root.parts.split_at_checked(count)?;
        if top.is_empty() { None } else { Some((top.to_vec(), rest.to_vec())) }
    }

    /// None at all, beneath an upper that hides everything.
    pub(super) fn none() -> Lowers {
        Lowers::stack(Vec::new())
    }

    /// These, with `layer` on top of them.
    pub(super) fn beneath(&self, layer: UpperRef) -> Result<Lowers> {
        LowersBuilder::default().frozen_upper(layer).lowers(self).build()
    }
}

impl LowersBuilder {
    pub(super) fn of(parts: Vec<LowerDir>) -> Self {
        LowersBuilder { parts }
    }

    /// A directory of any filesystem, guarded or not, beneath those given before.
    #[must_use]
    pub fn dir(mut self, dir: DirRef) -> Self {
        self.parts.push(LowerDir::Plain(dir));
        self
    }

    /// A layer, whose marks count, beneath those given before. It must not be written any more:
    /// [`UpperDir::freeze`](super::UpperDir::freeze) sees to that.
    #[must_use]
    pub fn frozen_upper(mut self, layer: UpperRef) -> Self {
        self.parts.push(LowerDir::Frozen(layer));
        self
    }

    /// All that other lowers consist of, beneath those given before.
    #[must_use]
    pub fn lowers(mut self, lowers: &Lowers) -> Self {
        self.parts.extend(lowers.root.parts.iter().cloned());
        self
    }

    /// The lowers.
    ///
    /// Errors, in order: `Inval` if nothing was given; `Io` from a layer that cannot say whether
    /// its root hides those beneath it.
    pub fn build(mut self) -> Result<Lowers> {
        if self.parts.is_empty() {
            return Err(Errno::Inval);
        }
        let mut hides = None;
        for (nth, part) in self.parts.iter().enumerate() {
            if part.is_opaque()? {
                hides = Some(nth + 1);
                break;
            }
        }
        self.parts.truncate(hides.unwrap_or(self.parts.len()));
        Ok(Lowers::stack(self.parts))
    }
}

/// One lower's directory.
#[derive(Clone)]
pub(super) enum LowerDir {
    Plain(DirRef),
    Frozen(UpperRef),
}

impl LowerDir {
    pub(super) fn dir(&self) -> &dyn Dir {
        match self {
            LowerDir::Plain(dir) => &**dir,
            LowerDir::Frozen(layer) => &**layer,
        }
    }

    fn lookup(&self, name: Name<'_>) -> Result<Kind> {
        let kind = match self {
            LowerDir::Plain(dir) => kind_of(&**dir, name),
            LowerDir::Frozen(layer) => match layer.lookup(name)? {
                UpperEntry::Absent => return Ok(Kind::Nothing),
                UpperEntry::Whiteout => return Ok(Kind::Whiteout),
                UpperEntry::Node(stat) => Ok(stat.kind),
            },
        };
        match kind {
            Ok(FileType::Dir) => Ok(Kind::Dir),
            Ok(_) => Ok(Kind::Leaf),
            Err(Errno::Noent) => Ok(Kind::Nothing),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn enter(&self, name: Name<'_>) -> Result<LowerDir> {
        Ok(match self {
            LowerDir::Plain(dir) => {
                LowerDir::Plain(end(dir.open(name.into(), OpenHow::HOLD_DIR))?.into_dir()?)
            }
            LowerDir::Frozen(layer) => LowerDir::Frozen(layer.enter(name)?),
        })
    }

    pub(super) fn is_opaque(&self) -> Result<bool> {
        match self {
            LowerDir::Plain(_) => Ok(false),
            LowerDir::Frozen(layer) => layer.is_opaque(),
        }
    }
}

enum Kind {
    Nothing,
    Whiteout,
    Leaf,
    Dir,
}

/// What a name leads to.
pub(super) enum Found {
    /// A file or a link of this part.
    Leaf(LowerDir),
    Dir(Arc<MergedDir>),
}

enum Known {
    Nothing,
    Leaf(usize),
    Dir(Weak<MergedDir>),
}

/// Keeps the directories that were entered last, so that the next descent finds them.
struct Recent {
    max: usize,
    kept: Mutex<(Vec<Arc<MergedDir>>, usize)>,
}

impl Recent {
    fn keep(&self, dir: &Arc<MergedDir>) {
        let dropped = {
            let mut guard = self.kept.lock();
            let (kept, next) = &mut *guard;
            if kept.len() < self.max {
                kept.push(Arc::clone(dir));
                return;
            }
            *next = (*next + 1) % self.max;
            kept.get_mut(*next).map(|place| std::mem::replace(place, Arc::clone(dir)))
        };
        // It may be the last handle of a directory of the host.
        drop(dropped);
    }
}

/// A directory of the merged lowers.
pub(super) struct MergedDir {
    pub(super) parts: Box<[LowerDir]>,
    /// Where it lies in the lowers. Names alone: a directory does not hold the ones above it.
    path: SharedPath,
    pub(super) me: Weak<MergedDir>,
    known: RwLock<HashMap<Box<str>, Known, RandomState>>,
    list: Mutex<Weak<List>>,
    absent: NegativeFilter,
    recent: Weak<Recent>,
}

impl MergedDir {
    fn new(parts: Vec<LowerDir>, path: SharedPath, recent: Weak<Recent>) -> Arc<Self> {
        Arc::new_cyclic(|me| MergedDir {
            parts: parts.into(),
            path,
            me: Weak::clone(me),
            known: RwLock::default(),
            list: Mutex::default(),
            absent: NegativeFilter::default(),
            recent,
        })
    }

    /// The directory at `path` of the lowers whose root is `root`: `layer`'s directory on top of
    /// what `below` is.
    pub(super) fn stacked(
        root: &MergedDir,
        path: SharedPath,
        below: Option<&Arc<MergedDir>>,
        layer: Option<UpperRef>,
    ) -> Arc<MergedDir> {
        let below = below.map(|dir| dir.parts.iter().cloned()).into_iter().flatten();
        let parts = layer.map(LowerDir::Frozen).into_iter().chain(below).collect();
        MergedDir::new(parts, path, Weak::clone(&root.recent))
    }

    /// This directory, shared. `self` is borrowed from an `Arc`, so it is alive.
    pub(super) fn me(&self) -> Result<Arc<MergedDir>> {
        self.me.upgrade().ok_or_else(|| bug!("a directory of the lowers is borrowed and gone"))
    }

    /// The names that lead here from the root.
    pub(super) fn path(&self) -> &SharedPath {
        &self.path
    }

    /// The filesystem that the lowest part is of, or this, where there is none.
    pub(super) fn dev_or(&self, dev: u64) -> Result<u64> {
        match self.parts.last() {
            Some(lowest) => Ok(end(lowest.dir().stat(Descent::HERE))?.dev),
            None => Ok(dev),
        }
    }

    /// Whether `upper` is one of the parts, or one lies in the other.
    pub(super) fn is_entangled(&self, upper: &UpperRef) -> Result<bool> {
        let id = |dir: &dyn Dir| end(dir.stat(Descent::HERE)).map(|stat| (stat.dev, stat.ino));
        let upper_id = id(&**upper)?;
        for part in &self.parts {
            let is_in_upper = match part {
                LowerDir::Plain(dir) => plain_lies_in(&**dir, upper_id)?,
                LowerDir::Frozen(layer) => layer.lies_in(upper_id)?,
            };
            if is_in_upper || upper.lies_in(id(part.dir())?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The only part, if it has no marks: then it is what is seen here.
    pub(super) fn single(&self) -> Option<&DirRef> {
        match &*self.parts {
            [LowerDir::Plain(dir)] => Some(dir),
            _ => None,
        }
    }

    /// What is remembered of the name: the outer `None` is nothing at all.
    #[expect(clippy::option_option, reason = "what is known may be that there is nothing")]
    fn known(&self, name: Name<'_>) -> Option<Option<Found>> {
        match self.known.read().get(name.as_str())? {
            Known::Nothing => Some(None),
            Known::Leaf(nth) => self.parts.get(*nth).cloned().map(Found::Leaf).map(Some),
            Known::Dir(dir) => dir.upgrade().map(Found::Dir).map(Some),
        }
    }

    /// The part that is remembered to have the file or link that `path` names.
    pub(super) fn known_leaf<'p>(&self, path: Descent<'p>) -> Option<(&LowerDir, Name<'p>)> {
        let name = path.as_name().filter(|_| self.parts.len() > 1)?;
        match self.known.read().get(name.as_str())? {
            Known::Leaf(nth) => Some((self.parts.get(*nth)?, name)),
            Known::Nothing | Known::Dir(_) => None,
        }
    }

    fn remember(&self, name: Name<'_>, known: Known) {
        let mut all = self.known.write();
        if all.len() >= KNOWN_MAX {
            all.clear();
        }
        all.insert(name.as_str().into(), known);
    }

    /// Whether it is known that nothing has this name.
    #[inline]
    pub(super) fn lacks(&self, name: Name<'_>) -> bool {
        self.absent.is_sure_of(name, &self.parts)
    }

    /// What `name` leads to, if anything.
    pub(super) fn find(&self, name: Name<'_>) -> Result<Option<Found>> {
        // Of a single part, only directories are remembered.
        if self.parts.len() > 1
            && let Some(found) = self.known(name)
        {
            return Ok(found);
        }
        let mut dirs = Vec::new();
        for (nth, part) in self.parts.iter().enumerate() {
            match part.lookup(name)? {
                Kind::Nothing => {}
                Kind::Leaf if dirs.is_empty() => {
                    if self.parts.len() > 1 {
                        self.remember(name, Known::Leaf(nth));
                    }
                    return Ok(Some(Found::Leaf(part.clone())));
                }
                Kind::Leaf | Kind::Whiteout => break,
                Kind::Dir => {
                    if self.parts.len() == 1
                        && let Some(found) = self.known(name)
                    {
                        return Ok(found);
                    }
                    let entered = part.enter(name)?;
                    let is_last = entered.is_opaque()?;
                    dirs.push(entered);
                    if is_last {
                        break;
                    }
                }
            }
        }
        if dirs.is_empty() {
            if self.parts.len() > 1 {
                self.remember(name, Known::Nothing);
            }
            return Ok(None);
        }
        let path = self.path.join(name.as_str());
        let dir = MergedDir::new(dirs, path, Weak::clone(&self.recent));
        self.remember(name, Known::Dir(Arc::downgrade(&dir)));
        if let Some(recent) = self.recent.upgrade() {
            recent.keep(&dir);
        }
        Ok(Some(Found::Dir(dir)))
    }

    /// The directory, and the part of a leaf in it, that the last name of `path` is looked up in.
    /// `at` is taken to be a name.
    pub(super) fn parent_of<'p>(
        &self,
        path: Descent<'p>,
    ) -> Result<(Arc<MergedDir>, Name<'p>), Stop> {
        let (parent, name) = path.split_last().ok_or_else(|| bug!("a descent without a name"))?;
        let mut at = self.me()?;
        for (depth, name) in parent.names().enumerate() {
            at = match at.find(name)? {
                None => return Err(Errno::Noent.into()),
                Some(Found::Dir(dir)) => dir,
                Some(Found::Leaf(part)) => return Err(not_a_dir(part.dir(), name, depth)),
            };
        }
        Ok((at, name))
    }

    /// What can be listed here. It is made once and kept as long as someone holds it.
    pub(super) fn list(&self) -> Result<Arc<List>> {
        if let Some(list) = self.list.lock().upgrade() {
            return Ok(list);
        }
        let list = match &*self.parts {
            [only] => {
                let mut list = List::default();
                read_all(only.dir(), &mut |entry| list.push(entry))?;
                list
            }
            parts => {
                let mut merge = Merge::default();
                for part in parts {
                    read_all(part.dir(), &mut |entry| merge.push(entry))?;
                    if let LowerDir::Frozen(layer) = part {
                        layer.whiteouts(&mut |name| merge.hide(name))?;
                    }
                }
                merge.finish()
            }
        };
        let list = Arc::new(list);
        *self.list.lock() = Arc::downgrade(&list);
        Ok(list)
    }

    /// Whether there is something of this name, for an operation that is refused in any case.
    pub(super) fn refuse_new(&self, name: Name<'_>) -> Errno {
        match self.find(name) {
            Ok(None) => Errno::Rofs,
            Ok(Some(_)) => Errno::Exist,
            Err(errno) => errno,
        }
    }

    pub(super) fn kind(&self, name: Name<'_>) -> Result<Option<FileType>> {
        Ok(match self.find(name)? {
            None => None,
            Some(Found::Dir(_)) => Some(FileType::Dir),
            Some(Found::Leaf(part)) => Some(kind_of(part.dir(), name)?),
        })
    }
}

/// Whether a directory is the directory of this identity or lies in it, if it can tell.
fn plain_lies_in(dir: &dyn Dir, top: (u64, u64)) -> Result<bool> {
    #[cfg(all(feature = "host", target_os = "linux"))]
    if let Some(dir) = (dir as &dyn std::any::Any).downcast_ref::<crate::HostDir>() {
        return dir.lies_in(top);
    }
    end(dir.stat(Descent::HERE)).map(|stat| (stat.dev, stat.ino) == top)
}

/// Calls `each` for every entry.
fn read_all(dir: &dyn Dir, each: &mut dyn FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let mut done = Ok(());
    dir.read_dir(Cookie::START, &mut |entry| {
        done = each(entry);
        if done.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    done
}

/// Why a descent ends at a leaf after `depth` names.
pub(super) fn not_a_dir(dir: &dyn Dir, name: Name<'_>, depth: usize) -> Stop {
    match dir.open(name.into(), OpenHow::HOLD_DIR) {
        Err(stop) => stop.shifted_by(depth),
        Ok(_) => Errno::Notdir.into(),
    }
}

/// For descents of at most one name, where a link is not expected.
pub(super) fn end<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
