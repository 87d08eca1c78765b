//! The kit on overlays.

mod common;

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{MEMORY, TMPFS, scripts};
use palisade_policy::{Policy, Refusal, confine};
use palisade_props::{
    Capabilities, Leaf, Subject, TestFs, Tree, assert_model, assert_scripts, conformance,
};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, Follow, HostDir, MemFs, Mounts, Name, Node,
    OpenHow, Result, Rights, SetTimes, Stat, Stop, path,
};

/// The lowers, which contain the tree.
#[derive(Clone, Copy)]
enum LowerKind {
    /// This number of memory lowers, of which the last contains the whole tree.
    Memory(usize),
    /// A directory of the host.
    Host,
    /// Embedded files; nodes that cannot be embedded are created through the overlay.
    Embedded,
    /// A tar archive.
    Image,
    /// Another overlay, with a part of the tree in its upper.
    Overlay,
}

/// The layer over the overlay.
#[derive(Clone, Copy)]
enum Through {
    Itself,
    /// A policy that grants everything.
    Policy,
    /// A mount.
    Mount,
}

/// An overlay with a memory upper.
struct Over(LowerKind, Through);

impl Over {
    fn lowers(&self, tree: &Tree) -> Result<(Lowers, Option<tempfile::TempDir>)> {
        let memory = |tree: &Tree| {
            let root = MemFs::new().root();
            tree.build(&*root).map(|()| root)
        };
        let lower = match self.0 {
            LowerKind::Memory(count) => {
                let mut lowers = Lowers::builder();
                for _ in 1..count {
                    lowers = lowers.dir(MemFs::new().root());
                }
                return Ok((lowers.dir(memory(tree)?).build()?, None));
            }
            LowerKind::Host => {
                let temp = tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)?;
                let root = HostDir::open_ambient(temp.path()).map_err(|_| Errno::Io)?;
                tree.build(&*root)?;
                return Ok((Lowers::of(root), Some(temp)));
            }
            LowerKind::Embedded => common::images::embedded(tree)?,
            LowerKind::Image => common::images::tar(tree)?,
            LowerKind::Overlay => {
                let lower = Overlay::new(MemFs::new().upper(), &Lowers::of(memory(tree)?))?.root();
                // A part of the tree is in the inner upper.
                for (path, leaf) in tree.iter() {
                    if matches!(leaf, Leaf::File(_)) {
                        path::set_times(&*lower, path, Follow::No, SetTimes::default())?;
                    }
                }
                lower
            }
        };
        Ok((Lowers::of(lower), None))
    }
}

impl Subject for Over {
    fn name(&self) -> String {
        let lowers = match self.0 {
            LowerKind::Memory(count) => format!("{count} of memory"),
            LowerKind::Host => "a directory of the host".to_owned(),
            LowerKind::Embedded => "embedded files".to_owned(),
            LowerKind::Image => "an image".to_owned(),
            LowerKind::Overlay => "an overlay".to_owned(),
        };
        let through = match self.1 {
            Through::Itself => "",
            Through::Policy => ", guarded",
            Through::Mount => ", through a mount",
        };
        format!("overlay, memory over {lowers}{through}")
    }

    fn capabilities(&self) -> Capabilities {
        match self.0 {
            // Nodes of the host have only the metadata that the host stores.
            LowerKind::Host => Capabilities::USUAL,
            _ => MEMORY,
        }
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        let (lowers, temp) = self.lowers(tree)?;
        let root = Overlay::new(MemFs::new().upper(), &lowers)?.root();
        if let LowerKind::Embedded = self.0 {
            common::images::not_embeddable(tree).build(&*root)?;
        }
        let root = match self.1 {
            Through::Itself => root,
            Through::Policy => {
                confine(root, Arc::new(Policy::uniform(Rights::all(), Refusal::Denied)))
            }
            Through::Mount => {
                let mounts = Mounts::builder(MemFs::new().root()).mount("x/y", root)?.build();
                let how = OpenHow::HOLD_DIR;
                path::open(&*mounts, "x/y", Follow::Yes, how)?.into_dir()?
            }
        };
        Ok(TestFs::new(root).keeping(temp))
    }
}

macro_rules! stacks {
    ($($module:ident $lowers:expr, $through:ident;)*) => {$(
        mod $module {
            use super::*;

            conformance!(Over($lowers, Through::$through));

            #[test]
            fn regression_scripts_pass() {
                assert_scripts(&Over($lowers, Through::$through), &scripts());
            }
        }
    )*};
}

stacks! {
    over_memory LowerKind::Memory(1), Itself;
    over_three_of_memory LowerKind::Memory(3), Itself;
    over_64_of_memory LowerKind::Memory(64), Itself;
    over_the_host LowerKind::Host, Itself;
    over_embedded_files LowerKind::Embedded, Itself;
    over_an_image LowerKind::Image, Itself;
    over_an_overlay LowerKind::Overlay, Itself;
    over_memory_guarded LowerKind::Memory(2), Policy;
    over_the_host_guarded LowerKind::Host, Policy;
    over_embedded_files_guarded LowerKind::Embedded, Policy;
    over_an_image_guarded LowerKind::Image, Policy;
    over_an_overlay_guarded LowerKind::Overlay, Policy;
    over_an_image_mounted LowerKind::Image, Mount;
    over_an_overlay_mounted LowerKind::Overlay, Mount;
    over_memory_mounted LowerKind::Memory(2), Mount;
    over_the_host_mounted LowerKind::Host, Mount;
    over_embedded_files_mounted LowerKind::Embedded, Mount;
}

/// An overlay that takes a snapshot at every third call.
struct Stacking {
    overlay: Overlay,
    inner: DirRef,
    calls: Arc<AtomicU32>,
    snapshots: Arc<AtomicU32>,
}

impl Stacking {
    fn inner(&self) -> &dyn Dir {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            match self.overlay.snapshot(MemFs::new().upper()) {
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

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner().stat_following(path)
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

    fn may_block(&self) -> bool {
        self.inner().may_block()
    }

    fn epoch(&self) -> u64 {
        self.inner().epoch()
    }
}

/// Snapshots during a run are not observable.
struct Stacked(Arc<AtomicU32>);

impl Subject for Stacked {
    fn name(&self) -> String {
        "overlay that grows by a layer again and again".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        MEMORY
    }

    fn fresh(&self, tree: &Tree) -> Result<TestFs> {
        let bottom = MemFs::new().root();
        tree.build(&*bottom)?;
        let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(bottom))?;
        let (inner, snapshots) = (overlay.root(), Arc::clone(&self.0));
        Ok(TestFs::new(Arc::new(Stacking { overlay, inner, calls: Arc::default(), snapshots })))
    }
}

#[test]
fn snapshots_are_not_observable() {
    let count = Arc::new(AtomicU32::new(0));
    let stacked = Stacked(Arc::clone(&count));
    assert_model(&stacked);
    assert_scripts(&stacked, &scripts());
    assert!(count.load(Ordering::Relaxed) > 100, "there were hardly any snapshots");
}
