//! Properties of overlay changes: listing, commit, discard, snapshots, on random runs and trees.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests look at the host, and fail by panicking"
)]

mod common;

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use palisade_props::{Flavor, Leaf, Live, Op, Run, Runs, Script, Tree, cases, runner};
use palisade_vfs::overlay::{
    Change, ChangeKind, Changes, Lowers, Overlay, UpperRef, commit, diff, discard, flatten,
};
use palisade_vfs::{
    Access, Cookie, Descent, Dir, DirRef, Entry, Errno, Follow, HostDir, MemFs, Name, Node,
    OpenFlags, OpenHow, Result, SetTimes, Stat, Stop, Timestamp, copy_tree, path,
};
use proptest::test_runner::{TestCaseError, TestError};

/// The operations that create a tree, and two later sequences of operations.
type Story = (Vec<Op>, Vec<Op>, Vec<Op>);

fn run(root: DirRef, ops: &[Op]) {
    let mut live = Live::new(root);
    for op in ops {
        live.run(op);
    }
}

/// Checks a property on generated stories and prints the smallest failing one.
fn check(property: impl Fn(&Story, u32) -> Result<(), String>) {
    let runs = || Runs(Flavor::Plain);
    let last = RefCell::new(String::new());
    let result =
        runner(cases(150)).run(&((runs(), runs(), runs()), 0_u32..60), |(story, number)| {
            match property(&story, number) {
                Ok(()) => Ok(()),
                Err(why) => {
                    *last.borrow_mut() = why;
                    Err(TestCaseError::fail("fails"))
                }
            }
        });
    if let Err(TestError::Fail(_, (story, number))) = result {
        let why = property(&story, number).err().unwrap_or_else(|| last.take());
        let lines = |ops: &[Op]| ops.iter().map(|op| format!("  {op}\n")).collect::<String>();
        let (tree, first, later) = (lines(&story.0), lines(&story.1), lines(&story.2));
        panic!("{why}\nthe tree:\n{tree}what was done:\n{first}later:\n{later}number {number}");
    }
    result.unwrap();
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, want: T, got: T) -> Result<(), String> {
    if want == got { Ok(()) } else { Err(format!("{what}: {want:?} is wanted, it is {got:?}")) }
}

/// A snapshot: the tree and the modification times.
#[derive(PartialEq)]
struct View(Tree, BTreeMap<String, Timestamp>);

fn view(root: &DirRef) -> View {
    let tree = Tree::snapshot(&**root).unwrap();
    let paths = std::iter::once("").chain(tree.iter().map(|(path, _)| path));
    let times = |path: &str| {
        let stat = root.stat(Descent::new(path).unwrap()).unwrap();
        (path.to_owned(), stat.modified)
    };
    let times = paths.map(times).collect();
    View(tree, times)
}

fn same_view(what: &str, want: &View, got: &View) -> Result<(), String> {
    if want.0 != got.0 {
        return Err(format!("{what}: another tree:\n{}", want.0.diff(&got.0)));
    }
    for (path, times) in &want.1 {
        same(&format!("{what}: times of `{path}`"), times, &got.1[path])?;
    }
    Ok(())
}

/// Returns the tree of a story and an overlay over it after the first sequence.
fn begun(story: &Story) -> (DirRef, Overlay) {
    let lower = MemFs::new().root();
    run(lower.clone(), &story.0);
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(lower.clone())).unwrap();
    if story.0.len().is_multiple_of(2) {
        // Closes idle directories between two operations.
        overlay.set_idle_max(0);
    }
    run(overlay.root(), &story.1);
    (lower, overlay)
}

/// Copies a tree to another filesystem.
fn copy(from: &DirRef, to: DirRef) -> DirRef {
    copy_tree(from, &to).unwrap();
    to
}

