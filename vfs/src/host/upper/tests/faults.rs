//! Injected failures of system calls: a failed operation of an overlay changes nothing, and a retry
//! after the fault has the same result as without a fault.
//!
//! Each system call that changes the filesystem fails in turn (`fault_points`), also in the middle
//! of a method of the upper, which the faulty upper of `props` cannot reach.

use std::sync::Arc;

use super::super::fault_points;
use super::*;
use crate::overlay::{Lowers, Overlay};
use crate::{DirRef, Follow, MemFs, SetTime, SetTimes, path};

/// More steps than any operation takes.
const STEPS_MAX: u32 = 200;
/// The number of failing calls: one, a few, or all until the fault ends.
const LASTING: [u32; 3] = [1, 3, u32::MAX];

type Operation = fn(&DirRef) -> crate::Result<()>;

fn open_as(root: &DirRef, at: &str, access: Access, flags: OpenFlags) -> crate::Result<FileRef> {
    path::open(&**root, at, Follow::Yes, OpenHow::new(access, flags))?.into_file()
}

/// Every operation with a preparation.
const OPERATIONS: &[(&str, Operation)] = &[
    ("truncate", |r| open_as(r, "d/f", Access::Write, OpenFlags::TRUNCATE).map(drop)),
    ("truncate linked", |r| open_as(r, "d/h", Access::Write, OpenFlags::TRUNCATE).map(drop)),
    ("write", |r| open_as(r, "d/f", Access::Write, OpenFlags::empty()).map(drop)),
    ("write linked", |r| open_as(r, "d/h", Access::ReadWrite, OpenFlags::empty()).map(drop)),
    ("create", |r| {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        open_as(r, "d/e/new", Access::Write, flags).map(drop)
    }),
    ("create over whiteout", |r| {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        open_as(r, "d/gone", Access::Write, flags).map(drop)
    }),
    ("link", |r| path::link(&**r, "d/f", &**r, "d/e/f")),
    ("link linked", |r| path::link(&**r, "d/h", &**r, "d/e/h")),
    ("link link", |r| path::link(&**r, "d/l", &**r, "d/e/l")),
    ("link over whiteout", |r| path::link(&**r, "d/f", &**r, "d/gone")),
    ("dir over whiteout", |r| path::create_dir(&**r, "d/gone")),
    ("symlink over whiteout", |r| path::create_symlink(&**r, "x", "d/gone")),
    ("remove", |r| path::remove_file(&**r, "d/f")),
    ("remove linked", |r| path::remove_file(&**r, "d/h")),
    ("remove empty", |r| path::remove_dir(&**r, "empty")),
    ("remove hollow", |r| path::remove_dir(&**r, "d/hollow")),
    ("rename", |r| path::rename(&**r, "d/f", &**r, "d/e/f")),
    ("rename over", |r| path::rename(&**r, "d/f", &**r, "d/k")),
    ("rename over linked", |r| path::rename(&**r, "d/f", &**r, "d/h")),
    ("rename linked over file", |r| path::rename(&**r, "d/h", &**r, "d/k")),
    ("rename over whiteout", |r| path::rename(&**r, "d/f", &**r, "d/gone")),
    ("rename dir", |r| path::rename(&**r, "d", &**r, "moved")),
    ("rename dir over empty", |r| path::rename(&**r, "d", &**r, "empty")),
    ("rename dir over hollow", |r| path::rename(&**r, "empty", &**r, "d/hollow")),
    ("rename dir over whiteout", |r| path::rename(&**r, "empty", &**r, "d/gone")),
    ("times of a file", |r| times(r, "d/f")),
    ("times of a linked file", |r| times(r, "d/h")),
    ("times of a linked link", |r| times(r, "d/l")),
    ("times of a dir", |r| times(r, "d/e")),
    ("times of the root", |r| times(r, "")),
];

fn times(root: &DirRef, at: &str) -> crate::Result<()> {
    let time = SetTime::At(Timestamp::new(77, 7));
    let times = SetTimes { accessed: SetTime::Keep, modified: time };
    let at = if at.is_empty() { "." } else { at };
    path::set_times(&**root, at, Follow::No, times)
}

