//! Tests of mounts over filesystems that fail, misbehave or have limits.

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

/// Runs operations and compares each outcome with the expected one.
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
fn listings_omit_invalid_names() {
    let (dir, _, faults) = faulty();
    run(&dir, &[("write f \"x\"", "done"), ("mkdir d", "done")]);
    faults.names.store(true, Relaxed);
    assert_eq!(names(&dir), ["d", "f"], "and each name is there once");
}

#[test]
fn directory_with_invalid_names_is_not_moved_by_copy() {
    let (dir, inner, faults) = faulty();
    run(&dir, &[("mkdir d", "done"), ("write d/g \"x\"", "done")]);
    faults.names.store(true, Relaxed);
    run(&dir, &[("rename d e", "io"), ("read d/g", "\"x\""), ("stat e", "noent")]);
    assert!(!inner.exists("/e").unwrap());
}

#[test]
fn failed_save_is_returned_by_sync_and_keeps_the_buffer() {
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
        // The buffer is kept although no handle is open.
        run(&dir, &[("read f", "\"precious\""), ("readdir .", "names f")]);
        assert_eq!(dir.sync(), Err(want));
        fault.store(false, Relaxed);
        assert_eq!(dir.sync(), Ok(()));
        assert_eq!(read(&inner, "/f"), "precious");
    }
}

#[test]
fn last_handle_and_mount_save_on_drop() {
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
fn synchronous_handle_saves_each_write_and_returns_errors() {
    let (dir, inner, faults) = faulty();
    let file = open(&dir, "f", OpenFlags::CREATE | OpenFlags::SYNC);
    file.write_at(&[IoSlice::new(b"a")], 0).unwrap();
    assert_eq!(read(&inner, "/f"), "a");
    faults.write.store(true, Relaxed);
    assert_eq!(file.write_at(&[IoSlice::new(b"b")], 1), Err(Errno::Nospc));
}

#[test]
fn read_only_backend_is_erofs_before_a_write_is_buffered() {
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
fn creating_links_is_eperm_after_other_checks() {
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
fn failed_rename_rolls_back() {
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
    // The rollback failed too: the contents stay in the buffer until a save succeeds.
    run(&dir, &[("read b", "\"old\""), ("read a", "\"new\"")]);
    faults.write.store(false, Relaxed);
    dir.sync().unwrap();
    assert_eq!((read(&inner, "/a"), read(&inner, "/b")), ("new".to_owned(), "old".to_owned()));
    run(&dir, &[("rename a b", "done"), ("rename d h", "done"), ("readdir h", "names f g")]);
    assert_eq!(read(&inner, "/b"), "new");
}

#[test]
fn files_above_the_limit_can_be_read_truncated_and_appended() {
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
fn external_removals_and_creations_are_noticed() {
    let (dir, inner, _) = faulty();
    let mut live = run(&dir, &[("write f \"x\"", "done"), ("open f rdwr", "opened file")]);
    inner.remove_file("/f").unwrap();
    inner.create_dir("/f").unwrap();
    inner.create_file("/g").unwrap().write_all(b"external").unwrap();
    run(&dir, &[("stat f", &stat_of(&dir, "f").to_string()), ("read g", "\"external\"")]);
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
fn extreme_times_are_einval() {
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
