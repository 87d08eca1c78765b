//! A process that ends between any two steps of a change leaves the old tree or the new one, and no
//! debris after the upper is opened again.

use std::process::Command;

use super::super::fault_points;
use super::*;

/// The environment variable with the job of the child process.
const JOB: &str = "PALISADE_LAYER_CRASH";
/// More steps than any change takes.
const STEPS_MAX: u32 = 64;

type Change = fn(&UpperRef);

/// Every change of several system calls, with the differences from the old or the new tree that a
/// crash may leave where whiteouts are files or a directory replaces a directory.
const CHANGES: &[(&str, Change, &[&[&str]])] = &[
    ("file over whiteout", |l| write(&**l, "gone", ""), &[]),
    ("link over whiteout", |l| l.create_symlink(n("gone"), "x").unwrap(), &[]),
    ("dir over whiteout", |l| l.create_dir(n("gone")).unwrap(), &[]),
    ("opaque dir", |l| l.create_opaque_dir(n("new")).unwrap(), &[]),
    ("opaque dir over whiteout", |l| l.create_opaque_dir(n("gone")).unwrap(), &[]),
    ("hard link over whiteout", |l| l.link(n("file"), &**l, n("gone")).unwrap(), &[]),
    ("remove hollow", |l| l.remove_dir(n("hollow")).unwrap(), &[]),
    ("white out nothing", |l| l.create_whiteout(n("new")).unwrap(), &[]),
    ("white out file", |l| l.create_whiteout(n("file")).unwrap(), &[]),
    ("white out empty", |l| l.create_whiteout(n("empty")).unwrap(), &[]),
    ("white out hollow", |l| l.create_whiteout(n("hollow")).unwrap(), &[]),
    ("copy up file", |l| drop(copy_up_file(&**l, "new", 5, "text")), &[]),
    ("copy up dir", |l| copy_up(&**l, "new", FileType::Dir, 5), &[]),
    ("copy up link", |l| copy_up(&**l, "new", FileType::Symlink, 5), &[]),
    ("copy up file of two names", |l| copy_up_file_with_two_names(&**l), &[]),
    ("copy up name", |l| l.copy_up_link(n("file"), &**l, n("new")).unwrap(), &[]),
    ("rename file", |l| l.rename_with_whiteout(n("file"), &**l, n("new")).unwrap(), &[BOTH]),
    (
        "rename over file",
        |l| l.rename_with_whiteout(n("file"), &**l, n("other")).unwrap(),
        &[BOTH_OVER],
    ),
    ("rename over whiteout", |l| l.rename_with_whiteout(n("file"), &**l, n("gone")).unwrap(), &[]),
    ("rename dir", |l| l.rename_with_whiteout(n("dir"), &**l, n("new")).unwrap(), &[HIDDEN]),
    (
        "dir over whiteout, none left",
        |l| l.rename(n("dir"), &**l, n("gone")).unwrap(),
        &[EXCHANGED],
    ),
    ("dir over hollow", |l| l.rename(n("dir"), &**l, n("hollow")).unwrap(), &[CLEARED, CLEARING]),
    (
        "dir over hollow, one left",
        |l| l.rename_with_whiteout(n("dir"), &**l, n("hollow")).unwrap(),
        &[CLEARED, CLEARING, SWAPPED],
    ),
    ("discard", |l| crate::overlay::discard(l).unwrap(), &[]),
    (
        "set opaque",
        |l| l.enter(n("hollow")).unwrap().set_opaque().unwrap(),
        // Whiteouts in an opaque directory hide nothing, so they may exist or not.
        &[CLEARING],
    ),
];

/// Differences from the old tree: paths that exist, or that are absent (`-`).
const BOTH: &[&str] = &["/new = file"];
const BOTH_OVER: &[&str] = &["/other = file"];
const HIDDEN: &[&str] = &["/new = whiteout"];
const EXCHANGED: &[&str] = &["/dir/ -", "/dir/in -", "/dir = whiteout", "/gone -"];
const CLEARING: &[&str] = &["/hollow/ = opaque dir"];
const CLEARED: &[&str] = &["/hollow/ = opaque dir", "/hollow/w -"];
const SWAPPED: &[&str] = &["/dir/ = opaque dir", "/dir/in -", "/hollow/ = dir", "/hollow/w -"];

fn copy_up_file_with_two_names(upper: &dyn UpperDir) {
    let dir = upper.enter(n("dir")).unwrap();
    let names = [at_name(upper, "new"), at_name(&*dir, "new")];
    let mut fill = |file: &dyn crate::File| file.write_at(&[IoSlice::new(b"x")], 0).map(drop);
    upper.copy_up(&names, &lower_stat(FileType::File, 5), CopyUp::File(&mut fill)).unwrap();
}

