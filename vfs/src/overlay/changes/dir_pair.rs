//! A directory of the upper together with the one of the lowers that it stands for.

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

/// What a walk keeps of each [`Both`] on its way.
pub(super) struct DirPairData {
    pub(super) lower: LowerLocation,
    /// Whether it, or one above it, is opaque: then nothing of the lowers shows in it.
    pub(super) hides: bool,
}

/// Where the directory of the lowers lies.
pub(super) enum LowerLocation {
    /// There is none.
    Absent,
    /// Under the same name in the parent's.
    SameName,
    /// The directory was renamed.
    Renamed(SharedPath),
}

impl DirPair {
    /// The upper's directory alone.
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

    /// The upper's: the lowers do not change.
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
