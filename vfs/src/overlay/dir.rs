//! Held directories: every operation of the overlay, each under one lock.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::file::{Handles, open_lower};
use super::lowers::{Found, MergedDir, end};
use super::tree::{DirKey, DirState, Have, Spot, Tree, on_no_layer};
use super::upper::{UpperEntry, UpperOpen, UpperRef};
use crate::dir::stop_at_link;
use crate::{
    Cookie, Descent, Dir, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result, SetTimes,
    Stat, Stop, bug,
};

/// A held directory. It counts among the directory's handles as long as it lives.
pub(super) struct OverlayDir {
    pub(super) fs: Arc<Shared>,
    pub(super) key: DirKey,
}

/// What an open found without changing anything.
enum FastOpen {
    Node(Node),
    /// The directories on the way have to become known first, or something is to be changed.
    Unsettled,
}

impl OverlayDir {
    /// Holds the directory `key` of `tree`, which is `fs`'s.
    pub(super) fn hold(fs: &Arc<Shared>, tree: &Tree, key: DirKey) -> Self {
        match tree.dirs.get(key) {
            Some(dir) => _ = dir.handles.fetch_add(1, Ordering::AcqRel),
            // The handle fails in every operation, as its directory is not there.
            None => bug!((); "a handle on directory {key}, which the overlay does not have"),
        }
        OverlayDir { fs: Arc::clone(fs), key }
    }

    fn open_dir(&self, tree: &Tree, key: DirKey, how: OpenHow) -> Result<Node> {
        if how.refuses_dir() {
            return Err(Errno::Isdir);
        }
        Ok(Node::Dir(Arc::new(OverlayDir::hold(&self.fs, tree, key))))
    }

    /// Opens what can be opened without changing anything.
    fn open_settled(&self, path: Descent<'_>, how: OpenHow) -> Result<FastOpen, Stop> {
        let tree = self.fs.tree.read();
        match tree.locate(self.key, path)? {
            Spot::Here(_) if how.is_exclusive() && !path.is_here() => Err(Errno::Exist.into()),
            Spot::Here(key) => Ok(FastOpen::Node(self.open_dir(&tree, key, how)?)),
            Spot::Upper { dir, rest, taken } => {
                match dir.open(rest, how).map_err(|stop| stop.shifted_by(taken))? {
                    node @ Node::File(_) => Ok(FastOpen::Node(node)),
                    Node::Dir(_) => Ok(FastOpen::Unsettled),
                }
            }
            Spot::Lower { dir, rest, taken } => self.open_beneath(dir, rest, how, taken),
            Spot::Closed => Ok(FastOpen::Unsettled),
            Spot::Meeting { both, name, rest, taken } if rest.as_name().is_some() => {
                match both.upper.open_leaf(name, how).map_err(|stop| stop.shifted_by(taken))? {
                    UpperOpen::File(file) => Ok(FastOpen::Node(Node::File(file))),
                    UpperOpen::Dir => Ok(FastOpen::Unsettled),
                    UpperOpen::Whiteout if how.creates() => Ok(FastOpen::Unsettled),
                    UpperOpen::Whiteout => Err(Errno::Noent.into()),
                    UpperOpen::Absent => self.open_beneath(both.lower, rest, how, taken),
                }
            }
            Spot::Meeting { both, name, rest, taken } => match both.upper.lookup(name)? {
                UpperEntry::Absent => self.open_beneath(both.lower, rest, how, taken),
                UpperEntry::Whiteout => Err(Errno::Noent.into()),
                UpperEntry::Node(stat) if stat.kind == FileType::Dir => Ok(FastOpen::Unsettled),
                UpperEntry::Node(_) => {
                    let opened = both.upper.open(rest, how).map_err(|stop| stop.shifted_by(taken));
                    opened.map(FastOpen::Node)
                }
            },
        }
    }

