//! The table: medians, and the ratios that they are for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::engine_floor::Floor;
use crate::subjects::Subject;

/// All times so far.
#[derive(Default)]
pub struct Report {
    order: Vec<&'static str>,
    times: BTreeMap<(&'static str, Subject), Vec<f64>>,
}

/// The most that a ratio may be: workload, host to peer, memory to peer.
const TARGETS: &[(&str, Option<f64>, Option<f64>)] = &[
    ("open_close", Some(0.65), Some(0.05)),
    ("stat", Some(0.25), Some(0.03)),
    ("stat_deep", Some(0.5), None),
    ("stat_missing", Some(0.65), None),
    ("fstat", Some(0.3), Some(0.04)),
    ("read_64b", Some(0.65), Some(0.07)),
    ("read_4k", None, Some(0.25)),
    ("overwrite_4k", None, Some(0.15)),
    ("write_64b_append", Some(0.4), None),
    ("create_unlink", None, Some(0.05)),
    ("rename", None, Some(0.05)),
    ("mkdir_rmdir", None, Some(0.05)),
    ("seek_tell", Some(0.2), None),
    ("clock_gettime", Some(0.5), None),
    ("fd_fdstat_get", Some(0.06), None),
];

/// The middle of the times; of an even number of them the lower one.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
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

    /// The table in Markdown.
    pub fn table(&self, floor: &Floor) -> String {
        let mut text = String::from(
            "| workload | native ns | wasmtime-wasi ns | host ns | confined ns | memory ns \
             | host / native | host / peer | confined / host | memory / peer |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for workload in &self.order {
            let _ = write!(text, "| {workload} |");
            for subject in Subject::ALL.into_iter().filter(|subject| *subject <= Subject::Memory) {
                let _ = write!(text, " {} |", cell(self.ns(workload, subject), 0));
            }
            let target = TARGETS.iter().find(|(name, ..)| name == workload);
            let host_target = target.and_then(|(_, host, _)| *host).unwrap_or(1.0);
            let memory_target = target.and_then(|(_, _, memory)| *memory);
            let ratio = |over, under| Some(self.ns(workload, over)? / self.ns(workload, under)?);
            let _ = writeln!(
                text,
                " {} | {} | {} | {} |",
                cell(ratio(Subject::Host, Subject::Native), 2),
                judged(ratio(Subject::Host, Subject::Peer), Some(host_target)),
                cell(ratio(Subject::Confined, Subject::Host), 2),
                judged(ratio(Subject::Memory, Subject::Peer), memory_target),
            );
        }
        let deep = self.ns("open_close_deep", Subject::Host);
        if let (Some(deep), Some(flat)) = (deep, self.ns("open_close", Subject::Host)) {
            let _ =
                writeln!(text, "\nopen_close_deep / open_close on the host: {:.2}", deep / flat);
        }
        let _ = writeln!(
            text,
            "\nEmpty host function of the engine {:.1} ns, one that writes 24 bytes to the guest \
             {:.1} ns, fd_fdstat_get {:.1} ns: {} of the empty one",
            floor.empty_ns,
            floor.writing_ns,
            floor.fdstat_ns,
            judged(Some(floor.fdstat_ns / floor.empty_ns), Some(3.0)),
        );
        let _ = writeln!(
            text,
            "\nA host function that copies 4 KiB to the guest {:.1} ns, fd_pread of 4 KiB of an \
             embedded file {:.1} ns: {} of it",
            floor.copying_ns,
            floor.embedded_ns,
            judged(Some(floor.embedded_ns / floor.copying_ns), Some(1.5)),
        );
        text + &self.overlays()
    }

    /// What overlays cost, beside the memory that they are made of. What writes has been copied up
    /// before it is measured.
    fn overlays(&self) -> String {
        let mut text = String::from(
            "\n| workload | memory ns | in the upper ns | over 1 lower ns | over 16 lowers ns \
             | upper / memory | 1 lower / memory | 16 lowers / memory |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for workload in &self.order {
            let ns = |subject| self.ns(workload, subject);
            let ratio = |over| Some(ns(over)? / ns(Subject::Memory)?);
            let is_bound = ["stat", "open_close", "read_4k"].contains(workload);
            let bound = |most| is_bound.then_some(most);
            let _ = writeln!(
                text,
                "| {workload} | {} | {} | {} | {} | {} | {} | {} |",
                cell(ns(Subject::Memory), 0),
                cell(ns(Subject::Upper), 0),
                cell(ns(Subject::Lower1), 0),
                cell(ns(Subject::Lower16), 0),
                judged(ratio(Subject::Upper), Some(1.3)),
                judged(ratio(Subject::Lower1), bound(1.5)),
                judged(ratio(Subject::Lower16), bound(2.0)),
            );
        }
        text
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// A ratio, with the most that it may be where there is one, in bold if it is more.
fn judged(ratio: Option<f64>, target: Option<f64>) -> String {
    let Some(ratio) = ratio else { return "-".to_owned() };
    let digits = if ratio < 0.1 { 3 } else { 2 };
    match target {
        None => format!("{ratio:.digits$}"),
        Some(target) if ratio <= target => format!("{ratio:.digits$} (≤ {target})"),
        Some(target) => format!("**{ratio:.digits$}** (≤ {target})"),
    }
}
