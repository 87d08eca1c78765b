//! Tables of globs: what they match, and what is no glob.

use palisade_vfs::Descent;

use super::{Glob, GlobErrorKind as Kind};

#[track_caller]
fn check(glob: &str, matched: &[&str], others: &[&str]) {
    let read = Glob::new(glob).unwrap_or_else(|error| panic!("{glob}: {error}"));
    for (paths, expected) in [(matched, true), (others, false)] {
        for path in paths {
            assert_eq!(read.matches(Descent::new(path).unwrap()), expected, "{glob} on {path:?}");
        }
    }
}

#[test]
fn names_match_themselves_and_nothing_else() {
    check("/", &[""], &["a"]);
    check("/a", &["a"], &["", "A", "ab", "a/b", "b"]);
    check("/a/b.txt", &["a/b.txt"], &["a", "a/b-txt", "a/b.txt/c"]);
    check("/...", &["..."], &["a"]);
}
