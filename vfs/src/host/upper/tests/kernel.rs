//! Interoperability with the kernel's overlayfs: it mounts our uppers, and we open its uppers.

use std::process::Command;

use super::super::xattrs;
use super::*;

/// A mounted overlay of the kernel.
pub(super) struct Mounted {
    pub(super) at: PathBuf,
}

impl Mounted {
    /// Mounts lowers, the topmost first, and an upper with its work directory; `None` without
    /// permission.
    pub(super) fn new(at: &Path, lowers: &[&Path], upper: Option<(&Path, &Path)>) -> Option<Self> {
        Self::with_options(at, "userxattr,", lowers, upper)
    }

    /// [`Mounted::new`] with further options, each followed by a comma.
    pub(super) fn with_options(
        at: &Path,
        options: &str,
        lowers: &[&Path],
        upper: Option<(&Path, &Path)>,
    ) -> Option<Self> {
        let lowers: Vec<_> = lowers.iter().map(|dir| dir.display().to_string()).collect();
        let mut options = format!("{options}lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = upper {
            let (upper, work) = (upper.display(), work.display());
            options += &format!(",upperdir={upper},workdir={work}");
        }
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let command = command.args(["-t", "overlay", "overlay", "-o", &options]).arg(at);
        match command.output() {
            Ok(output) if output.status.success() => Some(Mounted { at: at.to_owned() }),
            other => {
                eprintln!("not permitted to mount an overlay, so only the format was checked");
                eprintln!("{other:?}");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Creates a lower on the host: directories, files and a link.
pub(super) fn lower(at: &Path) {
    for dir in ["d/e", "gone", "replaced", "kept"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    let files = ["f", "d/x", "d/e/y", "gone/z", "replaced/old", "kept/k", "moved", "other"];
    for file in files {
        fs::write(at.join(file), format!("lower {file}")).unwrap();
    }
    std::os::unix::fs::symlink("f", at.join("link")).unwrap();
}

/// Makes every kind of change in an upper over [`lower`].
pub(super) fn change(changed_upper: &UpperRef) {
    changed_upper.create_whiteout(n("f")).unwrap();
    changed_upper.create_whiteout(n("gone")).unwrap();
    changed_upper.create_whiteout(n("replaced")).unwrap();
    changed_upper.create_opaque_dir(n("replaced")).unwrap();
    write(&**changed_upper, "replaced/new", "upper new");
    copy_up(&**changed_upper, "d", FileType::Dir, 4);
    let dir = changed_upper.enter(n("d")).unwrap();
    drop(copy_up_file(&*dir, "x", 5, "lower d/x"));
    dir.create_whiteout(n("e")).unwrap();
    drop(copy_up_file(&**changed_upper, "moved", 6, "lower moved"));
    changed_upper.rename_with_whiteout(n("moved"), &*dir, n("m")).unwrap();
    write(&**changed_upper, "fresh", "upper fresh");
    changed_upper.create_dir(n("new")).unwrap();
    changed_upper.create_whiteout(n("link")).unwrap();
    changed_upper.create_symlink(n("link"), "new").unwrap();
    changed_upper.create_whiteout(n("other")).unwrap();
    write(&**changed_upper, "other", "upper other");
}

/// The merged tree after [`change`] over [`lower`].
pub(super) fn changed() -> BTreeMap<String, String> {
    tree_of(&[
        ("/", "dir"),
        ("/d/", "dir"),
        ("/d/m", "lower moved"),
        ("/d/x", "lower d/x"),
        ("/fresh", "upper fresh"),
        ("/kept/", "dir"),
        ("/kept/k", "lower kept/k"),
        ("/link", "-> new"),
        ("/new/", "dir"),
        ("/other", "upper other"),
        ("/replaced/", "dir"),
        ("/replaced/new", "upper new"),
    ])
}

#[test]
fn kernel_mounts_our_upper_as_upper() {
    each_world(&[Limits::NONE, UNCACHED], |world| {
        let below = world.dir.join("lower");
        lower(&below);
        change(&world.root);
        let on_disk = host_tree(&world.upper);
        for gone in ["/f", "/gone", "/moved", "/d/e"] {
            assert_eq!(on_disk.get(gone).map(String::as_str), Some("whiteout"), "{gone}");
        }
        assert_eq!(mark(&world.upper.join("replaced"), xattrs::OPAQUE).as_deref(), Some("y"));
        assert_eq!(mark(&world.upper.join("d/x"), xattrs::ORIGIN).as_deref(), Some("77:5"));
        let upper = (&*world.upper, &*world.dir.join("work"));
        let Some(merged) = Mounted::new(&world.dir.join("merged"), &[&below], Some(upper)) else {
            return;
        };
        assert_eq!(host_tree(&merged.at), changed(), "{}", world.what);
    });
}

#[test]
fn kernel_mounts_our_upper_as_lower() {
    each_world(ALL, |world| {
        let below = world.dir.join("lower");
        lower(&below);
        change(&world.root);
        let merged = world.dir.join("merged");
        if world.limits.style == WhiteoutStyle::Xattr {
            assert_eq!(mark(&world.upper.join("gone"), xattrs::WHITEOUT).as_deref(), Some("y"));
            assert_eq!(mark(&world.upper.join("d"), xattrs::OPAQUE).as_deref(), Some("x"));
        }
        let Some(merged) = Mounted::new(&merged, &[&world.upper, &below], None) else { return };
        assert_eq!(host_tree(&merged.at), changed(), "{}", world.what);
    });
}

#[test]
fn kernel_hides_our_xattrs_and_does_not_copy_them_up() {
    each_world(&[Limits::NONE], |world| {
        let empty = world.dir.join("empty");
        let (top, work) = (world.dir.join("top"), world.dir.join("top-work"));
        for dir in [&empty, &top, &work] {
            fs::create_dir(dir).unwrap();
        }
        drop(copy_up_file(&*world.root, "f", 5, "text"));
        assert!(mark(&world.upper.join("f"), xattrs::ORIGIN).is_some());
        assert!(mark(&world.upper, xattrs::MAY_HOLD).is_some());
        let merged = world.dir.join("merged");
        let lowers = [&*world.upper, &*empty];
        let Some(merged) = Mounted::new(&merged, &lowers, Some((&top, &work))) else { return };
        let at = merged.at.join("f");
        for name in [xattrs::ORIGIN, xattrs::MAY_HOLD] {
            assert_eq!((mark(&at, name), mark(&merged.at, name)), (None, None));
        }
        let mut list = [0_u8; 256];
        assert_eq!(rustix::fs::listxattr(&at, &mut list[..]), Ok(0));
        fs::write(&at, "changed").unwrap();
        assert_eq!(mark(&top.join("f"), xattrs::ORIGIN), None);
        assert_eq!(fs::read_to_string(top.join("f")).unwrap(), "changed");
    });
}

/// Changes a mounted overlay over [`lower`].
fn change_through(merged: &Path) {
    let at = |path: &str| merged.join(path);
    fs::remove_file(at("f")).unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_dir_all(at("replaced")).unwrap();
    fs::create_dir(at("replaced")).unwrap();
    fs::write(at("replaced/new"), "upper new").unwrap();
    fs::rename(at("moved"), at("d/m")).unwrap();
    fs::write(at("d/x"), "copied up").unwrap();
    fs::remove_dir_all(at("d/e")).unwrap();
    fs::remove_file(at("link")).unwrap();
    std::os::unix::fs::symlink("new", at("link")).unwrap();
}

/// Writes the upper that the kernel writes for [`change_through`] over [`lower`].
fn change_by_hand(upper: &Path) {
    let at = |path: &str| upper.join(path);
    fs::create_dir(at("d")).unwrap();
    fs::create_dir(at("replaced")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("replaced"), xattrs::OPAQUE, b"y", flags).unwrap();
    for (path, text) in
        [("replaced/new", "upper new"), ("d/m", "lower moved"), ("d/x", "copied up")]
    {
        fs::write(at(path), text).unwrap();
    }
    std::os::unix::fs::symlink("new", at("link")).unwrap();
    for gone in ["f", "gone", "moved", "d/e"] {
        let device = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, at(gone), device, 0.into(), 0).unwrap();
    }
}

#[test]
fn upper_written_by_the_kernel_can_be_opened() {
    for base in bases() {
        let temp = tempfile::tempdir_in(base).unwrap();
        let dir = temp.path();
        let (below, upper, work) = (dir.join("lower"), dir.join("u"), dir.join("w"));
        lower(&below);
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let mounted = Mounted::new(&dir.join("m"), &[&below], Some((&upper, &work)));
        let can_mount = mounted.is_some();
        match mounted {
            Some(merged) => change_through(&merged.at),
            None => change_by_hand(&upper),
        }
        let changed_upper = HostUpper::open_ambient_at(&upper, &work).unwrap();
        let written = tree_of(&[
            ("/", "dir"),
            ("/d/", "dir"),
            ("/d/e", "whiteout"),
            ("/d/m", "lower moved"),
            ("/d/x", "copied up"),
            ("/f", "whiteout"),
            ("/gone", "whiteout"),
            ("/link", "-> new"),
            ("/moved", "whiteout"),
            ("/replaced/", "opaque dir"),
            ("/replaced/new", "upper new"),
        ]);
        assert_eq!(tree(&changed_upper), written);
        assert_eq!(whiteouts(&*changed_upper), ["f", "gone", "moved"]);
        if !can_mount {
            continue;
        }
        // We continue with the kernel's upper, and the kernel with ours.
        changed_upper.remove_file(n("link")).unwrap();
        changed_upper.create_whiteout(n("kept")).unwrap();
        drop(changed_upper);
        let mounted = Mounted::new(&dir.join("m"), &[&below], Some((&upper, &work)));
        let merged = mounted.unwrap();
        let shows = host_tree(&merged.at);
        assert_eq!(shows.get("/link").map(String::as_str), Some("-> f"));
        assert!(!shows.contains_key("/kept/") && shows.contains_key("/d/m"));
    }
}
