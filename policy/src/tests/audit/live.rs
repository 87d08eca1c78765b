//! Records of what happens under a policy that is narrowed while it is in use.

use std::sync::Arc;

use palisade_vfs::{
    Access, Cookie, Errno, Follow, Name, Node, OpenFlags, OpenHow, Result, Rights, path,
};
use proptest::prelude::*;

use super::Shared;
use super::truth::{Hides, is_refused, ops, some_policy};
use crate::audit::{
    Act, AuditOptions, Auditor, Decision, Header, JsonLines, LogReader, Record, Transfers,
    observe_live, replay,
};
use crate::tests::op::{Verb, apply, list};
use crate::tests::seeded;
use crate::{Lease, Live, Operation, Policy, confine_live};

/// A live policy, a directory that is observed under it, and what was recorded.
struct Watched {
    live: Live,
    dir: palisade_vfs::DirRef,
    auditor: Arc<Auditor>,
    log: Shared,
}

impl Watched {
    fn new() -> Self {
        let log = Shared::default();
        let options = AuditOptions { transfers: Transfers::Each, ..AuditOptions::default() };
        let auditor = Auditor::new(JsonLines::new(log.clone(), &Header::default()), options);
        let live = Live::new(all());
        let dir = observe_live(seeded(), &live, "", Arc::clone(&auditor));
        Watched { live, dir, auditor, log }
    }

    /// What was recorded since the last call.
    fn take(&self) -> Vec<Record> {
        self.auditor.finish().unwrap();
        let text = std::mem::take(&mut *self.log.0.lock().unwrap());
        LogReader::new(text.as_slice()).map(Result::unwrap).collect()
    }
}

fn all() -> Arc<Policy> {
    Arc::new(Policy::builder().allow("/**", Rights::all()).build().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: crate::tests::cases(400),
        ..Default::default()
    })]

    #[test]
    fn an_observed_directory_obeys_as_a_confined_one_and_its_records_tell_the_policy_of_then(
        ops in prop::collection::vec(
            (ops(), prop::option::of(some_policy(Hides::Sometimes))), 1..4
        ),
    ) {
        let watched = Watched::new();
        let plain = Live::new(all());
        let confined = confine_live(seeded(), &plain, "");
        let held = ["f", "a/f"].map(|at| (at, open(&watched.dir, at), open(&confined, at)));
        watched.take();
        for (ops, narrower) in ops {
            if let Some(narrower) = narrower {
                watched.live.narrow(&narrower).unwrap();
                plain.narrow(&narrower).unwrap();
            }
            for op in ops {
                prop_assert_eq!(apply(&watched.dir, &op), apply(&confined, &op), "{:?}", op);
            }
            for (at, left, right) in &held {
                for verb in Verb::ALL {
                    prop_assert_eq!(verb.apply(left), verb.apply(right), "{:?} {}", verb, at);
                }
            }
            let now = watched.live.policy();
            for record in watched.take() {
                let again = replay(&now, &record);
                // A handle keeps what it was opened for, whatever the policy is where it lies.
                let by_now = record.decision == again.decision
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
fn what_is_revoked_is_recorded_for_files_that_are_open_too() {
    let watched = Watched::new();
    let file = open(&watched.dir, "f");
    assert!(Verb::Read.apply(&file).is_ok());
    let before = watched.take();
    assert!(before.iter().all(|record| record.decision == Decision::Allow), "{before:#?}");
    watched.live.revoke();
    assert_eq!(Verb::Read.apply(&file), Err(Errno::Acces));
    assert_eq!(list(&*watched.dir).map(drop), Err(Errno::Acces));
    let told: Vec<_> =
        watched.take().into_iter().map(|record| (record.act, record.decision)).collect();
    let denied = |operation| (Act::One(operation), Decision::Deny);
    assert_eq!(told, [denied(Operation::Read), denied(Operation::List)]);
}

#[test]
fn a_listing_that_is_refused_in_its_middle_is_recorded_as_refused() {
    let watched = Watched::new();
    let listed = watched.dir.read_dir(Cookie::START, &mut |_| {
        watched.live.revoke();
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(listed, Err(Errno::Acces));
    let told = watched.take();
    assert!(told.iter().all(|record| is_refused(record.decision)) && told.len() == 1, "{told:#?}");
}

#[test]
fn records_use_nothing_of_a_lease() {
    let watched = Watched::new();
    watched.live.lease(Lease { uses: Some(3), until: None });
    let answers: Vec<_> = (0..5).map(|_| list(&*watched.dir).map(drop)).collect();
    let refused = Err(Errno::Acces);
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), refused, refused]);
    let told: Vec<_> = watched.take().iter().map(|record| is_refused(record.decision)).collect();
    assert_eq!(told, [false, false, false, true, true]);
}

#[test]
fn names_move_only_where_both_are_observed_alike() {
    let (left, right) = (Watched::new(), Watched::new());
    let (f, n) = (Name::new("f").unwrap(), Name::new("n").unwrap());
    let other_auditor = {
        let auditor = Auditor::new(crate::audit::Tracing, AuditOptions::default());
        observe_live(seeded(), &left.live, "", auditor)
    };
    for other in [&right.dir, &other_auditor] {
        assert_eq!(left.dir.rename(f, &**other, n), Err(Errno::Xdev));
    }
    assert_eq!(left.dir.rename(f, &*left.dir, n), Ok(()));
}
