//! Copy-up: giving the upper a node that so far only the lowers have.
//!
//! Nothing that is visible changes by it: the upper's node has the lower's bytes, times and
//! identity, and appears in one step, whole, under all its names. An operation copies up what it
//! needs first and then does its own single step. There is no rollback, so none can fail: whatever
//! fails on the way, and however long, the tree is as it was.
//!
//! An open that truncates a file of the lowers is a single step too: the empty file is opened
//! before its names lead to it.
//!
//! Names of a lower that lead to one file are copied up together, so they stay linked. They are
//! looked for once for a set of lowers, when the first such file is copied up.

use std::collections::HashMap;
use std::sync::Arc;

use super::lowers::{Found, LowerDir, MergedDir, end};
use super::tree::{DirKey, Have, ROOT, Tree, on_no_layer};
use super::upper::{CopiedUp, CopyUp, NewName, UpperRef};
use super::{Identity, Shared};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, closing, names, walk};
use crate::{
    Descent, Errno, File, FileRef, FileType, Name, OpenHow, Result, Stat, Stop, broken_contract,
};

/// The paths of the files of some lowers that have several names, by their identity.
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
        match at.dir.find(at.name).at(at.path)? {
            None => Ok(None),
            Some(Found::Dir(dir)) => {
                let names = names(&*dir).at(at.path)?;
                Ok(Some(Entered { dir, names, data: () }))
            }
            Some(Found::Leaf(part)) => {
                match part.dir().stat(at.name.into()) {
                    Ok(stat) if stat.nlink > 1 => {
                        self.0.entry((stat.dev, stat.ino)).or_default().push(at.shared_path());
                    }
                    Ok(_) => {}
                    // What may not be seen cannot be reached by that name either.
                    Err(Stop::Errno(errno)) if !hides_a_name(errno) => {
                        return Err(errno).at(at.path);
                    }
                    Err(_) => {}
                }
                Ok(None)
            }
        }
    }
}

/// Whether a failed look at a name means that the name does not lead to the node: all other errors
/// may be gone a moment later.
fn hides_a_name(errno: Errno) -> bool {
    matches!(errno, Errno::Noent | Errno::Notdir | Errno::Loop | Errno::Acces | Errno::Perm)
}

/// One more name of a file, in a directory that the upper has.
struct Further {
    dir: UpperRef,
    name: String,
}

/// What a copy-up makes of a file.
#[derive(Clone, Copy)]
enum Content {
    /// A copy.
    Kept,
    /// An empty file, opened in this way.
    Truncated(OpenHow),
}

impl Shared {
    /// Copies up what `name` leads to, if it is a file or a link of the lowers. A directory is
    /// raised.
    pub(super) fn copy_up(&self, tree: &mut Tree, key: DirKey, name: Name<'_>) -> Result<()> {
        match tree.have(key, name)? {
            Have::Nothing => Err(Errno::Noent),
            Have::Upper(_) => Ok(()),
            Have::Lower(Found::Dir(_)) => {
                let child = end(tree.child(key, name))?;
                tree.raise(child).map(drop)
            }
            Have::Lower(Found::Leaf(part)) => {
                self.adopt_leaf(tree, (key, name), &part, Content::Kept).map(drop)
            }
        }
    }

