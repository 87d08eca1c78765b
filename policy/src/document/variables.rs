//! Variables in paths: `${NAME}` is what the host or the document says it is, as it is written.

use super::Variables;

/// What the reader does about a text with variables.
pub(super) struct Expanded {
    /// The text with every variable's value in its place, escaped for a glob.
    pub(super) text: String,
    /// Whether there was one: then positions in `text` are not positions in what was written.
    pub(super) has_variable: bool,
}

/// What is wrong with a variable in a text.
pub(super) enum Fault {
    /// `${` without `}`.
    Open,
    /// No such variable.
    Unknown(String),
}

/// Puts values in the place of `${NAME}`. `$${` is `${`.
pub(super) fn expand(text: &str, variables: &Variables) -> Result<Expanded, Fault> {
    let mut expanded = Expanded { text: String::with_capacity(text.len()), has_variable: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let from = from.get(2..).unwrap_or_default();
        expanded.has_variable = true;
        if let Some(before) = before.strip_suffix('$') {
            expanded.text.push_str(before);
            // Literal, and a brace means something to a glob.
            expanded.text.push_str("$\\{");
            rest = from;
            continue;
        }
        expanded.text.push_str(before);
        let (name, behind) = from.split_once('}').ok_or(Fault::Open)?;
        let value = variables.get(name).ok_or_else(|| Fault::Unknown(name.to_owned()))?;
        escape(value, &mut expanded.text);
        rest = behind;
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

/// Adds a literal text to a glob.
fn escape(literal: &str, glob: &mut String) {
    for char in literal.chars() {
        if matches!(char, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            glob.push('\\');
        }
        glob.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Glob;
    use palisade_vfs::Descent;

    fn given() -> Variables {
        let given = [("HOME", "/home/me"), ("ODD", "a*b{c}\\[d]?"), ("EMPTY", "")];
        given.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        for (text, expected) in [
            ("/plain", "/plain"),
            ("${HOME}/x", "/home/me/x"),
            ("/a${EMPTY}/${HOME}", "/a//home/me"),
            ("/$HOME", "/$HOME"),
            ("/$${x}", "/$\\{x}"),
        ] {
            assert!(expand(text, &given()).is_ok_and(|it| it.text == expected), "{text}");
        }
    }

    #[test]
    fn a_value_is_never_a_pattern() {
        let text = expand("/${ODD}", &given()).ok().unwrap().text;
        let glob = Glob::new(&text).unwrap();
        assert!(glob.matches(Descent::new("a*b{c}\\[d]?").unwrap()));
        assert!(!glob.matches(Descent::new("aXb{c}\\[d]?").unwrap()));
        assert!(!glob.matches(Descent::new("a*bc\\[d]?").unwrap()));
    }

    #[test]
    fn what_is_not_given_is_not_guessed() {
        assert!(
            matches!(expand("/${HOMR}", &given()), Err(Fault::Unknown(name)) if name == "HOMR")
        );
        assert!(matches!(expand("/${HOME", &given()), Err(Fault::Open)));
    }
}
