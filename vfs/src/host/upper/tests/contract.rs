//! The contract of each method of an upper, on every filesystem and with every style of whiteouts.

use super::*;
use crate::overlay::UpperOpen;
use crate::{SetTime, SetTimes};

/// Creates a node of each type, whiteouts, and directories without visible entries.
fn furnish(world: &World) {
    let upper = &world.root;
    world.write("file", "file");
    world.write("other", "other");
    upper.link(n("file"), &**upper, n("twin")).unwrap();
    upper.create_symlink(n("link"), "file").unwrap();
    upper.create_dir(n("dir")).unwrap();
    world.write("dir/in", "in");
    upper.create_dir(n("empty")).unwrap();
    upper.create_dir(n("hollow")).unwrap();
    world.enter("hollow").create_whiteout(n("w")).unwrap();
    upper.create_whiteout(n("gone")).unwrap();
}

fn dir(world: &World) -> &dyn UpperDir {
    &*world.root
}

#[test]
fn whiteout_is_absent_for_every_dir_method() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        assert_eq!(entry_type(upper, "gone"), "whiteout");
        assert_eq!(whiteouts(upper), ["gone"]);
        assert!(!names(upper).contains(&"gone".to_owned()));
        assert_eq!(errno(upper.stat(d("gone"))), Errno::Noent);
        assert_eq!(errno(upper.stat(d("gone/x"))), Errno::Noent);
        assert_eq!(errno(upper.set_times(d("gone"), SetTimes::default())), Errno::Noent);
        let flags = OpenFlags::empty();
        for access in Access::ALL {
            assert_eq!(errno(open(upper, "gone", access, flags)), Errno::Noent);
            assert_eq!(errno(open(upper, "gone/x", access, flags)), Errno::Noent);
        }
        for done in [
            upper.enter(n("gone")).map(drop),
            upper.read_link(n("gone")).map(drop),
            upper.remove_file(n("gone")),
            upper.remove_dir(n("gone")),
            upper.rename(n("gone"), upper, n("new")),
            upper.rename_with_whiteout(n("gone"), upper, n("new")),
            upper.link(n("gone"), upper, n("new")),
            upper.copy_up_link(n("gone"), upper, n("new")),
        ] {
            assert_eq!(done, Err(Errno::Noent), "{}", world.what);
        }
        assert_eq!(entry_type(upper, "new"), "nothing");
    });
}

