//! Compares operations of the native API with the same operations through Preview 1 and 2.
//!
//! On each stack the results agree, with errors compared by the errno or the error code of the
//! interface, and the final trees are equal. [`Preview1`] and [`Preview2`] run operations like any
//! other filesystem of the kit.

mod preview1;
mod preview2;

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_policy::{Policy, QuotaGroup, confine, read_only};
use palisade_preview1::errno_number;
use palisade_preview2::error_code;
use palisade_props::{
    At, Flavor, Live, Op, Outcome, Run, Runs, Script, StatSummary, Tree, cases, runner,
};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, DirRef, EmbeddedFs, Errno, HostDir, MemFs, Mounts, OpenFlags, Resolver, Rights,
    SetTime, SetTimes, Timestamp,
};
use proptest::strategy::Strategy;

pub use preview1::Preview1;
pub use preview2::Preview2;

/// The number of generated sequences on each stack.
const SEQUENCES: u32 = 60;

/// The open handles of a guest, indexed modulo the length of each list.
struct OpenHandles {
    dirs: Vec<u32>,
    files: Vec<u32>,
}

impl OpenHandles {
    fn new(root: u32) -> Self {
        OpenHandles { dirs: vec![root], files: Vec::new() }
    }

    fn dir(&self, at: &At) -> u32 {
        self.dirs[usize::from(at.dir) % self.dirs.len()]
    }

    fn add(&mut self, handle: u32, is_dir: bool) -> Outcome {
        let (list, outcome) = match is_dir {
            true => (&mut self.dirs, Outcome::Dir),
            false => (&mut self.files, Outcome::File),
        };
        list.push(handle);
        outcome
    }

    /// Removes a directory other than the root from the list.
    fn take_dir(&mut self, number: u8) -> Option<u32> {
        match usize::from(number) % self.dirs.len() {
            0 => None,
            nth => Some(self.dirs.remove(nth)),
        }
    }

    /// Returns the index of the open file of `op`, if any.
    fn nth_file(&self, op: &Op) -> Option<usize> {
        match op {
            Op::Close(n)
            | Op::Read(n, ..)
            | Op::Write(n, ..)
            | Op::Append(n, _)
            | Op::SetLen(n, _)
            | Op::Allocate(n, ..)
            | Op::Fstat(n)
            | Op::Ftimes(n, _) => usize::from(*n).checked_rem(self.files.len()),
            _ => None,
        }
    }
}

/// Adapts an operation to both interfaces; returns `None` if one of them lacks it.
fn for_both(op: Op) -> Option<Op> {
    match op {
        Op::Allocate(..) => None,
        op => for_preview1(op),
    }
}

/// Adapts an operation to Preview 1; returns `None` if Preview 1 lacks it.
fn for_preview1(op: Op) -> Option<Op> {
    let at_most = i64::MAX as u64;
    // Preview 1 times are 64-bit nanoseconds since 1970.
    let last = Timestamp::new((u64::MAX / 1_000_000_000) as i64 - 1, 0);
    let has_time = |time| match time {
        SetTime::At(at) => (Timestamp::EPOCH..=last).contains(&at),
        SetTime::Keep | SetTime::Now => true,
    };
    let have_times = |times: SetTimes| has_time(times.accessed) && has_time(times.modified);
    match op {
        // A descriptor that cannot write can read, and a creating open can write.
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
        op => Some(op),
    }
}

/// Returns the first errno that satisfies `is_same`, as the representative of its class.
fn first(is_same: impl Fn(Errno) -> bool) -> Errno {
    Errno::ALL.iter().copied().find(|errno| is_same(*errno)).expect("no errno has this code")
}

/// Normalizes an outcome: replaces the errno by the first with the same `code`, and removes
/// identities and current times, which differ between filesystems.
fn normalized<T: PartialEq>(code: impl Fn(Errno) -> T, times: Times, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fail(errno) => {
            let expected = code(errno);
            Outcome::Fail(first(|errno| code(errno) == expected))
        }
        Outcome::Stat(seen) => {
            let modified = seen.modified.filter(|_| times == Times::Stand);
            Outcome::Stat(StatSummary { id: (0, 0), modified, ..seen })
        }
        outcome => outcome,
    }
}

