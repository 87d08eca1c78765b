//! Properties: audit records agree with the enforced decisions.

use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Descent, DirRef, Errno, Follow, MemFs, Mounts, Name, OpenFlags, OpenHow, Rights, path,
};
use proptest::prelude::*;

use super::Watched;
use crate::audit::{AuditOptions, Decision, Mode, Record, observe, replay};
use crate::tests::op::{self, Op, Times, apply, snapshot, some_op};
use crate::tests::seeded;
use crate::{Policy, confine};

/// The composition of a test's tree.
#[derive(Clone, Copy, Debug)]
enum Stack {
    Memory,
    /// An overlay with all nodes in the lower.
    Overlay,
    /// A tree with a mount at `b`.
    Mounts,
}

impl Stack {
    const ALL: [Stack; 3] = [Stack::Memory, Stack::Overlay, Stack::Mounts];

    fn seeded(self) -> DirRef {
        match self {
            Stack::Memory => seeded(),
            Stack::Overlay => {
                let lowers = Lowers::builder().dir(seeded()).build().unwrap();
                Overlay::new(MemFs::new().upper(), &lowers).unwrap().root()
            }
            Stack::Mounts => {
                let mounted = MemFs::new().root();
                op::seed(&mounted, &[("link gone", "l")]);
                Mounts::builder(seeded()).mount("b", mounted).unwrap().build()
            }
        }
    }
}

const GLOBS: [&str; 16] = [
    "/**", "/**", "/a/**", "/a", "/a/d/**", "/b/*", "/b/**", "/f", "/l", "/a/l", "/**/n", "/*/f",
    "/**/g", "/", "/a/d", "/n",
];

fn some_rights() -> impl Strategy<Value = Rights> {
    let all = Rights::all().bits();
    (0..=all, 0..=all, 0..3u8).prop_map(move |(left, right, kind)| {
        Rights::from_bits_truncate(match kind {
            0 => left,
            1 => all,
            _ => left | right,
        })
    })
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Hides {
    Never,
    Sometimes,
}

pub(super) fn some_policy(hides: Hides) -> impl Strategy<Value = Arc<Policy>> {
    let glob = || prop::sample::select(GLOBS.to_vec());
    let allows = prop::collection::vec((glob(), some_rights()), 1..5);
    let denies = prop::collection::vec((glob(), some_rights(), some_rights()), 0..3);
    let hidden = prop::collection::vec(prop::sample::select(GLOBS[2..].to_vec()), 0..2);
    (allows, denies, hidden).prop_map(move |(allows, denies, hidden)| {
        let mut builder = Policy::builder();
        for (glob, rights) in allows {
            builder = builder.allow(glob, rights);
        }
        for (glob, left, right) in denies {
            builder = builder.deny(glob, left & right);
        }
        for glob in hidden {
            if matches!(hides, Hides::Sometimes) {
                builder = builder.hide(glob);
            }
        }
        Arc::new(builder.build().unwrap())
    })
}

pub(super) fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(some_op(), 1..24)
}

fn some_stack() -> impl Strategy<Value = Stack> {
    prop::sample::select(Stack::ALL.to_vec())
}

pub(super) fn is_refused(decision: Decision) -> bool {
    decision != Decision::Allow
}

fn any_refused(records: &[Record]) -> bool {
    records.iter().any(|record| is_refused(record.decision))
}