/// A tree, operations on it, and the resulting changes.
const TABLE: &[(&str, &str, &str)] = &[
    ("", "", ""),
    ("write f \"1\"", "open f write", ""),
    ("write f \"1\"", "write f \"1\"\nutimes f 5 5\nutimes f keep 7", "M f\n"),
    ("write f \"1\"", "write f \"2\"", "M f\n"),
    ("write f \"1\"", "unlink f", "D f\n"),
    ("write f \"1\"", "rename f g", "R f -> g\n"),
    ("write f \"1\"", "rename f g\nrename g f", ""),
    ("write f \"1\"", "rename f g\nwrite g \"2\"", "R f -> g\nM g\n"),
    ("write f \"1\"", "rename f g\nwrite f \"2\"", "M f\nR f -> g\n"),
    ("write f \"1\"\nwrite g \"2\"", "rename f g", "R f -> g\n"),
    ("write f \"1\"", "link f g", "A g\n"),
    ("write f \"1\"\nlink f g", "write f \"2\"", "M f\nM g\n"),
    ("write f \"1\"\nlink f g", "rename f h", "R f -> h\n"),
    ("write f \"1\"", "unlink f\nmkdir f\nwrite f/a \"\"", "M f/\nA f/a\n"),
    ("mkdir d\nwrite d/a \"\"", "unlink d/a\nrmdir d\nwrite d \"\"", "M d\n"),
    ("symlink l -> a", "unlink l\nsymlink l -> b", "M l\n"),
    ("mkdir d", "write d/a \"\"", "A d/a\n"),
    ("mkdir d", "write d/a \"\"\nutimes d 5 5", "M d/\nA d/a\n"),
    ("mkdir d\nwrite d/a \"\"\nmkdir d/c", "unlink d/a\nrmdir d/c\nrmdir d", "D d/\n"),
    ("mkdir d\nwrite d/a \"\"", "unlink d/a\nrmdir d\nmkdir d\nwrite d/b \"\"", "D d/a\nA d/b\n"),
    (
        "mkdir d\nmkdir d/c\nwrite d/c/x \"\"",
        "unlink d/c/x\nrmdir d/c\nrmdir d\nmkdir d\nmkdir d/c",
        "D d/c/x\n",
    ),
    ("mkdir d\nwrite d/a \"\"\nwrite d/b \"\"", "rename d e", "R d/ -> e/\n"),
    ("mkdir d\nwrite d/a \"\"", "rename d e\nmkdir d", "M d/\nR d/ -> e/\n"),
    ("mkdir d\nwrite d/a \"\"", "rename d e\nunlink e/a", "D d/a\nR d/ -> e/\n"),
    ("mkdir d\nwrite d/a \"\"", "rename d e\nrename e/a e/b", "R d/ -> e/\nR d/a -> e/b\n"),
    ("mkdir d\nwrite d/a \"\"", "rename d e\nwrite e/a \"2\"", "R d/ -> e/\nM e/a\n"),
    ("mkdir d\nwrite d/a \"\"", "rename d/a a\nrmdir d", "R d/a -> a\nD d/\n"),
    ("mkdir d\nwrite d/a \"\"", "mkdir e\nrename d e/d", "A e/\nR d/ -> e/d/\n"),
    (
        "mkdir a\nwrite a/f \"1\"\nmkdir b\nwrite b/f \"2\"",
        "rename a t\nrename b a\nrename t b",
        "R b/ -> a/\nR a/ -> b/\n",
    ),
];

#[test]
fn changes_have_the_expected_text() {
    for (tree, script, want) in TABLE {
        let lower = MemFs::new().root();
        Tree::parse(tree).unwrap().build(&*lower).unwrap();
        let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(lower.clone())).unwrap();
        run(overlay.root(), &Script::parse(script).unwrap().ops());
        assert_eq!(overlay.changes().unwrap().to_string(), *want, "{tree}\n---\n{script}");
        // The changes can be committed.
        let want = view(&overlay.root());
        let target = copy(&lower, MemFs::new().root());
        commit(&overlay.upper().unwrap(), &target, &mut |_| {}).unwrap();
        same_view(script, &want, &view(&target)).unwrap();
    }
}

#[test]
fn control_characters_are_escaped() {
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(MemFs::new().root())).unwrap();
    overlay.root().create_dir(Name::new("\u{1b}[2J\n\u{202e}x").unwrap()).unwrap();
    let shown = overlay.changes().unwrap().to_string();
    assert_eq!(shown, "A \\u{1b}[2J\\n\\u{202e}x/\n");
}

