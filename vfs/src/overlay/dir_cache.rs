//! Limits the directories that an overlay keeps open in its upper and lowers.
//!
//! The table holds the names of every directory between the root and a handle, at any depth. If it
//! also kept these directories open, one descriptor of a guest would use one descriptor of the host
//! per ancestor. So only these are open: the root, each directory with a handle, and the
//! [`DirTable::idle_max`] directories used last. All others are *closed*: the table knows their
//! names, and reopens them through their parents when an operation needs them.
//!
//! To open a directory under many closed ancestors also opens the ancestors whose distance to it is
//! a power of two. So a walk up a deep tree opens each directory a logarithmic number of times.
//!
//! Filesystems in memory hold no descriptors, so their directories stay open unless a limit is set.
//!
//! INVARIANT: a directory with a handle is open. Operations open directories with
//! [`DirTable::open`] and [`DirTable::descend`]; nothing is closed before the next operation,
//! except the directories that [`DirTable::descend`] itself passed through.

use std::collections::VecDeque;
use std::sync::Arc;

use super::dir_table::{DirKey, DirState, DirTable, ROOT, missing_upper, no_backing_dir};
use super::lowers::{LowerNode, MergedDir};
use super::upper::UpperRef;
use crate::{Errno, Name, Result};

/// The default limit where the upper or a lower may hold descriptors of the host: each open
/// directory holds up to two descriptors for each of them.
pub(super) const IDLE_MAX: usize = 16;

/// The sides of a closed directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) has_upper: bool,
    pub(super) has_lower: bool,
}

/// A queue of the directories that had no handle when they were opened or released, the oldest
/// first. A freed key may stay in the queue and be assigned again: the new directory is then closed
/// too early, which costs a reopen.
#[derive(Default)]
pub(super) struct IdleQueue(VecDeque<DirKey>);

/// The open directories of one path: the upper's and the lowers'.
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
                // Another process replaced the directory of the lower.
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

    /// Queues a directory for closing after it was opened or lost its last handle.
    pub(super) fn queue_idle(&mut self, key: DirKey) {
        if self.idle_max.is_some()
            && let Some(dir) = self.dirs.get_mut(key)
            && !std::mem::replace(&mut dir.is_queued, true)
        {
            self.idle.0.push_back(key);
        }
    }

    /// Closes the directories that have been idle longest, until the limit is met.
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
