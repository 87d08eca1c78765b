//! Variables in paths: `${NAME}` is what the host or the document says it is, as it is written.
//!
//! A value can never be read as a pattern: what means something to a glob is escaped, where a
//! backslash would be in front of it is refused, and so is a class around it, in which there are no
//! texts but only characters.

use std::ops::Range;

use super::Variables;
use crate::Glob;

/// A text without variables.
pub(super) struct Expanded<'t> {
    /// The text with every variable's value in its place, escaped for a glob.
    pub(super) text: String,
    /// The variables that were in it.
    pub(super) names: Vec<&'t str>,
}

/// What is wrong with a variable in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault<'t> {
    /// `${` without `}`.
    Open,
    /// `\${`.
    Escaped,
    /// It stands in a class.
    InClass,
    /// This is no name.
    NoName(&'t str),
    /// No such variable.
    Unknown(&'t str),
    /// The values make it longer than a glob can be.
    TooLong,
}

/// Whether a variable can have this name.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Puts values in the place of `${NAME}`. The fault comes with where it is in `text`.
pub(super) fn expand<'t>(
    text: &'t str,
    variables: &Variables,
) -> Result<Expanded<'t>, (Fault<'t>, Range<usize>)> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), names: Vec::new() };
    if !text.contains("${") {
        expanded.text.push_str(text);
        return Ok(expanded);
    }
    let mut around = Around::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let fault = |fault, len| Err((fault, at..at + len));
        if rest.starts_with("\\${") {
            return fault(Fault::Escaped, 3);
        }
        let Some(from) = rest.strip_prefix("${") else {
            let len = around.step(rest);
            expanded.text.push_str(rest.get(..len).unwrap_or_default());
            at += len;
            continue;
        };
        let Some((name, _)) = from.split_once('}') else { return fault(Fault::Open, 2) };
        let len = "${}".len() + name.len();
        if !is_name(name) {
            return fault(Fault::NoName(name), len);
        }
        if around.in_class {
            return fault(Fault::InClass, len);
        }
        let Some(value) = variables.get(name) else { return fault(Fault::Unknown(name), len) };
        if expanded.text.len() + value.len() > Glob::LEN_MAX {
            return fault(Fault::TooLong, len);
        }
        escape(value, around, &mut expanded.text);
        expanded.names.push(name);
        at += len;
    }
    Ok(expanded)
}

/// What is open in a glob.
#[derive(Clone, Copy, Default)]
struct Around {
    in_class: bool,
    alternatives: usize,
}

impl Around {
    /// Takes note of the character that `rest` begins with, and of the next if it is escaped.
    /// Answers their bytes.
    fn step(&mut self, rest: &str) -> usize {
        let mut chars = rest.chars();
        let Some(first) = chars.next() else { return 0 };
        match first {
            '\\' => return first.len_utf8() + chars.next().map_or(0, char::len_utf8),
            '[' => self.in_class = true,
            ']' => self.in_class = false,
            '{' if !self.in_class => self.alternatives += 1,
            '}' if !self.in_class => self.alternatives = self.alternatives.saturating_sub(1),
            // Neither reaches across a component.
            '/' => *self = Around::default(),
            _ => {}
        }
        first.len_utf8()
    }
}

/// Adds a literal text to a glob.
fn escape(literal: &str, around: Around, glob: &mut String) {
    for char in literal.chars() {
        let is_comma = char == ',' && around.alternatives > 0;
        if is_comma || matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            glob.push('\\');
        }
        glob.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glob::Part;
    use palisade_vfs::Descent;
    use proptest::prelude::*;

    fn given() -> Variables {
        let given = [
            ("HOME", "/home/me"),
            ("ODD", "a*b{c}\\[d]?"),
            ("EMPTY", ""),
            ("STAR", "*"),
            ("TWO", "x,y*"),
            ("LONG", &"x".repeat(3000)),
        ];
        given.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn text(text: &str) -> String {
        expand(text, &given()).ok().unwrap().text
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        for (written, expected) in [
            ("/plain", "/plain"),
            ("${HOME}/x", "/home/me/x"),
            ("/a${EMPTY}/${HOME}", "/a//home/me"),
            ("/$HOME", "/$HOME"),
            ("/$\\{HOME\\}", "/$\\{HOME\\}"),
            ("/$${STAR}", "/$\\*"),
            ("/ä\\\\${STAR}ä", "/ä\\\\\\*ä"),
            ("/{a,${TWO}}", "/{a,x\\,y\\*}"),
            ("/{a}${TWO}", "/{a}x,y\\*"),
            ("/[a]${STAR}", "/[a]\\*"),
        ] {
            assert_eq!(text(written), expected, "{written}");
        }
    }

    #[test]
    fn a_value_is_never_a_pattern() {
        for (written, matched, others) in [
            ("/${ODD}", "a*b{c}\\[d]?", &["aXb{c}\\[d]?", "a*bc\\[d]?"][..]),
            ("/{a,${TWO}}", "x,y*", &["x", "y*", "x,y", "x,yz"][..]),
            ("/{a,{b,${TWO}}}", "x,y*", &["x", "y*", "x,y", "x,yz"][..]),
            ("/\\\\${STAR}", "\\*", &["\\", "\\a", "*"][..]),
            ("/\\[${STAR}", "[*", &["[", "[a"][..]),
        ] {
            let glob = Glob::new(&text(written)).unwrap();
            assert!(glob.matches(Descent::new(matched).unwrap()), "{written}");
            for other in others {
                assert!(!glob.matches(Descent::new(other).unwrap()), "{written} {other}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_value_is_the_text_that_it_is_wherever_it_stands(
            value in "[-a,!^*?{}\\[\\]\\\\$.é]{1,8}"
        ) {
            let variables = Variables::from([("V".to_owned(), value.clone())]);
            let parts = |written: &str| {
                let text = expand(written, &variables).ok().unwrap().text;
                Glob::new(&text).unwrap().parts().to_vec()
            };
            for (before, name_before, after, name_after) in [
                ("x", "x", "", ""),
                ("", "", "x", "x"),
                ("\\\\", "\\", "\\]", "]"),
                ("$", "$", "$", "$"),
                ("\\[", "[", "{y}", "y"),
                ("{y}", "y", "\\*", "*"),
            ] {
                let name = format!("{name_before}{value}{name_after}");
                let found = parts(&format!("/{before}${{V}}{after}"));
                prop_assert_eq!(found, vec![Part::Literal(name.into())], "{} {}", before, after);
            }
            let found = parts("/{x,{${V}z,y}}");
            let mut names = [Box::from("x"), Box::from("y"), format!("{value}z").into()];
            names.sort();
            prop_assert_eq!(found, vec![Part::Words(names.into())]);
        }
    }

    #[test]
    fn what_cannot_be_a_literal_text_is_refused_where_it_stands() {
        for (written, fault, place) in [
            ("/${HOMR}", Fault::Unknown("HOMR"), "${HOMR}"),
            ("/ä${HOME", Fault::Open, "${"),
            ("/\\${HOME}", Fault::Escaped, "\\${"),
            ("/[${STAR}]", Fault::InClass, "${STAR}"),
            ("/[!a${STAR}]", Fault::InClass, "${STAR}"),
            ("/${}", Fault::NoName(""), "${}"),
            ("/${a b}", Fault::NoName("a b"), "${a b}"),
            ("/${LONG}/${LONG}", Fault::TooLong, "${LONG}"),
        ] {
            let (found, at) = expand(written, &given()).err().unwrap();
            assert_eq!((found, &written[at]), (fault, place), "{written}");
        }
    }
}
