//! Walks of deep and wide trees under a descriptor limit below their number of directories, with
//! memory that is linear in the depth.
// The tests create and count the descriptors of the process itself.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]
#![cfg(all(feature = "host", feature = "mem", target_os = "linux"))]

use std::path::Path;
use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay, UpperRef, commit, diff, discard};
use palisade_vfs::{
    Access, Cookie, Descent, DirRef, HostDir, HostUpper, MemFs, Name, OpenFlags, OpenHow,
    copy_tree, path,
};

/// The descriptor limit of the process, shared by the concurrent tests.
const DESCRIPTORS_MAX: u64 = 256;
/// Deeper than the descriptor limit and than the longest path.
const DEPTH: usize = 300;
const WIDTH: usize = 300;
/// The most bytes that a walk may allocate: a small multiple of the names of the deep tree. Full
/// paths would take hundreds of times as much.
const BYTES_MAX: u64 = 24 * DEPTH as u64 * 255;

fn limit_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(DESCRIPTORS_MAX), maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
}

fn name(text: &str) -> Name<'_> {
    Name::new(text).unwrap()
}

fn write(dir: &DirRef, at: &str) {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
    drop(dir.open(name(at).into(), how).ok().unwrap());
}

fn enter(dir: &DirRef, at: &str) -> DirRef {
    dir.open(name(at).into(), OpenHow::HOLD_DIR).ok().unwrap().into_dir().unwrap()
}

/// Creates `DEPTH` nested directories, each with a file.
fn make_deep(root: &DirRef, at: &str) {
    let mut dir = Arc::clone(root);
    for _ in 0..DEPTH {
        dir.create_dir(name(at)).unwrap();
        write(&dir, "file");
        dir = enter(&dir, at);
    }
}

fn depth(root: &DirRef, at: &str) -> usize {
    let (mut dir, mut depth) = (Arc::clone(root), 0);
    while dir.stat(name(at).into()).is_ok() {
        dir = enter(&dir, at);
        depth += 1;
    }
    depth
}

/// A host directory whose content is removed without recursion.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        limit_descriptors();
        Host(tempfile::tempdir().unwrap())
    }

    /// Returns the directory as a plain [`HostDir`].
    fn dir(&self) -> DirRef {
        let upper = self.0.path().join("upper");
        let _ = std::fs::create_dir(&upper);
        HostDir::open_ambient(&upper).unwrap()
    }

    fn upper(&self) -> UpperRef {
        HostUpper::open_ambient(self.0.path()).unwrap()
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Ok(layer) = HostUpper::open_ambient(self.path()) {
            let _ = discard(&layer);
        }
    }
}

/// Runs `run` and checks that it allocates at most [`BYTES_MAX`].
fn within_memory<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let mut done = None;
    let cost = allocation_counter::measure(|| done = Some(run()));
    assert!(cost.bytes_max < BYTES_MAX, "{what} took {} bytes", cost.bytes_max);
    done.unwrap()
}

#[test]
fn copy_tree_of_a_deep_tree_takes_few_descriptors() {
    let (from, to) = (Host::new(), Host::new());
    make_deep(&from.dir(), "d");
    let report = within_memory("the copy", || copy_tree(&from.dir(), &to.dir())).unwrap();
    assert_eq!((report.dirs, report.files), (DEPTH as u64, DEPTH as u64));
    assert_eq!(depth(&to.dir(), "d"), DEPTH);
}

#[test]
fn copy_tree_of_a_wide_tree_takes_few_descriptors() {
    let host = Host::new();
    let from = host.dir();
    for nth in 0..WIDTH {
        let at = format!("d{nth}");
        from.create_dir(name(&at)).unwrap();
        write(&enter(&from, &at), "first");
        // Each link is in another directory than the first name.
        path::link(&*from, &format!("{at}/first"), &*from, &at.replace("d", "l")).unwrap();
    }
    let to = MemFs::new().root();
    let report = copy_tree(&from, &to).unwrap();
    assert_eq!((report.dirs, report.files), (WIDTH as u64, WIDTH as u64));
    let back = Host::new();
    assert_eq!(copy_tree(&to, &back.dir()).unwrap().dirs, WIDTH as u64);
}

#[test]
fn diff_commit_and_discard_of_a_deep_upper_take_few_descriptors() {
    let (upper, target) = (Host::new(), Host::new());
    let long = "x".repeat(250);
    let layer = upper.upper();
    make_deep(&(Arc::clone(&layer) as DirRef), &long);
    let lowers = Lowers::of(target.dir());
    let changes = within_memory("the diff", || diff(&layer, &lowers)).unwrap();
    assert_eq!(changes.len(), 2 * DEPTH);
    let longest = changes.iter().map(|change| change.path.len()).max();
    assert_eq!(longest, Some(DEPTH * 251 - 1));
    drop(lowers);
    let done = within_memory("the commit", || commit(&layer, &target.dir(), &mut |_| {})).unwrap();
    assert_eq!((done.dirs, done.files), (DEPTH as u64, DEPTH as u64));
    let lowers = Lowers::of(target.dir());
    let changes = within_memory("the second diff", || diff(&layer, &lowers)).unwrap();
    assert_eq!(changes.to_string(), "");
    within_memory("the discard", || discard(&layer)).unwrap();
    assert_eq!(depth(&(layer as DirRef), &long), 0);
    assert_eq!(depth(&target.dir(), &long), DEPTH);
}

