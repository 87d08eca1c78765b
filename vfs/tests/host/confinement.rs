//! Confinement of host directories: links, special files and races.

use std::fs;
use std::io::{IoSliceMut, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_vfs::{
    Access, Cookie, Errno, FileType, Follow, OpenFlags, OpenHow, SetTime, SetTimes, Stop,
    Timestamp, path,
};
use rustix::fs::{CWD, Mode};

use crate::world::{
    down, each_world, errno, exchange, fifo, link, list, meanwhile, name, names, read, write,
};

#[test]
fn symlink_at_any_position_stops_a_descent_and_is_not_followed() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/e")).unwrap();
        w.fill("d/f", "inside");
        symlink("../outside", w.root.join("out")).unwrap();
        symlink("../../outside/canary", w.root.join("d/leaf")).unwrap();
        symlink("/", w.root.join("d/e/abs")).unwrap();
        symlink("no/where", w.root.join("d/e/dangling")).unwrap();
        symlink("/proc/self/root", w.root.join("magic")).unwrap();
        symlink("d", w.root.join("in")).unwrap();
        for (at, position, target) in [
            ("out/canary", 0, "../outside"),
            ("out/no/such", 0, "../outside"),
            ("out", 0, "../outside"),
            ("in/f", 0, "d"),
            ("in/e/no", 0, "d"),
            ("d/leaf", 1, "../../outside/canary"),
            ("d/leaf/x", 1, "../../outside/canary"),
            ("d/e/abs", 2, "/"),
            ("d/e/abs/etc/passwd", 2, "/"),
            ("d/e/dangling", 2, "no/where"),
            ("magic/etc", 0, "/proc/self/root"),
        ] {
            let is_last = position + 1 == down(at).depth();
            let wanted = (position, target.to_owned());
            for access in Access::ALL {
                for bits in 0..=OpenFlags::all().bits() {
                    let flags = OpenFlags::from_bits(bits).unwrap();
                    let how = OpenHow::new(access, flags);
                    if how.check().is_err() {
                        continue;
                    }
                    let opened = w.dir.open(down(at), how);
                    if is_last && how.is_exclusive() {
                        assert_eq!(errno(opened), Errno::Exist);
                    } else {
                        assert_eq!(link(opened), wanted, "{}: {at} {how:?}", w.what);
                    }
                }
            }
            if is_last {
                assert_eq!(w.dir.stat(down(at)).unwrap().kind, FileType::Symlink);
                let now = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
                w.dir.set_times(down(at), now).unwrap();
            } else {
                assert_eq!(link(w.dir.stat(down(at))), wanted, "{}: {at}", w.what);
                assert_eq!(link(w.dir.set_times(down(at), SetTimes::default())), wanted);
            }
        }
        assert_eq!(w.dir.read_link(name("out")).unwrap().as_ref(), "../outside");
        assert_eq!(w.dir.read_link(name("d")), Err(Errno::Inval));
        assert_eq!(w.dir.read_link(name("no")), Err(Errno::Noent));
        assert_eq!(
            path::open(&*w.dir, "out/canary", Follow::Yes, OpenHow::READ).err(),
            Some(Errno::Escape)
        );
    });
}

#[test]
fn operations_on_a_name_apply_to_the_symlink_itself() {
    each_world(|w| {
        symlink("../outside", w.root.join("out")).unwrap();
        symlink("../outside/canary", w.root.join("leaf")).unwrap();
        fs::create_dir(w.root.join("d")).unwrap();
        let d = &*w.dir;
        assert_eq!(d.create_dir(name("out")), Err(Errno::Exist));
        assert_eq!(d.create_symlink(name("leaf"), "x"), Err(Errno::Exist));
        assert_eq!(d.remove_dir(name("out")), Err(Errno::Notdir));
        d.link(name("leaf"), d, name("again")).unwrap();
        assert_eq!(d.read_link(name("again")).unwrap().as_ref(), "../outside/canary");
        d.rename(name("again"), d, name("moved")).unwrap();
        assert_eq!(d.read_link(name("moved")).unwrap().as_ref(), "../outside/canary");
        w.fill("f", "inside");
        d.rename(name("f"), d, name("leaf")).unwrap();
        assert_eq!(fs::read(w.root.join("leaf")).unwrap(), b"inside");
        d.remove_file(name("moved")).unwrap();
        d.remove_file(name("out")).unwrap();
        d.create_symlink(name("new"), "../../any/ thing").unwrap();
        assert_eq!(d.read_link(name("new")).unwrap().as_ref(), "../../any/ thing");
        assert_eq!(names(d, 9), ["d", "leaf", "new"]);
    });
}

