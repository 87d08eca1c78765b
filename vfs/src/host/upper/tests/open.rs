//! What opening a layer sees to.

use std::io::ErrorKind;

use super::*;
use crate::host::upper::xattrs;

fn kind(opened: std::io::Result<UpperRef>) -> ErrorKind {
    opened.map(drop).unwrap_err().kind()
}

#[test]
fn a_layer_has_one_writer_or_many_readers() {
    for base in bases() {
        let temp = tempfile::tempdir_in(base).unwrap();
        let dir = temp.path();
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        let layer = HostUpper::open_ambient(dir).unwrap();
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        assert_eq!(kind(HostUpper::open_ambient_frozen(&upper)), ErrorKind::ResourceBusy);
        let other = dir.join("other");
        fs::create_dir(&other).unwrap();
        assert_eq!(kind(HostUpper::open_ambient_at(&other, &work)), ErrorKind::ResourceBusy);
        write(&*layer, "file", "text");
        layer.freeze().unwrap();
        let readers: Vec<_> =
            (0..3).map(|_| HostUpper::open_ambient_frozen(&upper).unwrap()).collect();
        for reader in &readers {
            assert_eq!(read(&**reader, "file"), "text");
            assert_eq!(reader.create_whiteout(n("file")), Err(Errno::Rofs));
        }
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        // What only holds a directory or a file of the layer uses it too.
        let file = open(&*layer, "file", Access::Hold, OpenFlags::empty()).unwrap();
        drop((readers, layer));
        assert_eq!(kind(HostUpper::open_ambient(dir)), ErrorKind::ResourceBusy);
        drop(file);
        HostUpper::open_ambient(dir).unwrap().create_whiteout(n("file")).unwrap();
    }
}

#[test]
fn directories_that_are_no_layer_are_refused() {
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
fn only_our_own_left_overs_are_cleaned_away() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    fs::create_dir_all(dir.join("work/work")).unwrap();
    fs::write(dir.join("work/mine"), "stays").unwrap();
    fs::create_dir_all(dir.join("work/palisade/#3")).unwrap();
    fs::write(dir.join("work/palisade/#3/w"), "").unwrap();
    fs::write(dir.join("work/palisade/#4"), "").unwrap();
    let layer = HostUpper::open_ambient(dir).unwrap();
    assert_eq!(fs::read_dir(dir.join("work/palisade")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(dir.join("work/mine")).unwrap(), "stays");
    assert!(dir.join("work/work").is_dir());
    drop(layer);
    // No layer puts directories in directories there.
    fs::create_dir_all(dir.join("work/palisade/#5/deep/deeper")).unwrap();
    assert!(HostUpper::open_ambient(dir).is_err());
    assert!(dir.join("work/palisade/#5/deep/deeper").is_dir());
}

#[test]
fn names_that_are_not_utf_8_are_left_out_and_keep_their_directory() {
    use std::os::unix::ffi::OsStrExt;
    each_world(ALL, |world| {
        world.layer.create_dir(n("dir")).unwrap();
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        fs::write(world.upper.join("dir").join(name), "").unwrap();
        assert_eq!(names(&*world.enter("dir")), Vec::<String>::new());
        assert_eq!(world.layer.remove_dir(n("dir")), Err(Errno::Notempty));
        assert_eq!(world.layer.create_whiteout(n("dir")), Err(Errno::Notempty));
    });
}

#[test]
fn special_files_are_seen_and_never_opened() {
    each_world(&[Limits::NONE, FORGETFUL], |world| {
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
            assert_eq!(node(&*world.layer, name).kind, kind);
            let opened = open(&*world.layer, name, Access::Read, OpenFlags::empty());
            assert_eq!(errno(opened), Errno::Nxio);
            world.layer.create_whiteout(n(name)).unwrap();
            assert_eq!(says(&*world.layer, name), "whiteout");
        }
    });
}

#[test]
fn a_discard_leaves_both_times_of_the_root_equal() {
    let temp = tempfile::tempdir().unwrap();
    let layer = HostUpper::open_ambient(temp.path()).unwrap();
    write(&*layer, "file", "text");
    layer.begin_discard().unwrap();
    layer.remove_file(n("file")).unwrap();
    // Longer than the clock of the filesystem stands.
    std::thread::sleep(std::time::Duration::from_millis(30));
    layer.end_discard().unwrap();
    let stat = layer.stat(Descent::HERE).ok().unwrap();
    assert_eq!(stat.modified, stat.changed);
}

#[test]
fn a_commit_token_leaves_both_times_of_the_root_equal() {
    let temp = tempfile::tempdir().unwrap();
    let layer = HostUpper::open_ambient(temp.path()).unwrap();
    write(&*layer, "file", "text");
    // Longer than the clock of the filesystem stands.
    std::thread::sleep(std::time::Duration::from_millis(30));
    layer.commit_token().unwrap();
    let stat = layer.stat(Descent::HERE).ok().unwrap();
    assert_eq!(stat.modified, stat.changed);
}

#[test]
fn an_interrupted_discard_is_completed_by_the_next_writer_and_told_to_readers() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let layer = HostUpper::open_ambient(dir).unwrap();
    write(&*layer, "file", "text");
    layer.create_opaque_dir(n("opaque")).unwrap();
    write(&*layer, "opaque/in", "in");
    layer.create_whiteout(n("gone")).unwrap();
    layer.begin_discard().unwrap();
    // What a crash leaves: a part of an opaque directory would hide what it had in it.
    layer.enter(n("opaque")).unwrap().remove_file(n("in")).unwrap();
    drop(layer);
    let upper = dir.join("upper");
    assert_eq!(kind(HostUpper::open_ambient_frozen(&upper)), ErrorKind::InvalidData);
    let layer = HostUpper::open_ambient(dir).unwrap();
    assert_eq!(tree(&layer), tree_of(&[("/", "dir")]));
    drop(layer);
    assert_eq!(mark(&upper, xattrs::DISCARDED), None);
    let layer = HostUpper::open_ambient_frozen(&upper).unwrap();
    assert_eq!(layer.begin_discard(), Err(Errno::Rofs));
    assert_eq!(layer.end_discard(), Err(Errno::Rofs));
}
