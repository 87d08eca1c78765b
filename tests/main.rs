//! Real guests through every engine over every stack, and the rules of the house.
//!
//! One binary, so that the engines are linked once. `harness` runs a guest; every other module is
//! about one thing that must hold.

#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "tests look at the host, and fail by panicking"
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
