//! Another process puts something else in the place of a node of the upper while the layer is open.
//!
//! That is not promised to be seen. It must not lead out of the layer, hang, or make a special
//! file's bytes those of a file.

use std::io::Read as _;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, OFlags};

use super::*;
use crate::host::upper::xattrs;

/// A layer with a file, a directory and an adopted file, all of whose names are remembered, and a
/// directory outside with the same names.
fn furnished(world: &World) -> PathBuf {
    let outside = world.dir.join("outside");
    fs::create_dir_all(&outside).unwrap();
    for name in ["canary", "f", "in"] {
        fs::write(outside.join(name), "canary").unwrap();
    }
    world.write("f", "inside");
    world.layer.create_dir(n("d")).unwrap();
    world.write("d/in", "inside");
    drop(adopt_file(&*world.layer, "adopted", 7, "inside"));
    assert_eq!(names(&*world.layer), ["adopted", "d", "f"]);
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
fn a_link_in_the_place_of_a_file_is_not_followed() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        for name in ["f", "adopted"] {
            swap(world, name, |at| symlink("../outside/canary", at).unwrap());
            for access in Access::ALL {
                for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
                    match open(&*world.layer, name, access, flags) {
                        Err(_) => {}
                        // `O_PATH` holds the link itself; nothing can be done with it.
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
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        // Opened anew, so that no handle of the directory is kept, and its name is remembered.
        world.reopen();
        assert_eq!(names(&*world.layer), ["adopted", "d", "f"]);
        swap(world, "d", |at| symlink("../outside", at).unwrap());
        let layer = &*world.layer;
        assert!(layer.enter(n("d")).is_err(), "{}", world.what);
        assert!(layer.stat(d("d/canary")).is_err(), "{}", world.what);
        assert!(layer.set_times(d("d/canary"), crate::SetTimes::default()).is_err());
        for flags in [OpenFlags::empty(), OpenFlags::CREATE, OpenFlags::TRUNCATE] {
            assert!(open(layer, "d/canary", Access::ReadWrite, flags).is_err(), "{}", world.what);
            assert!(open(layer, "d/new", Access::ReadWrite, flags).is_err(), "{}", world.what);
        }
        assert!(layer.remove_dir(n("d")).is_err(), "{}", world.what);
        let _ = layer.create_whiteout(n("d"));
        let _ = layer.rename(n("d"), layer, n("moved"));
        check_outside(world, &outside, "d");
    });
}

/// A mark of what a link leads to says nothing about the node of that name.
#[test]
fn marks_are_not_read_through_a_link() {
    each_world(ALL, |world| {
        let outside = furnished(world);
        world.reopen();
        // The names are remembered, and the marks of their nodes are not.
        assert_eq!(says(&*world.layer, "f"), "node");
        let canary = fs::File::open(outside.join("canary")).unwrap();
        xattrs::set(canary.as_fd(), xattrs::ORIGIN, b"5:4321").unwrap();
        swap(world, "adopted", |at| symlink("../outside/canary", at).unwrap());
        assert_ne!(node(&*world.layer, "adopted").ino, 4321, "{}", world.what);
        assert!(list(&*world.layer).iter().all(|entry| entry.2 != 4321), "{}", world.what);
    });
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_neither_read_nor_written() {
    each_world(ALL, |world| {
        furnished(world);
        for name in ["f", "adopted"] {
            let fifo = world.upper.join(name);
            swap(world, name, |at| {
                rustix::fs::mkfifoat(CWD, at, Mode::from_raw_mode(0o600)).unwrap();
            });
            // A reader, so that the open of a writer succeeds at once.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let reader = rustix::fs::openat(CWD, &fifo, flags, Mode::empty()).unwrap();
            for access in [Access::Read, Access::Write, Access::ReadWrite] {
                let file = match open(&*world.layer, name, access, OpenFlags::empty()) {
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