/// Returns whether the outcome `got` of Preview 1 agrees with `want`. Preview 1 checks the rights
/// of a descriptor before it calls the file.
fn agrees_on_preview1(op: &Op, want: &Outcome, got: &Outcome) -> bool {
    let is_of_bytes = matches!(op, Op::Read(..) | Op::Write(..) | Op::Append(..) | Op::SetLen(..))
        || matches!(op, Op::Allocate(..));
    let lacks_right = normalized(errno_number, Times::Stand, Outcome::Fail(Errno::Notcapable));
    let may_not = [Errno::Badf, Errno::Inval].map(Outcome::Fail);
    want == got || (is_of_bytes && *got == lacks_right && may_not.contains(want))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// The clock stands still.
    Stand,
    Pass,
}

/// A stack, with direct access to its lowest filesystem.
struct Stack {
    root: DirRef,
    /// The same tree without refusing layers.
    bare: DirRef,
    times: Times,
    _keep: Option<Box<dyn Any>>,
}

impl Stack {
    fn of(root: DirRef) -> Self {
        Stack { bare: root.clone(), root, times: Times::Stand, _keep: None }
    }

    fn layered(bare: DirRef, layer: impl FnOnce(DirRef) -> DirRef) -> Self {
        Stack { root: layer(bare.clone()), bare, times: Times::Stand, _keep: None }
    }

    fn on_host(resolver: Resolver, over: impl FnOnce(DirRef) -> DirRef) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = over(HostDir::open_ambient_with(dir.path(), resolver).unwrap());
        Stack { times: Times::Pass, _keep: Some(Box::new(dir)), ..Stack::of(root) }
    }

    fn tree(&self) -> Tree {
        Tree::snapshot(&*self.bare).unwrap()
    }
}

fn still() -> MemFs {
    MemFs::builder().clock(Arc::new(|| Timestamp::new(1_000, 0))).build()
}

/// Returns a filesystem with nodes at the names that generated operations use.
fn filled() -> DirRef {
    let root = still().root();
    let tree = Tree::parse(
        "mkdir a\nmkdir a/b\nwrite a/f \"bytes\"\nwrite f \"more\"\nsymlink l -> a\n\
         symlink a/l -> ../f\n",
    );
    tree.unwrap().build(&*root).unwrap();
    root
}

fn overlay(lower: DirRef) -> DirRef {
    Overlay::new(still().upper(), &Lowers::of(lower)).unwrap().root()
}

/// A function that creates a stack, always the same.
type Fresh = fn() -> Stack;

/// Returns the stacks with their names.
fn stacks() -> Vec<(&'static str, Fresh)> {
    vec![
        ("memory", || Stack::of(still().root())),
        ("host", || Stack::on_host(Resolver::Auto, |dir| dir)),
        ("host, by components", || Stack::on_host(Resolver::Components, |dir| dir)),
        ("overlay over nothing", || Stack::of(overlay(still().root()))),
        ("overlay over memory", || Stack::of(overlay(filled()))),
        ("overlay over the host", || Stack::on_host(Resolver::Auto, overlay)),
        ("mounts", || {
            let mounts = Mounts::builder(still().root()).mount("a/mnt", still().root()).unwrap();
            Stack::of(mounts.build())
        }),
        ("read-only", || Stack::layered(filled(), read_only)),
        ("guarded", || Stack::layered(filled(), |dir| confine(dir, policy()))),
        ("guarded overlay", || Stack::layered(overlay(filled()), |dir| confine(dir, policy()))),
        ("quota", || {
            let quota = palisade_policy::Quota {
                bytes: Some(4000),
                inodes: Some(12),
                ..palisade_policy::Quota::default()
            };
            Stack::layered(still().root(), |dir| QuotaGroup::new(quota).guard(dir).unwrap())
        }),
        ("embedded", || {
            let file = |path, bytes: &'static [u8]| (path, Cow::Borrowed(bytes), Timestamp::EPOCH);
            let files = [file("a/f", b"bytes"), file("f", b"more"), file("a/b/g", b"")];
            Stack::of(EmbeddedFs::from_files(files).unwrap().root())
        }),
    ]
}

/// Returns a policy with rules for trees and for names, with denied and with hidden paths.
fn policy() -> Arc<Policy> {
    let rules = Policy::builder().allow("/**", Rights::all()).deny("/a/**", Rights::REMOVE_FILE);
    let rules = rules.deny("/**/f", Rights::WRITE | Rights::STAT).hide("/**/b");
    Arc::new(rules.build().unwrap())
}

fn lines(ops: &[Op]) -> String {
    ops.iter().map(|op| format!("{op}\n")).collect()
}

