//! A parser of audit logs, which are untrusted input.
//!
//! A line is at most [`LogReader::LINE_MAX`] bytes long, each field is validated, and paths are
//! checked like those of a guest. An error contains the line number. Unknown fields are ignored, so
//! logs of a later release can be read.
//!
//! A log can contain several runs, sequential or interleaved. A run that is killed during a write
//! leaves a truncated line, at the end of the log or before the first line of another run; the
//! reader counts and skips it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read};

use palisade_vfs::{Descent, Errno, Rights, bug, escape};
use serde::Deserialize;

use crate::audit::decision::Observation;
use crate::audit::event::{Action, Decision, Mode};
use crate::audit::log::json_lines::{VERSION, errno_named};
use crate::rules::right_names::rights_by_name;

/// A parsed event. The fields are those of [`Event`](crate::audit::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of `Event`")]
pub struct Record {
    pub run: String,
    pub seq: u64,
    pub nanos: u64,
    pub guest: String,
    pub action: Action,
    pub path: RecordedPath,
    pub to: Option<RecordedPath>,
    pub wanted: Rights,
    pub decision: Decision,
    pub mode: Mode,
    pub missing: Rights,
    pub widens: bool,
    pub rule: Option<u32>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub result: Result<(), Errno>,
    pub same: bool,
    pub is_dir: bool,
    pub bytes: Option<u64>,
}

/// A path of a log: an absolute path, with the length of the part that leads to the handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedPath {
    text: String,
    /// The length of the path of the handle.
    held_bytes: usize,
}

/// The header of a run. A missing field is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogHeader {
    /// The identifier of the run, as in each of its records.
    pub run: String,
    /// The release that wrote the log.
    pub palisade: String,
    /// The start time.
    pub started: String,
    /// The name of the guest.
    pub guest: String,
    /// The name of the policy.
    pub policy: String,
    /// The names of the filters, all of which a recorded event passed.
    pub only: Vec<String>,
    /// The sampling interval; 0 and 1 record each event.
    pub sample: u64,
    /// Whether events may have been dropped.
    pub may_drop: bool,
}

/// The header of a run without one.
static NONE: LogHeader = LogHeader {
    run: String::new(),
    palisade: String::new(),
    started: String::new(),
    guest: String::new(),
    policy: String::new(),
    only: Vec::new(),
    sample: 0,
    may_drop: false,
};

impl LogHeader {
    /// Returns a description of the filters, or `None` if all events were recorded.
    #[must_use]
    pub fn filter(&self) -> Option<String> {
        let only = self.only.join(" and ");
        match (self.only.is_empty(), self.sample) {
            (true, 0..=1) => None,
            (true, sample) => Some(format!("one of {sample} decisions")),
            (false, 0..=1) => Some(format!("only {only}")),
            (false, sample) => Some(format!("only {only}, one of {sample}")),
        }
    }
}

/// An error of reading a log.
#[derive(Debug)]
pub struct LogError {
    /// The line number, from 1.
    pub line: u64,
    /// The kind of the error.
    pub kind: LogErrorKind,
}

