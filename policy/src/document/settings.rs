//! What a document says beside rules.

/// What is recorded of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where records go.
    pub to: AuditTo,
    /// Which decisions are recorded: those that are in all of these; all, if there are none.
    pub only: Vec<AuditOnly>,
    /// Of those, every how many-th.
    pub sample: u64,
    /// What happens when records come faster than they can be written.
    pub when_full: WhenFull,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTo {
    /// To standard error.
    Stderr,
    /// To a file of the host, as the document names it.
    File(String),
}

/// A kind of decision that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOnly {
    /// What was refused.
    Denied,
    /// What changes something, or would.
    Writes,
}

/// What happens when records come faster than they can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The guest waits.
    #[default]
    Wait,
    /// Records are dropped, and counted.
    Drop,
}
