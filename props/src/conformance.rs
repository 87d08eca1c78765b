//! The kit as `#[test]` functions: one per group of cases, one for the model, one for scripts.

use std::cell::RefCell;

use proptest::test_runner::{TestCaseError, TestError};

use crate::cases::{Group, check_group};
use crate::generate::{Flavor, Runs};
use crate::op::Op;
use crate::report::Fault;
use crate::run::compare_with_model;
use crate::script::Script;
use crate::subject::{Capabilities, Subject};

/// Generates one `#[test]` for each part of the kit.
///
/// ```
/// mod memory {
///     use palisade_props::{SubjectFn, Capabilities, TestFs};
///     use palisade_vfs::{MemFs, Result};
///
///     fn fresh() -> Result<TestFs> {
///         Ok(TestFs::new(MemFs::new().root()))
///     }
///
///     palisade_props::conformance!(SubjectFn::new("memory", Capabilities::USUAL, fresh));
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    ($subject:expr) => {
        $crate::conformance!(@groups $subject,
            lookup Lookup, create Create, rename Rename, link Link, symlink Symlink,
            dirents Dirents, times Times, io Io, limits Limits);

        #[test]
        fn behaves_as_the_model() {
            $crate::assert_model(&$subject);
        }
    };
    (@groups $subject:expr, $($test:ident $group:ident),*) => {
        $(#[test]
        fn $test() {
            $crate::assert_group(&$subject, $crate::Group::$group);
        })*
    };
}

/// Runs the cases of a group on `subject`.
///
/// # Panics
///
/// With the whole report if there is a fault.
pub fn assert_group(subject: &dyn Subject, group: Group) {
    check_group(subject, group).assert();
}

/// Compares `subject` with the model on generated runs.
///
/// # Panics
///
/// With the smallest script that shows a difference.
pub fn assert_model(subject: &dyn Subject) {
    if let Some(fault) = model_fault(subject, crate::cases(200)) {
        panic!("{}: a line for tests/scripts:\n{fault}", subject.name());
    }
}

/// Replays regression scripts.
///
/// # Panics
///
/// With the script that shows a difference or does not parse.
pub fn assert_scripts(subject: &dyn Subject, scripts: &[(String, String)]) {
    for (name, text) in scripts {
        match Script::parse(text) {
            Err(why) => panic!("{name}: {why}"),
            Ok(script) => match compare_with_model(subject, name, &script) {
                Ok(()) => {}
                Err(fault) => panic!("{}: {fault}", subject.name()),
            },
        }
    }
}

/// Returns the smallest difference between `subject` and the model in `runs` generated runs, or
/// `None` if `subject` is read-only.
#[must_use]
pub fn model_fault(subject: &dyn Subject, runs: u32) -> Option<Fault> {
    if !subject.capabilities().contains(Capabilities::WRITE) {
        return None;
    }
    let last = RefCell::new(None);
    let result = crate::runner(runs).run(&Runs(Flavor::Plain), |ops: Vec<Op>| {
        compare_with_model(subject, "behaves as the model", &Script::of_ops(&ops)).map_err(
            |fault| {
                *last.borrow_mut() = Some(fault);
                TestCaseError::fail("differs")
            },
        )
    });
    match result {
        Ok(()) => None,
        // Runs the smallest script once more, to report its own fault.
        Err(TestError::Fail(_, ops)) => {
            let again =
                compare_with_model(subject, "behaves as the model", &Script::of_ops(&ops)).err();
            again.or_else(|| last.take())
        }
        Err(TestError::Abort(why)) => Some(Fault {
            case: "behaves as the model".to_owned(),
            what: format!("the run was aborted: {why}"),
            script: String::new(),
        }),
    }
}
