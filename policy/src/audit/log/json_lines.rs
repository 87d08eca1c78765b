//! Events as lines of JSON, written by hand into one buffer that is used again.
//!
//! One object a line, fields in a fixed order, `v` first. Every line can be read by itself.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use palisade_vfs::{Errno, Rights, bug, escape};

use crate::audit::event::{Event, Mode, Ruling};
use crate::audit::writer::{AuditOptions, Sink};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the first line of a run says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// The run's identifier, which each of its lines has, so that runs can share a log; none if it
    /// is empty.
    pub run: &'a str,
    /// When the run began, as RFC 3339 has it.
    pub started: &'a str,
    /// What ran.
    pub guest: &'a str,
    /// Under which policy, as its reader named it.
    pub policy: &'a str,
    /// Which decisions are recorded, and whether events may be lost; all and none without it.
    pub options: Option<&'a AuditOptions>,
}

/// A sink that writes a line of JSON for each event, in pieces of 64 KiB and at the end.
pub struct JsonLines<W> {
    out: W,
    buffer: String,
    /// The field with the run's identifier, with the comma before it.
    run: String,
    texts: Texts,
}

/// What lines have in common with those that were written last.
#[derive(Default)]
struct Texts {
    known: Vec<Text>,
    /// The index of the last line's.
    last: usize,
}

/// What lines of one ruling have in common, at one time and of one guest.
struct Text {
    ruling: Arc<Ruling>,
    nanos: u64,
    guest: Box<str>,
    /// The fields from `run` on, up to the path and its first quote.
    head: String,
    /// The fields that tell the ruling, and the end of the line.
    tail: String,
}

/// Most texts that are remembered.
const TEXTS_MAX: usize = 8;

/// The end of a line.
const END: &str = "}\n";

impl Texts {
    /// What the line of `event` has in common with others.
    fn of(&mut self, event: &Event<'_>, run: &str) -> Option<&Text> {
        let is_it = |text: &Text| Arc::ptr_eq(&text.ruling, event.ruling);
        if !self.known.get(self.last).is_some_and(is_it) {
            self.last = self.known.iter().position(is_it).unwrap_or_else(|| {
                if self.known.len() >= TEXTS_MAX {
                    self.known.remove(0);
                }
                self.known.push(Text::new(event, run));
                self.known.len() - 1
            });
        }
        let text = self.known.get_mut(self.last)?;
        if text.nanos != event.nanos || !is_same(&text.guest, event.guest) {
            text.set_head(event, run);
        }
        Some(text)
    }
}

impl Text {
    fn new(event: &Event<'_>, run: &str) -> Self {
        let (ruling, tail) = (Arc::clone(event.ruling), fields(event.ruling) + END);
        let mut text = Text { ruling, nanos: 0, guest: "".into(), head: String::new(), tail };
        text.set_head(event, run);
        text
    }

