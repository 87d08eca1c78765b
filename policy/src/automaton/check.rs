//! Checks a policy for rules that do nothing: what a person who wrote them would want to know.
//!
//! Every state is looked at with the rules that match there, so the answer is for all paths.

use palisade_vfs::{Rights, bug};

use crate::automaton::compile::trie::number;
use crate::automaton::policy::Policy;
use crate::rules::rule::{Effect, RuleId};

/// A rule that does less than it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// What is the matter with it.
    pub kind: FindingKind,
    /// Rules that are the reason, where there are some at the same paths: those that deny or allow
    /// it all already. Not all of them, if they are many.
    pub by: Vec<RuleId>,
}

/// What can be the matter with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// All that it is about is hidden.
    NeverMatches,
    /// Without it the policy would say the same.
    NeverDecides,
    /// These rights it allows, and everywhere they are denied.
    NeverGrants(Rights),
}

/// The most rules that are named as a reason.
const BY_MAX: usize = 4;

/// What a rule does in all places together.
#[derive(Clone, Default)]
struct Seen {
    matches: bool,
    decides: bool,
    /// What it allows, where nothing denies it.
    granted: Rights,
    by: Vec<RuleId>,
}

impl Policy {
    /// The rules that do less than they say, in the order of the rules. For the rules of one
    /// policy: in a policy that was made by [`Policy::attenuate`], a rule also counts as deciding
    /// if the other policy takes away what it allows.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut seen = vec![Seen::default(); self.rules().len()];
        for (matched, hidden) in self.places() {
            self.look(matched, hidden, &mut seen);
        }
        let judge = |(nth, seen): (usize, Seen)| {
            let rule = RuleId::new(number(nth));
            let lost = match self.rule(rule)?.effect {
                Effect::Allow(rights) => rights - seen.granted,
                Effect::Deny(_) | Effect::Hide => Rights::empty(),
            };
            let kind = match seen {
                Seen { matches: false, .. } => FindingKind::NeverMatches,
                _ if !lost.is_empty() => FindingKind::NeverGrants(lost),
                Seen { decides: false, .. } => FindingKind::NeverDecides,
                Seen { .. } => return None,
            };
            Some(Finding { rule, kind, by: seen.by })
        };
        seen.into_iter().enumerate().filter_map(judge).collect()
    }

    /// Looks at one place, where these rules match.
    fn look(&self, matched: &[RuleId], hidden: bool, seen: &mut [Seen]) {
        let effect = |id: &RuleId| self.rule(*id).map_or(Effect::Hide, |rule| rule.effect);
        let allows = |id: &RuleId| match effect(id) {
            Effect::Allow(rights) if !rights.is_empty() => rights | Rights::LOOKUP,
            Effect::Allow(_) | Effect::Deny(_) | Effect::Hide => Rights::empty(),
        };
        let denies = |id: &RuleId| match effect(id) {
            Effect::Deny(rights) => rights,
            Effect::Allow(_) | Effect::Hide => Rights::empty(),
        };
        let (once_allowed, allowed) = sums(matched.iter().map(allows));
        let (once_denied, denied) = sums(matched.iter().map(denies));
        let hiding = |id: &RuleId| effect(id) == Effect::Hide;
        let hiders = matched.iter().filter(|id| hiding(id)).count();
        for id in matched {
            let Some(seen) = seen.get_mut(id.index()) else {
                bug!((); "there is no rule {id}");
                continue;
            };
            let (mine, taken) = (allows(id), denies(id));
            let decides = match (hiding(id), hidden) {
                (true, _) => hiders == 1,
                (false, true) => continue,
                (false, false) => {
                    (mine - denied).intersects(once_allowed)
                        || (taken & allowed).intersects(once_denied)
                }
            };
            seen.matches = true;
            seen.decides |= decides;
            seen.granted |= mine - denied;
            if !decides {
                let reason = |other: &&RuleId| {
                    **other != *id
                        && (denies(other).intersects(mine)
                            || allows(other).intersects(mine)
                            || denies(other).intersects(taken)
                            || (hiding(id) && hiding(other)))
                };
                seen.note(matched.iter().filter(reason));
            }
        }
    }
}

impl Seen {
    fn note<'r>(&mut self, rules: impl Iterator<Item = &'r RuleId>) {
        for rule in rules {
            if self.by.len() < BY_MAX && !self.by.contains(rule) {
                self.by.push(*rule);
            }
        }
    }
}

/// The rights that exactly one has, and those that any has.
fn sums(each: impl Iterator<Item = Rights>) -> (Rights, Rights) {
    each.fold((Rights::empty(), Rights::empty()), |(once, any), rights| {
        ((once - rights) | (rights - any), any | rights)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::glob::Glob;
    use crate::rules::rule::Rule;

    fn found(rules: &[(&str, Effect)]) -> Vec<(usize, FindingKind)> {
        let rule = |(glob, effect): &(&str, Effect)| Rule {
            glob: Glob::new(glob).unwrap(),
            effect: *effect,
            place: None,
        };
        let mut builder = Policy::builder();
        builder.extend(rules.iter().map(rule));
        let findings = builder.build().unwrap().findings();
        findings.into_iter().map(|it| (it.rule.index(), it.kind)).collect()
    }

    const READ: Effect = Effect::Allow(Rights::READ);
    const NO_READ: Effect = Effect::Deny(Rights::READ);

    #[test]
    fn rules_that_do_what_they_say_are_not_found() {
        assert_eq!(found(&[("/a/**", READ), ("/a/x", NO_READ), ("/a/h", Effect::Hide)]), []);
        assert_eq!(found(&[("/a/**", READ), ("/b/**", READ), ("/*/c", NO_READ)]), []);
    }

    #[test]
    fn rules_that_do_nothing_are_found_with_the_reason() {
        use FindingKind::{NeverDecides, NeverGrants, NeverMatches};
        for (rules, expected) in [
            (&[("/a/**", READ), ("/a/b", READ)][..], &[(1, NeverDecides)][..]),
            (&[("/a", READ), ("/b", NO_READ)], &[(1, NeverDecides)]),
            (&[("/a/**", Effect::Hide), ("/a/b/c", READ)], &[(1, NeverMatches)]),
            (&[("/a/**", Effect::Hide), ("/a/b", Effect::Hide)], &[(1, NeverMatches)]),
            (&[("/a", Effect::Hide), ("/{a,b}", Effect::Hide)], &[(0, NeverDecides)]),
            (&[("/a/*", READ), ("/a/**", NO_READ)], &[(0, NeverGrants(Rights::READ))]),
            (&[("/a", Effect::Allow(Rights::empty()))], &[(0, NeverDecides)]),
            (
                &[("/a", READ), ("/a", NO_READ), ("/a", NO_READ)],
                &[(0, NeverGrants(Rights::READ)), (1, NeverDecides), (2, NeverDecides)],
            ),
        ] {
            assert_eq!(found(rules), expected, "{rules:?}");
        }
        let rules = Policy::builder().allow("/a/**", Rights::READ).allow("/a/b", Rights::READ);
        let findings = rules.build().unwrap().findings();
        assert_eq!(findings[0].by, [RuleId::new(0)]);
    }
}
