//! Copying up: giving the upper a node that so far only the lowers have.
//!
//! Nothing that is visible changes by it: the upper's node has the lower's bytes, times and
//! identity, and appears in one step, whole. An operation copies up what it needs first and then
//! does its own single step; if anything fails on the way, the tree is as it was.
//!
//! Names of a lower that lead to one file are copied up together, so they stay linked. They are
//! looked for once for a set of lowers, when the first such file is copied up.

use std::collections::HashMap;
use std::sync::Arc;

use super::layer::{Adopted, Made};
use super::lowers::{Found, MergedDir, Part, end};
use super::tree::{DirKey, Have, ROOT, Tree, on_no_layer};
use super::{Identity, Shared};
use crate::copy::copy_bytes;
use crate::shared_path::SharedPath;
use crate::tree_walk::{At, Entered, PathError, Visit, Visitor, names, walk};
use crate::{
    Descent, Errno, File, FileRef, FileType, Name, Node, OpenHow, Result, Stat, Stop,
    broken_contract,
};

/// Whether the bytes of a file come along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Kept,
    /// It is cut to nothing by the same operation.
    Dropped,
}

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
                // What may not be seen cannot be reached by that name either.
                if let Ok(stat) = part.dir().stat(at.name.into())
                    && stat.nlink > 1
                {
                    self.0.entry((stat.dev, stat.ino)).or_default().push(at.shared_path());
                }
                Ok(None)
            }
        }
    }
}

/// One more name of a file.
struct Further {
    dir: DirKey,
    name: String,
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
                let stat = end(part.dir().stat(name.into()))?;
                let further = self.further_names(tree, &stat, key, name)?;
                let file = adopt_leaf(tree, key, name, &part, &stat, Bytes::Kept)?;
                self.link_all(tree, key, name, &further)?;
                if let Some(file) = file {
                    self.handles.switch((stat.dev, stat.ino), &file);
                }
                Ok(())
            }
        }
    }

    /// Opens a file of the lowers that is cut to nothing by being opened. Its bytes are not copied
    /// up before they go.
    pub(super) fn open_cut(
        &self,
        tree: &mut Tree,
        (key, name): (DirKey, Name<'_>),
        part: &Part,
        how: OpenHow,
    ) -> Result<Node, Stop> {
        let stat = part.dir().stat(name.into())?;
        if !self.further_names(tree, &stat, key, name)?.is_empty() {
            // All its names are to lead to one file, so that comes first.
            self.copy_up(tree, key, name)?;
            return tree.raise(key)?.open(name.into(), how);
        }
        let file = adopt_leaf(tree, key, name, part, &stat, Bytes::Dropped)?;
        // A lower that is written meanwhile can have a link there now, which is adopted as such.
        let file = file.ok_or(Errno::Loop)?;
        let upper = tree.raise(key)?;
        match upper.open(name.into(), how) {
            Ok(node) => {
                self.handles.switch((stat.dev, stat.ino), &file);
                Ok(node)
            }
            Err(stop) => {
                // Back to what it was: the lower's shows again.
                take_back(&*upper, name)?;
                Err(stop)
            }
        }
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
            let Ok(dir) = tree.descend(ROOT, parent) else { continue };
            if dir == key && last == name {
                continue;
            }
            let is_same = match tree.have(dir, last)? {
                Have::Lower(Found::Leaf(part)) => part
                    .dir()
                    .stat(last.into())
                    .is_ok_and(|other| (other.dev, other.ino) == (stat.dev, stat.ino)),
                Have::Nothing | Have::Upper(_) | Have::Lower(Found::Dir(_)) => false,
            };
            if is_same {
                // What is most likely to fail comes before the first name is copied up.
                tree.raise(dir)?;
                further.push(Further { dir, name: last.as_str().to_owned() });
            }
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

    /// Gives a file that was just copied up its other names, all or none.
    fn link_all(
        &self,
        tree: &Tree,
        key: DirKey,
        name: Name<'_>,
        further: &[Further],
    ) -> Result<()> {
        let upper = tree.upper(key)?;
        for (nth, one) in further.iter().enumerate() {
            let into = tree.upper(one.dir)?;
            let Err(errno) = upper.adopt_name(name, &**into, Name::new(&one.name)?) else {
                continue;
            };
            // Back to what it was: the lowers' names show again.
            for done in further.iter().take(nth) {
                let into = tree.upper(done.dir)?;
                take_back(&**into, Name::new(&done.name)?)?;
            }
            take_back(&**upper, name)?;
            return Err(errno);
        }
        Ok(())
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
            let Some(name) = names.pop() else {
                frames.pop();
                tree.upper(key)?.set_opaque()?;
                tree.dir_mut(key)?.lower = None;
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
            if tree.dir(child)?.lower.is_some() {
                let frame = frame(tree, child)?;
                frames.push(frame);
            }
        }
        Ok(())
    }
}

/// Puts a file or a link of the lowers into the upper. Answers the file.
fn adopt_leaf(
    tree: &mut Tree,
    key: DirKey,
    name: Name<'_>,
    part: &Part,
    stat: &Stat,
    bytes: Bytes,
) -> Result<Option<FileRef>> {
    let made = match stat.kind {
        FileType::Symlink => {
            let target = part.dir().read_link(name)?;
            tree.raise(key)?.adopt(Some(name), stat, Adopted::Symlink(&target))?
        }
        FileType::File => {
            let from = match bytes {
                Bytes::Kept => Some(end(part.dir().open(name.into(), OpenHow::READ))?.into_file()?),
                Bytes::Dropped => None,
            };
            let mut fill = |to: &dyn File| match &from {
                Some(from) => copy_bytes(&**from, to).map(drop),
                None => Ok(()),
            };
            tree.raise(key)?.adopt(Some(name), stat, Adopted::File(&mut fill))?
        }
        FileType::Dir => return Err(Errno::Isdir),
        FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            return Err(Errno::Perm);
        }
    };
    match made {
        Made::File(file) => Ok(Some(file)),
        Made::Named if stat.kind == FileType::Symlink => Ok(None),
        Made::Named => Err(broken_contract("`Layer::adopt` of a file returned no file")),
    }
}

/// Removes what was adopted, without a trace in its directory's times.
fn take_back(upper: &dyn super::Layer, name: Name<'_>) -> Result<()> {
    let times = end(upper.stat(Descent::HERE))?.times();
    upper.remove_file(name)?;
    end(upper.set_times(Descent::HERE, times))
}
