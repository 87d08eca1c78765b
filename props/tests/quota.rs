//! Properties of quotas: the counters equal a recount after each operation, fault and race.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

mod common;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use palisade_policy::{Policy, Quota, QuotaGroup, Refusal, WhenFull, confine};
use palisade_props::faulty::{Faults, Kinds, faulty, faulty_upper};
use palisade_props::hammer::{HammerLoad, hammer};
use palisade_props::{Flavor, Live, Op, Outcome, Run, Runs, StatSummary, cases, runner};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, Follow, HostDir, HostUpper, MemFs, Mounts,
    OpenFlags, OpenHow, Result, Rights, Stat,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{TestCaseError, TestRunner};

/// The filesystem under the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Memory,
    /// Memory that is full before the quota: writes are short or fail.
    Small,
    Overlay,
    /// An overlay whose upper is a directory of the host.
    HostOverlay,
    Host,
    /// Confined memory under the quota.
    Confined,
    /// Memory with mounted memory under the quota.
    Mounts,
}

const STACKS: [Stack; 7] = [
    Stack::Memory,
    Stack::Small,
    Stack::Overlay,
    Stack::HostOverlay,
    Stack::Host,
    Stack::Confined,
    Stack::Mounts,
];

/// A filesystem without a quota.
struct Bare {
    /// The root without fault injection.
    root: DirRef,
    /// The root with fault injection.
    faulty: DirRef,
    _keep: Box<dyn Any>,
}

fn bare(stack: Stack, there: &[Op], faults: &Arc<Faults>) -> Bare {
    let fill = |root: &DirRef| {
        let mut live = Live::new(root.clone());
        there.iter().for_each(|op| drop(live.run(op)));
    };
    let plain = |root: DirRef, keep: Box<dyn Any>| {
        fill(&root);
        Bare { faulty: faulty(root.clone(), faults), root, _keep: keep }
    };
    let memory = MemFs::new().root();
    match stack {
        Stack::Memory => plain(memory, Box::new(())),
        Stack::Small => {
            let small = MemFs::builder().capacity_bytes(200).nodes_max(15).build();
            plain(small.root(), Box::new(()))
        }
        Stack::Host => {
            let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
            plain(HostDir::open_ambient(temp.path()).unwrap(), Box::new(temp))
        }
        Stack::Confined => {
            let all = Arc::new(Policy::uniform(Rights::all(), Refusal::Denied));
            plain(confine(memory, all), Box::new(()))
        }
        Stack::Mounts => {
            let mounts = Mounts::builder(memory).mount("a/m", MemFs::new().root()).unwrap();
            plain(mounts.build(), Box::new(()))
        }
        Stack::Overlay | Stack::HostOverlay => {
            fill(&memory);
            let lowers = Lowers::builder().dir(memory).build().unwrap();
            let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
            let upper = match stack {
                Stack::HostOverlay => HostUpper::open_ambient(temp.path()).unwrap(),
                _ => MemFs::new().upper(),
            };
            let overlay = Overlay::new(faulty_upper(upper, faults), &lowers).unwrap();
            let (root, keep) = (overlay.root(), Box::new((overlay, temp)));
            Bare { faulty: root.clone(), root, _keep: keep }
        }
    }
}

/// A recount of the tree: each node with a name or an open handle, by its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    nodes: BTreeMap<(u64, u64), u64>,
    names: BTreeMap<String, (u64, u64)>,
    entries: BTreeMap<String, u64>,
}

fn sized(stat: &Stat) -> u64 {
    if matches!(stat.kind, FileType::File | FileType::Symlink) { stat.size } else { 0 }
}

