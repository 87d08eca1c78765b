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
