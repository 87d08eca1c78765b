//! Spelling suggestions for unknown words: aliases of other tools, and string similarity.

use palisade_vfs::escape;

/// The least similarity of a suggestion.
const SIMILARITY_MIN: f64 = 0.7;
/// The similarity of two words at edit distance 1. In short words such as `src` and `scr` the
/// Jaro-Winkler similarity is too low.
const TYPO_SIMILARITY: f64 = 0.75;
const TYPO_LEN_MIN: usize = 3;
/// The longest word that is compared, in bytes: the time is quadratic in the length.
const COMPARED_LEN_MAX: usize = 64;
/// The most words that are compared.
const COMPARED_MAX: usize = 1000;

/// Words of other tools and systems, each with the names of equivalent rights and operations.
const ALIASES: [(&[&str], &[&str]); 17] = [
    (
        &["delete", "del", "rm", "erase", "unlink", "remove"],
        &["remove", "remove-file", "remove-dir"],
    ),
    (&["rmdir", "delete-dir", "delete-directory"], &["remove-dir"]),
    (&["delete-file", "unlink-file"], &["remove-file"]),
    (&["mkdir", "makedir", "create-directory"], &["create-dir"]),
    (&["mknod", "new", "make", "creat", "add"], &["create"]),
    (&["symlink", "ln-s", "soft-link"], &["create-symlink"]),
    (&["hardlink", "hard-link", "ln", "link"], &["link", "link-from", "link-into"]),
    (&["rename", "move", "mv"], &["rename", "rename-from", "rename-into"]),
    (&["ls", "dir", "readdir", "read-dir", "browse", "enumerate"], &["list", "open-dir"]),
    (&["readlink", "follow"], &["read-link"]),
    (&["get", "view", "cat", "exec", "execute", "run"], &["read", "open-read"]),
    (&["open"], &["open-read", "open-write", "read"]),
    (&["put", "edit", "modify", "update", "append", "change"], &["write", "open-write"]),
    (&["truncate", "resize", "ftruncate", "set-size"], &["set-len"]),
    (&["touch", "utime", "utimes", "utimens", "chtimes"], &["set-times"]),
    (&["search", "traverse", "access", "metadata", "attributes"], &["lookup", "stat"]),
    (&["everything", "any", "full", "*", "rw", "rwx", "admin"], &["all"]),
];

/// Returns the words of `known` that `unknown` probably stands for: the equivalents of an alias, or
/// else the most similar word.
#[must_use]
pub fn suggest_words<'a>(unknown: &str, known: &[&'a str]) -> Vec<&'a str> {
    if unknown.len() > COMPARED_LEN_MAX {
        return Vec::new();
    }
    let written = unknown;
    let unknown = unknown.to_ascii_lowercase().replace(['_', ' '], "-");
    let find = |word: &str| known.iter().find(|it| **it == word).copied();
    if let Some(word) = find(&unknown) {
        return vec![word];
    }
    for (others, ours) in ALIASES {
        let ours: Vec<_> = ours.iter().filter_map(|word| find(word)).collect();
        if others.contains(&&*unknown) && !ours.is_empty() {
            // The first name of rights is a set, which contains the others.
            let has_sets = find("all").is_some();
            return if has_sets { ours.into_iter().take(1).collect() } else { ours };
        }
    }
    let known = known.iter().filter(|it| it.len() <= COMPARED_LEN_MAX).take(COMPARED_MAX);
    let suggested = known.filter_map(|it| {
        let both = [similarity(written, it), similarity(&unknown, it)];
        Some((both.into_iter().flatten().max_by(f64::total_cmp)?, *it))
    });
    suggested.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, it)| it).into_iter().collect()
}

/// Returns the similarity of two words, from 0 to 1, if it is high enough for a suggestion.
pub(crate) fn similarity(one: &str, other: &str) -> Option<f64> {
    if one.len().max(other.len()) > COMPARED_LEN_MAX {
        return None;
    }
    let is_typo =
        one.len().min(other.len()) >= TYPO_LEN_MIN && strsim::osa_distance(one, other) == 1;
    let typo = if is_typo { TYPO_SIMILARITY } else { 0.0 };
    Some(strsim::jaro_winkler(one, other).max(typo))
        .filter(|similarity| *similarity > SIMILARITY_MIN)
}

/// Returns the text "did you mean `a` or `b`?", if there is a suggestion.
#[must_use]
pub fn did_you_mean(unknown: &str, known: &[&str]) -> Option<String> {
    let words = suggest_words(unknown, known);
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", escape::name(word))).collect();
    (!words.is_empty()).then(|| format!("did you mean {}?", words.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::operation::Operation;
    use crate::rules::right_names::right_names;

    #[test]
    fn aliases_of_other_tools_are_suggested() {
        let rights: Vec<_> = right_names().collect();
        let operations: Vec<_> = Operation::NAMED.iter().map(|(name, _)| *name).collect();
        for (unknown, of_rights, of_operations) in [
            ("delete", &["remove"][..], &["remove-file", "remove-dir"][..]),
            ("unlink", &["remove"], &["remove-file", "remove-dir"]),
            ("rm", &["remove"], &["remove-file", "remove-dir"]),
            ("remove", &["remove"], &["remove-file", "remove-dir"]),
            ("RMDIR", &["remove-dir"], &["remove-dir"]),
            ("rename", &["rename"], &["rename-from", "rename-into"]),
            ("mv", &["rename"], &["rename-from", "rename-into"]),
            ("link", &["link"], &["link-from", "link-into"]),
            ("mkdir", &["create-dir"], &["create-dir"]),
            ("ls", &["list"], &["list", "open-dir"]),
            ("exec", &["read"], &["read", "open-read"]),
            ("truncate", &["set-len"], &["truncate"]),
            ("read_bytes", &["read-bytes"], &["read"]),
            ("open", &["read"], &["open-read", "open-write", "read"]),
            ("raed", &["read"], &["read"]),
            ("wirte", &["write"], &["write"]),
            ("creat", &["create"], &["create"]),
            ("lnk", &["link"], &["link-into"]),
            ("fly", &[], &[]),
            ("", &[], &[]),
        ] {
            assert_eq!(suggest_words(unknown, &rights), of_rights, "{unknown}");
            assert_eq!(suggest_words(unknown, &operations), of_operations, "{unknown}");
        }
        for word in ALIASES.iter().flat_map(|(_, ours)| *ours) {
            assert!(rights.contains(word) || operations.contains(word), "{word}");
        }
    }
}
