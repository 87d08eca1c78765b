//! Linux is the judge: of the model that judges everything else, and of the memory filesystem.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

use palisade_props::kernel::{Linux, askable, intended, of_os};
use palisade_props::{Flavor, Live, Model, Op, Outcome, Run, Runs, Script, cases, runner};
use palisade_vfs::{Errno, Follow, HostDir, MemFs, Node, OpenHow, Resolver, path};
use proptest::test_runner::TestCaseError;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as Os;

/// A directory on a tmpfs, so deep that no handful of `..` leaves it.
fn deep() -> (tempfile::TempDir, Linux) {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = outer.path().join("1/2/3/4/5/6/7/8/9/root");
    std::fs::create_dir_all(&root).unwrap();
    let linux = Linux::open(&root).unwrap();
    (outer, linux)
}

/// The first difference between `subject` and Linux.
fn differ(ops: &[Op], subject: &mut dyn Run) -> Result<(), String> {
    let (_outer, mut linux) = deep();
    let mut model = Model::new();
    for (nth, op) in ops.iter().enumerate() {
        let mut ours = subject.run(op);
        // Only a time that somebody set can be the same.
        if let (Outcome::Stat(ours), Outcome::Stat(want)) = (&mut ours, model.run(op)) {
            ours.modified = want.modified.and(ours.modified);
        }
        // What leaves the root, and what a link to an absolute path would: ours alone to refuse.
        if ours == Outcome::Fail(Errno::Escape) || !askable(op) {
            continue;
        }
        let theirs = linux.run(op);
        if !ours.allows(&theirs) && !intended(op, &ours, &theirs) {
            let script = Script::of_ops(&ops[..=nth]);
            return Err(format!("we say `{ours}`, Linux says `{theirs}`:\n{script}"));
        }
    }
    Ok(())
}

fn property(make: impl Fn() -> Box<dyn Run>) {
    let run = |ops: Vec<Op>| differ(&ops, &mut *make()).map_err(TestCaseError::fail);
    let result = runner(cases(300)).run(&Runs(Flavor::Plain), run);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn the_model_does_what_linux_does() {
    property(|| Box::new(Model::new()));
}

#[test]
fn memory_does_what_linux_does() {
    property(|| Box::new(Live::new(MemFs::new().root())));
}

/// A path leads to the same node, or to the same error, by the walker as by the kernel's own
/// confined resolution.
#[test]
fn the_walker_leads_where_openat2_does() {
    for resolver in [Resolver::Openat2, Resolver::Components] {
        let seen = RefCell::new(HashMap::new());
        let result = runner(cases(150)).run(&Runs(Flavor::Plain), |ops| {
            same_paths(resolver, ops, &mut seen.borrow_mut()).map_err(TestCaseError::fail)
        });
        assert!(result.is_ok(), "{resolver:?}: {}", result.unwrap_err());
        let seen = seen.into_inner();
        let total: u32 = seen.values().sum();
        for errno in [None, Some(Os::NOENT), Some(Os::NOTDIR), Some(Os::LOOP), Some(Os::XDEV)] {
            let count = seen.get(&errno).copied().unwrap_or(0);
            assert!(count * 50 > total, "too few of {errno:?}: {seen:?}");
        }
    }
}

/// Makes what the run makes, and asks both for every path that it names.
fn same_paths(
    resolver: Resolver,
    ops: Vec<Op>,
    seen: &mut HashMap<Option<Os>, u32>,
) -> Result<(), String> {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, outer.path(), flags, Mode::empty()).unwrap();
    let dir = HostDir::open_ambient_with(outer.path(), resolver).unwrap();
    let mut live = Live::new(dir.clone());
    for op in &ops {
        live.run(op);
    }
    for at in ops.clone().iter_mut().flat_map(Op::paths_mut) {
        if at.path.contains('\0') || at.path.starts_with('/') {
            continue;
        }
        for follow in [Follow::Yes, Follow::No] {
            let kernel = ask(&root, &at.path, follow);
            *seen.entry(kernel.err()).or_default() += 1;
            let ours = path::open(&*dir, &at.path, follow, OpenHow::READ).and_then(|node| {
                let stat = match node {
                    Node::Dir(dir) => path::stat(&*dir, ".", Follow::No),
                    Node::File(file) => file.stat(),
                }?;
                Ok((stat.dev, stat.ino))
            });
            let want = kernel.map_err(|errno| match errno {
                Os::XDEV => Errno::Escape,
                other => of_os(other),
            });
            let grew = want == Err(Errno::Loop) && ours == Err(Errno::Nametoolong);
            if want != ours && !grew {
                let script = Script::of_ops(&ops);
                return Err(format!("{at} {follow:?}: kernel {want:?}, we {ours:?}\n{script}"));
            }
        }
    }
    Ok(())
}

fn ask(root: &OwnedFd, path: &str, follow: Follow) -> Result<(u64, u64), Os> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, follow == Follow::No);
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
            // Somebody renamed something, anywhere.
            Err(Os::AGAIN) => {}
            Err(errno) => return Err(errno),
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                return Ok((stat.st_dev, stat.st_ino));
            }
        }
    }
}
