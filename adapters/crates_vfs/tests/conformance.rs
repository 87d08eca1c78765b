//! Runs Palisade's conformance kit on mounted filesystems of the crate.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use palisade_crates_vfs::{PalisadeFs, mount, mount_at};
use palisade_props::{
    Capabilities, Subject, SubjectFn, TestFs, ambient, assert_model, assert_scripts, conformance,
};
use palisade_vfs::{Errno, MemFs, Result};
use vfs::{MemoryFS, PhysicalFS, VfsPath};

/// All capabilities, except links, which the crate does not have, and sizes that exceed a buffer.
const KEPT: Capabilities =
    Capabilities::WRITE.union(Capabilities::TIMES).union(Capabilities::ALLOCATE);

/// Scripts without links; most scripts of the kit need a tree with links.
fn scripts() -> Vec<(String, String)> {
    vec![("without_links".to_owned(), include_str!("scripts/without_links.txt").to_owned())]
}

fn there_and_back() -> impl Subject {
    SubjectFn::new("memory, out and in again", KEPT, || {
        let inner = MemFs::new().root();
        let dir = mount(PalisadeFs::new(inner));
        Ok(TestFs::new(dir))
    })
}

fn memory_of_the_crate() -> impl Subject {
    SubjectFn::new("the crate's memory", KEPT, || Ok(TestFs::new(mount(MemoryFS::new()))))
}

fn beneath_a_path() -> impl Subject {
    SubjectFn::new("a path in the crate's memory", KEPT, || {
        let path = VfsPath::new(MemoryFS::new()).join("in/here").map_err(|_| Errno::Io)?;
        path.create_dir_all().map_err(|_| Errno::Io)?;
        Ok(TestFs::new(mount_at(path)))
    })
}

fn physical() -> impl Subject {
    fn fresh() -> Result<TestFs> {
        let temp = tempfile::tempdir_in("/dev/shm").map_err(|_| Errno::Io)?;
        Ok(TestFs::new(mount(PhysicalFS::new(temp.path()))).keeping(temp))
    }
    SubjectFn::new("a directory of the host through the crate", KEPT, fresh)
}

mod out_and_in {
    use super::*;

    conformance!(there_and_back());

    #[test]
    fn scripts_without_links() {
        assert_scripts(&there_and_back(), &scripts());
    }
}

mod crate_memory {
    use super::*;

    conformance!(memory_of_the_crate());

    #[test]
    fn scripts_without_links() {
        assert_scripts(&memory_of_the_crate(), &scripts());
    }
}

mod crate_path {
    use super::*;

    /// The groups of cases are those of the crate's in-memory filesystem, which this one wraps.
    #[test]
    fn behaves_as_the_model() {
        assert_model(&beneath_a_path());
    }

    #[test]
    fn scripts_without_links() {
        assert_scripts(&beneath_a_path(), &scripts());
    }
}

mod crate_physical {
    use super::*;

    conformance!(physical());

    #[test]
    fn scripts_without_links() {
        assert_scripts(&physical(), &scripts());
    }
}

/// After all handles are closed, the mount and the host have the same files.
#[test]
fn closed_files_are_in_the_host_filesystem() {
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = mount(PhysicalFS::new(temp.path()));
    let mut live = palisade_props::Live::new(dir.clone());
    for line in ["mkdir d", "write d/f \"hello\"", "rename d e", "open e/f write"] {
        palisade_props::Run::run(&mut live, &palisade_props::Op::parse(line).unwrap());
    }
    for line in ["fwrite 0 \"J\" 0", "fappend 0 \"!\"", "close 0"] {
        palisade_props::Run::run(&mut live, &palisade_props::Op::parse(line).unwrap());
    }
    assert_eq!(std::fs::read(temp.path().join("e/f")).unwrap(), b"Jello!");
    let there = ambient::tree(temp.path()).unwrap();
    assert_eq!(there, palisade_props::Tree::snapshot(&*dir).unwrap());
}
