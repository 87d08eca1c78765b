//! Tables that remember what they were asked for, so that they know what nobody asked for.

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
    asked: Vec<String>,
}

type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl<'t> Table<'t> {
    pub(super) fn new(text: &'t Text, entries: DeTable<'t>, span: Range<usize>) -> Self {
        Table { text, span, entries, asked: Vec::new() }
    }

    /// Takes the value of a key, which is from now on one that there can be.
    pub(super) fn take(&mut self, key: &str) -> Option<Value<'t>> {
        self.asked.push(key.to_owned());
        self.entries.remove(key)
    }

    /// Takes the value of a key that there cannot be, and about which more is said than that.
    pub(super) fn take_misplaced(&mut self, key: &str) -> Option<Value<'t>> {
        self.entries.remove(key)
    }

    /// Everything, for a table whose keys are names.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Key<'t>, Value<'t>)> {
        self.entries.into_iter()
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn refuse_rest(self, reader: &mut Reader<'_>, what: &str) {
        let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
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
    /// A table, or a fault.
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
                let message = format!("{what} is a table, and not {}", article(&other));
                self.fault(text, span, message, format!("write it like this:\n{example}"));
                None
            }
        }
    }

    /// A text, or a fault.
    pub(super) fn string<'v>(
        &mut self,
        text: &Text,
        what: &str,
        value: &'v Value<'_>,
    ) -> Option<&'v str> {
        let said = value.get_ref().as_str();
        if said.is_none() {
            let message = format!("{what} is a text, and not {}", article(value.get_ref()));
            self.fault(text, value.span(), message, "put it in quotes".to_owned());
        }
        said
    }

    /// One text or a list of texts, each with where it stands.
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
        let mut said = Vec::new();
        for value in values {
            if let Some(it) = self.string(text, what, value) {
                said.push((it.to_owned(), value.span()));
            }
        }
        said
    }
}

/// The whole number that a value is, if it is one and not negative.
pub(super) fn whole_number(value: &Value<'_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(&digits, number.radix()).ok()
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
