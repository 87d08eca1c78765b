//! What rules mean, and that the compiled form means the same.

use palisade_vfs::{Descent, Errno, Name, Rights};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::config;
use super::evaluator::{build, compiled, meaning, some_path, some_rule, some_rules};
use crate::{Effect, Glob, Policy, Refusal, Rule, RuleId};

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn compiled_policy_agrees_with_matching_every_glob(
        rules in some_rules(), path in some_path(), other in some_path(),
    ) {
        let policy = build(&rules);
        for path in [&path, &other] {
            let path = Descent::new(path).unwrap();
            for depth in 0..=path.depth() {
                let (path, _) = path.split_at(depth);
                prop_assert_eq!(compiled(&policy, path), meaning(&rules, path), "{:?}", path);
            }
        }
    }

    #[test]
    fn order_of_rules_is_irrelevant(
        (rules, shuffled) in some_rules().prop_flat_map(|rules| {
            (Just(rules.clone()), Just(rules).prop_shuffle())
        }),
        path in some_path(),
    ) {
        let path = Descent::new(&path).unwrap();
        let (one, other) = (build(&rules), build(&shuffled));
        let (left, right) = (compiled(&one, path), compiled(&other, path));
        prop_assert_eq!((left.rights, left.hidden), (right.rights, right.hidden));
        prop_assert!(one.compare(&other).is_same());
    }

    #[test]
    fn forbid_overrides_permit(
        mut rules in some_rules(), forbid in some_rule(), path in some_path(), bits in 0..8_u32,
    ) {
        let rights = Rights::from_bits_truncate(bits);
        let path = Descent::new(&path).unwrap();
        rules.push(Rule { effect: Effect::Deny(rights), ..forbid.clone() });
        if forbid.glob.matches(path) {
            prop_assert!(!compiled(&build(&rules), path).rights.intersects(rights));
        }
        rules.push(Rule { effect: Effect::Hide, ..forbid.clone() });
        if forbid.glob.matches(path) {
            prop_assert!(compiled(&build(&rules), path).hidden);
        }
    }

    #[test]
    fn default_is_deny(rules in some_rules(), path in some_path()) {
        let path = Descent::new(&path).unwrap();
        let granted = compiled(&build(&rules), path).rights;
        for right in granted.iter() {
            let allows = |rule: &Rule| match rule.effect {
                Effect::Allow(rights) if right == Rights::LOOKUP => {
                    let leads = rule.glob.matches(path) || rule.glob.matches_under(path);
                    leads && !rights.is_empty()
                }
                Effect::Allow(rights) => rights.contains(right) && rule.glob.matches(path),
                Effect::Deny(_) | Effect::Hide => false,
            };
            prop_assert!(rules.iter().any(allows), "{right:?}");
        }
    }

    #[test]
    fn verdict_agrees_with_the_evaluator_on_each_directory(
        rules in some_rules(), path in some_path(), bits in 0..8_u32,
    ) {
        let (policy, wanted) = (build(&rules), Rights::from_bits_truncate(bits));
        let path = Descent::new(&path).unwrap();
        let verdict = policy.judge(Policy::START, path, wanted);
        let depth = path.depth();
        let first = (0..=depth).find(|at| {
            let here = meaning(&rules, path.split_at(*at).0);
            let wanted = if *at < depth { Rights::LOOKUP } else { wanted };
            here.hidden || !here.rights.contains(wanted)
        });
        let at = first.unwrap_or(depth);
        let here = meaning(&rules, path.split_at(at).0);
        prop_assert_eq!(verdict.is_allowed(), first.is_none());
        prop_assert_eq!(verdict.passed(), at);
        prop_assert_eq!(verdict.matched(), &here.matched[..]);
        let errno = match first {
            None => None,
            Some(_) if here.hidden => Some(Errno::Noent),
            Some(_) => Some(Errno::Acces),
        };
        prop_assert_eq!(verdict.errno(), errno);
        let effect = verdict.rule().map(|id| rules[id.index()].effect);
        match effect {
            Some(Effect::Hide) => prop_assert!(here.hidden),
            Some(Effect::Deny(rights)) => prop_assert!(rights.intersects(verdict.missing())),
            Some(Effect::Allow(_)) => prop_assert!(verdict.is_allowed()),
            None => prop_assert!(!here.hidden),
        }
    }

    #[test]
    fn grant_of_a_verdict_suffices(
        mut rules in some_rules(), path in some_path(), bits in 0..8_u32,
    ) {
        rules.retain(|rule| matches!(rule.effect, Effect::Allow(_)));
        let (policy, wanted) = (build(&rules), Rights::from_bits_truncate(bits));
        let descent = Descent::new(&path).unwrap();
        let verdict = policy.judge(Policy::START, descent, wanted);
        if verdict.is_allowed() {
            return Ok(());
        }
        let names: Vec<_> = descent.names().take(verdict.passed()).map(|name| {
            name.as_str().replace('*', "\\*").replace('[', "\\[")
        }).collect();
        let glob = Glob::new(&format!("/{}", names.join("/"))).unwrap();
        let granted = |rights| {
            let effect = Effect::Allow(rights);
            let mut rules = rules.clone();
            rules.push(Rule { glob: glob.clone(), effect, place: None });
            let policy = build(&rules);
            let (path, _) = descent.split_at(verdict.passed());
            policy.judge(Policy::START, path, verdict.wanted()).is_allowed()
        };
        prop_assert!(granted(verdict.grant()));
        for right in verdict.grant().iter() {
            let less = verdict.grant() - right;
            // Any grant brings LOOKUP with it.
            prop_assert!(right == Rights::LOOKUP || !granted(less), "{right:?}");
        }
    }
}

