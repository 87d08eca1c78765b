//! Whiteouts as empty files with an xattr, where devices may not be made.

use super::super::xattrs;
use super::kernel::{self, Mounted};
use super::*;

#[test]
fn xattr_whiteout_differs_from_an_empty_file() {
    each_world(&[XATTR_WHITEOUTS], |world| {
        world.root.create_dir(n("dir")).unwrap();
        let dir = world.enter("dir");
        dir.create_whiteout(n("gone")).unwrap();
        drop(create(&*dir, "empty"));
        drop(dir);
        world.reopen();
        let dir = world.enter("dir");
        assert_eq!((names(&*dir), whiteouts(&*dir)), (vec!["empty".into()], vec!["gone".into()]));
        let at = |name: &str| world.upper.join("dir").join(name);
        assert_eq!(fs::metadata(at("gone")).unwrap().len(), 0);
        assert_eq!(mark(&at("gone"), xattrs::WHITEOUT).as_deref(), Some("y"));
        assert_eq!(mark(&at(""), xattrs::OPAQUE).as_deref(), Some("x"));
        // In an opaque directory the kernel would show them as files.
        dir.set_opaque().unwrap();
        assert!(!at("gone").exists());
        dir.create_whiteout(n("empty")).unwrap();
        assert_eq!(fs::read_dir(at("")).unwrap().count(), 0);
    });
}

#[test]
fn kernel_recognizes_xattr_whiteouts_in_a_middle_lower() {
    each_world(&[XATTR_WHITEOUTS], |world| {
        let below = world.dir.join("lower");
        fs::create_dir_all(below.join("a/b")).unwrap();
        fs::write(below.join("a/b/gone"), "gone").unwrap();
        fs::write(below.join("a/b/stays"), "stays").unwrap();
        copy_up(&*world.root, "a", FileType::Dir, 1);
        let a = world.enter("a");
        copy_up(&*a, "b", FileType::Dir, 2);
        a.enter(n("b")).unwrap().create_whiteout(n("gone")).unwrap();
        let merged = Mounted::new(&world.dir.join("m"), &[&world.upper, &below], None);
        let Some(merged) = merged else { return };
        let shows = [("/", "dir"), ("/a/", "dir"), ("/a/b/", "dir"), ("/a/b/stays", "stays")];
        assert_eq!(host_tree(&merged.at), tree_of(&shows), "{}", world.what);
    });
}

#[test]
fn upper_inside_a_kernel_overlay_uses_xattr_whiteouts() {
    for base in bases() {
        let temp = tempfile::tempdir_in(base).unwrap();
        let dir = temp.path();
        let (lower, upper, work) = (dir.join("l"), dir.join("u"), dir.join("w"));
        for dir in [&lower, &upper, &work] {
            fs::create_dir(dir).unwrap();
        }
        let upper = Some((&*upper, &*work));
        let mounted = Mounted::with_options(&dir.join("m"), "", &[&lower], upper);
        let Some(host) = mounted else { return };
        let upper = HostUpper::open_ambient(&host.at).unwrap();
        kernel::change(&upper);
        let gone = host.at.join("upper/gone");
        assert!(fs::metadata(&gone).unwrap().is_file());
        assert_eq!(mark(&gone, xattrs::WHITEOUT).as_deref(), Some("y"));
        let before = tree(&upper);
        drop(upper);
        assert_eq!(tree(&HostUpper::open_ambient(&host.at).unwrap()), before);
    }
}
