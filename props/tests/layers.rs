//! The laws of layers on policies, the access log under a policy, and a stress test of memory.

mod common;

use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_policy::{Policy, Refusal, confine, read_only};
use palisade_props::faulty::{Faults, Kinds, faulty};
use palisade_props::hammer::{HammerLoad, assert_consistent_under_load, hammer};
use palisade_props::laws::Layered;
use palisade_props::spy::{Log, spied};
use palisade_props::{Live, Op, Run, cases};
use palisade_vfs::{
    Advice, Cookie, Descent, Dir, DirRef, Entry, Errno, File, FileRef, FileType, MemFs, Mounts,
    Name, Node, OpenHow, Result, Rights, SetTimes, Stat, Stop, SyncScope,
};

fn memory() -> Result<DirRef> {
    Ok(MemFs::new().root())
}

/// A tree with each kind of node, for the transparency tests.
const TREE: &str =
    "mkdir a\nwrite a/g \"x\"\nmkdir d\nwrite d/f \"y\"\nlink d/f d/h\nsymlink d/l -> f";

fn layered<'l>(name: &'l str, layer: &'l dyn Fn(DirRef) -> DirRef, tree: &'l str) -> Layered<'l> {
    Layered { name, base: &memory, layer, tree }
}

fn grants_all(dir: DirRef) -> DirRef {
    confine(dir, Arc::new(Policy::uniform(Rights::all(), Refusal::Denied)))
}

/// Returns policies that each deny one right, and policies with other refusals.
fn policies() -> Vec<Policy> {
    let mut out: Vec<_> = Rights::all()
        .iter()
        .map(|it| Policy::uniform(Rights::all() - it, Refusal::Denied))
        .collect();
    out.push(Policy::uniform(Rights::READ_ONLY, Refusal::Denied));
    out.push(Policy::uniform(Rights::READ_ONLY - Rights::LIST, Refusal::ReadOnly));
    out
}

#[test]
fn policy_attenuates() {
    for policy in policies() {
        let policy = Arc::new(policy);
        let confined = |dir| confine(dir, policy.clone());
        layered("confined", &confined, TREE).assert_attenuates(cases(20));
        layered("confined", &confined, "").assert_attenuates(cases(10));
    }
    layered("read-only", &read_only, TREE).assert_attenuates(cases(100));
}

#[test]
fn policy_is_idempotent() {
    for policy in policies() {
        let policy = Arc::new(policy);
        let confined = |dir| confine(dir, policy.clone());
        layered("confined", &confined, TREE).assert_idempotent(cases(20));
    }
    layered("read-only", &read_only, TREE).assert_idempotent(cases(100));
}

#[test]
fn layers_that_grant_everything_are_transparent() {
    let spy = |dir| spied(dir, &Log::new());
    let never = |dir| faulty(dir, &Faults::new(Kinds::All));
    let mounts = |dir| -> DirRef { Mounts::builder(dir).build() };
    let layers: [(&str, &dyn Fn(DirRef) -> DirRef); 4] = [
        ("all rights", &grants_all),
        ("a spy", &spy),
        ("no faults", &never),
        ("no mounts", &mounts),
    ];
    for (name, layer) in layers {
        layered(name, layer, TREE).assert_transparent(cases(100));
        layered(name, layer, TREE).assert_attenuates(cases(50));
    }
}

