//! The audit settings of a document.

/// The settings of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The destination of the records.
    pub to: AuditTo,
    /// The filters: a decision is recorded if it matches all of them.
    pub only: Vec<AuditOnly>,
    /// Records every n-th of the matching decisions.
    pub sample: u64,
    /// The behavior when the log's buffer is full.
    pub when_full: WhenFull,
}

/// The destination of audit records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTo {
    /// Standard error.
    Stderr,
    /// A file of the host, as the document names it.
    File(String),
}

/// A filter of audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOnly {
    /// Denied operations.
    Denied,
    /// Operations that change something, or would if they were allowed.
    Writes,
}

/// The behavior when records arrive faster than they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The guest waits.
    #[default]
    Wait,
    /// Records are dropped and counted.
    Drop,
}
