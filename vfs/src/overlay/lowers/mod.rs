//! The lowers of an overlay: any number of directories merged into one read-only tree.
//!
//! [`Lowers`] is the stack, `part.rs` one lower's directory, `merged_dir.rs` a directory of the
//! merged tree, and `read_only_dir.rs` implements [`Dir`] for it. `merged_list.rs` is the merged
//! listing, `negative_filter.rs` the Bloom filter for absent names, and `recent_dirs.rs` keeps
//! directories open for the next descent.
//!
//! Lock order: `MergedDir::lookups`, `MergedDir::list` and `RecentDirs::ring` are leaves. No lower
//! is called with one of them held.

mod merged_dir;
mod merged_list;
mod negative_filter;
mod part;
mod read_only_dir;
mod recent_dirs;

use std::sync::Arc;

pub(super) use self::merged_dir::{LowerNode, MergedDir};
pub(super) use self::merged_list::{MergedList, UpperCookies};
pub(super) use self::part::LowerDir;
use self::recent_dirs::RecentDirs;
use super::upper::UpperRef;
use crate::shared_path::SharedPath;
use crate::{Dir, DirRef, Errno, Name, OpenHow, Result, Stop};

/// The lowers of an overlay, the topmost first. A clone refers to the same lowers.
///
/// Lowers must not change while an overlay is stacked on them. They are never written.
#[derive(Clone)]
pub struct Lowers {
    pub(super) root: Arc<MergedDir>,
    /// Owned by `Lowers` and not by the directories in it, which would be a reference cycle.
    _recent: Arc<RecentDirs>,
}

/// Builds [`Lowers`] from the topmost down.
#[derive(Default)]
pub struct LowersBuilder {
    parts: Vec<LowerDir>,
}

impl Lowers {
    /// Returns an empty builder.
    #[must_use]
    pub fn builder() -> LowersBuilder {
        LowersBuilder::default()
    }

    /// Returns a stack of one directory.
    #[must_use]
    pub fn of(dir: DirRef) -> Lowers {
        Lowers::stack(vec![LowerDir::Plain(dir)])
    }

    fn stack(parts: Vec<LowerDir>) -> Lowers {
        let may_block = parts.iter().any(|part| part.dir().may_block());
        let recent = Arc::new(RecentDirs::new(parts.len(), may_block));
        let root = MergedDir::new(parts, SharedPath::default(), Arc::downgrade(&recent));
        Lowers { root, _recent: recent }
    }

    /// Returns the root of the merged tree. Operations that would change it fail with `EROFS`.
    #[must_use]
    pub fn root(&self) -> DirRef {
        Arc::clone(&self.root) as DirRef
    }

    /// Returns the number of lowers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.root.parts.len()
    }

    /// Splits the stack after the topmost `count` lowers; `None` if `count` is 0 or too large.
    pub(super) fn split(&self, count: usize) -> Option<(Vec<LowerDir>, Vec<LowerDir>)> {
        let (top, rest) = self.root.parts.split_at_checked(count)?;
        if top.is_empty() { None } else { Some((top.to_vec(), rest.to_vec())) }
    }

    /// Returns an empty stack, for an upper with an opaque root.
    pub(super) fn none() -> Lowers {
        Lowers::stack(Vec::new())
    }

    /// Returns these lowers with the frozen `upper` on top.
    pub(super) fn with_top(&self, upper: UpperRef) -> Result<Lowers> {
        LowersBuilder::default().frozen_upper(upper).lowers(self).build()
    }
}

impl LowersBuilder {
    pub(super) fn of(parts: Vec<LowerDir>) -> Self {
        LowersBuilder { parts }
    }

    /// Adds a directory of any filesystem, with or without policy, under the lowers added before.
    #[must_use]
    pub fn dir(mut self, dir: DirRef) -> Self {
        self.parts.push(LowerDir::Plain(dir));
        self
    }

    /// Adds a former upper, with its whiteouts and opaque directories, under the lowers added
    /// before. It must not change any more, which [`UpperDir::freeze`](super::UpperDir::freeze)
    /// guarantees.
    #[must_use]
    pub fn frozen_upper(mut self, upper: UpperRef) -> Self {
        self.parts.push(LowerDir::Frozen(upper));
        self
    }

    /// Adds all lowers of another stack under the lowers added before.
    #[must_use]
    pub fn lowers(mut self, lowers: &Lowers) -> Self {
        self.parts.extend(lowers.root.parts.iter().cloned());
        self
    }

    /// Builds the stack. Lowers under an opaque root are dropped.
    ///
    /// # Errors
    /// - `EINVAL`: the builder is empty.
    /// - `EIO`: a frozen upper cannot return whether its root is opaque.
    pub fn build(mut self) -> Result<Lowers> {
        if self.parts.is_empty() {
            return Err(Errno::Inval);
        }
        let mut visible = self.parts.len();
        for (nth, part) in self.parts.iter().enumerate() {
            if part.is_opaque()? {
                visible = nth + 1;
                break;
            }
        }
        self.parts.truncate(visible);
        Ok(Lowers::stack(self.parts))
    }
}

/// Returns the stop of a descent that reaches the leaf `name` of `dir` after `depth` names:
/// `ENOTDIR`, or [`Stop::Link`] for a symlink.
pub(super) fn not_a_dir(dir: &dyn Dir, name: Name<'_>, depth: usize) -> Stop {
    match dir.open(name.into(), OpenHow::HOLD_DIR) {
        Err(stop) => stop.shifted_by(depth),
        Ok(_) => Errno::Notdir.into(),
    }
}

/// Converts a stop to an errno, for descents of at most one name that must not end at a symlink.
pub(super) fn to_errno<T>(done: Result<T, Stop>) -> Result<T> {
    done.map_err(Stop::without_following)
}