#[test]
fn set_times_of_a_symlink_does_not_follow_it() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        let canary = w.outside.join("canary");
        let before = fs::metadata(&canary).unwrap();
        let at = Timestamp::new(1_000, 5);
        let times = SetTimes { accessed: SetTime::At(at), modified: SetTime::At(at) };
        for (leaf, target) in [("leaf", "../outside/canary"), ("d/leaf", "../../outside/canary")] {
            symlink(target, w.root.join(leaf)).unwrap();
            w.dir.set_times(down(leaf), times).unwrap();
            assert_eq!(w.dir.stat(down(leaf)).unwrap().modified, at, "{}", w.what);
        }
        let after = fs::metadata(&canary).unwrap();
        let times = |meta: &fs::Metadata| (meta.mtime(), meta.mtime_nsec(), meta.atime());
        assert_eq!(times(&after), times(&before), "{}", w.what);
    });
}

#[test]
fn absolute_symlink_target_is_escape_at_any_depth() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/e")).unwrap();
        // The node that the target would reach as a relative path.
        for at in ["f", "d/f", "d/e/f"] {
            w.fill(at, "inside");
        }
        for at in ["abs", "d/abs", "d/e/abs"] {
            for target in ["/f", "//f", "/./f"] {
                symlink(target, w.root.join(at)).unwrap();
                for way in [at.to_owned(), format!("{at}/"), format!("{at}/../f")] {
                    let opened = path::open(&*w.dir, &way, Follow::Yes, OpenHow::READ).err();
                    assert_eq!(opened, Some(Errno::Escape), "{}: {way} {target}", w.what);
                    let stat = path::stat(&*w.dir, &way, Follow::Yes).err();
                    assert_eq!(stat, Some(Errno::Escape), "{}: {way} {target}", w.what);
                }
                fs::remove_file(w.root.join(at)).unwrap();
            }
        }
    });
}

#[test]
fn special_files_can_be_statted_but_not_opened() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        let mut kinds = Vec::new();
        for at in ["fifo", "d/fifo"] {
            fifo(&w.root.join(at));
            kinds.push((at, FileType::Fifo));
        }
        let _listener = std::os::unix::net::UnixListener::bind(w.root.join("socket")).unwrap();
        kinds.push(("socket", FileType::Socket));
        // The device numbers of `/dev/null`. A sandbox may forbid `mknod`.
        let null = rustix::fs::mknodat(
            CWD,
            w.root.join("null"),
            rustix::fs::FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        );
        if null.is_ok() {
            assert!(fs::metadata(w.root.join("null")).unwrap().file_type().is_char_device());
            kinds.push(("null", FileType::CharDevice));
        }
        for (at, kind) in kinds {
            assert_eq!(w.dir.stat(down(at)).unwrap().kind, kind);
            for access in Access::ALL {
                for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
                    let got = errno(w.open(at, access, flags));
                    assert_eq!(got, Errno::Nxio, "{}: {at} {access:?} {flags:?}", w.what);
                }
                assert_eq!(errno(w.open(at, access, OpenFlags::DIRECTORY)), Errno::Notdir);
                let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
                assert_eq!(errno(w.open(at, access, flags)), Errno::Exist);
            }
            let under = format!("{at}/x");
            assert_eq!(errno(w.dir.stat(down(&under))), Errno::Notdir);
            let leaf = at.rsplit('/').next().unwrap();
            let parent = if at.contains('/') { "d" } else { "" };
            let parent = w.dir.open(down(parent), OpenHow::HOLD_DIR).unwrap_or_else(|_| panic!());
            let listed = list(&*parent.into_dir().unwrap(), Cookie::START, 99);
            assert!(listed.iter().any(|e| e.0 == leaf && e.1 == kind), "{}: {at}", w.what);
        }
    });
}