#[test]
fn errors_follow_the_documented_order() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        let before = world.entries();
        let stranger_dir = tempfile::tempdir().unwrap();
        let stranger = HostUpper::open_ambient(stranger_dir.path()).unwrap();
        let nested = world.enter("dir");
        for (what, done, errno) in [
            ("mkdir", upper.create_dir(n("file")), Errno::Exist),
            ("mkdir dir", upper.create_opaque_dir(n("dir")), Errno::Exist),
            ("symlink", upper.create_symlink(n("link"), "x"), Errno::Exist),
            ("unlink dir", upper.remove_file(n("dir")), Errno::Isdir),
            ("unlink nothing", upper.remove_file(n("no")), Errno::Noent),
            ("rmdir file", upper.remove_dir(n("file")), Errno::Notdir),
            ("rmdir full", upper.remove_dir(n("dir")), Errno::Notempty),
            ("white out full", upper.create_whiteout(n("dir")), Errno::Notempty),
            ("rename far", upper.rename(n("no"), &*stranger, n("x")), Errno::Xdev),
            ("rename nothing", upper.rename(n("no"), upper, n("x")), Errno::Noent),
            ("into itself", upper.rename(n("dir"), &*nested, n("x")), Errno::Inval),
            ("into itself, full", upper.rename(n("dir"), &*nested, n("in")), Errno::Inval),
            ("onto above", nested.rename(n("in"), upper, n("dir")), Errno::Notempty),
            ("dir onto file", upper.rename(n("dir"), upper, n("file")), Errno::Notdir),
            ("file onto dir", upper.rename(n("file"), upper, n("dir")), Errno::Isdir),
            ("file onto empty", upper.rename(n("file"), upper, n("empty")), Errno::Isdir),
            ("file onto hollow", upper.rename(n("file"), upper, n("hollow")), Errno::Isdir),
            ("dir onto full", upper.rename(n("empty"), upper, n("dir")), Errno::Notempty),
            ("hollow onto full", upper.rename(n("hollow"), upper, n("dir")), Errno::Notempty),
            ("link far", upper.link(n("no"), &*stranger, n("x")), Errno::Xdev),
            ("link nothing", upper.link(n("no"), upper, n("file")), Errno::Noent),
            ("link onto", upper.link(n("dir"), upper, n("file")), Errno::Exist),
            ("link dir", upper.link(n("dir"), upper, n("x")), Errno::Perm),
            ("name far", upper.copy_up_link(n("no"), &*stranger, n("x")), Errno::Xdev),
            ("name onto", upper.copy_up_link(n("file"), upper, n("link")), Errno::Exist),
            ("enter file", upper.enter(n("file")).map(drop), Errno::Notdir),
            ("enter link", upper.enter(n("link")).map(drop), Errno::Notdir),
            ("readlink", upper.read_link(n("file")).map(drop), Errno::Inval),
        ] {
            assert_eq!(done, Err(errno), "{what} {}", world.what);
            if what.contains("into") || what.contains("onto") {
                let (from, name): (&dyn UpperDir, _) =
                    if what == "onto above" { (&*nested, "in") } else { (upper, "dir") };
                assert_eq!(entry_type(from, name), "node", "{what}");
            }
        }
        let copied =
            upper.copy_up(&[at_name(upper, "file")], &lower_stat(FileType::Dir, 1), CopyUp::Dir);
        assert_eq!(copied.map(drop), Err(Errno::Exist));
        let mut is_called = false;
        let mut fill = |_: &dyn crate::File| {
            is_called = true;
            Ok(())
        };
        let what = CopyUp::File(&mut fill);
        let copied = upper.copy_up(&[at_name(upper, "dir")], &lower_stat(FileType::File, 1), what);
        assert_eq!((copied.map(drop), is_called), (Err(Errno::Exist), false));
        let mut fill = |_: &dyn crate::File| Err(Errno::Dquot);
        let what = CopyUp::File(&mut fill);
        let copied = upper.copy_up(&[at_name(upper, "new")], &lower_stat(FileType::File, 1), what);
        assert_eq!(copied.map(drop), Err(Errno::Dquot));
        assert_eq!(world.entries(), before, "{}", world.what);
    });
}

#[test]
fn open_returns_the_node_or_its_error() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        let (none, create) = (OpenFlags::empty(), OpenFlags::CREATE);
        let only_dirs = OpenFlags::DIRECTORY;
        let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        for (at, access, flags, expected) in [
            ("no", Access::Read, none, Errno::Noent),
            ("no/x", Access::Read, create, Errno::Noent),
            ("file/x", Access::Read, none, Errno::Notdir),
            ("file", Access::Read, only_dirs, Errno::Notdir),
            ("file", Access::Read, exclusive, Errno::Exist),
            ("link", Access::Read, exclusive, Errno::Exist),
            ("dir", Access::Read, create, Errno::Isdir),
            ("dir", Access::Write, none, Errno::Isdir),
            ("dir", Access::Read, OpenFlags::TRUNCATE, Errno::Isdir),
            ("", Access::Write, none, Errno::Isdir),
            ("", Access::Read, exclusive, Errno::Exist),
        ] {
            assert_eq!(errno(open(upper, at, access, flags)), expected, "{at} {access:?}");
        }
        for (at, expected) in [("link", 0), ("link/x", 0), ("dir/deep", 1), ("dir/deep/x", 1)] {
            if entry_type(&*world.enter("dir"), "deep") == "nothing" {
                world.enter("dir").create_symlink(n("deep"), "file").unwrap();
            }
            let stop = open(upper, at, Access::Read, none).err().unwrap();
            assert_eq!(stop, Stop::Link { at: expected, target: "file".into() }, "{at}");
        }
        assert_eq!(read(upper, "dir/in"), "in");
        let deep = open(upper, "dir/in", Access::Hold, none).unwrap().into_file().unwrap();
        assert_eq!(deep.stat().unwrap(), upper.stat(d("dir/in")).unwrap());
        open(upper, "file", Access::Hold, OpenFlags::TRUNCATE).unwrap();
        assert_eq!(read(upper, "file"), "");
        let held = open(upper, "dir", Access::Hold, only_dirs).unwrap().into_dir().unwrap();
        upper.rename(n("other"), &*held, n("moved")).unwrap();
        assert_eq!(read(upper, "dir/moved"), "other");
    });
}

