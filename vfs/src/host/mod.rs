//! Directories of the host.
//!
//! This file is where ambient authority enters: [`HostDir::open_ambient`] takes a path of the host
//! and everything else takes what it gave. How a descent is kept inside is argued in `resolve.rs`.
//! FIFOs, sockets and devices can be seen and removed, and are neither opened nor acted upon.
//!
//! What is not promised: a directory that another process moves out of the root goes on working
//! through the handles that are already held on it or below it, as for every process of the host.

mod dir;
mod errno;
mod file;
mod list;
mod resolve;
mod stat;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

pub use resolve::Resolver;

use self::dir::HeldDir;
use crate::DirRef;

/// Opens directories of the host.
pub struct HostDir;

impl HostDir {
    /// The directory of the host at `path`, with all that the process may do to it. This is the
    /// place where ambient authority enters.
    pub fn open_ambient(path: impl AsRef<Path>) -> std::io::Result<DirRef> {
        Self::open_ambient_with(path, Resolver::Auto)
    }

    /// The same, with a word on how descents are resolved.
    pub fn open_ambient_with(
        path: impl AsRef<Path>,
        resolver: Resolver,
    ) -> std::io::Result<DirRef> {
        let authority = cap_std::ambient_authority();
        Ok(Self::from_cap_std(cap_std::fs::Dir::open_ambient_dir(path, authority)?, resolver))
    }

    /// A directory that someone else has opened.
    #[must_use]
    pub fn from_cap_std(dir: cap_std::fs::Dir, resolver: Resolver) -> DirRef {
        let fd: OwnedFd = dir.into_std_file().into();
        let resolver = resolver.probe(fd.as_fd());
        Arc::new(HeldDir::new(fd, resolver))
    }
}
