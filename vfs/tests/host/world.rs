//! A host directory for a test, its surroundings, and short helpers.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Errno, FileRef, FileType, HostDir, Name, Node, OpenFlags,
    OpenHow, Resolver, Stop,
};
use rustix::fs::{CWD, Mode, RenameFlags};

/// A host directory and its neighbors, which must never change.
pub(crate) struct World {
    pub(crate) dir: DirRef,
    pub(crate) root: PathBuf,
    pub(crate) outside: PathBuf,
    _temp: tempfile::TempDir,
    pub(crate) what: String,
}

pub(crate) const SECRET: &str = "the canary's secret";

/// Runs `test` in a fresh world for each filesystem and each resolver.
pub(crate) fn each_world(test: impl Fn(&World)) {
    for base in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for resolver in [Resolver::Auto, Resolver::Openat2, Resolver::Components] {
            let temp = tempfile::tempdir_in(&base).unwrap();
            let root = temp.path().join("root");
            let outside = temp.path().join("outside");
            fs::create_dir(&root).unwrap();
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("canary"), SECRET).unwrap();
            let dir = HostDir::open_ambient_with(&root, resolver).unwrap();
            let what = format!("{} {resolver:?}", base.display());
            let world = World { dir, root, outside, _temp: temp, what };
            test(&world);
            world.check_canary();
        }
    }
}

impl World {
    pub(crate) fn check_canary(&self) {
        let names: Vec<_> =
            fs::read_dir(&self.outside).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["canary"], "{}", self.what);
        let found = fs::read_to_string(self.outside.join("canary")).unwrap();
        assert_eq!(found, SECRET, "{}", self.what);
    }

    pub(crate) fn open(&self, at: &str, access: Access, flags: OpenFlags) -> Result<Node, Stop> {
        self.dir.open(down(at), OpenHow::new(access, flags))
    }

    pub(crate) fn file(&self, at: &str, access: Access) -> FileRef {
        let flags = OpenFlags::empty();
        self.open(at, access, flags).unwrap_or_else(|e| panic!("{at}: {e:?}")).into_file().unwrap()
    }

    pub(crate) fn new_file(&self, at: &str) -> FileRef {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        self.open(at, Access::ReadWrite, flags).unwrap_or_else(|_| panic!()).into_file().unwrap()
    }

    pub(crate) fn fill(&self, at: &str, text: &str) {
        fs::write(self.root.join(at), text).unwrap();
    }
}

pub(crate) fn down(text: &str) -> Descent<'_> {
    Descent::new(text).unwrap()
}

pub(crate) fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

pub(crate) fn errno<T>(result: Result<T, Stop>) -> Errno {
    match result {
        Err(Stop::Errno(errno)) => errno,
        Err(Stop::Link { at, target }) => panic!("a link at {at}: {target}"),
        Ok(_) => panic!("no error"),
    }
}

pub(crate) fn link<T>(result: Result<T, Stop>) -> (usize, String) {
    match result {
        Err(Stop::Link { at, target }) => (at, target.into()),
        Err(Stop::Errno(errno)) => panic!("{errno:?}"),
        Ok(_) => panic!("no link"),
    }
}

pub(crate) fn read(file: &FileRef, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], offset).unwrap();
    bytes.truncate(n);
    bytes
}

pub(crate) fn write(file: &FileRef, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(&[IoSlice::new(bytes)], offset)
}

/// Lists the entries from `from`, at most `room` per call.
pub(crate) fn list(dir: &dyn Dir, mut from: Cookie, room: usize) -> Vec<(String, FileType, u64)> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        dir.read_dir(from, &mut |entry| {
            all.push((entry.name.as_str().to_owned(), entry.kind, entry.ino));
            from = entry.next;
            if all.len() - before == room {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

pub(crate) fn names(dir: &dyn Dir, room: usize) -> Vec<String> {
    let mut names: Vec<_> = list(dir, Cookie::START, room).into_iter().map(|e| e.0).collect();
    names.sort();
    names
}

pub(crate) fn fifo(at: &Path) {
    rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o600)).unwrap();
}

pub(crate) fn exchange(a: &Path, b: &Path) {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
}

/// Runs `step` in a loop in another thread until `test` ends or panics.
pub(crate) fn meanwhile(step: impl Fn() + Send + Sync, test: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                step();
            }
        });
        let _stop = Stop(&is_over);
        test();
    });
}
