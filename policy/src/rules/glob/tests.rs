//! Table-driven tests of glob matching and glob syntax errors.

use palisade_vfs::Descent;

use super::{Glob, GlobErrorKind as Kind};

#[track_caller]
fn check(glob: &str, matched: &[&str], others: &[&str]) {
    let read = Glob::new(glob).unwrap_or_else(|error| panic!("{glob}: {error}"));
    assert_eq!(read.as_str(), glob);
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
    check("/a,b]!^-", &["a,b]!^-"], &["a"]);
    check("/é", &["é"], &["e\u{301}", "É"]);
}

#[test]
fn star_stays_within_its_name() {
    check("/*", &["a", ".a", "...", "é"], &["", "a/b"]);
    check("/a*", &["a", "ab", "a*"], &["ba", "a/b"]);
    check("/*.txt", &[".txt", "a.txt", "a.txt.txt"], &["a.txt/b", "a.tx", "txt"]);
    check("/a*b*c", &["abc", "aXbXc", "abbcc"], &["acb", "ab"]);
    check("/*/b", &["a/b"], &["b", "a/a/b"]);
}

#[test]
fn question_mark_matches_one_character_not_one_byte() {
    check("/?", &["a", "é", "中", "\u{10ffff}"], &["", "ab", "e\u{301}"]);
    check("/??", &["ab", "é中"], &["a", "é"]);
    check("/?*", &["a", "ab"], &[""]);
}

#[test]
fn classes_match_characters() {
    check("/[ab]", &["a", "b"], &["c", "ab", "A"]);
    check("/[a-c]x", &["ax", "cx"], &["dx", "x"]);
    check("/[!a-c]", &["d", "é", "!"], &["a", "b", "c"]);
    check("/[a-]", &["a", "-"], &["b"]);
    check("/[-a]", &["a", "-"], &["b"]);
    check("/[\\]\\-x]", &["]", "-", "x"], &["\\", "y"]);
    check("/[é-ï]", &["é", "ë", "ï"], &["e", "ð"]);
    check("/[*?{,}]", &["*", "?", "{", ",", "}"], &["a"]);
    check("/[a-z0-9_]", &["a", "5", "_"], &["A", "-"]);
    check("/[.-0]", &["0"], &["1", "-"]);
    check("/[a!]", &["a", "!"], &["b"]);
}

#[test]
fn alternatives_match_within_one_name() {
    check("/{a,b}", &["a", "b"], &["c", "ab", "a,b"]);
    check("/x{a,}y", &["xay", "xy"], &["xa", "x"]);
    check("/{a{b,c},d*}e", &["abe", "ace", "de", "dxe"], &["ae", "bce"]);
    check("/{a,b}/{c,d}", &["a/c", "b/d"], &["a/b", "a"]);
    check("/{a\\,b,c\\}}", &["a,b", "c}"], &["a", "b"]);
    check("/{,.,..,a}", &["a"], &["...", "b"]);
    check("/{[ab],?x}", &["a", "b", "cx"], &["x", "c"]);
}

#[test]
fn double_star_matches_any_number_of_names() {
    check("/**", &["", "a", "a/b/c"], &[]);
    check("/data/**", &["data", "data/a", "data/a/b"], &["", "database", "b/data"]);
    check("/**/x", &["x", "a/x", "a/b/x"], &["x/a", ""]);
    check("/a/**/b", &["a/b", "a/x/b", "a/b/b"], &["a", "b", "a/b/c"]);
    check("/**/a/**", &["a", "x/a", "a/x", "x/a/x"], &["", "x"]);
    check("/**/**/a/**/**", &["a", "x/a/y"], &["x"]);
    check("/**/*", &["a", "a/b"], &[""]);
    check("/\\*\\*", &["**"], &["a"]);
}

#[test]
fn backslash_escapes_the_next_character() {
    check("/\\*", &["*"], &["a", "\\*"]);
    check("/\\[a\\]", &["[a]"], &["a"]);
    check("/\\{a,b\\}", &["{a,b}"], &["a"]);
    check("/\\@(a)", &["@(a)"], &["a"]);
    check("/@\\(a|b)", &["@(a|b)"], &["a", "b"]);
    check("/*\\(1)", &["x(1)", "(1)"], &["x"]);
    check("/\\{1..3\\}", &["{1..3}"], &["1"]);
    check("/[\\[:a]", &["[", ":", "a"], &["b"]);
    check("/a(b)", &["a(b)"], &["ab"]);
    check("/a|b", &["a|b"], &["a"]);
    check("/!a", &["!a"], &["a"]);
    check("/a\\-b\\\\", &["a-b\\"], &["a\\-b\\\\"]);
}

#[test]
fn matches_under_detects_descendants() {
    for (glob, path, expected) in [
        ("/a/b", "", true),
        ("/a/b", "a", true),
        ("/a/b", "a/b", false),
        ("/a/b", "b", false),
        ("/a/**", "a/b/c", true),
        ("/**/a", "x/y", true),
        ("/", "", false),
        ("/*/{b,c}", "x", true),
    ] {
        let glob = Glob::new(glob).unwrap();
        assert_eq!(glob.matches_under(Descent::new(path).unwrap()), expected, "{glob} {path}");
    }
}

