//! Policy layers: directories that wrap a directory and restrict the operations on it.
//!
//! A [`Glob`] selects the paths of a [`Rule`]. A [`Policy`] is compiled from rules and maps each
//! path to [`Rights`](palisade_vfs::Rights). A [`Verdict`] is its decision for one path, with the
//! reasons, and an [`Operation`] determines the rights that are needed. [`confine()`] enforces a
//! policy on a directory, [`read_only()`] is the simplest case, and a [`Live`] policy can be
//! narrowed while a guest runs. A [`QuotaGroup`] limits bytes, nodes and handles.
//!
//! ```
//! use palisade_policy::Policy;
//! use palisade_vfs::{Descent, Rights};
//!
//! let policy = Policy::builder()
//!     .allow("/data/**", Rights::READ_ONLY)
//!     .allow("/data/out/*.{txt,csv}", Rights::WRITE | Rights::CREATE_FILE)
//!     .hide("/**/.git")
//!     .build()?;
//! let path = Descent::new("data/out/a.csv").unwrap();
//! assert!(policy.judge(Policy::START, path, Rights::WRITE).is_allowed());
//! # Ok::<(), palisade_policy::PolicyError>(())
//! ```
//!
//! A confined directory implements [`Dir`](palisade_vfs::Dir), so layers can be nested, and a
//! caller cannot distinguish a confined directory from an unconfined one.

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

#[cfg(feature = "audit")]
pub mod audit;
mod automaton;
#[cfg(feature = "document")]
pub mod document;
mod enforce;
mod quota;
mod rules;

#[cfg(test)]
mod tests;

pub use automaton::builder::{PolicyBuilder, PolicyError};
pub use automaton::check::{Finding, FindingKind};
pub use automaton::compare::{Comparison, Witness};
pub use automaton::coverage::{TreeVisit, Unread};
pub use automaton::policy::{Policy, Refusal, State};
pub use enforce::confined_dir::{confine, confine_at};
pub use enforce::live_policy::{Lease, Live};
pub use enforce::live_position::confine_live;
pub use enforce::read_only::read_only;
pub use enforce::verdict::Verdict;
pub use quota::{Quota, QuotaGroup, QuotaReport, Usage, WhenFull};
pub use rules::glob::{Glob, GlobError, GlobErrorKind};
pub use rules::operation::Operation;
pub use rules::right_names::{names_of_rights, right_names, rights_by_name};
pub use rules::rule::{Effect, Rule, RuleId, SourceLine};
#[cfg(feature = "document")]
pub use rules::suggestions::{did_you_mean, suggest_words};