#[test]
fn open_does_not_release_a_writer_blocked_on_a_fifo() {
    each_world(|w| {
        let at = w.root.join("fifo");
        fifo(&at);
        let released = Arc::new(AtomicBool::new(false));
        // Not scoped: if the test fails, the writer blocks forever.
        let writer = std::thread::spawn({
            let (at, released) = (at.clone(), Arc::clone(&released));
            move || {
                let mut writer = fs::OpenOptions::new().write(true).open(at).unwrap();
                released.store(true, Ordering::SeqCst);
                writer.write_all(b"x").unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        for access in Access::ALL {
            assert_eq!(errno(w.open("fifo", access, OpenFlags::empty())), Errno::Nxio);
        }
        assert_eq!(path::stat(&*w.dir, "fifo", Follow::Yes).unwrap().kind, FileType::Fifo);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!released.load(Ordering::SeqCst), "{}: the writer went on", w.what);
        let mut got = String::new();
        fs::File::open(at).unwrap().read_to_string(&mut got).unwrap();
        assert_eq!(got, "x");
        writer.join().unwrap();
    });
}

#[test]
fn fifo_that_replaces_a_file_during_an_open_is_not_read() {
    each_world(|w| {
        w.fill("x", "file");
        fifo(&w.root.join("y"));
        let at = &w.root;
        let (mut files, mut refused) = (0, 0);
        let step = || {
            exchange(&at.join("x"), &at.join("y"));
        };
        meanwhile(step, || {
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end {
                let Ok(node) = w.open("x", Access::ReadWrite, OpenFlags::empty()) else {
                    refused += 1;
                    continue;
                };
                let file = node.into_file().unwrap();
                let mut bytes = [0; 4];
                match file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0) {
                    Ok(n) => assert_eq!((n, &bytes), (4, b"file")),
                    Err(errno) => assert_eq!(errno, Errno::Nxio),
                }
                match write(&file, 0, b"f") {
                    Ok(n) => assert_eq!(n, 1),
                    Err(errno) => assert_eq!(errno, Errno::Nxio),
                }
                files += 1;
            }
        });
        assert!(files > 0 && refused > 0, "{}: {files} {refused}", w.what);
    });
}

/// Check-then-use races: another thread keeps exchanging a directory of the path with a link to the
/// outside. Every node that is found is inside.
#[test]
fn exchanging_a_directory_with_a_symlink_does_not_escape() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/swap")).unwrap();
        w.fill("d/swap/canary", "inside");
        symlink(&w.outside, w.root.join("d/link")).unwrap();
        symlink("../../outside", w.root.join("d/relative")).unwrap();
        let at = w.root.join("d");
        let (mut inside, mut links) = (0, 0);
        let step = || {
            exchange(&at.join("swap"), &at.join("link"));
            exchange(&at.join("swap"), &at.join("link"));
            exchange(&at.join("swap"), &at.join("relative"));
            exchange(&at.join("swap"), &at.join("relative"));
        };
        meanwhile(step, || {
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end {
                for result in [
                    w.dir.open(down("d/swap/canary"), OpenHow::READ),
                    path::open(&*w.dir, "d/swap/canary", Follow::Yes, OpenHow::READ)
                        .map_err(Stop::from),
                ] {
                    match result {
                        Ok(node) => {
                            let got = read(&node.into_file().unwrap(), 0, 99);
                            assert_eq!(got, b"inside", "{}", w.what);
                            inside += 1;
                        }
                        Err(Stop::Link { at, .. }) => {
                            assert_eq!(at, 1);
                            links += 1;
                        }
                        Err(Stop::Errno(errno)) => {
                            assert!(matches!(errno, Errno::Escape | Errno::Again), "{errno:?}");
                        }
                    }
                }
                if let Ok(stat) = w.dir.stat(down("d/swap/canary")) {
                    assert_eq!(stat.size, 6);
                }
                let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let _ = w.open("d/swap/new", Access::Write, flags);
                let _ = w.dir.set_times(
                    down("d/swap/canary"),
                    SetTimes { accessed: SetTime::Now, modified: SetTime::Now },
                );
                let _ = path::create_dir(&*w.dir, "d/swap/made");
                let _ = path::remove_dir(&*w.dir, "d/swap/made");
                let _ = path::rename(&*w.dir, "d/swap/new", &*w.dir, "d/swap/newer");
                let _ = path::remove_file(&*w.dir, "d/swap/newer");
                w.check_canary();
            }
        });
        assert!(inside > 0 && links > 0, "{}: {inside} {links}", w.what);
    });
}

#[test]
fn unrelated_renames_do_not_fail_lookups() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("a/b/c")).unwrap();
        w.fill("a/b/c/f", "inside");
        fs::create_dir(w.root.join("m")).unwrap();
        let at = &w.root;
        let step = || {
            fs::rename(at.join("m"), at.join("n")).unwrap();
            fs::rename(at.join("n"), at.join("m")).unwrap();
        };
        meanwhile(step, || {
            let end = Instant::now() + Duration::from_millis(200);
            while Instant::now() < end {
                assert_eq!(w.dir.stat(down("a/b/c/f")).unwrap().size, 6);
                assert_eq!(read(&w.file("a/b/c/f", Access::Read), 0, 9), b"inside");
                let missing = w.open("a/b/c/no", Access::Read, OpenFlags::empty());
                assert_eq!(errno(missing), Errno::Noent);
            }
        });
    });
}

