//! Snapshots, forks, and the way back: what changes the layers under a living overlay.
//!
//! Nothing is copied. Each directory that someone holds, and those above it, get other layers, all
//! at once under the tree's lock; a handle on a directory is its key in the tree, so it stays.

use std::sync::Arc;

use super::dir_cache::Closed;
use super::dir_table::{DirKey, DirTable, ROOT};
use super::lowers::{LowerNode, Lowers, MergedDir, to_errno};
use super::upper::UpperRef;
use super::{Overlay, OverlayState, take_times};
use crate::shared_path::SharedPath;
use crate::{Descent, Dir, Errno, Name, Result};

impl Overlay {
    /// Freezes all that is there now and answers it; `next`, which must be empty, takes what is
    /// written from now on. Nothing is copied, so the cost does not depend on the size of the
    /// tree, only on the number of directories that are held.
    ///
    /// The answer never changes. It can be looked at, restored, and be the lowers of any number of
    /// other overlays, which share it.
    ///
    /// Errors, in order: `Inval` if `next` is one of the layers already; those of `next`; `Txtbsy`
    /// while a file of the upper is open. After an error nothing has changed.
    pub fn snapshot(&self, next: UpperRef) -> Result<Lowers> {
        Ok(self.snapshot_with(next, |_| Ok(()))?.0)
    }

    /// As [`Overlay::snapshot`], with what `make` makes of the lowers before anything is frozen.
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
        take_times(&*next, &root)?;
        next.set_node_dev(table.dev());
        let made = make(&lowers)?;
        // The step: nothing can fail after it.
        upper.freeze()?;
        self.0.note_blocking(&mut table, &*next);
        table.evict_all();
        retire(&mut table, &lowers);
        self.0.restack(&mut table, next, &lowers)?;
        *self.0.link_groups.lock() = None;
        Ok((lowers, made))
    }

    /// Another overlay over all that is there now, with `upper`, which must be empty, to take what
    /// is written to it; `next` is as for [`Overlay::snapshot`]. Neither sees the other's changes.
    ///
    /// Errors: as for [`Overlay::snapshot`], those of [`Overlay::new`] among them.
    pub fn fork(&self, next: UpperRef, upper: UpperRef) -> Result<Overlay> {
        let over = |lowers: &Lowers| Overlay::new(upper, lowers);
        Ok(self.snapshot_with(next, over)?.1)
    }

    /// Makes the tree what `snapshot` is, in one step for everyone who holds any of it; `next`,
    /// which must be empty, takes what is written from now on. The layer that was written until
    /// now is frozen and no longer part of it; it stays good as a lower.
    ///
    /// A handle on a directory is one on the directory of its path afterwards. Where that path
    /// leads to no directory, it is the handle of a removed one. A file of the lowers that is open
    /// stays readable; where its path leads to another node, it is an open file without a name.
    ///
    /// Errors, in order: `Inval` if `next` is one of the layers already; those of the lowers, when
    /// a held directory is looked for; those of `next`; `Txtbsy` while a file of the upper is open.
    /// After an error nothing has changed.
    pub fn restore(&self, snapshot: &Lowers, next: UpperRef) -> Result<()> {
        let mut table = self.0.table.write();
        let (upper, lower) = layers(&table)?;
        check_fresh(&next, snapshot)?;
        check_fresh(&next, &lower.with_top(Arc::clone(&upper))?)?;
        let root = to_errno(snapshot.root.stat(Descent::HERE))?;
        table.evict_all();
        let found = find_all(&table, snapshot)?;
        take_times(&*next, &root)?;
        next.set_node_dev(table.dev());
        // The step: nothing can fail after it.
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

/// The upper and the lowers that are there now.
fn layers(table: &DirTable) -> Result<(UpperRef, Lowers)> {
    Ok((Arc::clone(table.upper(ROOT)?), table.visible_lowers()?))
}

fn check_fresh(next: &UpperRef, lowers: &Lowers) -> Result<()> {
    if lowers.root.is_entangled(next)? { Err(Errno::Inval) } else { Ok(()) }
}

/// What a known directory is in the restored tree.
enum Restored {
    Open(Arc<MergedDir>),
    /// It is there, and it was closed.
    Closed,
    Gone,
}

/// A closed directory that only the lowers have.
const OF_LOWERS: Closed = Closed { has_upper: false, has_lower: true };

/// What each known directory is in the restored tree, those above before those beneath.
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

/// The directory is one without a name from now on. What is beneath it comes later.
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

/// A removed directory is none of the layer that is written any more.
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
    /// Puts each directory's upper on top of its lowers, and `next` on top of them all.
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
