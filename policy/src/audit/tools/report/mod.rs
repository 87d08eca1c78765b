//! A report of a log: one self-contained HTML page.
//!
//! Events are aggregated in bounded memory, so a log of any length results in a page of a few
//! megabytes at most. A path beyond the limit is counted for its parent directory. The page
//! contains the sums as JSON, escaped so that no path can end the script, and inserts them as text
//! nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use palisade_vfs::escape;

use crate::audit::event::{Action, Decision, Mode};
use crate::audit::log::json_lines;
use crate::audit::log::reader::{LogHeader, Record};
use crate::rules::operation::Operation;
use crate::rules::right_names::names_of_rights;

/// The most paths with separate counts.
const PATHS_MAX: usize = 20_000;
/// The most bytes of all those paths.
const PATH_BYTES_MAX: usize = 2 << 20;
/// The most kinds of denials.
const REFUSALS_MAX: usize = 500;
/// The most rules.
const RULES_MAX: usize = 500;
/// The most values of a header field.
const FACTS_MAX: usize = 8;
/// The most columns of the timeline. A long run has at least half as many.
const COLUMNS_MAX: usize = 120;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// An aggregation of events, rendered as a page.
#[derive(Debug)]
pub struct Report {
    paths: BTreeMap<String, Sums>,
    path_bytes: usize,
    total: Sums,
    refusals: BTreeMap<Refusal, u64>,
    rules: BTreeMap<String, Sums>,
    operations: BTreeMap<&'static str, Sums>,
    columns: Vec<Sums>,
    column_nanos: u64,
    folded: u64,
    is_dry: bool,
}

/// Counts of decisions and transferred bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    allowed: u64,
    denied: u64,
    hidden: u64,
    read: u64,
    written: u64,
}

/// The key by which denials are grouped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Refusal {
    path: String,
    to: String,
    operation: &'static str,
    decision: &'static str,
    missing: String,
    rule: String,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        match record.decision {
            Decision::Allow => self.allowed += 1,
            Decision::Deny => self.denied += 1,
            Decision::Hide => self.hidden += 1,
        }
        let bytes = record.bytes.unwrap_or_default();
        match record.action {
            Action::One(Operation::Read) => self.read = self.read.saturating_add(bytes),
            Action::One(Operation::Write) => self.written = self.written.saturating_add(bytes),
            _ => {}
        }
    }

    fn merge(&mut self, other: Sums) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.hidden += other.hidden;
        self.read = self.read.saturating_add(other.read);
        self.written = self.written.saturating_add(other.written);
    }

    fn write(&self, text: &mut String) {
        let Sums { allowed, denied, hidden, read, written } = self;
        let _ = write!(text, "{allowed},{denied},{hidden},{read},{written}");
    }
}

impl Default for Report {
    fn default() -> Self {
        Report {
            paths: BTreeMap::new(),
            path_bytes: 0,
            total: Sums::default(),
            refusals: BTreeMap::new(),
            rules: BTreeMap::new(),
            operations: BTreeMap::new(),
            columns: Vec::new(),
            column_nanos: 1_000,
            folded: 0,
            is_dry: false,
        }
    }
}

impl Report {
    /// Adds one event.
    pub fn add(&mut self, record: &Record) {
        self.total.add(record);
        self.is_dry |= record.mode == Mode::DryRun;
        self.operations.entry(record.action.key()).or_default().add(record);
        self.add_path(record);
        self.add_column(record);
        let rule = rule(record);
        if let Some(rule) = &rule
            && (self.rules.contains_key(rule) || self.rules.len() < RULES_MAX)
        {
            self.rules.entry(rule.clone()).or_default().add(record);
        }
        if record.decision != Decision::Allow {
            let refusal = Refusal {
                path: record.path.as_str().to_owned(),
                to: record.to.as_ref().map(|to| to.as_str().to_owned()).unwrap_or_default(),
                operation: record.action.key(),
                decision: record.decision.key(record.mode),
                missing: match (record.widens, record.is_dir) {
                    (true, true) => "the new name of a directory allows something else".to_owned(),
                    (true, false) => "the new name allows more".to_owned(),
                    (false, _) => names_of_rights(record.missing).join(" "),
                },
                rule: match rule {
                    Some(rule) => rule,
                    None if record.widens => "the rules of both names".to_owned(),
                    None => "no rule allows it".to_owned(),
                },
            };
            if self.refusals.contains_key(&refusal) || self.refusals.len() < REFUSALS_MAX {
                *self.refusals.entry(refusal).or_default() += 1;
            }
        }
    }

