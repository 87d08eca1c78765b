//! Generalization: patterns that replace several learned names, and names that they must not match.
//!
//! A pattern is proposed for a number of names in one directory that need the same rights, in
//! particular for names that look generated. A directory in which a sensitive name was used is not
//! generalized; in other directories sensitive names are denied within the pattern.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use palisade_vfs::Rights;

use super::{Learned, LearnedRule, Need, above};
use crate::automaton::builder::PolicyError;
use crate::automaton::policy::Policy;
use crate::rules::glob::Glob;

/// The least number of names in one directory for which a pattern is proposed.
const PROPOSED_FROM: usize = 4;
/// The most proposals.
const PROPOSALS_MAX: usize = 64;
/// The least length of the generated part of a name.
const RANDOM_LEN_MIN: usize = 6;

/// Globs of sensitive names.
const SENSITIVE: [&str; 12] = [
    ".git",
    ".env",
    ".env.*",
    ".ssh",
    ".aws",
    ".gnupg",
    ".netrc",
    "*.key",
    "*.pem",
    "id_*",
    "secrets*",
    "*credentials*",
];

/// Whether `name` looks like the name of a secret.
#[must_use]
pub fn is_sensitive(name: &str) -> bool {
    SENSITIVE.iter().any(|glob| {
        let mut parts = glob.split('*');
        let (first, last) = (parts.next().unwrap_or_default(), glob.rsplit('*').next());
        match (glob.matches('*').count(), last) {
            (0, _) => name == *glob,
            (1, Some(last)) => {
                name.len() >= first.len() + last.len()
                    && name.starts_with(first)
                    && name.ends_with(last)
            }
            _ => name.contains(glob.trim_matches('*')),
        }
    })
}

/// Proposes patterns, or replaces the rules that they cover.
pub(super) fn generalize(
    learned: &mut Learned,
    needs: &BTreeMap<String, Need>,
    options: &super::LearnOptions,
    holds: impl Fn(&Policy) -> bool,
) -> Result<(), PolicyError> {
    let min_names = options.generalize.map(NonZeroUsize::get);
    let candidates = candidates(learned, needs, min_names.unwrap_or(PROPOSED_FROM));
    let Some(_) = min_names else {
        learned.proposals = candidates.into_iter().map(|(rule, _)| rule).collect();
        return Ok(());
    };
    for (rule, covered) in candidates {
        let mut next = learned.clone();
        next.rules.retain(|rule| !covered.contains(&rule.glob));
        let dir = above(&rule.glob);
        let dir = if dir == "/" { "" } else { dir };
        for name in SENSITIVE {
            let glob = format!("{dir}/{name}");
            if !next.denied.contains(&glob) {
                next.denied.push(glob);
            }
        }
        next.rules.push(rule);
        // A pattern that would deny a rename of the run is not used.
        if holds(&next.to_policy()?) {
            *learned = next;
        }
    }
    Ok(())
}

/// Returns patterns, each with the rules that it covers.
fn candidates(
    learned: &Learned,
    needs: &BTreeMap<String, Need>,
    from: usize,
) -> Vec<(LearnedRule, BTreeSet<String>)> {
    let sensitive_dirs: BTreeSet<&str> = needs
        .keys()
        .filter(|path| path.rsplit('/').next().is_some_and(is_sensitive))
        .map(|path| above(path))
        .collect();
    let mut groups: BTreeMap<(&str, Rights), Vec<&LearnedRule>> = BTreeMap::new();
    for rule in learned.rules.iter().filter(|rule| rule.paths == 1 && rule.glob != "/") {
        groups.entry((above(&rule.glob), rule.rights)).or_default().push(rule);
    }
    let literal_sensitive_dirs: BTreeSet<String> =
        sensitive_dirs.into_iter().map(Glob::escape).collect();
    groups.retain(|(dir, _), rules| rules.len() >= from && !literal_sensitive_dirs.contains(*dir));
    let patterns = groups.into_iter().take(PROPOSALS_MAX).map(|((dir, rights), rules)| {
        let names: Vec<_> = rules.iter().filter_map(|rule| rule.glob.rsplit('/').next()).collect();
        let dir = if dir == "/" { "" } else { dir };
        let rule = LearnedRule {
            glob: format!("{dir}/{}", pattern(&names)),
            rights,
            accesses: rules.iter().map(|rule| rule.accesses).sum(),
            paths: rules.len(),
            is_sensitive: false,
        };
        (rule, rules.into_iter().map(|rule| rule.glob.clone()).collect())
    });
    patterns.collect()
}

/// Returns a pattern for `names`: the common prefix and suffix if the rest looks generated, or else
/// the common extension, or else `*`.
fn pattern(names: &[&str]) -> String {
    let first = names.first().copied().unwrap_or_default();
    let start = common(names, first.chars().collect(), |name| name.chars().collect());
    let end = common(names, first.chars().rev().collect(), |name| name.chars().rev().collect());
    let (start, mut end): (String, String) =
        (start.into_iter().collect(), end.into_iter().rev().collect());
    // A prefix or suffix must not split an escape sequence.
    if start.ends_with('\\') || end.contains('\\') || start.contains('\\') {
        return "*".to_owned();
    }
    let is_generated = |name: &&str| {
        let middle = name.len().saturating_sub(start.len() + end.len());
        middle >= RANDOM_LEN_MIN
    };
    if !start.is_empty() && names.iter().all(is_generated) {
        return format!("{start}*{end}");
    }
    end = end.find('.').and_then(|dot| end.get(dot..)).unwrap_or_default().to_owned();
    format!("*{end}")
}

fn common(names: &[&str], first: Vec<char>, chars: impl Fn(&str) -> Vec<char>) -> Vec<char> {
    names.iter().fold(first, |common, name| {
        let same = common.iter().zip(chars(name)).take_while(|(a, b)| **a == *b).count();
        common.into_iter().take(same).collect()
    })
}
