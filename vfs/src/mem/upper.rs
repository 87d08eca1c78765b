//! Implements [`UpperDir`] for memory filesystems.
//!
//! Whiteouts and opaque marks are kept beside the entries of a directory. Methods are atomic for an
//! overlay: most run under one exclusive lock of the tree. The content of a copied-up file is
//! filled before its names are added, and a new directory is made opaque under a second lock, which
//! no other caller can precede, since an upper belongs to one overlay.
//!
//! A copied-up node stores the identity of the lower's node itself, so its open files need no
//! wrapper.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::MemFs;
use super::dir::{Leave, MemDir, check_vacant};
use super::file::MemFile;
use super::leaf::{Leaf, LeafContent, Times, not_a_dir};
use super::meter::Counted;
use super::tree::{Child, DirData, DirKey, ROOT, Tree};
use crate::overlay::{CopiedUp, CopyUp, NewName, UpperDir, UpperEntry, UpperOpen, UpperRef};
use crate::{Access, Dir, Errno, Name, OpenHow, Result, Stat, Stop};

impl MemFs {
    /// Returns the root as an upper: an overlay keeps its changes in it. After [`UpperDir::freeze`]
    /// it can be a lower.
    #[must_use]
    pub fn upper(&self) -> UpperRef {
        Arc::new(MemDir::hold(&self.0, &self.0.tree.read(), ROOT))
    }
}

/// A name in a directory of this filesystem.
type Target<'a> = (DirKey, Name<'a>);

