//! The lexer of scripts: bare words, and quoted words with escapes.
//!
//! Each path and each byte string has a printable form that parses to the same value.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// The longest run of one character that is printed literally instead of as a count.
const RUN_MAX: usize = 16;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The number before a colon: the open directory in which a path begins.
    pub(crate) slot: Option<u8>,
    /// The unescaped content.
    pub(crate) bytes: Vec<u8>,
    /// Whether the word was quoted, so that it is not a keyword.
    pub(crate) quoted: bool,
}

impl Word {
    /// Returns the text of an unquoted word.
    pub(crate) fn bare(&self) -> Option<&str> {
        if self.quoted { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    /// Returns the text, quoted or not.
    pub(crate) fn text(&self) -> Result<String, String> {
        String::from_utf8(self.bytes.clone()).map_err(|_| "not UTF-8".to_owned())
    }
}

/// Splits a line into words. `#` begins a comment.
pub(crate) fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut chars = line.chars().peekable();
    let mut out = Vec::new();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(out),
            Some(_) => out.push(word(&mut chars)?),
        }
    }
}

fn word(chars: &mut Peekable<Chars<'_>>) -> Result<Word, String> {
    let mut text = String::new();
    let mut slot = None;
    while let Some(&next) = chars.peek() {
        if next.is_whitespace() {
            break;
        }
        if next == '"' && text.is_empty() {
            chars.next();
            return Ok(Word { slot, bytes: quoted(chars)?, quoted: true });
        }
        chars.next();
        match text.parse() {
            Ok(number) if next == ':' && slot.is_none() => {
                slot = Some(number);
                text.clear();
            }
            _ => text.push(next),
        }
    }
    Ok(Word { slot, bytes: text.into_bytes(), quoted: false })
}

fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut utf8 = [0; 4];
    loop {
        match chars.next().ok_or("an unterminated quote")? {
            '"' => return Ok(out),
            '\\' => match chars.next().ok_or("a trailing backslash")? {
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                '0' => out.push(0),
                'x' => {
                    let hex: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&hex, 16).map_err(|e| e.to_string())?);
                }
                '*' => {
                    let count: String = chars.by_ref().take_while(|c| *c != ';').collect();
                    let count: usize = count.parse().map_err(|_| "a bad count")?;
                    let each = chars.next().ok_or("nothing to repeat")?;
                    if count > 1 << 20 {
                        return Err("too many repetitions".to_owned());
                    }
                    for _ in 0..count {
                        out.extend_from_slice(each.encode_utf8(&mut utf8).as_bytes());
                    }
                }
                other => out.extend_from_slice(other.encode_utf8(&mut utf8).as_bytes()),
            },
            other => out.extend_from_slice(other.encode_utf8(&mut utf8).as_bytes()),
        }
    }
}

/// Formats a path, a name or a target.
pub(crate) fn path(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._-/@".contains(c);
    if !text.is_empty() && text != "->" && text.chars().all(plain) && longest_run(text) <= RUN_MAX {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = rest.trim_start_matches(first);
        let count = (rest.len() - after.len()) / first.len_utf8();
        if count > RUN_MAX && first != '\\' && first != '"' && first >= ' ' {
            let _ = write!(out, "\\*{count};{first}");
            rest = after;
            continue;
        }
        match first {
            '"' | '\\' => {
                out.push('\\');
                out.push(first);
            }
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
        rest = rest.get(first.len_utf8()..).unwrap_or("");
    }
    out.push('"');
    out
}

/// Formats bytes, always in quotes.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let plain = first.is_ascii_graphic() && !b"\"\\".contains(first) || *first == b' ';
        let count = if plain { rest.iter().take_while(|b| *b == first).count() } else { 1 };
        if count > RUN_MAX {
            let _ = write!(out, "\\*{count};{}", char::from(*first));
            rest = rest.get(count..).unwrap_or(&[]);
            continue;
        }
        if plain {
            out.push(char::from(*first));
        } else {
            let _ = write!(out, "\\x{first:02x}");
        }
        rest = tail;
    }
    out.push('"');
    out
}

fn longest_run(text: &str) -> usize {
    let (mut longest, mut run, mut last) = (0, 0, None);
    for c in text.chars() {
        run = if last == Some(c) { run + 1 } else { 1 };
        last = Some(c);
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_bytes_round_trip_through_their_text_form() {
        let long = "n".repeat(255);
        for text in ["a", "", "a b", "é", "->", "1:a", "a\"\\", "a\0b", "a\nb", "#", &long] {
            let read = words(&path(text)).unwrap();
            assert_eq!(read.len(), 1, "{text:?}");
            assert_eq!(read[0].text().as_deref(), Ok(text));
            assert_eq!(read[0].slot, None);
            let read = words(&bytes(text.as_bytes())).unwrap();
            assert_eq!(read[0].bytes, text.as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(words(&bytes(&all)).unwrap()[0].bytes, all);
        assert!(path(&long).len() < 20);
    }

    #[test]
    fn slot_prefix_names_the_open_directory() {
        let read = words("stat 2:a/b 3:\"x y\" # why").unwrap();
        let seen: Vec<_> = read.iter().map(|w| (w.slot, w.text().unwrap())).collect();
        let want = [(None, "stat"), (Some(2), "a/b"), (Some(3), "x y")];
        assert_eq!(seen, want.map(|(slot, text)| (slot, text.to_owned())));
    }
}
