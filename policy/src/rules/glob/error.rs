//! Errors of glob syntax, each with its span and a suggested correction.

use std::fmt;
use std::ops::Range;

/// A syntax error of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError {
    /// The kind of the error.
    pub kind: GlobErrorKind,
    /// The span of the error in the text, in bytes; on character boundaries.
    pub span: Range<usize>,
}

/// The kinds of glob syntax errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GlobErrorKind {
    /// It does not begin with `/`.
    Relative,
    /// It is longer than [`Glob::LEN_MAX`](crate::Glob::LEN_MAX).
    TooLong,
    /// A component is empty: `//`, or a `/` at the end.
    EmptyName,
    /// A component is `.` or `..`.
    DotName,
    /// A component matches only names that are longer than the limit for names.
    NameTooLong,
    /// A component matches no name, such as `{,.}`.
    Unmatchable,
    /// The glob contains a NUL.
    Nul,
    /// `**` is not the whole component.
    DeepInName,
    /// `[` is not closed within its component.
    OpenClass,
    /// `[]`, or a class that leaves no character.
    EmptyClass,
    /// A range of a class whose end is before its start, such as `[z-a]`.
    BackwardRange,
    /// `[^…]`, which some tools treat as a negation and others do not.
    CaretClass,
    /// `{` is not closed within its component.
    OpenBrace,
    /// `}` without a `{`.
    LoneBrace,
    /// Alternatives are nested deeper than 8.
    TooDeep,
    /// `\` at the end of a component.
    OpenEscape,
    /// `\` before a letter or a digit, which has a meaning in other syntaxes.
    LetterEscape,
    /// `@(…)`, `+(…)`, `!(…)`, `?(…)` or `*(…)`, the extended globs of shells.
    ExtendedGlob,
    /// `(…|…)`, alternatives of regular expressions and of some shells.
    Parentheses,
    /// `[[:alpha:]]`, `[[=a=]]` or `[[.a.]]`, the named classes of POSIX, or `[:alpha:]`.
    NamedClass,
    /// `{1..3}`, a sequence of shells.
    Sequence,
    /// `!` at the start, which negates a pattern in other tools.
    Negation,
    /// `${` where variables are not supported.
    NoVariables,
    /// `${` without `}`.
    OpenVariable,
    /// `\${`.
    EscapedVariable,
    /// `${…}` whose name is not valid.
    VariableName,
    /// A variable in a class.
    VariableInClass,
    /// A variable that has no value.
    UnknownVariable,
    /// The first value does not begin with `/`.
    ValueNotAbsolute,
    /// A value leaves a component empty.
    ValueEmpty,
    /// A value makes a component `.` or `..`.
    ValueDots,
    /// A value with a `/` in alternatives.
    ValueSlash,
    /// A value with a NUL.
    ValueNul,
    /// The values make the glob longer than [`Glob::LEN_MAX`](crate::Glob::LEN_MAX).
    ValueTooLong,
}

