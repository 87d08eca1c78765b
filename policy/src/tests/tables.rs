//! Tables: one behavior per row.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_vfs::{
    Access, DirRef, Errno, Follow, Name, Node, OpenFlags, OpenHow, Result, Rights, path,
};

use super::op::{Op, TIMES, Times, Verb, apply, every_how, list, seed, snapshot, use_handle};
use super::seeded;
use crate::automaton::policy::Row;
use crate::enforce::confined_file::ConfinedFile;
use crate::enforce::position::{FilePosition, FixedPosition};
use crate::{Policy, Refusal, State, confine, read_only};
use palisade_vfs::MemFs;

/// GHSA-2r75-cxrj-cmph (CVE-2026-47261): an open with read rights and `TRUNC` truncated a file of
/// a read-only preopen. Here no combination of access and flags changes any node, and neither does
/// any operation on the resulting handle.
#[test]
fn open_with_any_flags_leaves_a_read_only_tree_unchanged() {
    let mut opened = 0;
    for at in ["f", "n", "a", "l", "a/l", "b/l", "b/n", ".", "f/x", "n/n", "a/"] {
        for how in every_how() {
            for last in [Follow::Yes, Follow::No] {
                let inner = seeded();
                let before = snapshot(&inner, Times::Compared);
                let plain = path::open(&*seeded(), at, last, how);
                let answer = path::open(&*read_only(inner.clone()), at, last, how);
                if let Ok(node) = &answer {
                    use_handle(node);
                    opened += 1;
                }
                assert_eq!(before, snapshot(&inner, Times::Compared), "{at} {how:?}");
                match (plain, answer) {
                    (Ok(_), Ok(_)) => {}
                    (Ok(_), Err(errno)) => assert_eq!(errno, Errno::Rofs, "{at} {how:?}"),
                    (Err(plain), Err(errno)) => assert_eq!(errno, plain, "{at} {how:?} {last:?}"),
                    (Err(_), Ok(_)) => panic!("{at} {how:?} is opened only under the layer"),
                }
            }
        }
    }
    assert!(opened > 100, "{opened}");
}

/// Errors that precede `Rofs` in POSIX are returned first.
#[test]
fn preceding_errors_win_over_erofs() {
    let s = str::to_owned;
    for (op, errno) in [
        (Op::CreateDir(s("a")), Errno::Exist),
        (Op::CreateDir(s("n")), Errno::Rofs),
        (Op::CreateDir(s("n/n")), Errno::Noent),
        (Op::CreateSymlink(s("x"), s("b/l")), Errno::Exist),
        (Op::CreateSymlink(s("x"), s("n")), Errno::Rofs),
        (Op::RemoveFile(s("n")), Errno::Noent),
        (Op::RemoveFile(s("a")), Errno::Isdir),
        (Op::RemoveFile(s("f")), Errno::Rofs),
        (Op::RemoveFile(s("l")), Errno::Rofs),
        (Op::RemoveDir(s("n")), Errno::Noent),
        (Op::RemoveDir(s("f")), Errno::Notdir),
        (Op::RemoveDir(s("a")), Errno::Notempty),
        (Op::Rename(s("n"), s("m")), Errno::Noent),
        // A rename does not report a type mismatch: its errno would depend on which directory is
        // an ancestor of the other.
        (Op::Rename(s("f"), s("a")), Errno::Rofs),
        (Op::Rename(s("a"), s("f")), Errno::Rofs),
        (Op::Rename(s("b"), s("a")), Errno::Rofs),
        (Op::Rename(s("a/f"), s("a")), Errno::Rofs),
        (Op::Rename(s("a"), s("a/d/n")), Errno::Rofs),
        (Op::Rename(s("f"), s("a/f")), Errno::Rofs),
        (Op::Rename(s("f"), s("n")), Errno::Rofs),
        (Op::Link(s("n"), s("m")), Errno::Noent),
        (Op::Link(s("f"), s("a/f")), Errno::Exist),
        (Op::Link(s("a"), s("n")), Errno::Perm),
        (Op::Link(s("f"), s("n")), Errno::Rofs),
        (Op::SetTimes(s("n"), Follow::No), Errno::Noent),
        (Op::SetTimes(s("f"), Follow::No), Errno::Rofs),
        (Op::SetTimes(s("l"), Follow::No), Errno::Rofs),
        (Op::SetTimes(s("l"), Follow::Yes), Errno::Rofs),
        (Op::SetTimes(s("."), Follow::Yes), Errno::Rofs),
        (Op::ReadLink(s("f")), Errno::Inval),
    ] {
        assert_eq!(apply(&read_only(seeded()), &op), Err(errno), "{op:?}");
    }
    let create = |at: &str, access, more| {
        let how = OpenHow::new(access, OpenFlags::CREATE | more);
        path::open(&*read_only(seeded()), at, Follow::Yes, how).map(drop)
    };
    let none = OpenFlags::empty();
    assert_eq!(create("f", Access::Read, none), Ok(()), "it is there, so nothing is created");
    assert_eq!(create("f", Access::Write, none), Err(Errno::Rofs));
    assert_eq!(create("f", Access::Read, OpenFlags::TRUNCATE), Err(Errno::Rofs));
    assert_eq!(create("f", Access::Read, OpenFlags::EXCLUSIVE), Err(Errno::Exist));
    assert_eq!(create("b/l", Access::Read, OpenFlags::EXCLUSIVE), Err(Errno::Exist));
    assert_eq!(create("n", Access::Read, none), Err(Errno::Rofs));
    assert_eq!(create("n/n", Access::Read, none), Err(Errno::Noent));
    assert_eq!(create("a", Access::Read, none), Err(Errno::Isdir));
}

