//! Faults of policy documents, each with its span and a suggested correction.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::escape;

/// A text and its name.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The name that the reader or the loader gave to the text.
    pub name: Arc<str>,
    /// The text.
    pub text: Box<str>,
    /// The offset of each line.
    lines: Box<[usize]>,
}

/// One fault of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFault {
    /// The text that contains the fault.
    pub source: Arc<SourceText>,
    /// The span of the fault in bytes; on character boundaries.
    pub span: Range<usize>,
    /// The description of the fault, without a final period.
    pub message: String,
    /// The suggested correction.
    pub help: Option<String>,
}

/// The faults of a document; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// The faults: file by file in reading order, each file from top to bottom.
    pub faults: Vec<DocumentFault>,
    /// Whether further faults were omitted.
    pub has_more: bool,
}

impl SourceText {
    pub(crate) fn new(name: &str, text: &str) -> Arc<Self> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Arc::new(SourceText { name: name.into(), text: text.into(), lines })
    }

    /// Returns the line of a byte offset, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> u32 {
        let line = self.lines.partition_point(|start| *start <= at);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// Returns the column of a byte offset in its line, in characters from 1.
    #[must_use]
    pub fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or_default();
        before.chars().rev().take_while(|char| *char != '\n').count() + 1
    }
}

impl SourceText {
    /// Returns the span of the bytes `within` the string `raw` whose literal is at `span`, or all
    /// of `span` if `within` is empty or the literal contains escapes.
    pub(crate) fn within(
        &self,
        raw: &str,
        span: &Range<usize>,
        within: Range<usize>,
    ) -> Range<usize> {
        let start = span.start.saturating_add(1);
        match self.text.get(start..start.saturating_add(raw.len())) {
            Some(written) if written == raw && !within.is_empty() => {
                start + within.start..start + within.end
            }
            Some(_) | None => span.clone(),
        }
    }

    /// Returns `span`, limited to the text and widened to character boundaries.
    pub(crate) fn on_characters(&self, span: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        start..self.text.ceil_char_boundary(span.end).max(start)
    }
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, line) = (escape::name(&*self.source.name), self.source.line(self.span.start));
        let message = escape::line(&self.message);
        write!(f, "{name}:{line}:{}: {message}", self.source.column(self.span.start))?;
        match &self.help {
            Some(help) => help.lines().try_for_each(|line| write!(f, "\n  {}", escape::line(line))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.faults.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        if self.has_more {
            f.write_str("\nand more")?;
        }
        Ok(())
    }
}

impl std::error::Error for DocumentError {}
