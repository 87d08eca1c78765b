//! Layers that allow less: a directory that holds a directory and judges what is done to it.
//!
//! Read in this order: a [`Policy`] says which [`Rights`](palisade_vfs::Rights) hold where;
//! [`confine()`] puts a directory under a policy; [`read_only()`] is the simplest case of it. A
//! [`QuotaGroup`] says how much: it counts what is done in the directories that it guards.
//!
//! A confined directory is a [`Dir`](palisade_vfs::Dir) like any other, so layers can be laid upon
//! layers, and nothing above can tell whether what it holds is policed.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "tests fail by panicking"
    )
)]

mod confine;
mod file;
mod policy;
mod quota;
mod read_only;

#[cfg(test)]
mod tests;

pub use confine::confine;
pub use policy::{Policy, Refusal, State};
pub use quota::{Quota, QuotaGroup, QuotaReport, Usage, WhenFull};
pub use read_only::read_only;
