//! The report of the kit: faults with a script that reproduces them, and skipped cases.

use std::fmt;

/// A violation that the kit found.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The case or property.
    pub case: String,
    /// The difference between the expected and the actual behavior.
    pub what: String,
    /// A script that reproduces the fault, with the failing line marked.
    pub script: String,
}

/// The result of running the kit.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The name of the subject.
    pub subject: String,
    /// The number of cases that ran.
    pub ran: usize,
    /// The skipped cases, with the missing capabilities.
    pub skipped: Vec<(&'static str, String)>,
    /// The faults.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Asserts that there is no fault.
    ///
    /// # Panics
    ///
    /// With the whole report if there is a fault or if no case exists.
    pub fn assert(&self) {
        assert!(self.faults.is_empty(), "{self}");
        assert!(self.ran + self.skipped.len() > 0, "no case exists: {self}");
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
