//! Words in faults: as they were written, and the nearest that there is.

use palisade_vfs::escape;

use crate::did_you_mean;

/// The most words that are told.
const TOLD_MAX: usize = 40;
/// Characters of a text that are told.
const QUOTED_MAX: usize = 100;

/// Escapes a text and puts it in backquotes, cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        None => format!("`{}`", escape::line(text)),
        Some((end, _)) => format!("`{}…`", escape::line(text.get(..end).unwrap_or_default())),
    }
}

/// What to say of a word that is not known: the nearest, and all that there are.
pub(super) fn instead(unknown: &str, known: &[&str]) -> String {
    let told: Vec<_> = known.iter().take(TOLD_MAX).map(|word| quoted(word)).collect();
    let (all, more) = (told.join(", "), if known.len() > TOLD_MAX { ", …" } else { "" });
    match did_you_mean(unknown, known) {
        Some(question) => format!("{question} Here one can say {all}{more}"),
        None => format!("here one can say {all}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(quoted("a`b"), "`a`b`");
        assert_eq!(quoted(&"ä".repeat(101)), format!("`{}…`", "ä".repeat(100)));
        assert_eq!(quoted(&"ä".repeat(100)), format!("`{}`", "ä".repeat(100)));
    }

    #[test]
    fn no_more_words_are_told_than_one_can_read() {
        let known: Vec<String> = (0..50).map(|n| format!("set{n}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = instead("zzz", &known);
        assert!(help.contains("`set39`, …") && !help.contains("set40"), "{help}");
    }
}
