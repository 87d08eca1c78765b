//! What a mount does when the filesystem beneath fails, lies, or has limits.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use common::{Faults, Faulty, read};
use palisade_crates_vfs::{Limits, PalisadeFs, mount, mount_with};
use palisade_props::{Live, Op, Outcome, Run};
use palisade_vfs::{
    Access, Cookie, DirRef, Errno, FileRef, Follow, MemFs, OpenFlags, OpenHow, SyncScope, path,
};
use vfs::{FileSystem, MemoryFS};

fn faulty() -> (DirRef, Arc<MemoryFS>, Arc<Faults>) {
    let (fs, inner, faults) = Faulty::new();
    (mount(fs), inner, faults)
}

/// Runs lines, each of which must come to what stands behind `=>`.
#[track_caller]
fn run(dir: &DirRef, lines: &[(&str, &str)]) -> Live {
    let mut live = Live::new(dir.clone());
    for (line, want) in lines {
        let got = live.run(&Op::parse(line).unwrap());
        assert_eq!(got.to_string(), *want, "{line}");
    }
    live
}

fn open(dir: &DirRef, name: &str, flags: OpenFlags) -> FileRef {
    let how = OpenHow::new(Access::ReadWrite, flags);
    path::open(&**dir, name, Follow::No, how).unwrap().into_file().unwrap()
}

