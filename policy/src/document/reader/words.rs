//! Words in faults: as they were written, and the nearest that there is.

use palisade_vfs::escape;

/// How alike two words must be for one to be meant by the other.
const LIKENESS_MIN: f64 = 0.7;
/// The likeness of two words of which a single slip makes one the other: in short words such as
/// `src` and `scr` Jaro-Winkler finds too little in common.
const SLIP_LIKENESS: f64 = 0.75;
const SLIP_LEN_MIN: usize = 3;
/// The longest word that is compared: the time that takes grows with the square of its length.
const COMPARED_LEN_MAX: usize = 64;
/// The most words that are compared, and that are told.
const COMPARED_MAX: usize = 1000;
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

/// The word that is most like `unknown`, if one is.
pub(super) fn suggestion<'a>(
    unknown: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let known = known.filter(|it| it.len() <= COMPARED_LEN_MAX).take(COMPARED_MAX);
    let likely = known.filter_map(|it| Some((likeness(unknown, it)?, it)));
    likely.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, it)| it)
}

/// How much two words are alike, if one may be meant by the other.
pub(crate) fn likeness(one: &str, other: &str) -> Option<f64> {
    if one.len().max(other.len()) > COMPARED_LEN_MAX {
        return None;
    }
    let is_slip =
        one.len().min(other.len()) >= SLIP_LEN_MIN && strsim::osa_distance(one, other) == 1;
    let slip = if is_slip { SLIP_LIKENESS } else { 0.0 };
    Some(strsim::jaro_winkler(one, other).max(slip)).filter(|likeness| *likeness > LIKENESS_MIN)
}

/// What to say of a word that is not known: the nearest, and all that there are.
pub(super) fn instead(unknown: &str, known: &[&str]) -> String {
    let told: Vec<_> = known.iter().take(TOLD_MAX).map(|word| quoted(word)).collect();
    let (all, more) = (told.join(", "), if known.len() > TOLD_MAX { ", …" } else { "" });
    match suggestion(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Here one can say {all}{more}"),
        None => format!("here one can say {all}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nothing_far() {
        let known = ["read", "write", "create", "remove", "link"];
        for (unknown, near) in [
            ("raed", Some("read")),
            ("wirte", Some("write")),
            ("creat", Some("create")),
            ("lnk", Some("link")),
            ("delete", None),
            ("", None),
        ] {
            assert_eq!(suggestion(unknown, known.into_iter()), near, "{unknown}");
        }
    }

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
