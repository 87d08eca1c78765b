//! Directory handles that are open while directories are renamed: the rights of a handle are those
//! that the policy grants at the current path of its directory.

use std::io::IoSlice;
use std::sync::Arc;

use palisade_vfs::overlay::{Lowers, Overlay};
use palisade_vfs::{
    Access, Descent, DirRef, Errno, FileRef, Follow, MemFs, Mounts, OpenFlags, OpenHow, Result,
    Rights, path,
};

use super::op::seed;
use crate::{Live, Policy, confine, confine_at, confine_live};

const TREE: &[(&str, &str)] = &[
    ("mkdir", "tmp"),
    ("mkdir", "tmp/d"),
    ("mkdir", "tmp/p"),
    ("mkdir", "tmp/p/d"),
    ("mkdir", "data"),
    ("mkdir", "data/sub"),
    ("file", "data/ro.txt"),
    ("file", "data/sub/x.key"),
    ("file", "data/sub/y.hid"),
];

/// Grants all rights in `/tmp`, reading and renaming in `/data`, and fewer for some of its files.
fn rules() -> Arc<Policy> {
    let rules = Policy::builder()
        .allow("/tmp/**", Rights::all())
        .allow("/data/**", Rights::READ_ONLY | Rights::RENAME_FROM | Rights::RENAME_INTO)
        .deny("/data/**/*.key", Rights::all())
        .hide("/data/**/*.hid");
    Arc::new(rules.build().unwrap())
}

fn memory() -> DirRef {
    let root = MemFs::new().root();
    seed(&root, TREE);
    root
}

fn overlay() -> DirRef {
    let lowers = Lowers::builder().dir(memory()).build().unwrap();
    Overlay::new(MemFs::new().upper(), &lowers).unwrap().root()
}

fn mounts() -> DirRef {
    Mounts::builder(Mounts::empty()).mount("w", memory()).unwrap().build()
}

/// Confined trees, each with a label for messages.
fn guarded() -> Vec<(&'static str, DirRef)> {
    let mounted = hold(&confine(mounts(), rules_under("/w")), "w");
    let mut guarded = vec![
        ("fixed", confine(memory(), rules())),
        ("twice", confine(confine(memory(), rules()), rules())),
        ("live", confine_live(memory(), &Live::new(rules()), "")),
        ("over an overlay", confine(overlay(), rules())),
        ("live over an overlay", confine_live(overlay(), &Live::new(rules()), "")),
        ("over a mount", mounted),
    ];
    #[cfg(feature = "audit")]
    {
        use crate::audit::{AuditOptions, Auditor, Mode, Tracing, observe, observe_live};
        let auditor = || Auditor::new(Tracing, AuditOptions::default());
        let (enforce, live) = (Mode::Enforce, Live::new(rules()));
        guarded.push(("observed", observe(memory(), rules(), "/", enforce, auditor())));
        guarded.push(("observed live", observe_live(memory(), &live, "/", auditor())));
    }
    guarded
}

/// Returns [`rules`] for a tree whose guest path is `at`.
fn rules_under(at: &str) -> Arc<Policy> {
    let rules = Policy::builder()
        .allow(&format!("{at}/tmp/**"), Rights::all())
        .allow(&format!("{at}/data/**"), Rights::READ_ONLY | Rights::RENAME_FROM)
        .allow(&format!("{at}/data/**"), Rights::RENAME_INTO)
        .deny(&format!("{at}/data/**/*.key"), Rights::all())
        .hide(&format!("{at}/data/**/*.hid"));
    Arc::new(rules.build().unwrap())
}

fn hold(dir: &DirRef, at: &str) -> DirRef {
    let node = path::open(&**dir, at, Follow::No, OpenHow::HOLD_DIR).unwrap();
    node.into_dir().unwrap()
}

fn file(dir: &DirRef, at: &str, access: Access) -> Result<FileRef> {
    path::open(&**dir, at, Follow::No, OpenHow::new(access, OpenFlags::empty()))?.into_file()
}

fn rename(dir: &DirRef, old: &str, new: &str) -> Result<()> {
    path::rename(&**dir, old, &**dir, new)
}

/// Attacks through `held` after denied and hidden files were moved into its directory.
fn assert_confined(held: &DirRef, root: &DirRef, what: &str) {
    for at in ["sub/x.key", "sub/y.hid"] {
        let opened = file(held, at, Access::Read).map(drop);
        assert!(opened.is_err(), "{what}: {at} was opened for reading");
    }
    for at in ["ro.txt", "sub"] {
        let opened = file(held, at, Access::Write).map(drop);
        assert!(opened.is_err(), "{what}: {at} was opened for writing");
    }
    assert!(path::remove_file(&**held, "ro.txt").is_err(), "{what}");
    assert!(path::rename(&**held, "sub", &**root, "tmp/sub").is_err(), "{what}");
}

