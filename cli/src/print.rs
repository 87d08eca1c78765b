//! Writes to the standard output and the standard error of the command.
//!
//! Foreign text is escaped where it is embedded in a message ([`escape::name`], [`escape::line`]).
//! The functions here escape the whole text once more, except newlines and tabs, so that a missing
//! escape cannot send control characters to a terminal. `tests/tidy.rs` forbids all other printing
//! in this crate.

use std::io::{self, BufWriter, Write};

use palisade::vfs::escape;
use serde::Serialize;

use crate::error::{Error, HostError};

/// The format of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines of text.
    Text,
    /// One JSON value.
    Json,
}

impl Format {
    /// Returns the format that `--json` selects.
    pub(crate) fn from_json_flag(json: bool) -> Self {
        if json { Format::Json } else { Format::Text }
    }
}

/// Prints text to standard output. A closed pipe is not an error.
pub(crate) fn out(text: &str) -> Result<(), Error> {
    bytes_out(escape::lines(text).to_string().as_bytes())
}

/// Prints bytes to standard output unescaped: only for text of this program, such as shell
/// completions.
pub(crate) fn bytes_out(bytes: &[u8]) -> Result<(), Error> {
    out_with(|out| out.write_all(bytes))
}

/// Prints to standard output piece by piece. `write` must escape each piece.
pub(crate) fn out_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(HostError::Stdout(why).into()),
        _ => Ok(()),
    }
}

/// Prints to standard error piece by piece. `write` must escape each piece.
pub(crate) fn err_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut err = BufWriter::new(io::stderr().lock());
    // A failure to write to standard error cannot be reported anywhere.
    let _ = write(&mut err).and_then(|()| err.flush());
}

/// Prints text to standard error. A failure is ignored: it must not end the guest.
pub(crate) fn err(text: &str) {
    styled_err(&escape::lines(text).to_string());
}

/// Prints an error to standard error, as text or as one line of JSON.
pub(crate) fn report(error: &Error, format: Format) {
    match json_line(&error.to_json()) {
        Ok(line) if format == Format::Json => err(&line),
        _ => styled_err(&error.to_terminal()),
    }
}

/// Prints text whose parts were escaped before colors were added.
fn styled_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Formats a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(|why| HostError::Stdout(why.into()))?;
    Ok(escape::json(&text).into_owned() + "\n")
}

/// Formats a value as indented JSON.
pub(crate) fn json_page(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|why| HostError::Stdout(why.into()))?;
    Ok(escape::json(&text).into_owned() + "\n")
}

/// Formats names as a list in backquotes, escaped.
pub(crate) fn quoted_list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{}`", escape::name(name))).collect();
    names.join(", ")
}
