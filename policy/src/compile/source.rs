//! What a policy is made of, before it is compiled, so that it can be put together with others.

use palisade_vfs::{Rights, bug};

use crate::builder::PolicyError;
use crate::{Effect, Rule};

/// Most conjuncts: one bit each says which of them lead on from a node.
pub(crate) const CONJUNCTS_MAX: u8 = 64;

/// Rules, each in one of several conjuncts, and rights that are missing everywhere. What is granted
/// is what all of the conjuncts grant and is not missing.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) rules: Vec<Rule>,
    /// The conjunct of each rule, below `conjuncts`.
    pub(crate) of: Vec<u8>,
    pub(crate) conjuncts: u8,
    /// Rights that are missing everywhere and told as denied.
    pub(crate) denied: Rights,
    /// Rights that are missing everywhere and told as read-only.
    pub(crate) rofs: Rights,
}

impl Default for Source {
    /// Grants everything.
    fn default() -> Self {
        let (denied, rofs) = (Rights::empty(), Rights::empty());
        Source { rules: Vec::new(), of: Vec::new(), conjuncts: 0, denied, rofs }
    }
}

impl Source {
    /// The conjuncts of both. One that both have is there once, so that what is narrowed to the
    /// same again and again does not grow.
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

    /// What all of the conjuncts grant where `rules` match and which is a way to what the
    /// conjuncts `ways` allow beneath.
    pub(crate) fn granted(&self, rules: &[u32], ways: u64) -> Rights {
        let mut granted = Rights::all() - self.denied;
        for conjunct in 0..self.conjuncts {
            let ways = ways.checked_shr(conjunct.into());
            let way = ways.unwrap_or_else(|| bug!(0; "conjunct {conjunct} has no bit")) & 1 == 1;
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
            if way || !allowed.is_empty() {
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
