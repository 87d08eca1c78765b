//! Each method of a directory and of a file is denied after a revocation, and uses up one use of a
//! lease.

use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use palisade_vfs::{
    Access, Advice, Cookie, Descent, DirRef, Errno, FileRef, Follow, Name, OpenFlags, OpenHow,
    Result, Rights, Stop, SyncScope, path,
};

use super::op::TIMES;
use super::seeded;
use crate::{Lease, Live, Policy, confine_live};

/// The root of [`seeded`], and a file that is held open in it.
struct Held {
    root: DirRef,
    file: FileRef,
}

type Call = fn(&Held) -> Result<()>;
/// Confines a tree by a live policy.
type Guard = fn(&Live) -> DirRef;
/// Ends a grant.
type End = fn(&Live);

fn name(name: &str) -> Name<'_> {
    Name::new(name).unwrap()
}

fn end<T>(done: Result<T, Stop>) -> Result<()> {
    done.map(drop).map_err(|stop| match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => panic!("there is no link"),
    })
}

const F: fn() -> Descent<'static> = || Descent::new("f").unwrap();

/// Each method of `Dir` and `File` except `may_block`, `kind` and `epoch`, which reveal no content.
const CALLS: [(&str, Call); 26] = [
    ("open a file", |held| end(held.root.open(F(), OpenHow::READ))),
    ("open a directory", |held| end(held.root.open(Descent::HERE, OpenHow::HOLD_DIR))),
    ("stat", |held| end(held.root.stat(F()))),
    ("stat_following", |held| end(held.root.stat_following(F()))),
    ("read_link", |held| held.root.read_link(name("l")).map(drop)),
    ("read_dir", |held| held.root.read_dir(Cookie::START, &mut |_| ControlFlow::Continue(()))),
    ("create_dir", |held| held.root.create_dir(name("n"))),
    ("create_symlink", |held| held.root.create_symlink(name("n"), "f")),
    ("remove_file", |held| held.root.remove_file(name("f"))),
    ("remove_dir", |held| held.root.remove_dir(name("e"))),
    ("rename", |held| held.root.rename(name("f"), &*held.root, name("n"))),
    ("rename a directory", |held| held.root.rename(name("a"), &*held.root, name("n"))),
    ("link", |held| held.root.link(name("f"), &*held.root, name("n"))),
    ("set_times", |held| end(held.root.set_times(F(), TIMES))),
    ("sync", |held| held.root.sync()),
    ("read_at", |held| held.file.read_at(&mut [IoSliceMut::new(&mut [0; 4])], 0).map(drop)),
    ("write_at", |held| held.file.write_at(&[IoSlice::new(b"W")], 0).map(drop)),
    ("append", |held| held.file.append(&[IoSlice::new(b"A")]).map(drop)),
    ("appended_to", |held| held.file.appended_to().map(drop)),
    ("stat of a file", |held| held.file.stat().map(drop)),
    ("set_len", |held| held.file.set_len(3)),
    ("allocate", |held| held.file.allocate(0, 12)),
    ("set_times of a file", |held| held.file.set_times(TIMES)),
    ("sync of a file", |held| held.file.sync(SyncScope::Data)),
    ("advise", |held| held.file.advise(0, 1, Advice::WillNeed)),
    ("read_vec", |held| {
        let mut bytes = Vec::new();
        let read = held.file.read_vec(&mut bytes, 4, 0).map(drop);
        assert!(read.is_ok() || bytes.is_empty());
        read
    }),
];

/// The ways to confine a tree by a live policy, each with a label.
fn guards() -> Vec<(&'static str, Guard)> {
    let mut guards: Vec<(&str, Guard)> = vec![("confined", |live| confine_live(tree(), live, ""))];
    #[cfg(feature = "audit")]
    {
        use crate::audit::{AuditOptions, Auditor, Tracing, observe_live};
        guards.push(("observed", |live| {
            let auditor = Auditor::new(Tracing, AuditOptions::default());
            observe_live(tree(), live, "", auditor)
        }));
    }
    guards
}

fn tree() -> DirRef {
    let root = seeded();
    root.create_dir(name("e")).unwrap();
    root
}

fn held(guard: Guard) -> (Live, Held) {
    let all = Policy::builder().allow("/**", Rights::all()).build().unwrap();
    let live = Live::new(Arc::new(all));
    let root = guard(&live);
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
    let file = path::open(&*root, "f", Follow::No, how).unwrap().into_file().unwrap();
    (live, Held { root, file })
}

#[test]
fn every_method_is_denied_after_revocation() {
    let ends: [(&str, End); 4] = [
        ("revoke", Live::revoke),
        ("narrow", |live| live.narrow(&Policy::builder().build().unwrap()).unwrap()),
        ("a lease until now", |live| {
            live.lease(Lease { until: Some(Instant::now()), uses: None });
        }),
        ("a lease without uses", |live| live.lease(Lease { until: None, uses: Some(0) })),
    ];
    for (guard_name, guard) in guards() {
        for (end_name, end) in ends {
            for (call_name, call) in CALLS {
                let (live, held) = held(guard);
                let epochs = (held.root.epoch(), held.file.epoch());
                end(&live);
                let what = format!("{call_name} after {end_name}, {guard_name}");
                assert_ne!(held.root.epoch(), epochs.0, "{what}");
                assert_ne!(held.file.epoch(), epochs.1, "{what}");
                assert_eq!(call(&held), Err(Errno::Acces), "{what}");
            }
        }
    }
}

#[test]
fn every_method_uses_up_a_lease() {
    for (guard_name, guard) in guards() {
        for (call_name, call) in CALLS {
            let (live, held) = held(guard);
            live.lease(Lease { until: None, uses: Some(2) });
            let what = format!("{call_name}, {guard_name}");
            assert_eq!(call(&held), Ok(()), "{what}");
            assert_eq!(held.root.stat(Descent::HERE).map(drop), Ok(()), "{what}: two uses");
            assert_eq!(
                held.root.stat(Descent::HERE).map(drop),
                Err(Errno::Acces.into()),
                "{what}: no use"
            );
            assert!(live.is_revoked(), "{what}");
        }
    }
}