#[test]
fn rename_of_an_open_directory_to_fewer_rights_is_exdev() {
    for (what, root) in guarded() {
        for (at, held_at) in [("tmp/d", "tmp/d"), ("tmp/p", "tmp/p/d"), ("tmp/p", "tmp/p")] {
            let held = hold(&root, held_at);
            let moved = rename(&root, at, "data/d");
            assert_eq!(moved, Err(Errno::Xdev), "{what}: {at} with {held_at} held");
            // Files with fewer rights cannot be moved into a directory that stays in place.
            let _ = rename(&root, "data/sub", "data/d/sub");
            let _ = path::rename(&*root, "data/sub", &*held, "sub");
            let _ = path::rename(&*root, "data/ro.txt", &*held, "ro.txt");
            assert_confined(&held, &root, what);
        }
    }
}

#[test]
fn directory_handle_survives_a_rename_between_equivalent_paths() {
    for (what, root) in guarded() {
        let (held, data) = (hold(&root, "tmp/p/d"), hold(&root, "data/sub"));
        assert_eq!(rename(&root, "tmp/p", "tmp/d/p"), Ok(()), "{what}");
        assert_eq!(rename(&root, "data/sub", "data/other"), Ok(()), "{what}");
        path::create_dir(&*held, "new").unwrap();
        assert!(path::stat(&*root, "tmp/d/p/d/new", Follow::No).is_ok(), "{what}");
        assert_eq!(file(&data, "x.key", Access::Read).map(drop), Err(Errno::Acces), "{what}");
        assert_eq!(file(&data, "y.hid", Access::Read).map(drop), Err(Errno::Noent), "{what}");
    }
}

#[test]
fn file_handle_keeps_its_rights_after_a_rename_to_fewer() {
    for (what, root) in guarded() {
        let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
        let open = path::open(&*root, "tmp/f", Follow::No, how).unwrap().into_file().unwrap();
        assert_eq!(rename(&root, "tmp/f", "data/f"), Ok(()), "{what}");
        assert_eq!(open.append(&[IoSlice::new(b"more")]), Ok(4), "{what}");
        assert_eq!(file(&root, "data/f", Access::Write).map(drop), Err(Errno::Acces), "{what}");
    }
}

#[test]
fn preopens_of_one_filesystem_count_as_directory_handles() {
    let (store, policy) = (memory(), rules());
    let preopen = |at: &str| confine_at(hold(&store, at), policy.clone(), at);
    let (tmp, data, sub, d) =
        (preopen("tmp"), preopen("data"), preopen("data/sub"), preopen("tmp/d"));
    assert_eq!(path::rename(&*tmp, "d", &*data, "d"), Err(Errno::Xdev));
    assert_eq!(path::rename(&*tmp, "d", &*sub, "d"), Err(Errno::Xdev));
    // Renames the root of another preopen.
    assert_eq!(path::rename(&*data, "sub", &*data, "other"), Ok(()));
    assert_eq!(file(&sub, "x.key", Access::Read).map(drop), Err(Errno::Acces));
    assert_eq!(path::rename(&*tmp, "d", &*tmp, "p/e"), Ok(()));
    assert_eq!(path::rename(&*data, "ro.txt", &*d, "ro.txt"), Err(Errno::Xdev));
    assert!(d.stat(Descent::HERE).is_ok());
}

#[test]
fn dry_run_records_the_denied_rename_of_a_directory() {
    #[cfg(feature = "audit")]
    {
        use super::audit::Watched;
        use crate::audit::{Decision, Mode, replay};
        for (old, new, would) in [
            ("tmp/d", "data/d", Decision::Deny),
            ("tmp/d", "tmp/e", Decision::Allow),
            ("data/sub", "tmp/sub", Decision::Deny),
            ("data/sub", "data/e", Decision::Allow),
            ("data/ro.txt", "data/x.key", Decision::Deny),
        ] {
            for mode in [Mode::DryRun, Mode::Enforce] {
                let watched = Watched::new(memory(), rules(), mode);
                let renamed = rename(&watched.dir, old, new);
                let expected = match would {
                    Decision::Deny if mode == Mode::Enforce => Err(()),
                    _ => Ok(()),
                };
                assert_eq!(renamed.map_err(drop), expected, "{old} {new} {mode:?}");
                let records = watched.take();
                let record = records.iter().find(|record| record.to.is_some()).unwrap();
                assert_eq!(record.decision, would, "{old} {new} {mode:?}");
                assert_eq!(record.is_dir, !old.ends_with(".txt"), "{old} {new} {mode:?}");
                assert_eq!(replay(&rules(), record).decision, would, "{old} {new} {mode:?}");
            }
        }
    }
}