impl Count {
    fn of(root: &DirRef, live: Option<&Live>) -> Count {
        let mut count = Count::default();
        let mut pending = vec![String::new()];
        while let Some(at) = pending.pop() {
            let list = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
            let opened = root.open(Descent::new(&at).unwrap(), list).unwrap();
            let dir = opened.into_dir().unwrap();
            let mut names = Vec::new();
            dir.read_dir(Cookie::START, &mut |entry| {
                names.push(entry.name.as_str().to_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
            count.entries.insert(at.clone(), names.len() as u64);
            for name in names {
                let stat = dir.stat(Descent::new(&name).unwrap()).unwrap();
                let path = if at.is_empty() { name } else { format!("{at}/{name}") };
                count.nodes.insert((stat.dev, stat.ino), sized(&stat));
                count.names.insert(path.clone(), (stat.dev, stat.ino));
                if stat.kind == FileType::Dir {
                    pending.push(path);
                }
            }
        }
        let root = root.stat(Descent::HERE).unwrap();
        for dir in live.iter().flat_map(|live| live.dirs()) {
            let stat = dir.stat(Descent::HERE).unwrap();
            if (stat.dev, stat.ino) != (root.dev, root.ino) {
                count.nodes.insert((stat.dev, stat.ino), 0);
            }
        }
        for file in live.iter().flat_map(|live| live.files()) {
            let stat = file.stat().unwrap();
            count.nodes.insert((stat.dev, stat.ino), sized(&stat));
        }
        count
    }

    /// Returns the bytes and inodes beyond those of `free`.
    fn beyond(&self, free: &Count) -> (u64, u64) {
        let free_of = |id| free.nodes.get(id).copied();
        let bytes = |(id, size): (_, &u64)| size.saturating_sub(free_of(id).unwrap_or(0));
        let inodes = self.nodes.keys().filter(|id| free_of(id).is_none()).count();
        (self.nodes.iter().map(bytes).sum(), inodes as u64)
    }
}

/// The plan of a run.
#[derive(Clone, Debug)]
struct Plan {
    stack: Stack,
    ops: Vec<Op>,
    /// The number of operations before the quota is set up.
    before: usize,
    /// Whether the existing nodes are counted.
    counts: bool,
    /// The limits beyond the nodes that are counted initially.
    more: Quota,
    /// The index of the failing inner call of each operation; 0 is none.
    faults: Vec<u64>,
}

fn some_limit(end: u64) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![1 => Just(None), 2 => (0..end).prop_map(Some)]
}

fn some_quota() -> impl Strategy<Value = Quota> {
    let disk = prop::sample::select(vec![WhenFull::Quota, WhenFull::Disk]);
    let sizes = (some_limit(60), some_limit(12), some_limit(30), some_limit(6));
    (sizes, some_limit(8), some_limit(200), some_limit(100), disk).prop_map(
        |((bytes, inodes, file_size, dir_entries), descriptors, read_bytes, write_bytes, full)| {
            let when_full = full;
            Quota {
                bytes,
                inodes,
                file_size,
                dir_entries,
                descriptors,
                read_bytes,
                write_bytes,
                when_full,
            }
        },
    )
}

/// Operations that change the counters most: names that are created and removed with open files.
const CHURN: [&str; 26] = [
    "open f rdwr create",
    "open f rdwr create",
    "open c write create trunc",
    "open a/f read",
    "open f read trunc",
    "open a/f rdwr create excl",
    "open b read dir",
    "open a/b hold dir",
    "unlink f",
    "unlink a/f",
    "unlink c",
    "unlink l",
    "rmdir a/b",
    "rmdir b",
    "mkdir b",
    "mkdir a/b",
    "symlink l -> a",
    "link f c",
    "link c a/f",
    "rename f c",
    "rename a/f f",
    "rename b a/b",
    "write c \"ccc\"",
    "close 0",
    "close 1",
    "closedir 1",
];

fn some_churn() -> impl Strategy<Value = Op> {
    let line = prop::sample::select(CHURN.to_vec()).prop_map(|line| Op::parse(line).unwrap());
    let bytes = prop::collection::vec(any::<u8>(), 0..20);
    let write = (any::<u8>(), bytes.clone(), 0..30_u64);
    prop_oneof![
        5 => line,
        1 => write.prop_map(|(n, bytes, at)| Op::Write(n, bytes, at)),
        1 => (any::<u8>(), bytes).prop_map(|(n, bytes)| Op::Append(n, bytes)),
        1 => (any::<u8>(), 0..40_u64).prop_map(|(n, len)| Op::SetLen(n, len)),
        1 => (any::<u8>(), 0..20_u64, 0..20_u64).prop_map(|(n, at, len)| Op::Allocate(n, at, len)),
    ]
}

/// Generates runs of the kit with churn between the operations.
fn some_ops() -> impl Strategy<Value = Vec<Op>> {
    let churn = prop::collection::vec(prop::option::of(some_churn()), 60);
    (Runs(Flavor::Plain), churn).prop_map(|(ops, churn)| {
        let more = churn.into_iter().chain(std::iter::repeat(None));
        ops.into_iter().zip(more).flat_map(|(op, more)| [Some(op), more]).flatten().collect()
    })
}

fn some_plan(stack: Stack, nth: u64) -> impl Strategy<Value = Plan> {
    let fault = prop_oneof![2 => Just(0), 1 => 0..=nth];
    let faults = prop::collection::vec(fault, 1..60);
    (some_ops(), 0..40_usize, any::<bool>(), some_quota(), faults).prop_map(
        move |(ops, before, counts, more, faults)| {
            let before = before.min(ops.len());
            Plan { stack, ops, before, counts, more, faults }
        },
    )
}

/// Returns whether the operation is a single call and therefore atomic.
fn is_one_step(op: &Op) -> bool {
    !matches!(op, Op::Put(..) | Op::Append(..))
}

/// Statistics of the runs.
#[derive(Debug, Default)]
struct RunStats {
    refused: BTreeMap<String, u64>,
    hit: u64,
    unlinked: u64,
}

fn run_plan(plan: &Plan, seen: &mut RunStats) -> Result<(), TestCaseError> {
    let faults = Faults::new(Kinds::All);
    let bare = bare(plan.stack, &plan.ops[..plan.before], &faults);
    let there = Count::of(&bare.root, None);
    let (bytes, inodes) = there.beyond(&Count::default());
    let plus =
        |more: Option<u64>, there| more.map(|more| if plan.counts { more + there } else { more });
    let quota = Quota {
        bytes: plus(plan.more.bytes, bytes),
        inodes: plus(plan.more.inodes, inodes),
        ..plan.more
    };
    let group = QuotaGroup::new(quota);
    let (root, free) = if plan.counts {
        (group.guard_counted(bare.faulty.clone()).unwrap(), Count::default())
    } else {
        (group.guard(bare.faulty.clone()).unwrap(), there.clone())
    };
    let mut live = Live::new(root);
    let mut last = Count::of(&bare.root, Some(&live));
    for (at, op) in plan.ops[plan.before..].iter().enumerate() {
        faults.arm(plan.faults[at % plan.faults.len()], Errno::Io);
        let outcome = live.run(op);
        seen.hit += u64::from(faults.hit());
        faults.arm(0, Errno::Io);
        let now = Count::of(&bare.root, Some(&live));
        let report = group.report();
        let context = format!("{op:?}: {outcome:?}, {report:?}");
        prop_assert_eq!(now.beyond(&free), (report.bytes.used, report.inodes.used), "{}", &context);
        let open = live.files().len() + live.dirs().len() - 1;
        prop_assert_eq!(open as u64, report.descriptors.used, "{}", &context);
        for usage in
            [report.bytes, report.inodes, report.descriptors, report.read_bytes, report.write_bytes]
        {
            prop_assert!(usage.limit.is_none_or(|limit| usage.used <= limit), "{}", &context);
        }
        for (id, size) in &now.nodes {
            let before = there.nodes.get(id).copied().unwrap_or(0);
            let is_link = quota.file_size.is_some_and(|limit| *size > limit.max(before));
            prop_assert!(!is_link || is_symlink(&bare.root, &now, *id), "{} {}", size, &context);
        }
        for (path, entries) in &now.entries {
            let before = last.entries.get(path).copied().unwrap_or(0);
            let is_more = quota.dir_entries.is_some_and(|limit| *entries > limit.max(before));
            prop_assert!(!is_more || is_moved(op), "{} {} {}", path, entries, &context);
        }
        if let Outcome::Fail(errno) = &outcome {
            if is_one_step(op) {
                prop_assert_eq!(&last, &now, "{}", &context);
            }
            *seen.refused.entry(errno.name()).or_default() += 1;
        }
        let named: BTreeSet<_> = now.names.values().collect();
        seen.unlinked += u64::from(now.nodes.len() > named.len());
        last = now;
    }
    let root = live.dirs()[0].clone();
    drop(live);
    let count = Count::of(&bare.root, None);
    let report = group.report();
    prop_assert_eq!(count.beyond(&free), (report.bytes.used, report.inodes.used));
    prop_assert_eq!(report.descriptors.used, 0);
    drop(root);
    Ok(())
}

/// Returns whether the operation may add a directory with many entries.
fn is_moved(op: &Op) -> bool {
    matches!(op, Op::Rename(..))
}

fn is_symlink(root: &DirRef, count: &Count, id: (u64, u64)) -> bool {
    let path = count.names.iter().find(|(_, it)| **it == id);
    path.is_some_and(|(path, _)| {
        root.stat(Descent::new(path).unwrap()).unwrap().kind == FileType::Symlink
    })
}

fn assert_counts(stack: Stack, runs: u32, nth: u64) {
    let mut seen = RunStats::default();
    let mut runner = runner(runs);
    let cell = std::cell::RefCell::new(&mut seen);
    runner
        .run(&some_plan(stack, nth), |plan| run_plan(&plan, *cell.borrow_mut()))
        .unwrap_or_else(|why| panic!("{stack:?}: {why}"));
    for errno in ["dquot", "nospc", "mfile", "fbig"] {
        assert!(seen.refused.contains_key(errno), "{stack:?} never returned {errno}: {seen:?}");
    }
    assert!(seen.unlinked > 50, "no unlinked file was open: {seen:?}");
    assert_eq!(seen.hit > 0, nth > 0, "{seen:?}");
}

#[test]
fn counters_equal_a_recount_after_each_operation() {
    for stack in STACKS {
        assert_counts(stack, cases(150), 0);
    }
}

#[test]
fn counters_equal_a_recount_under_fault_injection() {
    for stack in STACKS {
        assert_counts(stack, cases(200), 8);
    }
}

/// Replaces each operation of several calls by one of a single call.
fn in_single_steps(ops: Vec<Op>) -> Vec<Op> {
    let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let step = |op| match op {
        Op::Put(at, _) => Op::Open(at, Access::ReadWrite, flags, Follow::Yes),
        other => other,
    };
    ops.into_iter().map(step).collect()
}

/// Returns the comparable part of an outcome.
fn without_volatile(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Stat(seen) => Outcome::Stat(StatSummary { modified: None, id: (0, 0), ..seen }),
        other => other,
    }
}

fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Fail(Errno::Dquot | Errno::Nospc | Errno::Fbig))
}

