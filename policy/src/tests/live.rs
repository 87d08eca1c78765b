//! Live policies: narrowing applies to open handles.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileRef, Follow, Name, Node, OpenFlags, OpenHow,
    Result, Rights, path,
};
use proptest::prelude::*;

use super::evaluator::{build, some_rules};
use super::op::{Times, Verb, apply, list, snapshot, some_op};
use super::{config, seeded};
use crate::{Lease, Live, Operation, Policy, confine_at, confine_live};

const EDIT: OpenHow = OpenHow::new(Access::ReadWrite, OpenFlags::empty());

fn all() -> Arc<Policy> {
    Arc::new(Policy::builder().allow("/**", Rights::all()).build().unwrap())
}

fn but(hide: &str, glob: &str, denied: Rights) -> Policy {
    let rules = Policy::builder().allow("/**", Rights::all());
    rules.hide(hide).deny(glob, denied).build().unwrap()
}

fn live() -> (Live, DirRef) {
    let live = Live::new(all());
    let root = confine_live(seeded(), &live, "");
    (live, root)
}

fn file(root: &DirRef, at: &str) -> FileRef {
    path::open(&**root, at, Follow::No, EDIT).unwrap().into_file().unwrap()
}

fn dir(root: &DirRef, at: &str) -> DirRef {
    let how = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    path::open(&**root, at, Follow::No, how).unwrap().into_dir().unwrap()
}

fn read(file: &FileRef) -> Result<()> {
    Verb::Read.apply(&Node::File(file.clone())).map(drop)
}

proptest! {
    #![proptest_config(config(300))]

    // After narrowing, the root and an open directory behave as if confined by the narrower policy
    // from the start.
    #[test]
    fn open_handles_obey_the_narrowed_policy(
        asked in some_rules(), again in some_rules(), hides in any::<bool>(),
        ops in prop::collection::vec((some_op(), any::<bool>()), 1..20),
    ) {
        let asked = [build(&asked), build(&again), but("/a/d/**", "/**/f", Rights::WRITE)];
        let (plain, live) = (seeded(), Live::new(all()));
        let inner = seeded();
        let root = confine_live(inner.clone(), &live, "");
        let held = dir(&root, "a");
        let files = [file(&root, "f"), file(&held, "f"), file(&held, "d/g")];
        let mut narrow = all();
        for asked in asked.iter().skip(usize::from(!hides)) {
            live.narrow(asked).unwrap();
            narrow = Arc::new(narrow.attenuate(asked).unwrap());
        }
        let fresh = confine_at(plain.clone(), narrow.clone(), "");
        let below = path::open(&*plain, "a", Follow::No, OpenHow::HOLD_DIR).unwrap();
        let beside = confine_at(below.into_dir().unwrap(), narrow.clone(), "a");
        for (op, in_held) in &ops {
            let (left, right) = if *in_held { (&held, &beside) } else { (&root, &fresh) };
            prop_assert_eq!(apply(left, op), apply(right, op), "{:?}", op);
            prop_assert_eq!(
                snapshot(&inner, Times::Ignored), snapshot(&plain, Times::Ignored), "{:?}", op
            );
        }
        for (file, at) in files.iter().zip(["f", "a/f", "a/d/g"]) {
            let rights = narrow.rights(narrow.at(at));
            for (verb, operation) in [
                (Verb::Read, Operation::Read),
                (Verb::Write, Operation::Write),
                (Verb::SetLen, Operation::SetLen),
                (Verb::SetTimes, Operation::SetTimes),
                (Verb::Stat, Operation::Stat),
            ] {
                let done = verb.apply(&Node::File(file.clone())).is_ok();
                prop_assert_eq!(done, rights.contains(operation.needs()), "{:?} {}", verb, at);
            }
        }
    }
}

#[test]
fn open_file_is_denied_at_its_next_operation() {
    let (live, root) = live();
    let (f, g) = (file(&root, "f"), file(&root, "a/d/g"));
    assert_eq!((read(&f), read(&g)), (Ok(()), Ok(())));
    live.narrow(&but("/a/d", "/f", Rights::READ)).unwrap();
    assert_eq!((read(&f), read(&g)), (Err(Errno::Acces), Err(Errno::Noent)));
    let write = |file: &FileRef| Verb::Write.apply(&Node::File(file.clone())).map(drop);
    assert_eq!((write(&f), write(&g)), (Ok(()), Err(Errno::Noent)));
    live.revoke();
    assert!(live.is_revoked());
    for verb in Verb::ALL {
        let answers = [&f, &g].map(|file| verb.apply(&Node::File(FileRef::clone(file))));
        assert!(answers.iter().all(Result::is_err), "{verb:?} {answers:?}");
    }
}