/// `futimens` works on a handle that was opened for reading, so the handle must refuse it.
#[test]
fn set_times_on_a_read_only_handle_is_erofs() {
    let layer = read_only(seeded());
    for access in [Access::Hold, Access::Read] {
        let how = OpenHow::new(access, OpenFlags::empty());
        let file = path::open(&*layer, "f", Follow::No, how).unwrap().into_file().unwrap();
        assert_eq!(file.set_times(TIMES), Err(Errno::Rofs));
        assert_eq!(file.set_len(0), Err(Errno::Inval));
        assert_eq!(file.sync(palisade_vfs::SyncScope::All), Ok(()));
    }
}

/// File operations that the layer denies, and those that the open's access mode excludes.
#[test]
fn file_operations_need_their_rights() {
    let how = OpenHow::new(Access::ReadWrite, OpenFlags::empty());
    for (verb, right, errno) in [
        (Verb::Read, Rights::READ, Errno::Badf),
        (Verb::Write, Rights::WRITE, Errno::Badf),
        (Verb::Append, Rights::WRITE, Errno::Badf),
        (Verb::SetLen, Rights::WRITE, Errno::Inval),
        (Verb::SetLen, Rights::SET_LEN, Errno::Acces),
        (Verb::Allocate, Rights::WRITE, Errno::Badf),
        (Verb::Allocate, Rights::SET_LEN, Errno::Acces),
        (Verb::SetTimes, Rights::SET_TIMES, Errno::Acces),
        (Verb::Stat, Rights::STAT, Errno::Acces),
    ] {
        let verb_with = |rights| {
            let inner = path::open(&*seeded(), "f", Follow::No, how).unwrap().into_file().unwrap();
            let policy = Arc::new(Policy::uniform(rights, Refusal::Denied));
            let position = FixedPosition { policy, state: Policy::START };
            let file = ConfinedFile { inner, position: FilePosition::Fixed(position) };
            verb.apply(&Node::File(Arc::new(file))).map(drop)
        };
        assert_eq!(
            verb_with(Rights::LOOKUP | (Rights::OF_FILES - right)),
            Err(errno),
            "{verb:?} {right:?}"
        );
        assert_eq!(verb_with(Rights::LOOKUP | Rights::OF_FILES), Ok(()), "{verb:?}");
    }
}

/// GHSA-4ch3-9j33-3pmj (CVE-2026-58494): a file was linked or renamed from a read-only preopen
/// into a writable one over the same host directory, and written there.
#[test]
fn rename_from_a_read_only_to_a_writable_mount_fails() {
    let store = seeded();
    let writable =
        confine(store.clone(), Arc::new(Policy::uniform(Rights::all(), Refusal::Denied)));
    let guarded = read_only(store.clone());
    let before = snapshot(&store, Times::Compared);
    let pairs =
        [(&guarded, &writable), (&writable, &guarded), (&guarded, &store), (&store, &guarded)];
    for (from, into) in pairs {
        for (old, new) in
            [("f", "n"), ("f", "a/n"), ("a/f", "f"), ("a", "n"), ("l", "n"), ("n", "m")]
        {
            let both = [
                path::rename(&**from, old, &**into, new),
                // Here the check of the old name precedes the comparison of the two directories.
                path::link(&**from, old, &**into, new),
            ];
            let missing = if old == "n" { Errno::Noent } else { Errno::Xdev };
            assert_eq!(both, [Err(Errno::Xdev), Err(missing)], "{old} {new}");
        }
    }
    let again = read_only(store.clone());
    let (f, n) = (Name::new("f").unwrap(), Name::new("n").unwrap());
    assert_eq!(guarded.link(f, &*again, n), Err(Errno::Xdev), "two mounts are two mounts");
    assert_eq!(before, snapshot(&store, Times::Compared));
}

