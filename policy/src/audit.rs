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

mod at;
mod auditor;
mod batch;
mod behind;
mod event;
mod facts;
mod file;
mod json;
mod learn;
mod lock;
mod observe;
mod read;
mod replay;
mod report;
mod ruling;

pub use auditor::{
    AuditOptions, Auditor, Callback, OnFailure, Only, Sink, Summary, Tracing, Transfers,
};
pub use event::{Act, Decision, Event, HowDecided, To};
pub use facts::Decided;
pub use json::{Header, JsonLines};
pub use learn::{LearnOptions, Learned, LearnedRule, Learner, is_sensitive};
pub use observe::{Mode, observe, observe_live};
pub use read::{LogError, LogErrorKind, LogHeader, LogReader, Record, RecordedPath};
pub use replay::replay;
pub use report::Report;
pub use ruling::Ruling;
