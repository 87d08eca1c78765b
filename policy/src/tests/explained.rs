//! Properties: the verdict of a policy for an operation equals the outcome of performing it.
//!
//! A verdict depends on the policy and not on the tree. The tests therefore first translate each
//! operation by the tree: opening a directory is another operation than opening a file, and an
//! open creates a file only if the name is absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_vfs::{
    Access, Descent, Dir, DirRef, Errno, FileType, Follow, Node, OpenFlags, OpenHow, Result,
    Rights, path,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::op::{TIMES, Times, Verb, list, snapshot};
use super::seeded;
use crate::{Effect, Glob, Operation, Policy, Rule, confine};

const GLOBS: [&str; 18] = [
    "/**", "/**", "/a/**", "/a", "/a/d/**", "/b/*", "/b/**", "/f", "/l", "/a/l", "/**/n", "/*/f",
    "/**/g", "/", "/a/d", "/{a,b}/?", "/[!a]", "/**/d/*",
];

const PATHS: [&str; 16] = [
    "", "a", "a/d", "b", "f", "a/f", "a/d/g", "l", "a/l", "b/l", "n", "a/n", "a/d/n", "b/n", "f/n",
    "n/n",
];

/// Rules of which the first grants many rights, so that later rules can deny some of them.
fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let all = Rights::all().bits();
    let rights = prop_oneof![
        2 => Just(Rights::all()),
        2 => (0..=all).prop_map(Rights::from_bits_truncate),
        1 => (0..=all, 0..=all).prop_map(|(one, two)| Rights::from_bits_truncate(one & two)),
    ];
    let rule =
        (prop::sample::select(GLOBS.to_vec()), 0..8u8, rights).prop_map(|(glob, kind, rights)| {
            let effect = match kind {
                0..=4 => Effect::Allow(rights),
                5..=6 => Effect::Deny(rights),
                _ => Effect::Hide,
            };
            Rule { glob: Glob::new(glob).unwrap(), effect, place: None }
        });
    prop::collection::vec(rule, 1..7)
}

fn some_path() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PATHS.to_vec())
}

/// A path that ends with a name.
fn some_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PATHS[1..].to_vec())
}

/// An operation as a user passes it to `explain`.
fn some_operation() -> impl Strategy<Value = Operation> {
    let named = Operation::NAMED.map(|(_, operation)| operation).to_vec();
    prop::sample::select(named)
}

fn build(rules: &[Rule]) -> Arc<Policy> {
    let add = |builder: crate::PolicyBuilder, rule: &Rule| builder.rule(rule.clone());
    Arc::new(rules.iter().fold(Policy::builder(), add).build().unwrap())
}

/// Returns the operation that `operation` on `path` performs, given the types in `tree`.
fn really(tree: &DirRef, path: Descent<'_>, operation: Operation) -> Operation {
    let kind = tree.stat(path).map(|stat| stat.kind);
    let Operation::Open(how) = operation else {
        // A directory has no bytes: the handle it can be opened for is one that lists.
        let is_of_bytes =
            matches!(operation, Operation::Read | Operation::Write | Operation::SetLen);
        let is_dir = kind == Ok(FileType::Dir);
        return if is_of_bytes && is_dir { Operation::List } else { operation };
    };
    let mut flags = how.flags;
    match kind {
        Ok(FileType::Dir) => {
            flags -= OpenFlags::CREATE;
            flags |= OpenFlags::DIRECTORY;
        }
        Ok(_) => flags -= OpenFlags::CREATE,
        Err(_) => {}
    }
    let really = OpenHow { flags, ..how };
    if really.check().is_ok() { Operation::Open(really) } else { operation }
}

