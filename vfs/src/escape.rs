//! Escaping of foreign text for terminals, logs and web pages.
//!
//! Foreign text is text that a guest, a module, an archive, a directory, a log or a document
//! supplies. Printed unchanged, it can move the cursor, rewrite earlier lines, reverse the reading
//! order or forge lines of the program that prints it. Every `Display` of this workspace that
//! embeds foreign text passes it through this module, and so does the command.
//!
//! A character is escaped if it controls a terminal or is invisible ([`must_escape`]). Escapes are
//! those of Rust: `\n`, `\u{1b}`, and `\xff` for a byte that is not UTF-8.
//!
//! Deliberately absent: a table of confusable letters. They are visible, and names may contain
//! them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write};

use crate::bug;

/// Returns whether `c` is escaped: a control character, a format character (bidirectional marks,
/// zero-width characters, tags, variation selectors), a line or paragraph separator, a space other
/// than U+0020, or another character without a glyph.
///
/// The ranges are the general categories Cc, Cf, Zl, Zp and Zs (without U+0020), the property
/// `Default_Ignorable_Code_Point` (Unicode 16), and the empty Braille pattern U+2800.
#[must_use]
pub const fn must_escape(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(c,
        '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}'
        | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
        | '\u{1680}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Foreign text that `Display` escapes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    style: Style,
}

/// The characters that a style leaves unchanged besides visible ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// None; a backslash is doubled.
    Name,
    /// A backslash.
    Line,
    /// A backslash, a newline and a tab.
    Lines,
}

/// Escapes a name or a path. Backslashes are doubled, so distinct names print as distinct text.
#[must_use]
pub fn name<T: AsRef<OsStr> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped { bytes: text.as_ref().as_encoded_bytes(), style: Style::Name }
}

/// Escapes text of one line, such as the message of a parser or a glob. Idempotent.
#[must_use]
pub fn line<T: AsRef<OsStr> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped { bytes: text.as_ref().as_encoded_bytes(), style: Style::Line }
}

/// Escapes text of several lines: newlines and tabs are unchanged. Idempotent.
///
/// Not for a single piece of foreign text, which could forge lines. For a complete text, whose
/// foreign parts are already escaped, just before it is printed.
#[must_use]
pub fn lines<T: AsRef<OsStr> + ?Sized>(text: &T) -> Escaped<'_> {
    Escaped { bytes: text.as_ref().as_encoded_bytes(), style: Style::Lines }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.bytes.utf8_chunks() {
            let valid = chunk.valid();
            let mut plain = 0;
            for (at, c) in valid.char_indices() {
                if !self.style.escapes(c) {
                    continue;
                }
                f.write_str(slice(valid, plain, at))?;
                plain = at + c.len_utf8();
                write!(f, "{}", c.escape_default())?;
            }
            f.write_str(slice(valid, plain, valid.len()))?;
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Returns a part of `text` that begins and ends at characters.
fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_else(|| bug!(""; "no characters from {start} to {end}"))
}

impl Style {
    fn escapes(self, c: char) -> bool {
        match c {
            '\\' => self == Style::Name,
            '\n' | '\t' => self != Style::Lines,
            c => must_escape(c),
        }
    }
}

/// Escapes the same characters in serialized JSON, without changing its meaning. Newlines between
/// values are unchanged.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let escapes = |c: char| c != '\n' && must_escape(c);
    if !text.contains(escapes) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escapes(c) {
            push_json(&mut escaped, c);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Appends `c` as JSON escapes of its UTF-16 code units, such as `\u001b`.
pub fn push_json(text: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind that is escaped.
    const HIDDEN: [char; 24] = [
        '\0',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{9b}',
        '\u{a0}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{200b}',
        '\u{200e}',
        '\u{2028}',
        '\u{202e}',
        '\u{2066}',
        '\u{2060}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{e0041}',
        '\u{2029}',
    ];

    #[test]
    fn escaped_text_has_no_hidden_character() {
        for c in HIDDEN {
            let text = format!("a{c}b");
            for escaped in [name(&text).to_string(), line(&text).to_string()] {
                assert!(!escaped.contains(must_escape), "{c:?}: {escaped:?}");
                assert_ne!(escaped, text, "{c:?}");
            }
        }
        assert_eq!(name("e\u{1b}[31m\n").to_string(), "e\\u{1b}[31m\\n");
        assert_eq!(
            name("ünïcode 中 e\u{301} 🦀 'q' \"q\"").to_string(),
            "ünïcode 中 e\u{301} 🦀 'q' \"q\""
        );
    }

    #[test]
    fn distinct_names_print_as_distinct_text() {
        for (one, other) in
            [("a\n", "a\\n"), ("\u{1b}", "\\u{1b}"), ("\\", "\\\\"), ("\\\n", "\\\\n")]
        {
            assert_ne!(name(one).to_string(), name(other).to_string(), "{one:?} {other:?}");
        }
    }

    #[test]
    fn lines_keep_newlines_and_tabs_and_are_idempotent() {
        let text = "a\tb\\c\nd\u{1b}[0m\r\n";
        let once = lines(text).to_string();
        assert_eq!(once, "a\tb\\c\nd\\u{1b}[0m\\r\n");
        assert_eq!(lines(&once).to_string(), once);
        let once = line(text).to_string();
        assert_eq!(line(&once).to_string(), once);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        use std::os::unix::ffi::OsStrExt;
        let text = OsStr::from_bytes(b"a\xff\xc3b\x9b");
        assert_eq!(name(text).to_string(), "a\\xff\\xc3b\\x9b");
        assert_ne!(name(text).to_string(), name("a\\xff\\xc3b\\x9b").to_string());
    }

    #[test]
    fn escaped_json_keeps_its_meaning() {
        assert_eq!(
            json("{\"a\": \"\u{7f}\u{9b}\u{e0041}ü\"}\n"),
            "{\"a\": \"\\u007f\\u009b\\udb40\\udc41ü\"}\n"
        );
        assert!(matches!(json("{\n\"ü\": 1}"), Cow::Borrowed(_)));
    }
}