    fn set_head(&mut self, event: &Event<'_>, run: &str) {
        let head = &mut self.head;
        head.clear();
        head.push_str(run);
        head.push_str(",\"ns\":");
        number(head, event.nanos);
        if !event.guest.is_empty() {
            head.push_str(",\"guest\":");
            string(head, event.guest);
        }
        head.push_str(",\"op\":\"");
        head.push_str(event.ruling.action.key());
        head.push_str("\",\"path\":\"");
        self.nanos = event.nanos;
        self.guest = event.guest.into();
    }
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`, which needs no buffer of its own, beginning with `header`. Each call of
    /// `out` gets whole lines.
    pub fn new(out: W, header: &Header<'_>) -> Self {
        let mut run = String::new();
        if !header.run.is_empty() {
            run.push_str(",\"run\":");
            string(&mut run, header.run);
        }
        let mut buffer = String::with_capacity(BUFFER_BYTES + 4096);
        let _ = write!(buffer, "{{\"v\":{VERSION},\"palisade\":");
        string(&mut buffer, env!("CARGO_PKG_VERSION"));
        buffer.push_str(&run);
        for (key, value) in
            [("started", header.started), ("guest", header.guest), ("policy", header.policy)]
        {
            let _ = write!(buffer, ",\"{key}\":");
            string(&mut buffer, value);
        }
        if let Some(options) = header.options {
            filter(&mut buffer, options);
        }
        buffer.push_str("}\n");
        JsonLines { out, buffer, run, texts: Texts::default() }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let written = self.out.write_all(self.buffer.as_bytes());
        self.buffer.clear();
        written
    }
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        line(&mut self.buffer, &mut self.texts, event, &self.run)?;
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

/// Whether two texts are the same. Comparing an empty one, which is nowhere in memory, can take a
/// processor very long.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Adds the fields of a header that say which decisions are left out.
fn filter(text: &mut String, options: &AuditOptions) {
    if !options.only.is_empty() {
        let words: Vec<_> = options.only.iter().map(|it| format!("\"{}\"", it.key())).collect();
        let _ = write!(text, ",\"only\":[{}]", words.join(","));
    }
    if options.sample.get() > 1 {
        let _ = write!(text, ",\"sample\":{}", options.sample);
    }
    if options.survives_failure() {
        text.push_str(",\"may_drop\":true");
    }
}

/// Adds the line of `event` of the run with the field `run` to `text`.
fn line(text: &mut String, texts: &mut Texts, event: &Event<'_>, run: &str) -> io::Result<()> {
    let Some(shared) = texts.of(event, run) else {
        return Err(io::Error::other(bug!("a record has no text of its ruling")));
    };
    text.push_str("{\"v\":1,\"seq\":");
    number(text, event.seq);
    text.push_str(&shared.head);
    escaped(text, event.path);
    text.push_str("\",\"held\":");
    number(text, event.held as u64);
    if let Some(to) = event.to {
        text.push_str(",\"to\":");
        string(text, to.path);
        text.push_str(",\"to_held\":");
        number(text, to.held as u64);
    }
    text.push_str(&shared.tail);
    if let Some(bytes) = event.bytes {
        text.truncate(text.len() - END.len());
        text.push_str(",\"bytes\":");
        number(text, bytes);
        text.push_str(END);
    }
    Ok(())
}

/// The fields that tell what was decided, by what, and what came of it.
fn fields(ruling: &Ruling) -> String {
    let mut text = ",\"wanted\":".to_owned();
    text.push_str(&list(ruling.wanted));
    text.push_str(",\"decision\":\"");
    text.push_str(ruling.decision.key(ruling.mode));
    text.push('"');
    if ruling.mode == Mode::DryRun {
        text.push_str(",\"dry\":true");
    }
    reason(&mut text, ruling);
    text.push_str(",\"result\":\"");
    text.push_str(ruling.result.map_or_else(errno_key, |()| "ok"));
    text.push('"');
    if ruling.same {
        text.push_str(",\"same\":true");
    }
    if ruling.is_dir {
        text.push_str(",\"dir\":true");
    }
    text
}

fn reason(text: &mut String, ruling: &Ruling) {
    if !ruling.missing.is_empty() {
        text.push_str(",\"missing\":");
        text.push_str(&list(ruling.missing));
    }
    if ruling.widens {
        text.push_str(",\"widens\":true");
    }
    if let Some(rule) = ruling.rule {
        text.push_str(",\"rule\":");
        number(text, rule.index() as u64);
    }
    if let Some(place) = &ruling.place {
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
    let words =
        crate::rules::right_names::each_word_of_rights(rights).map(|word| format!("\"{word}\""));
    format!("[{}]", words.collect::<Vec<_>>().join(","))
}

/// Adds `value` as a JSON string, in which nothing could end a line or a script.
pub(crate) fn string(text: &mut String, value: &str) {
    text.push('"');
    escaped(text, value);
    text.push('"');
}

/// Adds what is between the quotes of `value` as a JSON string.
fn escaped(text: &mut String, value: &str) {
    // Nearly every text has nothing in it that could need an escape. All of it is looked at, which
    // takes less than a way out at each byte.
    let may_need = |b: u8| matches!(b, b'"' | b'\\' | b'<' | 0..=0x1f | 0x7f..);
    if !value.bytes().fold(false, |found, b| found | may_need(b)) {
        text.push_str(value);
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
            c => escape::push_json(text, c),
        }
    }
    text.push_str(value.get(plain..).unwrap_or_default());
}

/// Whether `c` would end the string, the line, or a script that the line is put into, or is not
/// fit for a terminal.
fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '<') || escape::must_escape(c)
}

/// The name of an errno in a log.
pub(crate) fn errno_key(errno: Errno) -> &'static str {
    static KEYS: OnceLock<Vec<(Errno, String)>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Errno::ALL.iter().map(|errno| (*errno, errno.name())).collect());
    keys.get(errno as usize).map_or("io", |(_, key)| key.as_str())
}

/// The errno of a name in a log.
pub(crate) fn errno_named(key: &str) -> Option<Errno> {
    Errno::ALL.iter().copied().find(|errno| errno_key(*errno) == key)
}
