//! Lifetimes and identities of overlays: which lowers an overlay keeps alive, and device numbers.

#![cfg(all(feature = "mem", feature = "overlay"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Errno, Follow, MemFs, OpenFlags, OpenHow, SetTime,
    SetTimes, Timestamp, path,
};

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

/// Reads the whole tree and changes something.
fn use_it(overlay: &Overlay) {
    let root = overlay.root();
    let write = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
    path::open(&*root, "a/f", Follow::Yes, OpenHow::READ).unwrap();
    path::open(&*root, "a/b/c/f", Follow::Yes, OpenHow::READ).unwrap();
    path::open(&*root, "a/b/f", Follow::Yes, write).unwrap();
    path::rename(&*root, "a/b/c", &*root, "a/moved").unwrap();
}

#[test]
fn dropped_overlay_releases_its_lowers() {
    let (top, bottom) = (lower(), lower());
    {
        let lowers = Lowers::builder().dir(Arc::clone(&top)).dir(Arc::clone(&bottom)).build();
        let lowers = lowers.unwrap();
        let overlay = Overlay::new(MemFs::new().upper(), &lowers).unwrap();
        use_it(&overlay);
        let snapshot = overlay.snapshot(MemFs::new().upper()).unwrap();
        path::stat(&*overlay.root(), "a/moved/f", Follow::Yes).unwrap();
        overlay.restore(&lowers, MemFs::new().upper()).unwrap();
        use_it(&overlay);
        let fork = overlay.fork(MemFs::new().upper(), MemFs::new().upper()).unwrap();
        path::stat(&*fork.root(), "a/moved/f", Follow::Yes).unwrap();
        path::stat(&*snapshot.root(), "a/moved/f", Follow::Yes).unwrap();
        assert!(Arc::strong_count(&top) > 1 && Arc::strong_count(&bottom) > 1);
    }
    assert_eq!((Arc::strong_count(&top), Arc::strong_count(&bottom)), (1, 1));
}

#[test]
fn failed_snapshot_leaves_the_overlay_writable() {
    let lowers = Lowers::of(lower());
    let overlay = Overlay::new(MemFs::new().upper(), &lowers).unwrap();
    let frozen = || {
        let layer = MemFs::new().upper();
        layer.freeze().unwrap();
        layer
    };
    assert_eq!(overlay.snapshot(frozen()).err(), Some(Errno::Rofs));
    use_it(&overlay);
    assert_eq!(overlay.restore(&lowers, frozen()).err(), Some(Errno::Rofs));
    path::stat(&*overlay.root(), "a/moved/f", Follow::Yes).unwrap();
    assert_eq!(overlay.fork(MemFs::new().upper(), frozen()).err(), Some(Errno::Rofs));
    assert_eq!(overlay.fork(frozen(), MemFs::new().upper()).err(), Some(Errno::Rofs));
    path::create_dir(&*overlay.root(), "a/new").unwrap();
}

/// Collects the device and inode numbers of all nodes of a tree, where each node has one name, as
/// `stat` and listings return them.
fn identities(dir: &dyn Dir, found: &mut Vec<(u64, u64)>) {
    let here = dir.stat(Descent::HERE).unwrap();
    found.push((here.dev, here.ino));
    let mut names = Vec::new();
    dir.read_dir(Cookie::START, &mut |entry| {
        names.push((entry.name.as_str().to_owned(), entry.ino));
        ControlFlow::Continue(())
    })
    .unwrap();
    for (name, ino) in names {
        let at = Descent::new(&name).unwrap();
        let stat = dir.stat(at).unwrap();
        assert_eq!(stat.ino, ino, "{name}");
        match dir.open(at, OpenHow::HOLD_DIR) {
            Ok(node) => identities(&*node.into_dir().unwrap(), found),
            Err(_) => found.push((stat.dev, stat.ino)),
        }
    }
}

fn add(root: &DirRef, name: &str) {
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    path::create_dir(&**root, &format!("a/{name}")).unwrap();
    path::open(&**root, &format!("a/{name}/f"), Follow::Yes, create).unwrap();
    path::open(&**root, &format!("a/b/{name}"), Follow::Yes, create).unwrap();
    path::create_symlink(&**root, "a", name).unwrap();
}

// Programs take a directory with another device number than its parent's for a mount point.
#[test]
fn new_nodes_have_the_device_number_of_the_merged_tree() {
    let bottom = lower();
    let dev = bottom.stat(Descent::HERE).unwrap().dev;
    let lowers = Lowers::builder().dir(bottom).build().unwrap();
    let overlay = Overlay::new(MemFs::new().upper(), &lowers).unwrap();
    use_it(&overlay);
    add(&overlay.root(), "new");
    let snapshot = overlay.snapshot(MemFs::new().upper()).unwrap();
    add(&overlay.root(), "newer");
    let fork = overlay.fork(MemFs::new().upper(), MemFs::new().upper()).unwrap();
    add(&fork.root(), "newest");
    for (root, new_nodes) in [(overlay.root(), 8), (fork.root(), 12)] {
        let mut found = Vec::new();
        identities(&*root, &mut found);
        assert!(found.iter().all(|id| id.0 == dev), "{dev} {found:?}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "{found:?}");
        assert_eq!(found.len(), 7 + new_nodes);
    }
    overlay.restore(&snapshot, MemFs::new().upper()).unwrap();
    add(&overlay.root(), "other");
    let mut found = Vec::new();
    identities(&*overlay.root(), &mut found);
    assert!(found.iter().all(|id| id.0 == dev), "{dev} {found:?}");
    assert_eq!(found.len(), 7 + 8);
}

#[test]
fn set_times_on_a_removed_lower_file_with_an_outside_link() {
    for replaced in [false, true] {
        let whole = lower();
        path::link(&*whole, "a/f", &*whole, "outside").unwrap();
        let part = path::open(&*whole, "a", Follow::Yes, OpenHow::HOLD_DIR).unwrap();
        let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(part.into_dir().unwrap()));
        let root = overlay.unwrap().root();
        let held = path::open(&*root, "f", Follow::Yes, OpenHow::READ).unwrap();
        let held = held.into_file().unwrap();
        path::remove_file(&*root, "f").unwrap();
        if replaced {
            let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
            path::open(&*root, "f", Follow::Yes, create).unwrap();
        }
        let before = path::stat(&*root, "f", Follow::Yes);
        let time = SetTime::At(Timestamp::from_nanos(7));
        held.set_times(SetTimes { accessed: time, modified: time }).unwrap();
        assert_eq!(held.stat().unwrap().modified, Timestamp::from_nanos(7), "{replaced}");
        assert_eq!(path::stat(&*root, "f", Follow::Yes), before, "{replaced}");
    }
}
