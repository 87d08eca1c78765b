//! A JSON Lines writer for events, with a reused buffer.
//!
//! Each line is one object with its fields in a fixed order, `v` first, and can be parsed alone.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use palisade_vfs::{Errno, Rights, bug, escape};

use crate::audit::event::{Event, Mode, Ruling};
use crate::audit::writer::{AuditOptions, Sink};

/// The version of the format.
pub(crate) const VERSION: u32 = 1;

/// The size of the output buffer, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// The header of a run, which is its first line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// The identifier of the run, which is in each of its lines, so that runs can share a log. An
    /// empty identifier is omitted.
    pub run: &'a str,
    /// The start time, in RFC 3339 format.
    pub started: &'a str,
    /// The name of the guest.
    pub guest: &'a str,
    /// The name of the policy.
    pub policy: &'a str,
    /// The options of the auditor, whose filters are written to the header.
    pub options: Option<&'a AuditOptions>,
}

/// A sink that writes a line of JSON for each event. Output is written in chunks of 64 KiB and by
/// flushes.
pub struct JsonLines<W> {
    out: W,
    buffer: String,
    /// The rendered field with the identifier of the run, with a leading comma.
    run: String,
    texts: Texts,
}

/// A cache of rendered fields that recent lines share.
#[derive(Default)]
struct Texts {
    known: Vec<Text>,
    /// The index of the entry of the last line.
    last: usize,
}

/// The rendered fields of lines with one ruling, timestamp and guest.
struct Text {
    ruling: Arc<Ruling>,
    nanos: u64,
    guest: Box<str>,
    /// The fields from `run` up to the opening quote of the path.
    head: String,
    /// The fields of the ruling, and the end of the line.
    tail: String,
}

/// The most cached entries.
const TEXTS_MAX: usize = 8;

/// The end of a line.
const END: &str = "}\n";

impl Texts {
    /// Returns the shared fields of the line of `event`, rendering them on a cache miss.
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
    /// Returns a sink that writes `header` and then events to `out`, which needs no buffer. Each
    /// write contains complete lines.
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

/// Compares two texts. Two empty texts are not compared by content: their dangling pointers can
/// cause a slow page walk.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Appends the header fields of the filters.
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

/// Appends the line of `event` to `text`.
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

/// Renders the fields of the decision, the rule and the result.
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

/// Renders the names of `rights` as a JSON list.
fn list(rights: Rights) -> String {
    let words =
        crate::rules::right_names::each_name_of_rights(rights).map(|word| format!("\"{word}\""));
    format!("[{}]", words.collect::<Vec<_>>().join(","))
}

/// Appends `value` as a JSON string that can end neither a line nor an HTML script.
pub(crate) fn string(text: &mut String, value: &str) {
    text.push('"');
    escaped(text, value);
    text.push('"');
}

/// Appends `value` as a JSON string without its quotes.
fn escaped(text: &mut String, value: &str) {
    // Fast path: few texts need an escape. The whole text is scanned without an early exit, which
    // the compiler vectorizes.
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

/// Whether `c` must be escaped: it could end the string, the line or an HTML script, or is a
/// control character of a terminal.
fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '<') || escape::must_escape(c)
}

/// Returns the name of an errno in a log.
pub(crate) fn errno_key(errno: Errno) -> &'static str {
    static KEYS: OnceLock<Vec<(Errno, String)>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Errno::ALL.iter().map(|errno| (*errno, errno.name())).collect());
    keys.get(errno as usize).map_or("io", |(_, key)| key.as_str())
}

/// Returns the errno with this name in a log.
pub(crate) fn errno_named(key: &str) -> Option<Errno> {
    Errno::ALL.iter().copied().find(|errno| errno_key(*errno) == key)
}
