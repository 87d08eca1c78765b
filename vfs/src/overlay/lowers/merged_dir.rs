//! A directory of the merged lowers: the parts of one path, with a lookup cache.
//!
//! The parts are the lowers' directories of that path, the topmost first, down to the first opaque
//! one. Lookup results are cached, so a stack of many lowers costs one lookup per name. One
//! `MergedDir` is shared by all overlays over the same lowers.
//!
//! The caches never expire, because lowers must not change while an overlay uses them: overlayfs
//! has the same contract. A lower that changes nevertheless yields wrong results for the changed
//! names and nothing worse.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};

use super::super::upper::UpperRef;
use super::merged_list::{ListMerger, MergedList};
use super::negative_filter::NegativeFilter;
use super::part::{LowerDir, PartKind};
use super::recent_dirs::RecentDirs;
use super::{not_a_dir, to_errno};
use crate::path::kind_of;
use crate::shared_path::SharedPath;
use crate::{Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Result, Stop, bug};

/// Names in the lookup cache of one directory. A full cache is cleared.
const CACHED_NAMES_MAX: usize = 4096;

/// The node that a name leads to in the merged lowers.
pub(in super::super) enum LowerNode {
    /// A node that is not a directory, in this lower's directory.
    Leaf(LowerDir),
    Dir(Arc<MergedDir>),
}

/// A cached lookup result.
enum CachedLookup {
    Absent,
    /// The index of the part that has the leaf.
    Leaf(usize),
    Dir(Weak<MergedDir>),
}

/// A directory of the merged lowers.
pub(in super::super) struct MergedDir {
    pub(super) parts: Box<[LowerDir]>,
    /// The path from the root of the lowers. It holds names only: a directory does not keep its
    /// ancestors open.
    path: SharedPath,
    me: Weak<MergedDir>,
    /// Never locked while a lower is called. A single part has only its directories cached.
    lookups: RwLock<HashMap<Box<str>, CachedLookup, RandomState>>,
    /// The listing, shared by the callers that use it at the same time. Never locked while a lower
    /// is called.
    list: Mutex<Weak<MergedList>>,
    filter: NegativeFilter,
    recent: Weak<RecentDirs>,
}

