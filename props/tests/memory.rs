//! The kit on the memory filesystem and on layers over it.

mod common;

use common::{ReadOnly, scripts};
use palisade_props::{Group, assert_scripts, check, conformance};

mod memory {
    use super::*;

    conformance!(common::memory());

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&common::memory(), &scripts());
    }
}

mod confined {
    use super::*;

    conformance!(common::confined());

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&common::confined(), &scripts());
    }
}

mod mounted {
    use super::*;

    conformance!(common::mounted());

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&common::mounted(), &scripts());
    }
}

mod base_of_mounts {
    use super::*;

    conformance!(common::base_of_mounts());

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&common::base_of_mounts(), &scripts());
    }
}

#[test]
fn read_only_layer_passes_the_read_only_cases() {
    let report = check(&ReadOnly);
    report.assert();
    // The report names the skipped cases, which need write access.
    assert!(report.ran > 15, "{report}");
    assert!(report.skipped.iter().any(|(name, _)| *name == "a_new_directory_is_empty"));
    assert!(Group::ALL.len() == 9);
}
