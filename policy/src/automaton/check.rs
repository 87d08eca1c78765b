//! A linter for policies: finds rules without effect.
//!
//! The analysis visits every state with its matching rules, so the result holds for all paths.

use palisade_vfs::{Rights, bug};

use crate::automaton::compile::trie::number;
use crate::automaton::policy::Policy;
use crate::rules::rule::{Effect, RuleId};

/// A rule that has less effect than its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleId,
    /// The kind of the finding.
    pub kind: FindingKind,
    /// Rules that cause it: those that deny or allow the same rights at the same paths. At most
    /// four are listed.
    pub by: Vec<RuleId>,
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// All paths that the rule matches are hidden.
    NeverMatches,
    /// The policy is the same without the rule.
    NeverDecides,
    /// These rights, which the rule allows, are denied on all of its paths.
    NeverGrants(Rights),
}

/// The most rules that are listed as a cause.
const BY_MAX: usize = 4;

/// The effects of a rule, over all states.
#[derive(Clone, Default)]
struct RuleEffects {
    matches: bool,
    decides: bool,
    /// The rights that the rule allows and no rule denies.
    granted: Rights,
    by: Vec<RuleId>,
}

impl Policy {
    /// Returns the rules with less effect than their text, in ascending order. In an intersection
    /// made by [`Policy::attenuate`], a rule counts as effective even if the other policy does not
    /// grant the rights that it allows.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut effects = vec![RuleEffects::default(); self.rules().len()];
        for (matched, hidden) in self.states() {
            self.visit_state(matched, hidden, &mut effects);
        }
        let judge = |(nth, effects): (usize, RuleEffects)| {
            let rule = RuleId::new(number(nth));
            let lost = match self.rule(rule)?.effect {
                Effect::Allow(rights) => rights - effects.granted,
                Effect::Deny(_) | Effect::Hide => Rights::empty(),
            };
            let kind = match effects {
                RuleEffects { matches: false, .. } => FindingKind::NeverMatches,
                _ if !lost.is_empty() => FindingKind::NeverGrants(lost),
                RuleEffects { decides: false, .. } => FindingKind::NeverDecides,
                RuleEffects { .. } => return None,
            };
            Some(Finding { rule, kind, by: effects.by })
        };
        effects.into_iter().enumerate().filter_map(judge).collect()
    }

    /// Adds the effects at one state.
    fn visit_state(&self, matched: &[RuleId], hidden: bool, effects: &mut [RuleEffects]) {
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
            let Some(effects) = effects.get_mut(id.index()) else {
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
            effects.matches = true;
            effects.decides |= decides;
            effects.granted |= mine - denied;
            if !decides {
                let reason = |other: &&RuleId| {
                    **other != *id
                        && (denies(other).intersects(mine)
                            || allows(other).intersects(mine)
                            || denies(other).intersects(taken)
                            || (hiding(id) && hiding(other)))
                };
                effects.note(matched.iter().filter(reason));
            }
        }
    }
}

impl RuleEffects {
    fn note<'r>(&mut self, rules: impl Iterator<Item = &'r RuleId>) {
        for rule in rules {
            if self.by.len() < BY_MAX && !self.by.contains(rule) {
                self.by.push(*rule);
            }
        }
    }
}

/// Returns the rights in exactly one of the sets, and those in any.
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
    fn effective_rules_are_not_reported() {
        assert_eq!(found(&[("/a/**", READ), ("/a/x", NO_READ), ("/a/h", Effect::Hide)]), []);
        assert_eq!(found(&[("/a/**", READ), ("/b/**", READ), ("/*/c", NO_READ)]), []);
    }

    #[test]
    fn ineffective_rules_are_reported_with_their_cause() {
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
