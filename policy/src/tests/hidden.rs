//! Hidden paths: indistinguishable from absent paths, except in the documented cases.

use std::sync::Arc;

use palisade_vfs::{
    Access, Descent, DirRef, Errno, Follow, MemFs, Node, OpenFlags, OpenHow, Rights, Stop, path,
};
use proptest::prelude::*;

use super::op::{Op, Times, apply, list, seed, snapshot, some_op};
use super::{SEED, config};
use crate::{Policy, confine};

const MORE: &[(&str, &str)] = &[
    ("mkdir", "b/m"),
    ("file", "b/m/f"),
    ("file", "b/gone"),
    ("mkdir", "a/d/n"),
    ("link d/n", "a/n"),
    ("link a/d/g", "n"),
];

fn hiding(globs: &[&str]) -> Arc<Policy> {
    let all = Policy::builder().allow("/**", Rights::all());
    Arc::new(globs.iter().fold(all, |rules, glob| rules.hide(glob)).build().unwrap())
}

/// Returns the whole tree, and a copy without the paths that `policy` hides.
fn twins(policy: &Policy) -> (DirRef, DirRef) {
    let (whole, bare) = (MemFs::new().root(), MemFs::new().root());
    let tree: Vec<_> = SEED.iter().chain(MORE).copied().collect();
    seed(&whole, &tree);
    let shown = tree.into_iter().filter(|(_, at)| !policy.is_hidden(policy.at(at)));
    seed(&bare, &shown.collect::<Vec<_>>());
    (whole, bare)
}

fn some_globs() -> impl Strategy<Value = Vec<&'static str>> {
    let globs = [
        "/a/d",
        "/**/f",
        "/b/*",
        "/l",
        "/a/l",
        "/b/m/**",
        "/b/m/f",
        "/**/n",
        "/a/d/{g,n}",
        "/**/l",
        "/a",
        "/b/[gl]*",
        "/f",
    ];
    prop::collection::vec(prop::sample::select(globs.to_vec()), 1..3)
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn hidden_paths_behave_as_absent_paths(
        globs in some_globs(), ops in prop::collection::vec(some_op(), 1..30)
    ) {
        let policy = hiding(&globs);
        let (whole, bare) = twins(&policy);
        let (hidden, absent) = (confine(whole.clone(), policy.clone()), confine(bare, policy));
        for op in ops {
            let before = snapshot(&whole, Times::Ignored);
            let answer = apply(&hidden, &op);
            // Documented difference: a directory with hidden entries is not removed or replaced.
            if matches!(op, Op::RemoveDir(_) | Op::Rename(..)) && answer == Err(Errno::Acces) {
                prop_assert_eq!(before, snapshot(&whole, Times::Ignored), "{:?}", op);
                continue;
            }
            prop_assert_eq!(answer, apply(&absent, &op), "{:?}", op);
            prop_assert_eq!(
                snapshot(&hidden, Times::Ignored), snapshot(&absent, Times::Ignored), "{:?}", op
            );
        }
    }

    #[test]
    fn hidden_paths_are_unchanged(
        globs in some_globs(), ops in prop::collection::vec(some_op(), 1..30)
    ) {
        let policy = hiding(&globs);
        let (whole, _) = twins(&policy);
        let before = snapshot(&whole, Times::Compared);
        let layer = confine(whole.clone(), policy.clone());
        for op in &ops {
            let _ = apply(&layer, op);
        }
        let after = snapshot(&whole, Times::Compared);
        let hidden = |at: &str| policy.is_hidden(policy.at(at));
        for (at, leaf) in before.iter().filter(|(at, _)| hidden(at)) {
            // An ancestor may have been renamed to a path at which the same names are hidden.
            if let Some(found) = after.get(at) {
                prop_assert_eq!((found.kind, &found.content), (leaf.kind, &leaf.content));
            } else {
                let moved = after.values().any(|found| found == leaf);
                prop_assert!(moved, "{at} is gone: {ops:?}");
            }
        }
    }
}

