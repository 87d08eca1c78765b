//! The options of an auditor.

use std::num::NonZeroU64;

/// A filter of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventFilter {
    /// Denied operations, or in a dry run those that would be denied.
    Denied,
    /// Operations that change something, or would change it.
    Writes,
}

impl EventFilter {
    /// The name in a policy document and in the header of a log.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            EventFilter::Denied => "denied",
            EventFilter::Writes => "writes",
        }
    }
}

/// How reads, writes and stats of open files are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transfers {
    /// Reads and writes are summed up for each open file and recorded when it is closed. Only the
    /// first stat is recorded.
    #[default]
    AtClose,
    /// Each is recorded.
    Each,
}

/// The behavior after the sink has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Every observed operation fails with `EIO`.
    #[default]
    Stop,
    /// Operations are performed. Events are lost and counted.
    Continue,
}

/// The options of an auditor.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The name of the guest. An empty name is omitted from a log.
    pub guest: String,
    /// Only events that pass all of these filters are recorded.
    pub only: Vec<EventFilter>,
    /// Of those events, only the first and every `sample`-th after it is recorded.
    pub sample: NonZeroU64,
    /// How reads, writes and stats of open files are recorded.
    pub transfers: Transfers,
    /// Whether events may be dropped, and are then counted: when the queue of
    /// [`Auditor::write_behind`](crate::audit::Auditor::write_behind) is full, and after the sink
    /// has failed.
    pub may_drop: bool,
    /// The behavior after the sink has failed, if events may not be dropped.
    pub on_failure: OnFailure,
}

impl AuditOptions {
    /// Whether operations are performed after the sink has failed.
    pub(crate) fn survives_failure(&self) -> bool {
        self.may_drop || self.on_failure == OnFailure::Continue
    }
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions {
            guest: String::new(),
            only: Vec::new(),
            sample: NonZeroU64::MIN,
            transfers: Transfers::default(),
            may_drop: false,
            on_failure: OnFailure::default(),
        }
    }
}

#[cfg(feature = "document")]
impl From<&crate::document::AuditSettings> for AuditOptions {
    fn from(settings: &crate::document::AuditSettings) -> Self {
        use crate::document::{AuditOnly, WhenFull};
        let only = settings.only.iter().map(|only| match only {
            AuditOnly::Denied => EventFilter::Denied,
            AuditOnly::Writes => EventFilter::Writes,
        });
        AuditOptions {
            only: only.collect(),
            sample: NonZeroU64::new(settings.sample).unwrap_or(NonZeroU64::MIN),
            may_drop: settings.when_full == WhenFull::Drop,
            ..AuditOptions::default()
        }
    }
}
