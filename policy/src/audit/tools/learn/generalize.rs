//! Patterns that could stand for several names that were seen, and what they must not cover.
//!
//! Evidence is names: so many of one directory that need the same rights, by themselves or because
//! they look as if they were made up during the run. A directory in which something that looks like
//! a secret was used is left as it is; elsewhere what looks like one is denied within the pattern.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use palisade_vfs::Rights;

use super::{Learned, LearnedRule, Need, above};
use crate::automaton::builder::PolicyError;
use crate::automaton::policy::Policy;
use crate::rules::glob::Glob;

/// Names of one directory from which on a pattern is proposed.
const PROPOSED_FROM: usize = 4;
/// Most proposals.
const PROPOSALS_MAX: usize = 64;
/// How long the part of a name is that was made up, at least.
const RANDOM_LEN_MIN: usize = 6;

/// Names that look like those of secrets, as globs.
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

/// Whether `name` looks like that of a secret.
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

/// Proposes patterns, or puts them in the place of the rules that they cover.
pub(super) fn generalize(
    learned: &mut Learned,
    needs: &BTreeMap<String, Need>,
    options: &super::LearnOptions,
    holds: impl Fn(&Policy) -> bool,
) -> Result<(), PolicyError> {
    let asked = options.generalize.map(NonZeroUsize::get);
    let candidates = candidates(learned, needs, asked.unwrap_or(PROPOSED_FROM));
    let Some(_) = asked else {
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
        // What a rename would then gain is not given away.
        if holds(&next.to_policy()?) {
            *learned = next;
        }
    }
    Ok(())
}

/// Patterns, and the rules that each stands for.
fn candidates(
    learned: &Learned,
    needs: &BTreeMap<String, Need>,
    from: usize,
) -> Vec<(LearnedRule, BTreeSet<String>)> {
    let secretive: BTreeSet<&str> = needs
        .keys()
        .filter(|path| path.rsplit('/').next().is_some_and(is_sensitive))
        .map(|path| above(path))
        .collect();
    let mut groups: BTreeMap<(&str, Rights), Vec<&LearnedRule>> = BTreeMap::new();
    for rule in learned.rules.iter().filter(|rule| rule.paths == 1 && rule.glob != "/") {
        groups.entry((above(&rule.glob), rule.rights)).or_default().push(rule);
    }
    let literal_secretive: BTreeSet<String> = secretive.into_iter().map(Glob::escape).collect();
    groups.retain(|(dir, _), rules| rules.len() >= from && !literal_secretive.contains(*dir));
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

/// A pattern for `names`: what they begin and end with, if the rest looks made up; else any name
/// with their extension; else any name.
fn pattern(names: &[&str]) -> String {
    let first = names.first().copied().unwrap_or_default();
    let start = common(names, first.chars().collect(), |name| name.chars().collect());
    let end = common(names, first.chars().rev().collect(), |name| name.chars().rev().collect());
    let (start, mut end): (String, String) =
        (start.into_iter().collect(), end.into_iter().rev().collect());
    // Half an escape is none.
    if start.ends_with('\\') || end.contains('\\') || start.contains('\\') {
        return "*".to_owned();
    }
    let is_made_up = |name: &&str| {
        let middle = name.len().saturating_sub(start.len() + end.len());
        middle >= RANDOM_LEN_MIN
    };
    if !start.is_empty() && names.iter().all(is_made_up) {
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
