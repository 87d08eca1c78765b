//! Operations on names, and listings, of host directories.

use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use palisade_vfs::{
    Cookie, Descent, Dir, Errno, FileType, Follow, HostDir, Name, Node, OpenHow, Resolver,
    SetTimes, Stop, path,
};
use rustix::fs::{AtFlags, CWD, Mode};

use crate::world::{down, each_world, errno, list, name, names, write};

#[test]
fn operations_on_names_return_the_errors_of_linux() {
    each_world(|w| {
        let d = &*w.dir;
        for dir in ["a", "a/b", "empty", "full", "full/x"] {
            fs::create_dir(w.root.join(dir)).unwrap();
        }
        w.fill("f", "f");
        w.fill("g", "g");
        let a = d.open(down("a"), OpenHow::HOLD_DIR).unwrap_or_else(|_| panic!());
        let a = a.into_dir().unwrap();
        assert_eq!(d.create_dir(name("f")), Err(Errno::Exist));
        assert_eq!(d.remove_file(name("a")), Err(Errno::Isdir));
        assert_eq!(d.remove_file(name("no")), Err(Errno::Noent));
        assert_eq!(d.remove_dir(name("f")), Err(Errno::Notdir));
        assert_eq!(d.remove_dir(name("full")), Err(Errno::Notempty));
        assert_eq!(d.rename(name("no"), d, name("x")), Err(Errno::Noent));
        assert_eq!(d.rename(name("a"), &*a, name("x")), Err(Errno::Inval));
        assert_eq!(a.rename(name("b"), d, name("a")), Err(Errno::Notempty));
        assert_eq!(d.rename(name("a"), d, name("f")), Err(Errno::Notdir));
        assert_eq!(d.rename(name("f"), d, name("a")), Err(Errno::Isdir));
        assert_eq!(d.rename(name("a"), d, name("full")), Err(Errno::Notempty));
        assert_eq!(d.link(name("a"), d, name("x")), Err(Errno::Perm));
        assert_eq!(d.link(name("f"), d, name("g")), Err(Errno::Exist));
        assert_eq!(d.link(name("no"), d, name("g")), Err(Errno::Noent));
        d.link(name("f"), &*a, name("hard")).unwrap();
        assert_eq!(d.stat(down("f")).unwrap(), d.stat(down("a/hard")).unwrap());
        assert_eq!(d.stat(down("f")).unwrap().nlink, 2);
        d.rename(name("f"), &*a, name("hard")).unwrap();
        assert!(d.stat(down("f")).is_ok(), "two names of one node both stay");
        d.rename(name("a"), d, name("empty")).unwrap();
        assert_eq!(names(&*a, 9), ["b", "hard"], "a handle is the node and not its name");
        d.create_dir(name("new")).unwrap();
        d.remove_dir(name("new")).unwrap();
        let mode = fs::metadata(w.root.join("empty")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007 & 0o002, 0, "the umask holds");
    });
}

