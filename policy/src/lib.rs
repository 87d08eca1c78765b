//! Layers that allow less: a directory that holds a directory and judges what is done to it.
//!
//! Read in this order: a [`Glob`] says which paths a [`Rule`] is about; a [`Policy`] is compiled
//! from rules and says which [`Rights`](palisade_vfs::Rights) hold where; a [`Verdict`] is its
//! answer to one question, with what it rests on, and an [`Operation`] what is to be asked for;
//! [`confine()`] puts a directory under a policy, [`read_only()`] is the simplest case of it, and a
//! [`Live`] policy can be narrowed while a guest runs. A [`QuotaGroup`] says how much: it counts
//! what is done in the directories that it guards.
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
pub use rules::right_names::{right_words, rights_of_word, words_of_rights};
pub use rules::rule::{Effect, Place, Rule, RuleId};
#[cfg(feature = "document")]
pub use rules::suggestions::{did_you_mean, likely_words};