impl GlobErrorKind {
    /// Returns the suggested correction.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Relative => "paths are those of the guest's world; begin with `/`",
            Self::TooLong => "split it into several rules",
            Self::EmptyName => "write a single `/` between names, and none at the end",
            Self::DotName => "write the resolved path, without `.` and `..`",
            Self::NameTooLong => "a name has at most 255 bytes",
            Self::Unmatchable => "no file can have such a name; leave the rule out",
            Self::Nul => "a name cannot contain a NUL",
            Self::DeepInName => {
                "`**` stands for whole names: write `/**/x` for x at any depth, `*` within a name"
            }
            Self::OpenClass => "close it with `]`, or write `\\[` for the character itself",
            Self::EmptyClass => {
                "list at least one character that a name can contain; `\\]` is a literal `]`"
            }
            Self::BackwardRange => "write the lower character first, as in `[a-z]`",
            Self::CaretClass => "write `[!…]` for all but these, `[\\^…]` for the character `^`",
            Self::OpenBrace => {
                "close it with `}` in the same component (write two rules for alternatives with a \
                 `/`), or write `\\{` for the character itself"
            }
            Self::LoneBrace => "write `\\}` for the character itself",
            Self::TooDeep => "put the alternatives side by side, or write several rules",
            Self::OpenEscape => "write `\\\\` for the character itself",
            Self::LetterEscape => {
                "a letter needs no `\\`; write `[0-9]` for a digit, `\\\\` for the character `\\`"
            }
            Self::ExtendedGlob => {
                "write `{a,b}` for one of several, `*` for any run of characters, a `deny` rule for \
                 exceptions, or `\\(` for the character itself"
            }
            Self::Parentheses => {
                "write `{a,b}` for one of several, or `\\|` for the character itself"
            }
            Self::NamedClass => {
                "write the characters, such as `[a-zA-Z]` or `[0-9]`, or `\\[` for the character `[`"
            }
            Self::Sequence => {
                "write `[1-3]` or `{1,2,3}`, or `\\{` and `\\}` for the characters themselves"
            }
            Self::Negation => "begin with `/`, and write a `deny` or `hide` rule for exceptions",
            Self::NoVariables => "write `$\\{` for the characters themselves",
            Self::OpenVariable => "write `${NAME}`, or `$\\{` for the characters themselves",
            Self::EscapedVariable => {
                "write `$\\{` for the characters `${`, and `\\\\${NAME}` for a `\\` and a variable"
            }
            Self::VariableName => "a variable's name has only ASCII letters, digits and `_`",
            Self::VariableInClass => {
                "a variable's value is literal text; write `{${A},${B}}` for alternatives"
            }
            Self::UnknownVariable => "set a value for it",
            Self::ValueNotAbsolute => "begin the path with `/`, or give the variable such a value",
            Self::ValueEmpty => {
                "use a value that leaves no name empty: without `//` and without a `/` at its end"
            }
            Self::ValueDots => "set the variable to a resolved path, without `.` and `..`",
            Self::ValueSlash => "write a rule for each value instead",
            Self::ValueNul => "a name cannot contain a NUL",
            Self::ValueTooLong => "no path can be that long",
        }
    }
}

impl fmt::Display for GlobErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "the glob does not begin with `/`",
            Self::TooLong => "the glob is too long",
            Self::EmptyName => "the glob has an empty name",
            Self::DotName => "the glob has a `.` or `..` component",
            Self::NameTooLong => "the glob has a name that is too long",
            Self::Unmatchable => "the pattern matches no name",
            Self::Nul => "the glob contains a NUL",
            Self::DeepInName => "`**` within a name",
            Self::OpenClass => "unclosed character class",
            Self::EmptyClass => "empty character class",
            Self::BackwardRange => "a range that runs backward",
            Self::CaretClass => "a character class that begins with `^`",
            Self::OpenBrace => "unclosed alternatives",
            Self::LoneBrace => "unmatched `}`",
            Self::TooDeep => "alternatives nested too deeply",
            Self::OpenEscape => "a trailing `\\`",
            Self::LetterEscape => "a `\\` before a letter or a digit",
            Self::ExtendedGlob => "extended globs are not supported",
            Self::Parentheses => "alternatives in parentheses are not supported",
            Self::NamedClass => "named character classes are not supported",
            Self::Sequence => "brace sequences are not supported",
            Self::Negation => "negated globs are not supported",
            Self::NoVariables => "variables are not supported here",
            Self::OpenVariable => "unclosed variable",
            Self::EscapedVariable => "`\\${` is ambiguous",
            Self::VariableName => "invalid variable name",
            Self::VariableInClass => "a variable inside a character class",
            Self::UnknownVariable => "undefined variable",
            Self::ValueNotAbsolute => "its value starts the path but does not begin with `/`",
            Self::ValueEmpty => "its value leaves a name in the path empty",
            Self::ValueDots => "its value makes a name in the path `.` or `..`",
            Self::ValueSlash => "its value contains a `/` and is used in alternatives",
            Self::ValueNul => "its value contains a NUL",
            Self::ValueTooLong => "its value makes the path longer than 4096 bytes",
        })
    }
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.span;
        write!(f, "{} (bytes {start} to {end}): {}", self.kind, self.kind.help())
    }
}

impl std::error::Error for GlobError {}