#[test]
fn rename_and_link_into_another_kind_of_directory_are_exdev() {
    struct Other;
    impl Dir for Other {
        fn open(&self, _: Descent<'_>, _: OpenHow) -> Result<Node, Stop> {
            Err(Errno::Nosys.into())
        }
        fn stat(&self, _: Descent<'_>) -> Result<palisade_vfs::Stat, Stop> {
            Err(Errno::Nosys.into())
        }
        fn read_link(&self, _: Name<'_>) -> Result<Box<str>, Errno> {
            Err(Errno::Nosys)
        }
        fn read_dir(
            &self,
            _: Cookie,
            _: &mut dyn FnMut(palisade_vfs::Entry<'_>) -> ControlFlow<()>,
        ) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn create_dir(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn create_symlink(&self, _: Name<'_>, _: &str) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn remove_file(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn remove_dir(&self, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn rename(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn link(&self, _: Name<'_>, _: &dyn Dir, _: Name<'_>) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
        fn set_times(&self, _: Descent<'_>, _: SetTimes) -> Result<(), Stop> {
            Err(Errno::Nosys.into())
        }
        fn sync(&self) -> Result<(), Errno> {
            Err(Errno::Nosys)
        }
    }
    each_world(|w| {
        w.fill("f", "");
        assert_eq!(w.dir.rename(name("f"), &Other, name("g")), Err(Errno::Xdev));
        assert_eq!(w.dir.link(name("f"), &Other, name("g")), Err(Errno::Xdev));
    });
    // Two filesystems of the host are two devices.
    let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let [disk_dir, memory_dir] =
        [disk.path(), memory.path()].map(|at| HostDir::open_ambient(at).unwrap());
    let devs = [&disk_dir, &memory_dir].map(|d| d.stat(Descent::HERE).unwrap().dev);
    if devs[0] != devs[1] {
        fs::write(disk.path().join("f"), "").unwrap();
        let moved = disk_dir.rename(name("f"), &*memory_dir, name("f"));
        assert_eq!(moved, Err(Errno::Xdev));
    }
}

#[test]
fn non_utf8_names_are_skipped_and_targets_are_eilseq() {
    each_world(|w| {
        let bad = OsStr::from_bytes(b"b\xffd");
        fs::write(w.root.join(bad), "").unwrap();
        symlink(bad, w.root.join("link")).unwrap();
        fs::create_dir(w.root.join("d")).unwrap();
        symlink(bad, w.root.join("d/link")).unwrap();
        w.fill("good", "");
        assert_eq!(names(&*w.dir, 1), ["d", "good", "link"]);
        assert_eq!(w.dir.read_link(name("link")), Err(Errno::Ilseq));
        for at in ["link", "link/x", "d/link", "d/link/x/y"] {
            assert_eq!(errno(w.dir.open(down(at), OpenHow::HOLD_DIR)), Errno::Ilseq, "{at}");
            assert_eq!(errno(w.dir.open(down(at), OpenHow::READ)), Errno::Ilseq, "{at}");
        }
        assert_eq!(
            path::open(&*w.dir, "link", Follow::Yes, OpenHow::HOLD).err(),
            Some(Errno::Ilseq)
        );
    });
}

#[test]
fn listing_reports_each_entry_once_with_type_and_ino() {
    each_world(|w| {
        fs::create_dir(w.root.join("dir")).unwrap();
        symlink("x", w.root.join("link")).unwrap();
        for i in 0..10_000 {
            fs::File::create(w.root.join(format!("file-{i:05}"))).unwrap();
        }
        for room in [1_000_000, 7, 100] {
            let mut all = list(&*w.dir, Cookie::START, room);
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 10_002, "{}: {room}", w.what);
            for (i, (name, kind, ino)) in all.iter().enumerate() {
                let wanted = if name == "dir" {
                    FileType::Dir
                } else if name == "link" {
                    FileType::Symlink
                } else {
                    FileType::File
                };
                assert_eq!(*kind, wanted, "{name}");
                if i % 500 == 0 {
                    assert_eq!(*ino, w.dir.stat(down(name)).unwrap().ino);
                }
            }
        }
        assert_eq!(
            errno(w.dir.read_dir(Cookie(1 << 63), &mut |_| panic!()).map_err(Stop::from)),
            Errno::Inval
        );
    });
}

#[test]
fn listing_continues_while_reported_entries_are_removed() {
    each_world(|w| {
        for i in 0..60 {
            w.fill(&format!("f{i}"), "");
        }
        fs::create_dir(w.root.join("kept")).unwrap();
        for room in [1, 3, 1000] {
            let (mut from, mut seen) = (Cookie::START, Vec::new());
            loop {
                let before = seen.len();
                w.dir
                    .read_dir(from, &mut |entry| {
                        seen.push(entry.name.as_str().to_owned());
                        from = entry.next;
                        // The callback may use the directory that is being listed.
                        if entry.kind == FileType::File {
                            w.dir.remove_file(entry.name).unwrap();
                            assert!(w.dir.stat(entry.name.into()).is_err());
                        }
                        let full = seen.len() - before == room;
                        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    })
                    .unwrap();
                if seen.len() == before {
                    break;
                }
            }
            seen.sort();
            let len = seen.len();
            seen.dedup();
            assert_eq!((seen.len(), len), (61, 61), "{}: {room}", w.what);
            assert_eq!(names(&*w.dir, 9), ["kept"]);
            for i in 0..60 {
                w.fill(&format!("f{i}"), "");
            }
        }
    });
}

#[test]
fn handle_first_listed_at_the_end_can_list_from_the_start() {
    each_world(|w| {
        for i in 0..20 {
            w.fill(&format!("f{i}"), "");
        }
        let all = names(&*w.dir, 99);
        let mut cookies = vec![Cookie(0)];
        let mut each = |entry: palisade_vfs::Entry<'_>| {
            cookies.push(entry.next);
            ControlFlow::Continue(())
        };
        w.dir.read_dir(Cookie::START, &mut each).unwrap();
        for (i, from) in cookies.iter().enumerate() {
            let fresh = w.dir.open(Descent::HERE, OpenHow::HOLD_DIR).ok().unwrap();
            let fresh = fresh.into_dir().unwrap();
            assert_eq!(list(&*fresh, *from, 99).len(), 20 - i, "{}: {from:?}", w.what);
            assert_eq!(names(&*fresh, 99), all, "{}: {from:?}", w.what);
        }
    });
}

#[test]
fn nested_listings_are_independent() {
    each_world(|w| {
        for i in 0..20 {
            w.fill(&format!("f{i}"), "");
        }
        let all = names(&*w.dir, 99);
        let mut outer = Vec::new();
        w.dir
            .read_dir(Cookie::START, &mut |entry| {
                outer.push(entry.name.as_str().to_owned());
                assert_eq!(names(&*w.dir, 3), all, "{}", w.what);
                ControlFlow::Continue(())
            })
            .unwrap();
        outer.sort();
        assert_eq!(outer, all);
        std::thread::scope(|scope| {
            for room in 1..5 {
                let (all, dir) = (&all, &w.dir);
                scope.spawn(move || {
                    for _ in 0..50 {
                        assert_eq!(names(&**dir, room), *all, "{}", w.what);
                    }
                });
            }
        });
    });
}

#[test]
fn missing_or_non_directory_root_is_rejected() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "").unwrap();
    for at in ["f", "missing"] {
        assert!(HostDir::open_ambient(&temp.path().join(at)).is_err(), "{at}");
    }
    let dir = cap_std::fs::Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority());
    let dir = HostDir::from_cap_std(dir.unwrap(), Resolver::Auto);
    assert_eq!(names(&*dir, 9), ["f"]);
}

/// A descent of maximum length with names of maximum length, and one too deep for a `stat` of a
/// full path.
#[test]
fn resolvers_resolve_the_deepest_descent_alike() {
    each_world(|w| {
        let long = "n".repeat(255);
        let mut at = String::new();
        let mut host =
            rustix::fs::openat(CWD, &w.root, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
        for i in 0..15 {
            rustix::fs::mkdirat(&host, &*long, Mode::from_raw_mode(0o777)).unwrap();
            host =
                rustix::fs::openat(&host, &*long, rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
            if i > 0 {
                at.push('/');
            }
            at.push_str(&long);
        }
        assert_eq!(w.dir.stat(down(&at)).unwrap().kind, FileType::Dir);
        let ino = rustix::fs::statat(&host, "", AtFlags::EMPTY_PATH).unwrap().st_ino;
        assert_eq!(w.dir.stat(down(&at)).unwrap().ino, ino);
        let file = w.new_file(&format!("{at}/f"));
        assert_eq!(write(&file, 0, b"deep"), Ok(4));
        assert_eq!(w.dir.stat(down(&format!("{at}/f"))).unwrap().size, 4);
    });
}
