//! The names of rights, and of sets of rights, in policies and explanations.

use palisade_vfs::Rights;

/// The single rights.
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

/// Named sets of rights, supersets first.
const SETS: [(&str, Rights); 7] = [
    ("all", Rights::all()),
    ("read", Rights::READ_ONLY),
    ("write", Rights::WRITE.union(Rights::SET_LEN).union(Rights::SET_TIMES)),
    ("create", Rights::CREATE_FILE.union(Rights::CREATE_DIR).union(Rights::CREATE_SYMLINK)),
    ("remove", Rights::REMOVE_FILE.union(Rights::REMOVE_DIR)),
    ("rename", Rights::RENAME_FROM.union(Rights::RENAME_INTO)),
    ("link", Rights::LINK_FROM.union(Rights::LINK_INTO)),
];

/// Returns the rights with this name.
#[must_use]
pub fn rights_by_name(name: &str) -> Option<Rights> {
    SETS.iter().chain(&SINGLE).find(|(known, _)| *known == name).map(|(_, rights)| *rights)
}

/// Returns the names of all sets and single rights, sets first.
pub fn right_names() -> impl Iterator<Item = &'static str> {
    SETS.iter().chain(&SINGLE).map(|(word, _)| *word)
}

/// Returns the fewest names whose union is `rights`, sets first, in a stable order.
#[must_use]
pub fn names_of_rights(rights: Rights) -> Vec<&'static str> {
    each_name_of_rights(rights).collect()
}

/// As [`names_of_rights`], as an iterator.
pub(crate) fn each_name_of_rights(rights: Rights) -> impl Iterator<Item = &'static str> {
    let mut left = rights;
    SETS.iter().chain(&SINGLE).filter_map(move |(word, set)| {
        let is_subset = left.contains(*set);
        if is_subset {
            left -= *set;
        }
        is_subset.then_some(*word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for bits in 0..=Rights::all().bits() {
            let rights = Rights::from_bits(bits).unwrap();
            let words = names_of_rights(rights);
            let parsed = words.iter().map(|word| rights_by_name(word).unwrap());
            assert_eq!(parsed.fold(Rights::empty(), Rights::union), rights, "{words:?}");
        }
        assert_eq!(names_of_rights(Rights::all()), ["all"]);
        assert_eq!(names_of_rights(Rights::READ_ONLY | Rights::REMOVE_DIR), ["read", "remove-dir"]);
    }

    #[test]
    fn names_are_unique() {
        let words: std::collections::BTreeSet<_> = right_names().collect();
        assert_eq!(words.len(), SETS.len() + SINGLE.len());
        let single = SINGLE.iter().fold(Rights::empty(), |all, (_, right)| all | *right);
        assert_eq!(single, Rights::all());
    }
}
