//! Runs the test macros of the crate on Palisade directories.

// The expansion of the crate's macros triggers `useless_vec`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::useless_vec)]

use std::cell::RefCell;
use std::io::IoSlice;

use palisade_crates_vfs::{PalisadeFs, mount};
use palisade_policy::read_only;
use palisade_vfs::{Access, DirRef, Follow, HostDir, MemFs, OpenFlags, OpenHow, path};
use tempfile::TempDir;

/// Creates the tree that the read-only tests of the crate expect, with links in it.
fn filled() -> DirRef {
    let root = MemFs::new().root();
    for dir in ["a", "a/x", "a/x/y", "c", "a.txt.dir"] {
        path::create_dir(&*root, dir).unwrap();
    }
    let files = ["a.txt", "b.txt", "a/d.txt", "a/x/y/z", "c/e.txt", "a.txt.dir/g.txt"];
    for file in files {
        let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let file = path::open(&*root, file, Follow::No, how).unwrap().into_file().unwrap();
        file.write_at(&[IoSlice::new(b"a")], 0).unwrap();
    }
    root
}

mod memory {
    use super::*;

    vfs::test_vfs!(PalisadeFs::new(MemFs::new().root()));
}

mod host {
    use super::*;

    thread_local! {
        /// The temporary directories of this thread's test.
        static KEPT: RefCell<Vec<TempDir>> = const { RefCell::new(Vec::new()) };
    }

    vfs::test_vfs!({
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = HostDir::open_ambient(temp.path()).unwrap();
        KEPT.with_borrow_mut(|kept| kept.push(temp));
        PalisadeFs::new(dir)
    });
}

mod read_only_memory {
    use super::*;

    vfs::test_vfs_readonly!(PalisadeFs::new(read_only(filled())));
}

/// Exports a directory, mounts it, and exports the mount.
mod there_and_back {
    use super::*;

    vfs::test_vfs!(PalisadeFs::new(mount(PalisadeFs::new(MemFs::new().root()))));
}

mod there_and_back_from_the_crate {
    use super::*;

    vfs::test_vfs!(PalisadeFs::new(mount(vfs::MemoryFS::new())));
}
