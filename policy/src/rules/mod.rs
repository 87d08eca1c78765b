//! The rule language: globs, effects, rights by name, and operations with the rights they need.
//!
//! A [`Glob`](glob::Glob) selects paths, and a [`Rule`](rule::Rule) allows, denies or hides them.
//! This module depends on no other module of the crate.

pub(crate) mod glob;
pub(crate) mod operation;
pub(crate) mod right_names;
pub(crate) mod rule;
#[cfg(feature = "document")]
pub(crate) mod suggestions;