#[test]
fn rename_never_adds_rights() {
    let rights = [Rights::READ_ONLY | Rights::RENAME_FROM | Rights::LINK_FROM, Rights::all()];
    let rows = rights.map(|rights| Row {
        rights,
        refusal: Refusal::Denied,
        names: BTreeMap::from([("b".into(), State::of_row(1))]),
        others: State::of_row(0),
    });
    // Below `b` all rights are granted, elsewhere only reading and renaming away.
    let mut rows = Vec::from(rows);
    rows[1].others = State::of_row(1);
    let inner = seeded();
    let layer = confine(inner.clone(), Arc::new(Policy::from_table(rows)));
    let before = snapshot(&inner, Times::Compared);
    for op in [Op::Rename("f".into(), "b/n".into()), Op::Link("f".into(), "b/n".into())] {
        assert_eq!(apply(&layer, &op), Err(Errno::Xdev), "{op:?}");
    }
    assert_eq!(before, snapshot(&inner, Times::Compared));
    assert_eq!(apply(&layer, &Op::Rename("b/l".into(), "b/m".into())), Ok(String::new()));
}

/// Each operation on a name needs the listed rights and no others.
#[test]
fn operations_need_exactly_their_rights() {
    let s = str::to_owned;
    let open = |at: &str, access, flags| Op::Open(s(at), Follow::No, OpenHow::new(access, flags));
    let pass = Rights::LOOKUP;
    let (none, dir) = (OpenFlags::empty(), OpenFlags::DIRECTORY);
    for (op, wanted) in [
        (open("f", Access::Hold, none), pass),
        (open("f", Access::Read, none), pass | Rights::READ),
        (open("f", Access::Write, none), pass | Rights::WRITE),
        (open("f", Access::Hold, OpenFlags::TRUNCATE), pass | Rights::SET_LEN),
        (open("f", Access::Hold, OpenFlags::CREATE), pass),
        (open("n", Access::Hold, OpenFlags::CREATE), pass | Rights::CREATE_FILE),
        (open("a", Access::Read, dir), pass | Rights::LIST),
        (open("a", Access::Read, none), pass | Rights::LIST),
        (Op::Stat(s("f"), Follow::No), pass | Rights::STAT),
        (Op::Stat(s("l"), Follow::No), pass | Rights::STAT),
        (Op::ReadLink(s("l")), pass | Rights::READ_LINK),
        (Op::CreateDir(s("n")), pass | Rights::CREATE_DIR),
        (Op::CreateSymlink(s("x"), s("n")), pass | Rights::CREATE_SYMLINK),
        (Op::RemoveFile(s("f")), pass | Rights::REMOVE_FILE),
        (Op::RemoveDir(s("a/e")), pass | Rights::REMOVE_DIR),
        (Op::Rename(s("f"), s("n")), pass | Rights::RENAME_FROM | Rights::RENAME_INTO),
        (Op::Link(s("f"), s("n")), pass | Rights::LINK_FROM | Rights::LINK_INTO),
        (Op::SetTimes(s("f"), Follow::No), pass | Rights::SET_TIMES),
    ] {
        let done = |rights| {
            let inner = seeded();
            seed(&inner, &[("mkdir", "a/e")]);
            let layer = confine(inner, Arc::new(Policy::uniform(rights, Refusal::Denied)));
            apply(&layer, &op).map(drop)
        };
        assert_eq!(done(wanted), Ok(()), "{op:?}");
        for right in wanted.iter() {
            // The right to read allows opening a directory, but not listing it.
            if right == Rights::LIST && matches!(&op, Op::Open(_, _, how) if !how.wants_dir()) {
                continue;
            }
            assert_eq!(done(Rights::all() - right), Err(Errno::Acces), "{op:?} {right:?}");
        }
    }
}