fn furnish(upper: &UpperRef) {
    write(&**upper, "file", "file");
    write(&**upper, "other", "other");
    for name in ["dir", "empty", "hollow"] {
        upper.create_dir(n(name)).unwrap();
    }
    write(&**upper, "dir/in", "in");
    upper.enter(n("hollow")).unwrap().create_whiteout(n("w")).unwrap();
    upper.create_whiteout(n("gone")).unwrap();
}

type Shown = BTreeMap<String, String>;

/// Returns the old tree with differences applied.
fn patched(old: &Shown, differences: &[&str]) -> Shown {
    let mut all = old.clone();
    for difference in differences {
        match difference.split_once(" = ") {
            Some((path, what)) => drop(all.insert(path.to_owned(), what.to_owned())),
            None => drop(all.remove(difference.trim_end_matches(" -"))),
        }
    }
    if !all.contains_key("/gone") && differences == EXCHANGED {
        all.insert("/gone/".to_owned(), "dir".to_owned());
        all.insert("/gone/in".to_owned(), "in".to_owned());
    }
    if differences == SWAPPED {
        all.insert("/hollow/in".to_owned(), "in".to_owned());
    }
    all
}

/// Makes one change in a child process that aborts after some steps. Returns whether it completed.
fn run(dir: &Path, nth: usize, style: &str, steps: u32) -> bool {
    let child = "host::upper::tests::crash::child_process_aborts_after_the_given_steps";
    let job = format!("{nth} {style} {steps} {}", dir.display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    let command = command.args(["--exact", child]).env(JOB, job);
    let output = command.output().unwrap();
    let died = std::os::unix::process::ExitStatusExt::signal(&output.status).is_some();
    assert!(died || output.status.success(), "{output:?}");
    output.status.success()
}

#[test]
fn child_process_aborts_after_the_given_steps() {
    let Ok(job) = std::env::var(JOB) else {
        // Without a job the child checks that a step is counted.
        let temp = tempfile::tempdir().unwrap();
        let upper = HostUpper::open_ambient(temp.path()).unwrap();
        upper.create_whiteout(n("x")).unwrap();
        assert_eq!(entry_type(&*upper, "x"), "whiteout");
        return;
    };
    let mut words = job.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (nth, style) = (word().parse::<usize>().unwrap(), word());
    let (left, dir) = (word().parse::<u32>().unwrap(), word());
    let limits = if style == "marked" { XATTR_WHITEOUTS } else { Limits::NONE };
    let upper = HostUpper::open_ambient_with(Path::new(dir), limits).unwrap();
    fault_points::LEFT.store(left, std::sync::atomic::Ordering::Relaxed);
    CHANGES[nth].1(&upper);
}

#[test]
fn crash_between_any_two_steps_leaves_the_old_or_the_new_tree() {
    for (base, style) in
        bases().iter().flat_map(|base| [(base, "device"), (base, "marked")]).collect::<Vec<_>>()
    {
        let limits = if style == "marked" { XATTR_WHITEOUTS } else { Limits::NONE };
        for (nth, (what, change, between)) in CHANGES.iter().enumerate() {
            let world = || {
                let temp = tempfile::tempdir_in(base).unwrap();
                let upper = HostUpper::open_ambient_with(temp.path(), limits).unwrap();
                furnish(&upper);
                (temp, upper)
            };
            let (_temp, upper) = world();
            let old = tree(&upper);
            change(&upper);
            let new = tree(&upper);
            let mut crashes = 0;
            for steps in 0..STEPS_MAX {
                let (temp, upper) = world();
                drop(upper);
                let is_done = run(temp.path(), nth, style, steps);
                let upper = HostUpper::open_ambient_with(temp.path(), limits).unwrap();
                let shows = tree(&upper);
                let what = format!("{what}, {steps} steps, {style}, {}", base.display());
                let is_between = between.iter().any(|between| shows == patched(&old, between));
                if is_done {
                    assert_eq!(shows, new, "{what}");
                } else {
                    assert!(shows == old || shows == new || is_between, "{what}: {shows:#?}");
                }
                let left = fs::read_dir(temp.path().join("work/palisade")).unwrap().count();
                assert_eq!(left, 0, "{what}");
                if is_done {
                    break;
                }
                crashes += 1;
            }
            assert!((1..STEPS_MAX).contains(&crashes), "{what}");
        }
    }
}