/// The documented differences, and the errors of similar operations.
#[test]
fn hidden_name_is_enoent_for_lookup_and_eacces_for_creation() {
    let policy = hiding(&["/f", "/a/d", "/b/l", "/x", "/b/m/f"]);
    let s = str::to_owned;
    let create = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let exclusive = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
    for there in [true, false] {
        for (op, errno) in [
            (Op::Stat(s("f"), Follow::Yes), Errno::Noent),
            (Op::Stat(s("a/d"), Follow::No), Errno::Noent),
            (Op::Stat(s("a/d/g"), Follow::No), Errno::Noent),
            (Op::Stat(s("b/l"), Follow::Yes), Errno::Noent),
            (Op::Stat(s("f/g"), Follow::Yes), Errno::Noent),
            (Op::Stat(s("l/d/g"), Follow::Yes), Errno::Noent),
            (Op::ReadLink(s("b/l")), Errno::Noent),
            (Op::RemoveFile(s("f")), Errno::Noent),
            (Op::RemoveDir(s("a/d")), Errno::Noent),
            (Op::RemoveFile(s("a/d/g")), Errno::Noent),
            (Op::Rename(s("f"), s("g")), Errno::Noent),
            (Op::Rename(s("f"), s("x")), Errno::Noent),
            (Op::Link(s("f"), s("g")), Errno::Noent),
            (Op::SetTimes(s("f"), Follow::No), Errno::Noent),
            (Op::Open(s("f"), Follow::Yes, OpenHow::READ), Errno::Noent),
            (Op::Open(s("a/d/g"), Follow::Yes, create), Errno::Noent),
            (Op::Open(s("f/g"), Follow::Yes, create), Errno::Noent),
            (Op::Open(s("f"), Follow::Yes, create), Errno::Acces),
            (Op::Open(s("f"), Follow::Yes, exclusive), Errno::Acces),
            (Op::Open(s("x"), Follow::Yes, create), Errno::Acces),
            (Op::Open(s("l/d"), Follow::Yes, create), Errno::Acces),
            (Op::CreateDir(s("f")), Errno::Acces),
            (Op::CreateDir(s("a/d")), Errno::Acces),
            (Op::CreateDir(s("a/d/x")), Errno::Noent),
            (Op::CreateSymlink(s("t"), s("b/l")), Errno::Acces),
            (Op::Rename(s("b"), s("f")), Errno::Acces),
            (Op::Rename(s("gone"), s("f")), Errno::Noent),
            (Op::Link(s("l"), s("f")), Errno::Acces),
            (Op::Rename(s("b"), s("a/d/x")), Errno::Noent),
        ] {
            let (whole, bare) = twins(&policy);
            let layer = confine(if there { whole } else { bare }, policy.clone());
            assert_eq!(apply(&layer, &op), Err(errno), "{op:?} {there}");
        }
    }
    let (whole, bare) = twins(&policy);
    let only_hidden = Op::RemoveDir("b/m".into());
    let onto = Op::Rename("a".into(), "b/m".into());
    assert_eq!(apply(&confine(whole.clone(), policy.clone()), &only_hidden), Err(Errno::Acces));
    assert_eq!(apply(&confine(whole, policy.clone()), &onto), Err(Errno::Xdev), "`a/d` is hidden");
    assert_eq!(apply(&confine(bare, policy), &only_hidden), Ok(String::new()));
}

#[test]
fn counts_of_hidden_names_are_masked() {
    let root = MemFs::new().root();
    seed(&root, &[("mkdir", "a"), ("mkdir", "a/h"), ("file", "f")]);
    path::link(&*root, "f", &*root, "a/h/f").unwrap();
    let layer = confine(root, hiding(&["/a/h"]));
    let stat = |at| path::stat(&*layer, at, Follow::No).unwrap();
    assert_eq!((stat("a").nlink, stat("a").size, stat("f").nlink), (1, 0, 1));
    let node = path::open(&*layer, "f", Follow::No, OpenHow::READ).unwrap();
    assert_eq!(node.into_file().unwrap().stat().unwrap().nlink, 1);
    let Node::Dir(dir) = path::open(&*layer, "a", Follow::No, OpenHow::READ).unwrap() else {
        panic!("a directory");
    };
    assert_eq!(list(&*dir), Ok(vec![]));
    assert_eq!(dir.stat(palisade_vfs::Descent::HERE).unwrap().nlink, 1);
}

#[test]
fn error_of_the_parent_precedes_enoent_of_a_hidden_name() {
    let root = MemFs::new().root();
    seed(&root, &[("mkdir", "a"), ("file", "a/x"), ("file", "f"), ("link a", "l")]);
    let layer = confine(root, hiding(&["/*/x"]));
    let stat = |path| layer.stat(Descent::new(path).unwrap()).unwrap_err();
    assert_eq!(stat("a/x"), Stop::Errno(Errno::Noent));
    assert_eq!(stat("gone/x"), Stop::Errno(Errno::Noent));
    assert_eq!(stat("f/x"), Stop::Errno(Errno::Notdir));
    assert_eq!(stat("l/x"), Stop::Link { at: 0, target: "a".into() });
}
