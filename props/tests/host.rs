//! The kit on directories of the host, with both resolvers.

mod common;

use common::{Host, scripts};
use palisade_props::{assert_scripts, conformance};
use palisade_vfs::Resolver;

mod by_openat2 {
    use super::*;

    conformance!(Host(Resolver::Openat2));

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&Host(Resolver::Openat2), &scripts());
    }
}

mod by_components {
    use super::*;

    conformance!(Host(Resolver::Components));

    #[test]
    fn scripts_that_failed_once_do_not_again() {
        assert_scripts(&Host(Resolver::Components), &scripts());
    }
}
