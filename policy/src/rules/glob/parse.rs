//! A recursive-descent parser for globs.

use std::collections::BTreeMap;
use std::ops::Range;

use palisade_vfs::{Name, bug};

use super::error::{GlobError, GlobErrorKind as Kind};
use super::pattern::{Atom, Pattern};
use super::{Glob, Part};

/// The maximum nesting of alternatives; it bounds the recursion of the parser.
pub(super) const DEPTH_MAX: usize = 8;

/// The greatest Unicode character.
const LAST: char = char::MAX;

/// The values of variables, by name.
pub(super) type Values<'v> = &'v BTreeMap<String, String>;

/// The result of parsing a glob.
pub(super) struct Parsed<'t> {
    pub(super) parts: Box<[Part]>,
    /// The text of the glob with each variable replaced by its escaped value.
    pub(super) expanded: String,
    /// The variables that the glob uses.
    pub(super) variables: Vec<&'t str>,
}

/// Returns whether `text` is a valid variable name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Appends `literal` to `glob`, escaped so that it matches only itself.
pub(super) fn push_literal(glob: &mut String, literal: &str, in_alternatives: bool) {
    for char in literal.chars() {
        let is_comma = char == ',' && in_alternatives;
        if is_comma || matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '(' | '|' | '\\') {
            glob.push('\\');
        }
        glob.push(char);
    }
}

/// Parses `text`, in which each `${NAME}` stands for its literal value from `values`. Adjacent
/// `**` components are merged.
///
/// The text is first split into components and tokens, and values are split at their slashes
/// afterwards. The characters of a value therefore never change how the surrounding text parses.
pub(super) fn parse<'t>(
    text: &'t str,
    values: Option<Values<'_>>,
) -> Result<Parsed<'t>, GlobError> {
    if text.len() > Glob::LEN_MAX {
        return Err(fault(Kind::TooLong, 0..text.len()));
    }
    if let Some(at) = text.find('\0') {
        return Err(fault(Kind::Nul, at..at + 1));
    }
    let mut parsed = Parsed { parts: [].into(), expanded: String::new(), variables: Vec::new() };
    let (below, mut start) = match text.strip_prefix('/') {
        Some(below) => (below, 1),
        // The value of the variable must begin with the slash.
        None if text.starts_with("${") && values.is_some() => (text, 0),
        None => {
            let first = text.chars().next().map_or(0, char::len_utf8);
            let is_negation = text.starts_with('!');
            let kind = if is_negation { Kind::Negation } else { Kind::Relative };
            return Err(fault(kind, 0..first));
        }
    };
    let mut parts = Vec::new();
    if start == 1 {
        parsed.expanded.push('/');
    }
    if below.is_empty() {
        return Ok(parsed);
    }
    for (nth, component) in below.split('/').enumerate() {
        if nth > 0 {
            parsed.expanded.push('/');
        }
        let mut reader = Reader::new(component, start, values, &mut parsed);
        reader.is_first = start == 0;
        for part in reader.parts()? {
            if part != Part::Deep || parts.last() != Some(&Part::Deep) {
                parts.push(part);
            }
        }
        start += component.len() + 1;
    }
    if parsed.expanded.len() > Glob::LEN_MAX && !parsed.variables.is_empty() {
        return Err(fault(Kind::TooLong, 0..text.len()));
    }
    parsed.parts = parts.into();
    Ok(parsed)
}

fn fault(kind: Kind, span: Range<usize>) -> GlobError {
    GlobError { kind, span }
}