#[test]
fn open_leaf_returns_the_entry() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        let opened = |name: &str, how| match upper.open_leaf(n(name), how).unwrap() {
            UpperOpen::Absent => "nothing",
            UpperOpen::Whiteout => "whiteout",
            UpperOpen::Dir => "dir",
            UpperOpen::File(_) => "file",
        };
        let creates = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
        for how in [OpenHow::READ, OpenHow::HOLD, creates] {
            let all = ["no", "gone", "dir", "file"].map(|name| opened(name, how));
            assert_eq!(all, ["nothing", "whiteout", "dir", "file"], "{how:?}");
        }
        let link = upper.open_leaf(n("link"), OpenHow::READ).err().unwrap();
        assert_eq!(link, Stop::Link { at: 0, target: "file".into() });
        let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let exclusive = OpenHow::new(Access::Write, exclusive);
        assert_eq!(errno(upper.open_leaf(n("file"), exclusive)), Errno::Exist);
        let dirs = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
        assert_eq!(errno(upper.open_leaf(n("file"), dirs)), Errno::Notdir);
    });
}

#[test]
fn new_node_replaces_a_whiteout() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        type Put<'a> = (&'a str, &'a dyn Fn());
        let puts: [Put<'_>; 9] = [
            ("file", &|| write(upper, "w", "new")),
            ("link", &|| upper.create_symlink(n("w"), "to").unwrap()),
            ("dir", &|| upper.create_dir(n("w")).unwrap()),
            ("opaque", &|| upper.create_opaque_dir(n("w")).unwrap()),
            ("hard link", &|| upper.link(n("file"), upper, n("w")).unwrap()),
            ("rename", &|| upper.rename(n("other"), upper, n("w")).unwrap()),
            ("rename link", &|| upper.rename(n("link"), upper, n("w")).unwrap()),
            ("rename dir", &|| upper.rename(n("dir"), upper, n("w")).unwrap()),
            ("rename empty", &|| upper.rename_with_whiteout(n("empty"), upper, n("w")).unwrap()),
        ];
        for (what, put) in puts {
            if entry_type(upper, "w") == "node" {
                match node(upper, "w").kind {
                    FileType::Dir if has(upper, "w/in") => {
                        upper.rename(n("w"), upper, n("away")).unwrap();
                    }
                    FileType::Dir => upper.remove_dir(n("w")).unwrap(),
                    _ => upper.remove_file(n("w")).unwrap(),
                }
            }
            upper.create_whiteout(n("w")).unwrap();
            assert_eq!(entry_type(upper, "w"), "whiteout", "{what} {}", world.what);
            put();
            assert_eq!(entry_type(upper, "w"), "node", "{what} {}", world.what);
            assert!(!whiteouts(upper).contains(&"w".to_owned()), "{what}");
            if node(upper, "w").kind == FileType::Dir {
                let is_new = matches!(what, "dir" | "opaque");
                assert_eq!(world.enter("w").is_opaque().unwrap(), is_new, "{what}");
            }
        }
        assert_eq!(entry_type(upper, "empty"), "whiteout");
        assert_eq!(entry_type(upper, "dir"), "nothing");
    });
}

fn has(upper: &dyn UpperDir, at: &str) -> bool {
    upper.stat(d(at)).is_ok()
}

