//! Host directories: results, errors and confinement.
//!
//! Every test runs on a disk filesystem and on tmpfs, with every resolver.
// The tests prepare the host with the authority of the process, as another process would.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![cfg(all(feature = "host", target_os = "linux"))]

mod confinement;
mod files;
mod kernels;
mod names;
mod replaced;
mod world;
