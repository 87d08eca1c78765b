//! Snapshots, forks and restores: replaces the upper and the lowers of an overlay in use.
//!
//! Nothing is copied. Under the exclusive lock of the table, each known directory gets another
//! upper and other lowers. A handle is a key of the table, so it stays valid.

use std::sync::Arc;

use super::dir_cache::Closed;
use super::dir_table::{DirKey, DirTable, ROOT};
use super::lowers::{LowerNode, Lowers, MergedDir, to_errno};
use super::upper::UpperRef;
use super::{Overlay, OverlayState, set_root_times};
use crate::shared_path::SharedPath;
use crate::{Descent, Dir, Errno, Name, Result};

impl Overlay {
    /// Freezes the current tree and returns it as lowers. `next`, which must be empty, becomes the
    /// upper. Nothing is copied: the cost depends on the number of known directories, not on the
    /// size of the tree.
    ///
    /// The returned lowers never change. They can be read, restored, and shared by any number of
    /// other overlays.
    ///
    /// # Errors
    /// - `EINVAL`: `next` is the upper or a lower already.
    /// - The errors of `next`.
    /// - `ETXTBSY`: a file of the upper is open.
    ///
    /// After an error nothing has changed.
    pub fn snapshot(&self, next: UpperRef) -> Result<Lowers> {
        Ok(self.snapshot_with(next, |_| Ok(()))?.0)
    }

    /// Takes a snapshot, and calls `make` with its lowers before anything is frozen.
    fn snapshot_with<T>(
        &self,
        next: UpperRef,
        make: impl FnOnce(&Lowers) -> Result<T>,
    ) -> Result<(Lowers, T)> {
        let mut table = self.0.table.write();
        let (upper, lower) = layers(&table)?;
        let lowers = lower.with_top(Arc::clone(&upper))?;
        check_fresh(&next, &lowers)?;
        let root = to_errno(upper.stat(Descent::HERE))?;
        set_root_times(&*next, &root)?;
        next.set_node_dev(table.dev());
        let made = make(&lowers)?;
        // The step: nothing can fail after the freeze.
        upper.freeze()?;
        self.0.note_blocking(&mut table, &*next);
        table.evict_all();
        retire(&mut table, &lowers);
        self.0.restack(&mut table, next, &lowers)?;
        *self.0.link_groups.lock() = None;
        Ok((lowers, made))
    }

    /// Creates another overlay over the current tree, with the empty `upper`; `next` is as for
    /// [`Overlay::snapshot`]. Neither overlay sees the changes of the other.
    ///
    /// # Errors
    /// - Those of [`Overlay::snapshot`], and those of [`Overlay::new`] before anything is frozen.
    pub fn fork(&self, next: UpperRef, upper: UpperRef) -> Result<Overlay> {
        let over = |lowers: &Lowers| Overlay::new(upper, lowers);
        Ok(self.snapshot_with(next, over)?.1)
    }

    /// Replaces the tree by `snapshot`, in one step for all handles. `next`, which must be empty,
    /// becomes the upper. The former upper is frozen; it can be a lower of other overlays.
    ///
    /// A handle on a directory then refers to the directory of the same path. If the path leads to
    /// no directory, the handle refers to a removed one. An open file of the lowers stays readable;
    /// if its path leads to another node, it is an open file without a name.
    ///
    /// # Errors
    /// - `EINVAL`: `next` is the upper or a lower already.
    /// - The errors of the lowers, while the known directories are looked up.
    /// - The errors of `next`.
    /// - `ETXTBSY`: a file of the upper is open.
    ///
    /// After an error nothing has changed.
    pub fn restore(&self, snapshot: &Lowers, next: UpperRef) -> Result<()> {
        let mut table = self.0.table.write();
        let (upper, lower) = layers(&table)?;
        check_fresh(&next, snapshot)?;
        check_fresh(&next, &lower.with_top(Arc::clone(&upper))?)?;
        let root = to_errno(snapshot.root.stat(Descent::HERE))?;
        table.evict_all();
        let found = find_all(&table, snapshot)?;
        set_root_times(&*next, &root)?;
        next.set_node_dev(table.dev());
        // The step: nothing can fail after the freeze.
        upper.freeze()?;
        self.0.note_blocking(&mut table, &*snapshot.root);
        self.0.note_blocking(&mut table, &*next);
        for (key, lower) in found {
            let dir = table.dir_mut(key)?;
            dir.forget_listing();
            match lower {
                Restored::Open(lower) => {
                    (dir.upper, dir.lower, dir.closed) = (None, Some(lower), None);
                }
                Restored::Closed => dir.closed = Some(OF_LOWERS),
                Restored::Gone => remove(&mut table, key)?,
            }
        }
        table.dir_mut(ROOT)?.upper = Some(next);
        table.lowers = snapshot.clone();
        retire(&mut table, snapshot);
        *self.0.link_groups.lock() = None;
        self.0.lower_files.recount_after_restore(&snapshot.root);
        Ok(())
    }
}