/// Performs the operation in `dir`.
fn perform(dir: &DirRef, at: &str, operation: Operation) -> Result<String> {
    let (dir, at): (&dyn Dir, _) = (&**dir, if at.is_empty() { "." } else { at });
    let done = |()| String::new();
    let open = |how| path::open(dir, at, Follow::No, how);
    let open_to = |access| open(OpenHow::new(access, OpenFlags::empty()));
    Ok(match operation {
        Operation::Open(how) => match open(how)? {
            Node::Dir(_) => "a directory".to_owned(),
            Node::File(file) => format!("{:?}", file.kind()),
        },
        Operation::Stat => format!("{:?}", path::stat(dir, at, Follow::No)?.kind),
        Operation::ReadLink => path::read_link(dir, at)?.into(),
        Operation::List => {
            list(&*open(OpenHow::HOLD_DIR)?.into_dir()?)?;
            String::new()
        }
        Operation::CreateDir => path::create_dir(dir, at).map(done)?,
        Operation::CreateSymlink => path::create_symlink(dir, "target", at).map(done)?,
        Operation::RemoveFile => path::remove_file(dir, at).map(done)?,
        Operation::RemoveDir => path::remove_dir(dir, at).map(done)?,
        Operation::SetTimes => path::set_times(dir, at, Follow::No, TIMES).map(done)?,
        Operation::Read => Verb::Read.apply(&open_to(Access::Read)?)?,
        Operation::Write => Verb::Write.apply(&open_to(Access::Write)?)?,
        Operation::SetLen => Verb::SetLen.apply(&open_to(Access::Write)?)?,
        // An operation with two names is checked at both.
        Operation::RenameFrom
        | Operation::RenameInto
        | Operation::LinkFrom
        | Operation::LinkInto => return Err(Errno::Nosys),
    })
}

fn is_of_one_name(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::RenameFrom | Operation::RenameInto | Operation::LinkFrom | Operation::LinkInto
    )
}

/// The outcome of one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    AllowedAndDone,
    AllowedAndFailed,
    DeniedByPolicy,
    DeniedAndFailing,
}

/// Evaluates the verdict, performs the operation, and compares the results.
fn check(
    rules: &[Rule],
    at: &str,
    operation: Operation,
) -> std::result::Result<Outcome, TestCaseError> {
    let policy = build(rules);
    let path = Descent::new(at).unwrap();
    let (inner, plain) = (seeded(), seeded());
    let operation = really(&plain, path, operation);
    let guarded = confine(inner.clone(), Arc::clone(&policy));
    let verdict = policy.judge(Policy::START, path, operation.needs());
    let before = snapshot(&inner, Times::Compared);
    let without = perform(&plain, at, operation);
    let with = perform(&guarded, at, operation);
    if verdict.is_allowed() {
        // A directory that only hidden entries keep from being removed has an error of its own.
        let is_kept = operation == Operation::RemoveDir && without == Err(Errno::Notempty);
        if !(is_kept && policy.hides()) {
            prop_assert_eq!(&with, &without, "{:?} {:?}", at, operation);
        }
        prop_assert_eq!(snapshot(&inner, Times::Ignored), snapshot(&plain, Times::Ignored));
        let outcome =
            if with.is_ok() { Outcome::AllowedAndDone } else { Outcome::AllowedAndFailed };
        return Ok(outcome);
    }
    prop_assert_eq!(before, snapshot(&inner, Times::Compared), "{:?} {:?}", at, operation);
    let refusal = match verdict.errno() {
        // A create at a hidden name is `Acces`, not `Noent`: the name is not free.
        Some(Errno::Noent) if operation.creates() && verdict.passed() == path.depth() => {
            Errno::Acces
        }
        Some(errno) => errno,
        None => return Err(TestCaseError::fail("a refusal without an error")),
    };
    match without {
        Ok(_) => {
            prop_assert_eq!(with, Err(refusal), "{:?} {:?}", at, operation);
            Ok(Outcome::DeniedByPolicy)
        }
        Err(why) => {
            let told = [Err(refusal), Err(why), Err(Errno::Noent)];
            prop_assert!(told.contains(&with), "{at:?} {operation:?} {with:?} {told:?}");
            Ok(Outcome::DeniedAndFailing)
        }
    }
}

proptest! {
    #![proptest_config(super::config(3000))]

    #[test]
    fn verdict_predicts_operations_on_one_path(
        rules in some_rules(), at in some_path(), operation in some_operation(),
    ) {
        if is_of_one_name(operation) {
            check(&rules, at, operation)?;
        }
    }

    #[test]
    fn verdicts_predict_renames_and_links(
        rules in some_rules(), old in some_name(), new in some_name(), links in any::<bool>(),
    ) {
        check_two(&rules, old, new, links)?;
    }
}

