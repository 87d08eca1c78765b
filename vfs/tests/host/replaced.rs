//! Stale entries of the type cache: names whose node was replaced between two opens.
//!
//! A held directory caches which descents led to regular files and to links, and opens such files
//! without a `statat`. These tests replace the node between two opens, so they need no race.

use std::fs;
use std::os::unix::fs::symlink;

use palisade_vfs::{Access, Errno, FileType, Follow, Node, OpenFlags, OpenHow, Stop, path};

use crate::world::{World, down, each_world, errno, fifo, link, read};

/// All parameters for opening an existing file. Sync flags are left out, because they do not change
/// the open.
fn all_open_hows() -> impl Iterator<Item = OpenHow> {
    let flags = (0..=OpenFlags::all().bits()).map(|bits| OpenFlags::from_bits(bits).unwrap());
    let written = OpenFlags::APPEND | OpenFlags::DSYNC | OpenFlags::SYNC;
    flags
        .filter(move |flags| !flags.intersects(written))
        .flat_map(|flags| Access::ALL.map(|access| OpenHow::new(access, flags)))
        .filter(|how| how.check().is_ok() && !how.is_exclusive())
}

/// Creates a file at `at` and opens it with `how`, so that its type is cached.
fn create_cached_file(w: &World, at: &str, how: OpenHow) {
    w.fill(at, "inside");
    for how in [OpenHow::READ, how, OpenHow::new(Access::Read, OpenFlags::CREATE)] {
        let _ = w.dir.open(down(at), how);
    }
}

fn replace(w: &World, at: &str, make: impl Fn(&std::path::Path)) {
    let at = w.root.join(at);
    fs::remove_file(&at).unwrap();
    make(&at);
}

#[test]
fn symlink_that_replaces_a_cached_file_is_not_followed() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        for (at, target) in [("f", "../outside/canary"), ("d/f", "../../outside/canary")] {
            for how in all_open_hows() {
                create_cached_file(w, at, how);
                replace(w, at, |at| symlink(target, at).unwrap());
                let position = down(at).depth() - 1;
                let found = link(w.dir.open(down(at), how));
                assert_eq!(found, (position, target.to_owned()), "{}: {at} {how:?}", w.what);
                w.check_canary();
                let walked = path::open(&*w.dir, at, Follow::Yes, how).err();
                assert_eq!(walked, Some(Errno::Escape), "{}: {at} {how:?}", w.what);
                w.check_canary();
                fs::remove_file(w.root.join(at)).unwrap();
            }
        }
    });
}

#[test]
fn symlink_that_replaces_the_parent_of_a_cached_file_is_not_followed() {
    each_world(|w| {
        fs::create_dir_all(w.root.join("d/e")).unwrap();
        fs::create_dir_all(w.root.join("other/e")).unwrap();
        w.fill("other/e/canary", "other");
        w.fill("other/canary", "other");
        for (dir, at, position) in
            [("d", "d/canary", 0), ("d", "d/e/canary", 0), ("d/e", "d/e/canary", 1)]
        {
            for target in ["../outside", "../../outside", "other", "../other", "other/e"] {
                for how in all_open_hows() {
                    create_cached_file(w, at, how);
                    fs::rename(w.root.join(dir), w.root.join("away")).unwrap();
                    symlink(target, w.root.join(dir)).unwrap();
                    let found = link(w.dir.open(down(at), how));
                    let wanted = (position, target.to_owned());
                    assert_eq!(found, wanted, "{}: {at} {how:?}", w.what);
                    w.check_canary();
                    fs::remove_file(w.root.join(dir)).unwrap();
                    fs::rename(w.root.join("away"), w.root.join(dir)).unwrap();
                }
            }
        }
    });
}

#[test]
fn fifo_that_replaces_a_cached_file_is_not_used() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        for at in ["f", "d/f"] {
            for how in all_open_hows() {
                create_cached_file(w, at, how);
                replace(w, at, fifo);
                let wanted = if how.wants_dir() { Errno::Notdir } else { Errno::Nxio };
                assert_eq!(errno(w.dir.open(down(at), how)), wanted, "{}: {at} {how:?}", w.what);
                fs::remove_file(w.root.join(at)).unwrap();
            }
        }
    });
}

#[test]
fn directory_or_missing_name_replaces_a_cached_file() {
    each_world(|w| {
        fs::create_dir(w.root.join("d")).unwrap();
        for at in ["f", "d/f"] {
            for how in all_open_hows() {
                create_cached_file(w, at, how);
                replace(w, at, |at| fs::create_dir(at).unwrap());
                match w.dir.open(down(at), how) {
                    Ok(Node::Dir(_)) => assert!(!how.refuses_dir(), "{}: {at} {how:?}", w.what),
                    Ok(Node::File(_)) => panic!("{}: {at} {how:?} is a file", w.what),
                    Err(stop) => {
                        assert!(how.refuses_dir(), "{}: {at} {how:?}", w.what);
                        assert_eq!(stop, Stop::Errno(Errno::Isdir), "{}: {at} {how:?}", w.what);
                    }
                }
                fs::remove_dir(w.root.join(at)).unwrap();
                if !how.creates() {
                    let missing = errno(w.dir.open(down(at), how));
                    assert_eq!(missing, Errno::Noent, "{}: {at} {how:?}", w.what);
                }
            }
        }
    });
}

#[test]
fn file_that_replaces_a_cached_symlink_is_opened() {
    each_world(|w| {
        for access in Access::ALL {
            symlink("../outside/canary", w.root.join("l")).unwrap();
            for _ in 0..2 {
                let found = w.open("l", access, OpenFlags::empty());
                assert_eq!(link(found).1, "../outside/canary");
                assert_eq!(link(w.dir.stat_following(down("l"))).1, "../outside/canary");
            }
            replace(w, "l", |at| symlink("../outside/other", at).unwrap());
            assert_eq!(link(w.open("l", access, OpenFlags::empty())).1, "../outside/other");
            replace(w, "l", |at| fs::write(at, "inside").unwrap());
            assert_eq!(w.dir.stat_following(down("l")).unwrap().kind, FileType::File);
            assert!(w.open("l", access, OpenFlags::empty()).is_ok(), "{}: {access:?}", w.what);
            assert_eq!(read(&w.file("l", Access::Read), 0, 9), b"inside", "{}", w.what);
            fs::remove_file(w.root.join("l")).unwrap();
        }
    });
}

/// A file that replaces a cached one is opened as the new file.
#[test]
fn other_file_that_replaces_a_cached_file_is_opened() {
    each_world(|w| {
        w.fill("f", "old");
        assert_eq!(read(&w.file("f", Access::Read), 0, 9), b"old");
        let held = w.file("f", Access::Read);
        replace(w, "f", |at| fs::write(at, "new").unwrap());
        assert_eq!(read(&w.file("f", Access::Read), 0, 9), b"new");
        assert_eq!(read(&held, 0, 9), b"old");
    });
}