    /// Opens a file that only the lowers have, if that changes nothing.
    fn open_beneath(
        &self,
        dir: &Arc<MergedDir>,
        rest: Descent<'_>,
        how: OpenHow,
        taken: usize,
    ) -> Result<FastOpen, Stop> {
        if how.access.writes() || how.refuses_dir() {
            return Ok(FastOpen::Unsettled);
        }
        match open_lower(&**dir, rest, how).map_err(|stop| stop.shifted_by(taken))? {
            Node::File(file) if file.kind() == FileType::File => {
                let file = Handles::hold(&self.fs, file, how.access, dir, rest);
                Ok(FastOpen::Node(Node::File(file)))
            }
            // A device is nobody's own.
            node @ Node::File(_) => Ok(FastOpen::Node(node)),
            Node::Dir(_) => Ok(FastOpen::Unsettled),
        }
    }

    /// Opens with all directories on the way known, and copies up or creates what has to be.
    fn open_unsettled(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let mut tree = self.fs.change();
        let (parent, name) = path.split_last().ok_or(Errno::Isdir)?;
        let key = tree.descend(self.key, parent)?;
        let depth = path.depth() - 1;
        if let DirState { upper: Some(upper), lower: None, is_removed: false, .. } =
            tree.dir(key)?
        {
            let opened = upper.open(name.into(), how).map_err(|stop| stop.shifted_by(depth))?;
            if let Node::File(_) = &opened {
                return Ok(opened);
            }
        }
        let (kind, found) = match tree.have(key, name)? {
            Have::Nothing if how.creates() => {
                let upper = tree.raise(key)?;
                return upper.open(name.into(), how);
            }
            Have::Nothing => return Err(Errno::Noent.into()),
            _ if how.is_exclusive() => return Err(Errno::Exist.into()),
            Have::Lower(Found::Dir(_)) => (FileType::Dir, None),
            Have::Upper(stat) => (stat.kind, None),
            Have::Lower(Found::Leaf(part)) => match part.dir().stat(name.into()) {
                Ok(stat) => (stat.kind, Some(part)),
                Err(stop) => return Err(stop.shifted_by(depth)),
            },
        };
        if kind == FileType::Dir {
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
            let child = tree.child(key, name).map_err(|stop| stop.shifted_by(depth))?;
            return Ok(self.open_dir(&tree, child, how)?);
        }
        let truncates = how.flags.contains(OpenFlags::TRUNCATE);
        let changes = how.access.writes() || truncates;
        if let Some(part) = found {
            // What is no file is stopped at, refused, or a device, which is not the lower's own.
            let wanted = if changes && kind == FileType::File { OpenHow::HOLD } else { how };
            let flags = wanted.flags - (OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
            let flags = if how.wants_dir() { flags | OpenFlags::DIRECTORY } else { flags };
            let wanted = OpenHow::new(wanted.access, flags);
            let node = open_lower(part.dir(), name.into(), wanted)
                .map_err(|stop| stop.shifted_by(depth))?;
            if !changes && kind == FileType::File {
                let dir = tree.dir(key)?.lower.as_ref().ok_or_else(on_no_layer)?;
                let file = node.into_file()?;
                let file = Handles::hold(&self.fs, file, how.access, dir, name.into());
                return Ok(Node::File(file));
            }
            if kind != FileType::File {
                return Ok(node);
            }
            if truncates {
                let opened = self.fs.open_truncated(&mut tree, (key, name), &part, how)?;
                return Ok(Node::File(opened));
            }
            self.fs.copy_up(&mut tree, key, name)?;
        }
        let upper = tree.upper(key)?;
        upper.open(name.into(), how).map_err(|stop| stop.shifted_by(depth))
    }

    /// Another directory of this overlay, or `Xdev`.
    fn same<'d>(&self, other: &'d dyn Dir) -> Result<&'d OverlayDir> {
        match (other as &dyn Any).downcast_ref::<OverlayDir>() {
            Some(other) if Arc::ptr_eq(&self.fs, &other.fs) => Ok(other),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// `Noent` in a removed directory, `Exist` where there is something.
    fn check_vacant(tree: &Tree, key: DirKey, name: Name<'_>) -> Result<()> {
        if tree.dir(key)?.is_removed {
            return Err(Errno::Noent);
        }
        match tree.have(key, name)? {
            Have::Nothing => Ok(()),
            Have::Upper(_) | Have::Lower(_) => Err(Errno::Exist),
        }
    }

    /// Renames between names that are both the upper's own affair; `None` if they are not.
    fn rename_own(&self, name: Name<'_>, into: DirKey, new_name: Name<'_>) -> Result<Option<()>> {
        let tree = self.fs.tree.read();
        let (Some(upper), Some(into)) = (tree.own(self.key, name)?, tree.own(into, new_name)?)
        else {
            return Ok(None);
        };
        upper.rename(name, &**into, new_name).map(Some)
    }

    /// Checks a rename in the order that [`Dir::rename`] lists the errors. Answers what moves and
    /// what is in its way; `None` if both names lead to the same node.
    fn check_rename(
        tree: &mut Tree,
        (from, name): (DirKey, Name<'_>),
        (into, new_name): (DirKey, Name<'_>),
    ) -> Result<Option<(Have, Have)>> {
        let moved = tree.have(from, name)?;
        if matches!(moved, Have::Nothing) || tree.dir(into)?.is_removed {
            return Err(Errno::Noent);
        }
        let target = tree.have(into, new_name)?;
        if moved.is_dir() {
            let key = end(tree.child(from, name))?;
            if tree.is_below(into, key)? {
                return Err(Errno::Inval);
            }
        }
        if matches!(target, Have::Nothing) {
            return Ok(Some((moved, target)));
        }
        if target.is_dir() {
            let key = end(tree.child(into, new_name))?;
            if tree.is_below(from, key)? {
                return Err(Errno::Notempty);
            }
        }
        match (moved.is_dir(), target.is_dir()) {
            _ if moved.id(name)? == target.id(new_name)? => return Ok(None),
            (true, false) => return Err(Errno::Notdir),
            (false, true) => return Err(Errno::Isdir),
            (false, false) => {}
            (true, true) => {
                let key = end(tree.child(into, new_name))?;
                if !tree.is_empty(key)? {
                    return Err(Errno::Notempty);
                }
            }
        }
        Ok(Some((moved, target)))
    }

    /// Makes something new: with the upper's directory, and whether a whiteout is in the place.
    fn create(
        &self,
        name: Name<'_>,
        make: impl FnOnce(&UpperRef, UpperEntry) -> Result<()>,
    ) -> Result<()> {
        let mut tree = self.fs.change();
        Self::check_vacant(&tree, self.key, name)?;
        let upper = tree.raise(self.key)?;
        let says = upper.lookup(name)?;
        make(&upper, says)
    }

    /// Asks the directory that has what `path` leads to. A link of the upper may be answered as a
    /// node.
    #[inline]
    fn ask(
        &self,
        path: Descent<'_>,
        stat: impl Fn(&dyn Dir, Descent<'_>) -> Result<Stat, Stop>,
    ) -> Result<Stat, Stop> {
        // What is answered without a change stays where it is.
        let stat_below = |dir: &dyn Dir, rest, taken| match taken {
            0 => stat(dir, rest),
            taken => stat(dir, rest).map_err(|stop| stop.shifted_by(taken)),
        };
        {
            let tree = self.fs.tree.read();
            match tree.locate(self.key, path)? {
                Spot::Here(key) => return Ok(tree.stat_dir(key)?),
                Spot::Upper { dir, rest, taken } => return stat_below(&**dir, rest, taken),
                Spot::Lower { dir, rest, taken } => return stat_below(&**dir, rest, taken),
                Spot::Closed => {}
                Spot::Meeting { both, name, rest, taken } => match both.upper.lookup(name)? {
                    UpperEntry::Absent if both.lower.lacks(name) => return Err(Errno::Noent.into()),
                    UpperEntry::Absent => return stat_below(&**both.lower, rest, taken),
                    UpperEntry::Whiteout => return Err(Errno::Noent.into()),
                    UpperEntry::Node(node) if node.kind == FileType::Symlink => {
                        return stat_below(&**both.upper, rest, taken);
                    }
                    UpperEntry::Node(node) if rest.as_name().is_some() => return Ok(node),
                    // Lower's directories may show beneath it.
                    UpperEntry::Node(node) if node.kind == FileType::Dir => {}
                    UpperEntry::Node(_) => return stat_below(&**both.upper, rest, taken),
                },
            }
        }
        let mut tree = self.fs.change();
        let (parent, name) = path.split_last().ok_or_else(|| bug!("`locate` left no name"))?;
        let key = tree.descend(self.key, parent)?;
        match tree.have(key, name)? {
            Have::Lower(Found::Leaf(part)) => {
                stat(part.dir(), name.into()).map_err(|stop| stop.shifted_by(path.depth() - 1))
            }
            Have::Nothing | Have::Upper(_) | Have::Lower(Found::Dir(_)) => {
                Ok(tree.stat(key, name)?.ok_or(Errno::Noent)?)
            }
        }
    }
}

impl Shared {
    /// The tree, to be changed.
    fn change(&self) -> parking_lot::RwLockWriteGuard<'_, Tree> {
        let mut tree = self.tree.write();
        tree.sweep();
        tree
    }

    /// Takes away a name that leads to this file or link, in one step.
    fn remove_leaf(&self, tree: &mut Tree, key: DirKey, name: Name<'_>, have: Have) -> Result<()> {
        let hidden = match have {
            Have::Lower(_) => self.before_hiding(tree, key, name)?,
            Have::Upper(_) | Have::Nothing => None,
        };
        tree.raise(key)?;
        if tree.lies_beneath(key, name)? {
            tree.upper(key)?.create_whiteout(name)?;
        } else {
            tree.upper(key)?.remove_file(name)?;
        }
        if let Some(id) = hidden {
            self.handles.hide(id);
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for OverlayDir {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        // What may have to be created is looked for with the tree held to be changed.
        if how.creates()
            && let Some(name) = path.as_name()
        {
            if let Some(upper) = self.fs.tree.read().own(self.key, name)? {
                return upper.open(path, how);
            }
            return self.open_unsettled(path, how);
        }
        match self.open_settled(path, how)? {
            FastOpen::Node(node) => Ok(node),
            FastOpen::Unsettled => self.open_unsettled(path, how),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        self.ask(path, |dir, path| dir.stat(path))
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.ask(path, |dir, path| dir.stat_following(path)) {
            // The upper was asked what it says of the name.
            Ok(seen) if seen.kind == FileType::Symlink => stop_at_link(self, path, seen),
            answer => answer,
        }
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        let tree = self.fs.tree.read();
        match tree.have(self.key, name)? {
            Have::Nothing => Err(Errno::Noent),
            Have::Upper(_) => tree.upper(self.key)?.read_link(name),
            Have::Lower(Found::Dir(_)) => Err(Errno::Inval),
            Have::Lower(Found::Leaf(part)) => part.dir().read_link(name),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(from, each)
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.tree.read().own(self.key, name)? {
            return upper.create_dir(name);
        }
        self.create(name, |upper, says| match says {
            UpperEntry::Whiteout => upper.create_opaque_dir(name),
            UpperEntry::Absent | UpperEntry::Node(_) => upper.create_dir(name),
        })
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        self.create(name, |upper, _| upper.create_symlink(name, target))
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.tree.read().own(self.key, name)? {
            return upper.remove_file(name);
        }
        let mut tree = self.fs.change();
        match tree.have(self.key, name)? {
            Have::Nothing => Err(Errno::Noent),
            have if have.is_dir() => Err(Errno::Isdir),
            have => self.fs.remove_leaf(&mut tree, self.key, name, have),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        if let Some(upper) = self.fs.tree.read().own(self.key, name)? {
            return upper.remove_dir(name);
        }
        let mut tree = self.fs.change();
        let have = tree.have(self.key, name)?;
        if matches!(have, Have::Nothing) {
            return Err(Errno::Noent);
        }
        if !have.is_dir() {
            return Err(Errno::Notdir);
        }
        if tree.lies_beneath(self.key, name)? {
            let child = end(tree.child(self.key, name))?;
            if !tree.is_empty(child)? {
                return Err(Errno::Notempty);
            }
            tree.raise(self.key)?.create_whiteout(name)?;
        } else {
            // The upper's alone, which knows whether it is empty.
            tree.raise(self.key)?.remove_dir(name)?;
        }
        tree.forget(self.key, name)
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?.key;
        if let Some(done) = self.rename_own(name, into, new_name)? {
            return Ok(done);
        }
        let mut tree = self.fs.change();
        let tree = &mut *tree;
        let checked = Self::check_rename(tree, (self.key, name), (into, new_name))?;
        let Some((moved, target)) = checked else { return Ok(()) };
        let replaces = !matches!(target, Have::Nothing);
        let hidden = match target {
            Have::Lower(Found::Leaf(_)) => self.fs.before_hiding(tree, into, new_name)?,
            Have::Lower(Found::Dir(_)) | Have::Upper(_) | Have::Nothing => None,
        };
        let child = match moved {
            Have::Nothing => return Err(Errno::Noent),
            moved if moved.is_dir() => Some(end(tree.child(self.key, name))?),
            Have::Lower(_) => {
                self.fs.copy_up(tree, self.key, name)?;
                None
            }
            Have::Upper(_) => None,
        };
        if let Some(child) = child {
            self.fs.copy_up_whole(tree, child)?;
        }
        tree.raise(self.key)?;
        tree.raise(into)?;
        tree.close_empty(into, new_name)?;
        if let Some(child) = child
            && tree.lies_beneath(into, new_name)?
        {
            tree.upper(child)?.set_opaque()?;
        }
        let (upper, into_upper) = (tree.upper(self.key)?, tree.upper(into)?);
        if tree.lies_beneath(self.key, name)? {
            upper.rename_with_whiteout(name, &**into_upper, new_name)?;
        } else {
            upper.rename(name, &**into_upper, new_name)?;
        }
        if let Some(id) = hidden {
            self.fs.handles.hide(id);
        }
        if replaces {
            tree.forget(into, new_name)?;
        }
        match child {
            Some(child) => tree.moved(child, into, new_name),
            None => Ok(()),
        }
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same(into)?.key;
        let mut tree = self.fs.change();
        let stat = tree.stat(self.key, name)?.ok_or(Errno::Noent)?;
        Self::check_vacant(&tree, into, new_name)?;
        if stat.kind == FileType::Dir {
            return Err(Errno::Perm);
        }
        self.fs.copy_up(&mut tree, self.key, name)?;
        let upper = tree.raise(self.key)?;
        let into = tree.raise(into)?;
        upper.link(name, &*into, new_name)
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        let mut tree = self.fs.change();
        let Some((parent, name)) = path.split_last() else {
            if tree.dir(self.key)?.is_removed {
                return match &tree.dir(self.key)?.upper {
                    Some(upper) => upper.set_times(path, times),
                    None => Ok(()),
                };
            }
            return tree.raise(self.key)?.set_times(path, times);
        };
        let key = tree.descend(self.key, parent)?;
        if let Have::Lower(Found::Leaf(part)) = tree.have(key, name)?
            && let Err(stop) = part.dir().stat(name.into())
        {
            return Err(stop.shifted_by(path.depth() - 1));
        }
        self.fs.copy_up(&mut tree, key, name)?;
        let upper = tree.raise(key)?;
        upper.set_times(name.into(), times)
    }

    fn sync(&self) -> Result<()> {
        let upper = self.fs.tree.read().dir(self.key)?.upper.clone();
        upper.map_or(Ok(()), |upper| upper.sync())
    }

    fn may_block(&self) -> bool {
        self.fs.may_block()
    }

    fn epoch(&self) -> u64 {
        0
    }
}

impl Drop for OverlayDir {
    fn drop(&mut self) {
        let is_last = {
            let tree = self.fs.tree.read();
            match tree.dirs.get(self.key) {
                Some(dir) => dir.handles.fetch_sub(1, Ordering::AcqRel) == 1,
                None => bug!(false; "a handle outlived its directory {}", self.key),
            }
        };
        if is_last {
            self.fs.tree.write().let_go(self.key);
        }
    }
}
