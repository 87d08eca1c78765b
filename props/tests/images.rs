//! The read-only part of the kit on embedded files and on images.

mod common;

use common::images;
use palisade_props::{Capabilities, Report, Subject, TestFs, Tree, check};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{DirRef, MemFs, Result};

/// A subject on a packed, read-only tree.
struct Packed(&'static str, Capabilities, fn(&Tree) -> Result<DirRef>);

impl Subject for Packed {
    fn name(&self) -> String {
        self.0.to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.1
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        (self.2)(tree).map(TestFs::new)
    }
}

fn run(subject: &Packed) -> Report {
    let report = check(subject);
    report.assert();
    report
}

#[test]
fn tar_archive_passes_the_read_only_cases() {
    let capabilities = Capabilities::SYMLINK | Capabilities::LINK;
    assert!(run(&Packed("tar", capabilities, images::tar)).ran > 15);
}

#[test]
fn zip_archive_passes_the_read_only_cases() {
    assert!(run(&Packed("zip", Capabilities::SYMLINK, images::zip)).ran > 12);
}

/// Embeds the files of the tree, under a frozen upper with the nodes that cannot be embedded.
fn embedded(tree: &Tree) -> Result<DirRef> {
    let lowers = Lowers::of(images::embedded(tree)?);
    let overlay = Overlay::new(MemFs::new().upper(), &lowers)?;
    images::not_embeddable(tree).build(&*overlay.root())?;
    Ok(overlay.snapshot(MemFs::new().upper())?.root())
}

#[test]
fn embedded_files_under_an_overlay_pass_the_read_only_cases() {
    let capabilities = Capabilities::SYMLINK | Capabilities::LINK;
    assert!(run(&Packed("embedded", capabilities, embedded)).ran > 15);
}
