//! Reads the text of a glob.

use std::ops::Range;

use palisade_vfs::Name;

use super::error::{GlobError, GlobErrorKind as Kind};
use super::pattern::{Atom, Pattern};
use super::{Glob, Part};

/// How deep alternatives may be nested: no person writes more, and the reader calls itself.
pub(super) const DEPTH_MAX: usize = 8;

/// The last character that there is.
const LAST: char = char::MAX;

/// The components of `text`. Neighboring `**` are one.
pub(super) fn parse(text: &str) -> Result<Box<[Part]>, GlobError> {
    if text.len() > Glob::LEN_MAX {
        return Err(fault(Kind::TooLong, 0..text.len()));
    }
    if let Some(at) = text.find('\0') {
        return Err(fault(Kind::Nul, at..at + 1));
    }
    let Some(below) = text.strip_prefix('/') else {
        let first = text.chars().next().map_or(0, char::len_utf8);
        return Err(fault(Kind::Relative, 0..first));
    };
    let mut parts = Vec::new();
    if below.is_empty() {
        return Ok(parts.into());
    }
    let mut start = 1;
    for component in below.split('/') {
        let part = Reader { component, start, at: 0 }.part()?;
        if part != Part::Deep || parts.last() != Some(&Part::Deep) {
            parts.push(part);
        }
        start += component.len() + 1;
    }
    Ok(parts.into())
}

fn fault(kind: Kind, span: Range<usize>) -> GlobError {
    GlobError { kind, span }
}

/// Reads one component.
struct Reader<'a> {
    component: &'a str,
    /// Where the component starts in the glob.
    start: usize,
    /// Where the next character is in the component.
    at: usize,
}

