//! The laws of overlays, and faults, on our overlay: memory over memory.

#[path = "common/stacks.rs"]
mod stacks;

use std::sync::Arc;

use palisade_props::faulty::{Faults, assert_survives, assert_survives_runs, faulty_upper};
use palisade_props::hammer::{Blows, assert_withstands};
use palisade_props::overlay::{Holds, LowerTree, OverlaySubject, OverlayWorld};
use palisade_props::{Promises, cases, overlay_laws};
use palisade_vfs::overlay::{Lowers, Overlay, UpperRef};
use palisade_vfs::{DirRef, MemFs, Result};

/// Lowers with marks are frozen layers, and the others plain directories.
struct Memory(Idle);

/// What becomes of directories without a handle between two operations.
#[derive(Clone, Copy)]
enum Idle {
    /// They stay open.
    Open,
    /// They are closed, and opened again when they are needed.
    Closed,
}

fn lowers_of(literal: &[LowerTree]) -> Result<(Lowers, Vec<DirRef>)> {
    let (mut lowers, mut dirs) = (Lowers::builder(), Vec::new());
    for lower in literal {
        let memory = MemFs::new();
        if lower.has_marks() {
            let layer = memory.upper();
            lower.fill_layer(&layer)?;
            layer.freeze()?;
            lowers = lowers.frozen_upper(layer);
        } else {
            lower.fill(&memory.root())?;
            lowers = lowers.dir(memory.root());
        }
        dirs.push(memory.root());
    }
    Ok((lowers.build()?, dirs))
}

impl Memory {
    fn over(
        &self,
        literal: &[LowerTree],
        wrap: &dyn Fn(UpperRef) -> UpperRef,
    ) -> Result<OverlayWorld> {
        let (lowers, dirs) = lowers_of(literal)?;
        let upper = MemFs::new();
        let overlay = Overlay::new(wrap(upper.upper()), &lowers)?;
        if let Idle::Closed = self.0 {
            overlay.set_idle_max(0);
        }
        let world = OverlayWorld::new(overlay.root(), dirs).keeping(overlay);
        Ok(world.metered_by(move || upper.usage().bytes))
    }
}

impl OverlaySubject for Memory {
    fn name(&self) -> String {
        match self.0 {
            Idle::Open => "overlay, memory over memory".to_owned(),
            Idle::Closed => "overlay that closes its directories".to_owned(),
        }
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
        self.over(lowers, &|layer| layer)
    }

    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<OverlayWorld> {
        self.over(lowers, &|layer| faulty_upper(layer, faults))
    }
}

overlay_laws!(Memory(Idle::Open));

mod closed {
    use super::{Idle, Memory, overlay_laws};

    overlay_laws!(Memory(Idle::Closed));
}

#[test]
fn survives_every_fault_of_its_upper() {
    for idle in [Idle::Open, Idle::Closed] {
        assert_survives(&Memory(idle), stacks::STACKS);
    }
}

#[test]
fn random_runs_survive_every_fault_of_the_upper() {
    for idle in [Idle::Open, Idle::Closed] {
        assert_survives_runs(&Memory(idle), cases(12));
    }
}

#[test]
fn withstands_many_threads() {
    let rounds = usize::try_from(cases(40)).unwrap_or(40).min(2000);
    let literal = LowerTree::parse("mkdir a\nmkdir b\nwrite a/f \"x\"\nlink a/f f\nwrite b/f \"\"");
    let literal = literal.unwrap_or_default();
    for idle in [Idle::Open, Idle::Closed] {
        match Memory(idle).fresh(std::slice::from_ref(&literal)) {
            Ok(world) => assert_withstands(&world.root, Blows { threads: 4, rounds }),
            Err(errno) => panic!("{errno}"),
        }
    }
}
