//! The kit on memory, and on the layers over it.

mod common;

use common::{ReadOnly, scripts};
use palisade_props::{Group, assert_scripts, check, conformance};

mod memory {
    use super::*;

    conformance!(common::memory());

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&common::memory(), &scripts());
    }
}

mod confined {
    use super::*;

    conformance!(common::confined());

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&common::confined(), &scripts());
    }
}

mod mounted {
    use super::*;

    conformance!(common::mounted());

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&common::mounted(), &scripts());
    }
}

mod base_of_mounts {
    use super::*;

    conformance!(common::base_of_mounts());

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&common::base_of_mounts(), &scripts());
    }
}

#[test]
fn what_is_read_only_is_read_as_what_it_covers() {
    let report = check(&ReadOnly);
    report.assert();
    // The rows that change something are left out, and named.
    assert!(report.ran > 15, "{report}");
    assert!(report.skipped.iter().any(|(name, _)| *name == "a_new_directory_is_empty"));
    assert!(Group::ALL.len() == 9);
}
