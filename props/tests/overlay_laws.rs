//! The laws of overlays on a stand-in overlay, and mutation tests of each law.

#![allow(clippy::unwrap_used)]

mod standin;

use palisade_props::faulty::{Faults, Kinds, Outage, inject_faults};
use palisade_props::overlay::{
    Law, OverlaySubject, Stack, TestOverlay, assert_apart, check_law, merged_copy_fault,
};
use palisade_props::{cases, overlay_laws};
use palisade_vfs::{Dir, DirRef, Errno, MemFs};
use standin::{Bug, StandIn};

mod a_copy {
    use super::*;

    overlay_laws!(StandIn(Bug::None));
}

/// Scripts that cover copy-ups, whiteouts and renames of an overlay.
const STACKS: &[&str] = &[
    "mkdir a\nwrite a/f \"hello\"\nmkdir a/d\nwrite a/d/g \"deep\"\nwrite f \"x\"\nlink f h\n===\n\
     open a/f rdwr\nfwrite 0 \"J\" 0\nfappend 0 \"!\"\nfsetlen 0 3\nstat a/f\nwrite a/d/g \"new\"\n\
     link h a/h\nunlink f\nrename a b\nmkdir a\nutimes b/d 5.0 6.0\nrename b/d/g a/g\nrmdir b/d\n\
     symlink l -> a\nreaddir .\nreaddir b\nread a/g\nrename h b/f",
];

#[test]
fn stand_in_tolerates_single_faults() {
    let stack = Stack::parse(STACKS[0]).unwrap();
    for (kinds, errno) in [(Kinds::Changes, Errno::Nospc), (Kinds::All, Errno::Io)] {
        // The stand-in retries a failed stat, so it tolerates single failures only.
        let outage = Outage { kinds, errno, calls: 1 };
        assert!(inject_faults(&StandIn(Bug::None), &stack, outage).unwrap().reported > 0);
    }
}

#[test]
fn lasting_faults_detect_a_failing_rollback() {
    let stack = Stack::parse(STACKS[0]).unwrap();
    let run = |calls| {
        let outage = Outage { kinds: Kinds::Changes, errno: Errno::Nospc, calls };
        inject_faults(&StandIn(Bug::RollsBack), &stack, outage)
    };
    assert!(run(1).is_ok(), "one failure is rolled back");
    for calls in [2, 3, Faults::FOREVER] {
        assert!(run(calls).is_err(), "{calls} calls");
    }
}

/// Each bug with the laws that it violates.
const BUGS: &[(Bug, &[Law])] = &[
    (Bug::WhiteoutsIgnored, &[Law::Whiteouts, Law::Listed]),
    (Bug::OpaqueIgnored, &[Law::Whiteouts]),
    (Bug::OnlyTopWhiteouts, &[Law::Whiteouts]),
    (Bug::RemovesFullDirs, &[Law::FullDirs, Law::Failures]),
    (Bug::NewDirsShowTheOld, &[Law::NewDirs]),
    (Bug::LowerNamesAreFree, &[Law::TakenNames]),
    (Bug::ExclusiveIgnored, &[Law::Exclusive]),
    (Bug::TruncatesTheLower, &[Law::Lowers]),
    (Bug::SetsTimesOfTheLower, &[Law::Lowers]),
    (Bug::AllocatesInTheLower, &[Law::Lowers]),
    (Bug::TruncateIgnored, &[Law::Lengths]),
    (Bug::SetLenLosesAll, &[Law::Lengths]),
    (Bug::CopyUpIsNow, &[Law::CopyUp]),
    (Bug::CopyUpTouchesTheDir, &[Law::CopyUp]),
    (Bug::CopyUpIsAnotherNode, &[Law::Identity]),
    (Bug::CopyUpBreaksLinks, &[Law::Identity]),
    (Bug::RenamedDirsAreEmpty, &[Law::Renames]),
    (Bug::DirsDoNotMove, &[Law::Renames]),
    (Bug::TimesEmptyADir, &[Law::Metadata]),
    (Bug::CookiesAreIndices, &[Law::Listings]),
    (Bug::CopiedUpIsListedFirst, &[Law::Listings]),
    (Bug::MarkersAreNames, &[Law::Markers]),
    (Bug::MarkersAreListed, &[Law::Markers]),
    (Bug::ReadersSeeTheOld, &[Law::OpenHandles]),
    (Bug::FstatIsOld, &[Law::OpenHandles]),
    (Bug::FailuresTouchTheDir, &[Law::Failures]),
    (Bug::HiddenCanBeOpened, &[Law::Listed]),
    (Bug::DirsArePaths, &[Law::DirHandles]),
    (Bug::AllIsIo, &[Law::Errors]),
    (Bug::ListedNumbersDiffer, &[Law::Numbers]),
    (Bug::RemovedComesBack, &[Law::Unlinked]),
];

