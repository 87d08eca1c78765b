//! What is wrong with a document, where, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use palisade_vfs::escape;

/// A text and its name.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// What its reader called it.
    pub name: Arc<str>,
    /// The text.
    pub text: Box<str>,
    /// Where each line begins.
    lines: Box<[usize]>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentFault {
    /// The text in which it is.
    pub source: Arc<SourceText>,
    /// Where, in bytes; on character boundaries.
    pub span: Range<usize>,
    /// What is wrong, in a sentence without a period.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Everything that is wrong with a document: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// The faults: file by file in the order in which they were read, each from its top down.
    pub faults: Vec<DocumentFault>,
    /// Whether there were more than are told.
    pub has_more: bool,
}

impl SourceText {
    pub(crate) fn new(name: &str, text: &str) -> Arc<Self> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Arc::new(SourceText { name: name.into(), text: text.into(), lines })
    }

    /// The line of a byte, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> u32 {
        let line = self.lines.partition_point(|start| *start <= at);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// The column of a byte in its line, in characters from 1.
    #[must_use]
    pub fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or_default();
        before.chars().rev().take_while(|char| *char != '\n').count() + 1
    }
}

impl SourceText {
    /// The bytes `within` a text that is written down in `span`, if there are any and it is written
    /// there as it is; otherwise all of `span`.
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

    /// `span` within the text, and widened to whole characters.
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