/// Each access of a policy to its back end is one that the policy grants.
#[test]
fn back_end_accesses_are_granted_by_the_policy() {
    let lines = "mkdir n\nrmdir n\nsymlink s -> a\nlink a/g h\nrename a/g a/i\nunlink d/f\n\
    rmdir d\n\
                 write a/g \"new\"\nread a/g\nopen a/g rdwr create trunc\nfwrite 0 \"x\" 0\n\
                 open a/g read\n\
                 open a/g write\nfappend 0 \"x\"\nfsetlen 0 9\nfalloc 0 0 9\nftimes 0 5.0 6.0\n\
                 stat a/g\nlstat d/l\nreadlink d/l\nread d/l\nreaddir a\nreaddir .\n\
                 utimes a 5.0 6.0\n\
                 open a/new read create\nopen a/g read trunc\nopen d hold\nunlink 1:h\nreaddir 1:.";
    for missing in Rights::all() - Rights::LOOKUP {
        let (log, root) = (Log::new(), MemFs::new().root());
        palisade_props::Tree::parse(TREE).unwrap().build(&*root).unwrap();
        let granted = Rights::all() - missing;
        let policy = Arc::new(Policy::uniform(granted, Refusal::Denied));
        let mut live = Live::new(confine(spied(root, &log), policy));
        let mut refused = 0;
        for line in lines.lines() {
            let outcome = live.run(&Op::parse(line).unwrap());
            refused += usize::from(outcome.errno() == Some(Errno::Acces));
            for seen in log.take() {
                // A layer may stat and resolve names for itself, but not perform other accesses.
                let acts = seen.needs - Rights::STAT - Rights::READ_LINK - Rights::LOOKUP;
                assert!(granted.contains(acts), "without {missing:?}, `{line}`: {seen:?}");
            }
        }
        assert!(refused > 0, "nothing needs {missing:?}");
    }
}

#[test]
fn access_log_records_path_and_rights() {
    let log = Log::new();
    let mut live = Live::new(spied(MemFs::new().root(), &log));
    for (line, verb, path, needs) in [
        ("mkdir a", "create_dir", "", Rights::CREATE_DIR),
        ("mkdir a/b", "create_dir", "a", Rights::CREATE_DIR),
        ("write a/b/f \"x\"", "open", "a/b", Rights::CREATE_FILE),
        ("write a/b/f \"x\"", "write_at", "a/b/f", Rights::WRITE),
        ("open a hold", "open", "a", Rights::LOOKUP),
        ("rename 1:b/f 1:g", "rename", "a/b", Rights::RENAME_FROM),
        ("rename 1:g 1:b/g", "rename", "a/b", Rights::RENAME_INTO),
        ("utimes 1:b/g now now", "set_times", "a/b/g", Rights::SET_TIMES),
        ("readdir 1:b", "read_dir", "a/b", Rights::LIST),
        ("unlink a/b/g", "remove_file", "a/b", Rights::REMOVE_FILE),
    ] {
        assert_eq!(live.run(&Op::parse(line).unwrap()).errno(), None, "{line}");
        let seen = log.take();
        let noted = |it: &palisade_props::spy::AccessRecord| {
            it.verb == verb && it.path == path && it.needs.contains(needs)
        };
        assert!(seen.iter().any(noted), "{line}: {seen:?}");
    }
}

#[test]
fn only_the_nth_operation_fails() {
    for (kinds, count) in [(Kinds::Changes, 3), (Kinds::All, 1)] {
        let faults = Faults::new(kinds);
        let root = faulty(MemFs::new().root(), &faults);
        faults.arm(count, Errno::Dquot);
        let name = |text| Name::new(text).unwrap();
        let results: Vec<_> = ["a", "b", "c", "d"].map(|text| root.create_dir(name(text))).into();
        let failed: Vec<_> = (1..).zip(&results).filter(|(_, it)| it.is_err()).collect();
        assert_eq!(failed, [(count, &Err(Errno::Dquot))]);
        assert!(faults.hit());
        // The failing operation had no effect.
        assert_eq!(palisade_props::Tree::snapshot(&*root).unwrap().iter().count(), 3);
    }
}

#[test]
fn memory_is_consistent_after_concurrent_operations() {
    let rounds = usize::try_from(cases(60)).unwrap().min(2000);
    assert_consistent_under_load(&MemFs::new().root(), HammerLoad { threads: 4, rounds });
    assert_consistent_under_load(
        &grants_all(MemFs::new().root()),
        HammerLoad { threads: 3, rounds: rounds / 2 },
    );
}