proptest! {
    #![proptest_config(crate::tests::config(400))]

    #[test]
    fn observed_directory_behaves_as_a_confined_one(
        stack in some_stack(), policy in some_policy(Hides::Sometimes), ops in ops()
    ) {
        let watched = Watched::new(stack.seeded(), policy.clone(), Mode::Enforce);
        let plain = confine(stack.seeded(), policy);
        for op in ops {
            prop_assert_eq!(apply(&watched.dir, &op), apply(&plain, &op), "{:?}", op);
        }
    }

    #[test]
    fn exactly_the_denials_are_recorded_as_denied(
        policy in some_policy(Hides::Never), ops in ops()
    ) {
        let watched = Watched::new(seeded(), policy, Mode::Enforce);
        for op in &ops {
            let answer = apply(&watched.dir, op);
            let result = format!("{answer:?}");
            let records = watched.take();
            let is_denial = result.contains("Acces") || result.contains("Xdev");
            if is_denial {
                prop_assert!(any_refused(&records), "{:?} {:?} {:#?}", op, answer, records);
            }
            // The inner filesystem returns neither of these errors.
            for record in records {
                let refused = matches!(record.result, Err(Errno::Acces | Errno::Xdev));
                prop_assert_eq!(is_refused(record.decision), refused, "{:?} {:#?}", op, record);
            }
        }
    }

    #[test]
    fn dry_run_has_no_effect(
        stack in some_stack(), policy in some_policy(Hides::Sometimes), ops in ops()
    ) {
        let watched = Watched::new(stack.seeded(), policy, Mode::DryRun);
        let plain = stack.seeded();
        for op in ops {
            prop_assert_eq!(apply(&watched.dir, &op), apply(&plain, &op), "{:?}", op);
        }
    }

    #[test]
    fn replay_under_the_same_policy_reproduces_the_decisions(
        stack in some_stack(),
        policy in some_policy(Hides::Sometimes),
        mode in prop::sample::select(vec![Mode::Enforce, Mode::DryRun]),
        ops in ops(),
    ) {
        let watched = Watched::new(stack.seeded(), policy.clone(), mode);
        for op in &ops {
            let _ = apply(&watched.dir, op);
        }
        for record in watched.take() {
            let again = replay(&policy, &record);
            prop_assert_eq!(again.decision, record.decision, "{:?}", record);
            prop_assert_eq!(again.missing, record.missing);
            prop_assert_eq!(again.rule.map(|rule| rule.index() as u32), record.rule);
        }
    }

    #[test]
    fn replay_predicts_a_real_run(
        stack in some_stack(),
        first in some_policy(Hides::Sometimes),
        second in some_policy(Hides::Never),
        ops in ops(),
    ) {
        let (dry_tree, real_tree) = (stack.seeded(), stack.seeded());
        let dry = Watched::new(dry_tree.clone(), first, Mode::DryRun);
        let real = Watched::new(real_tree.clone(), second.clone(), Mode::Enforce);
        for op in &ops {
            let _ = apply(&dry.dir, op);
            let answer = apply(&real.dir, op);
            let (recorded, happened) = (dry.take(), real.take());
            // A failure caused by a mount precedes the lookup.
            let cannot_know =
                |record: &Record| matches!(record.result, Err(Errno::Xdev | Errno::Busy));
            let predicted =
                recorded.iter().any(|record| is_refused(replay(&second, record).decision));
            prop_assert!(
                predicted == any_refused(&happened) || recorded.iter().any(cannot_know),
                "{:?} {:?} predicted of {:#?} happened {:#?}", op, answer, recorded, happened
            );
            // After a denial of an operation that had an effect, the two runs diverge.
            if snapshot(&dry_tree, Times::Ignored) != snapshot(&real_tree, Times::Ignored) {
                break;
            }
        }
    }
}

#[test]
fn errors_of_an_inner_layer_do_not_precede_a_denial() {
    let all = || Policy::builder().allow("/**", Rights::all());
    let inner = all().deny("/a/f", Rights::all()).build().unwrap();
    let outer = all().deny("/a/f", Rights::STAT | Rights::WRITE).build().unwrap();
    let dir = confine(seeded(), Arc::new(inner));
    let watched = Watched::new(dir, Arc::new(outer), Mode::Enforce);
    let (path, how) =
        (Descent::new("a/f").unwrap(), OpenHow::new(Access::Write, OpenFlags::empty()));
    assert!(watched.dir.stat(path).is_err());
    assert!(watched.dir.open(path, how).is_err());
    let records = watched.take();
    assert_eq!(records.len(), 2, "{records:#?}");
    assert!(records.iter().all(|record| is_refused(record.decision)), "{records:#?}");
}

#[test]
fn rename_and_link_into_a_hidden_directory_handle_replay_as_recorded() {
    let all = || Policy::builder().allow("/**", Rights::all()).hide("/b");
    for (policy, link_file) in [
        (all(), Errno::Noent),
        (all().deny("/f", Rights::LINK_FROM | Rights::RENAME_FROM), Errno::Acces),
    ] {
        let (tree, policy) = (seeded(), Arc::new(policy.build().unwrap()));
        let log = Watched::by(AuditOptions::default(), |auditor| {
            observe(tree.clone(), policy.clone(), "/", Mode::Enforce, auditor)
        });
        let auditor = Arc::clone(&log.auditor);
        let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        let inner = path::open(&*tree, "b", Follow::No, how).unwrap().into_dir().unwrap();
        let hidden = observe(inner, policy.clone(), "/b", Mode::Enforce, auditor);
        let name = |text| Name::new(text).unwrap();
        let new = name("n");
        assert_eq!(log.dir.link(name("f"), &*hidden, new), Err(link_file));
        assert_eq!(log.dir.link(name("a"), &*hidden, new), Err(Errno::Perm));
        assert_eq!(log.dir.link(name("absent"), &*hidden, new), Err(Errno::Noent));
        assert!(log.dir.rename(name("f"), &*hidden, new).is_err());
        assert_eq!(log.dir.rename(name("a"), &*hidden, new), Err(Errno::Noent));
        let records = log.take();
        assert_eq!(records.len(), 5, "{records:#?}");
        for record in records {
            assert!(is_refused(record.decision), "{record:#?}");
            assert_eq!(replay(&policy, &record).decision, record.decision, "{record:#?}");
        }
    }
}
