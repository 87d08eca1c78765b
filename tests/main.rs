//! Integration tests: real guests on each engine and each stack, and checks of the source tree.
//!
//! All tests are one binary, so that the engines are linked once. `harness` runs a guest; each of
//! the other modules tests one property.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "tests access the host, and fail by panicking"
)]

mod advisories;
mod allocations;
mod bad_modules;
mod components;
mod contract_breakers;
mod guests;
mod harness;
mod limits;
mod listings;
mod native;
mod operations;
mod tidy;