/// The kind of a [`LogError`].
#[derive(Debug)]
pub enum LogErrorKind {
    /// Reading failed.
    Io(io::Error),
    /// The line is longer than [`LogReader::LINE_MAX`].
    TooLong,
    /// The line is not valid JSON, or not an object of the format.
    Json(String),
    /// The version of the format is not supported.
    Version(u64),
    /// The value of a field is invalid.
    Field(&'static str),
    /// The log has more runs than [`LogReader::RUNS_MAX`], or headers larger than
    /// [`LogReader::HEADERS_MAX`].
    Runs,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            LogErrorKind::Io(error) => write!(f, "it cannot be read: {error}"),
            LogErrorKind::TooLong => {
                write!(f, "it is longer than {} bytes", LogReader::<io::Empty>::LINE_MAX)
            }
            LogErrorKind::Json(error) => {
                write!(f, "it is not an audit record: {}", escape::line(error))
            }
            LogErrorKind::Version(version) => {
                write!(f, "it is of version {version} of the format; this reads version {VERSION}")
            }
            LogErrorKind::Field(field) => write!(f, "`{field}` has a value that it cannot have"),
            LogErrorKind::Runs => f.write_str("there are too many runs in this log"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            LogErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl RecordedPath {
    fn new(text: Cow<'_, str>, held: u64) -> Option<Self> {
        if !text.starts_with('/') || text.contains('\0') {
            return None;
        }
        let text = text.into_owned();
        let starts = text.match_indices('/').map(|(at, _)| at);
        let held_bytes = if text == "/" {
            (held == 0).then_some(1)?
        } else {
            let ends = starts.skip(1).chain([text.len()]);
            match usize::try_from(held).ok()? {
                0 => 0,
                held => ends.clone().nth(held - 1)?,
            }
        };
        let path = RecordedPath { text, held_bytes };
        Descent::new(path.rest_text()).ok()?;
        Some(path)
    }

    /// Returns the whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the path of the handle.
    #[must_use]
    pub fn held(&self) -> &str {
        let held = self.text.get(..self.held_bytes);
        held.unwrap_or_else(|| bug!(""; "a path is shorter than its held part"))
    }

    /// Returns the path from the handle.
    #[must_use]
    pub fn rest(&self) -> Descent<'_> {
        let rest = Descent::new(self.rest_text());
        rest.unwrap_or_else(|_| bug!(Descent::HERE; "a recorded path is not a descent"))
    }

    fn rest_text(&self) -> &str {
        let rest = self.text.get(self.held_bytes..);
        let rest = rest.unwrap_or_else(|| bug!(""; "a path is shorter than its held part"));
        rest.strip_prefix('/').unwrap_or(rest)
    }
}

impl Record {
    pub(crate) fn observation(&self) -> Observation {
        let Record { action, wanted, result, same, is_dir, .. } = *self;
        Observation { action, wanted, result, same, is_dir }
    }
}

/// The JSON object of a line.
#[derive(Deserialize)]
struct Line<'a> {
    v: u64,
    #[serde(borrow, default)]
    run: Cow<'a, str>,
    seq: Option<u64>,
    #[serde(default)]
    ns: u64,
    #[serde(borrow, default)]
    guest: Cow<'a, str>,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    held: u64,
    #[serde(borrow)]
    to: Option<Cow<'a, str>>,
    #[serde(default)]
    to_held: u64,
    #[serde(borrow)]
    wanted: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(default)]
    dry: bool,
    #[serde(borrow, default)]
    missing: Vec<Cow<'a, str>>,
    #[serde(default)]
    widens: bool,
    rule: Option<u32>,
    #[serde(borrow)]
    file: Option<Cow<'a, str>>,
    line: Option<u32>,
    #[serde(borrow)]
    result: Cow<'a, str>,
    #[serde(default)]
    same: bool,
    #[serde(default)]
    dir: bool,
    bytes: Option<u64>,
}

/// The fields by which a header is distinguished from an event.
#[derive(Deserialize)]
struct Start {
    v: u64,
    palisade: Option<serde::de::IgnoredAny>,
}

fn rights(words: &[Cow<'_, str>]) -> Option<Rights> {
    words.iter().try_fold(Rights::empty(), |all, word| Some(all | rights_by_name(word)?))
}

impl Line<'_> {
    fn into_record(self) -> Result<Record, LogErrorKind> {
        let wrong = LogErrorKind::Field;
        let action = Action::named(&self.op).ok_or(wrong("op"))?;
        let to = match self.to {
            Some(to) => Some(RecordedPath::new(to, self.to_held).ok_or(wrong("to"))?),
            None => None,
        };
        if action.has_two_names() != to.is_some() {
            return Err(wrong("to"));
        }
        let (decision, mode) = Decision::named(&self.decision).ok_or(wrong("decision"))?;
        let result = match &*self.result {
            "ok" => Ok(()),
            key => Err(errno_named(key).ok_or(wrong("result"))?),
        };
        Ok(Record {
            run: self.run.into_owned(),
            seq: self.seq.ok_or(wrong("seq"))?,
            nanos: self.ns,
            guest: self.guest.into_owned(),
            action,
            path: RecordedPath::new(self.path, self.held).ok_or(wrong("path"))?,
            to,
            wanted: rights(&self.wanted).ok_or(wrong("wanted"))?,
            decision,
            mode: if self.dry { Mode::DryRun } else { mode },
            missing: rights(&self.missing).ok_or(wrong("missing"))?,
            widens: self.widens,
            rule: self.rule,
            file: self.file.map(Cow::into_owned),
            line: self.line,
            result,
            same: self.same,
            is_dir: self.dir,
            bytes: self.bytes,
        })
    }
}

/// The first bytes of every line.
const START: &[u8] = b"{\"v\":";

/// A reader of a log, an iterator over its records.
pub struct LogReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    at: usize,
    end: usize,
    line: u64,
    headers: Vec<LogHeader>,
    header_bytes: usize,
    cut: u64,
    is_ended: bool,
}