fn lower() -> DirRef {
    let root = MemFs::new().root();
    for dir in ["d", "d/e", "d/hollow", "empty"] {
        path::create_dir(&*root, dir).unwrap();
    }
    for (at, text) in [
        ("d/f", "hello"),
        ("d/h", "linked"),
        ("d/k", "other"),
        ("d/gone", "gone"),
        ("d/hollow/w", "w"),
    ] {
        let flags = OpenFlags::CREATE;
        let file = open_as(&root, at, Access::Write, flags).unwrap();
        file.write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
    }
    path::link(&*root, "d/h", &*root, "l1").unwrap();
    path::link(&*root, "d/h", &*root, "d/e/l2").unwrap();
    path::create_symlink(&*root, "f", "d/l").unwrap();
    path::link(&*root, "d/l", &*root, "l3").unwrap();
    let all = ["d/f", "d/h", "d/k", "d/l", "d/e", "d/hollow", "empty", "d", "."];
    for (nth, at) in (1..).zip(all) {
        let time = SetTime::At(Timestamp::new(1000 + nth, 0));
        let times = SetTimes { accessed: time, modified: time };
        path::set_times(&*root, at, Follow::No, times).unwrap();
    }
    root
}

struct Bench {
    root: DirRef,
    lower: DirRef,
    dir: PathBuf,
    limits: Limits,
    _overlay: Overlay,
    _temp: tempfile::TempDir,
}

impl Bench {
    /// Creates an overlay whose upper has marks of every kind and nothing else.
    fn new(base: &Path, limits: Limits, lower: &DirRef) -> Bench {
        let temp = tempfile::tempdir_in(base).unwrap();
        let upper = HostUpper::open_ambient_with(temp.path(), limits).unwrap();
        let overlay = Overlay::new(upper, &Lowers::of(Arc::clone(lower))).unwrap();
        let root = overlay.root();
        path::remove_file(&*root, "d/gone").unwrap();
        path::remove_file(&*root, "d/hollow/w").unwrap();
        for at in ["d/hollow", "d"] {
            times(&root, at).unwrap();
        }
        let dir = temp.path().to_owned();
        Bench { root, lower: Arc::clone(lower), dir, limits, _overlay: overlay, _temp: temp }
    }

    /// Returns the tree that a process sees that opens the upper again.
    fn reopened(self) -> (BTreeMap<String, String>, tempfile::TempDir) {
        let Bench { root, lower, dir, limits, _overlay, _temp } = self;
        drop((root, _overlay));
        let upper = HostUpper::open_ambient_with(&dir, limits).unwrap();
        let left = fs::read_dir(dir.join("work/palisade")).unwrap().count();
        assert_eq!(left, 0, "debris in the work area outlives the upper");
        let overlay = Overlay::new(upper, &Lowers::of(lower)).unwrap();
        (shown(&overlay.root()), _temp)
    }
}

