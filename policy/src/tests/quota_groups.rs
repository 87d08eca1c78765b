//! Unit tests of properties that all directories of a quota group share.

use std::sync::Arc;

use palisade_vfs::MemFs;

use super::spy::Spy;
use crate::{Quota, QuotaGroup};

#[test]
fn directory_may_block_if_another_one_of_its_group_may() {
    let group = QuotaGroup::new(Quota::default());
    let memory = group.guard(MemFs::new().root()).unwrap();
    assert!(!memory.may_block());
    let disk = Spy { inner: MemFs::new().root(), opened: Arc::default() };
    assert!(group.guard(Arc::new(disk)).unwrap().may_block());
    assert!(memory.may_block(), "an operation can wait for a lock that the other one holds");
}
