//! Properties that hold for every generated sequence of operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use palisade_vfs::{DirRef, Errno, Follow, Mounts, Node, OpenHow, Result, Rights, path};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::op::{Op, Times, Verb, apply, seed, snapshot, some_op};
use super::spy::Spy;
use super::{SEED, seeded};
use crate::automaton::policy::Row;
use crate::{Policy, Refusal, State, confine, read_only};
use palisade_vfs::MemFs;

fn some_rights() -> impl Strategy<Value = Rights> {
    // Most rights are granted, so that most operations pass the first check.
    let all = Rights::all().bits();
    (0..=all, 0..=all, 0..4u8).prop_map(move |(left, right, kind)| {
        Rights::from_bits_truncate(match kind {
            0 => left,
            1 => all,
            _ => left | right | Rights::LOOKUP.bits(),
        })
    })
}

/// Policies over the names of the seed, with up to three states.
fn some_policy() -> impl Strategy<Value = Arc<Policy>> {
    let row = (
        some_rights(),
        prop::sample::select(vec![Refusal::Denied, Refusal::ReadOnly]),
        prop::collection::btree_map(prop::sample::select(vec!["a", "d", "f", "l"]), 0..3u32, 0..3),
        0..3u32,
    );
    prop::collection::vec(row, 3).prop_map(|rows| {
        let row = |(rights, refusal, names, others): (_, _, BTreeMap<&str, u32>, _)| Row {
            rights,
            refusal,
            names: names.into_iter().map(|(k, v)| (k.into(), State::of_row(v))).collect(),
            others: State::of_row(others),
        };
        Arc::new(Policy::from_table(rows.into_iter().map(row).collect()))
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(some_op(), 1..30)
}

fn some_mount() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["r/", "w/", "r/../w/", "", "open/", "guarded/"])
}

/// Returns true if the result contains those of the handle's operations. Such a success may contain
/// denials.
fn is_handle(op: &Op) -> bool {
    matches!(op, Op::Open(..))
}

