//! The laws of overlays and fault injection on a memory overlay over memory lowers.

#[path = "common/stacks.rs"]
mod stacks;

use std::sync::Arc;

use palisade_props::faulty::{
    Faults, assert_fault_tolerant, assert_fault_tolerant_runs, faulty_upper,
};
use palisade_props::hammer::{HammerLoad, assert_consistent_under_load};
use palisade_props::overlay::{Holds, LowerTree, OverlaySubject, TestOverlay};
use palisade_props::{Capabilities, cases, overlay_laws};
use palisade_vfs::overlay::{Lowers, Overlay, UpperRef};
use palisade_vfs::{DirRef, MemFs, Result};

/// A subject whose lowers with whiteouts are frozen uppers and whose other lowers are directories.
struct Memory(Idle);

/// The treatment of idle directories between two operations.
#[derive(Clone, Copy)]
enum Idle {
    /// They stay open.
    Open,
    /// They are closed and reopened on demand.
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
    ) -> Result<TestOverlay> {
        let (lowers, dirs) = lowers_of(literal)?;
        let upper = MemFs::new();
        let overlay = Overlay::new(wrap(upper.upper()), &lowers)?;
        if let Idle::Closed = self.0 {
            overlay.set_idle_max(0);
        }
        let world = TestOverlay::new(overlay.root(), dirs).keeping(overlay);
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

    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    /// The link count of a lower file includes names that an upper lower hides, as in the lower.
    fn holds(&self) -> Holds {
        Holds::all() - Holds::HIDDEN_LINKS
    }

    fn fresh(&self, lowers: &[LowerTree]) -> Result<TestOverlay> {
        self.over(lowers, &|layer| layer)
    }

    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<TestOverlay> {
        self.over(lowers, &|layer| faulty_upper(layer, faults))
    }
}

overlay_laws!(Memory(Idle::Open));

mod closed {
    use super::{Idle, Memory, overlay_laws};

    overlay_laws!(Memory(Idle::Closed));
}

#[test]
fn tolerates_faults_of_its_upper() {
    for idle in [Idle::Open, Idle::Closed] {
        assert_fault_tolerant(&Memory(idle), stacks::STACKS);
    }
}

#[test]
fn random_runs_tolerate_faults_of_the_upper() {
    for idle in [Idle::Open, Idle::Closed] {
        assert_fault_tolerant_runs(&Memory(idle), cases(12));
    }
}

#[test]
fn is_consistent_after_concurrent_operations() {
    let rounds = usize::try_from(cases(40)).unwrap_or(40).min(2000);
    let literal = LowerTree::parse("mkdir a\nmkdir b\nwrite a/f \"x\"\nlink a/f f\nwrite b/f \"\"");
    let literal = literal.unwrap_or_default();
    for idle in [Idle::Open, Idle::Closed] {
        match Memory(idle).fresh(std::slice::from_ref(&literal)) {
            Ok(world) => {
                assert_consistent_under_load(&world.root, HammerLoad { threads: 4, rounds })
            }
            Err(errno) => panic!("{errno}"),
        }
    }
}
