//! Words of a script line: bare, or quoted with escapes, so that any path and any bytes have one
//! printable form that reads back as it was.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// Longer runs of one character are printed as a count.
const RUN_MAX: usize = 16;

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The number before a colon: which open directory a path begins in.
    pub(crate) slot: Option<u8>,
    /// What it says.
    pub(crate) bytes: Vec<u8>,
    /// Whether it stood in quotes: then it is never a keyword.
    pub(crate) quoted: bool,
}

impl Word {
    /// The text of a keyword or number; `None` for what stood in quotes.
    pub(crate) fn bare(&self) -> Option<&str> {
        if self.quoted { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    /// The text, whether it stood in quotes or not.
    pub(crate) fn text(&self) -> Result<String, String> {
        String::from_utf8(self.bytes.clone()).map_err(|_| "not UTF-8".to_owned())
    }
}

/// Cuts a line into words. What follows a `#` is a comment.
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
        match chars.next().ok_or("a quote is not closed")? {
            '"' => return Ok(out),
            '\\' => match chars.next().ok_or("a backslash ends the line")? {
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

/// Prints a path, a name or a target.
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

/// Prints bytes, always in quotes.
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
    fn what_is_printed_reads_back() {
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
    fn a_number_and_a_colon_name_the_open_directory() {
        let read = words("stat 2:a/b 3:\"x y\" # why").unwrap();
        let seen: Vec<_> = read.iter().map(|w| (w.slot, w.text().unwrap())).collect();
        let want = [(None, "stat"), (Some(2), "a/b"), (Some(3), "x y")];
        assert_eq!(seen, want.map(|(slot, text)| (slot, text.to_owned())));
    }
}
