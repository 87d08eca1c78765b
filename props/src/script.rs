//! Scripts: one operation per line, with an optional expected outcome.
//!
//! A shrunk failure prints as a script, and the scripts in a file are replayed as regression tests.
//! ```
//! use palisade_props::Script;
//! let script = Script::parse(
//!     "mkdir a            # a comment
//!      rmdir a            => ok
//!      stat  a            => noent | notdir",
//! )?;
//! assert_eq!(script.lines.len(), 3);
//! # Ok::<(), String>(())
//! ```

use std::fmt;

use crate::op::Op;
use crate::outcome::Expect;
use crate::text::{Word, words};

/// A list of operations with expected outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The lines in order.
    pub lines: Vec<Line>,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The operation.
    pub op: Op,
    /// The acceptable outcomes; empty if the line has no expectation.
    pub expect: Vec<Expect>,
}

impl Script {
    /// Parses a script; empty lines and comments are skipped.
    ///
    /// # Errors
    ///
    /// A message with the line number.
    pub fn parse(text: &str) -> Result<Script, String> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let context = |why: String| format!("line {}: `{}`: {why}", number + 1, line.trim());
            let words = words(line).map_err(context)?;
            if !words.is_empty() {
                lines.push(Line::of_words(&words).map_err(context)?);
            }
        }
        Ok(Script { lines })
    }

    /// Returns a script without expectations.
    #[must_use]
    pub fn of_ops(ops: &[Op]) -> Script {
        let line = |op: &Op| Line { op: op.clone(), expect: Vec::new() };
        Script { lines: ops.iter().map(line).collect() }
    }

    /// Returns the operations without the expectations.
    #[must_use]
    pub fn ops(&self) -> Vec<Op> {
        self.lines.iter().map(|line| line.op.clone()).collect()
    }
}

impl Line {
    fn of_words(words: &[Word]) -> Result<Line, String> {
        let is = |what: &'static str| move |word: &Word| word.bare() == Some(what);
        let (op, expected) = match words.iter().position(is("=>")) {
            Some(at) => (words.get(..at).unwrap_or(&[]), words.get(at + 1..)),
            None => (words, None),
        };
        let mut expect = Vec::new();
        if let Some(expected) = expected {
            for one in expected.split(is("|")) {
                expect.push(Expect::of_words(one)?);
            }
        }
        Ok(Line { op: Op::of_words(op)?, expect })
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.op)?;
        for (nth, expect) in self.expect.iter().enumerate() {
            write!(f, " {} {expect}", if nth == 0 { "=>" } else { "|" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_round_trips_through_its_text_form() {
        let text = "mkdir a\nstat a => dir\nreaddir . => names a/ f l@\nread f => \"hi\"\n\
                    lstat f => file size 2 nlink 1 mtime 5.0 | noent\nreadlink l => -> a/b\n\
                    fwrite 0 \"x\" 0 => wrote 1\nfappend 0 \"x\" => appended 1 2\n\
                    open a read => opened dir\nmkdir b => ok\n";
        assert_eq!(Script::parse(text).map(|s| s.to_string()).as_deref(), Ok(text));
        for bad in ["mkdir a =>", "mkdir a => fly", "stat a => file big"] {
            assert!(Script::parse(bad).is_err(), "{bad}");
        }
    }
}
