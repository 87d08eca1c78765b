//! Layers that allow less: a directory that holds a directory and judges what is done to it.
//!
//! Read in this order: a [`Policy`] says which [`Rights`](palisade_vfs::Rights) hold where;
//! [`confine()`] puts a directory under a policy; [`read_only()`] is the simplest case of it.
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

mod builder;
mod compare;
mod compile;
mod confine;
#[cfg(feature = "document")]
pub mod document;
mod file;
mod glob;
mod judge;
mod policy;
mod read_only;
mod rule;
mod table;
mod words;

#[cfg(test)]
mod tests;

pub use builder::{PolicyBuilder, PolicyError};
pub use compare::{Comparison, Witness};
pub use confine::confine;
pub use glob::{Glob, GlobError, GlobErrorKind};
pub use judge::Verdict;
pub use policy::{Policy, Refusal, State};
pub use read_only::read_only;
pub use rule::{Effect, Place, Rule, RuleId};
pub use words::{right_words, rights_of_word, words_of_rights};
