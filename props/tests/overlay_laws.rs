//! The laws of overlays, on the plainest overlay that there is; and that each law bites.

#![allow(clippy::unwrap_used)]

mod standin;

use palisade_props::faulty::{Faults, Kinds, Outage, survive};
use palisade_props::overlay::{
    Law, OverlaySubject, OverlayWorld, Stack, assert_apart, check_law, copy_of_fault,
};
use palisade_props::{cases, overlay_laws};
use palisade_vfs::{Dir, DirRef, Errno, MemFs};
use standin::{Bug, StandIn};

mod a_copy {
    use super::*;

    overlay_laws!(StandIn(Bug::None));
}

/// Scripts that make an overlay copy up, hide and move in every way.
const STACKS: &[&str] = &[
    "mkdir a\nwrite a/f \"hello\"\nmkdir a/d\nwrite a/d/g \"deep\"\nwrite f \"x\"\nlink f h\n===\n\
     open a/f rdwr\nfwrite 0 \"J\" 0\nfappend 0 \"!\"\nfsetlen 0 3\nstat a/f\nwrite a/d/g \"new\"\n\
     link h a/h\nunlink f\nrename a b\nmkdir a\nutimes b/d 5.0 6.0\nrename b/d/g a/g\nrmdir b/d\n\
     symlink l -> a\nreaddir .\nreaddir b\nread a/g\nrename h b/f",
];

#[test]
fn a_copy_survives_every_fault() {
    let stack = Stack::parse(STACKS[0]).unwrap();
    for (kinds, errno) in [(Kinds::Changes, Errno::Nospc), (Kinds::All, Errno::Io)] {
        // It looks again for what it could not look at, so it survives one failure at a time.
        let outage = Outage { kinds, errno, calls: 1 };
        assert!(survive(&StandIn(Bug::None), &stack, outage).unwrap().reported > 0);
    }
}

#[test]
fn a_rollback_that_fails_is_found_by_faults_that_last() {
    let stack = Stack::parse(STACKS[0]).unwrap();
    let run = |calls| {
        let outage = Outage { kinds: Kinds::Changes, errno: Errno::Nospc, calls };
        survive(&StandIn(Bug::RollsBack), &stack, outage)
    };
    assert!(run(1).is_ok(), "one failure is rolled back");
    for calls in [2, 3, Faults::FOREVER] {
        assert!(run(calls).is_err(), "{calls} calls");
    }
}

/// Each bug, and the laws that it breaks.
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

/// What a run does not look at: positions in a listing.
const NOT_SEEN_BY_RUNS: &[Bug] = &[Bug::CookiesAreIndices, Bug::CopiedUpIsListedFirst];

#[test]
fn every_law_is_broken_by_a_bug_of_its_own() {
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
fn runs_catch_every_bug_that_a_run_can_show() {
    let unseen = |bug: &&Bug| {
        !NOT_SEEN_BY_RUNS.contains(bug) && copy_of_fault(&StandIn(**bug), cases(1500)).is_none()
    };
    let alive: Vec<_> = BUGS.iter().map(|(bug, _)| bug).filter(unseen).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn a_difference_shrinks_to_the_lowers_and_lines_that_show_it() {
    let fault = copy_of_fault(&StandIn(Bug::RemovesFullDirs), cases(1500)).unwrap();
    let stack = Stack::parse(&fault.script).unwrap();
    assert!(stack.lowers.iter().map(|it| it.tree.iter().count()).sum::<usize>() <= 2, "{fault}");
    assert!(stack.script.lines.len() <= 3, "{fault}");
}

#[test]
fn a_fault_catches_what_is_done_in_two_steps() {
    for bug in [Bug::RenamesInTwoSteps, Bug::CopyUpEmptiesFirst, Bug::FailsAfterTheFact, Bug::Leaks]
    {
        let lost = |stack: &&&str| {
            let stack = Stack::parse(stack).unwrap();
            let outage = Outage { kinds: Kinds::Changes, errno: Errno::Nospc, calls: 1 };
            survive(&StandIn(bug), &stack, outage).is_err()
        };
        assert!(STACKS.iter().any(|stack| lost(&stack)), "{bug:?}");
        // Without a fault nobody sees it.
        let plain = Stack::parse(STACKS[0]).unwrap();
        palisade_props::overlay::run_stack(&StandIn(bug), "whole", &plain).unwrap();
    }
}

/// Whether a directory is another, or lies beneath it.
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
fn upper_and_lower_lie_apart() {
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

/// An overlay that shows another time than its lower, or a lower that is not what it was asked
/// for, is found out before anything is done.
#[test]
fn an_overlay_that_is_not_what_its_lowers_are_is_found_out() {
    struct Lost;
    impl OverlaySubject for Lost {
        fn name(&self) -> String {
            "lost".to_owned()
        }

        fn fresh(
            &self,
            _: &[palisade_props::overlay::LowerTree],
        ) -> palisade_vfs::Result<OverlayWorld> {
            Ok(OverlayWorld::new(MemFs::new().root(), Vec::new()))
        }
    }
    let report = check_law(&Lost, Law::Metadata);
    assert_eq!(report.faults.len(), report.ran);
}