/// Links are followed before the check, so the policy applies at the target.
#[test]
fn policy_applies_to_the_target_of_a_link() {
    let root = MemFs::new().root();
    seed(
        &root,
        &[
            ("mkdir", "data"),
            ("mkdir", "data/deny"),
            ("mkdir", "secret"),
            ("file", "data/x"),
            ("file", "data/deny/x"),
            ("file", "secret/x"),
            ("link data", "cur"),
            ("link secret", "alias"),
            ("link data/x", "direct"),
            ("link data", "veiled"),
            ("link ../secret", "data/out"),
            ("link ../data", "secret/back"),
        ],
    );
    let layer = confine(root, links_policy());
    let open = |at: &str| path::open(&*layer, at, Follow::Yes, OpenHow::READ).map(drop);
    for (at, expected) in [
        ("data/x", Ok(())),
        ("cur/x", Ok(())),
        ("direct", Ok(())),
        ("veiled/x", Ok(())),
        ("veiled/out/x", Err(Errno::Acces)),
        ("data/../cur/../data/x", Ok(())),
        ("cur/deny/x", Err(Errno::Acces)),
        ("secret/x", Err(Errno::Acces)),
        ("alias/x", Err(Errno::Acces)),
        ("data/out/x", Err(Errno::Acces)),
        ("data/../secret/x", Err(Errno::Acces)),
        ("secret/back/x", Err(Errno::Acces)),
        ("secret/missing", Err(Errno::Acces)),
        ("data/missing", Err(Errno::Noent)),
        ("../data/x", Err(Errno::Escape)),
    ] {
        assert_eq!(open(at), expected, "{at}");
    }
    let stat = |at: &str, last| path::stat(&*layer, at, last).map(|stat| stat.kind);
    assert_eq!(stat("direct", Follow::Yes), Ok(palisade_vfs::FileType::File));
    assert_eq!(stat("direct", Follow::No), Err(Errno::Acces), "followed, but not shown");
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
    let exclusive = |at: &str| path::open(&*layer, at, Follow::Yes, how).map(drop);
    assert_eq!(exclusive("direct"), Err(Errno::Exist), "an exclusive open follows nothing");
    assert_eq!(exclusive("veiled"), Err(Errno::Acces), "and tells nothing");
    assert_eq!(exclusive("data/new"), Ok(()));
    assert_eq!(
        listed(&layer, "data"),
        Ok(vec!["deny".into(), "new".into(), "out".into(), "x".into()])
    );
    assert_eq!(listed(&layer, "."), Err(Errno::Acces));
    assert_eq!(list(&*layer), Err(Errno::Acces), "nor through a handle that is only held");
    // All rights are granted in `data`, except at the denied name.
    assert_eq!(path::create_dir(&*layer, "data/deny"), Err(Errno::Acces));
    assert_eq!(path::remove_dir(&*layer, "data/deny"), Err(Errno::Acces));
    assert_eq!(path::rename(&*layer, "data/x", &*layer, "data/deny"), Err(Errno::Acces));
}

fn listed(dir: &DirRef, at: &str) -> Result<Vec<String>> {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let dir = path::open(&**dir, at, Follow::Yes, how)?.into_dir()?;
    Ok(list(&*dir)?.into_iter().map(|(name, _)| name).collect())
}

/// Grants traversal of the root, all rights in `data` except at `data/deny`, and following links;
/// denies the rest.
fn links_policy() -> Arc<Policy> {
    let rows = [
        (Rights::LOOKUP, &[("data", 1), ("cur", 2), ("alias", 2), ("direct", 2)][..], 3),
        (Rights::all(), &[("deny", 3)][..], 1),
        (Rights::LOOKUP | Rights::READ_LINK, &[][..], 3),
        (Rights::empty(), &[][..], 3),
    ];
    let row = |(rights, names, others): (_, &[(&str, u32)], _)| Row {
        rights,
        refusal: Refusal::Denied,
        names: names.iter().map(|(name, row)| ((*name).into(), State::of_row(*row))).collect(),
        others: State::of_row(others),
    };
    Arc::new(Policy::from_table(rows.into_iter().map(row).collect()))
}

/// Creation in a removed directory is `Noent`, which precedes the denial.
#[test]
fn creation_in_a_removed_directory_is_enoent() {
    let hidden = Policy::builder().allow("/**", Rights::READ_ONLY).hide("/**/h").build().unwrap();
    for policy in [hidden, Policy::read_only()] {
        let inner = seeded();
        let layer = confine(inner.clone(), Arc::new(policy));
        path::create_dir(&*inner, "gone").unwrap();
        let gone = path::open(&*layer, "gone", Follow::No, OpenHow::HOLD_DIR).unwrap();
        let gone = gone.into_dir().unwrap();
        path::remove_dir(&*inner, "gone").unwrap();
        for at in ["n", "h"] {
            let how = OpenHow::new(Access::Write, OpenFlags::CREATE);
            let exclusive = OpenHow { flags: how.flags | OpenFlags::EXCLUSIVE, ..how };
            let open = |how| path::open(&*gone, at, Follow::No, how).map(drop);
            for (what, answer) in [
                ("create", open(how)),
                ("exclusive", open(exclusive)),
                ("directory", path::create_dir(&*gone, at)),
                ("link", path::create_symlink(&*gone, "target", at)),
                ("rename", path::rename(&*layer, "b", &*gone, at)),
                ("further name", path::link(&*layer, "f", &*gone, at)),
            ] {
                assert_eq!(answer, Err(Errno::Noent), "{what} {at}");
            }
        }
    }
}
