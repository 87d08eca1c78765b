//! Audit: records of each operation of a guest, the decision about it, and its result.
//!
//! [`observe()`] wraps a directory in a layer that enforces a policy, performs operations, and
//! passes an [`Event`] for each to an [`Auditor`]. The auditor filters events and passes them to a
//! [`Sink`]: a function, `tracing`, or [`JsonLines`], preferably through [`Auditor::write_behind`].
//! [`LogReader`] parses the lines; [`replay()`] evaluates another policy for them, [`Learner`]
//! computes the smallest policy, and [`Report`] renders a page.
//!
//! A guest whose directory is not observed runs no code of this module.
//!
//! A record determines the decision of any policy about the same operation. An operation that
//! failed by itself needs only the rights to see its error, which follow from `wanted` and
//! `result`. Two facts are missing: which entries a directory had that could not be removed, which
//! matters only for policies that hide names; and the nodes at both names of an operation that
//! failed because of a mount, which matters only for policies that deny one of the names.

pub(crate) mod decision;
pub(crate) mod event;
mod event_path;
mod handle_path;
mod layer;
mod log;
mod tools;
mod writer;

pub use decision::DecisionDetails;
pub use event::{Action, Decision, Event, Mode, Ruling, SecondPath};
pub use layer::{observe, observe_live};
pub use log::json_lines::{Header, JsonLines};
pub use log::reader::{LogError, LogErrorKind, LogHeader, LogReader, Record, RecordedPath};
pub use tools::learn::{LearnOptions, Learned, LearnedRule, Learner, is_sensitive};
pub use tools::replay::replay;
pub use tools::report::Report;
pub use writer::{
    AuditOptions, Auditor, Callback, EventFilter, OnFailure, Sink, Summary, Tracing, Transfers,
};
