//! The kit on overlays.

mod common;

use common::{MEMORY, scripts};
use palisade_props::{Subject, Tree, World, assert_scripts, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{MemFs, Result};

/// The tree lies in this many lowers, the last of which has it all; writes go to memory.
struct OverMemory {
    lowers: usize,
}

impl Subject for OverMemory {
    fn name(&self) -> String {
        format!("overlay, memory over {} of memory", self.lowers)
    }

    fn promises(&self) -> palisade_props::Promises {
        MEMORY
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let bottom = MemFs::new().root();
        tree.build(&*bottom)?;
        let mut lowers = Lowers::builder();
        for _ in 1..self.lowers {
            lowers = lowers.dir(MemFs::new().root());
        }
        let lowers = lowers.dir(bottom).build();
        let overlay = Overlay::new(MemFs::new().layer(), &lowers)?;
        Ok(World::new(overlay.root()))
    }
}

mod over_one {
    use super::*;

    conformance!(OverMemory { lowers: 1 });

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&OverMemory { lowers: 1 }, &scripts());
    }
}

mod over_three {
    use super::*;

    conformance!(OverMemory { lowers: 3 });
}
