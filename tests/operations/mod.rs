//! The same operations through the native API and through Preview 2: the results agree, errors
//! compared as the codes that Preview 2 has for them.
//!
//! [`Preview2`] is what a property can run operations through, as through any filesystem.

mod preview2;

use std::sync::Arc;

use palisade_preview2::error_code;
use palisade_props::{Flavor, Live, Op, Outcome, Run, Runs, Seen, cases, runner};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, DirRef, Errno, HostDir, MemFs, Mounts, OpenFlags, SetTime, SetTimes, Timestamp,
};
use proptest::strategy::Strategy;

pub use preview2::Preview2;

/// What Preview 2 can say of an operation: `None` if it has no word for it.
fn said(op: Op) -> Option<Op> {
    let at_most = i64::MAX as u64;
    let has_time = |time| match time {
        SetTime::At(at) => at >= Timestamp::EPOCH,
        SetTime::Keep | SetTime::Now => true,
    };
    let have_times = |times: SetTimes| has_time(times.accessed) && has_time(times.modified);
    match op {
        // Who does not write reads, and who creates writes.
        Op::Open(at, access, flags, follow) => {
            let writes = access.writes() || flags.contains(OpenFlags::CREATE);
            let access = match (access, writes) {
                (Access::Write, _) => Access::Write,
                (_, true) => Access::ReadWrite,
                (_, false) => Access::Read,
            };
            Some(Op::Open(at, access, flags, follow))
        }
        Op::Read(_, _, offset) | Op::Write(_, _, offset) if offset > at_most => None,
        Op::Ftimes(_, times) | Op::SetTimes(_, _, times) if !have_times(times) => None,
        Op::Allocate(..) => None,
        op => Some(op),
    }
}

/// An outcome with the first error that has the same code, and without an identity, which no two
/// worlds share.
fn seen_by_preview2(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fail(errno) => {
            let code = error_code(errno);
            let first = Errno::ALL.iter().find(|errno| error_code(**errno) == code);
            Outcome::Fail(*first.unwrap())
        }
        Outcome::Stat(seen) => Outcome::Stat(Seen { id: (0, 0), ..seen }),
        outcome => outcome,
    }
}

fn still() -> DirRef {
    MemFs::builder().clock(Arc::new(|| Timestamp::new(1_000, 0))).build().root()
}

#[track_caller]
fn agree(fresh: impl Fn() -> DirRef, times_stand: bool) {
    agree_over(|| (fresh(), ()), times_stand);
}

/// The same, with what has to be kept as long as the directory is used.
#[track_caller]
fn agree_over<K>(fresh: impl Fn() -> (DirRef, K), times_stand: bool) {
    let runs = Runs(Flavor::Plain)
        .prop_map(|ops: Vec<Op>| ops.into_iter().filter_map(said).collect::<Vec<_>>());
    let compare = |ops: Vec<Op>| {
        let ((one, _kept), (other, _kept_too)) = (fresh(), fresh());
        let (mut native, mut guest) = (Live::new(one), Preview2::new(other));
        for (nth, op) in ops.iter().enumerate() {
            let [want, got] =
                [native.run(op), guest.run(op)].map(|outcome| match seen_by_preview2(outcome) {
                    Outcome::Stat(seen) if !times_stand => {
                        Outcome::Stat(Seen { modified: None, ..seen })
                    }
                    outcome => outcome,
                });
            assert_eq!(got, want, "line {nth}, `{op}`, of:\n{}", lines(&ops));
        }
        Ok(())
    };
    runner(cases(100)).run(&runs, compare).unwrap();
}

fn lines(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("{op}\n")).collect()
}

#[test]
fn preview_2_agrees_with_the_native_api_on_memory() {
    agree(still, true);
}

#[test]
fn preview_2_agrees_with_the_native_api_on_the_host() {
    agree_over(
        || {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            (HostDir::open_ambient(dir.path()).unwrap(), dir)
        },
        false,
    );
}

#[test]
fn preview_2_agrees_with_the_native_api_on_overlays_and_mounts() {
    agree(
        || {
            let upper = MemFs::builder().clock(Arc::new(|| Timestamp::new(1_000, 0))).build();
            Overlay::new(upper.layer(), &Lowers::of(still())).unwrap().root()
        },
        true,
    );
    agree(|| Mounts::builder(still()).mount("a/mnt", still()).unwrap().build(), true);
}