/// A property that nothing reaches holds for nothing.
#[test]
fn random_rules_and_paths_reach_every_outcome() {
    const RUNS: usize = 2000;
    let mut runner = TestRunner::deterministic();
    let mut draw = || {
        let rules = some_rules().new_tree(&mut runner).unwrap().current();
        let paths = (some_path(), some_path()).new_tree(&mut runner).unwrap().current();
        (rules, paths)
    };
    let (mut hidden, mut granted, mut way, mut denied, mut many) = (0, 0, 0, 0, 0);
    let (mut at_most, mut not_at_most) = (0, 0);
    for _ in 0..RUNS {
        let (rules, (path, other)) = draw();
        let policy = build(&rules);
        let path = Descent::new(&path).unwrap();
        let here = compiled(&policy, path);
        hidden += usize::from(here.hidden);
        granted += usize::from(!(here.rights - Rights::LOOKUP).is_empty());
        way += usize::from(here.rights == Rights::LOOKUP);
        denied += usize::from(!here.hidden && here.rights.is_empty());
        many += usize::from(here.matched.len() > 1);
        let (state, than) = (policy.at(path.as_str()), policy.at(&other));
        let alike = policy.table.kind(state.0) == policy.table.kind(than.0);
        if !alike && !policy.is_hidden(state) {
            *if policy.is_at_most(state, than) { &mut at_most } else { &mut not_at_most } += 1;
        }
    }
    let counts = [hidden, granted, way, denied, many, at_most, not_at_most];
    assert!(counts.iter().all(|count| count * 100 >= RUNS * 3), "{counts:?} of {RUNS}");
}

#[test]
fn empty_policy_grants_nothing() {
    let policy = Policy::builder().build().unwrap();
    for path in ["", "a", "a/b"] {
        let verdict = policy.judge(Policy::START, Descent::new(path).unwrap(), Rights::STAT);
        assert_eq!((verdict.errno(), verdict.rule()), (Some(Errno::Acces), None), "{path}");
    }
    assert!(!policy.hides());
}

#[test]
fn directories_to_an_allowed_path_grant_only_lookup() {
    let policy = Policy::builder().allow("/a/*/c", Rights::READ).build().unwrap();
    for (path, rights) in [
        ("/", Rights::LOOKUP),
        ("/a", Rights::LOOKUP),
        ("/a/x", Rights::LOOKUP),
        ("/a/x/c", Rights::LOOKUP | Rights::READ),
        ("/a/x/c/d", Rights::empty()),
        ("/b", Rights::empty()),
        ("/a/x/d", Rights::empty()),
        ("a//x/./c", Rights::LOOKUP | Rights::READ),
        ("/a/../a", Rights::empty()),
    ] {
        assert_eq!(policy.rights(policy.at(path)), rights, "{path}");
    }
}

#[test]
fn may_hide_in_covers_descendants() {
    let policy = Policy::builder().allow("/**", Rights::all()).hide("/a/b/.git").build().unwrap();
    assert!(policy.hides());
    for (path, may_hide, hidden) in [
        ("/", true, false),
        ("/a", true, false),
        ("/a/b", true, false),
        ("/a/b/.git", true, true),
        ("/a/b/.git/config", true, true),
        ("/a/c", false, false),
        ("/b", false, false),
    ] {
        let state = policy.at(path);
        assert_eq!(
            (policy.may_hide_in(state), policy.is_hidden(state)),
            (may_hide, hidden),
            "{path}"
        );
    }
}