/// A layer with one bug.
struct Buggy {
    bug: Bug,
    inner: DirRef,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bug {
    /// A file opened for reading can be written.
    Opens,
    /// A denied removal is performed, and its error returned.
    RemovesAndRefuses,
    /// A denial has another errno.
    AnotherErrno,
    /// The inner one of two layers grants less.
    NotTwice,
    /// A link count is too high.
    Miscounts,
}

fn buggy(bug: Bug) -> impl Fn(DirRef) -> DirRef {
    move |inner| Arc::new(Buggy { bug, inner })
}

impl Buggy {
    fn is_over_another(&self) -> bool {
        let any: &dyn Any = &*self.inner;
        any.is::<Buggy>()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Buggy {
    fn open(&self, path: Descent<'_>, mut how: OpenHow) -> Result<Node, Stop> {
        let is_file = || self.inner.stat(path).is_ok_and(|it| it.kind == FileType::File);
        if self.bug == Bug::Opens && how == OpenHow::READ && is_file() {
            how.access = palisade_vfs::Access::ReadWrite;
        }
        match self.inner.open(path, how)? {
            Node::Dir(inner) => Ok(Node::Dir(Arc::new(Buggy { bug: self.bug, inner }))),
            Node::File(inner) => Ok(Node::File(Arc::new(BentFile(inner)))),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        let mut stat = self.inner.stat(path)?;
        stat.nlink += u64::from(self.bug == Bug::Miscounts && stat.kind == FileType::File);
        Ok(stat)
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)?;
        self.stat(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        if self.bug == Bug::NotTwice && self.is_over_another() {
            return Err(Errno::Acces);
        }
        self.inner.create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner.create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.bug {
            Bug::RemovesAndRefuses => {
                self.inner.remove_file(name)?;
                Err(Errno::Acces)
            }
            Bug::AnotherErrno => self.inner.remove_file(name).map_err(|_| Errno::Acces),
            Bug::Opens | Bug::NotTwice | Bug::Miscounts => self.inner.remove_file(name),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner.remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.rename(name, inner(into)?, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner.link(name, inner(into)?, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner.set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

fn inner(dir: &dyn Dir) -> Result<&dyn Dir> {
    let any: &dyn Any = dir;
    any.downcast_ref::<Buggy>().map(|it| &*it.inner).ok_or(Errno::Xdev)
}

struct BentFile(FileRef);

#[deny(clippy::missing_trait_methods)]
impl File for BentFile {
    fn kind(&self) -> FileType {
        self.0.kind()
    }

    fn read_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.0.read_at(bufs, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<usize> {
        self.0.write_at(bufs, offset)
    }

    fn append(&self, bufs: &[IoSlice<'_>]) -> Result<usize> {
        self.0.append(bufs)
    }

    fn appended_to(&self) -> Result<u64> {
        self.0.appended_to()
    }

    fn stat(&self) -> Result<Stat> {
        self.0.stat()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.0.allocate(offset, len)
    }

    fn set_times(&self, times: SetTimes) -> Result<()> {
        self.0.set_times(times)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.0.sync(scope)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<()> {
        self.0.advise(offset, len, advice)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn read_vec(&self, to: &mut Vec<u8>, len: usize, offset: u64) -> Result<usize> {
        self.0.read_vec(to, len, offset)
    }
}

#[test]
fn laws_of_layers_detect_bugs() {
    for bug in [Bug::Opens, Bug::RemovesAndRefuses, Bug::Miscounts] {
        let layer = buggy(bug);
        let fault = layered("buggy", &layer, TREE).attenuation_fault(cases(500));
        assert!(fault.is_some(), "{bug:?} attenuates");
    }
    for bug in [Bug::Opens, Bug::RemovesAndRefuses, Bug::AnotherErrno, Bug::Miscounts] {
        let layer = buggy(bug);
        let fault = layered("buggy", &layer, TREE).transparency_fault(cases(500));
        assert!(fault.is_some(), "{bug:?} is transparent");
    }
    for bug in [Bug::NotTwice, Bug::Miscounts] {
        let layer = buggy(bug);
        let fault = layered("buggy", &layer, TREE).idempotence_fault(cases(500));
        assert!(fault.is_some(), "{bug:?} is idempotent");
    }
}

#[test]
fn stress_test_detects_inconsistencies() {
    let root = buggy(Bug::Miscounts)(MemFs::new().root());
    assert!(hammer(&root, HammerLoad { threads: 2, rounds: 5 }).is_err());
}
