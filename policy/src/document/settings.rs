//! What a document says beside rules.

/// The quotas of a document: limits for everything that a guest is given together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaSettings {
    /// The bytes of all files, by their size.
    pub bytes: Option<u64>,
    /// Files, directories and links.
    pub inodes: Option<u64>,
    /// The bytes of one file.
    pub file_size: Option<u64>,
    /// The names in one directory.
    pub dir_entries: Option<u64>,
    /// Files and directories that are open at once.
    pub descriptors: Option<u64>,
    /// Bytes read in one run.
    pub read_bytes: Option<u64>,
    /// Bytes written in one run.
    pub write_bytes: Option<u64>,
}

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

impl QuotaSettings {
    /// The smaller of each.
    #[must_use]
    pub fn at_most(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        QuotaSettings {
            bytes: least(self.bytes, other.bytes),
            inodes: least(self.inodes, other.inodes),
            file_size: least(self.file_size, other.file_size),
            dir_entries: least(self.dir_entries, other.dir_entries),
            descriptors: least(self.descriptors, other.descriptors),
            read_bytes: least(self.read_bytes, other.read_bytes),
            write_bytes: least(self.write_bytes, other.write_bytes),
        }
    }
}
