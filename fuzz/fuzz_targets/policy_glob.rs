//! Fuzzes the policy compiler: compares compiled policies with a direct evaluation of their globs.
//!
//! The comparison of two policies must agree with the evaluation of both; compiling ends in an
//! error or in bounded time.
//!
//! Lines up to an empty line are rules: `+` allows, `-` denies and `!` hides, followed by a letter
//! for the rights and the glob. A line `=` separates the rules of two policies. Paths follow the
//! empty line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_policy::{Effect, Glob, Policy, Rule, Witness};
use palisade_vfs::{Descent, Rights};

/// The maximum number of rules and paths: enough to combine all kinds, few enough to be fast.
const LINES_MAX: usize = 24;

/// The rights on a path, and whether the path is hidden.
type Meaning = (Rights, bool);

fn rule(line: &str) -> Option<Rule> {
    let mut chars = line.chars();
    let (sign, letter) = (chars.next()?, chars.next()?);
    let glob = Glob::new(chars.as_str()).ok()?;
    let rights = Rights::from_bits_truncate(u32::from(letter) & 7);
    let effect = match sign {
        '+' => Effect::Allow(rights),
        '-' => Effect::Deny(rights),
        '!' => Effect::Hide,
        _ => return None,
    };
    Some(Rule { glob, effect, place: None })
}

fn meaning(rules: &[Rule], path: Descent<'_>) -> Meaning {
    let hides = |rule: &Rule| {
        rule.effect == Effect::Hide
            && (0..=path.depth()).any(|depth| rule.glob.matches(path.split_at(depth).0))
    };
    if rules.iter().any(hides) {
        return (Rights::empty(), true);
    }
    let (mut allowed, mut denied) = (Rights::empty(), Rights::empty());
    for rule in rules {
        match rule.effect {
            Effect::Allow(rights) if !rights.is_empty() => {
                if rule.glob.matches(path) {
                    allowed |= rights | Rights::LOOKUP;
                }
                if rule.glob.matches_under(path) {
                    allowed |= Rights::LOOKUP;
                }
            }
            Effect::Deny(rights) if rule.glob.matches(path) => denied |= rights,
            Effect::Allow(_) | Effect::Deny(_) | Effect::Hide => {}
        }
    }
    (allowed - denied, false)
}

fn compiled(policy: &Policy, path: Descent<'_>) -> Meaning {
    let state = path.names().fold(Policy::START, |state, name| policy.step(state, name));
    (policy.rights(state), policy.is_hidden(state))
}

fn exceeds(more: Meaning, less: Meaning) -> bool {
    !more.1 && (less.1 || !less.0.contains(more.0))
}

fn build(rules: &[Rule]) -> Option<Policy> {
    rules.iter().cloned().fold(Policy::builder(), |builder, rule| builder.rule(rule)).build().ok()
}

fn check(witnesses: &[Witness], more: &[Rule], less: &[Rule]) {
    for witness in witnesses {
        let path = Descent::new(&witness.path).expect("a witness is a path");
        assert!(exceeds(meaning(more, path), meaning(less, path)), "{witness:?}");
    }
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines().take(2 * LINES_MAX);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut into_other = false;
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        into_other |= line == "=";
        let rules = if into_other { &mut other } else { &mut one };
        rules.extend(rule(line));
    }
    let (Some(left), Some(right)) = (build(&one), build(&other)) else { return };
    let found = left.compare(&right);
    check(&found.more, &one, &other);
    check(&found.less, &other, &one);
    let both = left.attenuate(&right).ok();
    for path in lines.filter_map(|line| Descent::new(line).ok()).take(LINES_MAX) {
        let (l, r) = (meaning(&one, path), meaning(&other, path));
        assert_eq!(compiled(&left, path), l, "{path:?}");
        assert_eq!(compiled(&right, path), r, "{path:?}");
        assert!(!exceeds(l, r) || !found.is_at_most(), "{path:?}");
        assert!(!exceeds(r, l) || !found.is_at_least(), "{path:?}");
        if let Some(both) = &both {
            let hidden = l.1 || r.1;
            let rights = if hidden { Rights::empty() } else { l.0 & r.0 };
            assert_eq!(compiled(both, path), (rights, hidden), "{path:?}");
        }
    }
});