/// The parser of one component.
struct Reader<'t, 'v, 'p> {
    component: &'t str,
    /// The offset of the component in the glob.
    start: usize,
    /// The offset of the next character in the component.
    at: usize,
    values: Option<Values<'v>>,
    parsed: &'p mut Parsed<'t>,
    /// Whether the component must provide the slash at the start of the glob.
    is_first: bool,
    /// Whether a literal `(` was parsed.
    in_parens: bool,
    /// The span of each variable in the component, and the range of its atoms if the variable is
    /// outside alternatives.
    variables: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl<'t, 'v, 'p> Reader<'t, 'v, 'p> {
    fn new(
        component: &'t str,
        start: usize,
        values: Option<Values<'v>>,
        parsed: &'p mut Parsed<'t>,
    ) -> Self {
        let (at, is_first, in_parens, variables) = (0, false, false, Vec::new());
        Reader { component, start, at, values, parsed, is_first, in_parens, variables }
    }

    /// Parses the component into one part, or into several if a value contains slashes.
    fn parts(mut self) -> Result<Vec<Part>, GlobError> {
        match self.component {
            "" => return Err(fault(Kind::EmptyName, self.start - 1..self.start)),
            "." | ".." => return Err(self.fault_since(Kind::DotName, 0, self.component.len())),
            "**" => {
                self.parsed.expanded.push_str("**");
                return Ok(vec![Part::Deep]);
            }
            _ => {}
        }
        let atoms = self.atoms(0)?;
        if let Some(at) = self.peek_at('}') {
            return Err(self.fault_since(Kind::LoneBrace, at, at + 1));
        }
        // Only a value can contain a slash.
        let mut parts = Vec::new();
        let mut from = 0;
        for piece in atoms.split(|atom| *atom == Atom::Char('/')) {
            let at = from..from + piece.len();
            from = at.end + 1;
            if self.is_first && at.start == 0 {
                if piece.is_empty() && !atoms.is_empty() {
                    continue;
                }
                return Err(self.fault_of_value(Kind::ValueNotAbsolute, &at));
            }
            parts.push(self.part(piece, &at)?);
        }
        Ok(parts)
    }

    /// Builds the part of these atoms of the component.
    fn part(&self, atoms: &[Atom], at: &Range<usize>) -> Result<Part, GlobError> {
        let pattern = Pattern { atoms: atoms.into() };
        if !self.variables.is_empty() {
            // Without wildcards each text must be a valid name, or the rule would lose that text.
            for text in pattern.texts().unwrap_or_default() {
                match text.as_str() {
                    "" => return Err(self.fault_of_value(Kind::ValueEmpty, at)),
                    "." | ".." => return Err(self.fault_of_value(Kind::ValueDots, at)),
                    _ => {}
                }
            }
        }
        let whole = self.component.len();
        match pattern.len_min() {
            usize::MAX => return Err(self.fault_since(Kind::Unmatchable, 0, whole)),
            len if len > Name::LEN_MAX => {
                return Err(self.fault_since(Kind::NameTooLong, 0, whole));
            }
            _ => {}
        }
        let Some(mut words) = pattern.words() else {
            return Ok(Part::Pattern(Box::new(pattern)));
        };
        Ok(match (words.pop(), words.is_empty()) {
            (None, _) => return Err(self.fault_since(Kind::Unmatchable, 0, whole)),
            (Some(word), true) => Part::Literal(word.into()),
            (Some(word), false) => {
                Part::Words(words.into_iter().chain([word]).map(Into::into).collect())
            }
        })
    }

    /// Returns an error for the value that touches these atoms, or for the component's first value.
    fn fault_of_value(&self, kind: Kind, atoms: &Range<usize>) -> GlobError {
        let touches = |(_, its): &&(Range<usize>, Option<Range<usize>>)| {
            its.as_ref().is_some_and(|its| its.start <= atoms.end && atoms.start <= its.end)
        };
        let variable = self.variables.iter().find(touches).or(self.variables.first());
        match variable {
            Some((span, _)) => self.fault_since(kind, span.start, span.end),
            None => self.fault_since(kind, 0, self.component.len()),
        }
    }

    /// Parses atoms up to the end, or up to the `,` or `}` of the enclosing alternatives.
    fn atoms(&mut self, depth: usize) -> Result<Vec<Atom>, GlobError> {
        let mut atoms = Vec::new();
        loop {
            let at = self.at;
            let Some(c) = self.peek() else { return Ok(atoms) };
            let is_extended = matches!(c, '@' | '+' | '!' | '?' | '*')
                && self.rest().get(c.len_utf8()..).is_some_and(|rest| rest.starts_with('('));
            if is_extended {
                return Err(self.fault_since(Kind::ExtendedGlob, at, at + 2));
            }
            match c {
                ',' | '}' if depth > 0 => return Ok(atoms),
                '}' => return Ok(atoms),
                '\\' if self.rest().starts_with("\\${") => {
                    return Err(self.fault_since(Kind::EscapedVariable, at, at + 3));
                }
                '\\' => atoms.push(Atom::Char(self.char()?)),
                '$' if self.rest().starts_with("${") => self.variable(depth, &mut atoms)?,
                '?' => {
                    self.next();
                    atoms.push(Atom::One);
                }
                '*' => {
                    self.next();
                    if self.peek() == Some('*') {
                        return Err(self.fault_since(Kind::DeepInName, at, at + 2));
                    }
                    if atoms.last() == Some(&Atom::Run) {
                        // A variable with an empty value separates the two stars.
                        self.parsed.expanded.pop();
                    } else {
                        atoms.push(Atom::Run);
                    }
                }
                '[' => atoms.push(self.class()?),
                '{' => atoms.push(self.either(depth + 1)?),
                '|' if self.in_parens => {
                    return Err(self.fault_since(Kind::Parentheses, at, at + 1));
                }
                c => {
                    self.in_parens |= c == '(';
                    self.next();
                    atoms.push(Atom::Char(c));
                }
            }
        }
    }

    /// Appends the value of a variable, character by character.
    fn variable(&mut self, depth: usize, atoms: &mut Vec<Atom>) -> Result<(), GlobError> {
        let open = self.at;
        let from = slice(self.component, open + "${".len(), self.component.len());
        let Some((name, _)) = from.split_once('}') else {
            return Err(self.fault_since(Kind::OpenVariable, open, open + 2));
        };
        let end = open + "${}".len() + name.len();
        let fault = |kind| Err(fault(kind, self.start + open..self.start + end));
        if !is_name(name) {
            return fault(Kind::VariableName);
        }
        let Some(values) = self.values else { return fault(Kind::NoVariables) };
        let Some(value) = values.get(name) else { return fault(Kind::UnknownVariable) };
        if value.contains('\0') {
            return fault(Kind::ValueNul);
        }
        if depth > 0 && value.contains('/') {
            return fault(Kind::ValueSlash);
        }
        if self.parsed.expanded.len() + value.len() > Glob::LEN_MAX {
            return fault(Kind::ValueTooLong);
        }
        self.at = end;
        let before = atoms.len();
        atoms.extend(value.chars().map(Atom::Char));
        let within = (depth == 0).then_some(before..atoms.len());
        self.variables.push((open..end, within));
        push_literal(&mut self.parsed.expanded, value, depth > 0);
        self.parsed.variables.push(name);
        Ok(())
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
        let raw = slice(self.component, open + 1, self.at);
        let is_sequence = choices.len() == 1 && raw.contains("..") && is_of_sequence(raw);
        self.next();
        if is_sequence {
            return Err(self.fault_since(Kind::Sequence, open, self.at));
        }
        Ok(Atom::Either(choices.into()))
    }

    fn class(&mut self) -> Result<Atom, GlobError> {
        let open = self.at;
        self.next();
        let end = self.rest().find(']').unwrap_or(self.rest().len());
        let inner = slice(self.rest(), 0, end);
        if inner.len() > 2 && inner.starts_with(':') && inner.ends_with(':') {
            return Err(self.fault_since(Kind::NamedClass, open, self.at + end + 1));
        }
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
                Some('[') if matches!(self.rest().as_bytes().get(1), Some(b':' | b'=' | b'.')) => {
                    return Err(self.fault_since(Kind::NamedClass, at, at + 2));
                }
                Some('$') if self.rest().starts_with("${") => {
                    let len = self.rest().find('}').map_or(2, |end| end + 1);
                    return Err(self.fault_since(Kind::VariableInClass, at, at + len));
                }
                Some(_) => {}
            }
            let first = self.char()?;
            let mut last = first;
            // A `-` forms a range unless it is the last character of the class.
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
        // `[]` and `[!]` are rejected like a class that matches nothing.
        if ranges.is_empty() || self.at - open <= if negated { 3 } else { 2 } {
            return Err(self.fault_since(Kind::EmptyClass, open, self.at));
        }
        Ok(Atom::Class(ranges.into()))
    }

    /// Returns the next character, unescaped.
    fn char(&mut self) -> Result<char, GlobError> {
        let at = self.at;
        let escaped = self.peek() == Some('\\');
        if escaped {
            self.next();
        }
        let Some(c) = self.peek() else {
            return Err(self.fault_since(Kind::OpenEscape, at, self.at));
        };
        if escaped && c.is_ascii_alphanumeric() {
            return Err(self.fault_since(Kind::LetterEscape, at, self.at + 1));
        }
        self.next();
        Ok(c)
    }

    fn rest(&self) -> &'t str {
        slice(self.component, self.at, self.component.len())
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Returns the current offset if the next character is `c`.
    fn peek_at(&self, c: char) -> Option<usize> {
        (self.peek() == Some(c)).then_some(self.at)
    }

    fn next(&mut self) {
        let Some(c) = self.peek() else { return };
        self.at += c.len_utf8();
        let expanded = &mut self.parsed.expanded;
        // The end of a value must not combine with the text that follows it.
        if c == '(' && expanded.ends_with(['@', '+', '!', '?', '*']) {
            expanded.push('\\');
        }
        if c == '{' && expanded.ends_with('$') {
            expanded.pop();
            expanded.push_str("[$]");
        }
        expanded.push(c);
    }

    fn fault_since(&self, kind: Kind, from: usize, to: usize) -> GlobError {
        fault(kind, self.start + from..self.start + to)
    }
}

