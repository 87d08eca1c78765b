//! The conformance kit on the filesystems of this crate: memory, host directories with both
//! resolvers, mounts, overlays over memory and over the host, and the walker against the kernel's
//! path resolution. `props/tests` runs the kit under policies and on images.

#![cfg(all(feature = "host", feature = "mem", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use palisade_props::{Capabilities, SubjectFn, TestFs, ambient, conformance};
use palisade_vfs::{Errno, HostDir, MemFs, Mounts, OpenHow, Resolver, Result, path};

#[path = "../../props/tests/kernel.rs"]
mod kernel;
#[path = "../../props/tests/overlay_over_memory.rs"]
mod overlay_over_memory;

fn memory() -> Result<TestFs> {
    Ok(TestFs::new(MemFs::new().root()))
}

fn host(resolver: Resolver) -> Result<TestFs> {
    let temp = tempfile::tempdir_in("/dev/shm").map_err(|_| Errno::Io)?;
    let at = temp.path().to_owned();
    let dir = HostDir::open_ambient_with(&at, resolver).map_err(|_| Errno::Io)?;
    let backing_tree = move || ambient::tree(&at).map_err(|_| Errno::Io);
    Ok(TestFs::new(dir).with_backing_tree(backing_tree).keeping(temp))
}

fn mounted() -> Result<TestFs> {
    let root = Mounts::builder(MemFs::new().root()).mount("x/y", MemFs::new().root())?.build();
    let node = path::open(&*root, "x/y", palisade_vfs::Follow::Yes, OpenHow::HOLD_DIR)?;
    Ok(TestFs::new(node.into_dir()?))
}

mod in_memory {
    use super::*;

    conformance!(SubjectFn::new("memory", Capabilities::all(), memory));
}

mod on_the_host_with_openat2 {
    use super::*;

    conformance!(SubjectFn::new("host, openat2", Capabilities::USUAL, || host(Resolver::Openat2)));
}

mod on_the_host_by_components {
    use super::*;

    conformance!(SubjectFn::new("host, components", Capabilities::USUAL, || host(
        Resolver::Components
    )));
}

mod through_a_mount {
    use super::*;

    conformance!(SubjectFn::new("memory, mounted", Capabilities::all(), mounted));
}
