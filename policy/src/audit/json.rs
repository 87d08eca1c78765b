//! Events as lines of JSON, written by hand into one buffer that is used again.
//!
//! One object a line, fields in a fixed order, `v` first. Every line can be read by itself.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::OnceLock;

use palisade_vfs::{Errno, Rights};

use super::auditor::Sink;
use super::event::{Act, Decision, Event, HowDecided};
use crate::{Place, RuleId};

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the first line of a log says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// When the run began, as RFC 3339 has it.
    pub started: &'a str,
    /// What ran.
    pub guest: &'a str,
    /// Under which policy, as its reader named it.
    pub policy: &'a str,
}

/// A sink that writes a line of JSON for each event, in pieces of 64 KiB and at the end.
pub struct JsonLines<W> {
    out: W,
    buffer: String,
    verdicts: Verdicts,
}

/// What an event tells of its decision, which many tell alike.
#[derive(Clone, PartialEq)]
struct Verdict {
    act: Act,
    wanted: Rights,
    missing: Rights,
    decision: Decision,
    how: HowDecided,
    widens: bool,
    same: bool,
    rule: Option<RuleId>,
    place: Option<Place>,
    result: Result<(), Errno>,
}

/// The texts of the verdicts that were written last: a guest does few things in turns.
#[derive(Default)]
struct Verdicts {
    texts: Vec<(Verdict, Box<str>)>,
    words: Words,
}

/// Most texts that are remembered.
const VERDICTS_MAX: usize = 8;

impl Verdicts {
    /// The fields that tell what `event` has of a [`Verdict`].
    fn of(&mut self, event: &Event<'_>) -> &str {
        let is_it = |(known, _): &(Verdict, Box<str>)| known.is_of(event);
        let at = match self.texts.iter().rposition(is_it) {
            Some(at) => at,
            None => {
                if self.texts.len() >= VERDICTS_MAX {
                    self.texts.remove(0);
                }
                let text = verdict(&mut self.words, event).into();
                self.texts.push((Verdict::of(event), text));
                self.texts.len() - 1
            }
        };
        self.texts.get(at).map_or("", |(_, text)| text)
    }
}

impl Verdict {
    fn of(event: &Event<'_>) -> Self {
        Verdict {
            act: event.act,
            wanted: event.wanted,
            missing: event.missing,
            decision: event.decision,
            how: event.how,
            widens: event.widens,
            same: event.same,
            rule: event.rule,
            place: event.place.cloned(),
            result: event.result,
        }
    }

    fn is_of(&self, event: &Event<'_>) -> bool {
        self.act == event.act
            && self.wanted == event.wanted
            && self.missing == event.missing
            && (self.decision, self.how) == (event.decision, event.how)
            && (self.widens, self.same) == (event.widens, event.same)
            && self.rule == event.rule
            && self.result == event.result
            && self.place.as_ref() == event.place
    }
}

/// The lists of words of the rights that were written last: there are few of them, again and again.
#[derive(Default)]
struct Words(Vec<(Rights, Box<str>)>);

/// Most lists that are remembered.
const WORDS_MAX: usize = 32;

