//! Opening through a group: who holds what, and what is created or emptied by it.

use std::sync::Arc;

use palisade_vfs::{Descent, Errno, FileType, Node, OpenFlags, OpenHow, Result, Stat, Stop};

use super::count::{LIST, end};
use super::dir::QuotaDir;
use super::file::QuotaFile;
use super::meter::{Permit, What};
use super::nodes::Held;

/// An inner node that was opened, and what of the group is held with it.
type Opened = (Node, Option<Held>);

impl QuotaDir {
    /// As [`palisade_vfs::Dir::open`].
    pub(super) fn open_counted(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let permit = match Permit::new(&self.group) {
            Ok(permit) => permit,
            Err(refusal) => return Err(self.refuse_open(path, how, refusal)),
        };
        let acts = how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let (node, held) =
            if acts { self.open_acting(path, how)? } else { self.open_plain(path, how)? };
        Ok(match node {
            Node::Dir(inner) => {
                Node::Dir(Arc::new(QuotaDir::opened(inner, &self.group, held, permit)))
            }
            Node::File(inner) => {
                let (group, access) = (Arc::clone(&self.group), how.access);
                Node::File(Arc::new(QuotaFile { inner, held, group, access, _permit: permit }))
            }
        })
    }

    /// Opens what is there, and changes nothing.
    fn open_plain(&self, path: Descent<'_>, how: OpenHow) -> Result<Opened, Stop> {
        let _names = self.group.names.read();
        let node = self.inner.open(path, how)?;
        self.hold(path, how, node)
    }

    /// Takes note of what was opened.
    fn hold(&self, path: Descent<'_>, how: OpenHow, node: Node) -> Result<Opened, Stop> {
        match self.identify(path, &node) {
            Ok(stat) => Ok((node, Some(self.group.attach(&stat)))),
            // It may not be looked at; but it can do no harm either.
            Err(Stop::Errno(Errno::Acces)) if !how.access.writes() => Ok((node, None)),
            Err(stop) => Err(stop),
        }
    }

    /// What was opened at `path`, by the handle, or else by its name.
    fn identify(&self, path: Descent<'_>, node: &Node) -> Result<Stat, Stop> {
        let stat = match node {
            Node::Dir(dir) => dir.stat(Descent::HERE),
            Node::File(file) => file.stat().map_err(Stop::Errno),
        };
        stat.or_else(|_| self.inner.stat(path))
    }

    /// Opens what may have to be created or emptied.
    fn open_acting(&self, path: Descent<'_>, how: OpenHow) -> Result<Opened, Stop> {
        if !how.is_exclusive() && !how.flags.contains(OpenFlags::TRUNCATE) {
            // Most of what may be created is there, and is opened while others open too.
            let there = OpenHow { flags: how.flags - OpenFlags::CREATE, ..how };
            match self.open_plain(path, there) {
                Ok((Node::Dir(_), _)) => return Err(Errno::Isdir.into()),
                Err(Stop::Errno(Errno::Noent)) => {}
                opened => return opened,
            }
        }
        let _names = self.group.names.write();
        if how.is_exclusive() {
            return self.open_new(path, how);
        }
        match self.inner.stat(path) {
            Ok(stat) if stat.kind == FileType::File => self.open_there(path, how, &stat),
            // Nothing is created or emptied here.
            Ok(_) => {
                let node = self.inner.open(path, how)?;
                self.hold(path, how, node)
            }
            Err(Stop::Errno(Errno::Noent)) if how.creates() => self.open_new(path, how),
            Err(stop) => Err(stop),
        }
    }

    /// Opens a file that is there, and may be emptied by it.
    fn open_there(&self, path: Descent<'_>, how: OpenHow, stat: &Stat) -> Result<Opened, Stop> {
        let held = self.group.attach(stat);
        if !how.flags.contains(OpenFlags::TRUNCATE) {
            return Ok((self.inner.open(path, how)?, Some(held)));
        }
        let node = {
            let mut size = held.node.size.write();
            let node = self.inner.open(path, how)?;
            self.group.shrunk(&held.node, &mut size, 0);
            node
        };
        Ok((node, Some(held)))
    }

    /// Creates a file. If something is there, the open is exclusive, and fails.
    fn open_new(&self, path: Descent<'_>, how: OpenHow) -> Result<Opened, Stop> {
        let parent = match self.check_parent_entry(path) {
            Ok(parent) => parent,
            Err(Stop::Errno(refusal)) => return Err(self.refuse_open(path, how, refusal)),
            Err(link) => return Err(link),
        };
        let inode = match self.group.reserve(What::Inodes, 1) {
            Ok(inode) => inode,
            Err(refusal) => return Err(self.refuse_open(path, how, refusal)),
        };
        let node = self.inner.open(path, how)?;
        let stat = match self.identify(path, &node) {
            Ok(stat) => stat,
            Err(stop) => {
                drop(node);
                if self.remove_new(path).is_err() {
                    // It is there, and its inode is never given back.
                    inode.keep_all();
                    self.count_parent_entry(parent);
                }
                return Err(stop);
            }
        };
        inode.keep_all();
        self.count_parent_entry(parent);
        Ok((node, Some(self.group.created(&stat))))
    }

    /// Removes what was just created.
    fn remove_new(&self, path: Descent<'_>) -> Result<()> {
        let (above, name) = path.split_last().ok_or(Errno::Isdir)?;
        let parent = end(self.inner.open(above, OpenHow::HOLD_DIR))?.into_dir()?;
        parent.remove_file(name)
    }

    /// Whether there is room for one more entry in the directory that holds the last name. Answers
    /// what that directory is, if its entries are limited.
    fn check_parent_entry(&self, path: Descent<'_>) -> Result<Option<Stat>, Stop> {
        if self.group.entries.is_none() {
            return Ok(None);
        }
        let Some((above, _)) = path.split_last() else { return Ok(None) };
        let parent = self.inner.open(above, LIST)?.into_dir()?;
        let stat = parent.stat(Descent::HERE)?;
        self.group.check_entry(&parent, &stat)?;
        Ok(Some(stat))
    }

    fn count_parent_entry(&self, parent: Option<Stat>) {
        if let Some(stat) = parent {
            self.group.count_entry((stat.dev, stat.ino), 1);
        }
    }

    /// An open that is going to be refused: the error that comes first. Nothing is changed.
    fn refuse_open(&self, path: Descent<'_>, how: OpenHow, refusal: Errno) -> Stop {
        if how.is_exclusive() {
            match self.inner.stat(path) {
                Ok(_) => return Errno::Exist.into(),
                Err(Stop::Link { at, .. }) if at + 1 == path.depth() => {
                    return Errno::Exist.into();
                }
                Err(Stop::Errno(Errno::Noent)) => {}
                Err(stop) => return stop,
            }
        } else {
            let acts = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
            match self.inner.open(path, OpenHow { flags: how.flags - acts, ..how }) {
                Ok(Node::Dir(_)) if how.refuses_dir() => return Errno::Isdir.into(),
                Ok(_) => return refusal.into(),
                Err(Stop::Errno(Errno::Noent)) if how.creates() => {}
                Err(stop) => return stop,
            }
        }
        // It would be created, if its directory is there.
        let above = path.split_last().map_or(Descent::HERE, |(above, _)| above);
        let parent = self.inner.open(above, OpenHow::HOLD_DIR).and_then(|dir| Ok(dir.into_dir()?));
        match parent.and_then(|dir| dir.stat(Descent::HERE)) {
            Ok(stat) if stat.nlink == 0 => Errno::Noent.into(),
            Ok(_) => refusal.into(),
            Err(stop) => stop,
        }
    }
}