/// Names that look like temporary names neither block a commit nor get lost.
#[test]
fn names_like_temporary_names_are_committed() {
    let put = |text: &str, root: &DirRef| Tree::parse(text).unwrap().build(&**root).unwrap();
    let target = MemFs::new().root();
    let all = "mkdir .palisade-commit-00000001\nwrite .palisade-commit-00000000 \"x\"\nmkdir d\n\
        write d/.palisade-commit-0000000a \"y\"\nwrite d/.wh.x \"z\"\n\
        write .palisade-commit-00000000000000000000000000000000-00000000 \"z\"\nwrite a \"\"";
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(MemFs::new().root())).unwrap();
    put(all, &overlay.root());
    commit(&overlay.upper().unwrap(), &target, &mut |_| {}).unwrap();
    assert_eq!(Tree::snapshot(&*target).unwrap(), Tree::parse(all).unwrap());
    // A later commit does not remove them as leftovers.
    let more = Overlay::new(MemFs::new().upper(), &Lowers::of(target.clone())).unwrap();
    put("write b \"\"", &more.root());
    path::rename(&*more.root(), "b", &*more.root(), "d/c").unwrap();
    put("write b \"\"", &more.root());
    commit(&more.upper().unwrap(), &target, &mut |_| {}).unwrap();
    let want = Tree::parse(&format!("{all}\nwrite b \"\"\nwrite d/c \"\"")).unwrap();
    assert_eq!(Tree::snapshot(&*target).unwrap(), want);
}

#[test]
fn commit_replaces_links_and_never_follows_them() {
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(MemFs::new().root())).unwrap();
    let tree = Tree::parse("mkdir d\nwrite d/f \"new\"\nwrite g \"new\"").unwrap();
    tree.build(&*overlay.root()).unwrap();
    let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
    let host = HostDir::open_ambient(temp.path()).unwrap();
    let outside =
        "mkdir out\nwrite out/f \"old\"\nmkdir t\nsymlink t/d -> ../out\nsymlink t/g -> ../out/f";
    Tree::parse(outside).unwrap().build(&*host).unwrap();
    let target = HostDir::open_ambient(&temp.path().join("t")).unwrap();
    commit(&overlay.upper().unwrap(), &target, &mut |_| {}).unwrap();
    let want = "mkdir out\nwrite out/f \"old\"\nmkdir t\nmkdir t/d\nwrite t/d/f \"new\"\nwrite t/g \"new\"";
    assert_eq!(Tree::snapshot(&*host).unwrap(), Tree::parse(want).unwrap());
}

#[test]
fn restored_tree_has_only_its_own_directories() {
    let lower = MemFs::new().root();
    Tree::parse("mkdir d\nwrite d/f \"1\"\nwrite g \"g\"").unwrap().build(&*lower).unwrap();
    let overlay = Overlay::new(MemFs::new().upper(), &Lowers::of(lower)).unwrap();
    let root = overlay.root();
    let open = |path: &str, how| path::open(&*root, path, Follow::No, how);
    let before = overlay.snapshot(MemFs::new().upper()).unwrap();
    run(root.clone(), &Script::parse("rename d e\nmkdir n\nmkdir n/m").unwrap().ops());
    let hold = |path: &str| open(path, OpenHow::HOLD_DIR).unwrap().into_dir().unwrap();
    let (moved, new, inner) = (hold("e"), hold("n"), hold("n/m"));
    let lower_file = open("g", OpenHow::READ).unwrap().into_file().unwrap();

    let write = OpenHow::new(Access::Write, OpenFlags::CREATE);
    let busy = open("busy", write).unwrap();
    assert_eq!(overlay.restore(&before, MemFs::new().upper()), Err(Errno::Txtbsy));
    drop(busy);
    overlay.restore(&before, MemFs::new().upper()).unwrap();

    let want = Tree::parse("mkdir d\nwrite d/f \"1\"\nwrite g \"g\"").unwrap();
    assert_eq!(Tree::snapshot(&*root).unwrap(), want);
    let name = Name::new("x").unwrap();
    for gone in [moved, new, inner] {
        assert_eq!(gone.create_dir(name), Err(Errno::Noent));
        assert_eq!(gone.stat(Descent::HERE).unwrap().nlink, 0);
        assert_eq!(gone.set_times(Descent::HERE, SetTimes::default()), Ok(()));
    }
    // The file keeps its path, so its lower node is the one that is copied up.
    assert_eq!(lower_file.stat().unwrap().nlink, 1);
    let more = Script::parse("write g \"more\"").unwrap();
    run(root.clone(), &more.ops());
    let mut bytes = [0; 9];
    let n = lower_file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0).unwrap();
    assert_eq!(&bytes[..n], b"more");
    drop(lower_file);

    // A handle on a directory that exists before and after stays valid.
    let kept = hold("d");
    kept.create_dir(name).unwrap();
    overlay.restore(&before, MemFs::new().upper()).unwrap();
    assert_eq!(kept.stat(name.into()).unwrap_err(), Stop::Errno(Errno::Noent));
    kept.create_dir(name).unwrap();
    assert!(open("d/x", OpenHow::HOLD_DIR).is_ok());
    assert_eq!(overlay.changes().unwrap().to_string(), "A d/x/\n");
}

