//! The laws of overlays, and faults, on our overlay: memory over memory.

use std::sync::Arc;

use palisade_props::faulty::{Faults, assert_survives, faulty_layer};
use palisade_props::hammer::{Blows, assert_withstands};
use palisade_props::overlay::{Holds, LowerTree, OverlaySubject, OverlayWorld};
use palisade_props::{Promises, cases, overlay_laws};
use palisade_vfs::overlay::{LayerRef, Lowers, Overlay};
use palisade_vfs::{DirRef, MemFs, Result};

/// Lowers with marks are frozen layers, and the others plain directories.
struct Memory;

fn lowers_of(literal: &[LowerTree]) -> Result<(Lowers, Vec<DirRef>)> {
    let (mut lowers, mut dirs) = (Lowers::builder(), Vec::new());
    for lower in literal {
        let memory = MemFs::new();
        if lower.has_marks() {
            let layer = memory.layer();
            lower.fill_layer(&layer)?;
            layer.freeze()?;
            lowers = lowers.layer(layer);
        } else {
            lower.fill(&memory.root())?;
            lowers = lowers.dir(memory.root());
        }
        dirs.push(memory.root());
    }
    Ok((lowers.build()?, dirs))
}

impl Memory {
    fn over(literal: &[LowerTree], wrap: &dyn Fn(LayerRef) -> LayerRef) -> Result<OverlayWorld> {
        let (lowers, dirs) = lowers_of(literal)?;
        let upper = MemFs::new();
        let overlay = Overlay::new(wrap(upper.layer()), &lowers)?;
        let world = OverlayWorld::new(overlay.root(), dirs).keeping(overlay);
        Ok(world.metered_by(move || upper.usage().bytes))
    }
}

impl OverlaySubject for Memory {
    fn name(&self) -> String {
        "overlay, memory over memory".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::all()
    }

    /// What a file of a lower says of its names counts those that a lower above hides, as its own
    /// lower does.
    fn holds(&self) -> Holds {
        Holds::all() - Holds::HIDDEN_LINKS
    }

    fn fresh(&self, lowers: &[LowerTree]) -> Result<OverlayWorld> {
        Memory::over(lowers, &|layer| layer)
    }

    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<OverlayWorld> {
        Memory::over(lowers, &|layer| faulty_layer(layer, faults))
    }
}

overlay_laws!(Memory);

/// Scripts that make an overlay copy up, hide and move in every way.
const STACKS: &[&str] = &[
    "mkdir a\nwrite a/f \"hello\"\nmkdir a/d\nwrite a/d/g \"deep\"\nwrite f \"x\"\nlink f h\n===\n\
     open a/f rdwr\nfwrite 0 \"J\" 0\nfappend 0 \"!\"\nfsetlen 0 3\nstat a/f\nwrite a/d/g \"new\"\n\
     link h a/h\nunlink f\nrename a b\nmkdir a\nutimes b/d 5.0 6.0\nrename b/d/g a/g\nrmdir b/d\n\
     symlink l -> a\nreaddir .\nreaddir b\nread a/g\nrename h b/f",
    // A file is emptied by the open, alone and with another name.
    "mkdir a\nwrite a/f \"hello\"\nwrite a/k \"linked\"\nlink a/k k\n===\n\
     open a/f write trunc\nopen k read trunc\nfstat 1\nopen a/n rdwr create excl trunc",
    // Whole directories move, merged and linked, onto others and back.
    "mkdir a\nwrite a/t \"top\"\nwhiteout a/x\nmkdir a/d\n---\n\
     mkdir a\nwrite a/f \"1\"\nlink a/f f\nwrite a/x \"\"\nmkdir a/d\nmkdir a/d/e\n\
     write a/d/e/g \"deep\"\nsymlink a/l -> f\nmkdir z\n===\n\
     rename a z\nread z/d/e/g\nrename z/d/e a\nmkdir b\nrename a b\nwrite z/f \"2\"\nread f\n\
     rename b z/d\nrename z a\nreaddir a/d",
    // Removal down to nothing, and everything made again.
    "mkdir a\nmkdir a/d\nwrite a/d/g \"\"\nsymlink a/l -> d\nwrite f \"x\"\n===\n\
     open a/d/g rdwr\nunlink a/d/g\nfwrite 0 \"still\" 0\nrmdir a/d\nunlink a/l\nrmdir a\nmkdir a\n\
     mkdir a/d\nwrite a/d/g \"again\"\nsymlink a/l -> g\nunlink f\nmkdir f\nrmdir f\n\
     write f \"y\"\n\
     fsetlen 0 2\nftimes 0 5.0 6.0\nfstat 0",
    // Times and names of what nothing else touches; readers that are open meanwhile.
    "mkdir a\nwrite a/f \"hello\"\nsymlink a/l -> f\nmkdir e\n===\n\
     open a/f read\nopen a hold\nlutimes a/l 5.0 6.0\nlutimes a/f keep 6.0\nutimes a 7.0 8.0\n\
     fread 0 9 0\nfstat 0\nlink a/l e/l\nlink a/f e/f\nutimes . 5.0 5.0\nrename 1:f 1:g\n\
     write 1:g \"new\"\nfread 0 9 0\nunlink e/f\nfstat 0\nrename a/l a/g\nfread 0 9 0",
];

#[test]
fn survives_every_fault_of_its_upper() {
    assert_survives(&Memory, STACKS);
}

#[test]
fn withstands_many_threads() {
    let rounds = usize::try_from(cases(40)).unwrap_or(40).min(2000);
    let literal = LowerTree::parse("mkdir a\nmkdir b\nwrite a/f \"x\"\nlink a/f f\nwrite b/f \"\"");
    let world = Memory.fresh(&[literal.unwrap_or_default()]);
    match world {
        Ok(world) => assert_withstands(&world.root, Blows { threads: 4, rounds }),
        Err(errno) => panic!("{errno}"),
    }
}
