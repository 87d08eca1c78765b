//! Operations as values, and trees as values.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Errno, File, FileType, Follow, Node, OpenFlags, OpenHow,
    Result, SetTime, SetTimes, Timestamp, path,
};
use proptest::prelude::*;

/// One operation of a guest.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Opens a path, then performs each operation on the handle.
    Open(String, Follow, OpenHow),
    Stat(String, Follow),
    ReadLink(String),
    CreateDir(String),
    CreateSymlink(String, String),
    RemoveFile(String),
    RemoveDir(String),
    Rename(String, String),
    Link(String, String),
    SetTimes(String, Follow),
}

impl Op {
    /// The same, with the paths below `first` and `second`.
    pub(super) fn below(self, first: &str, second: &str) -> Op {
        let at = |at: String| format!("{first}{at}");
        match self {
            Op::Open(path, last, how) => Op::Open(at(path), last, how),
            Op::Stat(path, last) => Op::Stat(at(path), last),
            Op::ReadLink(path) => Op::ReadLink(at(path)),
            Op::CreateDir(path) => Op::CreateDir(at(path)),
            Op::CreateSymlink(target, path) => {
                Op::CreateSymlink(format!("../{second}{target}"), at(path))
            }
            Op::RemoveFile(path) => Op::RemoveFile(at(path)),
            Op::RemoveDir(path) => Op::RemoveDir(at(path)),
            Op::Rename(old, new) => Op::Rename(at(old), format!("{second}{new}")),
            Op::Link(old, new) => Op::Link(at(old), format!("{second}{new}")),
            Op::SetTimes(path, last) => Op::SetTimes(at(path), last),
        }
    }
}

pub(super) const TIMES: SetTimes =
    SetTimes { accessed: SetTime::At(Timestamp::EPOCH), modified: SetTime::At(Timestamp::EPOCH) };

/// Performs `op`. The result is equal on two filesystems with equal trees.
pub(super) fn apply(dir: &DirRef, op: &Op) -> Result<String> {
    let dir: &dyn Dir = &**dir;
    match op {
        Op::Open(at, last, how) => path::open(dir, at, *last, *how).map(|node| use_handle(&node)),
        Op::Stat(at, last) => {
            path::stat(dir, at, *last).map(|s| format!("{:?} {} {}", s.kind, s.size, s.nlink))
        }
        Op::ReadLink(at) => path::read_link(dir, at).map(String::from),
        Op::CreateDir(at) => path::create_dir(dir, at).map(done),
        Op::CreateSymlink(target, at) => path::create_symlink(dir, target, at).map(done),
        Op::RemoveFile(at) => path::remove_file(dir, at).map(done),
        Op::RemoveDir(at) => path::remove_dir(dir, at).map(done),
        Op::Rename(old, new) => path::rename(dir, old, dir, new).map(done),
        Op::Link(old, new) => path::link(dir, old, dir, new).map(done),
        Op::SetTimes(at, last) => path::set_times(dir, at, *last, TIMES).map(done),
    }
}

fn done((): ()) -> String {
    String::new()
}

/// An operation on an open node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    List,
    Read,
    Write,
    Append,
    Allocate,
    SetLen,
    SetTimes,
    Stat,
    Sync,
}

impl Verb {
    pub(super) const ALL: [Verb; 9] = [
        Verb::List,
        Verb::Read,
        Verb::Write,
        Verb::Append,
        Verb::Allocate,
        Verb::SetLen,
        Verb::SetTimes,
        Verb::Stat,
        Verb::Sync,
    ];

    pub(super) fn apply(self, node: &Node) -> Result<String> {
        let file: &dyn File = match (node, self) {
            (Node::Dir(dir), Verb::List) => return list(&**dir).map(|l| format!("{l:?}")),
            (Node::Dir(dir), Verb::Sync) => return dir.sync().map(done),
            (Node::Dir(_), _) => return Err(Errno::Isdir),
            (Node::File(file), _) => &**file,
        };
        match self {
            Verb::List => Err(Errno::Notdir),
            Verb::Read => {
                let mut buf = [0; 64];
                let len = file.read_at(&mut [IoSliceMut::new(&mut buf)], 0)?;
                Ok(String::from_utf8_lossy(&buf[..len]).into())
            }
            Verb::Write => file.write_at(&[IoSlice::new(b"W")], 1).map(|len| len.to_string()),
            Verb::Append => {
                let len = file.append(&[IoSlice::new(b"A")])?;
                Ok(format!("{len} to {}", file.appended_to()?))
            }
            Verb::Allocate => file.allocate(0, 12).map(done),
            Verb::SetLen => file.set_len(9).map(done),
            Verb::SetTimes => file.set_times(TIMES).map(done),
            Verb::Stat => file.stat().map(|stat| stat.size.to_string()),
            Verb::Sync => file.sync(palisade_vfs::SyncScope::All).map(done),
        }
    }
}

