//! Compares the model and the memory filesystem with the Linux kernel.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

use palisade_props::kernel::{Linux, is_defined_on_linux, is_intended_difference, of_os};
use palisade_props::{Flavor, Live, Model, Op, Outcome, Run, Runs, Script, cases, runner};
use palisade_vfs::{Errno, Follow, HostDir, MemFs, Node, OpenHow, Resolver, path};
use proptest::test_runner::TestCaseError;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno as Os;

/// Opens a directory on a tmpfs, deep enough that generated `..` components stay inside the tmpfs.
fn deep() -> (tempfile::TempDir, Linux) {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = outer.path().join("1/2/3/4/5/6/7/8/9/root");
    std::fs::create_dir_all(&root).unwrap();
    let linux = Linux::open(&root).unwrap();
    (outer, linux)
}

/// Returns the first difference between `subject` and Linux.
fn compare_with_linux(ops: &[Op], subject: &mut dyn Run) -> Result<(), String> {
    let (_outer, mut linux) = deep();
    let mut model = Model::new();
    for (nth, op) in ops.iter().enumerate() {
        let mut ours = subject.run(op);
        // Only explicitly set times are comparable.
        if let (Outcome::Stat(ours), Outcome::Stat(want)) = (&mut ours, model.run(op)) {
            ours.modified = want.modified.and(ours.modified);
        }
        // Escapes and absolute link targets are refused only here, so they are not run on Linux.
        if ours == Outcome::Fail(Errno::Escape) || !is_defined_on_linux(op) {
            continue;
        }
        let theirs = linux.run(op);
        if !ours.allows(&theirs) && !is_intended_difference(op, &ours, &theirs) {
            let script = Script::of_ops(&ops[..=nth]);
            return Err(format!("the subject returns `{ours}`, Linux `{theirs}`:\n{script}"));
        }
    }
    Ok(())
}

fn property(make: impl Fn() -> Box<dyn Run>) {
    let run = |ops: Vec<Op>| compare_with_linux(&ops, &mut *make()).map_err(TestCaseError::fail);
    let result = runner(cases(300)).run(&Runs(Flavor::Plain), run);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn model_equals_linux() {
    property(|| Box::new(Model::new()));
}

#[test]
fn memory_equals_linux() {
    property(|| Box::new(Live::new(MemFs::new().root())));
}

/// The walker resolves each path to the same node or errno as `openat2` with `RESOLVE_BENEATH`.
#[test]
fn walker_resolves_paths_like_openat2() {
    for resolver in [Resolver::Openat2, Resolver::Components] {
        let seen = RefCell::new(HashMap::new());
        let result = runner(cases(150)).run(&Runs(Flavor::Plain), |ops| {
            compare_paths(resolver, ops, &mut seen.borrow_mut()).map_err(TestCaseError::fail)
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

/// Runs the operations, and resolves each of their paths with the walker and with the kernel.
fn compare_paths(
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
            let kernel = resolve_with_openat2(&root, &at.path, follow);
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

fn resolve_with_openat2(root: &OwnedFd, path: &str, follow: Follow) -> Result<(u64, u64), Os> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, follow == Follow::No);
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
            // A rename elsewhere on the system requires a retry.
            Err(Os::AGAIN) => {}
            Err(errno) => return Err(errno),
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                return Ok((stat.st_dev, stat.st_ino));
            }
        }
    }
}
