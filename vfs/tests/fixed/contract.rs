//! The results and errors of every operation on an immutable tree.

use std::borrow::Cow;
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, DirRef, EmbeddedFs, Errno, FileType, Follow, Name, Node, OpenFlags, OpenHow,
    Result, SetTime, SetTimes, Timestamp, path,
};

use crate::archives;

/// The trees: `f` and `d/g` are files, `d/e/h` is one deeper. Archives also have the empty
/// directory `empty`, and the links `l` to `f`, `m` to `d`, `out` to `../x` and `dangling`.
fn trees() -> (tempfile::TempDir, Vec<(&'static str, DirRef)>) {
    let files = [("f", &b"file"[..]), ("d/g", b"below"), ("d/e/h", b"")];
    let files = files.map(|(path, bytes)| (path, Cow::Borrowed(bytes), Timestamp::EPOCH));
    let (host, mut trees) = archives::contract();
    trees.push(("embedded", EmbeddedFs::from_files(files).unwrap().root()));
    (host, trees)
}

/// Opens `at` and returns the type of the node.
fn open(root: &DirRef, at: &str, access: Access, flags: OpenFlags) -> Result<FileType> {
    match path::open(&**root, at, Follow::Yes, OpenHow::new(access, flags))? {
        Node::Dir(_) => Ok(FileType::Dir),
        Node::File(file) => Ok(file.kind()),
    }
}

#[test]
fn open_errors_follow_the_order_of_the_contract() {
    let (none, create) = (OpenFlags::empty(), OpenFlags::CREATE);
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    let (truncate, directory) = (OpenFlags::TRUNCATE, OpenFlags::DIRECTORY);
    let (file, dir) = (Ok(FileType::File), Ok(FileType::Dir));
    let cases = [
        ("f", Access::Read, none, file),
        ("f", Access::Hold, none, file),
        ("f", Access::Write, none, Err(Errno::Rofs)),
        ("f", Access::ReadWrite, none, Err(Errno::Rofs)),
        ("f", Access::Read, truncate, Err(Errno::Rofs)),
        ("f", Access::Read, create, file),
        ("f", Access::Read, exclusive, Err(Errno::Exist)),
        ("f", Access::Read, directory, Err(Errno::Notdir)),
        ("f", Access::Write, directory, Err(Errno::Notdir)),
        ("f/x", Access::Read, create, Err(Errno::Notdir)),
        ("f/", Access::Read, none, Err(Errno::Notdir)),
        ("d", Access::Read, none, dir),
        ("d", Access::Read, directory, dir),
        ("d", Access::Write, none, Err(Errno::Isdir)),
        ("d", Access::Read, create, Err(Errno::Isdir)),
        ("d", Access::Read, exclusive, Err(Errno::Exist)),
        ("d", Access::Read, truncate, Err(Errno::Isdir)),
        ("d/e/h", Access::Read, none, file),
        (".", Access::Read, none, dir),
        (".", Access::Read, exclusive, Err(Errno::Exist)),
        ("x", Access::Read, none, Err(Errno::Noent)),
        ("x", Access::Write, none, Err(Errno::Noent)),
        ("x", Access::Write, create, Err(Errno::Rofs)),
        ("x", Access::Write, exclusive, Err(Errno::Rofs)),
        ("d/x", Access::Write, create, Err(Errno::Rofs)),
        ("x/x", Access::Write, create, Err(Errno::Noent)),
        ("d/../f", Access::Read, none, file),
        ("../f", Access::Read, none, Err(Errno::Escape)),
    ];
    let (_host, trees) = trees();
    for (tree, root) in trees {
        for (at, access, flags, expected) in cases {
            assert_eq!(
                open(&root, at, access, flags),
                expected,
                "{tree}: {at} {access:?} {flags:?}"
            );
        }
    }
}

#[test]
fn errors_of_changes_follow_the_order_of_the_contract() {
    let (_host, trees) = trees();
    for (tree, root) in trees {
        let dir = &*root;
        let rename = |old, new| path::rename(dir, old, dir, new);
        let link = |old, new| path::link(dir, old, dir, new);
        let times = |at| path::set_times(dir, at, Follow::No, SetTimes::default());
        let cases = [
            ("mkdir f", path::create_dir(dir, "f"), Err(Errno::Exist)),
            ("mkdir d", path::create_dir(dir, "d"), Err(Errno::Exist)),
            ("mkdir x", path::create_dir(dir, "x"), Err(Errno::Rofs)),
            ("mkdir x/x", path::create_dir(dir, "x/x"), Err(Errno::Noent)),
            ("mkdir f/x", path::create_dir(dir, "f/x"), Err(Errno::Notdir)),
            ("symlink d", path::create_symlink(dir, "t", "d"), Err(Errno::Exist)),
            ("symlink x", path::create_symlink(dir, "t", "x"), Err(Errno::Rofs)),
            ("unlink x", path::remove_file(dir, "x"), Err(Errno::Noent)),
            ("unlink d", path::remove_file(dir, "d"), Err(Errno::Isdir)),
            ("unlink f", path::remove_file(dir, "f"), Err(Errno::Rofs)),
            ("rmdir x", path::remove_dir(dir, "x"), Err(Errno::Noent)),
            ("rmdir f", path::remove_dir(dir, "f"), Err(Errno::Notdir)),
            ("rmdir d", path::remove_dir(dir, "d"), Err(Errno::Notempty)),
            ("rename x f", rename("x", "f"), Err(Errno::Noent)),
            ("rename d d/e/x", rename("d", "d/e/x"), Err(Errno::Inval)),
            ("rename d/e/h d", rename("d/e/h", "d"), Err(Errno::Notempty)),
            ("rename d/e d", rename("d/e", "d"), Err(Errno::Notempty)),
            ("rename f f", rename("f", "f"), Ok(())),
            ("rename d f", rename("d", "f"), Err(Errno::Notdir)),
            ("rename f d/e", rename("f", "d/e"), Err(Errno::Isdir)),
            ("rename f d/g", rename("f", "d/g"), Err(Errno::Rofs)),
            ("rename f x", rename("f", "x"), Err(Errno::Rofs)),
            ("link x y", link("x", "y"), Err(Errno::Noent)),
            ("link f d", link("f", "d"), Err(Errno::Exist)),
            ("link d f", link("d", "f"), Err(Errno::Exist)),
            ("link d x", link("d", "x"), Err(Errno::Perm)),
            ("link f x", link("f", "x"), Err(Errno::Rofs)),
            ("utimes x", times("x"), Err(Errno::Noent)),
            ("utimes f", times("f"), Err(Errno::Rofs)),
            ("utimes .", times("."), Err(Errno::Rofs)),
            ("readlink f", path::read_link(dir, "f").map(drop), Err(Errno::Inval)),
            ("readlink x", path::read_link(dir, "x").map(drop), Err(Errno::Noent)),
            ("sync", dir.sync(), Ok(())),
        ];
        for (case, answer, expected) in cases {
            assert_eq!(answer, expected, "{tree}: {case}");
        }
    }
}

#[test]
fn file_handle_refuses_every_change() {
    let (_host, trees) = trees();
    for (tree, root) in trees {
        let file = path::open(&*root, "f", Follow::No, OpenHow::READ).unwrap();
        let file = file.into_file().unwrap();
        let buf = [std::io::IoSlice::new(b"x")];
        let now = SetTimes { modified: SetTime::Now, ..SetTimes::default() };
        assert_eq!(file.write_at(&buf, 0), Err(Errno::Badf), "{tree}");
        assert_eq!(file.append(&buf), Err(Errno::Badf), "{tree}");
        assert_eq!(file.set_len(0), Err(Errno::Inval), "{tree}");
        assert_eq!(file.allocate(0, 1), Err(Errno::Badf), "{tree}");
        assert_eq!(file.set_times(now), Err(Errno::Rofs), "{tree}");
        assert_eq!(file.stat(), path::stat(&*root, "f", Follow::No), "{tree}");
        assert_eq!(file.stat().unwrap().size, 4, "{tree}");
    }
}

#[test]
fn rename_and_link_between_two_trees_are_exdev() {
    let (_other_host, others) = self::trees();
    let (_host, trees) = trees();
    for (tree, root) in trees {
        for (_, other) in &others {
            let f = Name::new("f").unwrap();
            assert_eq!(root.rename(f, &**other, f), Err(Errno::Xdev), "{tree}");
            assert_eq!(root.link(f, &**other, f), Err(Errno::Xdev), "{tree}");
        }
    }
}

#[test]
fn listing_continues_at_a_cookie() {
    let (_host, trees) = trees();
    for (tree, root) in trees {
        let list = |from| -> Result<Vec<(String, FileType, u64, Cookie)>> {
            let mut seen = Vec::new();
            root.read_dir(from, &mut |entry| {
                let name = entry.name.as_str().to_owned();
                seen.push((name, entry.kind, entry.ino, entry.next));
                ControlFlow::Continue(())
            })?;
            Ok(seen)
        };
        let all = list(Cookie::START).unwrap();
        assert!(all.len() >= 2, "{tree}");
        for (at, (name, kind, ino, next)) in all.iter().enumerate() {
            let stat = path::stat(&*root, name, Follow::No).unwrap();
            assert_eq!((stat.kind, stat.ino), (*kind, *ino), "{tree}: {name}");
            if tree != "directory" {
                assert_eq!(list(*next).unwrap(), all[at + 1..], "{tree}");
            }
        }
        if tree != "directory" {
            assert_eq!(list(Cookie(1000)), Err(Errno::Inval), "{tree}");
        }
    }
}

#[test]
fn symlinks_stop_descents_and_the_walker_follows_them() {
    let (_host, trees) = trees();
    for (tree, root) in trees.into_iter().filter(|(tree, _)| *tree != "embedded") {
        let dir = &*root;
        let stat = |at| path::stat(dir, at, Follow::Yes).map(|stat| stat.kind);
        let cases = [
            ("l", Ok(FileType::File)),
            ("m", Ok(FileType::Dir)),
            ("m/e/h", Ok(FileType::File)),
            ("m/../f", Ok(FileType::File)),
            ("l/x", Err(Errno::Notdir)),
            ("dangling", Err(Errno::Noent)),
            ("out", Err(Errno::Escape)),
            ("out/x", Err(Errno::Escape)),
            ("empty", Ok(FileType::Dir)),
        ];
        for (at, expected) in cases {
            assert_eq!(stat(at), expected, "{tree}: {at}");
        }
        assert_eq!(path::read_link(dir, "out").as_deref(), Ok("../x"), "{tree}");
        let link = path::stat(dir, "m", Follow::No).unwrap();
        assert_eq!((link.kind, link.size), (FileType::Symlink, 1), "{tree}");
        assert_eq!(open(&root, "dangling", Access::Write, OpenFlags::CREATE), Err(Errno::Rofs));
        let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        for at in ["l", "dangling", "out"] {
            assert_eq!(open(&root, at, Access::Write, exclusive), Err(Errno::Exist), "{tree}");
        }
        assert_eq!(path::remove_dir(dir, "empty"), Err(Errno::Rofs), "{tree}");
        assert_eq!(path::rename(dir, "d/e", dir, "empty"), Err(Errno::Rofs), "{tree}");
        assert_eq!(path::remove_file(dir, "l"), Err(Errno::Rofs), "{tree}");
        assert_eq!(path::remove_dir(dir, "m"), Err(Errno::Notdir), "{tree}");
    }
}