impl Reader<'_> {
    fn part(mut self) -> Result<Part, GlobError> {
        match self.component {
            "" => return Err(fault(Kind::EmptyName, self.start - 1..self.start)),
            "." | ".." => return Err(self.fault_since(Kind::DotName, 0, self.component.len())),
            "**" => return Ok(Part::Deep),
            _ => {}
        }
        let atoms = self.atoms(0)?.into_boxed_slice();
        if let Some(at) = self.peek_at('}') {
            return Err(self.fault_since(Kind::LoneBrace, at, at + 1));
        }
        let pattern = Pattern { atoms };
        let whole = (0, self.component.len());
        match pattern.len_min() {
            usize::MAX => return Err(self.fault_since(Kind::Unmatchable, whole.0, whole.1)),
            len if len > Name::LEN_MAX => {
                return Err(self.fault_since(Kind::NameTooLong, whole.0, whole.1));
            }
            _ => {}
        }
        let Some(mut words) = pattern.words() else {
            return Ok(Part::Pattern(Box::new(pattern)));
        };
        Ok(match (words.pop(), words.is_empty()) {
            (None, _) => return Err(self.fault_since(Kind::Unmatchable, whole.0, whole.1)),
            (Some(word), true) => Part::Literal(word.into()),
            (Some(word), false) => {
                Part::Words(words.into_iter().chain([word]).map(Into::into).collect())
            }
        })
    }

    /// Atoms up to the end, or to the `,` or `}` of the alternatives that they are in.
    fn atoms(&mut self, depth: usize) -> Result<Vec<Atom>, GlobError> {
        let mut atoms = Vec::new();
        loop {
            let at = self.at;
            let Some(c) = self.peek() else { return Ok(atoms) };
            match c {
                ',' | '}' if depth > 0 => return Ok(atoms),
                '}' => return Ok(atoms),
                '\\' => atoms.push(Atom::Char(self.char()?)),
                '?' => {
                    self.next();
                    atoms.push(Atom::One);
                }
                '*' => {
                    self.next();
                    if self.peek() == Some('*') {
                        return Err(self.fault_since(Kind::DeepInName, at, at + 2));
                    }
                    if atoms.last() != Some(&Atom::Run) {
                        atoms.push(Atom::Run);
                    }
                }
                '[' => atoms.push(self.class()?),
                '{' => atoms.push(self.either(depth + 1)?),
                c => {
                    self.next();
                    atoms.push(Atom::Char(c));
                }
            }
        }
    }

    fn either(&mut self, depth: usize) -> Result<Atom, GlobError> {
        let open = self.at;
        if depth > DEPTH_MAX {
            return Err(self.fault_since(Kind::TooDeep, open, open + 1));
        }
        let mut choices = Vec::new();
        loop {
            // The `{` or the `,`.
            self.next();
            choices.push(self.atoms(depth)?.into());
            match self.peek() {
                Some('}') => break,
                Some(_) => {}
                None => return Err(self.fault_since(Kind::OpenBrace, open, open + 1)),
            }
        }
        self.next();
        Ok(Atom::Either(choices.into()))
    }

    fn class(&mut self) -> Result<Atom, GlobError> {
        let open = self.at;
        self.next();
        if let Some(at) = self.peek_at('^') {
            return Err(self.fault_since(Kind::CaretClass, at, at + 1));
        }
        let negated = self.peek() == Some('!');
        if negated {
            self.next();
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let at = self.at;
            match self.peek() {
                None => return Err(self.fault_since(Kind::OpenClass, open, open + 1)),
                Some(']') => break,
                Some(_) => {}
            }
            let first = self.char()?;
            let mut last = first;
            // A `-` is a range's, unless nothing follows in the class.
            if self.peek() == Some('-') && !self.rest().starts_with("-]") {
                self.next();
                if self.peek().is_none() {
                    return Err(self.fault_since(Kind::OpenClass, open, open + 1));
                }
                last = self.char()?;
            }
            if first > last {
                return Err(self.fault_since(Kind::BackwardRange, at, self.at));
            }
            ranges.push((first, last));
        }
        self.next();
        let ranges = class_of(ranges, negated);
        // `[]` and `[!]` are as suspicious as a class that leaves nothing.
        if ranges.is_empty() || self.at - open <= if negated { 3 } else { 2 } {
            return Err(self.fault_since(Kind::EmptyClass, open, self.at));
        }
        Ok(Atom::Class(ranges.into()))
    }

    /// The next character as it is, or the one that is escaped.
    fn char(&mut self) -> Result<char, GlobError> {
        let at = self.at;
        let escaped = self.peek() == Some('\\');
        if escaped {
            self.next();
        }
        let Some(c) = self.peek() else {
            return Err(self.fault_since(Kind::OpenEscape, at, self.at));
        };
        self.next();
        Ok(c)
    }

    fn rest(&self) -> &str {
        self.component.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Where it is, if `c` is next.
    fn peek_at(&self, c: char) -> Option<usize> {
        (self.peek() == Some(c)).then_some(self.at)
    }

    fn next(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }

    fn fault_since(&self, kind: Kind, from: usize, to: usize) -> GlobError {
        fault(kind, self.start + from..self.start + to)
    }
}

/// `ranges`, or all but them, sorted and disjoint, without what no name holds.
fn class_of(mut ranges: Vec<(char, char)>, negated: bool) -> Vec<(char, char)> {
    let never = [('\0', '\0'), ('/', '/')];
    if negated {
        ranges.extend(never);
        return gaps(ranges);
    }
    // All but the gaps, and but what no name holds.
    let mut outside = gaps(ranges);
    outside.extend(never);
    gaps(outside)
}

/// All characters that are in none of `ranges`.
fn gaps(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = Some('\0');
    for (first, last) in ranges {
        let Some(from) = next else { break };
        if let Some(until) = before(first).filter(|until| from <= *until) {
            gaps.push((from, until));
        }
        if last >= from {
            next = behind(last);
        }
    }
    gaps.extend(next.map(|from| (from, LAST)));
    gaps
}

fn before(c: char) -> Option<char> {
    ('\0'..c).next_back()
}

fn behind(c: char) -> Option<char> {
    (c..=LAST).nth(1)
}
