//! Reads the text of a glob.

use std::collections::BTreeMap;
use std::ops::Range;

use palisade_vfs::Name;

use super::error::{GlobError, GlobErrorKind as Kind};
use super::pattern::{Atom, Pattern};
use super::{Glob, Part};

/// How deep alternatives may be nested: no person writes more, and the reader calls itself.
pub(super) const DEPTH_MAX: usize = 8;

/// The last character that there is.
const LAST: char = char::MAX;

/// Values of variables by their names.
pub(super) type Values<'v> = &'v BTreeMap<String, String>;

/// A glob that was read.
pub(super) struct Parsed<'t> {
    pub(super) parts: Box<[Part]>,
    /// The glob with its values in place, as literal text.
    pub(super) expanded: String,
    /// The variables that it names.
    pub(super) variables: Vec<&'t str>,
}

/// Whether a variable can have this name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Adds `literal` to a glob that then matches it alone.
pub(super) fn push_literal(glob: &mut String, literal: &str, in_alternatives: bool) {
    for char in literal.chars() {
        let is_comma = char == ',' && in_alternatives;
        if is_comma || matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '(' | '|' | '\\') {
            glob.push('\\');
        }
        glob.push(char);
    }
}

/// Reads `text`, in which `${NAME}` is a literal: `values` says which. Neighboring `**` are one.
///
/// The text is cut into components and tokens first. A value therefore never changes how the text
/// around it is read, whatever characters it holds; only then is it cut at its own slashes.
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

/// Reads one component of the text.
struct Reader<'t, 'v, 'p> {
    component: &'t str,
    /// Where the component starts in the glob.
    start: usize,
    /// Where the next character is in the component.
    at: usize,
    values: Option<Values<'v>>,
    parsed: &'p mut Parsed<'t>,
    /// Whether the component must yield the slash at the start of the glob.
    is_first: bool,
    /// Whether a `(` was read as a character.
    in_parens: bool,
    /// Where the variables of the component are in it, each with the number of atoms before it and
    /// behind it, if it stands in no alternatives.
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

    /// The parts: one, or several if a value holds slashes.
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
        // Only a value can hold a slash.
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

    /// The part that these atoms of the component are.
    fn part(&self, atoms: &[Atom], at: &Range<usize>) -> Result<Part, GlobError> {
        let pattern = Pattern { atoms: atoms.into() };
        if !self.variables.is_empty() {
            // Without wildcards it must be names and nothing else: the rule would lack the others.
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

    /// A fault of the value that touches these atoms, or of the first value of the component.
    fn fault_of_value(&self, kind: Kind, atoms: &Range<usize>) -> GlobError {
        let touches = |(_, its): &&(Range<usize>, Option<Range<usize>>)| {
            its.as_ref().is_some_and(|its| its.start <= atoms.end && atoms.start <= its.end)
        };
        let found = self.variables.iter().find(touches).or(self.variables.first());
        match found {
            Some((span, _)) => self.fault_since(kind, span.start, span.end),
            None => self.fault_since(kind, 0, self.component.len()),
        }
    }

    /// Atoms up to the end, or to the `,` or `}` of the alternatives that they are in.
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
                        // Between the two is a variable without a value.
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

    /// Adds the value of a variable, character by character.
    fn variable(&mut self, depth: usize, atoms: &mut Vec<Atom>) -> Result<(), GlobError> {
        let open = self.at;
        let from = self.component.get(open + "${".len()..).unwrap_or_default();
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
        let raw = self.component.get(open + 1..self.at).unwrap_or_default();
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
        let inner = self.rest().get(..end).unwrap_or_default();
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
        if escaped && c.is_ascii_alphanumeric() {
            return Err(self.fault_since(Kind::LetterEscape, at, self.at + 1));
        }
        self.next();
        Ok(c)
    }

    fn rest(&self) -> &'t str {
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
        let Some(c) = self.peek() else { return };
        self.at += c.len_utf8();
        let expanded = &mut self.parsed.expanded;
        // What a value ends with must not be read together with what follows it.
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

/// Whether `text` is what a shell makes a sequence of, such as `1..10` or `a..z..2`.
fn is_of_sequence(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
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
