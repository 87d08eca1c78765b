//! The laws of overlays and fault injection on a host overlay over host lowers.
//!
//! The upper uses the on-disk format of Linux's overlayfs.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "common/stacks.rs"]
mod stacks;

use std::sync::Arc;

use palisade_policy::{Policy, Refusal, confine};
use palisade_props::faulty::{
    Faults, Kinds, Outage, assert_fault_tolerant, faulty_upper, inject_faults,
};
use palisade_props::overlay::{Holds, LowerTree, OverlaySubject, Stack, TestOverlay};
use palisade_props::{Capabilities, SubjectFn, TestFs, conformance, overlay_laws};
use palisade_vfs::overlay::{Lowers, Overlay, UpperRef, commit};
use palisade_vfs::{
    Access, DirRef, Errno, Follow, HostDir, HostUpper, MemFs, Mounts, OpenFlags, OpenHow, Result,
    Rights, path,
};
use tempfile::TempDir;

/// An in-memory filesystem of the host, whose times and listings do not depend on the disk.
const TMPFS: &str = "/dev/shm";

/// A subject whose lowers with whiteouts are frozen uppers and whose other lowers are directories.
struct Host;

fn temp() -> Result<TempDir> {
    tempfile::tempdir_in(TMPFS).map_err(|_| Errno::Io)
}

fn layer() -> Result<(UpperRef, TempDir)> {
    let temp = temp()?;
    Ok((HostUpper::open_ambient(temp.path()).map_err(|_| Errno::Io)?, temp))
}

impl Host {
    fn over(literal: &[LowerTree], wrap: &dyn Fn(UpperRef) -> UpperRef) -> Result<TestOverlay> {
        let mut keep = Vec::new();
        let (mut lowers, mut dirs) = (Lowers::builder(), Vec::new());
        for lower in literal {
            if lower.has_marks() {
                let (layer, temp) = layer()?;
                lower.fill_layer(&layer)?;
                layer.freeze()?;
                dirs.push(Arc::clone(&layer) as DirRef);
                lowers = lowers.frozen_upper(layer);
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
        Ok(TestOverlay::new(overlay.root(), dirs).keeping((overlay, keep)))
    }
}

impl OverlaySubject for Host {
    fn name(&self) -> String {
        "overlay, host over host".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::USUAL
    }

    fn holds(&self) -> Holds {
        Holds::all() - Holds::HIDDEN_LINKS
    }

    fn fresh(&self, lowers: &[LowerTree]) -> Result<TestOverlay> {
        Host::over(lowers, &|layer| layer)
    }

    fn fresh_faulty(&self, lowers: &[LowerTree], faults: &Arc<Faults>) -> Result<TestOverlay> {
        Host::over(lowers, &|layer| faulty_upper(layer, faults))
    }
}

overlay_laws!(Host);

#[test]
fn tolerates_faults_of_its_upper() {
    assert_fault_tolerant(&Host, stacks::STACKS);
}

#[test]
fn emfile_in_a_deep_upper_does_not_break_later_operations() {
    let dirs = ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e", "a/b/c/d/e/f"];
    let lower: String =
        dirs.iter().map(|dir| format!("mkdir {dir}\nwrite {dir}/x \"old\"\n")).collect();
    let script = "write a/b/c/d/e/f/x \"new\"\nopen a/b/c/d/e hold\nwrite 1:f/y \"y\"\n\
                  rename 1:f a/f\nread a/f/y\nreaddir a/b/c/d/e\nunlink a/b/c/x\nmkdir 1:g";
    let stack = Stack::parse(&format!("{lower}===\n{script}")).unwrap();
    for calls in [1, 3, Faults::FOREVER] {
        let outage = Outage { kinds: Kinds::All, errno: Errno::Mfile, calls };
        let stats = inject_faults(&Host, &stack, outage).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(stats.reported > 0);
    }
}

#[test]
fn upper_that_overlaps_a_lower_is_refused() {
    let outer = temp().unwrap();
    let inner = outer.path().join("a/b");
    std::fs::create_dir_all(inner.join("upper/deep")).unwrap();
    let layer = HostUpper::open_ambient(&inner).unwrap();
    let over = |path: &std::path::Path| {
        let lower = HostDir::open_ambient(path).unwrap();
        Overlay::new(Arc::clone(&layer), &Lowers::of(lower)).map(|_| ())
    };
    for entangled in [outer.path(), &inner, &inner.join("upper"), &inner.join("upper/deep")] {
        assert_eq!(over(entangled), Err(Errno::Inval), "{}", entangled.display());
    }
    assert_eq!(over(temp().unwrap().path()), Ok(()));
}

#[test]
fn committed_file_keeps_the_permissions_of_the_replaced_file() {
    use std::os::unix::fs::PermissionsExt;
    let project = temp().unwrap();
    let script = project.path().join("run.sh");
    std::fs::write(&script, "old").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o750)).unwrap();
    let lower = HostDir::open_ambient(project.path()).unwrap();
    let (upper, _keep) = layer().unwrap();
    let overlay = Overlay::new(Arc::clone(&upper), &Lowers::of(Arc::clone(&lower))).unwrap();
    let how = OpenHow::new(Access::Write, OpenFlags::empty());
    let file = path::open(&*overlay.root(), "run.sh", Follow::Yes, how).unwrap();
    file.into_file().unwrap().write_at(&[std::io::IoSlice::new(b"new")], 0).unwrap();
    commit(&upper, &lower, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(&script).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&script).unwrap().permissions().mode() & 0o7777, 0o750);
}

fn empty() -> Result<TestFs> {
    let (upper, keep) = layer()?;
    let below = temp()?;
    let lower = HostDir::open_ambient(below.path()).map_err(|_| Errno::Io)?;
    let overlay = Overlay::new(upper, &Lowers::of(lower))?;
    Ok(TestFs::new(overlay.root()).keeping((keep, below)))
}

fn guarded() -> Result<TestFs> {
    let world = empty()?;
    let all = Policy::uniform(Rights::all(), Refusal::Denied);
    Ok(TestFs::new(confine(Arc::clone(&world.dir), Arc::new(all))).keeping(world))
}

fn mounted() -> Result<TestFs> {
    let world = empty()?;
    let mounts = Mounts::builder(MemFs::new().root()).mount("x/y", Arc::clone(&world.dir))?;
    let at = path::open(&*mounts.build(), "x/y", Follow::Yes, OpenHow::HOLD_DIR)?;
    Ok(TestFs::new(at.into_dir()?).keeping(world))
}

mod itself {
    use super::*;

    conformance!(SubjectFn::new("overlay, host over host", Capabilities::USUAL, empty));
}

mod under_a_policy {
    use super::*;

    conformance!(SubjectFn::new("overlay, host over host, guarded", Capabilities::USUAL, guarded));
}

mod through_a_mount {
    use super::*;

    conformance!(SubjectFn::new("overlay, host over host, mounted", Capabilities::USUAL, mounted));
}