fn passes_a_limit(count: &Count, quota: Quota) -> bool {
    let (bytes, inodes) = count.beyond(&Count::default());
    let passes = |limit: Option<u64>, used| limit.is_some_and(|limit| used > limit);
    passes(quota.bytes, bytes)
        || passes(quota.inodes, inodes)
        || count.nodes.values().any(|size| passes(quota.file_size, *size))
        || count.entries.values().any(|entries| passes(quota.dir_entries, *entries))
}

/// An operation that succeeds under a quota has the same effect without it. An operation that the
/// quota refuses would have exceeded a limit, or fails with the same errno without the quota.
fn refuses_nothing_else(quota: Quota, ops: &[Op], refused: &mut u64) -> Result<(), TestCaseError> {
    let inner = MemFs::new().root();
    let mut live = Live::new(QuotaGroup::new(quota).guard(inner.clone()).unwrap());
    let plain_root = MemFs::new().root();
    let mut plain = Live::new(plain_root.clone());
    let mut done: Vec<&Op> = Vec::new();
    for op in ops {
        let outcome = live.run(op);
        if !is_refusal(&outcome) {
            let without = plain.run(op);
            prop_assert_eq!(without_volatile(outcome), without_volatile(without), "{:?}", op);
            done.push(op);
            continue;
        }
        *refused += 1;
        let root = MemFs::new().root();
        let mut again = Live::new(root.clone());
        done.iter().for_each(|op| drop(again.run(op)));
        let without = again.run(op);
        // A rename of a directory into itself is only detected by trying.
        let is_unseen = matches!(op, Op::Rename(..)) && without == Outcome::Fail(Errno::Inval);
        let is_natural = !matches!(without, Outcome::Fail(_)) || without == outcome;
        prop_assert!(is_natural || is_unseen, "{:?}: {:?} {:?}", op, outcome, without);
        if !matches!(without, Outcome::Fail(_)) {
            let written =
                matches!(op, Op::Write(..) | Op::Append(..)) && quota.write_bytes.is_some();
            let passes = passes_a_limit(&Count::of(&root, Some(&again)), quota);
            prop_assert!(passes || written, "{:?}: {:?} with {:?}", op, outcome, quota);
        }
    }
    let (left, right) = (Count::of(&inner, None), Count::of(&plain_root, None));
    prop_assert_eq!(left.names.len(), right.names.len());
    prop_assert_eq!(left.beyond(&Count::default()), right.beyond(&Count::default()));
    Ok(())
}

