//! Variables in globs: a value always matches as literal text.

use std::collections::BTreeMap;

use palisade_vfs::Descent;
use proptest::prelude::*;

use super::{Glob, GlobErrorKind as Kind};

fn values(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn given() -> BTreeMap<String, String> {
    values(&[
        ("HOME", "/home/me"),
        ("SUB", "a/b"),
        ("ODD", "a*b{c}\\[d]?"),
        ("EMPTY", ""),
        ("STAR", "*"),
        ("STARS", "**"),
        ("TWO", "x,y*"),
        ("DOT", "."),
        ("UP", ".."),
        ("IN_UP", "a/../b"),
        ("SLASH", "/"),
        ("END", "a/"),
        ("NL", "a\nb"),
        ("NUL", "a\0"),
        ("DOLLAR", "$"),
        ("PIPE", "|"),
        ("AT", "@"),
        ("VAR", "${STAR}"),
        ("LONG", &format!("{}x", "x/".repeat(1500))),
    ])
}

#[track_caller]
fn check(glob: &str, matched: &[&str], others: &[&str]) {
    let (read, _) =
        Glob::with_variables(glob, &given()).unwrap_or_else(|why| panic!("{glob}: {why}"));
    let again = Glob::new(read.as_str()).unwrap_or_else(|why| panic!("{glob}: {read}: {why}"));
    for (paths, expected) in [(matched, true), (others, false)] {
        for path in paths {
            let at = Descent::new(path).unwrap();
            assert_eq!(read.matches(at), expected, "{glob} on {path:?}");
            assert_eq!(again.matches(at), expected, "{read}, of {glob}, on {path:?}");
        }
    }
}

#[test]
fn empty_value_joins_no_stars() {
    check("/*${EMPTY}*", &["a", "ab"], &["a/b", ""]);
    check("/a*${EMPTY}*b", &["ab", "axb"], &["a/b"]);
    check("/{*${EMPTY}*,b}", &["a"], &["a/b"]);
    check("/x${EMPTY}", &["x"], &[""]);
    check("/@${EMPTY}(a)", &["@(a)"], &["a"]);
}

#[test]
fn value_is_literal_and_never_a_pattern() {
    check("/${ODD}", &["a*b{c}\\[d]?"], &["aXb{c}\\[d]?", "a*bc\\[d]?"]);
    check("/${STARS}", &["**"], &["a", "a/b", ""]);
    check("/${STAR}${STAR}", &["**"], &["a", "a/b"]);
    check("/{a,${TWO}}", &["a", "x,y*"], &["x", "y*", "x,y", "x,yz"]);
    check("/{a,{b,${TWO}}}", &["x,y*"], &["x", "y*", "x,yz"]);
    check("/\\\\${STAR}", &["\\*"], &["\\", "\\a", "*"]);
    check("/\\[${STAR}", &["[*"], &["[", "[a"]);
    check("/${NL}", &["a\nb"], &["a"]);
    check("/${DOLLAR}{a,b}", &["$a", "$b"], &["a", "${a,b}"]);
    check("/(a${PIPE}b)", &["(a|b)"], &["a", "b"]);
    check("/${AT}(a)", &["@(a)"], &["a"]);
    check("/${VAR}", &["${STAR}"], &["*", "a"]);
    check("/a${DOT}b", &["a.b"], &["aXb"]);
    check("/${DOT}b", &[".b"], &["b"]);
    check("/$\\{STAR\\}", &["${STAR}"], &["*"]);
}

#[test]
fn slash_in_a_value_separates_names() {
    check("${HOME}/x", &["home/me/x"], &["x"]);
    check("${HOME}/**", &["home/me", "home/me/x/y"], &["home", "x"]);
    check("/x${SUB}y", &["xa/by"], &["xa", "xa/b"]);
    check("/*${SUB}*/c", &["a/b/c", "xa/by/c"], &["a/c", "xa/by"]);
    check("/${SUB}/${SUB}", &["a/b/a/b"], &["a/b"]);
}

#[test]
fn invalid_value_is_reported_at_its_variable() {
    for (glob, kind, location) in [
        ("${EMPTY}/**", Kind::ValueNotAbsolute, "${EMPTY}"),
        ("${SUB}/**", Kind::ValueNotAbsolute, "${SUB}"),
        ("${SLASH}/a", Kind::ValueEmpty, "${SLASH}"),
        ("/${EMPTY}", Kind::ValueEmpty, "${EMPTY}"),
        ("/a/${EMPTY}/b", Kind::ValueEmpty, "${EMPTY}"),
        ("/a/${EMPTY}${EMPTY}", Kind::ValueEmpty, "${EMPTY}"),
        ("/${END}", Kind::ValueEmpty, "${END}"),
        ("/${HOME}", Kind::ValueEmpty, "${HOME}"),
        ("/${STAR}${HOME}${SLASH}", Kind::ValueEmpty, "${SLASH}"),
        ("/${UP}", Kind::ValueDots, "${UP}"),
        ("/${DOT}", Kind::ValueDots, "${DOT}"),
        ("/.${DOT}", Kind::ValueDots, "${DOT}"),
        ("/${DOT}${DOT}/a", Kind::ValueDots, "${DOT}"),
        ("/a/${IN_UP}", Kind::ValueDots, "${IN_UP}"),
        ("/{a,${UP}}", Kind::ValueDots, "${UP}"),
        ("/{a,${EMPTY}}", Kind::ValueEmpty, "${EMPTY}"),
        ("/{a,${SUB}}", Kind::ValueSlash, "${SUB}"),
        ("/${NUL}", Kind::ValueNul, "${NUL}"),
        ("/${LONG}/${LONG}", Kind::ValueTooLong, "${LONG}"),
        ("/${STARS}*${EMPTY}**", Kind::DeepInName, "**"),
        ("/a${SLASH}**", Kind::DeepInName, "**"),
        ("/${EMPTY}**", Kind::DeepInName, "**"),
        ("/${HOMR}", Kind::UnknownVariable, "${HOMR}"),
        ("/ä${HOME", Kind::OpenVariable, "${"),
        ("/\\${HOME}", Kind::EscapedVariable, "\\${"),
        ("/[${STAR}]", Kind::VariableInClass, "${STAR}"),
        ("/[!a${STAR}]", Kind::VariableInClass, "${STAR}"),
        ("/${}", Kind::VariableName, "${}"),
        ("/${a b}", Kind::VariableName, "${a b}"),
    ] {
        let error = Glob::with_variables(glob, &given()).unwrap_err();
        assert_eq!((error.kind, glob.get(error.span.clone())), (kind, Some(location)), "{glob}");
    }
    assert_eq!(Glob::new("/${HOME}").unwrap_err().kind, Kind::NoVariables);
}

#[test]
fn with_variables_returns_the_used_variables() {
    let (_, names) = Glob::with_variables("/${SUB}/{a,${TWO}}", &given()).unwrap();
    assert_eq!(names, ["SUB", "TWO"]);
}

/// Templates, each with the literal text before and after the value of `V`.
const AROUND: &[(&str, &str, &str)] = &[
    ("/x${V}", "x", ""),
    ("/${V}x", "", "x"),
    ("/\\\\${V}\\]", "\\", "]"),
    ("/$${V}$", "$", "$"),
    ("/@${V}(", "@", "("),
    ("/\\[${V}{y}", "[", "y"),
    ("/{y}${V}\\*", "y", "*"),
    ("/{x${V}z,other}", "x", "z"),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn value_matches_itself_and_nothing_else(
        value in "[-a,!^*?{}\\[\\]\\\\$.é@+()|~\n]{0,8}", other in "[a.*\\\\$]{0,8}"
    ) {
        for (glob, before, after) in AROUND {
            let (read, _) = Glob::with_variables(glob, &values(&[("V", &value)])).unwrap();
            let again = Glob::new(read.as_str()).unwrap();
            for (inner, expected) in [(&value, true), (&other, value == other)] {
                let name = format!("{before}{inner}{after}");
                let at = Descent::new(&name).unwrap();
                prop_assert_eq!(read.matches(at), expected, "{} on {}", glob, name);
                prop_assert_eq!(again.matches(at), expected, "{} on {}", read, name);
            }
        }
    }

    #[test]
    fn value_never_widens_a_glob_of_stars(
        value in "[-a,!*?{}\\[\\]\\\\$./]{0,6}", path in "[a*.]{1,3}(/[a*.]{1,3}){0,3}"
    ) {
        // The value is literal, so each matched path contains it and has as many slashes.
        let Ok((read, _)) = Glob::with_variables("/*${V}*", &values(&[("V", &value)])) else {
            return Ok(());
        };
        let Ok(at) = Descent::new(&path) else { return Ok(()) };
        if read.matches(at) {
            prop_assert!(path.contains(&*value), "{value:?} {path:?}");
            prop_assert_eq!(path.matches('/').count(), value.matches('/').count());
        }
    }
}
