//! The stacks: a back end with a seeded tree, and the layers that confine it.

use std::any::Any;
use std::sync::Arc;

use palisade_policy::{Live, Policy, confine, confine_at, confine_live};
use palisade_props::widening::{DIRS, RightsAt, Stack, seed};
use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    DirRef, Errno, Follow, HostDir, HostUpper, MemFs, Mounts, OpenHow, Result, path,
};
use tempfile::TempDir;

use crate::broken::{Broken, Bug};
use crate::common::TMPFS;

/// The kind of the back end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Memory,
    /// Memory with another memory mounted at `m`.
    Mounts,
    /// An overlay of memory over memory.
    MemoryOverlay,
    Host,
    /// An overlay of a host directory over another one.
    HostOverlay,
}

/// How the policy is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    Once,
    Twice,
    /// Each directory of the root is confined at its own path, and mounted.
    Parts,
    /// The root and some directories under it are confined, each as a preopen.
    Preopens,
    /// Once, and narrowed in the middle of a sequence.
    Narrowed,
    /// As preopens, and narrowed in the middle of a sequence.
    NarrowedPreopens,
    /// Once, by a layer with a bug.
    Broken(Bug),
}

impl Confinement {
    pub(crate) fn is_narrowed(self) -> bool {
        matches!(self, Confinement::Narrowed | Confinement::NarrowedPreopens)
    }
}

/// The resources of a back end that all sequences of a worker share.
pub(crate) enum Fixture {
    Memory,
    Mounts,
    /// The lower of the overlays: they never change it.
    MemoryOverlay(Lowers),
    Host,
    /// The same, and the directory of the lower.
    HostOverlay(Lowers, #[expect(dead_code, reason = "removed when it is dropped")] TempDir),
}

/// A back end with a seeded tree, and the resources that must live as long.
pub(crate) type SeededTree = (DirRef, Box<dyn Any>);

fn io<T>(result: std::io::Result<T>) -> Result<T> {
    result.map_err(|_| Errno::Io)
}

fn temp() -> Result<TempDir> {
    io(tempfile::tempdir_in(TMPFS))
}

fn seeded(root: DirRef) -> Result<DirRef> {
    DIRS.iter().try_for_each(|at| path::create_dir(&*root, at))?;
    seed(&root)?;
    Ok(root)
}

impl Fixture {
    pub(crate) fn new(backend: Backend) -> Result<Self> {
        Ok(match backend {
            Backend::Memory => Fixture::Memory,
            Backend::Mounts => Fixture::Mounts,
            Backend::MemoryOverlay => {
                Fixture::MemoryOverlay(Lowers::of(seeded(MemFs::new().root())?))
            }
            Backend::Host => Fixture::Host,
            Backend::HostOverlay => {
                let lower = temp()?;
                seeded(io(HostDir::open_ambient(lower.path()))?)?;
                let lowers = Lowers::of(io(HostDir::open_ambient_noatime(lower.path()))?);
                Fixture::HostOverlay(lowers, lower)
            }
        })
    }

    /// Returns a back end with the tree that each sequence begins with.
    pub(crate) fn fresh(&self) -> Result<SeededTree> {
        Ok(match self {
            Fixture::Memory => (seeded(MemFs::new().root())?, Box::new(())),
            Fixture::Mounts => {
                let (base, graft) = (MemFs::new().root(), MemFs::new().root());
                path::create_dir(&*base, "m")?;
                let root = Mounts::builder(base).mount("m", graft)?.build();
                for at in DIRS.iter().filter(|at| **at != "m") {
                    path::create_dir(&*root, at)?;
                }
                seed(&root)?;
                (root, Box::new(()))
            }
            Fixture::MemoryOverlay(lowers) => {
                let overlay = Overlay::new(MemFs::new().upper(), lowers)?;
                (overlay.root(), Box::new(overlay))
            }
            Fixture::Host => {
                let temp = temp()?;
                (seeded(io(HostDir::open_ambient(temp.path()))?)?, Box::new(temp))
            }
            Fixture::HostOverlay(lowers, _) => {
                let upper = temp()?;
                let overlay = Overlay::new(io(HostUpper::open_ambient(upper.path()))?, lowers)?;
                (overlay.root(), Box::new((overlay, upper)))
            }
        })
    }
}

/// The directories that are preopened besides the root.
const PREOPENS: [&str; 4] = ["a", "b", "a/d", "m"];

fn preopens(
    bare: &DirRef,
    confine: impl Fn(DirRef, &str) -> DirRef,
) -> Result<Vec<(String, DirRef)>> {
    let preopen = |at: &&str| {
        let part = path::open(&**bare, at, Follow::No, OpenHow::HOLD_DIR)?.into_dir()?;
        Ok(((*at).to_owned(), confine(part, at)))
    };
    PREOPENS.iter().map(preopen).collect()
}

/// Confines a back end.
pub(crate) fn stack(
    (bare, keep): SeededTree,
    confinement: Confinement,
    policy: &Arc<Policy>,
    narrower: &Arc<Policy>,
) -> Result<Stack> {
    let once = || confine(bare.clone(), policy.clone());
    let (mut preopened, mut narrow) = (vec![], None);
    let guarded = match confinement {
        Confinement::Once => once(),
        Confinement::Twice => confine(once(), policy.clone()),
        Confinement::Parts => {
            let mut mounts = Mounts::builder(Mounts::empty());
            for at in DIRS.iter().filter(|at| !at.contains('/')) {
                let part = path::open(&*bare, at, Follow::No, OpenHow::HOLD_DIR)?.into_dir()?;
                mounts = mounts.mount(at, confine_at(part, policy.clone(), at))?;
            }
            mounts.build()
        }
        Confinement::Preopens => {
            preopened = preopens(&bare, |part, at| confine_at(part, policy.clone(), at))?;
            once()
        }
        Confinement::Narrowed | Confinement::NarrowedPreopens => {
            let live = Live::new(policy.clone());
            if confinement == Confinement::NarrowedPreopens {
                preopened = preopens(&bare, |part, at| confine_live(part, &live, at))?;
            }
            let root = confine_live(bare.clone(), &live, "");
            let narrower = narrower.clone();
            narrow = Some(Box::new(move || -> Box<RightsAt<'static>> {
                live.narrow(&narrower).unwrap();
                let now = live.policy();
                Box::new(move |path: &str| now.rights(now.at(path)))
            }) as Box<dyn Fn() -> Box<RightsAt<'static>>>);
            root
        }
        Confinement::Broken(bug) => Broken::root(bug, once(), bare.clone(), policy.clone()),
    };
    Ok(Stack { guarded, preopens: preopened, bare, narrow, keep: Some(keep) })
}
