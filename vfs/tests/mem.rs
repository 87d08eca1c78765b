//! Properties of the memory filesystem: memory accounting, freeing, and copies into it.

#![cfg(feature = "mem")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests look at the host, and fail by panicking"
)]

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use palisade_vfs::{
    Access, Cookie, Dir, DirRef, Errno, FileRef, FileType, Follow, MemFs, Name, OpenFlags, OpenHow,
    Timestamp, copy_tree, path,
};

fn file(root: &DirRef, at: &str) -> FileRef {
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
    path::open(&**root, at, Follow::No, how).unwrap().into_file().unwrap()
}

fn write(file: &FileRef, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(&[IoSlice::new(bytes)], at)
}

fn read(file: &FileRef, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; len];
    let n = file.read_at(&mut [IoSliceMut::new(&mut bytes)], at).unwrap();
    bytes.truncate(n);
    bytes
}

#[test]
fn read_vec_equals_read_at() {
    let root = MemFs::new().root();
    let sparse = file(&root, "sparse");
    write(&sparse, 10, b"start").unwrap();
    write(&sparse, 200_000, &[7; 100_000]).unwrap();
    sparse.set_len(310_000).unwrap();
    for at in [0, 12, 65_535, 65_536, 199_990, 299_999, 305_000, 310_000, u64::MAX] {
        for len in [0, 1, 100, 65_536, 200_000, 400_000] {
            let mut bytes = b"kept".to_vec();
            let done = sparse.read_vec(&mut bytes, len, at).unwrap();
            let (kept, bytes) = bytes.split_at(4);
            assert_eq!((kept, done), (&b"kept"[..], bytes.len()));
            assert!(bytes == read(&sparse, at, len), "{len} at {at}");
        }
    }
    let how = OpenHow::new(Access::Write, OpenFlags::empty());
    let blind = path::open(&*root, "sparse", Follow::No, how).unwrap().into_file().unwrap();
    assert_eq!(blind.read_vec(&mut Vec::new(), 1, 0), Err(Errno::Badf));
}

