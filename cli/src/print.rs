//! Standard output and standard error of the command.
//!
//! Foreign text is escaped where it is embedded in a message ([`escape::name`], [`escape::line`]).
//! The functions here escape once more whatever is left but newlines and tabs, so that a forgotten
//! escape cannot reach a terminal. A test keeps all other printing out of this crate.

use std::io::{self, BufWriter, Write};

use palisade::vfs::escape;
use serde::Serialize;

use crate::error::Error;

/// Prints text to standard output. A reader that has gone is no failure.
pub(crate) fn out(text: &str) -> Result<(), Error> {
    bytes_out(escape::lines(text).to_string().as_bytes())
}

/// Prints text of this program alone to standard output, such as shell completions.
pub(crate) fn bytes_out(bytes: &[u8]) -> Result<(), Error> {
    out_with(|out| out.write_all(bytes))
}

/// Prints to standard output piece by piece. Each piece must be escaped.
pub(crate) fn out_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Error::Write(why)),
        _ => Ok(()),
    }
}

/// Prints to standard error piece by piece. Each piece must be escaped.
pub(crate) fn err_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
    let mut err = BufWriter::new(io::stderr().lock());
    // There is nowhere to report that standard error cannot be written.
    let _ = write(&mut err).and_then(|()| err.flush());
}

/// Prints text to standard error. A standard error that cannot be written must not end the guest.
pub(crate) fn err(text: &str) {
    styled_err(&escape::lines(text).to_string());
}

/// Prints to standard error text whose parts were escaped before colors were added.
pub(crate) fn styled_err(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value).map_err(|why| Error::Write(why.into()))?;
    Ok(escape::json(&text).into_owned() + "\n")
}

/// A value as indented JSON.
pub(crate) fn json_page(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|why| Error::Write(why.into()))?;
    Ok(escape::json(&text).into_owned() + "\n")
}
