//! Enforcement: directories and files that check each operation against a policy.
//!
//! A [`Verdict`](verdict::Verdict) is the decision for one path.
//! [`CheckedDir`](checked_dir::CheckedDir) performs an operation if the policy grants it, and
//! `error_order.rs` selects the errno of a denied one. The layers `ConfinedDir` and `ConfinedFile`
//! hold a position in a fixed policy, or in a [`Live`](live_policy::Live) one that can be narrowed
//! while a guest runs.

pub(crate) mod checked_dir;
pub(crate) mod confined_dir;
pub(crate) mod confined_file;
pub(crate) mod error_order;
pub(crate) mod live_policy;
pub(crate) mod live_position;
pub(crate) mod name_tree;
pub(crate) mod position;
pub(crate) mod read_only;
pub(crate) mod verdict;
