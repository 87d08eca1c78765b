//! Rule coverage: the rules that matched an evaluated path, or a path of a tree.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::{Cookie, Descent, DirRef, Errno, Follow, MemFs, OpenHow, Rights, path};
use proptest::prelude::*;

use super::config;
use super::evaluator::{build, meaning, some_path, some_rules};
use super::op::seed;
use crate::{Live, Policy, Quota, QuotaGroup, RuleId, confine_at, confine_live};

fn numbers(rules: &[RuleId]) -> Vec<usize> {
    rules.iter().map(|rule| rule.index()).collect()
}

fn unmatched(policy: &Policy) -> Vec<usize> {
    numbers(&policy.unmatched_rules().unwrap())
}

/// The rules that match none of `paths`, found by matching every glob with every path.
fn unmatched_by_globs<'a>(
    rules: &[crate::Rule],
    paths: impl Iterator<Item = &'a str>,
) -> Vec<usize> {
    let matched = |path: &str| meaning(rules, Descent::new(path).unwrap()).matched;
    let matched: BTreeSet<_> = paths.flat_map(matched).map(RuleId::index).collect();
    (0..rules.len()).filter(|rule| !matched.contains(rule)).collect()
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn unmatched_rules_match_no_evaluated_path(
        rules in some_rules(), paths in prop::collection::vec(some_path(), 0..6),
    ) {
        let policy = build(&rules).track_rules();
        let mut judged: Vec<&str> = Vec::new();
        for path in &paths {
            let path = Descent::new(path).unwrap();
            let verdict = policy.judge(Policy::START, path, Rights::WRITE);
            judged.extend((0..=verdict.passed()).map(|depth| path.split_at(depth).0.as_str()));
        }
        prop_assert_eq!(unmatched(&policy), unmatched_by_globs(&rules, judged.into_iter()));
    }

    #[test]
    fn visit_tree_leaves_the_rules_that_match_no_name(
        rules in some_rules(), paths in prop::collection::vec(some_path(), 0..8),
        below in prop::sample::select(vec!["", "a", "a/b", ".git"]),
    ) {
        let root = MemFs::new().root();
        let mut names = BTreeSet::from([below.to_owned()]);
        for path in &paths {
            let path = Descent::new(path).unwrap();
            for depth in 1..=path.depth() {
                let at = path.split_at(depth).0.as_str();
                names.insert([below, at].join("/").trim_matches('/').to_owned());
                let made = path::create_dir(&*root, at);
                prop_assert!(matches!(made, Ok(()) | Err(Errno::Exist)));
            }
        }
        let policy = build(&rules).track_rules();
        let found = policy.visit_tree(&root, below);
        prop_assert!(found.names < names.len() as u64 && found.unread.count == 0);
        let names = names.iter().map(String::as_str);
        prop_assert_eq!(unmatched(&policy), unmatched_by_globs(&rules, names));
    }
}

/// A tree with a file `secret.key`, and a policy whose second and third rule miss it.
fn world() -> (DirRef, Policy) {
    let root = MemFs::new().root();
    seed(&root, &[("mkdir", "src"), ("file", "src/secret.key"), ("file", "src/main.c")]);
    let policy = Policy::builder().allow("/work/**", Rights::all()).hide("/work/src/secret.kye");
    (root, policy.deny("/work/**/*.kye", Rights::all()).build().unwrap().track_rules())
}

#[test]
fn untracked_policy_has_no_coverage() {
    assert_eq!(Policy::read_only().unmatched_rules(), None);
}

#[test]
fn confined_directory_tracks_matched_rules() {
    let (root, policy) = world();
    let policy = Arc::new(policy);
    let dir = confine_at(root, Arc::clone(&policy), "/work");
    assert_eq!(unmatched(&policy), [0, 1, 2]);
    path::stat(&*dir, "src/main.c", Follow::Yes).unwrap();
    assert_eq!(unmatched(&policy), [1, 2]);
    assert_eq!(path::stat(&*dir, "src/secret.kye", Follow::Yes).unwrap_err(), Errno::Noent);
    assert_eq!(unmatched(&policy), [2]);
    path::stat(&*dir, "new.kye", Follow::Yes).unwrap_err();
    assert!(unmatched(&policy).is_empty());
}

