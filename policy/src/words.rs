//! The words for rights: what a person writes in a policy, and reads in an explanation.

use palisade_vfs::Rights;
#[cfg(feature = "document")]
use palisade_vfs::escape;

/// Every right by itself.
const SINGLE: [(&str, Rights); 17] = [
    ("lookup", Rights::LOOKUP),
    ("stat", Rights::STAT),
    ("read-bytes", Rights::READ),
    ("write-bytes", Rights::WRITE),
    ("set-len", Rights::SET_LEN),
    ("set-times", Rights::SET_TIMES),
    ("list", Rights::LIST),
    ("read-link", Rights::READ_LINK),
    ("create-file", Rights::CREATE_FILE),
    ("create-dir", Rights::CREATE_DIR),
    ("create-symlink", Rights::CREATE_SYMLINK),
    ("remove-file", Rights::REMOVE_FILE),
    ("remove-dir", Rights::REMOVE_DIR),
    ("rename-from", Rights::RENAME_FROM),
    ("rename-into", Rights::RENAME_INTO),
    ("link-from", Rights::LINK_FROM),
    ("link-into", Rights::LINK_INTO),
];

/// Sets that have a word of their own, the larger before the smaller.
const SETS: [(&str, Rights); 7] = [
    ("all", Rights::all()),
    ("read", Rights::READ_ONLY),
    ("write", Rights::WRITE.union(Rights::SET_LEN).union(Rights::SET_TIMES)),
    ("create", Rights::CREATE_FILE.union(Rights::CREATE_DIR).union(Rights::CREATE_SYMLINK)),
    ("remove", Rights::REMOVE_FILE.union(Rights::REMOVE_DIR)),
    ("rename", Rights::RENAME_FROM.union(Rights::RENAME_INTO)),
    ("link", Rights::LINK_FROM.union(Rights::LINK_INTO)),
];

/// The rights that a word means, if it means any.
#[must_use]
pub fn rights_of_word(word: &str) -> Option<Rights> {
    SETS.iter().chain(&SINGLE).find(|(known, _)| *known == word).map(|(_, rights)| *rights)
}

/// Every word that there is for rights, sets first.
pub fn right_words() -> impl Iterator<Item = &'static str> {
    SETS.iter().chain(&SINGLE).map(|(word, _)| *word)
}

/// As few words as say exactly these rights: sets where they fit, in a stable order.
#[must_use]
pub fn words_of_rights(rights: Rights) -> Vec<&'static str> {
    each_word_of_rights(rights).collect()
}

/// The words of [`words_of_rights`], one by one.
pub(crate) fn each_word_of_rights(rights: Rights) -> impl Iterator<Item = &'static str> {
    let mut left = rights;
    SETS.iter().chain(&SINGLE).filter_map(move |(word, set)| {
        let is_whole = left.contains(*set);
        if is_whole {
            left -= *set;
        }
        is_whole.then_some(*word)
    })
}

/// How alike two words must be for one to be meant by the other.
#[cfg(feature = "document")]
const LIKENESS_MIN: f64 = 0.7;
/// The likeness of two words of which a single slip makes one the other: in short words such as
/// `src` and `scr` Jaro-Winkler finds too little in common.
#[cfg(feature = "document")]
const SLIP_LIKENESS: f64 = 0.75;
#[cfg(feature = "document")]
const SLIP_LEN_MIN: usize = 3;
/// The longest word that is compared: the time that takes grows with the square of its length.
#[cfg(feature = "document")]
const COMPARED_LEN_MAX: usize = 64;
/// The most words that are compared.
#[cfg(feature = "document")]
const COMPARED_MAX: usize = 1000;

/// Words of other tools and systems, each with the words for the same here: of rights, of
/// operations, or of both.
#[cfg(feature = "document")]
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
#[cfg(feature = "document")]
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
#[cfg(feature = "document")]
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
#[cfg(feature = "document")]
#[must_use]
pub fn did_you_mean(unknown: &str, known: &[&str]) -> Option<String> {
    let words = likely_words(unknown, known);
    let words: Vec<_> = words.iter().map(|word| format!("`{}`", escape::name(word))).collect();
    (!words.is_empty()).then(|| format!("did you mean {}?", words.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_exactly_the_rights_that_they_were_made_of() {
        for bits in 0..=Rights::all().bits() {
            let rights = Rights::from_bits(bits).unwrap();
            let words = words_of_rights(rights);
            let said = words.iter().map(|word| rights_of_word(word).unwrap());
            assert_eq!(said.fold(Rights::empty(), Rights::union), rights, "{words:?}");
        }
        assert_eq!(words_of_rights(Rights::all()), ["all"]);
        assert_eq!(words_of_rights(Rights::READ_ONLY | Rights::REMOVE_DIR), ["read", "remove-dir"]);
    }

    #[test]
    fn no_word_has_two_meanings() {
        let words: std::collections::BTreeSet<_> = right_words().collect();
        assert_eq!(words.len(), SETS.len() + SINGLE.len());
        let single = SINGLE.iter().fold(Rights::empty(), |all, (_, right)| all | *right);
        assert_eq!(single, Rights::all());
    }

    #[cfg(feature = "document")]
    #[test]
    fn words_of_other_tools_lead_to_the_words_here() {
        let rights: Vec<_> = right_words().collect();
        let operations: Vec<_> = crate::Operation::NAMED.iter().map(|(name, _)| *name).collect();
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
