//! The policy builder, and the errors of compiling a policy.

use std::fmt;

use palisade_vfs::{Rights, escape};

use crate::automaton::compile::{CONJUNCTS_MAX, Explosion, Source};
use crate::automaton::policy::Policy;
use crate::rules::glob::{Glob, GlobError};
use crate::rules::rule::{Effect, Rule, RuleId, SourceLine};

/// A builder of a policy. The order of the rules does not matter.
#[derive(Debug, Default)]
pub struct PolicyBuilder {
    rules: Vec<Rule>,
    /// The first invalid glob.
    fault: Option<(Box<str>, GlobError)>,
}

/// An error of compiling rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// A glob is invalid.
    Glob {
        /// The glob.
        text: Box<str>,
        /// The error.
        error: GlobError,
    },
    /// There are more than [`PolicyBuilder::RULES_MAX`] rules, or more than
    /// [`PolicyBuilder::NAMES_MAX`] names in them.
    TooManyRules,
    /// Too many policies were intersected.
    TooManyLayers,
    /// The automaton of the rules would have too many states.
    Explodes {
        /// Some of the rules that cause it.
        rules: Vec<(RuleId, Rule)>,
    },
}

impl PolicyBuilder {
    /// The most rules of a policy, about ten times a sensible number.
    pub const RULES_MAX: usize = 1 << 20;

    /// The most names, or patterns of names, in all of its globs together.
    pub const NAMES_MAX: usize = 1 << 24;

    /// Allows `rights`, and `LOOKUP`, on the paths that `glob` matches. Empty rights allow nothing.
    #[must_use]
    pub fn allow(self, glob: &str, rights: Rights) -> Self {
        self.add(glob, Effect::Allow(rights))
    }

    /// Denies `rights` on the paths that `glob` matches. Denials override allow rules.
    #[must_use]
    pub fn deny(self, glob: &str, rights: Rights) -> Self {
        self.add(glob, Effect::Deny(rights))
    }

    /// Hides the paths that `glob` matches, and all paths under them.
    #[must_use]
    pub fn hide(self, glob: &str) -> Self {
        self.add(glob, Effect::Hide)
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Compiles the rules. Time and memory are proportional to the size of the rules; rules that
    /// would take more are an error.
    ///
    /// # Errors
    ///
    /// - [`PolicyError::Glob`]: a glob is invalid. The first one is reported.
    /// - [`PolicyError::TooManyRules`]: more than [`PolicyBuilder::RULES_MAX`] or
    ///   [`PolicyBuilder::NAMES_MAX`].
    /// - [`PolicyError::Explodes`]: the automaton would have too many states.
    pub fn build(self) -> Result<Policy, PolicyError> {
        if let Some((text, error)) = self.fault {
            return Err(PolicyError::Glob { text, error });
        }
        let parts = self.rules.iter().map(|rule| rule.glob.parts().len());
        if self.rules.len() > Self::RULES_MAX || parts.sum::<usize>() > Self::NAMES_MAX {
            return Err(PolicyError::TooManyRules);
        }
        let of = vec![0; self.rules.len()];
        Policy::compile(Source { rules: self.rules, of, conjuncts: 1, ..Source::default() })
    }

    fn add(mut self, text: &str, effect: Effect) -> Self {
        match Glob::new(text) {
            Ok(glob) => self.rules.push(Rule { glob, effect, place: None }),
            Err(error) => self.fault = self.fault.or_else(|| Some((text.into(), error))),
        }
        self
    }
}

impl Extend<Rule> for PolicyBuilder {
    fn extend<I: IntoIterator<Item = Rule>>(&mut self, rules: I) {
        self.rules.extend(rules);
    }
}

impl PolicyError {
    pub(crate) fn explodes(source: &Source, explosion: &Explosion) -> Self {
        let named = |id: &RuleId| Some((*id, source.rules.get(id.index())?.clone()));
        PolicyError::Explodes { rules: explosion.rules.iter().filter_map(named).collect() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyError::Glob { text, error } => {
                write!(f, "{}: {error}", escape::line(&format!("{text:?}")))
            }
            PolicyError::TooManyRules => {
                write!(
                    f,
                    "more than {} rules; join some with `*` or `{{a,b}}`",
                    PolicyBuilder::RULES_MAX
                )
            }
            PolicyError::TooManyLayers => write!(
                f,
                "more than {CONJUNCTS_MAX} policies laid upon each other; put some of them together"
            ),
            PolicyError::Explodes { rules } => {
                f.write_str(
                    "rules that multiply each other: what they match cannot be told apart \
                             with a reasonable number of states; give them a longer start without \
                             `*`, or fewer of them",
                )?;
                for (id, rule) in rules {
                    let at = rule.place.as_ref().map(SourceLine::to_string);
                    let at = at.unwrap_or_else(|| format!("rule {id}"));
                    write!(f, "\n  {at}: {}", escape::line(rule.glob.as_str()))?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PolicyError::Glob { error, .. } => Some(error),
            PolicyError::TooManyRules
            | PolicyError::TooManyLayers
            | PolicyError::Explodes { .. } => None,
        }
    }
}