#[test]
fn matched_lists_all_hiding_rules() {
    let hide =
        |glob: &&str| Rule { glob: Glob::new(glob).unwrap(), effect: Effect::Hide, place: None };
    let deny = Rule { effect: Effect::Deny(Rights::READ), ..hide(&"/**/.git") };
    for globs in [
        &["/**/.git", "/**/.g*"][..],
        &["/**/.git", "/x/.git", "/x/**/.git/**"],
        &["/**/.git", "/**/{.git,.hg}", "/x/**/{a,.git}"],
        &["/**/.git", "/x/*"],
        &["/**/.git/**", "/x/**/.git", "/x/?git"],
    ] {
        let mut rules: Vec<Rule> = globs.iter().map(hide).collect();
        rules.push(deny.clone());
        let policy = build(&rules);
        for path in [".git", "x/.git", "x/y/.git/z", ".gx", "x/.hg", "y/.hg", "x/a", "x/x/a"] {
            let path = Descent::new(path).unwrap();
            assert_eq!(compiled(&policy, path), meaning(&rules, path), "{globs:?} {path:?}");
        }
    }
}

#[test]
fn verdict_names_the_deciding_rule() {
    let policy = Policy::builder()
        .allow("/**", Rights::READ)
        .allow("/a/**", Rights::WRITE)
        .deny("/a/*.key", Rights::WRITE)
        .deny("/**/*.key", Rights::WRITE | Rights::READ)
        .hide("/a/secret")
        .build()
        .unwrap();
    for (path, wanted, rule, grant) in [
        ("a/x", Rights::READ, Some(0), Rights::empty()),
        ("a/x", Rights::WRITE, Some(1), Rights::empty()),
        ("a/x", Rights::READ | Rights::LIST, None, Rights::LIST),
        ("a/x.key", Rights::WRITE, Some(2), Rights::WRITE),
        ("a/x.key", Rights::READ | Rights::WRITE, Some(2), Rights::READ | Rights::WRITE),
        ("a/x.key", Rights::READ, Some(3), Rights::READ),
        ("a/secret/x", Rights::READ, Some(4), Rights::LOOKUP),
        ("a/secret", Rights::READ, Some(4), Rights::READ),
    ] {
        let verdict = policy.judge(Policy::START, Descent::new(path).unwrap(), wanted);
        assert_eq!(verdict.rule(), rule.map(RuleId::new), "{path} {wanted:?}");
        assert_eq!(verdict.grant(), grant, "{path} {wanted:?}");
    }
}

#[test]
fn read_only_intersection_is_erofs_where_rules_allow() {
    let rules = Policy::builder().allow("/w/**", Rights::all()).build().unwrap();
    let policy = rules.attenuate(&Policy::read_only()).unwrap();
    let denied = Policy::uniform(Rights::READ_ONLY, Refusal::Denied);
    for (path, wanted, errno) in [
        ("/w/x", Rights::READ, None),
        ("/w/x", Rights::WRITE, Some(Errno::Rofs)),
        ("/r", Rights::WRITE, Some(Errno::Acces)),
        ("/r", Rights::READ, Some(Errno::Acces)),
        ("/w", Rights::READ | Rights::WRITE, Some(Errno::Rofs)),
    ] {
        assert_eq!(policy.require(policy.at(path), wanted).err(), errno, "{path} {wanted:?}");
    }
    let both = policy.attenuate(&denied).unwrap();
    assert_eq!(both.require(both.at("/w/x"), Rights::WRITE), Err(Errno::Acces));
}

#[test]
fn names_are_compared_bytewise() {
    let policy = Policy::builder()
        .allow("/Data/é/\\*/a.", Rights::READ)
        .allow(&format!("/{}", "x".repeat(255)), Rights::READ)
        .build()
        .unwrap();
    for (path, expected) in [
        ("/Data/é/*/a.", true),
        ("/data/é/*/a.", false),
        ("/Data/e\u{301}/*/a.", false),
        ("/Data/é/x/a.", false),
        ("/Data/é/*/a", false),
        ("/Data/é/*/a..", false),
        (&"x".repeat(255), true),
        (&"x".repeat(254), false),
    ] {
        assert_eq!(policy.rights(policy.at(path)).contains(Rights::READ), expected, "{path}");
    }
}

#[test]
fn state_of_another_policy_is_not_trusted() {
    let large = Policy::builder().allow("/a/b/c/d", Rights::all()).build().unwrap();
    let small = Policy::uniform(Rights::all(), Refusal::Denied);
    let stranger = large.at("/a/b/c/d");
    assert_eq!(small.rights(stranger), Rights::empty());
    assert_eq!(small.step(stranger, Name::new("x").unwrap()), stranger);
    assert!(small.matched(stranger).is_empty());
}
