//! Attenuation and comparison of policies.

use palisade_vfs::{Descent, Rights};
use proptest::prelude::*;

use super::config;
use super::evaluator::{Meaning, build, compiled, meaning, some_path, some_rule, some_rules};
use crate::automaton::compare::excess;
use crate::{Effect, Policy, Rule, Witness};

fn check_witness(witness: &Witness, more: &[Rule], less: &[Rule]) -> Result<(), TestCaseError> {
    let path = Descent::new(&witness.path).unwrap();
    let (more, less) = (meaning(more, path), meaning(less, path));
    prop_assert!(more.exceeds(&less), "{witness:?} {more:?} {less:?}");
    prop_assert_eq!(witness.gained, more.rights - less.rights);
    prop_assert_eq!(witness.shown, less.hidden && !more.hidden);
    prop_assert_eq!(&witness.rules, &more.matched);
    prop_assert_eq!(&witness.than_rules, &less.matched);
    Ok(())
}

/// Generates two similar lists of rules.
fn some_pair() -> impl Strategy<Value = (Vec<Rule>, Vec<Rule>)> {
    let edited = (some_rules(), some_rule(), any::<prop::sample::Index>(), 0..4u8);
    let edited = edited.prop_map(|(rules, rule, at, kind)| {
        let mut other = rules.clone();
        match kind {
            0 => other.push(rule),
            1 if !other.is_empty() => {
                other.remove(at.index(rules.len()));
            }
            2 if !other.is_empty() => other[at.index(rules.len())].effect = rule.effect,
            _ => {}
        }
        (rules, other)
    });
    prop_oneof![3 => edited, 1 => (some_rules(), some_rules())]
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn attenuation_grants_the_intersection(
        one in some_rules(), two in some_rules(), three in some_rules(), path in some_path(),
    ) {
        let all = build(&one).attenuate(&build(&two)).unwrap().attenuate(&build(&three)).unwrap();
        let path = Descent::new(&path).unwrap();
        let here = compiled(&all, path);
        let (a, b, c) = (meaning(&one, path), meaning(&two, path), meaning(&three, path));
        prop_assert_eq!(here.hidden, a.hidden || b.hidden || c.hidden);
        let rights = if here.hidden { Rights::empty() } else { a.rights & b.rights & c.rights };
        prop_assert_eq!(here.rights, rights);
        // An equal conjunct is stored once, so the rule numbers are only predictable otherwise.
        if one != two {
            let two_layers = build(&one).attenuate(&build(&two)).unwrap();
            let expected: Meaning = a.and(b, one.len() as u32);
            let found = compiled(&two_layers, path);
            if !expected.hidden {
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn attenuation_never_grants_more(one in some_rules(), two in some_rules()) {
        let (one, two) = (build(&one), build(&two));
        let both = one.attenuate(&two).unwrap();
        prop_assert!(both.compare(&one).is_at_most());
        prop_assert!(both.compare(&two).is_at_most());
        prop_assert!(one.compare(&both).is_at_least());
        prop_assert!(both.compare(&two.attenuate(&one).unwrap()).is_same());
        prop_assert!(one.attenuate(&one).unwrap().compare(&one).is_same());
        if one.compare(&two).is_at_most() {
            prop_assert!(both.compare(&one).is_same());
        }
    }

    #[test]
    fn comparison_and_its_witnesses_agree_with_the_evaluator(
        (one, two) in some_pair(), paths in prop::collection::vec(some_path(), 8),
    ) {
        let found = build(&one).compare(&build(&two));
        prop_assert!(!found.cut);
        for witness in &found.more {
            check_witness(witness, &one, &two)?;
        }
        for witness in &found.less {
            check_witness(witness, &two, &one)?;
        }
        for path in &paths {
            let path = Descent::new(path).unwrap();
            let (left, right) = (meaning(&one, path), meaning(&two, path));
            prop_assert!(!left.exceeds(&right) || !found.is_at_most(), "{path:?}");
            prop_assert!(!right.exceeds(&left) || !found.is_at_least(), "{path:?}");
        }
        let back = build(&two).compare(&build(&one));
        prop_assert_eq!(found.is_at_most(), back.is_at_least());
        prop_assert_eq!(found.is_at_least(), back.is_at_most());
    }

    #[test]
    fn state_at_most_another_grants_no_more_on_descendants(
        rules in some_rules(), from in some_path(), to in some_path(),
        paths in prop::collection::vec(some_path(), 8),
    ) {
        let policy = build(&rules);
        let (state, than) = (policy.at(&to), policy.at(&from));
        let is_at_most = policy.is_at_most(state, than);
        prop_assert_eq!(is_at_most, policy.is_at_most(state, than), "cached");
        let join = |above: &str, path: &str| {
            let both = [above, path].join("/");
            meaning(&rules, Descent::new(both.trim_matches('/')).unwrap())
        };
        for path in &paths {
            let (new, old) = (join(&to, path), join(&from, path));
            prop_assert!(!is_at_most || !new.exceeds(&old), "{path}");
        }
        if !is_at_most {
            let path = excess(&policy.table, state.0, than.0).unwrap().unwrap();
            prop_assert!(join(&to, &path).exceeds(&join(&from, &path)), "{path:?}");
        }
    }
}

#[test]
fn literals_that_exhaust_a_class_equal_the_pattern() {
    // The class has no name besides the literal names.
    let builder = |glob| Policy::builder().allow(glob, Rights::READ);
    let one = builder("/[ab]").build().unwrap();
    for (globs, same) in [
        (&["/a", "/b"][..], true),
        (&["/{a,b}"], true),
        (&["/a"], false),
        (&["/[a-b]", "/a"], true),
        (&["/?"], false),
    ] {
        let add = |builder: crate::PolicyBuilder, glob: &&str| builder.allow(glob, Rights::READ);
        let other = globs.iter().fold(Policy::builder(), add).build().unwrap();
        assert_eq!(one.compare(&other).is_same(), same, "{globs:?}");
    }
    let dots = builder("/[.][.a]").build().unwrap();
    assert!(dots.compare(&builder("/.a").build().unwrap()).is_same(), "`..` is not a name");
    let long = format!("/{}*", "a".repeat(255));
    let exact = format!("/{}", "a".repeat(255));
    assert!(builder(&long).build().unwrap().compare(&builder(&exact).build().unwrap()).is_same());
}

#[test]
fn witness_names_the_path_and_the_rules() {
    let old = Policy::builder().allow("/data/**", Rights::READ).hide("/**/.git").build().unwrap();
    let new = Policy::builder()
        .allow("/data/**", Rights::READ)
        .allow("/data/*.txt", Rights::WRITE)
        .build()
        .unwrap();
    let found = new.compare(&old);
    assert!(!found.is_at_most() && found.is_at_least());
    let written = found.more.iter().find(|witness| witness.gained == Rights::WRITE).unwrap();
    assert!(written.path.starts_with("data/") && written.path.ends_with(".txt"), "{written:?}");
    assert_eq!(written.rules.len(), 2);
    let shown = found.more.iter().find(|witness| witness.shown).unwrap();
    assert_eq!(shown.path, ".git");
}

#[test]
fn equivalent_states_have_the_same_kind() {
    let mut builder = Policy::builder().hide("/**/.git").deny("/**/*.key", Rights::WRITE);
    for user in 0..100 {
        builder = builder.allow(&format!("/srv/u{user}/data/**"), Rights::all());
    }
    let policy = builder.build().unwrap();
    let (one, two) = (policy.at("/srv/u1/data"), policy.at("/srv/u2/data"));
    assert_ne!(one, two);
    assert_eq!(policy.table.kind(one.0), policy.table.kind(two.0));
    assert!(policy.is_at_most(one, two) && policy.is_at_most(two, one));
    assert!(!policy.is_at_most(one, policy.at("/srv")));
}

#[test]
fn states_on_cycles_with_different_targets_are_not_equivalent() {
    let policy = Policy::builder()
        .allow("/a/**", Rights::READ)
        .allow("/b/**", Rights::READ | Rights::WRITE)
        .allow("/c/**", Rights::READ)
        .deny("/**/k", Rights::all())
        .hide("/**/k/z")
        .build()
        .unwrap();
    for (state, than, expected) in [
        ("/a/k", "/b/k", true),
        ("/b/k", "/a/k", false),
        ("/a/k", "/c/k", true),
        ("/c/k/z", "/a/k", true),
        ("/b/x/k", "/a/k/z", false),
        ("/a", "/a/x", true),
    ] {
        assert_eq!(
            policy.is_at_most(policy.at(state), policy.at(than)),
            expected,
            "{state} {than}"
        );
    }
}

#[test]
fn repeated_attenuation_does_not_grow_the_policy() {
    let mut policy = Policy::builder().allow("/**", Rights::all()).build().unwrap();
    let narrower = Policy::builder().allow("/a/**", Rights::all()).build().unwrap();
    for _ in 0..200 {
        policy = policy.attenuate(&narrower).unwrap();
    }
    assert_eq!(policy.rules().len(), 2);
    assert_eq!(policy.rules()[1].effect, Effect::Allow(Rights::all()));
}
