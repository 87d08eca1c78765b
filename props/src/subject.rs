//! What is put through the kit: a way to make filesystems that hold a given tree.
//!
//! Not a directory, because a filesystem that is only read cannot be filled by operations: the
//! subject fills itself.

use std::any::Any;

use palisade_vfs::{DirRef, Result};

use crate::tree::Tree;

bitflags::bitflags! {
    /// What a filesystem promises. A case that needs more is skipped, and the report names it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Promises: u16 {
        /// Files and directories can be created, changed and removed.
        const WRITE = 1 << 0;
        /// There are symbolic links.
        const SYMLINK = 1 << 1;
        /// There are hard links.
        const LINK = 1 << 2;
        /// Times can be set, to the nanosecond, from 1970 to 2038.
        const TIMES = 1 << 3;
        /// Room can be allocated ahead.
        const ALLOCATE = 1 << 4;
        /// Files may be longer than any disk, with holes that cost nothing.
        const SPARSE = 1 << 5;
        /// Any time that a `Timestamp` can hold is kept.
        const ANY_TIME = 1 << 6;
        /// It is told how many names a file has. A layer that hides names does not.
        const NLINK = 1 << 7;
    }
}

impl Promises {
    /// What a plain read-write filesystem of today promises.
    pub const USUAL: Promises = Promises::WRITE
        .union(Promises::SYMLINK)
        .union(Promises::LINK)
        .union(Promises::TIMES)
        .union(Promises::ALLOCATE)
        .union(Promises::NLINK);
}

/// A maker of filesystems that are put through the kit.
pub trait Subject: Sync {
    /// What to call it in a report.
    fn name(&self) -> String;

    /// What its filesystems promise.
    fn promises(&self) -> Promises {
        Promises::USUAL
    }

    /// A new filesystem that holds `tree` and nothing else.
    fn fresh(&self, tree: &Tree) -> Result<World>;
}

/// One filesystem under test.
pub struct World {
    /// Its root.
    pub dir: DirRef,
    reveal: Option<Box<dyn Fn() -> Result<Tree>>>,
    _keep: Option<Box<dyn Any>>,
}

impl World {
    /// A filesystem that is nothing but its root.
    #[must_use]
    pub fn new(dir: DirRef) -> Self {
        World { dir, reveal: None, _keep: None }
    }

    /// Keeps something alive as long as the filesystem: a temporary directory.
    #[must_use]
    pub fn keeping(mut self, keep: impl Any) -> Self {
        self._keep = Some(Box::new(keep));
        self
    }

    /// Looks at what is really there, by another way than the filesystem under test. At the end
    /// of each run it must be what the filesystem shows.
    #[must_use]
    pub fn revealed_by(mut self, reveal: impl Fn() -> Result<Tree> + 'static) -> Self {
        self.reveal = Some(Box::new(reveal));
        self
    }

    /// What is really there, if there is another way to see it.
    #[must_use]
    pub fn reveal(&self) -> Option<Result<Tree>> {
        self.reveal.as_ref().map(|reveal| reveal())
    }
}

/// A subject made of a name, promises and a function that makes an empty directory; the tree is
/// put into it by operations.
pub struct Made<F> {
    name: &'static str,
    promises: Promises,
    make: F,
}

impl<F: Fn() -> Result<World> + Sync> Made<F> {
    /// `make` answers an empty, writable filesystem.
    pub const fn new(name: &'static str, promises: Promises, make: F) -> Self {
        Made { name, promises, make }
    }
}

impl<F: Fn() -> Result<World> + Sync> Subject for Made<F> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn promises(&self) -> Promises {
        self.promises
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let world = (self.make)()?;
        tree.build(&*world.dir)?;
        Ok(world)
    }
}