/// Returns whether a shell would expand `{text}` as a sequence, such as `1..10` or `a..z..2`.
fn is_of_sequence(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// Returns `ranges` or their complement, sorted and disjoint, without NUL and `/`.
fn class_of(mut ranges: Vec<(char, char)>, negated: bool) -> Vec<(char, char)> {
    let never = [('\0', '\0'), ('/', '/')];
    if negated {
        ranges.extend(never);
        return gaps(ranges);
    }
    // The complement of the gaps, without NUL and `/`.
    let mut outside = gaps(ranges);
    outside.extend(never);
    gaps(outside)
}

/// Returns the complement of `ranges`.
fn gaps(mut ranges: Vec<(char, char)>) -> Vec<(char, char)> {
    ranges.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = Some('\0');
    for (first, last) in ranges {
        let Some(from) = next else { break };
        if let Some(until) = predecessor(first).filter(|until| from <= *until) {
            gaps.push((from, until));
        }
        if last >= from {
            next = successor(last);
        }
    }
    gaps.extend(next.map(|from| (from, LAST)));
    gaps
}

fn predecessor(c: char) -> Option<char> {
    ('\0'..c).next_back()
}

fn successor(c: char) -> Option<char> {
    (c..=LAST).nth(1)
}

/// Returns a part of `text` that begins and ends at characters.
fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_else(|| bug!(""; "no characters from {start} to {end}"))
}
