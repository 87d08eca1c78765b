//! What the kit found: every fault with the script that shows it, and every case left out by name.

use std::fmt;

/// One misbehavior.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The case or property.
    pub case: String,
    /// What was wanted and what came.
    pub what: String,
    /// The script that shows it; the line at fault is marked.
    pub script: String,
}

/// What a run of the kit found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The subject.
    pub subject: String,
    /// How many cases ran.
    pub ran: usize,
    /// Cases that need what is not promised, and what that is.
    pub skipped: Vec<(&'static str, String)>,
    /// All faults.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Panics with the whole report if there is a fault: for use in tests.
    ///
    /// # Panics
    /// If there is a fault, or if no case ran.
    pub fn assert(&self) {
        assert!(self.faults.is_empty(), "{self}");
        assert!(self.ran + self.skipped.len() > 0, "there is no such case: {self}");
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.case, self.what)?;
        for line in self.script.lines() {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (faults, skipped) = (self.faults.len(), self.skipped.len());
        let name = &self.subject;
        writeln!(f, "{name}: {} cases, {faults} faults, {skipped} skipped", self.ran)?;
        for (case, needs) in &self.skipped {
            writeln!(f, "skipped {case}: needs {needs}")?;
        }
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}