fn commits_to(story: &Story, target: &dyn Fn() -> DirRef) -> Result<(), String> {
    let (lower, overlay) = begun(story);
    let want = view(&overlay.root());
    let target = copy(&lower, target());
    let upper = overlay.upper().unwrap();
    let mut last = 0;
    let committed = commit(&upper, &target, &mut |at| {
        assert!(at.done >= last && at.done <= at.total && at.bytes_done <= at.bytes_total);
        last = at.done;
    });
    committed.map_err(|error| error.to_string())?;
    same_view("after the commit", &want, &view(&target))?;
    let again = commit(&upper, &target, &mut |_| {}).map_err(|error| error.to_string())?;
    same_view("after a second one", &want, &view(&target))?;
    let idle = (again.dirs, again.files, again.symlinks, again.hard_links, again.removed);
    same("what the second one did", (0, 0, 0, 0, 0), idle)?;
    same_view("the overlay itself", &want, &view(&overlay.root()))
}

#[test]
fn commit_makes_a_memory_target_equal_to_the_overlay() {
    check(|story, _| commits_to(story, &|| MemFs::new().root()));
}

#[test]
fn commit_makes_a_host_target_equal_to_the_overlay() {
    check(|story, _| {
        let temp = tempfile::tempdir_in(common::TMPFS).unwrap();
        commits_to(story, &|| HostDir::open_ambient(temp.path()).unwrap())
    });
}

#[test]
fn interrupted_commit_is_completed_by_the_next() {
    let interrupted = AtomicU32::new(0);
    check(|story, number| {
        let (lower, overlay) = begun(story);
        let want = view(&overlay.root());
        let target = copy(&lower, MemFs::new().root());
        let left = Arc::new(AtomicU64::new((number % 20).into()));
        let failing: DirRef = Arc::new(Failing { inner: target.clone(), left });
        let upper = overlay.upper().unwrap();
        if let Err(error) = commit(&upper, &failing, &mut |_| {}) {
            same("the error", Errno::Nospc, error.errno)?;
            interrupted.fetch_add(1, Ordering::Relaxed);
        }
        // Each file is the old one or the new one, never a partial one.
        let (old, new) = (flat(&view(&lower).0), flat(&want.0));
        for (path, leaf) in flat(&view(&target).0) {
            let is_whole = [&old, &new].iter().any(|tree| tree.get(&path) == Some(&leaf));
            if !is_whole && !path.contains(".palisade-commit-") && leaf != Leaf::Dir {
                return Err(format!("`{path}` is neither old nor new: {leaf:?}"));
            }
        }
        commit(&upper, &target, &mut |_| {}).map_err(|error| error.to_string())?;
        same_view("after the second commit", &want, &view(&target))
    });
    assert!(interrupted.into_inner() > cases(150) / 4, "hardly any was interrupted");
}

#[test]
fn changes_are_complete_and_minimal() {
    let renamed = AtomicU32::new(0);
    check(|story, number| {
        let (lower, overlay) = begun(story);
        let mut base = lower.clone();
        if number % 2 == 0 {
            // The same over a stack of snapshots.
            overlay.snapshot(MemFs::new().upper()).unwrap();
            base = overlay.lowers().unwrap().root();
            run(overlay.root(), &story.2);
        }
        let (old, new) = (view(&base), view(&overlay.root()));
        let changes = overlay.changes().map_err(|error| error.to_string())?;
        let is_rename = |change: &Change| matches!(change.kind, ChangeKind::Renamed { .. });
        let count = changes.iter().filter(is_rename).count();
        renamed.fetch_add(u32::try_from(count).unwrap(), Ordering::Relaxed);
        let got = apply(&old.0, &new.0, &changes).map_err(|why| format!("{why}:\n{changes}"))?;
        for (path, leaf) in flat(&new.0) {
            same(&format!("`{path}` with\n{changes}"), Some(&leaf), got.get(&path))?;
        }
        same(&format!("the paths with\n{changes}"), flat(&new.0).len(), got.len())?;
        for change in changes.iter() {
            is_real(&change, &old, &new).map_err(|why| format!("{change}: {why}"))?;
        }
        Ok(())
    });
    assert!(renamed.into_inner() > cases(150) / 4, "hardly anything was renamed");
}

