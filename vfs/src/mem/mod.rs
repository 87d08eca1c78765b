//! The memory filesystem.
//!
//! Supports all of POSIX that the traits express: hard links, symbolic links, sparse files, removed
//! nodes that are still open, stable cookies. An unreachable node is freed with its last handle.
//!
//! A `MemFs` can also be the upper of an overlay (`upper.rs`): its directories then store whiteouts
//! and opaque marks beside their entries, invisible to lookups.
//!
//! Lock order:
//!
//! - `FsState::tree`
//!   - `Leaf::state`
//!
//! A file handle takes only `Leaf::state`. Callbacks of listings run without a lock. The clock is
//! called with either lock held, so it must not call its own filesystem.

mod bytes;
mod chunks;
mod dir;
mod entries;
mod file;
mod leaf;
mod meter;
mod tree;
mod upper;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::{RwLock, RwLockWriteGuard};

pub use meter::MemUsage;

use self::bytes::Bytes;
use self::dir::MemDir;
use self::leaf::{Leaf, LeafContent, LeafState, Times};
use self::meter::{Counted, Meter};
use self::tree::{DirData, ROOT, Tree};
use crate::{DirRef, Errno, Name, Result, Timestamp, fresh_dev, fresh_ino};

type ClockFn = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A filesystem in memory. A clone is the same filesystem.
#[derive(Clone)]
pub struct MemFs(Arc<FsState>);

/// Builds a [`MemFs`].
pub struct MemFsBuilder {
    capacity_bytes: u64,
    nodes_max: u64,
    clock: ClockFn,
}

struct FsState {
    dev: u64,
    /// The device number of new nodes if this filesystem is the upper of an overlay.
    dev_of_new: OnceLock<u64>,
    /// The token in the temporary names of this upper's commits.
    commit_token: OnceLock<u128>,
    /// The lock of all directories and of every link count.
    tree: RwLock<Tree>,
    ino_next: AtomicU64,
    env: Arc<Env>,
}

/// The state of a filesystem that its open files use.
///
/// Only the filesystem and its open files hold references, so the reference count is the number of
/// open files plus one.
struct Env {
    meter: Arc<Meter>,
    clock: ClockFn,
    /// Set at most once, under `FsState::tree`, while no file is open.
    frozen: AtomicBool,
}

impl Env {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl MemFs {
    /// Creates an empty filesystem without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder for a filesystem with limits or another clock.
    #[must_use]
    pub fn builder() -> MemFsBuilder {
        MemFsBuilder {
            capacity_bytes: u64::MAX,
            nodes_max: u64::MAX,
            clock: Arc::new(|| SystemTime::now().into()),
        }
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::new(MemDir::hold(&self.0, &self.0.tree.read(), ROOT))
    }

    /// Returns the current memory use.
    #[must_use]
    pub fn usage(&self) -> MemUsage {
        self.0.env.meter.usage()
    }

    /// Creates a character device like `/dev/null` in the root: writes succeed and discard, reads
    /// return 0 bytes.
    ///
    /// # Errors
    ///
    /// - `EEXIST`: the name exists.
    /// - `ENOSPC`: too many nodes.
    pub fn create_null_device(&self, name: Name<'_>) -> Result<()> {
        let dir = MemDir::hold(&self.0, &self.0.tree.read(), ROOT);
        dir.create_leaf(name, LeafContent::Null).map(drop)
    }
}

impl MemFsBuilder {
    /// Limits the bytes allocated for the contents of files; a write beyond the limit fails with
    /// `ENOSPC`. Holes are not counted. Default: no limit.
    #[must_use]
    pub fn capacity_bytes(mut self, capacity_bytes: u64) -> Self {
        self.capacity_bytes = capacity_bytes;
        self
    }

    /// Limits the number of files, directories and links, including the root; a creation beyond the
    /// limit fails with `ENOSPC`. Default: no limit.
    #[must_use]
    pub fn nodes_max(mut self, nodes_max: u64) -> Self {
        // The root always exists.
        self.nodes_max = nodes_max.max(1);
        self
    }

    /// Sets the clock for the times of nodes. Default: the system clock.
    ///
    /// The clock is called while locks of the filesystem are held, so it must not call this
    /// filesystem.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the filesystem.
    #[must_use]
    pub fn build(self) -> MemFs {
        let meter = Arc::new(Meter::new(self.capacity_bytes, self.nodes_max));
        let dev = fresh_dev();
        let mut tree = Tree::default();
        if let Ok(counted) = Counted::new(&meter) {
            tree.dirs.insert(DirData::new((dev, 1), ROOT, (self.clock)(), counted));
        }
        let env = Env { meter, clock: self.clock, frozen: AtomicBool::new(false) };
        MemFs(Arc::new(FsState {
            dev,
            dev_of_new: OnceLock::new(),
            commit_token: OnceLock::new(),
            tree: RwLock::new(tree),
            ino_next: AtomicU64::new(2),
            env: Arc::new(env),
        }))
    }
}

impl FsState {
    fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// Locks the tree for writing.
    ///
    /// # Errors
    ///
    /// - `EROFS`: the filesystem is frozen.
    fn write_tree(&self) -> Result<RwLockWriteGuard<'_, Tree>> {
        let tree = self.tree.write();
        if self.env.is_frozen() { Err(Errno::Rofs) } else { Ok(tree) }
    }

    /// Returns the identity of a new node.
    fn fresh_id(&self) -> (u64, u64) {
        match self.dev_of_new.get() {
            None => (self.dev, self.ino_next.fetch_add(1, Ordering::Relaxed)),
            Some(dev) => (*dev, fresh_ino()),
        }
    }

    /// Creates a leaf that its caller will insert under one name.
    ///
    /// # Errors
    ///
    /// - `ENOSPC`: too many nodes.
    fn fresh_leaf(&self, content: LeafContent, now: Timestamp) -> Result<Arc<Leaf>> {
        self.leaf_with(self.fresh_id(), content, now)
    }

    /// Like [`FsState::fresh_leaf`], with an explicit identity.
    fn leaf_with(&self, id: (u64, u64), content: LeafContent, now: Timestamp) -> Result<Arc<Leaf>> {
        let counted = Counted::new(&self.env.meter)?;
        let bytes = Bytes::new(Arc::clone(&self.env.meter));
        let state = LeafState { bytes, times: Times::all(now) };
        Ok(Arc::new(Leaf::new(id, content, state, counted)))
    }
}
