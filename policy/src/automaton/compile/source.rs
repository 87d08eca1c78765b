//! The uncompiled rules of a policy, which can be combined with those of other policies.

use palisade_vfs::{Rights, bug};

use crate::automaton::builder::PolicyError;
use crate::rules::rule::{Effect, Rule};

/// The maximum number of conjuncts: a `u64` holds one bit for each.
pub(crate) const CONJUNCTS_MAX: u8 = 64;

/// Rules in several conjuncts, and rights that are removed everywhere. The policy grants the
/// intersection of the rights of all conjuncts, without the removed rights.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) rules: Vec<Rule>,
    /// The conjunct of each rule, less than `conjuncts`.
    pub(crate) of: Vec<u8>,
    pub(crate) conjuncts: u8,
    /// Rights that are removed everywhere and reported as denied.
    pub(crate) denied: Rights,
    /// Rights that are removed everywhere and reported as read-only.
    pub(crate) rofs: Rights,
}

impl Default for Source {
    /// A policy that grants everything.
    fn default() -> Self {
        let (denied, rofs) = (Rights::empty(), Rights::empty());
        Source { rules: Vec::new(), of: Vec::new(), conjuncts: 0, denied, rofs }
    }
}

impl Source {
    /// Returns the conjuncts of both. A conjunct of both is kept once, so that repeating the same
    /// attenuation does not grow the policy.
    pub(crate) fn and(&self, other: &Source) -> Result<Source, PolicyError> {
        let mut both = self.clone();
        both.denied |= other.denied;
        both.rofs |= other.rofs;
        for conjunct in 0..other.conjuncts {
            let known = |own: u8| self.conjunct(own).eq(other.conjunct(conjunct));
            if (0..self.conjuncts).any(known) {
                continue;
            }
            if both.conjuncts >= CONJUNCTS_MAX {
                return Err(PolicyError::TooManyLayers);
            }
            both.rules.extend(other.conjunct(conjunct).cloned());
            both.of.resize(both.rules.len(), both.conjuncts);
            both.conjuncts += 1;
        }
        Ok(both)
    }

    /// Returns the rights that all conjuncts grant on a path that `rules` match, and under which
    /// the conjuncts with a bit in `allowing` allow something.
    pub(crate) fn granted(&self, rules: &[u32], allowing: u64) -> Rights {
        let mut granted = Rights::all() - self.denied;
        for conjunct in 0..self.conjuncts {
            let bits = allowing.checked_shr(conjunct.into());
            let allows_under =
                bits.unwrap_or_else(|| bug!(0; "conjunct {conjunct} has no bit")) & 1 == 1;
            let (mut allowed, mut denied) = (Rights::empty(), Rights::empty());
            for id in rules {
                let at = *id as usize;
                let (Some(of), Some(rule)) = (self.of.get(at), self.rules.get(at)) else {
                    return bug!(Rights::empty(); "there is no rule {id}");
                };
                match rule.effect {
                    _ if *of != conjunct => {}
                    Effect::Allow(rights) => allowed |= rights,
                    Effect::Deny(rights) => denied |= rights,
                    Effect::Hide => {}
                }
            }
            if allows_under || !allowed.is_empty() {
                allowed |= Rights::LOOKUP;
            }
            granted &= allowed - denied;
        }
        granted
    }

    fn conjunct(&self, conjunct: u8) -> impl Iterator<Item = &Rule> {
        self.rules
            .iter()
            .zip(&self.of)
            .filter(move |(_, of)| **of == conjunct)
            .map(|(rule, _)| rule)
    }
}
