//! Uppers on the host: the contract, interoperability with the kernel, crashes and faults.
//!
//! Every test runs on a filesystem on disk and on tmpfs.

// The tests act as another process, with ambient authority.
#![allow(clippy::disallowed_methods, clippy::expect_used)]

mod contract;
mod crash;
mod faults;
mod kernel;

mod open;
mod swapped;
mod synced;
mod xattr_whiteouts;

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::HostUpper;
use super::open::Limits;
use super::work_dir::WhiteoutStyle;
use crate::overlay::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperRef};
use crate::{
    Access, Cookie, Descent, Errno, FileRef, FileType, Name, Node, OpenFlags, OpenHow, Stat, Stop,
    Timestamp,
};

/// The filesystems that every test runs on.
fn bases() -> [PathBuf; 2] {
    [std::env::temp_dir(), PathBuf::from("/dev/shm")]
}

/// An upper in a temporary directory of the host.
struct World {
    root: UpperRef,
    dir: PathBuf,
    upper: PathBuf,
    limits: Limits,
    what: String,
    _temp: tempfile::TempDir,
}

const XATTR_WHITEOUTS: Limits = Limits { style: WhiteoutStyle::Xattr, ..Limits::NONE };
/// No names are cached, as in directories that are too large.
const UNCACHED: Limits = Limits { names_max: 0, ..Limits::NONE };

fn each_world(limits: &[Limits], test: impl Fn(&mut World)) {
    for base in bases() {
        for limits in limits {
            let temp = tempfile::tempdir_in(&base).unwrap();
            let dir = temp.path().to_owned();
            let root = HostUpper::open_ambient_with(&dir, *limits).unwrap();
            let upper = dir.join("upper");
            let what = format!("{} {limits:?}", base.display());
            let limits = *limits;
            let mut world = World { root, dir, upper, limits, what, _temp: temp };
            test(&mut world);
            world.check_work();
        }
    }
}

const ALL: &[Limits] = &[Limits::NONE, XATTR_WHITEOUTS, UNCACHED];

impl World {
    fn reopen(&mut self) {
        // The lock must be released first.
        let empty = tempfile::tempdir().unwrap();
        self.root = HostUpper::open_ambient_frozen(empty.path()).unwrap();
        self.root = HostUpper::open_ambient_with(&self.dir, self.limits).unwrap();
    }

    fn check_work(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.join("work/palisade")).unwrap().collect();
        assert!(left.is_empty(), "{}: {left:?}", self.what);
    }

    fn write(&self, at: &str, text: &str) {
        write(&*self.root, at, text);
    }

    fn enter(&self, name: &str) -> UpperRef {
        self.root.enter(n(name)).unwrap()
    }

    fn entries(&self) -> BTreeMap<String, String> {
        tree(&self.root)
    }
}

fn n(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn d(text: &str) -> Descent<'_> {
    Descent::new(text).unwrap()
}

fn create(dir: &dyn UpperDir, at: &str) -> FileRef {
    let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    open(dir, at, Access::ReadWrite, flags).unwrap().into_file().unwrap()
}

fn open(dir: &dyn UpperDir, at: &str, access: Access, flags: OpenFlags) -> Result<Node, Stop> {
    dir.open(d(at), OpenHow::new(access, flags))
}

fn errno<T>(result: Result<T, Stop>) -> Errno {
    match result {
        Err(Stop::Errno(errno)) => errno,
        Err(Stop::Link { at, target }) => panic!("a link at {at}: {target}"),
        Ok(_) => panic!("no error"),
    }
}

fn write(dir: &dyn UpperDir, at: &str, text: &str) {
    let file = create(dir, at);
    file.write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
}

fn read(dir: &dyn UpperDir, at: &str) -> String {
    let file = open(dir, at, Access::Read, OpenFlags::empty()).unwrap().into_file().unwrap();
    let mut bytes = vec![0; 256];
    let len = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
    bytes.truncate(len);
    String::from_utf8(bytes).unwrap()
}

fn whiteouts(dir: &dyn UpperDir) -> Vec<String> {
    let mut all = Vec::new();
    dir.whiteouts(&mut |name| all.push(name.as_str().to_owned())).unwrap();
    all
}