#[test]
fn search_for_hard_links_takes_few_descriptors() {
    let (upper, lower) = (Host::new(), Host::new());
    let dir = lower.dir();
    for nth in 0..WIDTH {
        dir.create_dir(name(&format!("d{nth}"))).unwrap();
    }
    write(&dir, "one");
    let last = enter(&dir, "d299");
    dir.link(name("one"), &*last, name("other")).unwrap();
    let overlay = Overlay::new(upper.upper(), &Lowers::of(dir)).unwrap();
    let root = overlay.root();
    let how = OpenHow::new(Access::Write, OpenFlags::empty());
    drop(root.open(name("one").into(), how).ok().unwrap());
    let changed = root.stat(Descent::new("d299/other").unwrap()).unwrap();
    let one = root.stat(name("one").into()).unwrap();
    assert_eq!((changed.ino, changed.nlink), (one.ino, 2));
}

#[cfg(feature = "tar")]
#[test]
fn export_and_import_of_a_deep_layer_take_few_descriptors() {
    use palisade_vfs::overlay::{ImportLimits, export_layer, import_layer};
    let (from, to) = (Host::new(), Host::new());
    let layer = from.upper();
    make_deep(&(Arc::clone(&layer) as DirRef), "d");
    let mut archive = Vec::new();
    export_layer(&layer, &mut archive).unwrap();
    let into = to.upper();
    let read = || import_layer(&mut archive.as_slice(), &into, ImportLimits::default());
    let imported = within_memory("the import", read).unwrap();
    assert_eq!((imported.dirs, imported.files), (DEPTH as u64 + 1, DEPTH as u64));
    assert_eq!(depth(&(into as DirRef), "d"), DEPTH);
}

#[test]
fn flattening_a_deep_stack_takes_few_descriptors() {
    use palisade_vfs::overlay::flatten;
    let (one, into) = (Host::new(), Host::new());
    let layer = one.upper();
    make_deep(&(Arc::clone(&layer) as DirRef), "d");
    let lowers = Lowers::builder().frozen_upper(layer).build().unwrap();
    let flat = within_memory("flattening", || flatten(&lowers, 1, &into.upper())).unwrap();
    let mut names = 0;
    flat.root()
        .read_dir(Cookie::START, &mut |_| {
            names += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(names, 2);
}
#[test]
fn diff_of_a_renamed_deep_directory_takes_few_descriptors() {
    let (upper, lower) = (Host::new(), Host::new());
    make_deep(&lower.dir(), "d");
    let layer = upper.upper();
    let overlay = Overlay::new(Arc::clone(&layer), &Lowers::of(lower.dir())).unwrap();
    let root = overlay.root();
    root.rename(name("d"), &*root, name("e")).unwrap();
    let changes = within_memory("the diff", || overlay.changes()).unwrap();
    assert_eq!(changes.to_string(), "R d/ -> e/\n");
}

/// Returns the number of descriptors of the process under `at`.
fn descriptors_in(at: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    links.filter(|link| link.starts_with(at)).count()
}

#[test]
fn deep_overlay_handle_holds_no_ancestors_open() {
    for lower_is_deep in [false, true] {
        let (upper, lower) = (Host::new(), Host::new());
        if lower_is_deep {
            make_deep(&lower.dir(), "d");
        }
        let overlay = Overlay::new(upper.upper(), &Lowers::of(lower.dir())).unwrap();
        let held = || descriptors_in(upper.path()) + descriptors_in(lower.path());
        let (mut dir, mut most) = (overlay.root(), 0);
        let root = overlay.root();
        for nth in 0..DEPTH {
            if !lower_is_deep {
                dir.create_dir(name("d")).unwrap();
            }
            write(&dir, "own");
            dir = enter(&dir, "d");
            // As libcs list a directory while they remove its entries.
            dir.read_dir(Cookie::START, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
            // The ancestors are used in between.
            if nth % 50 == 49 {
                let above = vec!["d"; nth / 2].join("/");
                let above = Descent::new(&above).unwrap();
                assert!(root.stat(above).is_ok());
                drop(root.open(above, OpenHow::HOLD_DIR).ok().unwrap());
            }
            most = most.max(held());
        }
        assert!(most < 140, "{most} descriptors for two of a guest");
        assert!(dir.stat(Descent::HERE).is_ok());
        write(&dir, "leaf");
        drop(dir);
        assert_eq!(depth(&overlay.root(), "d"), DEPTH);
        assert!(held() < 140);
        // The handle survives a rename of its ancestors.
        let mut dir = overlay.root();
        for _ in 0..DEPTH {
            dir = enter(&dir, "d");
        }
        root.rename(name("d"), &*root, name("e")).unwrap();
        assert!(dir.stat(name("leaf").into()).is_ok());
        write(&dir, "more");
        let at = format!("e/{}/more", vec!["d"; DEPTH - 1].join("/"));
        assert!(root.stat(Descent::new(&at).unwrap()).is_ok());
        let lowers = overlay.snapshot(MemFs::new().upper()).unwrap();
        write(&dir, "later");
        assert!(lowers.root().stat(Descent::new(&at).unwrap()).is_ok());
        overlay.restore(&lowers, MemFs::new().upper()).unwrap();
        assert!(dir.stat(name("more").into()).is_ok());
        assert!(dir.stat(name("later").into()).is_err());
    }
}