    fn add_path(&mut self, record: &Record) {
        let mut path = record.path.as_str();
        while !self.paths.contains_key(path) {
            let has_room = self.paths.len() < PATHS_MAX
                && self.path_bytes.saturating_add(path.len()) <= PATH_BYTES_MAX;
            if has_room || path == "/" {
                self.path_bytes += path.len();
                self.paths.insert(path.to_owned(), Sums::default());
                break;
            }
            self.folded += u64::from(path == record.path.as_str());
            path = match path.rsplit_once('/') {
                Some(("", _)) | None => "/",
                Some((above, _)) => above,
            };
        }
        if let Some(sums) = self.paths.get_mut(path) {
            sums.add(record);
        }
    }

    fn add_column(&mut self, record: &Record) {
        let column = |nanos: u64| usize::try_from(record.nanos / nanos).unwrap_or(usize::MAX);
        while column(self.column_nanos) >= COLUMNS_MAX {
            let merged = self.columns.chunks(2).map(|pair| {
                pair.iter().fold(Sums::default(), |mut sum, column| {
                    sum.merge(*column);
                    sum
                })
            });
            self.columns = merged.collect();
            self.column_nanos = self.column_nanos.saturating_mul(2);
        }
        let at = column(self.column_nanos);
        if self.columns.len() <= at {
            self.columns.resize(at + 1, Sums::default());
        }
        if let Some(column) = self.columns.get_mut(at) {
            column.add(record);
        }
    }

    /// Returns the page for the runs with these headers.
    #[must_use]
    pub fn to_html(&self, headers: &[LogHeader]) -> String {
        let fill = |page: String, key: &str, value: &str| match page.split_once(key) {
            Some((before, after)) => format!("{before}{value}{after}"),
            None => page,
        };
        let page = fill(PAGE.to_owned(), "/*STYLE*/", STYLE);
        let page = fill(page, "/*SCRIPT*/", SCRIPT);
        fill(page, "/*DATA*/", &self.data(headers))
    }

    /// Returns the sums as JSON without `<`.
    fn data(&self, headers: &[LogHeader]) -> String {
        let mut text = String::from("{");
        let mut fact = |key: &str, of: fn(&LogHeader) -> String| {
            let _ = write!(text, "\"{key}\":");
            string(&mut text, &distinct(headers.iter().map(of)));
            text.push(',');
        };
        fact("guest", |it| it.guest.clone());
        fact("policy", |it| it.policy.clone());
        fact("started", |it| it.started.clone());
        fact("release", |it| it.palisade.clone());
        fact("filter", |it| it.filter().unwrap_or_default());
        let _ = write!(text, "\"runs\":{},", headers.len());
        let _ = write!(text, "\"dry\":{},\"folded\":{},", self.is_dry, self.folded);
        let _ = write!(text, "\"columnNanos\":{},\"total\":[", self.column_nanos);
        self.total.write(&mut text);
        text.push(']');
        let named = |sums: &Sums, text: &mut String, name: &str| {
            text.push('[');
            string(text, name);
            text.push(',');
            sums.write(text);
            text.push(']');
        };
        list(&mut text, "paths", self.paths.iter(), |text, (path, sums)| named(sums, text, path));
        list(&mut text, "rules", self.rules.iter(), |text, (rule, sums)| named(sums, text, rule));
        list(&mut text, "operations", self.operations.iter(), |text, (name, sums)| {
            named(sums, text, name);
        });
        list(&mut text, "columns", self.columns.iter(), |text, sums| {
            text.push('[');
            sums.write(text);
            text.push(']');
        });
        list(&mut text, "refusals", self.refusals.iter(), |text, (refusal, times)| {
            let Refusal { path, to, operation, decision, missing, rule } = refusal;
            let _ = write!(text, "[{times}");
            for word in [path, to, *operation, *decision, missing, rule] {
                text.push(',');
                string(text, word);
            }
            text.push(']');
        });
        text.push('}');
        text
    }
}

/// Joins the distinct nonempty texts.
fn distinct(texts: impl Iterator<Item = String>) -> String {
    let mut shown = Vec::new();
    let mut others = 0_usize;
    for text in texts.filter(|text| !text.is_empty()) {
        if shown.contains(&text) {
            continue;
        }
        if shown.len() < FACTS_MAX {
            shown.push(text);
        } else {
            others += 1;
        }
    }
    let more = if others > 0 { format!(", and {others} more") } else { String::new() };
    shown.join(", ") + &more
}

/// Appends a JSON string whose invisible characters are escaped.
fn string(text: &mut String, value: &str) {
    json_lines::string(text, &escape::name(value).to_string());
}

/// Appends a field with a list.
fn list<T>(
    text: &mut String,
    key: &str,
    values: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    let _ = write!(text, ",\"{key}\":[");
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(text, value);
    }
    text.push(']');
}

/// Returns the source line of a rule, or its number.
fn rule(record: &Record) -> Option<String> {
    match (&record.file, record.line, record.rule) {
        (Some(file), Some(line), _) => Some(format!("{file}:{line}")),
        (None, Some(line), _) => Some(format!("line {line}")),
        (_, None, Some(rule)) => Some(format!("rule {rule}")),
        (_, None, None) => None,
    }
}
