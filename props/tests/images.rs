//! The read-only part of the kit on embedded files and on images.

mod common;

use common::images;
use palisade_props::{Promises, Report, Subject, Tree, World, check};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{DirRef, MemFs, Result};

/// A tree that is read as it was packed.
struct Packed(&'static str, Promises, fn(&Tree) -> Result<DirRef>);

impl Subject for Packed {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn promises(&self) -> Promises {
        self.1
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        (self.2)(tree).map(World::new)
    }
}

fn run(subject: &Packed) -> Report {
    let report = check(subject);
    report.assert();
    report
}

#[test]
fn a_tar_archive_is_read_as_a_filesystem() {
    let promises = Promises::SYMLINK | Promises::LINK;
    assert!(run(&Packed("tar", promises, images::tar)).ran > 15);
}

#[test]
fn a_zip_archive_is_read_as_a_filesystem() {
    assert!(run(&Packed("zip", Promises::SYMLINK, images::zip)).ran > 12);
}

/// Embedded files, beneath a frozen layer with what such a tree cannot have.
fn embedded(tree: &Tree) -> Result<DirRef> {
    let lowers = Lowers::of(images::embedded(tree)?);
    let overlay = Overlay::new(MemFs::new().upper(), &lowers)?;
    images::what_embedded_lacks(tree).build(&*overlay.root())?;
    Ok(overlay.snapshot(MemFs::new().upper())?.root())
}

#[test]
fn embedded_files_and_what_lies_upon_them_are_read_as_a_filesystem() {
    let promises = Promises::SYMLINK | Promises::LINK;
    assert!(run(&Packed("embedded", promises, embedded)).ran > 15);
}
