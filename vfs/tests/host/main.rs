//! Directories of the host: what they answer, and that nothing leaves them.
//!
//! Every test runs on a disk's filesystem and on tmpfs, with every resolver.
// The tests arrange the host's side with the process's own authority, as another process would.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg(all(feature = "host", target_os = "linux"))]

mod confinement;
mod files;
mod kernels;
mod names;
mod replaced;
mod world;