/// A rename or a link.
fn check_two(
    rules: &[Rule],
    old: &str,
    new: &str,
    links: bool,
) -> std::result::Result<Outcome, TestCaseError> {
    let policy = build(rules);
    let (inner, plain) = (seeded(), seeded());
    let guarded = confine(inner.clone(), Arc::clone(&policy));
    let (from, to) = (Descent::new(old).unwrap(), Descent::new(new).unwrap());
    let run = |dir: &DirRef| match links {
        true => path::link(&**dir, old, &**dir, new),
        false => path::rename(&**dir, old, &**dir, new),
    };
    let operations = if links {
        [Operation::LinkFrom, Operation::LinkInto]
    } else {
        [Operation::RenameFrom, Operation::RenameInto]
    };
    let verdicts = [(from, operations[0]), (to, operations[1])]
        .map(|(path, operation)| policy.judge(Policy::START, path, operation.needs()));
    let (there, here) = (policy.at(new), policy.at(old));
    // The prediction must also hold at the new path of a renamed directory.
    let is_dir = inner.stat(from).is_ok_and(|stat| stat.kind == FileType::Dir);
    let is_no_wider = if links {
        policy.rights(here).contains(policy.rights(there))
    } else {
        policy.is_at_most(there, here) && (!is_dir || policy.is_at_most(here, there))
    };
    let before = snapshot(&inner, Times::Compared);
    let (without, with) = (run(&plain), run(&guarded));
    if verdicts.iter().all(crate::Verdict::is_allowed) && is_no_wider {
        let is_kept = without == Err(Errno::Notempty) && policy.hides();
        if !is_kept {
            prop_assert_eq!(&with, &without, "{:?} {:?} {}", old, new, links);
        }
        prop_assert_eq!(snapshot(&inner, Times::Ignored), snapshot(&plain, Times::Ignored));
        let outcome =
            if with.is_ok() { Outcome::AllowedAndDone } else { Outcome::AllowedAndFailed };
        return Ok(outcome);
    }
    prop_assert_eq!(before, snapshot(&inner, Times::Compared), "{:?} {:?} {}", old, new, links);
    let is_same_node = || match (plain_stat(&inner, from), plain_stat(&inner, to)) {
        (Some(old), Some(new)) => old == new,
        _ => false,
    };
    if with.is_ok() {
        // A rename onto another hard link of the same node succeeds without effect.
        prop_assert!(!links && is_same_node(), "{old:?} {new:?}");
    }
    Ok(if without.is_ok() { Outcome::DeniedByPolicy } else { Outcome::DeniedAndFailing })
}

fn plain_stat(dir: &DirRef, path: Descent<'_>) -> Option<(u64, u64)> {
    dir.stat(path).ok().map(|stat| (stat.dev, stat.ino))
}

#[test]
fn link_needs_no_stat_right() {
    let rule = |effect| Rule { glob: Glob::new("/**").unwrap(), effect, place: None };
    let rules = [rule(Effect::Allow(Rights::LINK_FROM | Rights::LINK_INTO))];
    assert_eq!(check_two(&rules, "f", "n", true).unwrap(), Outcome::AllowedAndDone);
    assert_eq!(check_two(&rules, "gone", "n", true).unwrap(), Outcome::AllowedAndFailed);
    assert_eq!(check_two(&rules, "a", "n", true).unwrap(), Outcome::AllowedAndFailed);
}

/// Checks the coverage of the properties: the generator reaches each outcome.
#[test]
fn cases_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::<(bool, Outcome), u32>::new();
    let mut asked = 0;
    while asked < 2000 {
        let mut any = |strategy| current(strategy, &mut runner);
        let (old, new) = (any(some_name().boxed()), any(some_name().boxed()));
        let rules = some_rules().new_tree(&mut runner).unwrap().current();
        let operation = some_operation().new_tree(&mut runner).unwrap().current();
        if is_of_one_name(operation) {
            *counts.entry((false, check(&rules, old, operation).unwrap())).or_default() += 1;
            asked += 1;
        }
        *counts.entry((true, check_two(&rules, old, new, false).unwrap())).or_default() += 1;
    }
    for two in [false, true] {
        for outcome in [
            Outcome::AllowedAndDone,
            Outcome::AllowedAndFailed,
            Outcome::DeniedByPolicy,
            Outcome::DeniedAndFailing,
        ] {
            let count = counts.get(&(two, outcome)).copied().unwrap_or(0);
            assert!(count >= 40, "{two} {outcome:?} {counts:?}");
        }
    }
}

fn current(strategy: BoxedStrategy<&'static str>, runner: &mut TestRunner) -> &'static str {
    strategy.new_tree(runner).unwrap().current()
}
