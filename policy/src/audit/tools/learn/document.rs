//! Renders a learned policy as a commented policy document.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use palisade_vfs::{Rights, escape};

use super::{Learned, LearnedRule};
use crate::rules::right_names::names_of_rights;

/// The document, in the format of [`crate::document`].
impl fmt::Display for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Learned from {}.", count(self.decisions, "decision"))?;
        if self.left_out > 0 {
            let left_out = count(self.left_out, "event");
            writeln!(f, "# {left_out} left out: refused when recorded, or too many.")?;
        }
        writeln!(f, "version = 1")?;
        let mut groups: BTreeMap<Rights, Vec<&LearnedRule>> = BTreeMap::new();
        for rule in &self.rules {
            groups.entry(rule.rights).or_default().push(rule);
        }
        for (rights, rules) in groups {
            let accesses: u64 = rules.iter().map(|rule| rule.accesses).sum();
            let (accesses, patterns) = (count(accesses, "access"), paths(rules.len() as u64));
            writeln!(f, "\n# {accesses}, {patterns}\n[[allow]]\npath = [")?;
            for rule in rules {
                let seen = match rule.paths {
                    0 => "for what was renamed there and on".to_owned(),
                    1 => count(rule.accesses, "access"),
                    seen => format!("{}, {}", count(rule.accesses, "access"), paths(seen as u64)),
                };
                let note = if rule.is_sensitive { "; looks like a secret" } else { "" };
                writeln!(f, "  {}, # {seen}{note}", quoted(&rule.glob))?;
            }
            writeln!(f, "]\nrights = [{}]", words(rights))?;
        }
        if !self.denied.is_empty() {
            writeln!(f, "\n# Not covered by the patterns above.\n[[deny]]\npath = [")?;
            for glob in &self.denied {
                writeln!(f, "  {},", quoted(glob))?;
            }
            writeln!(f, "]")?;
        }
        if !self.proposals.is_empty() {
            writeln!(f, "\n# Could be said shorter; each would allow more than was seen.")?;
        }
        for rule in &self.proposals {
            let (path, seen) = (quoted(&rule.glob), paths(rule.paths as u64));
            let accesses = count(rule.accesses, "access");
            writeln!(f, "# path = {path} for [{}]: {seen}, {accesses}", words(rule.rights))?;
        }
        Ok(())
    }
}

fn words(rights: Rights) -> String {
    let words: Vec<_> = names_of_rights(rights).iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}

fn paths(number: u64) -> String {
    count(number, "path")
}

fn count(number: u64, what: &str) -> String {
    match (number, what) {
        (1, _) => format!("1 {what}"),
        (_, "access") => format!("{number} accesses"),
        _ => format!("{number} {what}s"),
    }
}

/// Returns a TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if escape::must_escape(char) => {
                let code = u32::from(char);
                let _ = match u16::try_from(code) {
                    Ok(code) => write!(quoted, "\\u{code:04X}"),
                    Err(_) => write!(quoted, "\\U{code:08X}"),
                };
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
