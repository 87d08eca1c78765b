//! Which directories of an overlay hold their layers' directories open.
//!
//! The tree keeps the names of every directory between the root and a handle, however deep that is.
//! If it kept their layers' directories too, one descriptor of a guest would hold one of the host
//! for each name above it. So only these are open: the root, each directory with a handle, and the
//! last few ([`Tree::idle_max`]) that operations have come to. All others are *closed*: known by
//! their name, and opened again through their parent when an operation needs them.
//!
//! Opening one under many closed ancestors leaves those open whose distance to it is a power of
//! two, so that going back up a deep tree opens each directory a logarithmic number of times.
//!
//! Layers in memory take no descriptors; their directories stay open unless a limit is set.
//!
//! INVARIANT: a directory with a handle is open. Operations open what they use through
//! [`Tree::open`] and [`Tree::descend`]; nothing is closed before the next operation but what
//! [`Tree::descend`] itself passed through.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dir_table::{DirKey, DirState, DirTable, ROOT, missing_upper, no_backing_dir};
use super::lowers::{LowerNode, MergedDir};
use super::upper::UpperRef;
use crate::{Errno, Name, Result};

/// Directories without a handle that stay open for the next operation, where a layer may be of the
/// host. Each holds up to two descriptors for each layer.
pub(super) const IDLE_MAX: usize = 16;

/// What a closed directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) has_upper: bool,
    pub(super) has_lower: bool,
}

/// Directories that had no handle when they were opened or let go, the oldest first. One that is
/// freed may stay in here, and its key may be given anew: then that one is closed too early.
#[derive(Default)]
pub(super) struct IdleQueue(VecDeque<DirKey>);

/// The directories of a directory's layers.
#[derive(Clone)]
struct OpenParts {
    upper: Option<UpperRef>,
    lower: Option<Arc<MergedDir>>,
}

impl OpenParts {
    fn of(dir: &DirState) -> OpenParts {
        OpenParts { upper: dir.upper.clone(), lower: dir.lower.clone() }
    }

    fn enter(&self, name: Name<'_>, closed: Closed) -> Result<OpenParts> {
        let upper = match (closed.has_upper, &self.upper) {
            (true, Some(upper)) => Some(upper.enter(name)?),
            (true, None) => return Err(missing_upper()),
            (false, _) => None,
        };
        let lower = match (closed.has_lower, &self.lower) {
            (true, Some(lower)) => match lower.lookup(name)? {
                Some(LowerNode::Dir(dir)) => Some(dir),
                // A lower that is written meanwhile shows something else there.
                Some(LowerNode::Leaf(_)) | None if upper.is_none() => return Err(Errno::Stale),
                Some(LowerNode::Leaf(_)) | None => None,
            },
            (true, None) => return Err(no_backing_dir()),
            (false, _) => None,
        };
        Ok(OpenParts { upper, lower })
    }
}

impl DirTable {
    /// Opens a directory if it is closed.
    pub(super) fn open(&mut self, key: DirKey) -> Result<()> {
        let (mut chain, mut at) = (Vec::new(), key);
        while self.dir(at)?.closed.is_some() {
            chain.push(at);
            at = self.dir(at)?.parent;
        }
        if chain.is_empty() {
            return Ok(());
        }
        let mut parts = OpenParts::of(self.dir(at)?);
        while let Some(at) = chain.pop() {
            let dir = self.dir_mut(at)?;
            let Some(closed) = dir.closed else { continue };
            parts = parts.enter(Name::new(&dir.name)?, closed)?;
            let distance = chain.len();
            if distance == 0 || distance.is_power_of_two() {
                let OpenParts { upper, lower } = parts.clone();
                (dir.upper, dir.lower, dir.closed) = (upper, lower, None);
                self.queue_idle(at);
            }
        }
        Ok(())
    }

    /// Notes that a directory was opened, or has lost its last handle: it is closed in its turn.
    pub(super) fn queue_idle(&mut self, key: DirKey) {
        if self.idle_max.is_some()
            && let Some(dir) = self.dirs.get_mut(key)
            && !std::mem::replace(&mut dir.is_queued, true)
        {
            self.idle.0.push_back(key);
        }
    }

    /// Closes the directories without handles that have been idle longest, but for as many as may
    /// stay open.
    pub(super) fn close_idle(&mut self) {
        let Some(max) = self.idle_max else { return };
        while self.idle.0.len() > max
            && let Some(key) = self.idle.0.pop_front()
        {
            if let Some(dir) = self.dirs.get_mut(key) {
                dir.is_queued = false;
            }
            self.close(key);
        }
    }

    /// Closes a directory, unless it has a handle.
    pub(super) fn close(&mut self, key: DirKey) {
        if self.idle_max.is_none() || key == ROOT {
            return;
        }
        let Some(dir) = self.dirs.get_mut(key) else { return };
        if dir.closed.is_some() || dir.is_removed || !dir.handles.is_zero() {
            return;
        }
        let (upper, lower) = (dir.upper.take(), dir.lower.take());
        dir.closed = Some(Closed { has_upper: upper.is_some(), has_lower: lower.is_some() });
    }
}