impl MemDir {
    /// Checks the names of a node before it is copied up.
    fn check_names<'a>(&self, names: &'a [NewName<'a>]) -> Result<Vec<Target<'a>>> {
        let target = |new: &NewName<'a>| Ok((self.same_fs(new.dir)?.key, new.name));
        let targets = names.iter().map(target).collect::<Result<Vec<_>>>()?;
        check_all_vacant(&self.fs.tree.read(), &targets)?;
        Ok(targets)
    }

    /// Adds all names of a leaf in one step.
    fn add_names(&self, names: &[Target<'_>], leaf: &Arc<Leaf>) -> Result<()> {
        if names.is_empty() {
            leaf.nlink.store(0, Ordering::Relaxed);
            return Ok(());
        }
        let mut tree = self.fs.write_tree()?;
        check_all_vacant(&tree, names)?;
        leaf.nlink.store(names.len() as u64, Ordering::Relaxed);
        for (key, name) in names {
            tree.dir_mut(*key)?.insert_quietly(*name, Child::Leaf(Arc::clone(leaf)));
        }
        Ok(())
    }

    fn copy_up_dir(&self, (parent, name): Target<'_>, stat: &Stat) -> Result<()> {
        let mut tree = self.fs.write_tree()?;
        check_vacant(tree.dir(parent)?, name)?;
        let counted = Counted::new(&self.fs.env.meter)?;
        let mut dir = DirData::new((stat.dev, stat.ino), parent, stat.modified, counted);
        dir.times = times_of(stat);
        let key = tree.dirs.insert(dir);
        tree.dir_mut(parent)?.insert_quietly(name, Child::Dir(key));
        Ok(())
    }

    /// Creates a file with the identity of the lower's file, without a name. It is open for reading
    /// and writing.
    fn new_file(&self, stat: &Stat) -> Result<(Arc<Leaf>, MemFile)> {
        let leaf = self.fs.leaf_with((stat.dev, stat.ino), LeafContent::File, stat.modified)?;
        let env = Arc::clone(&self.fs.env);
        let file = MemFile::new(env, Arc::clone(&leaf), Access::ReadWrite);
        Ok((leaf, file))
    }
}

fn check_all_vacant(tree: &Tree, names: &[Target<'_>]) -> Result<()> {
    names.iter().try_for_each(|(key, name)| check_vacant(tree.dir(*key)?, *name))
}

fn times_of(stat: &Stat) -> Times {
    Times { accessed: stat.accessed, modified: stat.modified, changed: stat.changed }
}

impl UpperDir for MemDir {
    fn set_node_dev(&self, dev: u64) {
        // Only the first call has an effect.
        let _ = self.fs.dev_of_new.set(dev);
    }

    fn lookup(&self, name: Name<'_>) -> Result<UpperEntry> {
        let tree = self.fs.tree.read();
        let dir = tree.dir(self.key)?;
        Ok(match dir.get(name) {
            Some(Child::Leaf(leaf)) => UpperEntry::Node(leaf.stat()),
            Some(Child::Dir(key)) => UpperEntry::Node(tree.dir(*key)?.stat()),
            None => match &dir.marks {
                Some(marks) if marks.whiteouts.contains(name.as_str()) => UpperEntry::Whiteout,
                Some(_) | None => UpperEntry::Absent,
            },
        })
    }

    fn open_leaf(&self, name: Name<'_>, how: OpenHow) -> Result<UpperOpen, Stop> {
        let tree = self.fs.tree.read();
        let dir = tree.dir(self.key)?;
        match dir.get(name) {
            None => Ok(match &dir.marks {
                Some(marks) if marks.whiteouts.contains(name.as_str()) => UpperOpen::Whiteout,
                Some(_) | None => UpperOpen::Absent,
            }),
            Some(Child::Dir(_)) => Ok(UpperOpen::Dir),
            Some(Child::Leaf(_)) if how.is_exclusive() => Err(Errno::Exist.into()),
            Some(Child::Leaf(leaf)) => match leaf.content {
                LeafContent::Link(_) => Err(not_a_dir(leaf, 0)),
                LeafContent::File | LeafContent::Null => {
                    Ok(UpperOpen::File(self.open_leaf_as(leaf, how)?))
                }
            },
        }
    }

    fn enter(&self, name: Name<'_>) -> Result<UpperRef> {
        let tree = self.fs.tree.read();
        match tree.dir(self.key)?.get(name).ok_or(Errno::Noent)? {
            Child::Dir(key) => Ok(Arc::new(MemDir::hold(&self.fs, &tree, *key))),
            Child::Leaf(_) => Err(Errno::Notdir),
        }
    }

    fn is_opaque(&self) -> Result<bool> {
        let tree = self.fs.tree.read();
        Ok(tree.dir(self.key)?.marks.as_ref().is_some_and(|marks| marks.is_opaque))
    }

    fn whiteouts(&self, each: &mut dyn FnMut(Name<'_>)) -> Result<()> {
        let names: Vec<_> = match &self.fs.tree.read().dir(self.key)?.marks {
            Some(marks) => marks.whiteouts.iter().cloned().collect(),
            None => return Ok(()),
        };
        for name in names {
            each(Name::new(&name)?);
        }
        Ok(())
    }

    fn copy_up(&self, names: &[NewName<'_>], stat: &Stat, what: CopyUp<'_>) -> Result<CopiedUp> {
        let names = self.check_names(names)?;
        match (what, &names[..]) {
            (CopyUp::Dir, [name]) => {
                self.copy_up_dir(*name, stat)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::Dir, _) | (CopyUp::Symlink(_), []) => Err(Errno::Inval),
            (CopyUp::Symlink(target), names) => {
                let id = (stat.dev, stat.ino);
                let leaf =
                    self.fs.leaf_with(id, LeafContent::Link(target.into()), stat.modified)?;
                leaf.write().times = times_of(stat);
                self.add_names(names, &leaf)?;
                Ok(CopiedUp::Named)
            }
            (CopyUp::File(fill), names) => {
                let (leaf, file) = self.new_file(stat)?;
                fill(&file)?;
                leaf.write().times = times_of(stat);
                self.add_names(names, &leaf)?;
                Ok(CopiedUp::File(Arc::new(file)))
            }
            (CopyUp::Truncated(how), names) => {
                let (leaf, file) = self.new_file(stat)?;
                leaf.write().times = times_of(stat);
                let opened = self.open_leaf_as(&leaf, how)?;
                self.add_names(names, &leaf)?;
                Ok(CopiedUp::Truncated { file: Arc::new(file), opened })
            }
        }
    }

    fn copy_up_link(&self, name: Name<'_>, into: &dyn UpperDir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_fs(into)?.key;
        let mut tree = self.fs.write_tree()?;
        let child = tree.dir(self.key)?.get(name).ok_or(Errno::Noent)?.clone();
        check_vacant(tree.dir(into)?, new_name)?;
        let Child::Leaf(leaf) = &child else { return Err(Errno::Perm) };
        leaf.nlink.fetch_add(1, Ordering::Relaxed);
        tree.dir_mut(into)?.insert_quietly(new_name, child);
        Ok(())
    }

    fn create_whiteout(&self, name: Name<'_>) -> Result<()> {
        let mut tree = self.fs.write_tree()?;
        let now = self.fs.now();
        let existing = tree.dir(self.key)?.get(name).cloned();
        match &existing {
            None => {}
            Some(Child::Leaf(leaf)) => leaf.adjust_nlink(-1, now),
            Some(Child::Dir(key)) if !tree.dir(*key)?.is_empty() => return Err(Errno::Notempty),
            Some(Child::Dir(_)) => {}
        }
        let dir = tree.dir_mut(self.key)?;
        if dir.is_removed {
            return Err(Errno::Noent);
        }
        dir.remove(name, now);
        dir.create_whiteout(name, now);
        if let Some(Child::Dir(key)) = existing {
            tree.remove_dir(key, now)?;
        }
        Ok(())
    }

    fn create_opaque_dir(&self, name: Name<'_>) -> Result<()> {
        // An upper belongs to one overlay, so no other caller sees the directory before it is
        // opaque.
        self.create_dir(name)?;
        let mut tree = self.fs.write_tree()?;
        if let Some(Child::Dir(key)) = tree.dir(self.key)?.get(name) {
            let key = *key;
            tree.dir_mut(key)?.marks.get_or_insert_default().is_opaque = true;
        }
        Ok(())
    }

    fn commit_token(&self) -> Result<u128> {
        Ok(*self.fs.commit_token.get_or_init(crate::overlay::random_token))
    }

    // An upper in memory does not survive a crash, so there is nothing to record.
    fn begin_discard(&self) -> Result<()> {
        self.fs.write_tree().map(drop)
    }

    fn end_discard(&self) -> Result<()> {
        self.fs.write_tree().map(drop)
    }

    fn set_opaque(&self) -> Result<()> {
        let mut tree = self.fs.write_tree()?;
        let marks = tree.dir_mut(self.key)?.marks.get_or_insert_default();
        marks.is_opaque = true;
        marks.whiteouts.clear();
        Ok(())
    }

    fn rename_with_whiteout(
        &self,
        name: Name<'_>,
        into: &dyn UpperDir,
        new_name: Name<'_>,
    ) -> Result<()> {
        self.rename_leaving(Leave::Whiteout, name, self.same_fs(into)?, new_name)
    }

    fn freeze(&self) -> Result<()> {
        let _tree = self.fs.tree.write();
        // A file is opened under the lock of the tree, so no open is in progress.
        if Arc::strong_count(&self.fs.env) > 1 {
            return Err(Errno::Txtbsy);
        }
        self.fs.env.frozen.store(true, Ordering::Release);
        Ok(())
    }
}
