//! Tools over audit logs: replaying under another policy, learning a policy, and reporting.

pub(crate) mod learn;
pub(crate) mod replay;
pub(crate) mod report;
