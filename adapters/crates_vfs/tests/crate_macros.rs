//! The crate's own published tests, on Palisade trees.

// `useless_vec` is about what the crate's macros expand to.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::useless_vec)]

use std::cell::RefCell;
use std::io::IoSlice;

use palisade_crates_vfs::{PalisadeFs, mount};
use palisade_policy::read_only;
use palisade_vfs::{Access, DirRef, Follow, HostDir, MemFs, OpenFlags, OpenHow, path};
use tempfile::TempDir;

/// The tree that the crate's tests of what is only read expect, with links among it.
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
        /// The directories of the test that this thread runs.
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

/// Out, in, and out again: what the bridge itself adds breaks nothing.
mod there_and_back {
    use super::*;

    vfs::test_vfs!(PalisadeFs::new(mount(PalisadeFs::new(MemFs::new().root()))));
}

mod there_and_back_from_the_crate {
    use super::*;

    vfs::test_vfs!(PalisadeFs::new(mount(vfs::MemoryFS::new())));
}