impl MergedDir {
    pub(super) fn new(
        parts: Vec<LowerDir>,
        path: SharedPath,
        recent: Weak<RecentDirs>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| MergedDir {
            parts: parts.into(),
            path,
            me: Weak::clone(me),
            lookups: RwLock::default(),
            list: Mutex::default(),
            filter: NegativeFilter::default(),
            recent,
        })
    }

    /// Creates the directory at `path` of the lowers with the root `root`: the frozen upper's
    /// directory `upper` over the parts of `lower`.
    pub(in super::super) fn stacked(
        root: &MergedDir,
        path: SharedPath,
        lower: Option<&Arc<MergedDir>>,
        upper: Option<UpperRef>,
    ) -> Arc<MergedDir> {
        let lower = lower.map(|dir| dir.parts.iter().cloned()).into_iter().flatten();
        let parts = upper.map(LowerDir::Frozen).into_iter().chain(lower).collect();
        MergedDir::new(parts, path, Weak::clone(&root.recent))
    }

    /// Returns the `Arc` that owns this directory. `self` is borrowed from it, so it is alive.
    pub(super) fn me(&self) -> Result<Arc<MergedDir>> {
        self.me.upgrade().ok_or_else(|| bug!("a borrowed directory of the lowers was dropped"))
    }

    /// The path from the root of the lowers.
    pub(in super::super) fn path(&self) -> &SharedPath {
        &self.path
    }

    /// Returns the device number of the lowest part, or `dev` if there are no parts.
    pub(in super::super) fn dev_or(&self, dev: u64) -> Result<u64> {
        match self.parts.last() {
            Some(lowest) => Ok(to_errno(lowest.dir().stat(Descent::HERE))?.dev),
            None => Ok(dev),
        }
    }

    /// Returns whether `upper` is one of the parts, an ancestor of one or a descendant of one.
    pub(in super::super) fn overlaps(&self, upper: &UpperRef) -> Result<bool> {
        let id = |dir: &dyn Dir| to_errno(dir.stat(Descent::HERE)).map(|stat| (stat.dev, stat.ino));
        let upper_id = id(&**upper)?;
        for part in &self.parts {
            if part.is_in(upper_id)? || upper.is_in(id(part.dir())?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the only part, if it is a plain directory: it then is the merged view.
    pub(super) fn single(&self) -> Option<&DirRef> {
        match &*self.parts {
            [LowerDir::Plain(dir)] => Some(dir),
            _ => None,
        }
    }

    /// Returns the cached lookup result of `name`; the outer `None` is a cache miss.
    #[expect(clippy::option_option, reason = "an absent name is a cached result too")]
    fn cached(&self, name: Name<'_>) -> Option<Option<LowerNode>> {
        match self.lookups.read().get(name.as_str())? {
            CachedLookup::Absent => Some(None),
            CachedLookup::Leaf(nth) => self.parts.get(*nth).cloned().map(LowerNode::Leaf).map(Some),
            CachedLookup::Dir(dir) => dir.upgrade().map(LowerNode::Dir).map(Some),
        }
    }

    /// Returns the part that has the leaf at `path`, if `path` is one cached name.
    pub(super) fn cached_leaf<'p>(&self, path: Descent<'p>) -> Option<(&LowerDir, Name<'p>)> {
        let name = path.as_name().filter(|_| self.parts.len() > 1)?;
        match self.lookups.read().get(name.as_str())? {
            CachedLookup::Leaf(nth) => Some((self.parts.get(*nth)?, name)),
            CachedLookup::Absent | CachedLookup::Dir(_) => None,
        }
    }

    fn cache(&self, name: Name<'_>, result: CachedLookup) {
        let mut lookups = self.lookups.write();
        if lookups.len() >= CACHED_NAMES_MAX {
            lookups.clear();
        }
        lookups.insert(name.as_str().into(), result);
    }

    /// Returns whether the Bloom filter proves that `name` is absent.
    #[inline]
    pub(in super::super) fn excludes(&self, name: Name<'_>) -> bool {
        self.filter.excludes(name, &self.parts)
    }

    /// Looks up `name` in the parts, from the topmost down.
    pub(in super::super) fn lookup(&self, name: Name<'_>) -> Result<Option<LowerNode>> {
        let is_stack = self.parts.len() > 1;
        if is_stack && let Some(cached) = self.cached(name) {
            return Ok(cached);
        }
        let mut dirs = Vec::new();
        for (nth, part) in self.parts.iter().enumerate() {
            match part.lookup(name)? {
                PartKind::Absent => {}
                PartKind::Leaf if dirs.is_empty() => {
                    if is_stack {
                        self.cache(name, CachedLookup::Leaf(nth));
                    }
                    return Ok(Some(LowerNode::Leaf(part.clone())));
                }
                PartKind::Leaf | PartKind::Whiteout => break,
                PartKind::Dir => {
                    if !is_stack && let Some(cached) = self.cached(name) {
                        return Ok(cached);
                    }
                    let entered = part.enter(name)?;
                    let is_opaque = entered.is_opaque()?;
                    dirs.push(entered);
                    if is_opaque {
                        break;
                    }
                }
            }
        }
        if dirs.is_empty() {
            if is_stack {
                self.cache(name, CachedLookup::Absent);
            }
            return Ok(None);
        }
        Ok(Some(LowerNode::Dir(self.cache_dir(name, dirs))))
    }

    /// Creates the merged subdirectory `name` of the parts `dirs` and caches it.
    fn cache_dir(&self, name: Name<'_>, dirs: Vec<LowerDir>) -> Arc<MergedDir> {
        let path = self.path.join(name.as_str());
        let dir = MergedDir::new(dirs, path, Weak::clone(&self.recent));
        self.cache(name, CachedLookup::Dir(Arc::downgrade(&dir)));
        if let Some(recent) = self.recent.upgrade() {
            recent.insert(&dir);
        }
        dir
    }

    /// Returns the parent directory and the last name of `path`, which must have a name.
    ///
    /// # Errors
    /// - `ENOENT`: a name of the parent path is absent.
    /// - `ENOTDIR` or [`Stop::Link`]: a name of the parent path leads to a leaf.
    pub(super) fn parent_of<'p>(
        &self,
        path: Descent<'p>,
    ) -> Result<(Arc<MergedDir>, Name<'p>), Stop> {
        let (parent, name) = path.split_last().ok_or_else(|| bug!("a descent without a name"))?;
        let mut at = self.me()?;
        for (depth, name) in parent.names().enumerate() {
            at = match at.lookup(name)? {
                None => return Err(Errno::Noent.into()),
                Some(LowerNode::Dir(dir)) => dir,
                Some(LowerNode::Leaf(part)) => return Err(not_a_dir(part.dir(), name, depth)),
            };
        }
        Ok((at, name))
    }

    /// Returns the merged listing. It is built once and kept while a caller holds it.
    pub(in super::super) fn list(&self) -> Result<Arc<MergedList>> {
        if let Some(list) = self.list.lock().upgrade() {
            return Ok(list);
        }
        let list = match &*self.parts {
            [only] => {
                let mut list = MergedList::default();
                read_all(only.dir(), &mut |entry| list.push(entry))?;
                list
            }
            parts => {
                let mut merger = ListMerger::default();
                for part in parts {
                    read_all(part.dir(), &mut |entry| merger.push(entry))?;
                    if let LowerDir::Frozen(upper) = part {
                        upper.whiteouts(&mut |name| merger.hide(name))?;
                    }
                }
                merger.finish()
            }
        };
        let list = Arc::new(list);
        *self.list.lock() = Arc::downgrade(&list);
        Ok(list)
    }

    /// Returns the errno of an operation that would create `name`: `EEXIST` or `EROFS`.
    pub(super) fn refuse_new(&self, name: Name<'_>) -> Errno {
        match self.lookup(name) {
            Ok(None) => Errno::Rofs,
            Ok(Some(_)) => Errno::Exist,
            Err(errno) => errno,
        }
    }

    /// Returns the type of the node `name`, or `None` if it is absent.
    pub(super) fn kind(&self, name: Name<'_>) -> Result<Option<FileType>> {
        Ok(match self.lookup(name)? {
            None => None,
            Some(LowerNode::Dir(_)) => Some(FileType::Dir),
            Some(LowerNode::Leaf(part)) => Some(kind_of(part.dir(), name)?),
        })
    }
}

/// Calls `each` for every entry of a directory until it fails.
fn read_all(dir: &dyn Dir, each: &mut dyn FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let mut done = Ok(());
    dir.read_dir(Cookie::START, &mut |entry| {
        done = each(entry);
        if done.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    done
}