#[test]
fn directory_of_whiteouts_is_empty() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        for (nth, what) in
            ["remove", "white out", "replace", "replace by hollow"].iter().enumerate()
        {
            let name = format!("hollow{nth}");
            upper.create_dir(n(&name)).unwrap();
            let hollow = world.enter(&name);
            hollow.create_whiteout(n("a")).unwrap();
            hollow.create_whiteout(n("b")).unwrap();
            assert_eq!((names(&*hollow), whiteouts(&*hollow).len()), (vec![], 2));
            let left = match *what {
                "remove" => upper.remove_dir(n(&name)).map(|()| "nothing"),
                "white out" => upper.create_whiteout(n(&name)).map(|()| "whiteout"),
                "replace" => upper.rename(n("dir"), upper, n(&name)).map(|()| "node"),
                _ => upper.rename_with_whiteout(n("hollow"), upper, n(&name)).map(|()| "node"),
            };
            assert_eq!(left.map(|left| entry_type(upper, &name) == left), Ok(true), "{what}");
            // The handle refers to a removed directory.
            assert_eq!(entry_type(&*hollow, "a"), "nothing", "{what} {}", world.what);
            assert_eq!(whiteouts(&*hollow), Vec::<String>::new());
            assert_eq!(hollow.create_dir(n("x")), Err(Errno::Noent));
            assert_eq!(hollow.create_whiteout(n("x")), Err(Errno::Noent));
            assert_eq!(hollow.create_opaque_dir(n("x")), Err(Errno::Noent));
            let created = open(&*hollow, "x", Access::Write, OpenFlags::CREATE);
            assert_eq!(errno(created), Errno::Noent);
        }
        assert_eq!(read(upper, "hollow2/in"), "in");
        assert_eq!(whiteouts(&*world.enter("hollow3")), ["w"]);
        assert_eq!(
            (entry_type(upper, "dir"), entry_type(upper, "hollow")),
            ("nothing", "whiteout")
        );
    });
}

#[test]
fn rename_leaves_a_whiteout_on_request() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        let id = |name: &str| (node(upper, name).ino, node(upper, name).nlink);
        for (from, to) in [("link", "l"), ("dir", "d"), ("empty", "e"), ("other", "o")] {
            let before = id(from);
            upper.rename_with_whiteout(n(from), upper, n(to)).unwrap();
            assert_eq!(
                (entry_type(upper, from), id(to)),
                ("whiteout", before),
                "{from} {}",
                world.what
            );
            // Renames onto the whiteout that the first rename left, and back.
            upper.rename_with_whiteout(n(to), upper, n(from)).unwrap();
            assert_eq!(
                (id(from), entry_type(upper, to)),
                (before, "whiteout"),
                "{from} {}",
                world.what
            );
            upper.rename(n(from), upper, n(to)).unwrap();
            assert_eq!(
                (entry_type(upper, from), id(to)),
                ("nothing", before),
                "{from} {}",
                world.what
            );
        }
        // Replaces another node.
        let file = id("file");
        upper.rename_with_whiteout(n("file"), upper, n("o")).unwrap();
        assert_eq!((entry_type(upper, "file"), id("o")), ("whiteout", file));
        upper.rename_with_whiteout(n("d"), upper, n("e")).unwrap();
        assert_eq!((entry_type(upper, "d"), read(upper, "e/in")), ("whiteout", "in".to_owned()));
        // A rename between two names of one file, or onto the same name, changes nothing.
        upper.rename_with_whiteout(n("o"), upper, n("twin")).unwrap();
        upper.rename_with_whiteout(n("e"), upper, n("e")).unwrap();
        assert_eq!((id("o"), id("twin"), read(upper, "e/in")), (file, file, "in".to_owned()));
        // Renames between directories.
        let inner = world.enter("e");
        inner.rename_with_whiteout(n("in"), upper, n("out")).unwrap();
        upper.rename_with_whiteout(n("o"), &*inner, n("o")).unwrap();
        assert_eq!((entry_type(&*inner, "in"), read(upper, "out")), ("whiteout", "in".to_owned()));
        assert_eq!((entry_type(upper, "o"), read(&*inner, "o")), ("whiteout", "file".to_owned()));
    });
}

