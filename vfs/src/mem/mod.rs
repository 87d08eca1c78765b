//! The memory filesystem.
//!
//! Everything that POSIX knows and nothing that it does not: hard links, symbolic links, sparse
//! files, nodes that are open after their removal, stable cookies. What nobody can reach any more
//! is freed with its last handle.
//!
//! It can also be the layer that an overlay keeps its changes in (`upper.rs`): then directories
//! carry marks beside their entries, which no name leads to.
//!
//! Lock order: `Shared::tree`, then a leaf's own. A handle on a file takes only the second. No
//! callback is called with either held.

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
use self::leaf::{Body, Leaf, LeafState, Times};
use self::meter::{Counted, Meter};
use self::tree::{DirData, ROOT, Tree};
use crate::{DirRef, Errno, Name, Result, Timestamp, fresh_dev, fresh_ino};

type ClockFn = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A filesystem in memory. A clone is the same filesystem.
#[derive(Clone)]
pub struct MemFs(Arc<Shared>);

/// Builds a [`MemFs`].
pub struct MemFsBuilder {
    capacity_bytes: u64,
    nodes_max: u64,
    clock: ClockFn,
}

struct Shared {
    dev: u64,
    /// The filesystem that new nodes are of, if it is another one's tree that they are seen in.
    dev_of_new: OnceLock<u64>,
    /// What the temporary names of the commits of this layer are made of.
    commit_token: OnceLock<u128>,
    tree: RwLock<Tree>,
    ino_next: AtomicU64,
    env: Arc<Env>,
}

/// What an open file needs of its filesystem.
///
/// Beside the filesystem itself only open files hold it, so their number is known.
struct Env {
    meter: Arc<Meter>,
    clock: ClockFn,
    /// Set once, under the tree's lock, while no file is open.
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
    /// An empty filesystem without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A builder for a filesystem with limits, or with a clock of its own.
    #[must_use]
    pub fn builder() -> MemFsBuilder {
        MemFsBuilder {
            capacity_bytes: u64::MAX,
            nodes_max: u64::MAX,
            clock: Arc::new(|| SystemTime::now().into()),
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::new(MemDir::hold(&self.0, &self.0.tree.read(), ROOT))
    }

    /// What it holds now.
    #[must_use]
    pub fn usage(&self) -> MemUsage {
        self.0.env.meter.usage()
    }

    /// Creates a character device like `/dev/null` in the root: it takes everything and gives
    /// nothing.
    ///
    /// Errors, in order: `Exist`; `Nospc`.
    pub fn create_null_device(&self, name: Name<'_>) -> Result<()> {
        let dir = MemDir::hold(&self.0, &self.0.tree.read(), ROOT);
        dir.create_leaf(name, Body::Null).map(drop)
    }
}

impl MemFsBuilder {
    /// The most bytes that are held for the contents of files; beyond them a write is `Nospc`.
    /// Holes are not held.
    #[must_use]
    pub fn capacity_bytes(mut self, capacity_bytes: u64) -> Self {
        self.capacity_bytes = capacity_bytes;
        self
    }

    /// The most files, directories and links, the root included; beyond them creation is `Nospc`.
    #[must_use]
    pub fn nodes_max(mut self, nodes_max: u64) -> Self {
        // The root is always there.
        self.nodes_max = nodes_max.max(1);
        self
    }

    /// The clock that times of nodes are taken from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        self.clock = clock;
        self
    }

    /// The filesystem.
    #[must_use]
    pub fn build(self) -> MemFs {
        let meter = Arc::new(Meter::new(self.capacity_bytes, self.nodes_max));
        let dev = fresh_dev();
        let mut tree = Tree::default();
        if let Ok(counted) = Counted::new(&meter) {
            tree.dirs.insert(DirData::new((dev, 1), ROOT, (self.clock)(), counted));
        }
        let env = Env { meter, clock: self.clock, frozen: AtomicBool::new(false) };
        MemFs(Arc::new(Shared {
            dev,
            dev_of_new: OnceLock::new(),
            commit_token: OnceLock::new(),
            tree: RwLock::new(tree),
            ino_next: AtomicU64::new(2),
            env: Arc::new(env),
        }))
    }
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// The tree, to be changed. `Rofs` if that has ended.
    fn change(&self) -> Result<RwLockWriteGuard<'_, Tree>> {
        let tree = self.tree.write();
        if self.env.is_frozen() { Err(Errno::Rofs) } else { Ok(tree) }
    }

    /// The identity of a new node.
    fn fresh_id(&self) -> (u64, u64) {
        match self.dev_of_new.get() {
            None => (self.dev, self.ino_next.fetch_add(1, Ordering::Relaxed)),
            Some(dev) => (*dev, fresh_ino()),
        }
    }

    /// A leaf with one name that it has yet to be given. `Nospc` if there are too many nodes.
    fn fresh_leaf(&self, body: Body, now: Timestamp) -> Result<Arc<Leaf>> {
        self.leaf_with(self.fresh_id(), body, now)
    }

    /// The same, with this identity.
    fn leaf_with(&self, id: (u64, u64), body: Body, now: Timestamp) -> Result<Arc<Leaf>> {
        let counted = Counted::new(&self.env.meter)?;
        let bytes = Bytes::new(Arc::clone(&self.env.meter));
        let state = LeafState { bytes, times: Times::all(now) };
        Ok(Arc::new(Leaf::new(id, body, state, counted)))
    }
}
