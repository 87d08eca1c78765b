//! The contracts of `Dir` and `File` on immutable trees: embedded files and images.

#![cfg(all(feature = "embed", feature = "tar", feature = "zip"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and see the host as it is"
)]

#[path = "fixed/archives.rs"]
mod archives;
#[path = "fixed/contract.rs"]
mod contract;
#[path = "fixed/embed.rs"]
mod embed;
#[path = "fixed/hostile.rs"]
mod hostile;
#[path = "fixed/image.rs"]
mod image;
#[path = "fixed/kinds.rs"]
mod kinds;
#[path = "fixed/random.rs"]
mod random;
