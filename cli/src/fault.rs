//! Where something was asked for, and refusals that point at a line of `palisade.toml`.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use palisade::vfs::escape;

use crate::error::Error;

/// The text of a `palisade.toml`, with its name.
pub(crate) type Text = Arc<NamedSource<String>>;

/// Where something was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// By this option of the command line.
    Option(&'static str),
    /// In these bytes of the file, by this key.
    File { key: &'static str, text: Text, span: Range<usize> },
}

/// A refusal that points at the file.
#[derive(Debug)]
pub(crate) struct Fault {
    message: String,
    code: String,
    help: Option<String>,
    text: Text,
    labels: Vec<LabeledSpan>,
}

impl Said {
    /// The option or the key.
    pub(crate) fn by(&self) -> &'static str {
        match self {
            Said::Option(option) => option,
            Said::File { key, .. } => key,
        }
    }

    /// Has an error point at the place, if that is in the file and it does not yet point at one.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match (self, error) {
            (Said::Option(_), error) => error,
            (Said::File { .. }, error @ Error::File(_)) => error,
            (Said::File { text, span, .. }, error) => Fault::new(text, error.to_string())
                .with_code(error.code().map(|code| code.to_string()))
                .with_help(error.help().map(|help| help.to_string()))
                .label("here", span.clone())
                .into(),
        }
    }
}

impl Fault {
    /// A refusal that says this.
    pub(crate) fn new(text: &Text, message: impl Into<String>) -> Self {
        Fault {
            message: message.into(),
            code: "palisade::file".to_owned(),
            help: None,
            text: Arc::clone(text),
            labels: Vec::new(),
        }
    }

    fn with_code(self, code: Option<String>) -> Self {
        Fault { code: code.unwrap_or(self.code), ..self }
    }

    /// What to do.
    pub(crate) fn with_help(self, help: Option<String>) -> Self {
        Fault { help, ..self }
    }

    /// One more place to look at.
    pub(crate) fn label(mut self, label: &str, span: Range<usize>) -> Self {
        self.labels.push(LabeledSpan::new_with_span(Some(label.to_owned()), span));
        self
    }

    /// The places as `FILE:LINE:COLUMN: LABEL`.
    pub(crate) fn places(&self) -> Vec<String> {
        self.labels.iter().map(|label| self.place(label)).collect()
    }

    /// The text and the labels as a terminal can show them: spans move with what they point at.
    pub(crate) fn escaped(&self) -> (NamedSource<String>, Vec<LabeledSpan>) {
        let text = self.text.inner();
        let escaped = |text: &str| escape::lines(&text.replace("\r\n", "\n")).to_string();
        let shown = escaped(text);
        let at = |byte: usize| match shown == *text {
            true => byte,
            false => escaped(text.get(..byte).unwrap_or(text)).len(),
        };
        let labels = self.labels.iter().map(|label| {
            let (start, end) = (at(label.offset()), at(label.offset() + label.len()));
            let words = label.label().map(|label| escape::lines(label).to_string());
            LabeledSpan::new(words, start, end - start)
        });
        let labels = labels.collect();
        (NamedSource::new(escape::name(self.text.name()).to_string(), shown), labels)
    }

    fn place(&self, label: &LabeledSpan) -> String {
        let contents = self.text.read_span(label.inner(), 0, 0);
        let (line, column) = contents.map_or((0, 0), |it| (it.line() + 1, it.column() + 1));
        format!("{}:{line}:{column}: {}", self.text.name(), label.label().unwrap_or_default())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::File(Box::new(fault))
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
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