/// Returns all visible properties: types, content, link counts, hard links, and the settable times.
fn shown(root: &DirRef) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut nodes: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut pending = vec![(String::new(), Arc::clone(root))];
    while let Some((at, dir)) = pending.pop() {
        let stat = dir.stat(Descent::HERE).unwrap();
        let seconds = [stat.accessed, stat.modified].map(|time| time.seconds());
        all.insert(format!("{at}/"), format!("{seconds:?}"));
        let mut names = Vec::new();
        dir.read_dir(Cookie::START, &mut |entry| {
            names.push(entry.name.as_str().to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
        names.sort();
        for name in names {
            let path = format!("{at}/{name}");
            let stat = dir.stat(d(&name)).unwrap();
            if stat.kind == FileType::Dir {
                let opened = dir.open(d(&name), OpenHow::HOLD_DIR).unwrap();
                pending.push((path, opened.into_dir().unwrap()));
                continue;
            }
            let first = nodes.entry((stat.dev, stat.ino)).or_insert_with(|| path.clone());
            let body = match stat.kind {
                FileType::Symlink => dir.read_link(n(&name)).unwrap().into(),
                _ => {
                    let file = dir.open(d(&name), OpenHow::READ).unwrap().into_file().unwrap();
                    let mut bytes = [0; 16];
                    let len = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
                    String::from_utf8(bytes[..len].to_vec()).unwrap()
                }
            };
            // The read of the content has updated the access time.
            let modified = match stat.modified.seconds() {
                seconds @ ..1_000_000 => seconds.to_string(),
                // Current times differ between two runs.
                _ => "now".to_owned(),
            };
            all.insert(path, format!("{first} {body} {} {modified}", stat.nlink));
        }
    }
    all
}

/// Runs an operation while `failing` of its steps fail, from the `nth` on. Returns its result and
/// whether a step has failed.
fn with_faults(
    (nth, failing): (u32, u32),
    run: impl FnOnce() -> crate::Result<()>,
) -> (crate::Result<()>, bool) {
    fault_points::fail((nth, failing));
    let done = run();
    (done, fault_points::take_failed())
}

fn assert_unharmed(what: &str, operation: Operation, limits: Limits, failing: u32) {
    let (lower, base) = (lower(), Path::new("/dev/shm"));
    let plain = Bench::new(base, limits, &lower);
    operation(&plain.root).unwrap();
    let done_plainly = timeless(&shown(&plain.root));
    let reopened_plainly = timeless(&plain.reopened().0);
    for nth in 0..STEPS_MAX {
        let bench = Bench::new(base, limits, &lower);
        let before = shown(&bench.root);
        let (done, has_failed) = with_faults((nth, failing), || operation(&bench.root));
        let what = format!("{what}, step {nth}, {failing} fail, {limits:?}");
        match done {
            Ok(()) if !has_failed => {
                assert!(nth > 0, "{what}: no step was counted");
                return;
            }
            // A cleanup failed, or a directory's times, which `stat` returns nevertheless.
            Ok(()) => {}
            Err(errno) => {
                assert_eq!(errno, Errno::Nospc, "{what}: not the first error");
                assert_eq!(shown(&bench.root), before, "{what}");
                // A retry fails while the fault lasts.
                let (again, _) = with_faults((0, 1), || operation(&bench.root));
                if again.is_err() {
                    assert_eq!(shown(&bench.root), before, "{what}, again");
                    operation(&bench.root).unwrap_or_else(|errno| panic!("{what}: {errno}"));
                }
            }
        }
        assert_eq!(timeless(&shown(&bench.root)), done_plainly, "{what}, and once more");
        assert_eq!(timeless(&bench.reopened().0), reopened_plainly, "{what}, opened anew");
    }
    panic!("{what}: there is no end of it");
}

/// Removes the times of directories, which an operation may have updated.
fn timeless(shown: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_dir = |path: &str| path.ends_with('/');
    let text = |path: &str, text: &str| if is_dir(path) { String::new() } else { text.to_owned() };
    shown.iter().map(|(path, it)| (path.clone(), text(path, it))).collect()
}

#[test]
fn failed_operation_changes_nothing_while_system_calls_keep_failing() {
    for (what, operation) in OPERATIONS {
        for failing in LASTING {
            assert_unharmed(what, *operation, Limits::NONE, failing);
        }
        assert_unharmed(what, *operation, UNCACHED, u32::MAX);
    }
}

/// Names that could not be rolled back are absent for a process that opens the upper next.
#[test]
fn names_of_a_failed_copy_up_are_absent_after_reopening() {
    let lower = lower();
    for nth in 0..STEPS_MAX {
        let bench = Bench::new(Path::new("/dev/shm"), Limits::NONE, &lower);
        let before = shown(&bench.root);
        let open = || open_as(&bench.root, "d/h", Access::Write, OpenFlags::TRUNCATE).map(drop);
        let (done, _) = with_faults((nth, u32::MAX), open);
        if done.is_ok() {
            assert!(nth > 5, "the operation has few steps");
            return;
        }
        let (reopened, _temp) = bench.reopened();
        assert_eq!(timeless(&reopened), timeless(&before), "step {nth}");
    }
    panic!("there is no end of it");
}

#[test]
fn requested_times_of_a_directory_replace_deferred_ones() {
    each_world(&[Limits::NONE], |world| {
        let mut deferred = 0;
        for nth in 0..STEPS_MAX {
            let name = format!("dir{nth}");
            world.root.create_dir(n(&name)).unwrap();
            let dir = world.enter(&name);
            let (like, copy) = (lower_stat(FileType::Dir, 100 + u64::from(nth)), CopyUp::Dir);
            let copy_up = || dir.copy_up(&[at_name(&*dir, "copy")], &like, copy).map(drop);
            let (done, has_failed) = with_faults((nth, 1), copy_up);
            if !has_failed {
                break;
            }
            // If the call succeeds nevertheless, the times of the directory could not be set back.
            if done.is_ok() {
                deferred += 1;
                let time = Timestamp::new(9, 0);
                let times = SetTimes { accessed: SetTime::At(time), modified: SetTime::At(time) };
                world.root.set_times(d(&name), times).unwrap();
                let found = world.root.stat(d(&name)).unwrap();
                assert_eq!((found.accessed, found.modified), (time, time), "{}", world.what);
                assert_eq!(dir.stat(Descent::HERE).unwrap().modified, time, "{}", world.what);
            }
        }
        assert!(deferred > 0, "{}", world.what);
    });
}
