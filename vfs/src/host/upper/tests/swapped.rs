//! Another process replaces a node while the upper is open.
//!
//! The upper need not notice. It must not follow a link out of the upper, block, or read and write
//! a special file as if it were a regular file.

use std::io::Read as _;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, OFlags};

use super::*;
use crate::host::upper::xattrs;

/// Creates a file, a directory and a copied-up file, all with cached names, and a directory outside
/// with the same names.
fn furnished(world: &World) -> PathBuf {
    let outside = world.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    for name in ["canary", "f", "in"] {
        fs::write(outside.join(name), "canary").unwrap();
    }
    world.write("f", "inside");
    world.root.create_dir(n("d")).unwrap();
    world.write("d/in", "inside");
    drop(copy_up_file(&*world.root, "copied", 7, "inside"));
    assert_eq!(names(&*world.root), ["copied", "d", "f"]);
    outside
}

fn swap(world: &World, name: &str, make: impl FnOnce(&Path)) {
    let at = world.upper.join(name);
    fs::rename(&at, world.dir.join(format!("away-{name}"))).unwrap();
    make(&at);
}

fn check_outside(world: &World, outside: &Path, what: &str) {
    let mut all: Vec<_> = fs::read_dir(outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    assert_eq!(all, ["canary", "f", "in"], "{}: {what}", world.what);
    for name in all {
        assert_eq!(fs::read(outside.join(&name)).unwrap(), b"canary", "{}: {what}", world.what);
    }
}

#[test]
fn symlink_replacing_a_file_is_not_followed() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        for name in ["f", "copied"] {
            swap(world, name, |at| symlink("../outside/canary", at).unwrap());
            for access in Access::ALL {
                for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
                    match open(&*world.root, name, access, flags) {
                        Err(_) => {}
                        // `O_PATH` opens the link itself, which permits no operation.
                        Ok(node) => {
                            assert_eq!(access, Access::Hold, "{}: {name} {flags:?}", world.what);
                            let stat = node.into_file().unwrap().stat();
                            assert_eq!(stat, Err(Errno::Nxio), "{}: {name}", world.what);
                        }
                    }
                    check_outside(world, &outside, name);
                }
            }
        }
    });
}

#[test]
fn symlink_replacing_a_directory_is_not_followed() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        // Opened again, so that the name is cached and no handle of the directory is open.
        world.reopen();
        assert_eq!(names(&*world.root), ["copied", "d", "f"]);
        swap(world, "d", |at| symlink("../outside", at).unwrap());
        let upper = &*world.root;
        assert!(upper.enter(n("d")).is_err(), "{}", world.what);
        assert!(upper.stat(d("d/canary")).is_err(), "{}", world.what);
        assert!(upper.set_times(d("d/canary"), crate::SetTimes::default()).is_err());
        for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
            assert!(open(upper, "d/canary", Access::ReadWrite, flags).is_err(), "{}", world.what);
            assert!(open(upper, "d/new", Access::ReadWrite, flags).is_err(), "{}", world.what);
        }
        assert!(upper.remove_dir(n("d")).is_err(), "{}", world.what);
        let _ = upper.create_whiteout(n("d"));
        let _ = upper.rename(n("d"), upper, n("moved"));
        check_outside(world, &outside, "d");
    });
}

/// An xattr of a link's target is not taken for one of the node.
#[test]
fn xattrs_are_not_read_through_a_symlink() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        world.reopen();
        // The names are cached, the xattrs are not.
        assert_eq!(entry_type(&*world.root, "f"), "node");
        let canary = fs::File::open(outside.join("canary")).unwrap();
        xattrs::set(canary.as_fd(), xattrs::ORIGIN, b"5:4321").unwrap();
        swap(world, "copied", |at| symlink("../outside/canary", at).unwrap());
        assert_ne!(node(&*world.root, "copied").ino, 4321, "{}", world.what);
        assert!(list(&*world.root).iter().all(|entry| entry.2 != 4321), "{}", world.what);
    });
}

#[test]
fn fifo_replacing_a_file_is_neither_read_nor_written() {
    each_world(ALL, |world| {
        furnished(world);
        for name in ["f", "copied"] {
            let fifo = world.upper.join(name);
            swap(world, name, |at| {
                rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o600)).unwrap();
            });
            // With a reader, the open for writing succeeds immediately.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let reader = rustix::fs::openat(CWD, &fifo, flags, Mode::empty()).unwrap();
            for access in [Access::Read, Access::Write, Access::ReadWrite] {
                let file = match open(&*world.root, name, access, OpenFlags::empty()) {
                    Ok(node) => node.into_file().unwrap(),
                    Err(Stop::Errno(errno)) => {
                        assert_eq!(errno, Errno::Nxio, "{}: {name}", world.what);
                        continue;
                    }
                    Err(stop) => panic!("{stop:?}"),
                };
                let bytes = [IoSlice::new(b"leak")];
                assert!(file.append(&bytes).is_err(), "{}: {name} {access:?}", world.what);
                assert!(file.write_at(&bytes, 0).is_err(), "{}: {name} {access:?}", world.what);
                let mut room = [0; 4];
                let read = file.read_at(&mut [IoSliceMut::new(&mut room)], 0);
                assert!(read.is_err(), "{}: {name} {access:?}", world.what);
                assert!(file.stat().is_err(), "{}: {name} {access:?}", world.what);
            }
            let mut read = Vec::new();
            let _ = fs::File::from(reader).read_to_end(&mut read);
            assert_eq!(read, b"", "{}: {name}", world.what);
        }
    });
}