#[test]
fn narrowing_is_irreversible() {
    let (live, root) = live();
    let f = file(&root, "f");
    live.narrow(&but("/x", "/f", Rights::READ)).unwrap();
    live.narrow(&all()).unwrap();
    assert_eq!(read(&f), Err(Errno::Acces));
    live.revoke();
    live.narrow(&all()).unwrap();
    assert_eq!(apply(&root, &super::op::Op::RemoveFile("f".into())), Err(Errno::Acces));
    assert_eq!(root.sync(), Err(Errno::Acces));
}

#[test]
fn unopened_access_is_ebadf_under_any_policy() {
    let (live, root) = live();
    let held = path::open(&*root, "f", Follow::No, OpenHow::HOLD).unwrap().into_file().unwrap();
    assert_eq!(read(&held), Err(Errno::Badf));
    live.narrow(&but("/x", "/f", Rights::WRITE)).unwrap();
    assert_eq!(read(&held), Err(Errno::Badf));
}

#[test]
fn listing_in_progress_obeys_the_narrowed_policy() {
    for (narrower, told, answer) in [
        (but("/{b,f,l}", "/x", Rights::empty()), 1, Ok(())),
        (but("/x", "/", Rights::LIST), 1, Err(Errno::Acces)),
        (but("/x", "/a", Rights::all()), 4, Ok(())),
    ] {
        let (live, root) = live();
        let mut names = Vec::new();
        let listed = root.read_dir(Cookie::START, &mut |entry| {
            if names.is_empty() {
                live.narrow(&narrower).unwrap();
            }
            names.push(entry.name.as_str().to_owned());
            ControlFlow::Continue(())
        });
        assert_eq!((names.len(), listed), (told, answer), "{names:?}");
    }
}

#[test]
fn lease_ends_after_its_uses() {
    let (live, root) = live();
    live.lease(Lease { uses: Some(3), until: None });
    live.lease(Lease { uses: Some(9), until: None });
    let answers: Vec<_> = (0..5).map(|_| list(&*root).map(drop)).collect();
    let refused = Err(Errno::Acces);
    assert_eq!(answers, [Ok(()), Ok(()), Ok(()), refused, refused]);
    assert!(live.is_revoked());
}

#[test]
fn lease_ends_at_its_time() {
    let (live, root) = live();
    let f = file(&root, "f");
    live.lease(Lease { until: Some(Instant::now() + Duration::from_secs(600)), uses: None });
    assert_eq!(read(&f), Ok(()));
    live.lease(Lease { until: Some(Instant::now()), uses: None });
    assert_eq!(read(&f), Err(Errno::Acces));
    assert_eq!(list(&*root), Err(Errno::Acces));
}

#[test]
fn rename_between_live_policies_is_exdev() {
    let (live, root) = live();
    let (f, n) = (Name::new("f").unwrap(), Name::new("n").unwrap());
    let store = seeded();
    let left = confine_live(store.clone(), &live, "");
    let right = confine_live(store.clone(), &Live::new(live.policy()), "");
    let fixed = confine_at(store, live.policy(), "");
    for other in [&right, &fixed, &root] {
        assert_eq!(left.rename(f, &**other, n), Err(Errno::Xdev));
    }
    let held = dir(&left, "a");
    live.narrow(&but("/x", "/a/**", Rights::WRITE)).unwrap();
    assert_eq!(held.rename(f, &*left, n), Err(Errno::Xdev), "the narrower policy is asked");
    assert_eq!(left.rename(f, &*held, n), Ok(()));
}

#[test]
fn deep_position_is_released_without_recursion() {
    let (_live, root) = live();
    let (mut at, name) = (root, Name::new("d").unwrap());
    let mut depth = 0;
    loop {
        at.create_dir(name).unwrap();
        match at.open(Descent::from(name), OpenHow::HOLD_DIR) {
            Ok(node) => at = node.into_dir().unwrap(),
            Err(stop) => {
                assert_eq!(stop, Errno::Nametoolong.into());
                break;
            }
        }
        depth += 1;
    }
    assert_eq!(depth, 1 << 16);
    assert_eq!(list(&*at).map(|names| names.len()), Ok(1));
}
