//! The subject of the kit: a factory of filesystems that contain a given tree.
//!
//! The kit takes a factory instead of a directory, because operations cannot fill a read-only
//! filesystem: the subject fills it itself.

use std::any::Any;

use palisade_vfs::{DirRef, Result};

use crate::tree::Tree;

bitflags::bitflags! {
    /// The capabilities of a filesystem. Cases that need others are skipped and reported.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Capabilities: u16 {
        /// Files and directories can be created, changed and removed.
        const WRITE = 1 << 0;
        /// Symbolic links.
        const SYMLINK = 1 << 1;
        /// Hard links.
        const LINK = 1 << 2;
        /// Times can be set with nanosecond resolution, from 1970 to 2038.
        const TIMES = 1 << 3;
        /// Space can be preallocated.
        const ALLOCATE = 1 << 4;
        /// Files may be larger than any disk, with holes that take no space.
        const SPARSE = 1 << 5;
        /// Each time that a `Timestamp` can hold is stored exactly.
        const ANY_TIME = 1 << 6;
        /// The link count is accurate. A layer that hides names lacks this.
        const NLINK = 1 << 7;
    }
}

impl Capabilities {
    /// The capabilities of an ordinary read-write filesystem.
    pub const USUAL: Capabilities = Capabilities::WRITE
        .union(Capabilities::SYMLINK)
        .union(Capabilities::LINK)
        .union(Capabilities::TIMES)
        .union(Capabilities::ALLOCATE)
        .union(Capabilities::NLINK);
}

/// A factory of filesystems under test.
pub trait Subject: Sync {
    /// Returns the name in reports.
    fn name(&self) -> String;

    /// Returns the capabilities of the filesystems.
    fn capabilities(&self) -> Capabilities {
        Capabilities::USUAL
    }

    /// Creates a filesystem that contains exactly `tree`.
    fn fresh(&self, tree: &Tree) -> Result<TestFs>;
}

/// A filesystem under test.
pub struct TestFs {
    /// The root directory.
    pub dir: DirRef,
    backing_tree: Option<Box<dyn Fn() -> Result<Tree>>>,
    _keep: Option<Box<dyn Any>>,
}

impl TestFs {
    /// Creates a test filesystem from its root.
    #[must_use]
    pub fn new(dir: DirRef) -> Self {
        TestFs { dir, backing_tree: None, _keep: None }
    }

    /// Keeps `keep`, such as a temporary directory, alive as long as the filesystem.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self._keep = Some(Box::new(keep));
        self
    }

    /// Sets a function that reads the tree from the backing store, bypassing the filesystem under
    /// test. At the end of each run both trees must be equal.
    #[must_use]
    pub fn with_backing_tree(mut self, backing_tree: impl Fn() -> Result<Tree> + 'static) -> Self {
        self.backing_tree = Some(Box::new(backing_tree));
        self
    }

    /// Returns the tree of the backing store, if there is a function that reads it.
    #[must_use]
    pub fn backing_tree(&self) -> Option<Result<Tree>> {
        self.backing_tree.as_ref().map(|backing_tree| backing_tree())
    }
}

/// A subject of a name, capabilities and a function that creates an empty filesystem, which is
/// then filled through operations.
pub struct SubjectFn<F> {
    name: &'static str,
    capabilities: Capabilities,
    make: F,
}

impl<F: Fn() -> Result<TestFs> + Sync> SubjectFn<F> {
    /// `make` returns an empty, writable filesystem.
    pub const fn new(name: &'static str, capabilities: Capabilities, make: F) -> Self {
        SubjectFn { name, capabilities, make }
    }
}

impl<F: Fn() -> Result<TestFs> + Sync> Subject for SubjectFn<F> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        let world = (self.make)()?;
        tree.build(&*world.dir)?;
        Ok(world)
    }
}
