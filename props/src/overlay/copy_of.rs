//! The property: an overlay over lowers behaves as a plain copy of what they merge to.

use std::cell::RefCell;

use proptest::test_runner::{TestCaseError, TestError};

use super::{Holds, OverlaySubject, Stack, Stacks, run_stack};
use crate::report::Fault;

const CASE: &str = "behaves as a plain copy of its lowers";

/// The smallest difference between an overlay and a plain copy of its lowers that `runs` runs find:
/// another outcome, errno or listing, another identity, another tree at the end, a lower that
/// changed, or a tree that does not agree with itself.
#[must_use]
pub fn copy_of_fault(subject: &dyn OverlaySubject, runs: u32) -> Option<Fault> {
    let last = RefCell::new(None);
    let result = crate::runner(runs).run(&Stacks(subject.holds()), |stack: Stack| {
        // Smaller lowers may need what the larger did not.
        if !subject.holds().contains(Holds::needed(&stack.lowers)) {
            return Ok(());
        }
        run_stack(subject, CASE, &stack).map_err(|fault| {
            *last.borrow_mut() = Some(fault);
            TestCaseError::fail("differs")
        })
    });
    match result {
        Ok(()) => None,
        // The smallest stack is run once more, for its own words.
        Err(TestError::Fail(_, stack)) => {
            run_stack(subject, CASE, &stack).err().or_else(|| last.take())
        }
        Err(TestError::Abort(why)) => Some(Fault {
            case: CASE.to_owned(),
            what: format!("the run was aborted: {why}"),
            script: String::new(),
        }),
    }
}

/// Runs overlays and plain copies side by side.
///
/// # Panics
/// With the smallest lowers and script that show a difference.
pub fn assert_copy_of(subject: &dyn OverlaySubject, runs: u32) {
    if let Some(fault) = copy_of_fault(subject, runs) {
        panic!("{}: {fault}", subject.name());
    }
}
