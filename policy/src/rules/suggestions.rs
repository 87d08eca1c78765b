//! Spelling suggestions for unknown words: aliases of other tools, and string similarity.

use palisade_vfs::escape;

/// How alike two words must be for one to be meant by the other.
const LIKENESS_MIN: f64 = 0.7;
/// The likeness of two words of which a single slip makes one the other: in short words such as
/// `src` and `scr` Jaro-Winkler finds too little in common.
const SLIP_LIKENESS: f64 = 0.75;
const SLIP_LEN_MIN: usize = 3;
/// The longest word that is compared: the time that takes grows with the square of its length.
const COMPARED_LEN_MAX: usize = 64;
/// The most words that are compared.
const COMPARED_MAX: usize = 1000;

/// Words of other tools and systems, each with the words for the same here: of rights, of
/// operations, or of both.
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

/// The words of `known` that are likely meant by `unknown`: those that say the same as a word of
/// other tools, or else the one that is most like it.
#[must_use]
pub fn likely_words<'a>(unknown: &str, known: &[&'a str]) -> Vec<&'a str> {
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
            // Of rights, the first word is a set, which says what its parts say.
            let has_sets = find("all").is_some();
            return if has_sets { ours.into_iter().take(1).collect() } else { ours };
        }
    }
    let known = known.iter().filter(|it| it.len() <= COMPARED_LEN_MAX).take(COMPARED_MAX);
    let likely = known.filter_map(|it| {
        let both = [likeness(written, it), likeness(&unknown, it)];
        Some((both.into_iter().flatten().max_by(f64::total_cmp)?, *it))
    });
    likely.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, it)| it).into_iter().collect()
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

/// `did you mean `a` or `b`?`, if some word is likely meant.
#[must_use]
pub fn did_you_mean(unknown: &str, known: &[&str]) -> Option<String> {
    let words = likely_words(unknown, known);
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", escape::name(word))).collect();
    (!words.is_empty()).then(|| format!("did you mean {}?", words.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::operation::Operation;
    use crate::rules::right_names::right_words;

    #[test]
    fn words_of_other_tools_lead_to_the_words_here() {
        let rights: Vec<_> = right_words().collect();
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
            assert_eq!(likely_words(unknown, &rights), of_rights, "{unknown}");
            assert_eq!(likely_words(unknown, &operations), of_operations, "{unknown}");
        }
        for word in ALIASES.iter().flat_map(|(_, ours)| *ours) {
            assert!(rights.contains(word) || operations.contains(word), "{word}");
        }
    }
}