#[test]
fn quota_refuses_only_operations_over_a_limit() {
    let refused = std::cell::Cell::new(0);
    let runs = (some_ops(), some_quota());
    runner(cases(1000))
        .run(&runs, |(ops, quota)| {
            // Short reads and temporarily held directories would differ.
            let quota = Quota { descriptors: None, read_bytes: None, ..quota };
            let mut here = 0;
            let done = refuses_nothing_else(quota, &in_single_steps(ops), &mut here);
            refused.set(refused.get() + here);
            done
        })
        .unwrap_or_else(|why| panic!("{why}"));
    assert!(refused.get() > 100, "{refused:?}");
}

#[test]
fn concurrent_threads_stay_within_the_limits() {
    for stack in STACKS {
        let faults = Faults::new(Kinds::All);
        let bare = bare(stack, &[], &faults);
        let host =
            QuotaGroup::new(Quota { bytes: Some(300), inodes: Some(30), ..Quota::default() });
        let guest = host.child(Quota {
            bytes: Some(250),
            inodes: Some(20),
            descriptors: Some(9),
            dir_entries: Some(6),
            write_bytes: Some(100_000),
            ..Quota::default()
        });
        let root = guest.guard(bare.root.clone()).unwrap();
        let free = Count::of(&bare.root, None);
        let is_done = AtomicBool::new(false);
        let done = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    for group in [&host, &guest] {
                        let report = group.report();
                        for usage in [report.bytes, report.inodes, report.descriptors] {
                            assert!(usage.left().is_none_or(|_| Some(usage.used) <= usage.limit));
                        }
                    }
                    thread::yield_now();
                }
            });
            let done = hammer(&root, HammerLoad { threads: 4, rounds: 25 });
            is_done.store(true, Ordering::Release);
            done
        });
        assert!(done.unwrap().successes > 100);
        let count = Count::of(&bare.root, None).beyond(&free);
        for group in [&host, &guest] {
            let report = group.report();
            assert_eq!(count, (report.bytes.used, report.inodes.used), "{stack:?}");
            assert_eq!(report.descriptors.used, 0);
        }
    }
}

