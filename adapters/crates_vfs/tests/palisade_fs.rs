//! Tests of `PalisadeFs` beyond the test macros of the crate.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read, Seek, SeekFrom, Write};

use palisade_crates_vfs::{PalisadeFs, as_vfs};
use palisade_policy::read_only;
use palisade_vfs::{DirRef, Errno, MemFs, Mounts, path};
use vfs::error::VfsErrorKind;
use vfs::{FileSystem, VfsError, VfsFileType};

fn tree() -> DirRef {
    let root = MemFs::new().root();
    path::create_dir(&*root, "d").unwrap();
    for (link, target) in [
        ("up", "../outside"),
        ("dangling", "nowhere"),
        ("loop", "loop"),
        ("d/f", "../f"),
        ("ln", "d"),
        ("d/over", "../../x"),
    ] {
        path::create_symlink(&*root, target, link).unwrap();
    }
    as_vfs(root.clone()).join("f").unwrap().create_file().unwrap().write_all(b"hello").unwrap();
    root
}

/// Returns the inner errno of an error.
fn errno(error: &VfsError) -> Option<Errno> {
    match error.kind() {
        VfsErrorKind::IoError(error) => error.get_ref()?.downcast_ref().copied(),
        _ => None,
    }
}

#[test]
fn links_are_followed_inside_the_root_only() {
    let root = as_vfs(tree());
    assert_eq!(root.join("ln/f").unwrap().read_to_string().unwrap(), "hello");
    assert!(root.join("ln").unwrap().is_dir().unwrap());
    for out in ["up", "d/over"] {
        let out = root.join(out).unwrap();
        assert!(!out.exists().unwrap());
        assert_eq!(errno(&out.open_file().err().unwrap()), Some(Errno::Escape));
        assert_eq!(errno(&out.create_file().err().unwrap()), Some(Errno::Escape));
    }
}

#[test]
fn no_path_escapes_the_root() {
    let fs = PalisadeFs::new(tree());
    for bad in ["/..", "/../x", "..", "//etc/passwd", "/d/../../x", "//"] {
        let error = fs.metadata(bad).err().unwrap();
        assert_eq!(errno(&error), Some(Errno::Escape), "{bad}");
        assert!(!fs.exists(bad).unwrap(), "{bad}");
        assert!(fs.create_dir(bad).is_err() && fs.create_file(bad).is_err(), "{bad}");
    }
    for bad in ["/nul\0", &format!("/{}", "n".repeat(256))] {
        assert!(!fs.exists(bad).unwrap());
        assert!(fs.create_file(bad).is_err());
    }
}

#[test]
fn listings_omit_dangling_links() {
    let mut seen: Vec<_> =
        as_vfs(tree()).walk_dir().unwrap().map(|path| path.unwrap().as_str().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["/d", "/d/f", "/f", "/ln", "/ln/f"]);
}

#[test]
fn move_and_remove_do_not_follow_links() {
    let dir = tree();
    let root = as_vfs(dir.clone());
    root.join("ln").unwrap().move_file(&root.join("moved").unwrap()).unwrap();
    assert_eq!(&*path::read_link(&*dir, "moved").unwrap(), "d");
    root.join("dangling").unwrap().remove_file().unwrap();
    root.join("moved").unwrap().remove_file().unwrap();
    assert!(root.join("d/f").unwrap().exists().unwrap());
}

#[test]
fn stream_seek_before_the_start_is_an_error() {
    let root = as_vfs(tree());
    let mut file = root.join("f").unwrap().open_file().unwrap();
    let mut text = String::new();
    assert_eq!(file.seek(SeekFrom::End(-2)).unwrap(), 3);
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "lo");
    assert_eq!(file.seek(SeekFrom::Current(-4)).unwrap(), 1);
    assert!(file.seek(SeekFrom::Current(-2)).is_err());
    assert_eq!(file.stream_position().unwrap(), 1);
    assert_eq!(file.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn append_ignores_the_cursor() {
    let root = as_vfs(tree());
    let path = root.join("f").unwrap();
    let mut file = path.append_file().unwrap();
    assert_eq!(file.stream_position().unwrap(), 5);
    file.rewind().unwrap();
    file.write_all(b"!").unwrap();
    assert_eq!(file.stream_position().unwrap(), 6);
    assert_eq!(path.read_to_string().unwrap(), "hello!");
}

#[test]
fn copy_onto_an_existing_file_changes_nothing() {
    let fs = PalisadeFs::new(tree());
    for to in ["/f", "/d/f", "/d"] {
        let error = fs.copy_file("/f", to).unwrap_err();
        assert!(matches!(error.kind(), VfsErrorKind::FileExists), "{to}: {error}");
    }
    assert_eq!(fs.metadata("/f").unwrap().len, 5);
}

#[test]
fn move_checks_the_file_type() {
    let fs = PalisadeFs::new(tree());
    assert_eq!(errno(&fs.move_file("/d", "/e").unwrap_err()), Some(Errno::Isdir));
    assert_eq!(errno(&fs.move_dir("/f", "/g").unwrap_err()), Some(Errno::Notdir));
    assert_eq!(errno(&fs.move_dir("/d", "/d/x").unwrap_err()), Some(Errno::Inval));
}

#[test]
fn moves_across_mounts_are_copies() {
    let mounts = Mounts::builder(tree()).mount("m", MemFs::new().root()).unwrap().build();
    let root = as_vfs(mounts);
    let to = root.join("m/f").unwrap();
    root.join("f").unwrap().move_file(&to).unwrap();
    assert_eq!(to.read_to_string().unwrap(), "hello");
    assert!(!root.join("f").unwrap().exists().unwrap());
}

#[test]
fn read_only_directory_refuses_each_change() {
    let fs = PalisadeFs::new(read_only(tree()));
    let now = std::time::SystemTime::now();
    let refused = [
        fs.create_dir("/n").err(),
        fs.create_file("/n").err(),
        fs.create_file("/f").err(),
        fs.append_file("/f").err(),
        fs.remove_file("/f").err(),
        fs.move_file("/f", "/g").err(),
        fs.move_dir("/d", "/g").err(),
        fs.copy_file("/f", "/g").err(),
        fs.set_modification_time("/f", now).err(),
        fs.set_access_time("/f", now).err(),
    ];
    for (nth, error) in refused.into_iter().enumerate() {
        assert_eq!(errno(&error.unwrap()), Some(Errno::Rofs), "{nth}");
    }
    assert_eq!(fs.metadata("/f").unwrap().file_type, VfsFileType::File);
}