/// Performs each operation on an open node and returns the results as text.
pub(super) fn use_handle(node: &Node) -> String {
    format!("{:?}", Verb::ALL.map(|verb| verb.apply(node)))
}

/// The names and types in `dir`, sorted.
pub(super) fn list(dir: &dyn Dir) -> Result<Vec<(String, FileType)>> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push((entry.name.as_str().to_owned(), entry.kind));
        ControlFlow::Continue(())
    })?;
    names.sort();
    Ok(names)
}

/// A snapshot of a tree: the node of each path.
pub(super) type Tree = BTreeMap<String, Leaf>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) kind: FileType,
    pub(super) content: String,
    pub(super) nlink: u64,
    pub(super) times: [Timestamp; 2],
}

/// The tree below `dir`, with the times or without.
pub(super) fn snapshot(dir: &DirRef, times: Times) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![String::new()];
    while let Some(at) = pending.pop() {
        let path = Descent::new(&at).unwrap();
        let stat = dir.stat(path).unwrap();
        let content = match stat.kind {
            FileType::Symlink => {
                let (parent, name) = path.split_last().unwrap();
                let parent = dir.open(parent, OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
                parent.read_link(name).unwrap().into()
            }
            FileType::Dir => {
                let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
                let held = dir.open(path, how).unwrap().into_dir().unwrap();
                for (name, _) in list(&*held).unwrap() {
                    pending.push(if at.is_empty() { name } else { format!("{at}/{name}") });
                }
                String::new()
            }
            _ => {
                let mut buf = [0; 64];
                let file = dir.open(path, OpenHow::READ).unwrap().into_file().unwrap();
                let len = file.read_at(&mut [IoSliceMut::new(&mut buf)], 0).unwrap();
                String::from_utf8_lossy(&buf[..len]).into()
            }
        };
        let times = match times {
            Times::Compared => [stat.accessed, stat.modified],
            Times::Ignored => [Timestamp::EPOCH; 2],
        };
        tree.insert(at, Leaf { kind: stat.kind, content, nlink: stat.nlink, times });
    }
    tree
}

#[derive(Clone, Copy)]
pub(super) enum Times {
    Compared,
    Ignored,
}

pub(super) fn seed(root: &DirRef, tree: &[(&str, &str)]) {
    for (what, at) in tree {
        match what.split_once(' ') {
            Some((_, target)) => path::create_symlink(&**root, target, at).unwrap(),
            None if *what == "mkdir" => path::create_dir(&**root, at).unwrap(),
            None => {
                let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
                let file = path::open(&**root, at, Follow::No, how).unwrap().into_file().unwrap();
                file.append(&[IoSlice::new(at.as_bytes())]).unwrap();
            }
        }
    }
}

/// Every access with every set of flags that does not contradict itself.
pub(super) fn every_how() -> Vec<OpenHow> {
    let flags = (0..=OpenFlags::all().bits()).filter_map(OpenFlags::from_bits);
    flags
        .flat_map(|flags| Access::ALL.map(|access| OpenHow::new(access, flags)))
        .filter(|how| how.check().is_ok())
        .collect()
}

fn some_path() -> impl Strategy<Value = String> {
    let known = [
        "a", "a/d", "b", "f", "a/f", "a/d/g", "l", "l/f", "l/d", "a/l", "b/l", "b/n", "n", "a/n",
        "l/n", "a/d/n", "a/../f", "f/x", "a/", "l/", "f/", "b/.", "n/n", "..", "b/gone", "b/m",
    ];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

fn some_follow() -> impl Strategy<Value = Follow> {
    prop::sample::select(vec![Follow::Yes, Follow::No])
}

pub(super) fn some_op() -> impl Strategy<Value = Op> {
    let at = some_path;
    prop_oneof![
        3 => (at(), some_follow(), prop::sample::select(every_how()))
            .prop_map(|(at, last, how)| Op::Open(at, last, how)),
        1 => (at(), some_follow()).prop_map(|(at, last)| Op::Stat(at, last)),
        1 => at().prop_map(Op::ReadLink),
        1 => at().prop_map(Op::CreateDir),
        1 => (at(), at()).prop_map(|(target, at)| Op::CreateSymlink(target, at)),
        1 => at().prop_map(Op::RemoveFile),
        1 => at().prop_map(Op::RemoveDir),
        2 => (at(), at()).prop_map(|(old, new)| Op::Rename(old, new)),
        1 => (at(), at()).prop_map(|(old, new)| Op::Link(old, new)),
        1 => (at(), some_follow()).prop_map(|(at, last)| Op::SetTimes(at, last)),
    ]
}