fn used(group: &QuotaGroup) -> (u64, u64) {
    let report = group.report();
    (report.bytes.used, report.inodes.used)
}

/// Generates the operations of one thread, on a few shared names.
fn churn(runner: &mut TestRunner, len: usize) -> Vec<Op> {
    let ops = prop::collection::vec(some_churn(), len);
    ops.new_tree(runner).unwrap().current()
}

#[test]
fn counters_are_exact_after_concurrent_churn() {
    for stack in [Stack::Memory, Stack::Overlay, Stack::Host] {
        let bare = bare(stack, &[Op::parse("mkdir a").unwrap()], &Faults::yielding());
        let (bytes, inodes, dir_entries) = (Some(200), Some(12), Some(5));
        let quota = Quota { bytes, inodes, dir_entries, ..Quota::default() };
        let group = QuotaGroup::new(quota);
        let root = group.guard_counted(bare.faulty.clone()).unwrap();
        let mut runner = runner(1);
        for round in 0..if stack == Stack::Memory { 100 } else { 25 } {
            let scripts = [(); 4].map(|()| churn(&mut runner, 150));
            let lives = thread::scope(|scope| {
                let threads = scripts.map(|script| {
                    let root = root.clone();
                    scope.spawn(move || run_script(&script, root))
                });
                threads.map(|thread| thread.join().unwrap())
            });
            // Counts the unlinked open files, each once.
            let mut count = Count::default();
            for live in &lives {
                count.nodes.extend(Count::of(&bare.root, Some(live)).nodes);
            }
            assert_eq!(count.beyond(&Count::default()), used(&group), "{stack:?} {round}");
            drop(lives);
            let count = Count::of(&bare.root, None);
            assert_eq!(count.beyond(&Count::default()), used(&group), "{stack:?} {round}");
            assert!(!passes_a_limit(&count, quota), "{stack:?} {count:?}");
        }
    }
}

fn run_script(script: &[Op], root: DirRef) -> Live {
    let mut live = Live::new(root);
    for op in script {
        live.run(op);
        if live.files().len() > 3 {
            live.run(&Op::Close(0));
        }
    }
    live
}
