//! The words for rights: what a person writes in a policy, and reads in an explanation.

use palisade_vfs::Rights;

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
}
