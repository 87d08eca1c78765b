//! A directory that replaces a lower's directory is opaque.

#![cfg(all(feature = "mem", feature = "overlay"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay, UpperRef};
use palisade_vfs::{Access, Cookie, DirRef, Errno, Follow, MemFs, OpenFlags, OpenHow, path};

/// Creates a tree of nested directories.
fn lower() -> DirRef {
    let root = MemFs::new().root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for dir in ["a", "a/b", "a/b/c"] {
        path::create_dir(&*root, dir).unwrap();
        path::open(&*root, &format!("{dir}/f"), Follow::Yes, create).unwrap();
    }
    root
}

fn names(dir: &DirRef, at: &str) -> Vec<String> {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let listed = path::open(&**dir, at, Follow::No, how).unwrap().into_dir().unwrap();
    let mut names = Vec::new();
    listed
        .read_dir(Cookie::START, &mut |entry| {
            names.push(entry.name.as_str().to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    names.sort();
    names
}

/// Replaces `a/b` of the lower by a directory: by one that was renamed, or by a new one that is
/// then filled. The upper alone must hide the entries of the lower.
fn replace_lower_directory(upper: &UpperRef, how: &str) {
    let lowers = Lowers::of(lower());
    let overlay = Overlay::new(Arc::clone(upper), &lowers).unwrap();
    let root = &*overlay.root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let empty = |at: &str| {
        path::remove_file(root, &format!("{at}/f")).unwrap();
    };
    empty("a/b/c");
    path::remove_dir(root, "a/b/c").unwrap();
    empty("a/b");
    match how {
        "renamed over it" => {
            path::create_dir(root, "a/new").unwrap();
            path::open(root, "a/new/own", Follow::Yes, create).unwrap();
            path::rename(root, "a/new", root, "a/b").unwrap();
        }
        "renamed to its whiteout" => {
            path::remove_dir(root, "a/b").unwrap();
            path::create_dir(root, "new").unwrap();
            path::open(root, "new/own", Follow::Yes, create).unwrap();
            path::rename(root, "new", root, "a/b").unwrap();
        }
        "made there" => {
            path::remove_dir(root, "a/b").unwrap();
            path::create_dir(root, "a/b").unwrap();
            path::open(root, "a/b/own", Follow::Yes, create).unwrap();
        }
        other => panic!("{other}"),
    }
    assert_eq!(names(&overlay.root(), "a/b"), ["own"], "{how}");
}

fn check_replaced(fresh: impl Fn() -> UpperRef) {
    for how in ["renamed over it", "renamed to its whiteout", "made there"] {
        let upper = fresh();
        replace_lower_directory(&upper, how);
        // A new overlay has no cache, so it reads the upper.
        let again = Overlay::new(upper, &Lowers::of(lower())).unwrap().root();
        assert_eq!(names(&again, "a/b"), ["own"], "{how}");
        assert_eq!(names(&again, "a"), ["b", "f"], "{how}");
        for at in ["a/b/f", "a/b/c", "a/b/c/f"] {
            assert_eq!(path::stat(&*again, at, Follow::Yes), Err(Errno::Noent), "{how}: {at}");
        }
    }
}

#[test]
fn directory_replacing_a_lower_directory_is_opaque() {
    check_replaced(|| MemFs::new().upper());
}

#[cfg(all(feature = "host", target_os = "linux"))]
#[test]
fn directory_replacing_a_lower_directory_is_opaque_on_disk() {
    let temps = std::cell::RefCell::new(Vec::new());
    check_replaced(|| {
        let temp = tempfile::tempdir().unwrap();
        let layer = palisade_vfs::HostUpper::open_ambient(temp.path()).unwrap();
        temps.borrow_mut().push(temp);
        layer
    });
}