/// A policy that denies `denied` at the paths that `glob` matches.
fn but(glob: &str, denied: Rights) -> Policy {
    Policy::builder().allow("/**", Rights::all()).deny(glob, denied).build().unwrap()
}

fn read(dir: &DirRef, at: &str) -> Result<()> {
    file(dir, at, Access::Read).map(drop)
}

#[test]
fn live_directory_handle_follows_renames() {
    for observed in [false, true] {
        for (narrowed, by_handle) in [
            ("/tmp/p/**", Ok(())),
            ("/tmp/q/**", Err(Errno::Acces)),
            ("/tmp/p/d/**", Ok(())),
            ("/tmp/q/d", Ok(())),
            ("/tmp/q/d/f", Err(Errno::Acces)),
        ] {
            let live = Live::new(Arc::new(but("/x", Rights::READ)));
            let root = live_root(&live, observed);
            let (held, above) = (hold(&root, "tmp/p/d"), hold(&root, "tmp"));
            let how = OpenHow::new(Access::ReadWrite, OpenFlags::CREATE);
            let open = path::open(&*held, "f", Follow::No, how).unwrap().into_file().unwrap();
            assert_eq!(path::rename(&*above, "p", &*above, "q"), Ok(()));
            live.narrow(&but(narrowed, Rights::READ)).unwrap();
            let what = format!("{narrowed} {observed}");
            assert_eq!(read(&held, "f"), by_handle, "{what}");
            assert_eq!(read(&root, "tmp/q/d/f"), by_handle, "{what}");
            let mut byte = [0];
            let read = open.read_at(&mut [std::io::IoSliceMut::new(&mut byte)], 0).map(drop);
            assert_eq!(read, by_handle, "{what}: a file that is open");
        }
    }
}

fn live_root(live: &Live, observed: bool) -> DirRef {
    #[cfg(feature = "audit")]
    if observed {
        use crate::audit::{AuditOptions, Auditor, Tracing, observe_live};
        return observe_live(memory(), live, "", Auditor::new(Tracing, AuditOptions::default()));
    }
    let _ = observed;
    confine_live(memory(), live, "")
}

#[test]
fn live_file_handle_follows_renames() {
    for observed in [false, true] {
        let live = Live::new(Arc::new(but("/x", Rights::READ)));
        let root = live_root(&live, observed);
        let open = |at| file(&root, at, Access::ReadWrite).unwrap();
        let (moved, linked) = (open("data/ro.txt"), open("data/sub/x.key"));
        // A rename onto another hard link of the same node, which has no effect.
        path::link(&*root, "data/sub/x.key", &*root, "tmp/x").unwrap();
        assert_eq!(rename(&root, "data/sub/x.key", "tmp/x"), Ok(()));
        assert_eq!(rename(&root, "data/ro.txt", "tmp/ro.txt"), Ok(()));
        live.narrow(&but("/tmp/**", Rights::WRITE)).unwrap();
        assert_eq!(moved.append(&[IoSlice::new(b"A")]), Err(Errno::Acces));
        assert_eq!(linked.append(&[IoSlice::new(b"A")]), Ok(1));
        live.narrow(&but("/data/**", Rights::WRITE)).unwrap();
        assert_eq!(linked.append(&[IoSlice::new(b"A")]), Err(Errno::Acces));
    }
}

#[test]
fn recreated_name_is_another_directory() {
    let live = Live::new(Arc::new(but("/x", Rights::READ)));
    let root = live_root(&live, false);
    let old = hold(&root, "tmp/d");
    path::remove_dir(&*root, "tmp/d").unwrap();
    path::create_dir(&*root, "tmp/d").unwrap();
    let new = hold(&root, "tmp/d");
    assert_eq!(rename(&root, "tmp/d", "data/d"), Ok(()));
    assert_eq!(path::rename(&*root, "data/ro.txt", &*new, "f"), Ok(()));
    live.narrow(&but("/data/**", Rights::READ)).unwrap();
    assert_eq!(read(&new, "f"), Err(Errno::Acces));
    assert_eq!(read(&old, "f"), Err(Errno::Noent));
}