fn list(dir: &dyn UpperDir) -> Vec<(String, FileType, u64)> {
    let mut all = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        all.push((entry.name.as_str().to_owned(), entry.kind, entry.ino));
        ControlFlow::Continue(())
    })
    .unwrap();
    all.sort();
    all
}

fn names(dir: &dyn UpperDir) -> Vec<String> {
    list(dir).into_iter().map(|entry| entry.0).collect()
}

fn node(dir: &dyn UpperDir, name: &str) -> Stat {
    match dir.lookup(n(name)).unwrap() {
        UpperEntry::Node(stat) => stat,
        other => panic!("{name}: {other:?}"),
    }
}

fn entry_type(dir: &dyn UpperDir, name: &str) -> &'static str {
    match dir.lookup(n(name)).unwrap() {
        UpperEntry::Absent => "nothing",
        UpperEntry::Whiteout => "whiteout",
        UpperEntry::Node(_) => "node",
    }
}

/// The [`Stat`] of a node of a lower.
fn lower_stat(kind: FileType, ino: u64) -> Stat {
    let time = |seconds| Timestamp::new(seconds, 5);
    let (accessed, modified, changed) = (time(1000), time(2000), time(3000));
    Stat { kind, dev: 77, ino, nlink: 1, size: 0, accessed, modified, changed }
}

fn copy_up_file(dir: &dyn UpperDir, name: &str, ino: u64, text: &str) -> FileRef {
    let mut fill =
        |file: &dyn crate::File| file.write_at(&[IoSlice::new(text.as_bytes())], 0).map(drop);
    let what = CopyUp::File(&mut fill);
    match dir.copy_up(&[at_name(dir, name)], &lower_stat(FileType::File, ino), what).unwrap() {
        CopiedUp::File(file) => file,
        CopiedUp::Named | CopiedUp::Truncated { .. } => panic!("no file"),
    }
}

fn copy_up(dir: &dyn UpperDir, name: &str, kind: FileType, ino: u64) {
    let what = match kind {
        FileType::Symlink => CopyUp::Symlink("to"),
        _ => CopyUp::Dir,
    };
    dir.copy_up(&[at_name(dir, name)], &lower_stat(kind, ino), what).unwrap();
}

fn at_name<'a>(dir: &'a dyn UpperDir, name: &'a str) -> NewName<'a> {
    NewName { dir, name: n(name) }
}

/// Returns everything in an upper, except times and identities.
fn tree(root: &UpperRef) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut pending = vec![(String::new(), root.clone())];
    while let Some((path, dir)) = pending.pop() {
        let opaque = if dir.is_opaque().unwrap() { "opaque " } else { "" };
        all.insert(format!("{path}/"), format!("{opaque}dir"));
        for name in whiteouts(&*dir) {
            all.insert(format!("{path}/{name}"), "whiteout".to_owned());
        }
        for (name, kind, _) in list(&*dir) {
            let path = format!("{path}/{name}");
            match kind {
                FileType::Dir => pending.push((path, dir.enter(n(&name)).unwrap())),
                FileType::File => drop(all.insert(path, read(&*dir, &name))),
                FileType::Symlink => {
                    all.insert(path, format!("-> {}", dir.read_link(n(&name)).unwrap()));
                }
                other => drop(all.insert(path, format!("{other:?}"))),
            }
        }
    }
    all
}

/// Returns everything in a directory of the host.
fn host_tree(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut pending = vec![(String::new(), root.to_owned())];
    while let Some((path, dir)) = pending.pop() {
        all.insert(format!("{path}/"), "dir".to_owned());
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                pending.push((path, entry.path()));
            } else if kind.is_file() {
                all.insert(path, fs::read_to_string(entry.path()).unwrap());
            } else if kind.is_symlink() {
                all.insert(path, format!("-> {}", fs::read_link(entry.path()).unwrap().display()));
            } else {
                let rdev = entry.metadata().unwrap().rdev();
                let text = if kind.is_char_device() && rdev == 0 { "whiteout" } else { "special" };
                all.insert(path, text.to_owned());
            }
        }
    }
    all
}

fn tree_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

/// Returns the xattr `name` of a file or a directory.
fn mark(at: &Path, name: &str) -> Option<String> {
    let mut value = [0_u8; 256];
    let len = rustix::fs::lgetxattr(at, name, &mut value[..]).ok()?;
    Some(String::from_utf8(value[..len].to_vec()).unwrap())
}