#[test]
fn hidden_entry_of_a_listing_counts_as_matched() {
    let root = MemFs::new().root();
    seed(&root, &[("file", "a.key"), ("file", "b")]);
    let policy = Policy::builder().allow("/**", Rights::all()).hide("/*.key");
    let policy = Arc::new(policy.deny("/b", Rights::all()).build().unwrap().track_rules());
    let dir = confine_at(root, Arc::clone(&policy), "/");
    let mut names = 0;
    dir.read_dir(Cookie::START, &mut |_| {
        names += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((names, unmatched(&policy)), (1, vec![2]));
}

#[test]
fn narrowed_policy_tracks_rules_of_both() {
    let (root, policy) = world();
    let policy = Arc::new(policy);
    let live = Live::new(Arc::clone(&policy));
    let dir = confine_live(root, &live, "/work");
    path::stat(&*dir, "src/main.c", Follow::Yes).unwrap();
    let narrower = Policy::builder().allow("/work/**", Rights::all()).hide("/work/src/x");
    live.narrow(&narrower.build().unwrap()).unwrap();
    assert_eq!(unmatched(&policy), [1, 2]);
    assert_eq!(unmatched(&live.policy()), [1, 2, 3, 4]);
    path::stat(&*dir, "src/x", Follow::Yes).unwrap_err();
    // On the path to it, both policies allow `/work/src`.
    assert_eq!(unmatched(&live.policy()), [1, 2]);
    path::stat(&*dir, "src/secret.kye", Follow::Yes).unwrap_err();
    assert_eq!(unmatched(&policy), [2]);
    assert_eq!(unmatched(&live.policy()), [2]);
    live.revoke();
    assert_eq!(unmatched(&policy), [2]);
}

#[cfg(feature = "document")]
#[test]
fn nearest_path_is_the_deepest_and_most_similar() {
    let root = MemFs::new().root();
    let tree = [("mkdir", "src"), ("file", "src/secret.key"), ("file", "src/sekret.kez")];
    seed(&root, &tree);
    seed(&root, &[("mkdir", "doc"), ("file", "doc/secret.txt"), ("file", "doc/a.pem")]);
    for (glob, nearest) in [
        ("/work/src/secret.kye", Some("/work/src/secret.key")),
        ("/wrok/src/secret.key", Some("/work")),
        ("/work/scr/secret.key", Some("/work/src")),
        ("/work/**/secret.kye", Some("/work/src/secret.key")),
        ("/work/*/{secret.tkt,b.c}", Some("/work/doc/secret.txt")),
        ("/work/**/*.kye", Some("/work/src/secret.key")),
        ("/work/doc/*.pme", Some("/work/doc/a.pem")),
        ("/work/**/unlike", None),
        ("/else/**", None),
        // A component that matches an entry is not the misspelled one.
        ("/work/src/secret.key", None),
        ("/work/src/secret.key/a", None),
        ("/work/*/zzzz", None),
    ] {
        let policy = Policy::builder().hide(glob).build().unwrap();
        let found = policy.nearest_paths(&[RuleId::new(0)], &root, "/work");
        assert_eq!(found, [nearest.map(str::to_owned)], "{glob}");
    }
}

#[test]
fn deep_tree_is_visited_with_few_open_directories() {
    const DEPTH: usize = 3000;
    let root = MemFs::new().root();
    let mut dir = root.clone();
    for _ in 0..DEPTH {
        path::create_dir(&*dir, "d").unwrap();
        dir = path::open(&*dir, "d", Follow::No, OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
    }
    path::create_dir(&*dir, "end").unwrap();
    let quota = Quota { descriptors: Some(40), ..Quota::default() };
    let few = QuotaGroup::new(quota).guard(root).unwrap();
    let policy = Policy::builder().hide("/**/end").build().unwrap().track_rules();
    let found = policy.visit_tree(&few, "/");
    assert_eq!((found.names, found.unread.count), (DEPTH as u64 + 1, 0));
    assert!(unmatched(&policy).is_empty());
}