/// Runs `ops` through all three interfaces and returns the native outcomes.
fn compare(fresh: Fresh, ops: &[Op]) -> Vec<Outcome> {
    let stacks = [fresh(), fresh(), fresh()];
    let [native, one, two] = &stacks;
    let times = native.times;
    let mut native_guest = Live::new(native.root.clone());
    let (mut one_guest, mut two_guest) =
        (Preview1::new(one.root.clone()), Preview2::new(two.root.clone()));
    let outcomes = ops.iter().enumerate().map(|(nth, op)| {
        let at = || format!("line {nth}, `{op}`, of:\n{}", lines(ops));
        let done = native_guest.run(op);
        let want = normalized(errno_number, times, done.clone());
        let got = normalized(errno_number, times, one_guest.run(op));
        let agrees = agrees_on_preview1(op, &want, &got);
        assert!(agrees, "Preview 1: {got:?} instead of {want:?} at {}", at());
        let want = normalized(error_code, times, done.clone());
        let got = normalized(error_code, times, two_guest.run(op));
        assert_eq!(got, want, "Preview 2, at {}", at());
        done
    });
    let outcomes = outcomes.collect();
    let [tree, others @ ..] = stacks.each_ref().map(Stack::tree);
    for (other, name) in others.iter().zip(["Preview 1", "Preview 2"]) {
        assert_eq!(tree.diff(other), "", "the tree of {name}, after:\n{}", lines(ops));
    }
    outcomes
}

#[test]
fn interfaces_agree_with_the_native_api_on_each_stack() {
    let adapt = |ops: Vec<Op>| ops.into_iter().filter_map(for_both).collect::<Vec<_>>();
    for (name, fresh) in stacks() {
        let runs = Runs(Flavor::Plain).prop_map(adapt);
        let run = runner(cases(SEQUENCES)).run(&runs, |ops| {
            compare(fresh, &ops);
            Ok(())
        });
        run.unwrap_or_else(|fault| panic!("on {name}: {fault}"));
    }
}

#[test]
fn preview1_agrees_with_the_native_api_on_allocate() {
    let runs = Runs(Flavor::Plain)
        .prop_map(|ops| ops.into_iter().filter_map(for_preview1).collect::<Vec<_>>());
    let run = runner(cases(SEQUENCES)).run(&runs, |ops| {
        let (one, other) = (still().root(), still().root());
        let (mut native, mut guest) = (Live::new(one), Preview1::new(other));
        for op in &ops {
            let [want, got] = [native.run(op), guest.run(op)]
                .map(|outcome| normalized(errno_number, Times::Stand, outcome));
            let agrees = agrees_on_preview1(op, &want, &got);
            assert!(agrees, "{got:?} instead of {want:?} at `{op}` of:\n{}", lines(&ops));
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn directory_without_stat_right_can_be_listed() {
    let script = Script::parse("mkdir a/a\nmkdir a/a/f\nreaddir a/a/f\nstat a/a/f").unwrap();
    let ops = script.ops();
    let outcomes = compare(|| Stack::layered(filled(), |dir| confine(dir, policy())), &ops);
    assert_eq!(outcomes[2..], [Outcome::Names(vec![]), Outcome::Fail(Errno::Acces)]);
}

/// The comparison is only meaningful if each operation succeeds often enough.
#[test]
fn generated_operations_succeed_and_fail_often_enough() {
    let runs = Runs(Flavor::Plain)
        .prop_map(|ops: Vec<Op>| ops.into_iter().filter_map(for_both).collect::<Vec<_>>());
    let counts = std::cell::RefCell::new(BTreeMap::<String, [u32; 2]>::new());
    let count = |ops: Vec<Op>| {
        let outcomes = compare(|| Stack::of(still().root()), &ops);
        for (op, outcome) in ops.iter().zip(outcomes) {
            let line = op.to_string();
            let word = line.split(' ').next().unwrap().to_owned();
            let failed = usize::from(outcome.errno().is_some());
            if outcome != Outcome::Idle {
                counts.borrow_mut().entry(word).or_default()[failed] += 1;
            }
        }
        Ok(())
    };
    runner(600).run(&runs, count).unwrap();
    let counts = counts.into_inner();
    for word in [
        "mkdir", "symlink", "link", "rename", "unlink", "rmdir", "write", "read", "open", "close",
        "fread", "fwrite", "fappend", "fsetlen", "fstat", "ftimes", "stat", "lstat", "readlink",
        "readdir", "utimes",
    ] {
        let [done, _] = counts.get(word).copied().unwrap_or_default();
        assert!(done >= 20, "{word}: {counts:?}");
    }
    let failed: u32 = counts.values().map(|[_, failed]| failed).sum();
    assert!(failed >= 1000, "{counts:?}");
}
