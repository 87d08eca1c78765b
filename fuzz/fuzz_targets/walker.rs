//! Fuzzes path resolution on small trees, in memory and on the host in parallel.
//!
//! Both must return the same results, and nothing outside the directory of the host may change.

#![no_main]

use std::fs;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use palisade_vfs::{
    Access, DirRef, Errno, FileType, Follow, HostDir, MemFs, OpenFlags, OpenHow, Resolver, path,
};

/// A path component: a few names, so that they collide, and the special components.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Part {
    A,
    B,
    L,
    M,
    Dot,
    DotDot,
    Nothing,
    Long,
    TooLong,
    Canary,
}

#[derive(Arbitrary, Debug)]
enum Text {
    Parts(Vec<Part>),
    Free(String),
}

#[derive(Arbitrary, Debug)]
enum Op {
    CreateDir(Text),
    Create(Text, Follows, Flags),
    Symlink(Text, Text),
    Link(Text, Text),
    Rename(Text, Text),
    RemoveFile(Text),
    RemoveDir(Text),
    Stat(Text, Follows),
    ReadLink(Text),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Follows {
    Yes,
    No,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Flags {
    bits: u8,
    access: u8,
}

#[derive(Arbitrary, Debug)]
struct Case {
    by_components: bool,
    ops: Vec<Op>,
}

impl Text {
    fn text(&self) -> String {
        match self {
            Text::Free(text) => text.clone(),
            Text::Parts(parts) => {
                let parts: Vec<_> = parts
                    .iter()
                    .take(12)
                    .map(|part| match part {
                        Part::A => "a".to_owned(),
                        Part::B => "b".to_owned(),
                        Part::L => "l".to_owned(),
                        Part::M => "m".to_owned(),
                        Part::Dot => ".".to_owned(),
                        Part::DotDot => "..".to_owned(),
                        Part::Nothing => String::new(),
                        Part::Long => "x".repeat(255),
                        Part::TooLong => "x".repeat(256),
                        Part::Canary => "canary".to_owned(),
                    })
                    .collect();
                parts.join("/")
            }
        }
    }
}

impl From<Follows> for Follow {
    fn from(follows: Follows) -> Self {
        match follows {
            Follows::Yes => Follow::Yes,
            Follows::No => Follow::No,
        }
    }
}

impl Flags {
    fn how(self) -> OpenHow {
        let access = Access::ALL[usize::from(self.access) % Access::ALL.len()];
        let known =
            OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE | OpenFlags::DIRECTORY;
        OpenHow::new(access, OpenFlags::from_bits_truncate(self.bits) & known)
    }
}

/// Runs an operation and returns the part of its result that both sides must agree on.
fn run(root: &DirRef, op: &Op) -> Result<(Option<FileType>, String), Errno> {
    let nothing = |()| (None, String::new());
    match op {
        Op::CreateDir(at) => path::create_dir(&**root, &at.text()).map(nothing),
        Op::Create(at, follows, flags) => {
            let node = path::open(&**root, &at.text(), (*follows).into(), flags.how())?;
            let kind = match node {
                palisade_vfs::Node::Dir(_) => FileType::Dir,
                palisade_vfs::Node::File(file) => file.kind(),
            };
            Ok((Some(kind), String::new()))
        }
        Op::Symlink(target, at) => {
            path::create_symlink(&**root, &target.text(), &at.text()).map(nothing)
        }
        Op::Link(old, new) => path::link(&**root, &old.text(), &**root, &new.text()).map(nothing),
        Op::Rename(old, new) => {
            path::rename(&**root, &old.text(), &**root, &new.text()).map(nothing)
        }
        Op::RemoveFile(at) => path::remove_file(&**root, &at.text()).map(nothing),
        Op::RemoveDir(at) => path::remove_dir(&**root, &at.text()).map(nothing),
        Op::Stat(at, follows) => {
            let stat = path::stat(&**root, &at.text(), (*follows).into())?;
            assert_ne!(stat.ino, 0);
            let size = if stat.kind == FileType::Dir { 0 } else { stat.size };
            Ok((Some(stat.kind), format!("{size} {}", stat.nlink.min(9))))
        }
        Op::ReadLink(at) => {
            path::read_link(&**root, &at.text()).map(|target| (None, target.into()))
        }
    }
}

fuzz_target!(|case: Case| {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let inner = outer.path().join("root");
    fs::create_dir(&inner).unwrap();
    fs::write(outer.path().join("canary"), "canary").unwrap();
    let resolver = if case.by_components { Resolver::Components } else { Resolver::Openat2 };
    let host = HostDir::open_ambient_with(&inner, resolver).unwrap();
    let memory = MemFs::new().root();
    for op in case.ops.iter().take(40) {
        let (on_host, in_memory) = (run(&host, op), run(&memory, op));
        assert_eq!(on_host, in_memory, "{op:?}");
    }
    let names: Vec<_> =
        fs::read_dir(outer.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read(outer.path().join("canary")).unwrap(), b"canary");
});