    /// Opens a file of the lowers and truncates it. Its bytes are not copied up before they go.
    pub(super) fn open_truncated(
        &self,
        tree: &mut Tree,
        (key, name): (DirKey, Name<'_>),
        part: &LowerDir,
        how: OpenHow,
    ) -> Result<FileRef> {
        match self.adopt_leaf(tree, (key, name), part, Content::Truncated(how))? {
            CopiedUp::Truncated { opened, .. } => Ok(opened),
            // A lower that is written meanwhile can have a link there now.
            CopiedUp::Named => Err(Errno::Loop),
            CopiedUp::File(_) => {
                Err(broken_contract("`UpperDir::copy_up` did not open a truncated file"))
            }
        }
    }

    /// Puts a file or a link of the lowers into the upper, under all its visible names in one step.
    fn adopt_leaf(
        &self,
        tree: &mut Tree,
        (key, name): (DirKey, Name<'_>),
        part: &LowerDir,
        content: Content,
    ) -> Result<CopiedUp> {
        let stat = end(part.dir().stat(name.into()))?;
        let further = self.further_names(tree, &stat, key, name)?;
        let upper = tree.raise(key)?;
        let mut names = vec![NewName { dir: &*upper, name }];
        for one in &further {
            names.push(NewName { dir: &*one.dir, name: Name::new(&one.name)? });
        }
        let made = match (stat.kind, content) {
            (FileType::Symlink, _) => {
                let target = part.dir().read_link(name)?;
                upper.copy_up(&names, &stat, CopyUp::Symlink(&target))?
            }
            (FileType::File, Content::Kept) => {
                let from = end(part.dir().open(name.into(), OpenHow::READ))?.into_file()?;
                let mut fill = |to: &dyn File| copy_bytes(&*from, to).map(drop);
                self.paid_copy(stat.size, || upper.copy_up(&names, &stat, CopyUp::File(&mut fill)))?
            }
            (FileType::File, Content::Truncated(how)) => {
                upper.copy_up(&names, &stat, CopyUp::Truncated(how))?
            }
            (FileType::Dir, _) => return Err(Errno::Isdir),
            (
                FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket,
                _,
            ) => return Err(Errno::Perm),
        };
        if let CopiedUp::File(file) | CopiedUp::Truncated { file, .. } = &made {
            self.handles.switch((stat.dev, stat.ino), file);
        }
        Ok(made)
    }

    /// The file or link `name` of the lowers is going to be hidden: its other names must not count
    /// it any more.
    pub(super) fn before_hiding(
        &self,
        tree: &mut Tree,
        key: DirKey,
        name: Name<'_>,
    ) -> Result<Option<Identity>> {
        let Have::Lower(Found::Leaf(part)) = tree.have(key, name)? else { return Ok(None) };
        let stat = end(part.dir().stat(name.into()))?;
        if stat.nlink > 1 && !self.further_names(tree, &stat, key, name)?.is_empty() {
            self.copy_up(tree, key, name)?;
            return Ok(None);
        }
        Ok(Some((stat.dev, stat.ino)))
    }

    /// The other visible names of a file of the lowers.
    fn further_names(
        &self,
        tree: &mut Tree,
        stat: &Stat,
        key: DirKey,
        name: Name<'_>,
    ) -> Result<Vec<Further>> {
        if stat.nlink < 2 || stat.kind == FileType::Dir {
            return Ok(Vec::new());
        }
        let groups = self.link_groups(tree)?;
        let mut further = Vec::new();
        for path in groups.0.get(&(stat.dev, stat.ino)).into_iter().flatten() {
            let path = path.to_text();
            let Some((parent, last)) = Descent::new(&path)?.split_last() else { continue };
            let dir = match tree.descend(ROOT, parent) {
                Ok(dir) => dir,
                Err(Stop::Errno(errno)) if !hides_a_name(errno) => return Err(errno),
                Err(_) => continue,
            };
            if dir == key && last == name {
                continue;
            }
            let Have::Lower(Found::Leaf(part)) = tree.have(dir, last)? else { continue };
            match part.dir().stat(last.into()) {
                Ok(other) if (other.dev, other.ino) == (stat.dev, stat.ino) => {}
                Err(Stop::Errno(errno)) if !hides_a_name(errno) => return Err(errno),
                Ok(_) | Err(_) => continue,
            }
            further.push(Further { dir: tree.raise(dir)?, name: last.as_str().to_owned() });
        }
        Ok(further)
    }

    fn link_groups(&self, tree: &Tree) -> Result<Arc<LinkGroups>> {
        let mut known = self.link_groups.lock();
        if let Some(groups) = &*known {
            return Ok(Arc::clone(groups));
        }
        let groups = match &tree.dir(ROOT)?.lower {
            Some(lower) => Arc::new(LinkGroups::scan(lower)?),
            None => Arc::default(),
        };
        *known = Some(Arc::clone(&groups));
        Ok(groups)
    }

    /// Copies up the directory `top` with all that is in it, and makes it hide what is beneath.
    pub(super) fn copy_up_whole(&self, tree: &mut Tree, top: DirKey) -> Result<()> {
        struct Frame {
            key: DirKey,
            names: Vec<String>,
        }
        if tree.dir(top)?.lower.is_none() {
            return Ok(());
        }
        let frame = |tree: &mut Tree, key: DirKey| -> Result<Frame> {
            tree.raise(key)?;
            let lower = tree.dir(key)?.lower.as_ref().ok_or_else(on_no_layer)?;
            let list = lower.list()?;
            let names = list.behind(0).map(|entry| entry.name.as_str().to_owned()).collect();
            Ok(Frame { key, names })
        };
        let mut frames = vec![frame(tree, top)?];
        while let Some(Frame { key, names }) = frames.last_mut() {
            let key = *key;
            tree.open(key)?;
            let Some(name) = names.pop() else {
                frames.pop();
                tree.upper(key)?.set_opaque()?;
                tree.dir_mut(key)?.lower = None;
                if key != top {
                    tree.close(key);
                    tree.forget_idle(key);
                }
                continue;
            };
            let name = Name::new(&name)?;
            let is_dir = match tree.have(key, name)? {
                Have::Nothing => continue,
                Have::Upper(stat) => stat.kind == FileType::Dir,
                Have::Lower(Found::Dir(_)) => true,
                Have::Lower(Found::Leaf(_)) => false,
            };
            if !is_dir {
                self.copy_up(tree, key, name)?;
                continue;
            }
            let child = end(tree.child(key, name))?;
            if tree.dir(child)?.lower.is_none() {
                tree.forget_idle(child);
                continue;
            }
            let frame = frame(tree, child)?;
            frames.push(frame);
            if let Some(Frame { key, .. }) = closing(frames.len() - 1).and_then(|it| frames.get(it))
            {
                tree.close(*key);
            }
        }
        Ok(())
    }
}
