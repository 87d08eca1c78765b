//! Origins of settings, and errors that point at a line of a configuration file.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use palisade::vfs::escape;

use crate::error::{CommandError, Error};

/// The text of a `palisade.toml` or of a policy, with the name of the file.
pub(crate) type SourceText = Arc<NamedSource<String>>;

/// Where a setting comes from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// An option of the command line.
    Option(&'static str),
    /// A key of a configuration file, with the byte range of its value.
    File { key: &'static str, text: SourceText, span: Range<usize> },
}

impl Origin {
    /// Returns the name of the option or of the key.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Origin::Option(option) => option,
            Origin::File { key, .. } => key,
        }
    }

    /// Makes an error point at the setting, if a file holds it. An error that points at a line
    /// already is returned unchanged.
    pub(crate) fn locate(&self, error: impl Into<Error>) -> Error {
        let error = error.into();
        match self {
            Origin::Option(_) => error,
            Origin::File { .. } if error.has_snippet() => error,
            Origin::File { text, span, .. } => SourceError::new(text, error.to_string())
                .with_code(error.code())
                .with_help(error.help())
                .label("here", span.clone())
                .into(),
        }
    }
}

/// An error that points at byte ranges of a configuration file.
#[derive(Debug)]
pub(crate) struct SourceError {
    message: String,
    code: String,
    help: Option<String>,
    text: SourceText,
    labels: Vec<LabeledSpan>,
}

impl SourceError {
    /// Creates an error without labels.
    pub(crate) fn new(text: &SourceText, message: impl Into<String>) -> Self {
        SourceError {
            message: message.into(),
            code: "palisade::file".to_owned(),
            help: None,
            text: Arc::clone(text),
            labels: Vec::new(),
        }
    }

    fn with_code(self, code: Option<String>) -> Self {
        SourceError { code: code.unwrap_or(self.code), ..self }
    }

    /// Sets the help text.
    pub(crate) fn with_help(self, help: Option<String>) -> Self {
        SourceError { help, ..self }
    }

    /// Adds a label to a byte range.
    pub(crate) fn label(mut self, label: &str, span: Range<usize>) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(label.to_owned()), span));
        self
    }

    /// Formats a label as `FILE:LINE:COLUMN: LABEL`.
    fn format_label(&self, label: &LabeledSpan) -> String {
        let contents = self.text.read_span(label.inner(), 0, 0);
        let (line, column) = contents.map_or((0, 0), |it| (it.line() + 1, it.column() + 1));
        format!("{}:{line}:{column}: {}", self.text.name(), label.label().unwrap_or_default())
    }
}

impl CommandError for SourceError {
    fn details(&self) -> Vec<String> {
        self.labels.iter().map(|label| self.format_label(label)).collect()
    }

    // Escaping lengthens the text, so each span moves with the bytes that it covers.
    fn snippet(&self) -> Option<(NamedSource<String>, Vec<LabeledSpan>)> {
        let text = self.text.inner();
        let escaped = |text: &str| escape::lines(&text.replace("\r\n", "\n")).to_string();
        let shown = escaped(text);
        let offset = |byte: usize| match shown == *text {
            true => byte,
            false => escaped(text.get(..byte).unwrap_or(text)).len(),
        };
        let labels = self.labels.iter().map(|label| {
            let (start, end) = (offset(label.offset()), offset(label.offset() + label.len()));
            let text = label.label().map(|label| escape::lines(label).to_string());
            LabeledSpan::new(text, start, end - start)
        });
        let labels = labels.collect();
        Some((NamedSource::new(escape::name(self.text.name()).to_string(), shown), labels))
    }
}

impl Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

impl Diagnostic for SourceError {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}
