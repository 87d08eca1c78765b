//! A table reader that records the requested keys and reports all other keys as unknown.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::words::{instead, quoted};
use super::{Reader, Text, Value};

/// A table of a document.
pub(super) struct Table<'t> {
    pub(super) text: &'t Text,
    pub(super) span: Range<usize>,
    entries: DeTable<'t>,
    known_keys: Vec<String>,
}

type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl<'t> Table<'t> {
    pub(super) fn new(text: &'t Text, entries: DeTable<'t>, span: Range<usize>) -> Self {
        Table { text, span, entries, known_keys: Vec::new() }
    }

    /// Takes the value of `key`, which becomes a known key.
    pub(super) fn take(&mut self, key: &str) -> Option<Value<'t>> {
        self.known_keys.push(key.to_owned());
        self.entries.remove(key)
    }

    /// Takes the value of a key that is not allowed here; the caller reports a specific fault.
    pub(super) fn take_misplaced(&mut self, key: &str) -> Option<Value<'t>> {
        self.entries.remove(key)
    }

    /// Returns all entries, for a table whose keys are user-defined names.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Key<'t>, Value<'t>)> {
        self.entries.into_iter()
    }

    /// Reports the keys that no call of `take` requested.
    pub(super) fn refuse_rest(self, reader: &mut Reader<'_>, what: &str) {
        let known: Vec<&str> = self.known_keys.iter().map(String::as_str).collect();
        for (key, _) in self.entries {
            if reader.is_full() {
                return;
            }
            let help = instead(key.get_ref(), &known);
            let message = format!("{what} has no {}", quoted(key.get_ref()));
            reader.fault(self.text, key.span(), message, help);
        }
    }
}

impl Reader<'_> {
    /// Returns the value as a table, or reports a fault.
    pub(super) fn table<'t>(
        &mut self,
        text: &'t Text,
        what: &str,
        value: Value<'t>,
        example: &str,
    ) -> Option<Table<'t>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => Some(Table::new(text, entries, span)),
            other => {
                let message = format!("{what} must be a table, not {}", type_name(&other));
                self.fault(text, span, message, format!("write it like this:\n{example}"));
                None
            }
        }
    }

    /// Returns the value as a string, or reports a fault.
    pub(super) fn string<'v>(
        &mut self,
        text: &Text,
        what: &str,
        value: &'v Value<'_>,
    ) -> Option<&'v str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            let message = format!("{what} must be a string, not {}", type_name(value.get_ref()));
            self.fault(text, value.span(), message, "put it in quotes".to_owned());
        }
        string
    }

    /// Returns the strings of a string or an array of strings, each with its span.
    pub(super) fn strings(
        &mut self,
        text: &Text,
        what: &str,
        value: Value<'_>,
    ) -> Vec<(String, Range<usize>)> {
        let values = match value.get_ref() {
            DeValue::Array(values) if values.is_empty() => {
                self.fault(text, value.span(), format!("{what} is empty"), None);
                return Vec::new();
            }
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![&value],
        };
        let mut strings = Vec::new();
        for value in values {
            if let Some(string) = self.string(text, what, value) {
                strings.push((string.to_owned(), value.span()));
            }
        }
        strings
    }
}

/// Returns the value as a whole number that is not negative.
pub(super) fn whole_number(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(&digits, number.radix()).ok()
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
