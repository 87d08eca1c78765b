//! The kit as tests: one for each group of cases, one for the model, one for the scripts.

use std::cell::RefCell;

use proptest::test_runner::{TestCaseError, TestError};

use crate::cases::{Group, check_group};
use crate::generate::{Flavor, Runs};
use crate::op::Op;
use crate::report::Fault;
use crate::run::differ;
use crate::script::Script;
use crate::subject::{Promises, Subject};

/// Makes one test of each part of the kit.
///
/// ```
/// mod memory {
///     use palisade_props::{Made, Promises, World};
///     use palisade_vfs::{MemFs, Result};
///
///     fn fresh() -> Result<World> {
///         Ok(World::new(MemFs::new().root()))
///     }
///
///     palisade_props::conformance!(Made::new("memory", Promises::USUAL, fresh));
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

/// Puts `subject` through the cases of a group.
///
/// # Panics
/// With the whole report if there is a fault.
pub fn assert_group(subject: &dyn Subject, group: Group) {
    check_group(subject, group).assert();
}

/// Runs the model and `subject` side by side.
///
/// # Panics
/// With the smallest script that shows a difference.
pub fn assert_model(subject: &dyn Subject) {
    if let Some(fault) = model_fault(subject, crate::cases(200)) {
        panic!("{}: a line for tests/scripts:\n{fault}", subject.name());
    }
}

/// Runs scripts that were failures once.
///
/// # Panics
/// With the script that shows a difference, or that cannot be read.
pub fn assert_scripts(subject: &dyn Subject, scripts: &[(String, String)]) {
    for (name, text) in scripts {
        match Script::parse(text) {
            Err(why) => panic!("{name}: {why}"),
            Ok(script) => match differ(subject, name, &script) {
                Ok(()) => {}
                Err(fault) => panic!("{}: {fault}", subject.name()),
            },
        }
    }
}

/// The smallest difference between `subject` and the model that `runs` runs find. None if the
/// subject cannot be written to: then there is nothing to run.
#[must_use]
pub fn model_fault(subject: &dyn Subject, runs: u32) -> Option<Fault> {
    if !subject.promises().contains(Promises::WRITE) {
        return None;
    }
    let last = RefCell::new(None);
    let result = crate::runner(runs).run(&Runs(Flavor::Plain), |ops: Vec<Op>| {
        differ(subject, "behaves as the model", &Script::of_ops(&ops)).map_err(|fault| {
            *last.borrow_mut() = Some(fault);
            TestCaseError::fail("differs")
        })
    });
    match result {
        Ok(()) => None,
        // The smallest run is run once more, for its own words.
        Err(TestError::Fail(_, ops)) => {
            let again = differ(subject, "behaves as the model", &Script::of_ops(&ops)).err();
            again.or_else(|| last.take())
        }
        Err(TestError::Abort(why)) => Some(Fault {
            case: "behaves as the model".to_owned(),
            what: format!("the run was aborted: {why}"),
            script: String::new(),
        }),
    }
}
