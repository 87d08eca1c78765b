//! What the test binaries share: subjects, and the scripts.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod images;

use std::sync::Arc;

use palisade_policy::{Policy, Refusal, confine, read_only};
use palisade_props::{Made, Promises, Subject, Tree, World, ambient};
use palisade_vfs::{
    Access, Descent, Errno, HostDir, MemFs, Mounts, OpenFlags, OpenHow, Resolver, Result, Rights,
};

/// A temporary directory of the host.
pub struct Host(pub Resolver);

/// A file system in memory of the host, so that times and listings are the same everywhere.
pub const TMPFS: &str = "/dev/shm";

impl Subject for Host {
    fn name(&self) -> String {
        format!("host directory, {:?}", self.0)
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let temp = tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)?;
        let path = temp.path().to_owned();
        let dir = HostDir::open_ambient_with(&path, self.0).map_err(|_| Errno::Io)?;
        tree.build(&*dir)?;
        let reveal = move || ambient::tree(&path).map_err(|_| Errno::Io);
        Ok(World::new(dir).revealed_by(reveal).keeping(temp))
    }

    fn promises(&self) -> Promises {
        Promises::USUAL
    }
}

/// Every script of `tests/scripts`, by name.
pub fn scripts() -> Vec<(String, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        out.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    }
    out.sort();
    assert!(out.len() >= 4, "there are no scripts");
    out
}

/// What the memory filesystem promises.
pub const MEMORY: Promises = Promises::all();

/// A memory filesystem.
pub fn memory() -> Made<fn() -> Result<World>> {
    Made::new("memory", MEMORY, || Ok(World::new(MemFs::new().root())))
}

/// Memory under a policy that grants everything.
pub fn confined() -> Made<fn() -> Result<World>> {
    Made::new("memory, confined by a policy that grants all", MEMORY, || {
        let all = Policy::uniform(Rights::all(), Refusal::Denied);
        Ok(World::new(confine(MemFs::new().root(), Arc::new(all))))
    })
}

/// Memory, mounted beneath a base that is memory too: seen through the mount point.
pub fn mounted() -> Made<fn() -> Result<World>> {
    Made::new("memory, through a mount", MEMORY, || {
        let graft = MemFs::new().root();
        let root = Mounts::builder(MemFs::new().root()).mount("x/y", graft)?.build();
        let at = Descent::new("x/y")?;
        match root.open(at, OpenHow::new(Access::Read, OpenFlags::DIRECTORY)) {
            Ok(node) => Ok(World::new(node.into_dir()?)),
            Err(_) => Err(Errno::Io),
        }
    })
}

/// A base with nothing mounted upon it, through the mounts.
pub fn base_of_mounts() -> Made<fn() -> Result<World>> {
    Made::new("the base of mounts", MEMORY, || {
        Ok(World::new(Mounts::builder(MemFs::new().root()).build()))
    })
}

/// Memory that is filled and then only read.
pub struct ReadOnly;

impl Subject for ReadOnly {
    fn name(&self) -> String {
        "memory, read-only".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::SYMLINK | Promises::LINK
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let root = MemFs::new().root();
        tree.build(&*root)?;
        Ok(World::new(read_only(root)))
    }
}