/// Returns the tree with each hard link as a separate file.
fn flat(tree: &Tree) -> BTreeMap<String, Leaf> {
    let all: BTreeMap<_, _> = tree.iter().collect();
    let whole = |leaf: &Leaf| match leaf {
        Leaf::HardLink(first) => all[first.as_str()].clone(),
        leaf => leaf.clone(),
    };
    tree.iter().map(|(path, leaf)| (path.to_owned(), whole(leaf))).collect()
}

fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Removes the node at a path and its descendants, and returns them with relative paths.
fn take(from: &mut BTreeMap<String, Leaf>, above: &str) -> Vec<(String, Leaf)> {
    let paths: Vec<_> = from.keys().filter(|path| is_within(path, above)).cloned().collect();
    let one = |path: String| (path[above.len()..].to_owned(), from.remove(&path).unwrap());
    paths.into_iter().map(one).collect()
}

/// Applies the changes to the old tree, with the bytes of the new tree.
fn apply(old: &Tree, new: &Tree, changes: &Changes) -> Result<BTreeMap<String, Leaf>, String> {
    let (mut tree, new) = (flat(old), flat(new));
    let mut moved: BTreeMap<&str, Vec<(String, Leaf)>> = BTreeMap::new();
    // Renames and removals inside a renamed directory come first.
    let all: Vec<_> = changes.iter().collect();
    let mut leaving: Vec<_> = all
        .iter()
        .filter_map(|change| match &change.kind {
            ChangeKind::Renamed { from } => Some((&**from, Some(&*change.path))),
            ChangeKind::Removed => Some((&*change.path, None)),
            ChangeKind::Added | ChangeKind::Modified => None,
        })
        .collect();
    leaving.sort();
    for (from, to) in leaving.into_iter().rev() {
        let taken = take(&mut tree, from);
        if taken.is_empty() {
            return Err(format!("`{from}` is not there"));
        }
        if let Some(to) = to {
            moved.insert(to, taken);
        }
    }
    for change in &all {
        if change.replaces.is_some() {
            take(&mut tree, &change.path);
        }
        match &change.kind {
            ChangeKind::Removed => {}
            ChangeKind::Renamed { .. } => {
                for (rest, leaf) in &moved[&*change.path] {
                    tree.insert(format!("{}{rest}", change.path), leaf.clone());
                }
            }
            ChangeKind::Added | ChangeKind::Modified if change.path.is_empty() => {}
            ChangeKind::Added | ChangeKind::Modified => {
                let leaf = new.get(&*change.path).ok_or("something is not there")?;
                tree.insert(change.path.to_string(), leaf.clone());
            }
        }
    }
    Ok(tree)
}

/// Checks that the change is a difference between the trees.
fn is_real(change: &Change, old: &View, new: &View) -> Result<(), String> {
    let path = &*change.path;
    let (was, is) = (flat(&old.0), flat(&new.0));
    let fine = match &change.kind {
        ChangeKind::Removed => was.contains_key(path),
        ChangeKind::Added => is.contains_key(path),
        ChangeKind::Renamed { from } => was.contains_key(&**from) && is.contains_key(path),
        // Inside a renamed directory the old path differs.
        ChangeKind::Modified if !old.1.contains_key(path) => is.contains_key(path),
        ChangeKind::Modified => {
            was.get(path) != is.get(path)
                || old.1[path] != new.1[path]
                || change.replaces.is_some()
                || old
                    .0
                    .iter()
                    .chain(new.0.iter())
                    .any(|(_, leaf)| matches!(leaf, Leaf::HardLink(_)))
        }
    };
    if fine { Ok(()) } else { Err("it makes no difference".to_owned()) }
}

