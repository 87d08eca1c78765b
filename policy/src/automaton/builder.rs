//! Puts rules together, and says which of them do not go together.

use std::fmt;

use palisade_vfs::{Rights, escape};

use crate::automaton::compile::{CONJUNCTS_MAX, Explosion, Source};
use crate::automaton::policy::Policy;
use crate::rules::glob::{Glob, GlobError};
use crate::rules::rule::{Effect, Place, Rule, RuleId};

/// A policy that is being written. The order of its rules does not matter.
#[derive(Debug, Default)]
pub struct PolicyBuilder {
    rules: Vec<Rule>,
    /// The first text that was no glob.
    fault: Option<(Box<str>, GlobError)>,
}

/// Why rules are no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// A text is no glob.
    Glob {
        /// The text.
        text: Box<str>,
        /// What is wrong with it.
        error: GlobError,
    },
    /// There are more than [`PolicyBuilder::RULES_MAX`] rules, or more than
    /// [`PolicyBuilder::NAMES_MAX`] names in them.
    TooManyRules,
    /// More policies were laid upon each other than can be.
    TooManyLayers,
    /// The rules multiply each other: telling apart what they match takes more than they are worth.
    Explodes {
        /// Some of those that do.
        rules: Vec<(RuleId, Rule)>,
    },
}

impl PolicyBuilder {
    /// The most rules of a policy: ten times what is sensible.
    pub const RULES_MAX: usize = 1 << 20;

    /// The most names, or patterns of names, in all of its globs together.
    pub const NAMES_MAX: usize = 1 << 24;

    /// Grants `rights`, and `LOOKUP`, on what `glob` matches. No rights grant nothing.
    #[must_use]
    pub fn allow(self, glob: &str, rights: Rights) -> Self {
        self.add(glob, Effect::Allow(rights))
    }

    /// Refuses `rights` on what `glob` matches, whatever else allows them.
    #[must_use]
    pub fn deny(self, glob: &str, rights: Rights) -> Self {
        self.add(glob, Effect::Deny(rights))
    }

    /// Hides what `glob` matches, and everything beneath it.
    #[must_use]
    pub fn hide(self, glob: &str) -> Self {
        self.add(glob, Effect::Hide)
    }

    /// Adds a rule that was read elsewhere.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Compiles the rules.
    ///
    /// Errors, in order: [`PolicyError::Glob`] for the first text that is none,
    /// [`PolicyError::TooManyRules`], [`PolicyError::Explodes`]. The time that it takes and the
    /// memory that the policy takes are in proportion to the rules, or it is an error.
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
                    let at = rule.place.as_ref().map(Place::to_string);
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
