//! Descriptor leaks of host directories. A test binary of its own, so that descriptors can be
//! counted.
// The test counts the descriptors of the process itself.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]
#![cfg(all(feature = "host", target_os = "linux"))]

use std::ops::ControlFlow;

use palisade_vfs::walk::Follow;
use palisade_vfs::{
    Access, Cookie, Descent, HostDir, OpenFlags, OpenHow, Resolver, SetTimes, path,
};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn operations_leak_no_descriptors() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    std::fs::create_dir_all(root.join("a/b/c")).unwrap();
    for at in ["f", "a/f", "a/b/c/f"] {
        std::fs::write(root.join(at), "x").unwrap();
    }
    std::os::unix::fs::symlink("a/b", root.join("link")).unwrap();
    std::os::unix::fs::symlink("/", root.join("a/out")).unwrap();
    let at = root.join("a/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &at, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let start = descriptors();
    for resolver in [Resolver::Auto, Resolver::Openat2, Resolver::Components] {
        let dir = HostDir::open_ambient_with(root, resolver).unwrap();
        let with_root = descriptors();
        assert_eq!(with_root, start + 1, "{resolver:?}");
        for at in ["f", "a/f", "a/b/c/f", "a/b", "link/c/f", "a/out/etc", "a/fifo", "no", "f/x"] {
            for access in Access::ALL {
                for bits in 0..16 {
                    let how = OpenHow::new(access, OpenFlags::from_bits(bits).unwrap());
                    let _ = path::open(&*dir, at, Follow::Yes, how);
                }
            }
            let _ = path::stat(&*dir, at, Follow::Yes);
            let _ = path::set_times(&*dir, at, Follow::Yes, SetTimes::default());
            let _ = path::create_symlink(&*dir, "x", at);
            let _ = path::remove_file(&*dir, at);
        }
        assert_eq!(descriptors(), with_root, "{resolver:?}");
        // The directory stream stays open as long as its directory handle.
        for _ in 0..3 {
            dir.read_dir(Cookie::START, &mut |_| ControlFlow::Continue(())).unwrap();
            dir.sync().unwrap();
        }
        assert_eq!(descriptors(), with_root + 1, "{resolver:?}");
        let again = dir.open(Descent::HERE, OpenHow::HOLD_DIR).ok().unwrap();
        assert_eq!(descriptors(), with_root + 2, "{resolver:?}");
        drop((again, dir));
        assert_eq!(descriptors(), start, "{resolver:?}");
    }
}