#[test]
fn discard_restores_the_lowers() {
    check(|story, _| {
        let (lower, overlay) = begun(story);
        let upper = overlay.upper().unwrap();
        drop(overlay);
        discard(&upper).map_err(|error| error.to_string())?;
        let lowers = Lowers::of(lower.clone());
        let overlay = Overlay::new(upper.clone(), &lowers).unwrap();
        same_view("the overlay", &view(&lower), &view(&overlay.root()))?;
        same("changes", 0, diff(&upper, &lowers).unwrap().len())
    });
}

#[test]
fn restored_snapshots_are_unchanged_and_forks_are_isolated() {
    check(|story, _| {
        let (_, overlay) = begun(story);
        let want = view(&overlay.root());
        let root = overlay.root();
        let fork = overlay.fork(MemFs::new().upper(), MemFs::new().upper()).unwrap();
        let snapshot = overlay.lowers().unwrap();
        run(root.clone(), &story.2);
        same_view("the fork", &want, &view(&fork.root()))?;
        run(fork.root(), &story.0);
        same_view("the snapshot", &want, &view(&snapshot.root()))?;
        overlay.restore(&snapshot, MemFs::new().upper()).map_err(|errno| errno.to_string())?;
        same_view("what was restored", &want, &view(&root))?;
        let forked = view(&fork.root());
        run(root.clone(), &story.2);
        same_view("the fork, later", &forked, &view(&fork.root()))?;
        // The restored overlay equals a new one.
        let fresh = Overlay::new(MemFs::new().upper(), &snapshot).unwrap();
        run(fresh.root(), &story.2);
        same("the tree after more", view(&fresh.root()).0, view(&root).0)
    });
}

/// Builds a stack of snapshots over the tree of a story.
fn stack(story: &Story) -> (Lowers, View) {
    let (_, overlay) = begun(story);
    for ops in [&story.2, &story.0, &story.1] {
        overlay.snapshot(MemFs::new().upper()).unwrap();
        run(overlay.root(), ops);
    }
    let lowers = overlay.snapshot(MemFs::new().upper()).unwrap();
    let seen = view(&lowers.root());
    (lowers, seen)
}

#[test]
fn flattened_stack_shows_the_same_tree() {
    check(|story, number| {
        let (lowers, want) = stack(story);
        let count = usize::try_from(number).unwrap() % lowers.count() + 1;
        let into: UpperRef = MemFs::new().upper();
        let flat = flatten(&lowers, count, &into).map_err(|error| error.to_string())?;
        same("lowers", lowers.count() - count + 1, flat.count())?;
        same_view("what is flat", &want, &view(&flat.root()))?;
        // An overlay over it shows the same.
        let mut trees = Vec::new();
        for lowers in [&lowers, &flat] {
            let overlay = Overlay::new(MemFs::new().upper(), lowers).unwrap();
            run(overlay.root(), &story.2);
            trees.push(view(&overlay.root()).0);
        }
        same("the tree after more", &trees[0], &trees[1])
    });
}

/// A directory that fails each change after a given number.
struct Failing {
    inner: DirRef,
    left: Arc<AtomicU64>,
}

impl Failing {
    fn change(&self) -> Result<()> {
        let less = |left: u64| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(Errno::Nospc),
        }
    }
}

fn unwrapped(dir: &dyn Dir) -> &dyn Dir {
    match (dir as &dyn Any).downcast_ref::<Failing>() {
        Some(failing) => &*failing.inner,
        None => dir,
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Failing {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        if how.access.writes() {
            self.change()?;
        }
        Ok(match self.inner.open(path, how)? {
            Node::File(file) => Node::File(file),
            Node::Dir(inner) => {
                Node::Dir(Arc::new(Failing { inner, left: Arc::clone(&self.left) }))
            }
        })
    }
    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat(path)
    }
    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.inner.stat_following(path)
    }
    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        self.inner.read_link(name)
    }
    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.read_dir(from, each)
    }
    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        self.change()?;
        self.inner.create_dir(name)
    }
    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.change()?;
        self.inner.create_symlink(name, target)
    }
    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        self.change()?;
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        self.change()?;
        self.inner.remove_dir(name)
    }
    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.change()?;
        self.inner.rename(name, unwrapped(into), new_name)
    }
    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        self.change()?;
        self.inner.link(name, unwrapped(into), new_name)
    }
    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        self.change()?;
        self.inner.set_times(path, times)
    }
    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }
    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}
