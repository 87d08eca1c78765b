//! Copy-up: copies a node of the lowers into the upper before an operation changes it.
//!
//! A copy-up changes nothing that is visible: the copy has the content, times and identity of the
//! original, and all its names appear in one step. An operation copies up the nodes that it needs
//! and then makes its own single step. So a failure at any point leaves the tree unchanged without
//! a rollback by the overlay. An upper may roll back the names of a copy-up that fails.
//!
//! An open that truncates a file of a lower is a single step too: the empty file is opened before a
//! name leads to it.
//!
//! The hard links of a file are copied up together, so they stay linked. The names are found by a
//! scan of the lowers, once, on the first copy-up of a file with several names.

use std::collections::HashMap;
use std::sync::Arc;

use super::dir_table::{DirKey, DirTable, MergedEntry, ROOT, no_backing_dir};
use super::lowers::{LowerDir, LowerNode, MergedDir, to_errno};
use super::upper::{CopiedUp, CopyUp, NewName, UpperRef};
use super::{Identity, OverlayState};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, closing, names, walk};
use crate::{
    Descent, Errno, File, FileRef, FileType, Name, OpenHow, Result, Stat, Stop, broken_contract,
};

/// The paths of the files with several names in the lowers, by identity.
#[derive(Default)]
pub(super) struct LinkGroups(HashMap<Identity, Vec<SharedPath>>);

impl LinkGroups {
    fn scan(root: &Arc<MergedDir>) -> Result<Self> {
        let mut groups = LinkGroups::default();
        let (dir, names) = (Arc::clone(root), names(&**root)?);
        walk(Entered { dir, names, data: () }, &mut groups).map_err(Errno::from)?;
        groups.0.retain(|_, paths| paths.len() > 1);
        Ok(groups)
    }
}

impl Visitor for LinkGroups {
    type Dir = Arc<MergedDir>;
    type Data = ();
    type Error = PathError;

    fn node(
        &mut self,
        at: Visit<'_, Arc<MergedDir>, ()>,
    ) -> Result<Option<Entered<Arc<MergedDir>, ()>>, PathError> {
        match at.dir.lookup(at.name).at(at.path)? {
            None => Ok(None),
            Some(LowerNode::Dir(dir)) => {
                let names = names(&*dir).at(at.path)?;
                Ok(Some(Entered { dir, names, data: () }))
            }
            Some(LowerNode::Leaf(part)) => {
                match part.dir().stat(at.name.into()) {
                    Ok(stat) if stat.nlink > 1 => {
                        self.0.entry((stat.dev, stat.ino)).or_default().push(at.shared_path());
                    }
                    Ok(_) => {}
                    // A name that a policy layer of the lower hides does not lead to the file.
                    Err(Stop::Errno(errno)) if !is_unreachable(errno) => {
                        return Err(errno).at(at.path);
                    }
                    Err(_) => {}
                }
                Ok(None)
            }
        }
    }
}

/// Returns whether the error of a lookup means that the name does not lead to the node. All other
/// errors may be temporary.
fn is_unreachable(errno: Errno) -> bool {
    matches!(errno, Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Acces | Errno::Perm)
}

/// Another name of a file, in a directory of the upper.
struct OtherName {
    dir: UpperRef,
    name: String,
}

/// The content of a file's copy.
#[derive(Clone, Copy)]
enum CopyContent {
    /// The content of the original.
    Full,
    /// None. The empty file is opened in this way.
    Truncated(OpenHow),
}

/// A file or symlink of a lower that is copied up.
struct LowerLeaf<'a> {
    key: DirKey,
    name: Name<'a>,
    part: &'a LowerDir,
    stat: Stat,
}