#[test]
fn copied_up_nodes_keep_identity_and_times() {
    each_world(ALL, |world| {
        world.root.create_dir(n("sub")).unwrap();
        world.root.set_times(d("sub"), at(7)).unwrap();
        world.root.set_times(d(""), at(8)).unwrap();
        let modified = |world: &World, path| world.root.stat(d(path)).unwrap().modified;
        let sub = world.enter("sub");
        let file = copy_up_file(&*sub, "file", 11, "text");
        copy_up(&*sub, "link", FileType::Symlink, 12);
        copy_up(&*sub, "dir", FileType::Dir, 13);
        sub.copy_up_link(n("file"), &*world.root, n("second")).unwrap();
        sub.copy_up_link(n("link"), &*world.root, n("second link")).unwrap();
        assert_eq!(modified(world, "").seconds(), 8, "{}", world.what);
        assert_eq!(modified(world, "sub").seconds(), 7, "{}", world.what);
        assert_eq!((file.stat().unwrap().ino, file.stat().unwrap().nlink), (11, 2));
        drop(file);
        assert!(!world.enter("sub").enter(n("dir")).unwrap().is_opaque().unwrap());
        let check = |world: &World, names: &[(&str, u64)]| {
            for (path, ino) in names {
                let stat = world.root.stat(d(path)).unwrap();
                let what = format!("{path} {}", world.what);
                assert_eq!((stat.dev, stat.ino), (77, *ino), "{what}");
                assert_eq!(stat.modified, lower_stat(stat.kind, 1).modified, "{what}");
                let (parent, name) = d(path).split_last().unwrap();
                let parent = world.root.open(parent, OpenHow::HOLD_DIR).unwrap();
                let parent = parent.into_dir().unwrap();
                let mut listed = 0;
                let mut each = |entry: crate::Entry<'_>| {
                    if entry.name == name {
                        listed = entry.ino;
                    }
                    ControlFlow::Continue(())
                };
                parent.read_dir(Cookie::START, &mut each).unwrap();
                assert_eq!(listed, *ino, "{what}");
                if stat.kind == FileType::File {
                    for access in Access::ALL {
                        let opened = open(&*world.root, path, access, OpenFlags::empty());
                        let stat = opened.unwrap().into_file().unwrap().stat().unwrap();
                        assert_eq!((stat.dev, stat.ino), (77, *ino), "{what} {access:?}");
                    }
                }
            }
        };
        let links = [("sub/link", 12), ("second link", 12)];
        let others = [("sub/file", 11), ("second", 11), ("sub/dir", 13)];
        check(world, &links);
        check(world, &others);
        let entered = sub.enter(n("dir")).unwrap();
        assert_eq!(entered.stat(Descent::HERE).unwrap().ino, 13);
        drop((sub, entered));
        world.reopen();
        check(world, &others);
        // The identity survives renames.
        let sub = world.enter("sub");
        world.root.create_dir(n("far")).unwrap();
        let far = world.enter("far");
        sub.rename(n("file"), &*far, n("f")).unwrap();
        sub.rename_with_whiteout(n("dir"), &*far, n("d")).unwrap();
        drop((sub, far));
        world.reopen();
        check(world, &[("far/f", 11), ("far/d", 13), ("second", 11)]);
        // New nodes have identities of their own.
        world.root.remove_file(n("second")).unwrap();
        world.write("second", "new");
        assert_ne!(node(&*world.root, "second").dev, 77);
    });
}

fn at(seconds: i64) -> SetTimes {
    let time = SetTime::At(Timestamp::new(seconds, 0));
    SetTimes { accessed: time, modified: time }
}

#[test]
fn identity_of_a_removed_symlink_is_not_reused() {
    each_world(ALL, |world| {
        let upper = dir(world);
        for round in 0..40 {
            copy_up(upper, "a", FileType::Symlink, 100 + round);
            assert_eq!(node(upper, "a").ino, 100 + round);
            upper.create_symlink(n("b"), "x").unwrap();
            match round % 4 {
                0 => upper.remove_file(n("a")).unwrap(),
                1 => upper.create_whiteout(n("a")).unwrap(),
                2 => upper.rename(n("b"), upper, n("a")).unwrap(),
                _ => upper.rename_with_whiteout(n("b"), upper, n("a")).unwrap(),
            }
            // The filesystem assigns the inode number to the next node.
            upper.create_symlink(n("c"), "x").unwrap();
            for name in ["a", "b", "c"] {
                if entry_type(upper, name) == "node" {
                    assert_ne!(node(upper, name).dev, 77, "{name} {}", world.what);
                    upper.remove_file(n(name)).unwrap();
                }
            }
        }
    });
}

#[test]
fn copy_up_of_a_file_without_a_name() {
    each_world(ALL, |world| {
        let mut fill = |file: &dyn crate::File| file.write_at(&[IoSlice::new(b"x")], 0).map(drop);
        let what = CopyUp::File(&mut fill);
        let made = world.root.copy_up(&[], &lower_stat(FileType::File, 5), what).unwrap();
        let CopiedUp::File(file) = made else { panic!("no file") };
        let stat = file.stat().unwrap();
        assert_eq!((stat.ino, stat.nlink, stat.size), (5, 0, 1));
        assert_eq!(stat.modified, lower_stat(FileType::File, 5).modified);
        assert_eq!(names(&*world.root), Vec::<String>::new());
    });
}