#[test]
fn unreachable_nodes_are_freed_with_their_last_handle() {
    let fs = MemFs::new();
    let root = fs.root();
    let empty = fs.usage();
    assert_eq!((empty.bytes, empty.nodes), (0, 1));
    path::create_dir(&*root, "d").unwrap();
    let held = path::open(&*root, "d", Follow::No, OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
    let open = file(&root, "d/f");
    write(&open, 0, &[1; 100_000]).unwrap();
    path::link(&*root, "d/f", &*root, "g").unwrap();
    path::remove_file(&*root, "d/f").unwrap();
    path::remove_dir(&*root, "d").unwrap();
    assert_eq!(fs.usage().nodes, 3);
    path::remove_file(&*root, "g").unwrap();
    assert_eq!(read(&open, 99_990, 20), [1; 10]);
    assert_eq!(open.stat().unwrap().nlink, 0);
    assert_eq!(held.create_dir(Name::new("new").unwrap()), Err(Errno::Noent));
    drop(open);
    assert_eq!((fs.usage().bytes, fs.usage().nodes), (0, 2));
    drop(held);
    assert_eq!(fs.usage(), empty);
}

#[test]
fn rename_over_a_file_frees_the_replaced_file() {
    let fs = MemFs::new();
    let root = fs.root();
    write(&file(&root, "a"), 0, b"new").unwrap();
    write(&file(&root, "b"), 0, &[0; 1 << 20]).unwrap();
    path::rename(&*root, "a", &*root, "b").unwrap();
    assert_eq!(fs.usage().nodes, 2);
    assert!(fs.usage().bytes < 1024);
    assert_eq!(read(&file(&root, "b"), 0, 10), b"new");
}

#[test]
fn write_beyond_the_capacity_is_short_and_then_enospc() {
    let fs = MemFs::builder().capacity_bytes(256 * 1024).nodes_max(3).build();
    let root = fs.root();
    let one = file(&root, "one");
    assert_eq!(write(&one, 0, &[7; 1 << 20]), Ok(256 * 1024));
    assert_eq!(write(&one, 256 * 1024, b"x"), Err(Errno::Nospc));
    assert_eq!(one.stat().unwrap().size, 256 * 1024);
    assert_eq!(one.allocate(0, 1 << 40), Err(Errno::Nospc));
    // Holes are not charged, and truncated bytes are released.
    one.set_len(1 << 40).unwrap();
    one.set_len(10).unwrap();
    assert!(fs.usage().bytes <= 64);
    let two = file(&root, "two");
    assert_eq!(write(&two, 5 << 30, b"far"), Ok(3));
    assert_eq!(read(&two, (5 << 30) - 2, 9), b"\0\0far");
    // Three nodes: the root and two files.
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let full = path::open(&*root, "three", Follow::No, how).map(drop);
    assert_eq!(full, Err(Errno::Nospc));
    assert_eq!(path::create_dir(&*root, "three"), Err(Errno::Nospc));
    assert_eq!(path::create_symlink(&*root, "x", "three"), Err(Errno::Nospc));
    path::remove_file(&*root, "one").unwrap();
    drop(one);
    path::create_dir(&*root, "three").unwrap();
}

#[test]
fn scattered_writes_stay_within_the_capacity() {
    let fs = MemFs::builder().capacity_bytes(1 << 20).build();
    let scattered = file(&fs.root(), "f");
    let mut written = 0;
    while write(&scattered, written * 64 * 1024 + 65_000, b"x").is_ok() {
        written += 1;
        assert!(written < 1000);
    }
    assert!(fs.usage().bytes <= 1 << 20);
    assert_eq!(written, 16);
}

#[test]
fn null_device_discards_writes_and_reads_nothing() {
    let fs = MemFs::new();
    let name = Name::new("null").unwrap();
    fs.create_null_device(name).unwrap();
    assert_eq!(fs.create_null_device(name), Err(Errno::Exist));
    let null = file(&fs.root(), "null");
    assert_eq!(null.kind(), FileType::CharDevice);
    assert_eq!(write(&null, 1 << 50, b"gone"), Ok(4));
    assert_eq!(null.append(&[IoSlice::new(b"gone")]), Ok(4));
    assert_eq!(read(&null, 0, 10), b"");
    assert_eq!(null.set_len(0), Err(Errno::Inval));
    assert_eq!(path::stat(&*fs.root(), "null", Follow::No).unwrap().kind, FileType::CharDevice);
    let how = OpenHow::new(Access::Write, OpenFlags::TRUNCATE);
    assert!(path::open(&*fs.root(), "null", Follow::No, how).is_ok());
}

#[test]
fn times_come_from_the_given_clock() {
    let now = Arc::new(AtomicI64::new(100));
    let clock = Arc::clone(&now);
    let fs = MemFs::builder()
        .clock(Arc::new(move || Timestamp::new(clock.load(Ordering::Relaxed), 0)))
        .build();
    let root = fs.root();
    let f = file(&root, "f");
    now.store(200, Ordering::Relaxed);
    write(&f, 0, b"x").unwrap();
    read(&f, 0, 1);
    let stat = f.stat().unwrap();
    let seconds = [stat.accessed, stat.modified, stat.changed].map(Timestamp::seconds);
    assert_eq!(seconds, [100, 200, 200]);
    assert_eq!(path::stat(&*root, ".", Follow::No).unwrap().modified.seconds(), 100);
}

#[test]
fn copy_tree_copies_everything_except_special_files() {
    let tempdir = tempfile::tempdir().unwrap();
    let host = tempdir.path();
    std::fs::create_dir_all(host.join("a/b")).unwrap();
    std::fs::write(host.join("a/f"), "bytes").unwrap();
    std::fs::hard_link(host.join("a/f"), host.join("a/b/same")).unwrap();
    std::os::unix::fs::symlink("../a/f", host.join("a/link")).unwrap();
    let sparse = std::fs::File::create(host.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.join("socket")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    sparse.set_modified(old).unwrap();

    let from = palisade_vfs::HostDir::open_ambient(host).unwrap();
    let fs = MemFs::new();
    let report = copy_tree(&from, &fs.root()).unwrap();
    assert_eq!((report.files, report.dirs, report.symlinks), (2, 2, 1));
    assert_eq!((report.bytes, report.specials), (5, 1));
    assert_eq!(report.left_out, ["/socket"]);
    let stat = |at| path::stat(&*fs.root(), at, Follow::No).unwrap();
    assert_eq!(stat("a/f").ino, stat("a/b/same").ino);
    assert_eq!(stat("a/f").nlink, 2);
    assert_eq!(stat("sparse").size, 1 << 30);
    assert_eq!(stat("sparse").modified.seconds(), 1000);
    assert!(fs.usage().bytes < 4096);
    assert_eq!(path::read_link(&*fs.root(), "a/link").as_deref(), Ok("../a/f"));
    // Writes to the copy do not reach the original.
    write(&file(&fs.root(), "a/f"), 0, b"B").unwrap();
    assert_eq!(std::fs::read(host.join("a/f")).unwrap(), b"bytes");
}

#[test]
fn copy_and_drop_of_a_deep_tree_do_not_recurse() {
    let fs = MemFs::new();
    let mut at = fs.root();
    let name = Name::new("d").unwrap();
    for _ in 0..5_000 {
        at.create_dir(name).unwrap();
        at = at.open(name.into(), OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
    }
    let copy = MemFs::new();
    assert_eq!(copy_tree(&fs.root(), &copy.root()).unwrap().dirs, 5_000);
}

#[test]
fn concurrent_changes_leave_a_consistent_tree() {
    let fs = MemFs::new();
    let root = fs.root();
    for dir in ["a", "b"] {
        path::create_dir(&*root, dir).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                for round in 0..500 {
                    let name = format!("f{}", (thread + round) % 5);
                    let (one, other) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
                    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
                    let at = format!("{one}/{name}");
                    if let Ok(node) = path::open(&**root, &at, Follow::No, how) {
                        let _ = node.into_file().map(|f| write(&f, 0, name.as_bytes()));
                    }
                    let _ = path::rename(&**root, &at, &**root, &format!("{other}/{name}"));
                    let _ = path::link(&**root, &format!("{other}/{name}"), &**root, &at);
                    let _ = path::create_dir(&**root, &format!("{one}/d{thread}"));
                    let _ = path::rename(
                        &**root,
                        &format!("{one}/d{thread}"),
                        &**root,
                        &format!("{other}/d{thread}"),
                    );
                    let _ = path::remove_file(&**root, &format!("{one}/{name}"));
                    let _ = path::remove_dir(&**root, &format!("{other}/d{thread}"));
                }
            });
        }
    });
    // Every remaining name leads to a node, and no other node is charged.
    let mut nodes = std::collections::BTreeSet::new();
    for dir in [".", "a", "b"] {
        let dir = path::open(&*root, dir, Follow::No, OpenHow::HOLD_DIR).unwrap();
        let dir: Arc<dyn Dir> = dir.into_dir().unwrap();
        nodes.insert(dir.stat(palisade_vfs::Descent::HERE).unwrap().ino);
        dir.read_dir(Cookie::START, &mut |entry| {
            assert_eq!(dir.stat(entry.name.into()).unwrap().ino, entry.ino);
            nodes.insert(entry.ino);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    }
    assert_eq!(fs.usage().nodes, nodes.len() as u64);
}
