//! Reading a log back: lines of JSON that someone else may have written.
//!
//! Nothing is believed: a line is at most [`LogReader::LINE_MAX`] bytes long, each field has its
//! form, and paths are checked like a guest's. What is wrong is told with the number of its line.
//! Fields that are not known are passed over, so that a log of a later release can be read.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read};

use palisade_vfs::{Descent, Errno, Rights};
use serde::Deserialize;

use super::event::{Act, Decision, HowDecided};
use super::facts::Facts;
use super::json::{VERSION, errno_named};
use crate::rights_of_word;

/// One event that was read back. The fields are those of [`Event`](super::Event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of `Event`")]
pub struct Record {
    pub seq: u64,
    pub nanos: u64,
    pub guest: String,
    pub act: Act,
    pub path: RecordedPath,
    pub to: Option<RecordedPath>,
    pub wanted: Rights,
    pub decision: Decision,
    pub how: HowDecided,
    pub missing: Rights,
    pub widens: bool,
    pub rule: Option<u32>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub result: Result<(), Errno>,
    pub same: bool,
    pub bytes: Option<u64>,
}

/// A path of a log: absolute, and what is behind the directory that was held is a descent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordedPath {
    text: String,
    /// Where the names of the directory that was held end.
    held_bytes: usize,
}

/// What the first line of a log said, as far as it said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogHeader {
    /// The release that wrote it.
    pub palisade: String,
    /// When the run began.
    pub started: String,
    /// What ran.
    pub guest: String,
    /// Under which policy.
    pub policy: String,
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
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            LogErrorKind::Io(error) => write!(f, "it cannot be read: {error}"),
            LogErrorKind::TooLong => {
                write!(f, "it is longer than {} bytes", LogReader::<io::Empty>::LINE_MAX)
            }
            LogErrorKind::Json(error) => write!(f, "it is not an audit record: {error}"),
            LogErrorKind::Version(version) => {
                write!(f, "it is of version {version} of the format; this reads version {VERSION}")
            }
            LogErrorKind::Field(field) => write!(f, "`{field}` has a value that it cannot have"),
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
        self.text.get(..self.held_bytes).unwrap_or_default()
    }

    /// The way from there.
    #[must_use]
    pub fn rest(&self) -> Descent<'_> {
        Descent::new(self.rest_text()).unwrap_or(Descent::HERE)
    }

    fn rest_text(&self) -> &str {
        let rest = self.text.get(self.held_bytes..).unwrap_or_default();
        rest.strip_prefix('/').unwrap_or(rest)
    }
}

impl Record {
    pub(super) fn facts(&self) -> Facts {
        Facts { act: self.act, wanted: self.wanted, result: self.result, same: self.same }
    }
}

/// A line as it is written.
#[derive(Deserialize)]
struct Line<'a> {
    v: u64,
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
        let act = Act::named(&self.op).ok_or(wrong("op"))?;
        let to = match self.to {
            Some(to) => Some(RecordedPath::new(to, self.to_held).ok_or(wrong("to"))?),
            None => None,
        };
        if act.is_of_two() != to.is_some() {
            return Err(wrong("to"));
        }
        let (decision, how) = Decision::named(&self.decision).ok_or(wrong("decision"))?;
        let result = match &*self.result {
            "ok" => Ok(()),
            key => Err(errno_named(key).ok_or(wrong("result"))?),
        };
        Ok(Record {
            seq: self.seq.ok_or(wrong("seq"))?,
            nanos: self.ns,
            guest: self.guest.into_owned(),
            act,
            path: RecordedPath::new(self.path, self.held).ok_or(wrong("path"))?,
            to,
            wanted: rights(&self.wanted).ok_or(wrong("wanted"))?,
            decision,
            how: if self.dry { HowDecided::Dry } else { how },
            missing: rights(&self.missing).ok_or(wrong("missing"))?,
            widens: self.widens,
            rule: self.rule,
            file: self.file.map(Cow::into_owned),
            line: self.line,
            result,
            same: self.same,
            bytes: self.bytes,
        })
    }
}

/// Reads a log, line by line.
pub struct LogReader<R> {
    input: R,
    buffer: Vec<u8>,
    line: u64,
    header: LogHeader,
    is_ended: bool,
}

impl<R: BufRead> LogReader<R> {
    /// The longest line, in bytes.
    pub const LINE_MAX: usize = 1 << 20;

    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        let header = LogHeader::default();
        LogReader { input, buffer: Vec::new(), line: 0, header, is_ended: false }
    }

    /// What the last header said that was read: empty before the first event.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    fn read_line(&mut self) -> Result<Option<Record>, LogErrorKind> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let limit = Self::LINE_MAX as u64 + 1;
            let mut limited = Read::take(&mut self.input, limit);
            limited.read_until(b'\n', &mut self.buffer).map_err(LogErrorKind::Io)?;
            if self.buffer.is_empty() {
                return Ok(None);
            }
            if self.buffer.len() > Self::LINE_MAX {
                return Err(LogErrorKind::TooLong);
            }
            if self.buffer.trim_ascii().is_empty() {
                continue;
            }
            let json = |error: serde_json::Error| LogErrorKind::Json(error.to_string());
            let start: Start = serde_json::from_slice(&self.buffer).map_err(json)?;
            if start.v != u64::from(VERSION) {
                return Err(LogErrorKind::Version(start.v));
            }
            if start.palisade.is_some() {
                self.header = serde_json::from_slice(&self.buffer).map_err(json)?;
                continue;
            }
            let line: Line<'_> = serde_json::from_slice(&self.buffer).map_err(json)?;
            debug_assert_eq!(line.v, start.v);
            return line.into_record().map(Some);
        }
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = Result<Record, LogError>;

    /// The next event. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let answer = self.read_line();
        self.is_ended = !matches!(answer, Ok(Some(_)));
        answer.map_err(|kind| LogError { line: self.line, kind }).transpose()
    }
}
