//! Audit records under a live policy that is narrowed during the run.

use std::sync::Arc;

use palisade_vfs::{Access, Cookie, Errno, Follow, Name, Node, OpenFlags, OpenHow, Rights, path};
use proptest::prelude::*;

use super::Watched;
use super::agrees_with_enforcement::{Hides, is_refused, ops, some_policy};
use crate::audit::{Action, AuditOptions, Auditor, Decision, Transfers, observe_live, replay};
use crate::tests::op::{Op, Verb, apply, list};
use crate::tests::seeded;
use crate::{Lease, Live, Operation, Policy, confine_live};

/// Returns a live policy and a directory observed under it.
fn watched() -> (Live, Watched) {
    let options = AuditOptions { transfers: Transfers::Each, ..AuditOptions::default() };
    let live = Live::new(all());
    let watched = Watched::by(options, |auditor| observe_live(seeded(), &live, "", auditor));
    (live, watched)
}

fn all() -> Arc<Policy> {
    Arc::new(Policy::builder().allow("/**", Rights::all()).build().unwrap())
}

proptest! {
    #![proptest_config(crate::tests::config(400))]

    #[test]
    fn records_are_of_the_policy_that_was_enforced(
        ops in prop::collection::vec(
            (ops(), prop::option::of(some_policy(Hides::Sometimes))), 1..4
        ),
    ) {
        let (live, watched) = watched();
        let plain = Live::new(all());
        let confined = confine_live(seeded(), &plain, "");
        let held = ["f", "a/f"].map(|at| (at, open(&watched.dir, at), open(&confined, at)));
        watched.take();
        let mut has_renamed = false;
        for (ops, narrower) in ops {
            if let Some(narrower) = narrower {
                live.narrow(&narrower).unwrap();
                plain.narrow(&narrower).unwrap();
            }
            for op in ops {
                let answer = apply(&watched.dir, &op);
                prop_assert_eq!(&answer, &apply(&confined, &op), "{:?}", op);
                has_renamed |= answer.is_ok() && matches!(op, Op::Rename(..));
            }
            for (at, left, right) in &held {
                for verb in Verb::ALL {
                    prop_assert_eq!(verb.apply(left), verb.apply(right), "{:?} {}", verb, at);
                }
            }
            let now = live.policy();
            for record in watched.take() {
                let again = replay(&now, &record);
                // A handle keeps the rights of its open under any later policy. A renamed node is
                // checked at its current path, and recorded with the path of its open.
                let is_of_handle = !record.path.held().is_empty();
                let by_now = (has_renamed && is_of_handle)
                    || record.decision == again.decision
                        && record.rule == again.rule.map(|rule| rule.index() as u32);
                prop_assert!(by_now, "{:?} {:?}", record, again);
            }
        }
    }
}

fn open(root: &palisade_vfs::DirRef, at: &str) -> Node {
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
    path::open(&**root, at, Follow::No, how).unwrap()
}

#[test]
fn revocation_is_recorded_for_open_files() {
    let (live, watched) = watched();
    let file = open(&watched.dir, "f");
    assert!(Verb::Read.apply(&file).is_ok());
    let before = watched.take();
    assert!(before.iter().all(|record| record.decision == Decision::Allow), "{before:#?}");
    live.revoke();
    assert_eq!(Verb::Read.apply(&file), Err(Errno::Acces));
    assert_eq!(list(&*watched.dir).map(drop), Err(Errno::Acces));
    let told: Vec<_> =
        watched.take().into_iter().map(|record| (record.action, record.decision)).collect();
    let denied = |operation| (Action::One(operation), Decision::Deny);
    assert_eq!(told, [denied(Operation::Read), denied(Operation::List)]);
}

#[test]
fn listing_denied_midway_is_recorded_as_denied() {
    let (live, watched) = watched();
    let listed = watched.dir.read_dir(Cookie::START, &mut |_| {
        live.revoke();
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(listed, Err(Errno::Acces));
    let told = watched.take();
    assert!(told.iter().all(|record| is_refused(record.decision)) && told.len() == 1, "{told:#?}");
}

#[test]
fn records_use_up_no_lease() {
    let (live, watched) = watched();
    live.lease(Lease { uses: Some(3), until: None });
    let answers: Vec<_> = (0..5).map(|_| list(&*watched.dir).map(drop)).collect();
    let refused = Err(Errno::Acces);
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), refused, refused]);
    let told: Vec<_> = watched.take().iter().map(|record| is_refused(record.decision)).collect();
    assert_eq!(told, [false, false, false, true, true]);
}

#[test]
fn rename_between_different_observers_is_exdev() {
    let ((live, left), (_, right)) = (watched(), watched());
    let (f, n) = (Name::new("f").unwrap(), Name::new("n").unwrap());
    let other_auditor = {
        let auditor = Auditor::new(crate::audit::Tracing, AuditOptions::default());
        observe_live(seeded(), &live, "", auditor)
    };
    for other in [&right.dir, &other_auditor] {
        assert_eq!(left.dir.rename(f, &**other, n), Err(Errno::Xdev));
    }
    assert_eq!(left.dir.rename(f, &*left.dir, n), Ok(()));
}

#[test]
fn transfer_before_a_revocation_is_recorded_as_allowed() {
    for transfers in [Transfers::AtClose, Transfers::Each] {
        let options = AuditOptions { transfers, ..AuditOptions::default() };
        let live = Live::new(all());
        let watched = Watched::by(options, |auditor| observe_live(seeded(), &live, "", auditor));
        let file = open(&watched.dir, "f");
        assert!(Verb::Read.apply(&file).is_ok());
        live.revoke();
        drop(file);
        let records = watched.take();
        let read = |record: &crate::audit::Record| record.action == Action::One(Operation::Read);
        assert!(records.iter().any(read), "{transfers:?} {records:#?}");
        assert!(records.iter().all(|it| it.decision == Decision::Allow), "{records:#?}");
    }
}