#[test]
fn set_opaque_changes_only_whiteouts() {
    each_world(ALL, |world| {
        furnish(world);
        let inner = world.enter("dir");
        inner.create_whiteout(n("w")).unwrap();
        inner.set_times(d(""), at(9)).unwrap();
        assert!(!inner.is_opaque().unwrap());
        inner.set_opaque().unwrap();
        inner.set_opaque().unwrap();
        assert!(inner.is_opaque().unwrap());
        assert_eq!(inner.stat(d("")).unwrap().modified.seconds(), 9);
        assert_eq!(
            (names(&*inner), entry_type(&*inner, "w") == "node"),
            (vec!["in".to_owned()], false)
        );
        inner.create_whiteout(n("in")).unwrap();
        assert_ne!(entry_type(&*inner, "in"), "node");
        drop(inner);
        world.reopen();
        assert!(world.enter("dir").is_opaque().unwrap());
        assert_eq!(names(&*world.enter("dir")), Vec::<String>::new());
    });
}

#[test]
fn frozen_upper_is_read_only() {
    each_world(ALL, |world| {
        furnish(world);
        let upper = dir(world);
        for access in Access::ALL {
            let file = open(upper, "file", access, OpenFlags::empty()).unwrap();
            assert_eq!(upper.freeze(), Err(Errno::Txtbsy), "{access:?}");
            drop(file);
        }
        let before = world.entries();
        let inner = world.enter("dir");
        upper.freeze().unwrap();
        upper.freeze().unwrap();
        let file = open(upper, "file", Access::Read, OpenFlags::empty()).unwrap();
        let file = file.into_file().unwrap();
        let how = lower_stat(FileType::Dir, 1);
        for (what, done) in [
            ("create", inner.create_dir(n("x"))),
            ("opaque", upper.create_opaque_dir(n("x"))),
            ("symlink", upper.create_symlink(n("x"), "y")),
            ("remove", upper.remove_file(n("file"))),
            ("rmdir", upper.remove_dir(n("hollow"))),
            ("rename", upper.rename(n("file"), upper, n("x"))),
            ("rename away", upper.rename_with_whiteout(n("file"), upper, n("gone"))),
            ("link", upper.link(n("file"), upper, n("x"))),
            ("name", upper.copy_up_link(n("file"), upper, n("x"))),
            ("copy_up", upper.copy_up(&[at_name(upper, "x")], &how, CopyUp::Dir).map(drop)),
            ("white out", upper.create_whiteout(n("file"))),
            ("set opaque", inner.set_opaque()),
            ("times", upper.set_times(d("file"), at(1)).map_err(|_| Errno::Rofs)),
            ("times of a file", file.set_times(at(1))),
        ] {
            assert_eq!(done, Err(Errno::Rofs), "{what} {}", world.what);
        }
        let (create, cut) = (OpenFlags::CREATE, OpenFlags::TRUNCATE);
        assert_eq!(errno(open(upper, "new", Access::Read, create)), Errno::Rofs);
        assert_eq!(errno(open(upper, "file", Access::Write, OpenFlags::empty())), Errno::Rofs);
        assert_eq!(errno(open(upper, "file", Access::Read, cut)), Errno::Rofs);
        assert_eq!(upper.remove_dir(n("dir")), Err(Errno::Notempty));
        assert_eq!(world.entries(), before);
    });
}

#[test]
fn listing_callback_may_change_the_directory() {
    each_world(ALL, |world| {
        let upper = dir(world);
        let count = 300;
        for i in 0..count {
            let name = format!("n{i}");
            if i % 3 == 0 { upper.create_whiteout(n(&name)) } else { upper.create_dir(n(&name)) }
                .unwrap();
        }
        let mut seen = Vec::new();
        upper
            .read_dir(Cookie::START, &mut |entry| {
                seen.push(entry.name.as_str().to_owned());
                upper.create_whiteout(entry.name).unwrap();
                ControlFlow::Continue(())
            })
            .unwrap();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 200, "{}", world.what);
        assert_eq!(whiteouts(upper).len(), count);
    });
}
