//! What an overlay holds, and for how long.

#![cfg(all(feature = "mem", feature = "overlay"))]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{Access, DirRef, Follow, MemFs, OpenFlags, OpenHow, path};

/// A tree with directories in directories.
fn lower() -> DirRef {
    let root = MemFs::new().root();
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    for dir in ["a", "a/b", "a/b/c"] {
        path::create_dir(&*root, dir).unwrap();
        path::open(&*root, &format!("{dir}/f"), Follow::Yes, create).unwrap();
    }
    root
}

/// Goes everywhere, and changes something.
fn use_it(overlay: &Overlay) {
    let root = overlay.root();
    let write = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
    path::open(&*root, "a/f", Follow::Yes, OpenHow::READ).unwrap();
    path::open(&*root, "a/b/c/f", Follow::Yes, OpenHow::READ).unwrap();
    path::open(&*root, "a/b/f", Follow::Yes, write).unwrap();
    path::rename(&*root, "a/b/c", &*root, "a/moved").unwrap();
}

#[test]
fn an_overlay_that_is_gone_holds_none_of_its_lowers() {
    let (top, bottom) = (lower(), lower());
    {
        let lowers = Lowers::builder().dir(Arc::clone(&top)).dir(Arc::clone(&bottom)).build();
        let lowers = lowers.unwrap();
        let overlay = Overlay::new(MemFs::new().layer(), &lowers).unwrap();
        use_it(&overlay);
        let snapshot = overlay.snapshot(MemFs::new().layer()).unwrap();
        path::stat(&*overlay.root(), "a/moved/f", Follow::Yes).unwrap();
        overlay.restore(&lowers, MemFs::new().layer()).unwrap();
        use_it(&overlay);
        let fork = overlay.fork(MemFs::new().layer(), MemFs::new().layer()).unwrap();
        path::stat(&*fork.root(), "a/moved/f", Follow::Yes).unwrap();
        path::stat(&*snapshot.root(), "a/moved/f", Follow::Yes).unwrap();
        assert!(Arc::strong_count(&top) > 1 && Arc::strong_count(&bottom) > 1);
    }
    assert_eq!((Arc::strong_count(&top), Arc::strong_count(&bottom)), (1, 1));
}