impl Words {
    /// The list for `rights`.
    fn of(&mut self, rights: Rights) -> &str {
        let at = match self.0.iter().position(|(known, _)| *known == rights) {
            Some(at) => at,
            None => {
                if self.0.len() >= WORDS_MAX {
                    self.0.clear();
                }
                self.0.push((rights, list(rights).into()));
                self.0.len() - 1
            }
        };
        self.0.get(at).map_or("[]", |(_, list)| list)
    }
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`, which needs no buffer of its own, beginning with `header`.
    pub fn new(out: W, header: &Header<'_>) -> Self {
        let mut buffer = String::with_capacity(BUFFER_BYTES + 4096);
        let _ = write!(buffer, "{{\"v\":{VERSION},\"palisade\":");
        string(&mut buffer, env!("CARGO_PKG_VERSION"));
        for (key, value) in
            [("started", header.started), ("guest", header.guest), ("policy", header.policy)]
        {
            let _ = write!(buffer, ",\"{key}\":");
            string(&mut buffer, value);
        }
        buffer.push_str("}\n");
        JsonLines { out, buffer, verdicts: Verdicts::default() }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let written = self.out.write_all(self.buffer.as_bytes());
        self.buffer.clear();
        written
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        line(&mut self.buffer, &mut self.verdicts, event);
        if self.buffer.len() >= BUFFER_BYTES {
            return self.write_out();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.out.flush()
    }
}

/// Adds the line of `event` to `text`.
fn line(text: &mut String, verdicts: &mut Verdicts, event: &Event<'_>) {
    text.push_str("{\"v\":1,\"seq\":");
    number(text, event.seq);
    text.push_str(",\"ns\":");
    number(text, event.nanos);
    if !event.guest.is_empty() {
        text.push_str(",\"guest\":");
        string(text, event.guest);
    }
    text.push_str(",\"op\":\"");
    text.push_str(event.act.key());
    text.push_str("\",\"path\":");
    string(text, event.path);
    text.push_str(",\"held\":");
    number(text, event.held as u64);
    if let Some(to) = event.to {
        text.push_str(",\"to\":");
        string(text, to.path);
        text.push_str(",\"to_held\":");
        number(text, to.held as u64);
    }
    text.push_str(verdicts.of(event));
    if let Some(bytes) = event.bytes {
        text.push_str(",\"bytes\":");
        number(text, bytes);
    }
    text.push_str("}\n");
}

/// The fields that tell what was decided, by what, and what came of it.
fn verdict(words: &mut Words, event: &Event<'_>) -> String {
    let mut text = ",\"wanted\":".to_owned();
    text.push_str(words.of(event.wanted));
    text.push_str(",\"decision\":\"");
    text.push_str(event.decision.key(event.how));
    text.push('"');
    if event.how == HowDecided::Dry {
        text.push_str(",\"dry\":true");
    }
    reason(&mut text, words, event);
    text.push_str(",\"result\":\"");
    text.push_str(event.result.map_or_else(errno_key, |()| "ok"));
    text.push('"');
    if event.same {
        text.push_str(",\"same\":true");
    }
    text
}

fn reason(text: &mut String, words: &mut Words, event: &Event<'_>) {
    if !event.missing.is_empty() {
        text.push_str(",\"missing\":");
        text.push_str(words.of(event.missing));
    }
    if event.widens {
        text.push_str(",\"widens\":true");
    }
    if let Some(rule) = event.rule {
        text.push_str(",\"rule\":");
        number(text, rule.index() as u64);
    }
    if let Some(place) = event.place {
        if let Some(file) = &place.file {
            text.push_str(",\"file\":");
            string(text, file);
        }
        text.push_str(",\"line\":");
        number(text, u64::from(place.line));
    }
}

fn number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// The list of the words for `rights`.
fn list(rights: Rights) -> String {
    let words = crate::words::each_word_of_rights(rights).map(|word| format!("\"{word}\""));
    format!("[{}]", words.collect::<Vec<_>>().join(","))
}

/// Adds `value` as a JSON string, in which nothing could end a line or a script.
pub(super) fn string(text: &mut String, value: &str) {
    text.push('"');
    // Nearly every text has nothing in it that could need an escape.
    if value.bytes().all(|b| !matches!(b, b'"' | b'\\' | b'<' | 0..=0x1f | 0x7f | 0xe2)) {
        text.push_str(value);
        text.push('"');
        return;
    }
    let mut plain = 0;
    for (at, c) in value.char_indices() {
        if !needs_escape(c) {
            continue;
        }
        text.push_str(value.get(plain..at).unwrap_or_default());
        plain = at + c.len_utf8();
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
        }
    }
    text.push_str(value.get(plain..).unwrap_or_default());
    text.push('"');
}

/// Whether `c` would end the string, the line, or a script that the line is put into.
fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '<' | '\0'..='\x1f' | '\x7f' | '\u{2028}' | '\u{2029}')
}

/// The name of an errno in a log.
pub(super) fn errno_key(errno: Errno) -> &'static str {
    static KEYS: OnceLock<Vec<(Errno, String)>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Errno::ALL.iter().map(|errno| (*errno, errno.name())).collect());
    keys.get(errno as usize).map_or("io", |(_, key)| key.as_str())
}

/// The errno of a name in a log.
pub(super) fn errno_named(key: &str) -> Option<Errno> {
    Errno::ALL.iter().copied().find(|errno| errno_key(*errno) == key)
}