/// Checks that each operation that succeeds on a handle under a policy has the same result without.
fn attenuates(layer: &Node, plain: &Node) -> Result<(), TestCaseError> {
    for verb in Verb::ALL {
        if let Ok(answer) = verb.apply(layer) {
            prop_assert_eq!(verb.apply(plain), Ok(answer), "{:?}", verb);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn success_under_a_policy_has_the_same_effect_without(policy in some_policy(), ops in ops()) {
        let (inner, plain) = (seeded(), seeded());
        let layer = confine(inner.clone(), policy);
        for op in ops {
            let before = snapshot(&inner, Times::Compared);
            let failed = if let Op::Open(at, last, how) = &op {
                match path::open(&*layer, at, *last, *how) {
                    Ok(node) => {
                        let without = path::open(&*plain, at, *last, *how);
                        prop_assert!(without.is_ok(), "{op:?}");
                        attenuates(&node, &without.unwrap())?;
                        false
                    }
                    Err(_) => true,
                }
            } else {
                let answer = apply(&layer, &op);
                if answer.is_ok() {
                    prop_assert_eq!(&answer, &apply(&plain, &op), "{:?}", op);
                }
                answer.is_err()
            };
            if failed {
                prop_assert_eq!(before, snapshot(&inner, Times::Compared), "{:?}", op);
            }
            prop_assert_eq!(snapshot(&inner, Times::Ignored), snapshot(&plain, Times::Ignored));
        }
    }

    #[test]
    fn policy_that_grants_everything_has_no_effect(ops in ops()) {
        let (inner, plain) = (seeded(), seeded());
        let layer = confine(inner, Arc::new(Policy::uniform(Rights::all(), Refusal::Denied)));
        for op in ops {
            prop_assert_eq!(apply(&layer, &op), apply(&plain, &op), "{:?}", op);
            prop_assert_eq!(snapshot(&layer, Times::Ignored), snapshot(&plain, Times::Ignored));
        }
    }

    #[test]
    fn confinement_is_idempotent(policy in some_policy(), ops in ops()) {
        let (once, twice) = (seeded(), seeded());
        let layer = confine(once.clone(), policy.clone());
        let layers = confine(confine(twice.clone(), policy.clone()), policy);
        for op in ops {
            prop_assert_eq!(apply(&layers, &op), apply(&layer, &op), "{:?}", op);
            prop_assert_eq!(snapshot(&once, Times::Ignored), snapshot(&twice, Times::Ignored));
        }
    }

    // GHSA-2r75-cxrj-cmph (CVE-2026-47261): truncation was not counted as writing.
    #[test]
    fn read_only_tree_is_never_changed(ops in ops()) {
        let inner = seeded();
        let before = snapshot(&inner, Times::Compared);
        let layer = read_only(inner.clone());
        for op in ops {
            let answer = apply(&layer, &op);
            prop_assert_eq!(&before, &snapshot(&inner, Times::Compared), "{:?} {:?}", op, answer);
        }
    }

    // GHSA-4ch3-9j33-3pmj (CVE-2026-58494): hard links and renames out of a read-only mount into
    // a writable one of the same store. No sequence of operations changes a node below
    // the read-only mount, or gives one of its nodes a writable name.
    #[test]
    fn read_only_mount_is_unchanged_beside_a_writable_mount(
        ops in prop::collection::vec((some_op(), some_mount(), some_mount()), 1..40)
    ) {
        let store = MemFs::new().root();
        seed(&store, &[("mkdir", "guarded"), ("mkdir", "open")]);
        let part = |at| path::open(&*store, at, Follow::No, OpenHow::HOLD_DIR).unwrap().into_dir();
        let (guarded, open) = (part("guarded").unwrap(), part("open").unwrap());
        seed(&guarded, SEED);
        seed(&open, SEED);
        let builder = Mounts::builder(store.clone()).mount("r", read_only(guarded.clone()));
        let base = builder.and_then(|builder| builder.mount("guarded", Mounts::empty()));
        let root = base.and_then(|builder| builder.mount("w", open)).unwrap().build();
        let before = snapshot(&guarded, Times::Compared);
        for (op, first, second) in ops {
            let op = op.below(first, second);
            let answer = apply(&root, &op);
            prop_assert_eq!(&before, &snapshot(&guarded, Times::Compared), "{:?} {:?}", op, answer);
        }
    }

    #[test]
    fn mount_tree_without_mounts_has_no_effect(ops in ops()) {
        let plain = seeded();
        let root = Mounts::builder(seeded()).build();
        for op in ops {
            prop_assert_eq!(apply(&root, &op), apply(&plain, &op), "{:?}", op);
            prop_assert_eq!(snapshot(&root, Times::Ignored), snapshot(&plain, Times::Ignored));
        }
    }

    // Holds under races: another process may change the tree between lookup and open. Opens with
    // `HOLD` are exempt: they change nothing, and the lookup uses them to find links.
    #[test]
    fn inner_opens_use_only_granted_rights(
        rights in some_rights(), ops in ops()
    ) {
        let opened = Arc::new(Mutex::new(Vec::new()));
        let spy = Spy { inner: seeded(), opened: Arc::clone(&opened) };
        let layer = confine(Arc::new(spy), Arc::new(Policy::uniform(rights, Refusal::Denied)));
        for op in ops {
            let answer = apply(&layer, &op);
            for how in opened.lock().unwrap().drain(..) {
                let needs = how.needs();
                let holds = needs.node | needs.parent == Rights::LOOKUP;
                let granted = rights.contains(needs.node | needs.parent);
                prop_assert!(holds || granted, "{op:?} {answer:?} {how:?}");
            }
        }
    }

    #[test]
    fn enforcement_is_monotonic_in_rights(
        rights in some_rights(), more in some_rights(), op in some_op()
    ) {
        let answer = |rights| {
            let policy = Policy::uniform(rights, Refusal::Denied);
            let answer = apply(&confine(seeded(), Arc::new(policy)), &op);
            if is_handle(&op) { answer.map(|_| String::new()) } else { answer }
        };
        let (few, many, all) = (answer(rights), answer(rights | more), answer(Rights::all()));
        if few.is_ok() {
            prop_assert_eq!(&few, &many, "{:?}", op);
        }
        if all.is_ok() && few.is_err() {
            prop_assert_eq!(few, Err(Errno::Acces), "{:?}", op);
        }
    }
}

/// Checks the coverage of the properties: the generator reaches successes and most errors.
#[test]
fn generated_operations_reach_successes_and_many_errors() {
    let mut runner = TestRunner::deterministic();
    let mut outcomes = BTreeMap::<Result<(), Errno>, u32>::new();
    for _ in 0..400 {
        let root: DirRef = seeded();
        for op in ops().new_tree(&mut runner).unwrap().current() {
            *outcomes.entry(apply(&root, &op).map(drop)).or_default() += 1;
        }
    }
    let total: u32 = outcomes.values().sum();
    let share = |outcome| outcomes.get(&outcome).copied().unwrap_or(0) * 1000 / total;
    assert!(share(Ok(())) > 200, "{outcomes:?}");
    for errno in [
        Errno::Noent,
        Errno::Exist,
        Errno::Notdir,
        Errno::Isdir,
        Errno::Escape,
        Errno::Inval,
        Errno::Notempty,
        Errno::Loop,
        Errno::Perm,
    ] {
        assert!(share(Err(errno)) >= 5, "{errno:?} {outcomes:?}");
    }
}
