//! Linux is the judge: of the model that judges everything else, and of the memory filesystem.

use palisade_props::kernel::{Linux, askable, intended};
use palisade_props::{Flavor, Model, Op, Outcome, Run, Runs, Script, cases};
use palisade_vfs::Errno;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// A directory on a tmpfs, so deep that no handful of `..` leaves it.
fn deep() -> (tempfile::TempDir, Linux) {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = outer.path().join("1/2/3/4/5/6/7/8/9/root");
    std::fs::create_dir_all(&root).unwrap();
    let linux = Linux::open(&root).unwrap();
    (outer, linux)
}

/// The first difference between `subject` and Linux.
fn differ(ops: &[Op], subject: &mut dyn Run) -> Result<(), String> {
    let (_outer, mut linux) = deep();
    for (nth, op) in ops.iter().enumerate() {
        let ours = subject.run(op);
        // What leaves the root, and what a link to an absolute path would: ours alone to refuse.
        if ours == Outcome::Fail(Errno::Escape) || !askable(op) {
            continue;
        }
        let theirs = linux.run(op);
        if !ours.allows(&theirs) && !intended(op, &ours, &theirs) {
            let script = Script::of_ops(&ops[..=nth]);
            return Err(format!("we say `{ours}`, Linux says `{theirs}`:\n{script}"));
        }
    }
    Ok(())
}

fn property(make: impl Fn() -> Box<dyn Run>) {
    let config = Config { failure_persistence: None, ..Config::with_cases(cases(300)) };
    let run = |ops: Vec<Op>| differ(&ops, &mut *make()).map_err(TestCaseError::fail);
    let result = TestRunner::new(config).run(&Runs(Flavor::Plain), run);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

#[test]
fn the_model_does_what_linux_does() {
    property(|| Box::new(Model::new()));
}
