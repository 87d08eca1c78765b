//! The kit and the laws of layers on quotas.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use palisade_policy::{Policy, Quota, QuotaGroup, Refusal, WhenFull, confine};
use palisade_props::faulty::{Faults, faulty};
use palisade_props::laws::Layered;
use palisade_props::{Capabilities, SubjectFn, TestFs, cases, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Descent, DirRef, Errno, HostDir, MemFs, OpenFlags, OpenHow, Result, Rights,
};

const TREE: &str =
    "mkdir a\nwrite a/g \"x\"\nmkdir d\nwrite d/f \"y\"\nlink d/f d/h\nsymlink d/l -> f";

fn memory() -> Result<DirRef> {
    Ok(MemFs::new().root())
}

fn layered<'l>(layer: &'l dyn Fn(DirRef) -> DirRef) -> Layered<'l> {
    Layered { name: "quota", base: &memory, layer, tree: TREE }
}

#[test]
fn unlimited_quota_is_transparent() {
    let large = Some(u64::MAX);
    let quota = Quota {
        bytes: large,
        inodes: Some(1000),
        file_size: large,
        dir_entries: Some(1000),
        descriptors: Some(1000),
        read_bytes: large,
        write_bytes: large,
        ..Quota::default()
    };
    for quota in [quota, Quota::default()] {
        layered(&|dir| QuotaGroup::new(quota).guard(dir).unwrap()).assert_transparent(cases(200));
        layered(&|dir| QuotaGroup::new(quota).guard_counted(dir).unwrap())
            .assert_transparent(cases(100));
    }
}

#[test]
fn group_may_block_if_one_of_its_directories_may() {
    let group = QuotaGroup::new(Quota::default());
    let fast = group.guard(MemFs::new().root()).unwrap();
    assert!(!fast.may_block());
    let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
    let slow = group.guard(HostDir::open_ambient(temp.path()).unwrap()).unwrap();
    assert!(fast.may_block() && slow.may_block());
}

#[test]
fn concurrent_writes_and_truncations_are_counted() {
    let group = QuotaGroup::new(Quota::default());
    let inner = faulty(MemFs::new().root(), &Faults::yielding());
    let root = group.guard(inner).unwrap();
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
    let file = root.open(Descent::new("f").unwrap(), how).unwrap().into_file().unwrap();
    let (turn, mut wrong) = (AtomicU64::new(0), 0);
    // A spin barrier starts both threads at the same time.
    let meet = |nth: u64| {
        turn.fetch_add(1, Ordering::AcqRel);
        while turn.load(Ordering::Acquire) < nth * 2 {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..2000 {
                meet(round * 2 + 1);
                file.write_at(&[IoSlice::new(b"12345")], 5).unwrap();
                meet(round * 2 + 2);
            }
        });
        for round in 0..2000 {
            file.set_len(10).unwrap();
            meet(round * 2 + 1);
            // The last thread to arrive continues first.
            (0..round % 10).for_each(|_| thread::yield_now());
            file.set_len(0).unwrap();
            meet(round * 2 + 2);
            wrong += u64::from(group.report().bytes.used != file.stat().unwrap().size);
        }
    });
    assert_eq!(wrong, 0);
}

fn guarded(quota: Quota) -> Result<TestFs> {
    Ok(TestFs::new(QuotaGroup::new(quota).guard(MemFs::new().root())?))
}

fn generous() -> Quota {
    let large = Some(u64::MAX);
    Quota {
        bytes: large,
        inodes: large,
        file_size: large,
        dir_entries: large,
        descriptors: large,
        read_bytes: large,
        write_bytes: large,
        when_full: WhenFull::Quota,
    }
}

mod without_limits {
    use super::*;

    conformance!(SubjectFn::new("memory, quota without limits", Capabilities::all(), || guarded(
        Quota::default()
    )));
}

mod with_generous_limits {
    use super::*;

    conformance!(SubjectFn::new("memory, generous quota", Capabilities::all(), || guarded(
        generous()
    )));
}

mod of_a_host {
    use super::*;

    conformance!(SubjectFn::new("host directory, generous quota", Capabilities::USUAL, || {
        let temp = tempfile::tempdir_in(common::TMPFS).map_err(|_| Errno::Io)?;
        let dir = HostDir::open_ambient(temp.path()).map_err(|_| Errno::Io)?;
        Ok(TestFs::new(QuotaGroup::new(generous()).guard_counted(dir)?).keeping(temp))
    }));
}

mod of_an_overlay_and_confined {
    use super::*;

    conformance!(SubjectFn::new("confined quota over an overlay", Capabilities::all(), || {
        let lowers = Lowers::builder().dir(MemFs::new().root()).build()?;
        let overlay = Overlay::new(MemFs::new().upper(), &lowers)?;
        let all = Arc::new(Policy::uniform(Rights::all(), Refusal::Denied));
        let child = QuotaGroup::new(generous()).child(generous());
        Ok(TestFs::new(confine(child.guard(overlay.root())?, all)).keeping(overlay))
    }));
}