fn names(dir: &DirRef) -> Vec<String> {
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push(entry.name.as_str().to_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    names.sort();
    names
}

#[test]
fn what_is_no_name_is_left_out_of_listings() {
    let (dir, _, faults) = faulty();
    run(&dir, &[("write f \"x\"", "done"), ("mkdir d", "done")]);
    faults.names.store(true, Relaxed);
    assert_eq!(names(&dir), ["d", "f"], "and each name is there once");
}

#[test]
fn a_directory_with_what_is_no_name_is_not_moved_by_halves() {
    let (dir, inner, faults) = faulty();
    run(&dir, &[("mkdir d", "done"), ("write d/g \"x\"", "done")]);
    faults.names.store(true, Relaxed);
    run(&dir, &[("rename d e", "io"), ("read d/g", "\"x\""), ("stat e", "noent")]);
    assert!(!inner.exists("/e").unwrap());
}

#[test]
fn a_failed_save_is_an_error_of_sync_and_loses_nothing() {
    for swallow in [false, true] {
        let (dir, inner, faults) = faulty();
        let file = open(&dir, "f", OpenFlags::CREATE);
        file.write_at(&[IoSlice::new(b"precious")], 0).unwrap();
        let fault = if swallow { &faults.swallow } else { &faults.write };
        fault.store(true, Relaxed);
        let want = if swallow { Errno::Io } else { Errno::Nospc };
        assert_eq!(file.sync(SyncScope::All), Err(want));
        assert_eq!(file.sync(SyncScope::Data), Err(want), "it stays unsaved");
        drop(file);
        // Nobody has it open, and it is still there.
        run(&dir, &[("read f", "\"precious\""), ("readdir .", "names f")]);
        assert_eq!(dir.sync(), Err(want));
        fault.store(false, Relaxed);
        assert_eq!(dir.sync(), Ok(()));
        assert_eq!(read(&inner, "/f"), "precious");
    }
}

#[test]
fn the_last_handle_saves_and_so_does_the_mount_itself() {
    let (dir, inner, faults) = faulty();
    let file = open(&dir, "f", OpenFlags::CREATE);
    file.write_at(&[IoSlice::new(b"one")], 0).unwrap();
    assert_eq!(read(&inner, "/f"), "");
    drop(file);
    assert_eq!(read(&inner, "/f"), "one");
    faults.write.store(true, Relaxed);
    drop({
        let file = open(&dir, "f", OpenFlags::empty());
        file.append(&[IoSlice::new(b" two")]).unwrap();
        file
    });
    faults.write.store(false, Relaxed);
    drop(dir);
    assert_eq!(read(&inner, "/f"), "one two");
}

#[test]
fn a_synchronous_handle_saves_each_write_and_says_what_failed() {
    let (dir, inner, faults) = faulty();
    let file = open(&dir, "f", OpenFlags::CREATE | OpenFlags::SYNC);
    file.write_at(&[IoSlice::new(b"a")], 0).unwrap();
    assert_eq!(read(&inner, "/f"), "a");
    faults.write.store(true, Relaxed);
    assert_eq!(file.write_at(&[IoSlice::new(b"b")], 1), Err(Errno::Nospc));
}

#[test]
fn what_supports_no_change_is_read_only_and_says_so_before_a_byte_is_taken() {
    let (dir, inner, faults) = faulty();
    run(&dir, &[("mkdir d", "done"), ("write f \"hello\"", "done")]);
    faults.read_only.store(true, Relaxed);
    run(
        &dir,
        &[
            ("open f rdwr", "opened file"),
            ("fwrite 0 \"J\" 0", "rofs"),
            ("fappend 0 \"J\"", "rofs"),
            ("fsetlen 0 1", "rofs"),
            ("fsetlen 0 0", "rofs"),
            ("fread 0 9 0", "\"hello\""),
            ("open f write trunc", "rofs"),
            ("write n \"\"", "rofs"),
            ("mkdir n", "rofs"),
            ("rmdir d", "rofs"),
            ("unlink f", "rofs"),
            ("rename f g", "rofs"),
            ("rename d e", "rofs"),
            ("utimes f keep 5.0", "notsup"),
            ("readdir .", "names d/ f"),
        ],
    );
    assert_eq!(read(&inner, "/f"), "hello");
}

#[test]
fn links_are_perm_behind_what_comes_before_it() {
    let (dir, _, _) = faulty();
    run(
        &dir,
        &[
            ("mkdir d", "done"),
            ("write f \"\"", "done"),
            ("symlink l -> f", "perm"),
            ("symlink f -> x", "exist"),
            ("link f g", "perm"),
            ("link x g", "noent"),
            ("link f d", "exist"),
            ("readlink f", "inval"),
            ("readlink x", "noent"),
        ],
    );
}

#[test]
fn a_rename_that_fails_leaves_both_as_they_were() {
    let (dir, inner, faults) = faulty();
    let setup = [("write a \"new\"", "done"), ("write b \"old\"", "done"), ("mkdir d", "done")];
    run(&dir, &setup);
    run(&dir, &[("write d/f \"deep\"", "done"), ("write d/g \"deep\"", "done")]);
    faults.remove.store(true, Relaxed);
    run(&dir, &[("rename a b", "acces"), ("rename a c", "acces"), ("rename d e", "acces")]);
    run(&dir, &[("read a", "\"new\""), ("read b", "\"old\""), ("read d/f", "\"deep\"")]);
    faults.remove.store(false, Relaxed);
    faults.write.store(true, Relaxed);
    run(&dir, &[("rename a b", "nospc"), ("rename d h", "nospc"), ("stat h", "noent")]);
    // The old bytes could not even be put back: they are kept until they can.
    run(&dir, &[("read b", "\"old\""), ("read a", "\"new\"")]);
    faults.write.store(false, Relaxed);
    dir.sync().unwrap();
    assert_eq!((read(&inner, "/a"), read(&inner, "/b")), ("new".to_owned(), "old".to_owned()));
    run(&dir, &[("rename a b", "done"), ("rename d h", "done"), ("readdir h", "names f g")]);
    assert_eq!(read(&inner, "/b"), "new");
}

#[test]
fn limits_are_errors_and_what_is_too_long_is_still_read_emptied_and_appended_to() {
    let inner = MemFs::new().root();
    run(&inner, &[("write big \"0123456789\"", "done")]);
    let limits = Limits { file_bytes: 8, total_bytes: 12, names: 3 };
    let dir = mount_with(PalisadeFs::new(inner), limits);
    run(
        &dir,
        &[
            ("read big", "\"0123456789\""),
            ("open big rdwr", "opened file"),
            ("fwrite 0 \"x\" 0", "fbig"),
            ("fappend 0 \"ab\"", "appended 2 12"),
            ("read big", "\"0123456789ab\""),
            ("unlink big", "busy"),
            ("open a rdwr create", "opened file"),
            ("fwrite 1 \"12345678\" 0", "wrote 8"),
            ("fwrite 1 \"9\" 8", "fbig"),
            ("open b rdwr create", "opened file"),
            ("fwrite 2 \"12345678\" 0", "nospc"),
            ("fwrite 2 \"1234\" 0", "wrote 4"),
            ("close 2", "done"),
            ("mkdir c", "nomem"),
            ("write c \"\"", "nomem"),
            ("readdir .", "names a b big"),
            ("open big rdwr trunc", "opened file"),
            ("fwrite 2 \"abc\" 0", "wrote 3"),
            ("read big", "\"abc\""),
        ],
    );
}

fn stat_of(dir: &DirRef, name: &str) -> Outcome {
    Live::new(dir.clone()).run(&Op::parse(&format!("stat {name}")).unwrap())
}

#[test]
fn what_vanishes_behind_the_mount_is_dead_and_what_comes_is_found() {
    let (dir, inner, _) = faulty();
    let mut live = run(&dir, &[("write f \"x\"", "done"), ("open f rdwr", "opened file")]);
    inner.remove_file("/f").unwrap();
    inner.create_dir("/f").unwrap();
    inner.create_file("/g").unwrap().write_all(b"from behind").unwrap();
    run(&dir, &[("stat f", &stat_of(&dir, "f").to_string()), ("read g", "\"from behind\"")]);
    run(&dir, &[("readdir .", "names f/ g")]);
    let write = live.run(&Op::parse("fwrite 0 \"y\" 0").unwrap());
    assert_eq!(write, Outcome::Fail(Errno::Stale), "a dead file is not made again in silence");
}

#[test]
fn mounts_are_filesystems_of_their_own() {
    let (one, two) = (mount(MemoryFS::new()), mount(MemoryFS::new()));
    run(&one, &[("write f \"\"", "done")]);
    assert_eq!(path::rename(&*one, "f", &*two, "f"), Err(Errno::Xdev));
    assert_eq!(path::link(&*one, "f", &*two, "f"), Err(Errno::Xdev));
    let dev = |dir: &DirRef| path::stat(&**dir, ".", Follow::No).unwrap().dev;
    assert_ne!(dev(&one), dev(&two));
}

#[test]
fn extreme_times_are_refused_and_no_panic() {
    let temp = tempfile::tempdir().unwrap();
    for dir in [mount(MemoryFS::new()), mount(vfs::PhysicalFS::new(temp.path()))] {
        run(&dir, &[("write f \"\"", "done"), ("utimes f keep 5.0", "done")]);
        for seconds in [i64::MIN, i64::MAX, (1 << 40) + 1] {
            run(&dir, &[(&format!("utimes f keep {seconds}.9"), "inval")]);
        }
        let mtime = path::stat(&*dir, "f", Follow::No).unwrap().modified;
        assert_eq!(mtime.seconds(), 5);
    }
}
