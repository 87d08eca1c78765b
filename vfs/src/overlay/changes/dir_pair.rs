//! A directory of the upper paired with the directory of the lowers that it covers.

use std::sync::Arc;

use super::super::Identity;
use super::super::lowers::{LowerNode, MergedDir};
use super::super::upper::UpperRef;
use crate::shared_path::SharedPath;
use crate::tree_walk::WalkDir;
use crate::{Errno, Name, Result};

pub(super) struct DirPair {
    pub(super) upper: UpperRef,
    pub(super) lower: Option<Arc<MergedDir>>,
}

/// The data that a walk keeps of each [`DirPair`].
pub(super) struct DirPairData {
    pub(super) lower: LowerLocation,
    /// Whether the directory, or an ancestor, is opaque: then no lower is visible in it.
    pub(super) hides: bool,
}

/// The location of the lowers' directory.
pub(super) enum LowerLocation {
    /// The lowers have no such directory.
    Absent,
    /// The lowers have it under the same name in the parent.
    SameName,
    /// The directory was renamed from this path.
    Renamed(SharedPath),
}

impl DirPair {
    /// Enters the upper's directory alone.
    pub(super) fn enter_upper(&self, name: Name<'_>) -> Result<DirPair> {
        Ok(DirPair { upper: self.upper.enter(name)?, lower: None })
    }
}

impl WalkDir for DirPair {
    type Id = Identity;

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        let lower = match &self.lower {
            Some(lower) => Some(lower.enter(name)?),
            None => None,
        };
        Ok(DirPair { lower, ..self.enter_upper(name)? })
    }

    /// The identity of the upper's directory: the lowers do not change.
    fn id(&self) -> Result<Identity> {
        self.upper.id()
    }
}

impl WalkDir for Arc<MergedDir> {
    type Id = Identity;

    fn enter(&self, name: Name<'_>) -> Result<Self> {
        match self.lookup(name)? {
            Some(LowerNode::Dir(dir)) => Ok(dir),
            Some(LowerNode::Leaf(_)) => Err(Errno::Notdir),
            None => Err(Errno::Noent),
        }
    }

    fn id(&self) -> Result<Identity> {
        crate::tree_walk::id_of(&**self)
    }
}
