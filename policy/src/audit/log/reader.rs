//! Reading a log back: lines of JSON that someone else may have written.
//!
//! Nothing is believed: a line is at most [`LogReader::LINE_MAX`] bytes long, each field has its
//! form, and paths are checked like a guest's. What is wrong is told with the number of its line.
//! Fields that are not known are passed over, so that a log of a later release can be read.
//!
//! A log may hold several runs, one after the other or interleaved. A run that is killed while it
//! writes leaves part of a line, at the end of the log or before the first line of another run;
//! that part is counted and passed over.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read};

use palisade_vfs::{Descent, Errno, Rights, bug, escape};
use serde::Deserialize;

use crate::audit::decision::Observation;
use crate::audit::event::{Action, Decision, Mode};
use crate::audit::log::json_lines::{VERSION, errno_named};
use crate::rules::right_names::rights_of_word;

/// One event that was read back. The fields are those of [`Event`](crate::audit::Event).
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

/// A path of a log: absolute, and what is behind the directory that was held is a descent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedPath {
    text: String,
    /// Where the names of the directory that was held end.
    held_bytes: usize,
}

/// What the first line of a run said, as far as it said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogHeader {
    /// The run, as each of its records has it.
    pub run: String,
    /// The release that wrote it.
    pub palisade: String,
    /// When the run began.
    pub started: String,
    /// What ran.
    pub guest: String,
    /// Under which policy.
    pub policy: String,
    /// The words for the decisions that were recorded: those that are in all of these; all, if
    /// there are none.
    pub only: Vec<String>,
    /// Of those, every so-many-th was recorded; each, if it is 0 or 1.
    pub sample: u64,
    /// Whether records may have been lost.
    pub may_drop: bool,
}

/// The header of a log without one.
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
    /// Which decisions were left out on purpose, in words; `None` if none were.
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

/// What is wrong with a log.
#[derive(Debug)]
pub struct LogError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub kind: LogErrorKind,
}

/// What can be wrong with a line of a log.
#[derive(Debug)]
pub enum LogErrorKind {
    /// It cannot be read.
    Io(io::Error),
    /// It is longer than [`LogReader::LINE_MAX`].
    TooLong,
    /// It is not JSON, or not such an object.
    Json(String),
    /// It is of another version of the format.
    Version(u64),
    /// A field has a value that it cannot have.
    Field(&'static str),
    /// There are more runs than [`LogReader::RUNS_MAX`], or their headers are larger than
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

    /// The whole path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of the directory that was held.
    #[must_use]
    pub fn held(&self) -> &str {
        let held = self.text.get(..self.held_bytes);
        held.unwrap_or_else(|| bug!(""; "a path is shorter than its held part"))
    }

    /// The way from there.
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

/// A line as it is written.
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

/// What tells a header from an event.
#[derive(Deserialize)]
struct Start {
    v: u64,
    palisade: Option<serde::de::IgnoredAny>,
}

fn rights(words: &[Cow<'_, str>]) -> Option<Rights> {
    words.iter().try_fold(Rights::empty(), |all, word| Some(all | rights_of_word(word)?))
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

/// How every line begins.
const START: &[u8] = b"{\"v\":";

/// Reads a log, line by line.
pub struct LogReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// The part of the buffer that is read next; all before it was read.
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
    /// The most runs of a log: their headers are held.
    pub const RUNS_MAX: usize = 1 << 16;
    /// The most bytes of all headers of a log.
    pub const HEADERS_MAX: usize = 1 << 24;

    /// Reads from `input`.
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

    /// What the last header said that was read: empty before the first event.
    pub fn header(&self) -> &LogHeader {
        self.headers.last().unwrap_or(&NONE)
    }

    /// The headers that were read so far, in their order.
    pub fn headers(&self) -> &[LogHeader] {
        &self.headers
    }

    /// How many lines were passed over because only their beginning was there.
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

    /// Reads the next line into the buffer, unless that has something left. Returns whether there
    /// is one.
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

    /// Handles text that is not one object: ends it where another line starts, or passes over it
    /// if it is the beginning of a line whose end was never written.
    ///
    /// Errors: `error`, if it is neither.
    fn skip_cut(&mut self, error: &serde_json::Error) -> Result<(), LogErrorKind> {
        let text = line(&self.buffer, self.at, self.end);
        // Every quote in a string is escaped, so this is not a part of one.
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

    /// The next event. After an error there is none.
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
