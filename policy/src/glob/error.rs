//! What is wrong with a glob, where, and what to write instead.

use std::fmt;
use std::ops::Range;

/// A text that is no glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobError {
    /// What is wrong.
    pub kind: GlobErrorKind,
    /// Where in the text it is, in bytes; on character boundaries.
    pub span: Range<usize>,
}

/// What can be wrong with a glob.
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
    /// A component matches only names that are longer than a name can be.
    NameTooLong,
    /// A component matches no name, such as `{,.}`.
    Unmatchable,
    /// There is a NUL in it.
    Nul,
    /// `**` is not the whole component.
    DeepInName,
    /// `[` is not closed within its component.
    OpenClass,
    /// `[]`, or a class that leaves no character.
    EmptyClass,
    /// A range of a class whose end is before its start, such as `[z-a]`.
    BackwardRange,
    /// `[^…]`, which others read as a negation and others not.
    CaretClass,
    /// `{` is not closed within its component.
    OpenBrace,
    /// `}` without a `{`.
    LoneBrace,
    /// Alternatives are nested deeper than 8.
    TooDeep,
    /// `\` at the end of a component.
    OpenEscape,
    /// `\` before a letter or a digit, which other syntaxes give a meaning.
    LetterEscape,
    /// `@(…)`, `+(…)`, `!(…)`, `?(…)` or `*(…)`, the extended globs of shells.
    ExtendedGlob,
    /// `(…|…)`, alternatives of regular expressions and of some shells.
    Parentheses,
    /// `[[:alpha:]]`, `[[=a=]]` or `[[.a.]]`, the named classes of POSIX, or `[:alpha:]`.
    NamedClass,
    /// `{1..3}`, a sequence of shells.
    Sequence,
    /// `!` at the start, which negates in lists of other tools.
    Negation,
    /// `${` where there are no variables.
    NoVariables,
    /// `${` without `}`.
    OpenVariable,
    /// `\${`.
    EscapedVariable,
    /// `${…}` whose name is none.
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
    /// What to write instead.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Relative => "paths are those of the guest's world; begin with `/`",
            Self::TooLong => "say it in several rules",
            Self::EmptyName => "write a single `/` between names, and none at the end",
            Self::DotName => "write the path that is really walked, without `.` and `..`",
            Self::NameTooLong => "a name has at most 255 bytes",
            Self::Unmatchable => "no file can have such a name; leave the rule out",
            Self::Nul => "no name holds a NUL",
            Self::DeepInName => {
                "`**` stands for whole names: write `/**/x` for x at any depth, `*` within a name"
            }
            Self::OpenClass => "close it with `]`, or write `\\[` for the character itself",
            Self::EmptyClass => "name at least one character that a name can hold; `\\]` is a `]`",
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
            Self::VariableName => "letters of ASCII, digits and `_` make a name",
            Self::VariableInClass => "a value is text; `{${A},${B}}` is one of two",
            Self::UnknownVariable => "give it a value",
            Self::ValueNotAbsolute => "begin the path with `/`, or give the variable such a value",
            Self::ValueEmpty => {
                "give the variable a value that leaves no name empty: without `//` and a `/` at its end"
            }
            Self::ValueDots => "give the variable the path that is really walked",
            Self::ValueSlash => "write a rule for each value instead",
            Self::ValueNul => "no name holds a NUL",
            Self::ValueTooLong => "no path of a guest is that long",
        }
    }
}

impl fmt::Display for GlobErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "a glob that does not begin with `/`",
            Self::TooLong => "a glob that is too long",
            Self::EmptyName => "an empty name in a glob",
            Self::DotName => "`.` or `..` in a glob",
            Self::NameTooLong => "a name in a glob that is too long",
            Self::Unmatchable => "a pattern that matches no name",
            Self::Nul => "a NUL in a glob",
            Self::DeepInName => "`**` within a name",
            Self::OpenClass => "a class that is not closed",
            Self::EmptyClass => "a class without a character",
            Self::BackwardRange => "a range that runs backward",
            Self::CaretClass => "a class that begins with `^`",
            Self::OpenBrace => "alternatives that are not closed",
            Self::LoneBrace => "a `}` that closes nothing",
            Self::TooDeep => "alternatives nested too deeply",
            Self::OpenEscape => "a `\\` that escapes nothing",
            Self::LetterEscape => "a `\\` before a letter or a digit",
            Self::ExtendedGlob => "an extended glob of a shell",
            Self::Parentheses => "alternatives in parentheses",
            Self::NamedClass => "a class by a name",
            Self::Sequence => "a sequence of a shell",
            Self::Negation => "a glob that begins with `!`",
            Self::NoVariables => "a variable where there are none",
            Self::OpenVariable => "a variable that is not closed",
            Self::EscapedVariable => "`\\${` can be read in two ways",
            Self::VariableName => "no name for a variable",
            Self::VariableInClass => "a variable in a class",
            Self::UnknownVariable => "a variable without a value",
            Self::ValueNotAbsolute => "its value begins the path, and not with `/`",
            Self::ValueEmpty => "its value leaves a name of the path empty",
            Self::ValueDots => "its value makes a name of the path `.` or `..`",
            Self::ValueSlash => "its value has a `/` and stands in alternatives",
            Self::ValueNul => "its value has a NUL in it",
            Self::ValueTooLong => "with its value the path is longer than 4096 bytes",
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
