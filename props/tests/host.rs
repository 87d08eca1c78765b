//! The kit on directories of the host, with both resolvers.

mod common;

use common::{Host, scripts};
use palisade_props::{assert_scripts, conformance};
use palisade_vfs::Resolver;

mod by_openat2 {
    use super::*;

    conformance!(Host(Resolver::Openat2));

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&Host(Resolver::Openat2), &scripts());
    }
}

mod by_components {
    use super::*;

    conformance!(Host(Resolver::Components));

    #[test]
    fn regression_scripts_pass() {
        assert_scripts(&Host(Resolver::Components), &scripts());
    }
}
