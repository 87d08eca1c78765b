//! Rename and link between paths with different rights, and rights at the name.

use std::sync::Arc;

use palisade_vfs::{DirRef, Errno, Follow, MemFs, OpenHow, Rights, path};

use super::op::{Op, Times, apply, seed, snapshot};
use crate::{Policy, PolicyBuilder, confine, confine_at};

fn world() -> DirRef {
    let root = MemFs::new().root();
    let dirs = ["rw", "rw/d", "ro", "ro/d", "box", "mixed", "mixed/d"];
    seed(&root, &dirs.map(|at| ("mkdir", at)));
    seed(&root, &["rw/f", "rw/d/secret", "ro/f", "ro/d/f", "mixed/d/f"].map(|at| ("file", at)));
    root
}

fn rules() -> PolicyBuilder {
    Policy::builder()
        .allow("/**", Rights::all())
        .deny("/ro/**", Rights::WRITE | Rights::SET_LEN)
        .deny("/box/**", Rights::READ)
        .deny("/mixed/**/secret", Rights::READ)
        .deny("/rw/kept", Rights::REMOVE_FILE | Rights::RENAME_INTO | Rights::RENAME_FROM)
}

#[test]
fn renamed_nodes_gain_no_rights() {
    let policy = Arc::new(rules().build().unwrap());
    let done = Ok(String::new());
    for (old, new, expected) in [
        ("rw/f", "ro/n", done.clone()),
        ("rw/f", "box/n", done.clone()),
        ("rw/f", "rw/d/n", done.clone()),
        ("ro/f", "rw/n", Err(Errno::Xdev)),
        ("ro/f", "box/n", Err(Errno::Xdev)),
        ("ro/f", "ro/d/n", done.clone()),
        // It has no entry `secret`, but one could be created.
        ("mixed/d", "rw/n", Err(Errno::Xdev)),
        ("mixed/d", "mixed/n", done.clone()),
        // An open handle of it would keep the rights of the old name.
        ("rw/d", "mixed/n", Err(Errno::Xdev)),
        ("rw/d", "ro/n", Err(Errno::Xdev)),
        ("rw/d", "rw/n", done.clone()),
        ("ro/d", "rw/n", Err(Errno::Xdev)),
        ("gone", "rw/n", Err(Errno::Noent)),
    ] {
        let inner = world();
        let before = snapshot(&inner, Times::Ignored);
        let layer = confine(inner.clone(), policy.clone());
        let op = Op::Rename(old.into(), new.into());
        assert_eq!(apply(&layer, &op), expected, "{op:?}");
        if expected.is_err() {
            assert_eq!(before, snapshot(&inner, Times::Ignored), "{op:?}");
        }
        // A link is checked at the file itself; a directory cannot be linked.
        if !old.ends_with('d') {
            let op = Op::Link(old.into(), new.into());
            assert_eq!(apply(&confine(world(), policy.clone()), &op), expected, "{op:?}");
        }
    }
}

#[test]
fn rule_of_a_file_governs_its_removal_and_replacement() {
    let policy = Arc::new(rules().build().unwrap());
    let inner = world();
    seed(&inner, &[("file", "rw/kept")]);
    let layer = confine(inner, policy);
    let (kept, f) = (|| "rw/kept".to_owned(), || "rw/f".to_owned());
    for op in [Op::RemoveFile(kept()), Op::Rename(f(), kept()), Op::Rename(kept(), f())] {
        let errno = if matches!(&op, Op::Rename(old, _) if *old == kept()) {
            // The other name has more rights.
            Errno::Xdev
        } else {
            Errno::Acces
        };
        assert_eq!(apply(&layer, &op), Err(errno), "{op:?}");
    }
    assert_eq!(apply(&layer, &Op::RemoveFile(f())), Ok(String::new()));
}

#[test]
fn confine_at_uses_the_guest_path() {
    let policy = Arc::new(rules().build().unwrap());
    let write = OpenHow::new(palisade_vfs::Access::Write, palisade_vfs::OpenFlags::empty());
    for (guest_path, expected) in [
        ("/rw", Ok(())),
        ("rw", Ok(())),
        ("/ro", Err(Errno::Acces)),
        ("/ro/deeper/", Err(Errno::Acces)),
        ("/ro/../rw", Err(Errno::Acces)),
    ] {
        let inner = path::open(&*world(), "rw", Follow::No, OpenHow::HOLD_DIR).unwrap();
        let dir = confine_at(inner.into_dir().unwrap(), policy.clone(), guest_path);
        assert_eq!(path::open(&*dir, "f", Follow::No, write).map(drop), expected, "{guest_path}");
    }
    let root = world();
    let part = |at: &str| {
        let node = path::open(&*root, at, Follow::No, OpenHow::HOLD_DIR).unwrap();
        confine_at(node.into_dir().unwrap(), policy.clone(), at)
    };
    let (rw, ro) = (part("rw"), part("ro"));
    assert_eq!(path::rename(&*ro, "f", &*rw, "n"), Err(Errno::Xdev));
    assert_eq!(path::rename(&*rw, "f", &*ro, "n"), Ok(()), "one policy over two preopens");
    assert_eq!(path::link(&*ro, "n", &*rw, "f"), Err(Errno::Xdev));
}
