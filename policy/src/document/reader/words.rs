//! Quoted words and suggestions for fault messages.

use palisade_vfs::escape;

use crate::rules::suggestions::did_you_mean;

/// The maximum number of words that a help text lists.
const LISTED_MAX: usize = 40;
/// The maximum number of characters that a message quotes.
const QUOTED_MAX: usize = 100;

/// Returns the text escaped, truncated and in backquotes.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        None => format!("`{}`", escape::line(text)),
        Some((end, _)) => format!("`{}…`", escape::line(text.get(..end).unwrap_or_default())),
    }
}

/// Returns a help text for an unknown word: the nearest known word, and all known words.
pub(super) fn instead(unknown: &str, known: &[&str]) -> String {
    let listed: Vec<_> = known.iter().take(LISTED_MAX).map(|word| quoted(word)).collect();
    let (all, more) = (listed.join(", "), if known.len() > LISTED_MAX { ", …" } else { "" });
    match did_you_mean(unknown, known) {
        Some(question) => format!("{question} Expected one of {all}{more}"),
        None => format!("expected one of {all}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_truncates_between_characters() {
        assert_eq!(quoted("a`b"), "`a`b`");
        assert_eq!(quoted(&"ä".repeat(101)), format!("`{}…`", "ä".repeat(100)));
        assert_eq!(quoted(&"ä".repeat(100)), format!("`{}`", "ä".repeat(100)));
    }

    #[test]
    fn help_lists_a_bounded_number_of_words() {
        let known: Vec<String> = (0..50).map(|n| format!("set{n}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = instead("zzz", &known);
        assert!(help.contains("`set39`, …") && !help.contains("set40"), "{help}");
    }
}
