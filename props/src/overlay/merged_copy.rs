//! The property that an overlay behaves like a plain copy of its merged lowers.

use std::cell::RefCell;

use proptest::test_runner::{TestCaseError, TestError};

use super::{Holds, OverlaySubject, Stack, Stacks, run_stack};
use crate::report::Fault;

const CASE: &str = "behaves as a plain copy of its lowers";

/// Returns the smallest difference between an overlay and a plain copy of its merged lowers in
/// `runs` generated runs: of outcomes, identities or trees, a changed lower, or an inconsistency.
#[must_use]
pub fn merged_copy_fault(subject: &dyn OverlaySubject, runs: u32) -> Option<Fault> {
    let last = RefCell::new(None);
    let result = crate::runner(runs).run(&Stacks(subject.holds()), |stack: Stack| {
        // Smaller lowers may need a capability that the larger ones did not need.
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
        // Runs the smallest stack once more, to report its own fault.
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

/// Compares overlays with plain copies of their merged lowers.
///
/// # Panics
///
/// With the smallest lowers and script that show a difference.
pub fn assert_equals_merged_copy(subject: &dyn OverlaySubject, runs: u32) {
    if let Some(fault) = merged_copy_fault(subject, runs) {
        panic!("{}: {fault}", subject.name());
    }
}
