//! Subjects and scripts that the test binaries share.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::disallowed_methods)]

pub mod images;

use std::sync::Arc;

use palisade_policy::{Policy, Refusal, confine, read_only};
use palisade_props::{Capabilities, Subject, SubjectFn, TestFs, Tree, ambient};
use palisade_vfs::{
    Access, Descent, Errno, HostDir, MemFs, Mounts, OpenFlags, OpenHow, Resolver, Result, Rights,
};

/// A subject on temporary directories of the host.
pub struct Host(pub Resolver);

/// An in-memory filesystem of the host, whose times and listings do not depend on the disk.
pub const TMPFS: &str = "/dev/shm";

impl Subject for Host {
    fn name(&self) -> String {
        format!("host directory, {:?}", self.0)
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        let temp = tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)?;
        let path = temp.path().to_owned();
        let dir = HostDir::open_ambient_with(&path, self.0).map_err(|_| Errno::Io)?;
        tree.build(&*dir)?;
        let backing_tree = move || ambient::tree(&path).map_err(|_| Errno::Io);
        Ok(TestFs::new(dir).with_backing_tree(backing_tree).keeping(temp))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::USUAL
    }
}

/// Returns the scripts of `tests/scripts`, by name.
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

/// The capabilities of the memory filesystem.
pub const MEMORY: Capabilities = Capabilities::all();

/// Returns a subject on memory filesystems.
pub fn memory() -> SubjectFn<fn() -> Result<TestFs>> {
    SubjectFn::new("memory", MEMORY, || Ok(TestFs::new(MemFs::new().root())))
}

/// Returns a subject on memory confined by a policy that grants everything.
pub fn confined() -> SubjectFn<fn() -> Result<TestFs>> {
    SubjectFn::new("memory, confined by a policy that grants all", MEMORY, || {
        let all = Policy::uniform(Rights::all(), Refusal::Denied);
        Ok(TestFs::new(confine(MemFs::new().root(), Arc::new(all))))
    })
}

/// Returns a subject on memory that is mounted on other memory, seen through the mount point.
pub fn mounted() -> SubjectFn<fn() -> Result<TestFs>> {
    SubjectFn::new("memory, through a mount", MEMORY, || {
        let graft = MemFs::new().root();
        let root = Mounts::builder(MemFs::new().root()).mount("x/y", graft)?.build();
        let at = Descent::new("x/y")?;
        match root.open(at, OpenHow::new(Access::Read, OpenFlags::DIRECTORY)) {
            Ok(node) => Ok(TestFs::new(node.into_dir()?)),
            Err(_) => Err(Errno::Io),
        }
    })
}

/// Returns a subject on a base filesystem seen through `Mounts` without mount points.
pub fn base_of_mounts() -> SubjectFn<fn() -> Result<TestFs>> {
    SubjectFn::new("the base of mounts", MEMORY, || {
        Ok(TestFs::new(Mounts::builder(MemFs::new().root()).build()))
    })
}

/// A subject on memory that is read-only after it is filled.
pub struct ReadOnly;

impl Subject for ReadOnly {
    fn name(&self) -> String {
        "memory, read-only".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::SYMLINK | Capabilities::LINK
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        let root = MemFs::new().root();
        tree.build(&*root)?;
        Ok(TestFs::new(read_only(root)))
    }
}
