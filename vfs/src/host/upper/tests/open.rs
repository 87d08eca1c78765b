//! Opening an upper: locks, leftovers, and interrupted discards.

use std::io::ErrorKind;

use super::*;
use crate::host::upper::xattrs;

fn kind(opened: std::io::Result<UpperRef>) -> ErrorKind {
    opened.map(drop).unwrap_err().kind()
}

#[test]
fn upper_has_one_writer_or_many_readers() {
    for base in bases() {
        let temp = tempfile::tempdir_in(base).unwrap();
        let dir = temp.path();
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        let opened = HostUpper::open_ambient(dir).unwrap();
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        assert_eq!(kind(HostUpper::open_ambient_frozen(&upper)), ErrorKind::ResourceBusy);
        let other = dir.join("other");
        fs::create_dir(&other).unwrap();
        assert_eq!(kind(HostUpper::open_ambient_at(&other, &work)), ErrorKind::ResourceBusy);
        write(&*opened, "file", "text");
        opened.freeze().unwrap();
        let readers: Vec<_> =
            (0..3).map(|_| HostUpper::open_ambient_frozen(&upper).unwrap()).collect();
        for reader in &readers {
            assert_eq!(read(&**reader, "file"), "text");
            assert_eq!(reader.create_whiteout(n("file")), Err(Errno::Rofs));
        }
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        // An open directory or file of the upper keeps the lock.
        let file = open(&*opened, "file", Access::Hold, OpenFlags::empty()).unwrap();
        drop((readers, opened));
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        drop(file);
        HostUpper::open_ambient(dir).unwrap().create_whiteout(n("file")).unwrap();
    }
}

#[test]
fn open_rejects_unsuitable_directories() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (a, b) = (dir.join("a"), dir.join("a/b"));
    fs::create_dir_all(&b).unwrap();
    let far = tempfile::tempdir_in("/dev/shm").unwrap();
    for (upper, work, expected) in [
        (&*a, &*a, ErrorKind::InvalidInput),
        (&a, &b, ErrorKind::InvalidInput),
        (&b, &a, ErrorKind::InvalidInput),
        (&a, far.path(), ErrorKind::CrossesDevices),
        (&a, &dir.join("no"), ErrorKind::NotFound),
    ] {
        assert_eq!(kind(HostUpper::open_ambient_at(upper, work)), expected, "{work:?}");
    }
    fs::write(dir.join("upper"), "a file").unwrap();
    assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::NotADirectory);
    fs::remove_file(dir.join("upper")).unwrap();
    std::os::unix::fs::symlink("a", dir.join("upper")).unwrap();
    assert!(HostUpper::open_ambient(dir).is_err());
}

#[test]
fn open_removes_only_its_own_leftovers() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir_all(dir.join("work/work")).unwrap();
    fs::write(dir.join("work/mine"), "stays").unwrap();
    fs::create_dir_all(dir.join("work/palisade/#3")).unwrap();
    fs::write(dir.join("work/palisade/#3/w"), "").unwrap();
    fs::write(dir.join("work/palisade/#4"), "").unwrap();
    let opened = HostUpper::open_ambient(dir).unwrap();
    assert_eq!(fs::read_dir(dir.join("work/palisade")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(dir.join("work/mine")).unwrap(), "stays");
    assert!(dir.join("work/work").is_dir());
    drop(opened);
    // No upper creates nested directories there.
    fs::create_dir_all(dir.join("work/palisade/#5/deep/deeper")).unwrap();
    assert!(HostUpper::open_ambient(dir).is_err());
    assert!(dir.join("work/palisade/#5/deep/deeper").is_dir());
}

#[test]
fn non_utf8_names_are_hidden_and_keep_the_directory_nonempty() {
    use std::os::unix::ffi::OsStrExt;
    each_world(ALL, |world| {
        world.root.create_dir(n("dir")).unwrap();
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        fs::write(world.upper.join("dir").join(name), "").unwrap();
        assert_eq!(names(&*world.enter("dir")), Vec::<String>::new());
        assert_eq!(world.root.remove_dir(n("dir")), Err(Errno::Notempty));
        assert_eq!(world.root.create_whiteout(n("dir")), Err(Errno::Notempty));
    });
}

#[test]
fn special_files_are_seen_and_never_opened() {
    each_world(&[Limits::NONE, UNCACHED], |world| {
        let at = |name: &str| world.upper.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
        let null = rustix::fs::makedev(1, 3);
        let device = rustix::fs::FileType::CharacterDevice;
        let made = rustix::fs::mknodat(rustix::fs::CWD, at("null"), device, 0o600.into(), null);
        let mut specials = vec![("fifo", FileType::Fifo)];
        if made.is_ok() {
            specials.push(("null", FileType::CharDevice));
        }
        for (name, kind) in specials {
            assert_eq!(node(&*world.root, name).kind, kind);
            let opened = open(&*world.root, name, Access::Read, OpenFlags::empty());
            assert_eq!(errno(opened), Errno::Nxio);
            world.root.create_whiteout(n(name)).unwrap();
            assert_eq!(entry_type(&*world.root, name), "whiteout");
        }
    });
}

#[test]
fn discard_leaves_equal_times_on_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let opened = HostUpper::open_ambient(temp.path()).unwrap();
    write(&*opened, "file", "text");
    opened.begin_discard().unwrap();
    opened.remove_file(n("file")).unwrap();
    // Longer than the granularity of the filesystem's clock.
    std::thread::sleep(std::time::Duration::from_millis(30));
    opened.end_discard().unwrap();
    let stat = opened.stat(Descent::HERE).ok().unwrap();
    assert_eq!(stat.modified, stat.changed);
}

#[test]
fn commit_token_leaves_equal_times_on_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let opened = HostUpper::open_ambient(temp.path()).unwrap();
    write(&*opened, "file", "text");
    // Longer than the granularity of the filesystem's clock.
    std::thread::sleep(std::time::Duration::from_millis(30));
    opened.commit_token().unwrap();
    let stat = opened.stat(Descent::HERE).ok().unwrap();
    assert_eq!(stat.modified, stat.changed);
}

#[test]
fn next_writer_completes_an_interrupted_discard_and_readers_fail() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let opened = HostUpper::open_ambient(dir).unwrap();
    write(&*opened, "file", "text");
    opened.create_opaque_dir(n("opaque")).unwrap();
    write(&*opened, "opaque/in", "in");
    opened.create_whiteout(n("gone")).unwrap();
    opened.begin_discard().unwrap();
    // The state after a crash: a partly emptied opaque directory would hide the removed entries'
    // lowers.
    opened.enter(n("opaque")).unwrap().remove_file(n("in")).unwrap();
    drop(opened);
    let upper = dir.join("upper");
    assert_eq!(kind(HostUpper::open_ambient_frozen(&upper)), ErrorKind::InvalidData);
    let opened = HostUpper::open_ambient(dir).unwrap();
    assert_eq!(tree(&opened), tree_of(&[("/", "dir")]));
    drop(opened);
    assert_eq!(mark(&upper, xattrs::DISCARDED), None);
    let opened = HostUpper::open_ambient_frozen(&upper).unwrap();
    assert_eq!(opened.begin_discard(), Err(Errno::Rofs));
    assert_eq!(opened.end_discard(), Err(Errno::Rofs));
}