/// GHSA-hp8f-xmx4-4qrg and GHSA-vqjp-4c8c-hfgg: a slash at the end of a link's target made a
/// resolver follow the next link. Here slashes never reach a directory. GHSA-m9f7-9w4p-gv38: a
/// slash after a link's name made a rename follow it.
#[test]
fn trailing_slashes_on_symlinks_and_targets_do_not_escape() {
    each_world(|w| {
        let d = &*w.dir;
        fs::create_dir(w.root.join("a")).unwrap();
        symlink(&w.outside, w.root.join("evil")).unwrap();
        symlink("../outside", w.root.join("evil2")).unwrap();
        let mut links = Vec::new();
        for evil in ["evil", "evil2"] {
            for (i, end) in ["", "/", "//", "///", "/.", "/./", "/canary"].iter().enumerate() {
                let at = format!("a/{evil}{i}");
                symlink(format!("../{evil}{end}"), w.root.join(&at)).unwrap();
                links.push(at);
            }
            links.push(evil.to_owned());
        }
        // The layout of the advisory, with the target beside the link.
        symlink("evil/", w.root.join("a/link1")).unwrap();
        symlink("../../outside", w.root.join("a/evil")).unwrap();
        links.push("a/link1".to_owned());
        let kept: Vec<_> = links.iter().map(|at| fs::read_link(w.root.join(at)).unwrap()).collect();
        w.fill("a/f", "f");
        fs::create_dir(w.root.join("a/d")).unwrap();
        for at in &links {
            for end in ["/", "//", "///", "/.", "/./", "/canary", "/new", "/new/", "/../root"] {
                let at = &format!("{at}{end}");
                let out = |errno: Option<Errno>, op: &str| {
                    assert!(errno.is_some(), "{}: {op} {at}", w.what);
                };
                for follow in [Follow::Yes, Follow::No] {
                    for access in Access::ALL {
                        for bits in 0..16 {
                            let how = OpenHow::new(access, OpenFlags::from_bits(bits).unwrap());
                            out(path::open(d, at, follow, how).err(), "open");
                        }
                    }
                    out(path::stat(d, at, follow).err(), "stat");
                    let now = SetTimes { accessed: SetTime::Now, modified: SetTime::Now };
                    out(path::set_times(d, at, follow, now).err(), "set_times");
                }
                out(path::read_link(d, at).err(), "read_link");
                out(path::remove_file(d, at).err(), "remove_file");
                out(path::remove_dir(d, at).err(), "remove_dir");
                out(path::create_dir(d, at).err(), "create_dir");
                out(path::create_symlink(d, "x", at).err(), "create_symlink");
                out(path::rename(d, at, d, "moved").err(), "rename from");
                out(path::rename(d, "a/f", d, at).err(), "rename into");
                out(path::rename(d, "a/d", d, at).err(), "rename a directory into");
                out(path::link(d, at, d, "linked").err(), "link from");
                out(path::link(d, "a/f", d, at).err(), "link into");
                w.check_canary();
            }
        }
        let now: Vec<_> = links.iter().map(|at| fs::read_link(w.root.join(at)).unwrap()).collect();
        assert_eq!(now, kept);
        assert_eq!(fs::metadata(w.outside.join("canary")).unwrap().nlink(), 1);
    });
}

/// wasmtime#9272: a target that ends in `..` was resolved differently by the two resolvers.
#[test]
fn resolvers_follow_inner_symlinks_alike() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("a/b")).unwrap();
        w.fill("f", "top");
        w.fill("a/f", "mid");
        for (at, target) in [("a/b/up", ".."), ("a/b/top", "../.."), ("l", "a/b/up/"), ("m", "l/.")]
        {
            symlink(target, w.root.join(at)).unwrap();
        }
        for (at, bytes) in
            [("a/b/up/f", "mid"), ("a/b/top/f", "top"), ("l/f", "mid"), ("m/f", "mid")]
        {
            let node = path::open(&*w.dir, at, Follow::Yes, OpenHow::READ);
            let file = node.unwrap_or_else(|e| panic!("{at}: {e}")).into_file().unwrap();
            assert_eq!(read(&file, 0, 9), bytes.as_bytes(), "{}: {at}", w.what);
        }
    });
}