impl<'a> LowerLeaf<'a> {
    fn new((key, name): (DirKey, Name<'a>), part: &'a LowerDir) -> Result<Self> {
        let stat = to_errno(part.dir().stat(name.into()))?;
        Ok(LowerLeaf { key, name, part, stat })
    }
}

impl OverlayState {
    /// Copies up the node `entry` that `name` leads to. A directory is copied up without its
    /// entries. A node of the upper is left alone.
    ///
    /// # Errors
    /// - `ENOENT`: `entry` is absent.
    /// - The errors of [`UpperDir::copy_up`](super::UpperDir::copy_up) and of the lower.
    pub(super) fn copy_up(
        &self,
        table: &mut DirTable,
        (key, name): (DirKey, Name<'_>),
        entry: &MergedEntry,
    ) -> Result<()> {
        match entry {
            MergedEntry::Absent => Err(Errno::Noent),
            MergedEntry::Upper(_) => Ok(()),
            MergedEntry::Lower(LowerNode::Dir(_)) => {
                let child = to_errno(table.child(key, name, entry))?;
                table.ensure_upper(child).map(drop)
            }
            MergedEntry::Lower(LowerNode::Leaf(part)) => {
                let leaf = LowerLeaf::new((key, name), part)?;
                let others = self.other_names(table, &leaf)?;
                self.copy_up_leaf(table, &leaf, &others, CopyContent::Full).map(drop)
            }
        }
    }

    /// Opens a file of a lower and truncates it. Its content is not copied.
    pub(super) fn open_truncated(
        &self,
        table: &mut DirTable,
        at: (DirKey, Name<'_>),
        part: &LowerDir,
        how: OpenHow,
    ) -> Result<FileRef> {
        let leaf = LowerLeaf::new(at, part)?;
        let others = self.other_names(table, &leaf)?;
        match self.copy_up_leaf(table, &leaf, &others, CopyContent::Truncated(how))? {
            CopiedUp::Truncated { opened, .. } => Ok(opened),
            // Another process may have replaced the file of the lower by a symlink.
            CopiedUp::Named => Err(Errno::Loop),
            CopiedUp::File(_) => {
                Err(broken_contract("`UpperDir::copy_up` did not open a truncated file"))
            }
        }
    }

    /// Creates the copy of a file or symlink in the upper, under all its visible names in one step.
    fn copy_up_leaf(
        &self,
        table: &mut DirTable,
        leaf: &LowerLeaf<'_>,
        others: &[OtherName],
        content: CopyContent,
    ) -> Result<CopiedUp> {
        let LowerLeaf { key, name, part, stat } = leaf;
        let upper = table.ensure_upper(*key)?;
        let mut names = vec![NewName { dir: &*upper, name: *name }];
        for other in others {
            names.push(NewName { dir: &*other.dir, name: Name::new(&other.name)? });
        }
        let copied = match (stat.kind, content) {
            (FileType::Symlink, _) => {
                let target = part.dir().read_link(*name)?;
                upper.copy_up(&names, stat, CopyUp::Symlink(&target))?
            }
            (FileType::File, CopyContent::Full) => {
                let from = to_errno(part.dir().open((*name).into(), OpenHow::READ))?.into_file()?;
                let mut fill = |to: &dyn File| copy_bytes(&*from, to).map(drop);
                let copy = || upper.copy_up(&names, stat, CopyUp::File(&mut fill));
                self.copy_in_budget(stat.size, copy)?
            }
            (FileType::File, CopyContent::Truncated(how)) => {
                upper.copy_up(&names, stat, CopyUp::Truncated(how))?
            }
            (FileType::Dir, _) => return Err(Errno::Isdir),
            (
                FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket,
                _,
            ) => return Err(Errno::Perm),
        };
        if let CopiedUp::File(file) | CopiedUp::Truncated { file, .. } = &copied {
            self.lower_files.switch_to_copy((stat.dev, stat.ino), file);
        }
        Ok(copied)
    }

    /// Prepares to hide the name of a file or symlink of a lower. A file with other visible names
    /// is copied up, so that its link count excludes the hidden name.
    ///
    /// Returns the identity of a file that stays in the lower, for [`LowerFiles::hide`].
    ///
    /// [`LowerFiles::hide`]: super::lower_file::LowerFiles::hide
    pub(super) fn detach_before_hiding(
        &self,
        table: &mut DirTable,
        at: (DirKey, Name<'_>),
        part: &LowerDir,
    ) -> Result<Option<Identity>> {
        let leaf = LowerLeaf::new(at, part)?;
        let others = self.other_names(table, &leaf)?;
        if others.is_empty() {
            return Ok(Some((leaf.stat.dev, leaf.stat.ino)));
        }
        self.copy_up_leaf(table, &leaf, &others, CopyContent::Full)?;
        Ok(None)
    }

    /// Returns the other visible names of a file. Copies up the directories that have them.
    fn other_names(&self, table: &mut DirTable, leaf: &LowerLeaf<'_>) -> Result<Vec<OtherName>> {
        let LowerLeaf { key, name, stat, .. } = leaf;
        if stat.nlink < 2 || stat.kind == FileType::Dir {
            return Ok(Vec::new());
        }
        let groups = self.link_groups(table)?;
        let mut others = Vec::new();
        for path in groups.0.get(&(stat.dev, stat.ino)).into_iter().flatten() {
            let path = path.to_text();
            let Some((parent, last)) = Descent::new(&path)?.split_last() else { continue };
            let dir = match table.descend(ROOT, parent) {
                Ok(dir) => dir,
                Err(Stop::Errno(errno)) if !is_unreachable(errno) => return Err(errno),
                Err(_) => continue,
            };
            if dir == *key && last == *name {
                continue;
            }
            let MergedEntry::Lower(LowerNode::Leaf(part)) = table.lookup(dir, last)? else {
                continue;
            };
            match part.dir().stat(last.into()) {
                Ok(other) if (other.dev, other.ino) == (stat.dev, stat.ino) => {}
                Err(Stop::Errno(errno)) if !is_unreachable(errno) => return Err(errno),
                Ok(_) | Err(_) => continue,
            }
            others
                .push(OtherName { dir: table.ensure_upper(dir)?, name: last.as_str().to_owned() });
        }
        Ok(others)
    }

    fn link_groups(&self, table: &DirTable) -> Result<Arc<LinkGroups>> {
        let mut cached = self.link_groups.lock();
        if let Some(groups) = &*cached {
            return Ok(Arc::clone(groups));
        }
        let groups = match &table.dir(ROOT)?.lower {
            Some(lower) => Arc::new(LinkGroups::scan(lower)?),
            None => Arc::default(),
        };
        *cached = Some(Arc::clone(&groups));
        Ok(groups)
    }

    /// Copies up the directory `top` with its whole tree, and makes every directory of it opaque.
    pub(super) fn copy_up_tree(&self, table: &mut DirTable, top: DirKey) -> Result<()> {
        if table.dir(top)?.lower.is_none() {
            return Ok(());
        }
        let mut frames = vec![TreeFrame::enter(table, top)?];
        while let Some(TreeFrame { key, names }) = frames.last_mut() {
            let key = *key;
            table.open(key)?;
            let Some(name) = names.pop() else {
                frames.pop();
                table.upper(key)?.set_opaque()?;
                table.dir_mut(key)?.lower = None;
                if key != top {
                    table.close(key);
                    table.forget_idle(key);
                }
                continue;
            };
            let name = Name::new(&name)?;
            let entry = table.lookup(key, name)?;
            if matches!(entry, MergedEntry::Absent) {
                continue;
            }
            if !entry.is_dir() {
                self.copy_up(table, (key, name), &entry)?;
                continue;
            }
            let child = to_errno(table.child(key, name, &entry))?;
            if table.dir(child)?.lower.is_none() {
                table.forget_idle(child);
                continue;
            }
            frames.push(TreeFrame::enter(table, child)?);
            let to_close = closing(frames.len() - 1).and_then(|nth| frames.get(nth));
            if let Some(TreeFrame { key, .. }) = to_close {
                table.close(*key);
            }
        }
        Ok(())
    }
}

/// A directory that [`OverlayState::copy_up_tree`] is in, with the names of its lowers to visit.
struct TreeFrame {
    key: DirKey,
    names: Vec<String>,
}

impl TreeFrame {
    fn enter(table: &mut DirTable, key: DirKey) -> Result<Self> {
        table.ensure_upper(key)?;
        let lower = table.dir(key)?.lower.as_ref().ok_or_else(no_backing_dir)?;
        let list = lower.list()?;
        let names = list.after(0).map(|entry| entry.name.as_str().to_owned()).collect();
        Ok(TreeFrame { key, names })
    }
}