#[test]
fn syntax_errors_have_their_kind_and_span() {
    let long = format!("/{}", "x".repeat(256));
    let wide = format!("/{}", "?".repeat(256));
    let path = "/a".repeat(2049);
    for (text, kind, span) in [
        ("", Kind::Relative, 0..0),
        ("a", Kind::Relative, 0..1),
        ("é/a", Kind::Relative, 0..2),
        ("**", Kind::Relative, 0..1),
        ("//", Kind::EmptyName, 0..1),
        ("/a/", Kind::EmptyName, 2..3),
        ("/a//b", Kind::EmptyName, 2..3),
        ("/.", Kind::DotName, 1..2),
        ("/a/../b", Kind::DotName, 3..5),
        ("/[.]", Kind::Unmatchable, 1..4),
        ("/\\.", Kind::Unmatchable, 1..3),
        ("/{.,..}", Kind::Unmatchable, 1..7),
        ("/{}", Kind::Unmatchable, 1..3),
        ("/{,}", Kind::Unmatchable, 1..4),
        ("/[.][.]", Kind::Unmatchable, 1..7),
        ("/**a", Kind::DeepInName, 1..3),
        ("/a**", Kind::DeepInName, 2..4),
        ("/***", Kind::DeepInName, 1..3),
        ("/{**,a}", Kind::DeepInName, 2..4),
        ("/[", Kind::OpenClass, 1..2),
        ("/[a", Kind::OpenClass, 1..2),
        ("/[a/b]", Kind::OpenClass, 1..2),
        ("/[a-", Kind::OpenClass, 1..2),
        ("/[!", Kind::OpenClass, 1..2),
        ("/[]", Kind::EmptyClass, 1..3),
        ("/[!]", Kind::EmptyClass, 1..4),
        ("/[!\u{1}-\u{10ffff}]", Kind::EmptyClass, 1..10),
        ("/[z-a]", Kind::BackwardRange, 2..5),
        ("/[^a]", Kind::CaretClass, 2..3),
        ("/{a", Kind::OpenBrace, 1..2),
        ("/{a/b,c}", Kind::OpenBrace, 1..2),
        ("/a}", Kind::LoneBrace, 2..3),
        ("/a\\", Kind::OpenEscape, 2..3),
        ("/a\\/b", Kind::OpenEscape, 2..3),
        ("/[\\", Kind::OpenEscape, 2..3),
        ("/a\0b", Kind::Nul, 2..3),
        (&long, Kind::NameTooLong, 1..257),
        (&wide, Kind::NameTooLong, 1..257),
        (&path, Kind::TooLong, 0..4098),
        ("/{{{{{{{{{a", Kind::TooDeep, 9..10),
        ("/@(a|b)", Kind::ExtendedGlob, 1..3),
        ("/x+(x)", Kind::ExtendedGlob, 2..4),
        ("/a*(1)", Kind::ExtendedGlob, 2..4),
        ("/{a,@(b)}", Kind::ExtendedGlob, 4..6),
        ("/(a|b)", Kind::Parentheses, 3..4),
        ("/[[:alpha:]]", Kind::NamedClass, 2..4),
        ("/[a[:digit:]]", Kind::NamedClass, 3..5),
        ("/[[=a=]]", Kind::NamedClass, 2..4),
        ("/[[.a.]]", Kind::NamedClass, 2..4),
        ("/[:alpha:]", Kind::NamedClass, 1..10),
        ("/x{1..3}", Kind::Sequence, 2..8),
        ("/{a..z..2}", Kind::Sequence, 1..10),
        ("!/a", Kind::Negation, 0..1),
        ("/\\d", Kind::LetterEscape, 1..3),
        ("/a\\w*", Kind::LetterEscape, 2..4),
        ("/[\\s]", Kind::LetterEscape, 2..4),
        ("/${A}", Kind::NoVariables, 1..5),
    ] {
        let error = Glob::new(text).unwrap_err();
        assert_eq!((error.kind, error.span.clone()), (kind, span.clone()), "{text:?}");
        assert!(text.get(span).is_some(), "{text:?}: the span is within characters");
        assert!(!error.to_string().is_empty() && !kind.help().is_empty());
    }
}

#[test]
fn extended_globs_are_rejected_for_each_prefix() {
    for sign in ["@", "+", "!", "?", "*"] {
        let error = Glob::new(&format!("/a{sign}(b)")).unwrap_err();
        assert_eq!((error.kind, error.span), (Kind::ExtendedGlob, 2..4), "{sign}");
    }
}

#[test]
fn longest_names_and_globs_are_accepted() {
    let name = "x".repeat(255);
    check(&format!("/{name}"), &[&name], &[&name[1..]]);
    let wide = format!("/{}", "é".repeat(127));
    assert!(Glob::new(&wide).is_ok());
    assert!(Glob::new(&format!("{wide}é")).is_err());
    assert!(Glob::new(&"/a".repeat(2048)).is_ok());
    // `?` can match a single byte, so 255 of them match a valid name.
    check(&format!("/{}", "?".repeat(255)), &[&name], &[&"é".repeat(127)]);
}

#[test]
fn pathological_globs_match_in_bounded_time() {
    let name = "a".repeat(255);
    let stars = format!("/{}b", "*a".repeat(1000));
    assert_eq!(Glob::new(&stars).unwrap_err().kind, Kind::NameTooLong);
    check(&format!("/{}b", "*a".repeat(127)), &[], &[&name]);
    check(&format!("/{}", "{,a}".repeat(1000)), &[&name], &["b"]);
    check(&format!("/{}", "{a,a}".repeat(255)), &[&name], &["b"]);
    check(&format!("/{}a", "{,{,{,{,{,{,*}}}}}}".repeat(100)), &[&name], &["b"]);
    check(&format!("{}/b", "/**/*".repeat(800)), &[], &["b", "a/b"]);
    for open in ["{", "[", "{a,", "[!", "\\[{", "{[a]"] {
        let text = format!("/{}", open.repeat(1000));
        assert!(Glob::new(&text).is_err(), "{open}");
    }
}