/// Bugs that generated runs cannot detect: runs do not use cookies.
const UNDETECTABLE_BY_RUNS: &[Bug] = &[Bug::CookiesAreIndices, Bug::CopiedUpIsListedFirst];

#[test]
fn each_law_detects_its_own_bug() {
    let mut alive = Vec::new();
    for (bug, laws) in BUGS {
        for law in *laws {
            if check_law(&StandIn(*bug), *law).faults.is_empty() {
                alive.push((bug, law));
            }
        }
    }
    assert!(alive.is_empty(), "{alive:?}");
    let toothless = |law: &&Law| !BUGS.iter().any(|(_, laws)| laws.contains(law));
    let untested: Vec<_> = Law::ALL.iter().filter(toothless).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn generated_runs_detect_every_detectable_bug() {
    let unseen = |bug: &&Bug| {
        !UNDETECTABLE_BY_RUNS.contains(bug)
            && merged_copy_fault(&StandIn(**bug), cases(1500)).is_none()
    };
    let alive: Vec<_> = BUGS.iter().map(|(bug, _)| bug).filter(unseen).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn difference_shrinks_to_the_relevant_lowers_and_lines() {
    let fault = merged_copy_fault(&StandIn(Bug::RemovesFullDirs), cases(1500)).unwrap();
    let stack = Stack::parse(&fault.script).unwrap();
    assert!(stack.lowers.iter().map(|it| it.tree.iter().count()).sum::<usize>() <= 2, "{fault}");
    assert!(stack.script.lines.len() <= 3, "{fault}");
}

#[test]
fn faults_detect_operations_that_are_not_atomic() {
    for bug in [Bug::RenamesInTwoSteps, Bug::CopyUpEmptiesFirst, Bug::FailsAfterTheFact, Bug::Leaks]
    {
        let lost = |stack: &&&str| {
            let stack = Stack::parse(stack).unwrap();
            let outage = Outage { kinds: Kinds::Changes, errno: Errno::Nospc, calls: 1 };
            inject_faults(&StandIn(bug), &stack, outage).is_err()
        };
        assert!(STACKS.iter().any(|stack| lost(&stack)), "{bug:?}");
        // Without a fault the bug is not observable.
        let plain = Stack::parse(STACKS[0]).unwrap();
        palisade_props::overlay::run_stack(&StandIn(bug), "whole", &plain).unwrap();
    }
}

/// Returns whether `dir` is `above` or inside it.
fn lies_in(dir: &DirRef, above: &DirRef) -> bool {
    let id = |dir: &dyn Dir| dir.stat(palisade_vfs::Descent::HERE).map(|it| (it.dev, it.ino)).ok();
    let tree = palisade_props::Tree::snapshot(&**above).unwrap();
    let dirs = std::iter::once("").chain(tree.iter().map(|(path, _)| path));
    dirs.into_iter().any(|path| {
        let stat = above.stat(palisade_vfs::Descent::new(path).unwrap()).unwrap();
        Some((stat.dev, stat.ino)) == id(&**dir)
    })
}

#[test]
fn overlapping_upper_and_lower_are_refused() {
    assert_apart(&|| MemFs::new().root(), &|upper, lower| {
        if lies_in(upper, lower) || lies_in(lower, upper) {
            return Err(Errno::Inval);
        }
        Ok(())
    });
    for forgotten in [lies_in, |upper: &DirRef, lower: &DirRef| lies_in(lower, upper)] {
        let bites = std::panic::catch_unwind(|| {
            assert_apart(&|| MemFs::new().root(), &|upper, lower| match forgotten(upper, lower) {
                true => Err(Errno::Inval),
                false => Ok(()),
            });
        });
        assert!(bites.is_err());
    }
}

/// A lower that differs from the requested one is detected before the script runs.
#[test]
fn overlay_that_differs_from_its_lowers_is_detected() {
    struct Lost;
    impl OverlaySubject for Lost {
        fn name(&self) -> String {
            "lost".to_owned()
        }

        fn fresh(
            &self,
            _: &[palisade_props::overlay::LowerTree],
        ) -> palisade_vfs::Result<TestOverlay> {
            Ok(TestOverlay::new(MemFs::new().root(), Vec::new()))
        }
    }
    let report = check_law(&Lost, Law::Metadata);
    assert_eq!(report.faults.len(), report.ran);
}