impl<R: BufRead> LogReader<R> {
    /// The longest line, in bytes.
    pub const LINE_MAX: usize = 1 << 20;
    /// The most runs of a log: their headers are kept in memory.
    pub const RUNS_MAX: usize = 1 << 16;
    /// The most bytes of all headers of a log.
    pub const HEADERS_MAX: usize = 1 << 24;

    /// Returns a reader of `input`.
    pub fn new(input: R) -> Self {
        LogReader {
            input,
            buffer: Vec::new(),
            at: 0,
            end: 0,
            line: 0,
            headers: Vec::new(),
            header_bytes: 0,
            cut: 0,
            is_ended: false,
        }
    }

    /// Returns the last header, which is empty before the first event.
    pub fn header(&self) -> &LogHeader {
        self.headers.last().unwrap_or(&NONE)
    }

    /// Returns all headers that were read, in order.
    pub fn headers(&self) -> &[LogHeader] {
        &self.headers
    }

    /// The number of truncated lines that were skipped.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    fn read_record(&mut self) -> Result<Option<Record>, LogErrorKind> {
        while self.read_line()? {
            let text = line(&self.buffer, self.at, self.end);
            if text.trim_ascii().is_empty() {
                self.at = self.end;
                continue;
            }
            let start: Start = match serde_json::from_slice(text) {
                Ok(start) => start,
                Err(error) => {
                    self.skip_cut(&error)?;
                    continue;
                }
            };
            if start.v != u64::from(VERSION) {
                return Err(LogErrorKind::Version(start.v));
            }
            self.at = self.end;
            if start.palisade.is_some() {
                let header = serde_json::from_slice(text).map_err(json)?;
                self.header_bytes += text.len();
                if self.headers.len() >= Self::RUNS_MAX || self.header_bytes > Self::HEADERS_MAX {
                    return Err(LogErrorKind::Runs);
                }
                self.headers.push(header);
                continue;
            }
            let line: Line<'_> = serde_json::from_slice(text).map_err(json)?;
            debug_assert_eq!(line.v, start.v);
            return line.into_record().map(Some);
        }
        Ok(None)
    }

    /// Reads the next line into the buffer, unless the buffer has unread text. Returns whether
    /// there is a line.
    fn read_line(&mut self) -> Result<bool, LogErrorKind> {
        if self.at < self.buffer.len() {
            if self.at == self.end {
                self.end = self.buffer.len();
            }
            return Ok(true);
        }
        (self.at, self.line) = (0, self.line + 1);
        self.buffer.clear();
        let limit = Self::LINE_MAX as u64 + 1;
        let mut limited = Read::take(&mut self.input, limit);
        limited.read_until(b'\n', &mut self.buffer).map_err(LogErrorKind::Io)?;
        self.end = self.buffer.len();
        if self.end > Self::LINE_MAX {
            return Err(LogErrorKind::TooLong);
        }
        Ok(self.end > 0)
    }

    /// Handles text that is not one object: ends it at the start of the next line, or skips it if
    /// it is a truncated line.
    ///
    /// # Errors
    ///
    /// `error`, if the text is neither.
    fn skip_cut(&mut self, error: &serde_json::Error) -> Result<(), LogErrorKind> {
        let text = line(&self.buffer, self.at, self.end);
        // Quotes within a string are escaped, so this match is not within one.
        let next = text.windows(START.len()).skip(1).position(|it| it == START);
        if let Some(before) = next {
            self.end = self.at + 1 + before;
            return Ok(());
        }
        let text = text.trim_ascii_end();
        let is_unfinished = || {
            let whole = serde_json::from_slice::<serde::de::IgnoredAny>(text);
            whole.is_err_and(|error| error.is_eof())
        };
        if START.starts_with(text) || text.starts_with(START) && is_unfinished() {
            self.cut += 1;
            self.at = self.end;
            return Ok(());
        }
        Err(LogErrorKind::Json(error.to_string()))
    }
}

fn json(error: serde_json::Error) -> LogErrorKind {
    LogErrorKind::Json(error.to_string())
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<Record, LogError>;

    /// Returns the next event. After an error, `None`.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let answer = self.read_record();
        self.is_ended = !matches!(answer, Ok(Some(_)));
        answer.map_err(|kind| LogError { line: self.line, kind }).transpose()
    }
}

/// Returns the unread part of a line.
fn line(buffer: &[u8], start: usize, end: usize) -> &[u8] {
    buffer.get(start..end).unwrap_or_else(|| bug!(&[]; "no bytes from {start} to {end}"))
}
