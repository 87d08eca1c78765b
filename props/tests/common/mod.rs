//! What the test binaries share: subjects, and the scripts.

#![allow(dead_code, unreachable_pub)]

use palisade_props::{Promises, Subject, Tree, World, ambient};
use palisade_vfs::{Errno, HostDir, Resolver, Result};

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
