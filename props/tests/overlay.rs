//! The kit on overlays.

mod common;

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{MEMORY, scripts};
use palisade_props::{Subject, Tree, World, assert_model, assert_scripts, conformance};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, MemFs, Name, Node, OpenHow, Result, SetTimes, Stat,
    Stop,
};

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
        let lowers = lowers.dir(bottom).build()?;
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

/// An overlay that is frozen and stacked anew at every third call.
struct Stacking {
    overlay: Overlay,
    inner: DirRef,
    calls: Arc<AtomicU32>,
    snapshots: Arc<AtomicU32>,
}

impl Stacking {
    fn inner(&self) -> &dyn Dir {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            match self.overlay.snapshot(MemFs::new().layer()) {
                Ok(_) => drop(self.snapshots.fetch_add(1, Ordering::Relaxed)),
                Err(errno) => assert_eq!(errno, Errno::Txtbsy),
            }
        }
        &*self.inner
    }
}

fn unwrapped(dir: &dyn Dir) -> &dyn Dir {
    match (dir as &dyn Any).downcast_ref::<Stacking>() {
        Some(stacking) => &*stacking.inner,
        None => dir,
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Stacking {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        Ok(match self.inner().open(path, how)? {
            Node::File(file) => Node::File(file),
            Node::Dir(inner) => Node::Dir(Arc::new(Stacking {
                overlay: self.overlay.clone(),
                inner,
                calls: Arc::clone(&self.calls),
                snapshots: Arc::clone(&self.snapshots),
            })),
        })
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner().stat(path)
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner().read_link(name)
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner().read_dir(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner().create_dir(name)
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.inner().create_symlink(name, target)
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.inner().remove_file(name)
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.inner().remove_dir(name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner().rename(name, unwrapped(into), new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.inner().link(name, unwrapped(into), new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.inner().set_times(path, times)
    }

    fn sync(&self) -> Result<()> {
        self.inner().sync()
    }
}

/// Nobody below can tell how often the stack grew.
struct Stacked(Arc<AtomicU32>);

impl Subject for Stacked {
    fn name(&self) -> String {
        "overlay that grows by a layer again and again".to_owned()
    }

    fn promises(&self) -> palisade_props::Promises {
        MEMORY
    }

    fn fresh(&self, tree: &Tree) -> Result<World> {
        let bottom = MemFs::new().root();
        tree.build(&*bottom)?;
        let overlay = Overlay::new(MemFs::new().layer(), &Lowers::of(bottom))?;
        let (inner, snapshots) = (overlay.root(), Arc::clone(&self.0));
        Ok(World::new(Arc::new(Stacking { overlay, inner, calls: Arc::default(), snapshots })))
    }
}

#[test]
fn snapshots_are_not_seen_from_within() {
    let count = Arc::new(AtomicU32::new(0));
    let stacked = Stacked(Arc::clone(&count));
    assert_model(&stacked);
    assert_scripts(&stacked, &scripts());
    assert!(count.load(Ordering::Relaxed) > 100, "there were hardly any snapshots");
}
