//! Replaying: what another policy would have decided about each thing that a log tells.
//!
//! The prediction is for one decision, on the path that was walked and the things that were there.
//! For a log of a dry run, or of a run in which nothing was refused, it is what a real run of the
//! same operations under the other policy decides, up to the first operation that changes something
//! and is refused: from there on the run would have found other things. About what was refused when
//! it was recorded, a log knows what was wanted, but not what would have come of it.

use crate::audit::DecisionDetails;
use crate::audit::decision::{JudgedPath, decide};
use crate::audit::log::reader::{Record, RecordedPath};
use crate::automaton::policy::Policy;

/// What `policy` would have decided.
#[must_use]
pub fn replay(policy: &Policy, record: &Record) -> DecisionDetails {
    let spot = |path| spot(policy, path);
    let to = record.to.as_ref().map(spot);
    decide(policy, spot(&record.path), to, &record.observation())
}

fn spot<'a>(policy: &Policy, path: &'a RecordedPath) -> JudgedPath<'a> {
    JudgedPath { state: policy.at(path.held()), path: path.rest() }
}
