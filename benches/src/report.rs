//! The report: Markdown tables of medians and their ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::engine_floor::Floor;
use crate::stats::median;
use crate::subject::Subject;
use crate::tables::{TABLES, Table};

/// The measured times.
#[derive(Default)]
pub struct Report {
    order: Vec<&'static str>,
    times: BTreeMap<(&'static str, Subject), Vec<f64>>,
}

impl Report {
    /// Adds the time of one run.
    pub fn add(&mut self, workload: &'static str, subject: Subject, ns: f64) {
        if !self.order.contains(&workload) {
            self.order.push(workload);
        }
        self.times.entry((workload, subject)).or_default().push(ns);
    }

    fn ns(&self, workload: &'static str, subject: Subject) -> Option<f64> {
        self.times.get(&(workload, subject)).map(|times| median(&mut times.clone()))
    }

    /// Returns the tables in Markdown.
    pub fn tables(&self, floor: &Floor) -> String {
        let mut text = String::new();
        for table in TABLES {
            self.table(&mut text, table);
        }
        self.compare(&mut text, "open_close_deep", "open_close", Subject::Host);
        for subject in [Subject::Host, Subject::ComponentHost, Subject::ComponentPeer] {
            self.compare(&mut text, "readdir_10k", "readdir_1k", subject);
        }
        let _ = writeln!(
            text,
            "\nEmpty host function of the engine {:.1} ns, one that writes 24 bytes to the guest \
             {:.1} ns, fd_fdstat_get {:.1} ns: {} of the empty one",
            floor.empty_ns,
            floor.writing_ns,
            floor.fdstat_ns,
            ratio_cell(Some(floor.fdstat_ns / floor.empty_ns), Some(3.0)),
        );
        let _ = writeln!(
            text,
            "\nA host function that copies 4 KiB to the guest {:.1} ns, fd_pread of 4 KiB of an \
             embedded file {:.1} ns: {} of it",
            floor.copying_ns,
            floor.embedded_ns,
            ratio_cell(Some(floor.embedded_ns / floor.copying_ns), Some(1.5)),
        );
        text
    }

    fn table(&self, text: &mut String, table: &Table) {
        let _ = write!(text, "\n{}:\n\n| workload |", table.title);
        for subject in table.subjects {
            let _ = write!(text, " {} ns |", subject.name());
        }
        for ratio in table.ratios {
            let _ = write!(text, " {} |", ratio.name);
        }
        let columns = 1 + table.subjects.len() + table.ratios.len();
        let _ = writeln!(text, "\n|{}", "---|".repeat(columns));
        for workload in &self.order {
            let ns = |subject| self.ns(workload, subject);
            if table.ratios.iter().all(|ratio| ns(ratio.over).is_none()) {
                continue;
            }
            let _ = write!(text, "| {workload} |");
            for subject in table.subjects {
                let _ = write!(text, " {} |", cell(ns(*subject), 0));
            }
            for ratio in table.ratios {
                let value = || Some(ns(ratio.over)? / ns(ratio.under)?);
                let _ = write!(text, " {} |", ratio_cell(value(), ratio.bound(workload)));
            }
            text.push('\n');
        }
    }

    /// Appends the ratio of two workloads on one subject.
    fn compare(
        &self,
        text: &mut String,
        over: &'static str,
        under: &'static str,
        subject: Subject,
    ) {
        if let (Some(above), Some(below)) = (self.ns(over, subject), self.ns(under, subject)) {
            let name = subject.name();
            let _ = writeln!(text, "\n{over} / {under} on {name}: {:.2}", above / below);
        }
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Formats a ratio with its limit, if any, in bold if the ratio exceeds the limit.
fn ratio_cell(ratio: Option<f64>, target: Option<f64>) -> String {
    let Some(ratio) = ratio else { return "-".to_owned() };
    let digits = if ratio < 0.1 { 3 } else { 2 };
    match target {
        None => format!("{ratio:.digits$}"),
        Some(target) if ratio <= target => format!("{ratio:.digits$} (≤ {target})"),
        Some(target) => format!("**{ratio:.digits$}** (≤ {target})"),
    }
}
