//! The kit on overlays whose changes are kept in a directory of the host, and on such a directory
//! without anything beneath it.

mod common;

use common::{TMPFS, scripts};
use palisade_props::{Promises, Subject, Tree, World, assert_scripts, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{DirRef, Errno, HostLayer, MemFs, Result};

/// The tree lies in memory, and writes go to a directory of the host.
struct OverMemory;

impl Subject for OverMemory {
    fn name(&self) -> String {
        "overlay, host directory over memory".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::USUAL
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let temp = tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)?;
        let layer = HostLayer::open_ambient(temp.path()).map_err(|_| Errno::Io)?;
        let bottom = MemFs::new().root();
        tree.build(&*bottom)?;
        let overlay = Overlay::new(layer, &Lowers::of(bottom))?;
        Ok(World::new(overlay.root()).keeping((temp, overlay)))
    }
}

/// The tree lies in the directory of the host.
struct Alone;

impl Subject for Alone {
    fn name(&self) -> String {
        "layer in a host directory".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::USUAL
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let temp = tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)?;
        let layer: DirRef = HostLayer::open_ambient(temp.path()).map_err(|_| Errno::Io)?;
        tree.build(&*layer)?;
        Ok(World::new(layer).keeping(temp))
    }
}

mod over_memory {
    use super::*;

    conformance!(OverMemory);

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&OverMemory, &scripts());
    }
}

mod alone {
    use super::*;

    conformance!(Alone);

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&Alone, &scripts());
    }
}
