//! Replay: the decisions that another policy would make about the events of a log.
//!
//! Each prediction is for one event, with its path and the nodes that existed. For a log without
//! denials, or of a dry run, the predictions equal the decisions of a real run of the same
//! operations, up to the first operation that changes something and is denied: after that, the real
//! run would encounter other nodes. For an operation that was denied when it was recorded, a log
//! contains the wanted rights but not the result that it would have had.

use crate::audit::DecisionDetails;
use crate::audit::decision::{JudgedPath, decide};
use crate::audit::log::reader::{Record, RecordedPath};
use crate::automaton::policy::Policy;

/// Returns the decision that `policy` would make.
#[must_use]
pub fn replay(policy: &Policy, record: &Record) -> DecisionDetails {
    let spot = |path| spot(policy, path);
    let to = record.to.as_ref().map(spot);
    decide(policy, spot(&record.path), to, &record.observation())
}

fn spot<'a>(policy: &Policy, path: &'a RecordedPath) -> JudgedPath<'a> {
    JudgedPath { state: policy.at(path.held()), path: path.rest() }
}
