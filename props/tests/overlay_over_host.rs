//! The laws of overlays, and faults, on our overlay: a directory of the host over directories of
//! the host, in the format of Linux's own overlays.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;

use palisade_props::faulty::{Faults, assert_survives, faulty_layer};
use palisade_props::overlay::{Holds, LowerTree, OverlaySubject, OverlayWorld};
use palisade_props::{Made, Promises, World, conformance, overlay_laws};
use palisade_vfs::overlay::{LayerRef, Lowers, Overlay};
use palisade_vfs::{DirRef, Errno, HostDir, HostLayer, Result};
use tempfile::TempDir;

/// A filesystem in memory of the host, so that times and listings are the same everywhere.
const TMPFS: &str = "/dev/shm";

/// Lowers with marks are frozen layers, and the others plain directories.
struct Host;

fn temp() -> Result<TempDir> {
    tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)
}

fn layer() -> Result<(LayerRef, TempDir)> {
    let temp = temp()?;
    Ok((HostLayer::open_ambient(temp.path()).map_err(|_| Errno::Io)?, temp))
}

impl Host {
    fn over(literal: &[LowerTree], wrap: &dyn Fn(LayerRef) -> LayerRef) -> Result<OverlayWorld> {
        let mut keep = Vec::new();
        let (mut lowers, mut dirs) = (Lowers::builder(), Vec::new());
        for lower in literal {
            if lower.has_marks() {
                let (layer, temp) = layer()?;
                lower.fill_layer(&layer)?;
                layer.freeze()?;
                dirs.push(Arc::clone(&layer) as DirRef);
                lowers = lowers.layer(layer);
                keep.push(temp);
            } else {
                let temp = temp()?;
                lower.fill(&HostDir::open_ambient(temp.path()).map_err(|_| Errno::Io)?)?;
                let dir = HostDir::open_ambient_noatime(temp.path()).map_err(|_| Errno::Io)?;
                dirs.push(Arc::clone(&dir));
                lowers = lowers.dir(dir);
                keep.push(temp);
            }
        }
        let (upper, temp) = layer()?;
        keep.push(temp);
        let overlay = Overlay::new(wrap(upper), &lowers.build()?)?;
        Ok(OverlayWorld::new(overlay.root(), dirs).keeping((overlay, keep)))
    }
}

impl OverlaySubject for Host {
    fn name(&self) -> String {
        "overlay, host over host".to_owned()
    }

    fn promises(&self) -> Promises {
        Promises::USUAL
    }

    fn holds(&self) -> Holds {
        Holds::all() - Holds::HIDDEN_LINKS
    }

    fn fresh(&self, lowers: &[LowerTree]) -> Result<OverlayWorld> {
        Host::over(lowers, &|layer| layer)
    }

    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<OverlayWorld> {
        Host::over(lowers, &|layer| faulty_layer(layer, faults))
    }
}

overlay_laws!(Host);

/// Copies up, hides and moves in every way.
const STACK: &str = "mkdir a\nwrite a/f \"hello\"\nmkdir a/d\nwrite a/d/g \"deep\"\nwrite f \"x\"\n\
     link f h\n===\n\
     open a/f rdwr\nfwrite 0 \"J\" 0\nfappend 0 \"!\"\nfsetlen 0 3\nstat a/f\nwrite a/d/g \"new\"\n\
     link h a/h\nunlink f\nrename a b\nmkdir a\nutimes b/d 5.0 6.0\nrename b/d/g a/g\nrmdir b/d\n\
     symlink l -> a\nreaddir .\nreaddir b\nread a/g\nrename h b/f";

#[test]
fn survives_every_fault_of_its_upper() {
    assert_survives(&Host, &[STACK]);
}

#[test]
fn an_upper_that_lies_in_a_lower_or_over_one_is_refused() {
    let outer = temp().unwrap();
    let inner = outer.path().join("a/b");
    std::fs::create_dir_all(inner.join("upper/deep")).unwrap();
    let layer = HostLayer::open_ambient(&inner).unwrap();
    let over = |path: &std::path::Path| {
        let lower = HostDir::open_ambient(path).unwrap();
        Overlay::new(Arc::clone(&layer), &Lowers::of(lower)).map(|_| ())
    };
    for entangled in [outer.path(), &inner, &inner.join("upper"), &inner.join("upper/deep")] {
        assert_eq!(over(entangled), Err(Errno::Inval), "{}", entangled.display());
    }
    assert_eq!(over(temp().unwrap().path()), Ok(()));
}

fn empty() -> Result<World> {
    let (upper, keep) = layer()?;
    let below = temp()?;
    let lower = HostDir::open_ambient(below.path()).map_err(|_| Errno::Io)?;
    let overlay = Overlay::new(upper, &Lowers::of(lower))?;
    Ok(World::new(overlay.root()).keeping((keep, below)))
}

mod kit {
    use super::*;

    conformance!(Made::new("overlay, host over host", Promises::USUAL, empty));
}
