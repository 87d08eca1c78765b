//! Audit: a record of each thing that a guest asked for, what was decided, and what came of it.
//!
//! [`observe()`] lays a layer over a directory that judges with the code that enforces, performs,
//! and hands an [`Event`] to an [`Auditor`]. The auditor filters and gives it to a [`Sink`]: a
//! function, `tracing`, or [`JsonLines`]; the last best by [`Auditor::write_behind`]. [`LogReader`]
//! reads such lines back; [`replay()`] says what another policy would have decided, `learn` what
//! the smallest policy is, and `report` makes a page of them.
//!
//! The layer is the only cost: a guest whose directory is not observed runs no code of this module.
//!
//! What a record says is exact for one decision. An operation that failed by itself took no more
//! than what it takes to be told so, and `wanted` and `result` together say which that was; so a
//! log of what was performed holds all that another policy would have looked at, but for two
//! things: which names a directory held that could not be removed, and what was at the names of
//! what failed because of a mount. The first matters only for policies that hide, the second for
//! those that refuse one of the names.

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