/// Returns the current upper and lowers.
fn layers(table: &DirTable) -> Result<(UpperRef, Lowers)> {
    Ok((Arc::clone(table.upper(ROOT)?), table.visible_lowers()?))
}

fn check_fresh(next: &UpperRef, lowers: &Lowers) -> Result<()> {
    if lowers.root.overlaps(next)? { Err(Errno::Inval) } else { Ok(()) }
}

/// A known directory in the restored tree.
enum Restored {
    Open(Arc<MergedDir>),
    /// The directory exists, and it was closed.
    Closed,
    Gone,
}

/// A closed directory that only the lowers have.
const OF_LOWERS: Closed = Closed { has_upper: false, has_lower: true };

/// Looks up each known directory in the restored tree, ancestors first.
fn find_all(table: &DirTable, snapshot: &Lowers) -> Result<Vec<(DirKey, Restored)>> {
    let mut found = Vec::new();
    let mut pending = vec![(ROOT, Some(Arc::clone(&snapshot.root)))];
    while let Some((key, lower)) = pending.pop() {
        for child in table.dir(key)?.children.values() {
            let below = match &lower {
                Some(lower) => match lower.lookup(Name::new(&table.dir(*child)?.name)?)? {
                    Some(LowerNode::Dir(dir)) => Some(dir),
                    Some(LowerNode::Leaf(_)) | None => None,
                },
                None => None,
            };
            pending.push((*child, below));
        }
        let restored = match lower {
            Some(_) if table.dir(key)?.closed.is_some() => Restored::Closed,
            Some(lower) => Restored::Open(lower),
            None => Restored::Gone,
        };
        found.push((key, restored));
    }
    Ok(found)
}

/// Marks the directory as removed. Its descendants follow later in the list of [`find_all`].
fn remove(table: &mut DirTable, key: DirKey) -> Result<()> {
    let dir = table.dir_mut(key)?;
    dir.is_removed = true;
    dir.children.clear();
    let (parent, name) = (dir.parent, dir.name.clone());
    if let Some(above) = table.dirs.get_mut(parent).filter(|above| !above.is_removed) {
        above.children.remove(&name);
    }
    table.free_unused(key);
    Ok(())
}

/// Turns the uppers of removed directories into lowers, since they no longer belong to the upper.
fn retire(table: &mut DirTable, lowers: &Lowers) {
    for (_, dir) in table.dirs.iter_mut().filter(|(_, dir)| dir.is_removed) {
        if let Some(upper) = dir.upper.take() {
            let path = SharedPath::default().join(&dir.name);
            let lower = MergedDir::stacked(&lowers.root, path, dir.lower.as_ref(), Some(upper));
            dir.lower = Some(lower);
        }
    }
}

impl OverlayState {
    /// Puts the upper of each directory on top of its lowers, and makes `next` the upper of the
    /// root.
    fn restack(&self, table: &mut DirTable, next: UpperRef, lowers: &Lowers) -> Result<()> {
        let mut pending = vec![(ROOT, SharedPath::default())];
        while let Some((key, path)) = pending.pop() {
            for child in table.dir(key)?.children.values() {
                pending.push((*child, path.join(&table.dir(*child)?.name)));
            }
            let dir = table.dir_mut(key)?;
            dir.forget_listing();
            if dir.closed.is_some() {
                dir.closed = Some(OF_LOWERS);
            } else if key == ROOT {
                dir.lower = Some(Arc::clone(&lowers.root));
            } else {
                let upper = dir.upper.take();
                dir.lower = Some(MergedDir::stacked(&lowers.root, path, dir.lower.as_ref(), upper));
            }
        }
        table.dir_mut(ROOT)?.upper = Some(next);
        table.lowers = lowers.clone();
        Ok(())
    }
}
