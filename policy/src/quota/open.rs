//! `open` of a guarded directory, with the accounting of created and truncated files.

use std::sync::Arc;

use palisade_vfs::{Descent, Errno, FileType, Node, OpenFlags, OpenHow, Result, Stat, Stop};

use super::count::{LIST, end};
use super::dir::QuotaDir;
use super::file::QuotaFile;
use super::meter::{Counter, DescriptorSlot};
use super::nodes::NodeRef;

/// An opened inner node with the reference to its tracked node.
type OpenedNode = (Node, Option<NodeRef>);

impl QuotaDir {
    /// Implements [`palisade_vfs::Dir::open`].
    pub(super) fn open_counted(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let slot = match DescriptorSlot::new(&self.group) {
            Ok(slot) => slot,
            Err(refusal) => return Err(self.refuse_open(path, how, refusal)),
        };
        let acts = how.flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let (node, held) =
            if acts { self.open_acting(path, how)? } else { self.open_plain(path, how)? };
        Ok(match node {
            Node::Dir(inner) => {
                Node::Dir(Arc::new(QuotaDir::opened(inner, &self.group, held, slot)))
            }
            Node::File(inner) => {
                let (group, access) = (Arc::clone(&self.group), how.access);
                Node::File(Arc::new(QuotaFile { inner, held, group, access, _slot: slot }))
            }
        })
    }

    /// Opens an existing node without changing it.
    fn open_plain(&self, path: Descent<'_>, how: OpenHow) -> Result<OpenedNode, Stop> {
        let _names = self.group.names.read();
        let node = self.inner.open(path, how)?;
        self.hold(path, how, node)
    }

    /// Tracks an opened node.
    fn hold(&self, path: Descent<'_>, how: OpenHow, node: Node) -> Result<OpenedNode, Stop> {
        match self.identify(path, &node) {
            Ok(stat) => Ok((node, Some(self.group.attach(&stat)))),
            // The stat is denied; but a read-only handle cannot change the counters.
            Err(Stop::Errno(Errno::Acces)) if !how.access.writes() => Ok((node, None)),
            Err(stop) => Err(stop),
        }
    }

    /// Stats the node that was opened at `path`, by its handle or else by its path.
    fn identify(&self, path: Descent<'_>, node: &Node) -> Result<Stat, Stop> {
        let stat = match node {
            Node::Dir(dir) => dir.stat(Descent::HERE),
            Node::File(file) => file.stat().map_err(Stop::Errno),
        };
        stat.or_else(|_| self.inner.stat(path))
    }

    /// Opens a node that the open may create or truncate.
    fn open_acting(&self, path: Descent<'_>, how: OpenHow) -> Result<OpenedNode, Stop> {
        if !how.is_exclusive() && !how.flags.contains(OpenFlags::TRUNCATE) {
            // Fast path: the file usually exists, and `names` is only held shared to open it.
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
            Ok(stat) if stat.kind == FileType::File => self.open_existing(path, how, &stat),
            // Neither created nor truncated.
            Ok(_) => {
                let node = self.inner.open(path, how)?;
                self.hold(path, how, node)
            }
            Err(Stop::Errno(Errno::Noent)) if how.creates() => self.open_new(path, how),
            Err(stop) => Err(stop),
        }
    }

    /// Opens an existing file, which the open may truncate.
    fn open_existing(
        &self,
        path: Descent<'_>,
        how: OpenHow,
        stat: &Stat,
    ) -> Result<OpenedNode, Stop> {
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

    /// Creates a file. An existing node makes the open fail, because it is exclusive then.
    fn open_new(&self, path: Descent<'_>, how: OpenHow) -> Result<OpenedNode, Stop> {
        let parent = match self.check_parent_entry(path) {
            Ok(parent) => parent,
            Err(Stop::Errno(refusal)) => return Err(self.refuse_open(path, how, refusal)),
            Err(link) => return Err(link),
        };
        let inode = match self.group.reservation(Counter::Inodes, 1) {
            Ok(inode) => inode,
            Err(refusal) => return Err(self.refuse_open(path, how, refusal)),
        };
        let node = self.inner.open(path, how)?;
        let stat = match self.identify(path, &node) {
            Ok(stat) => stat,
            Err(stop) => {
                drop(node);
                if self.remove_new(path).is_err() {
                    // The file remains, and its inode is never released.
                    inode.commit_all();
                    self.count_parent_entry(parent);
                }
                return Err(stop);
            }
        };
        inode.commit_all();
        self.count_parent_entry(parent);
        Ok((node, Some(self.group.created(&stat))))
    }

    /// Removes a newly created file.
    fn remove_new(&self, path: Descent<'_>) -> Result<()> {
        let (above, name) = path.split_last().ok_or(Errno::Isdir)?;
        let parent = end(self.inner.open(above, OpenHow::HOLD_DIR))?.into_dir()?;
        parent.remove_file(name)
    }

    /// Checks that the parent directory has room for one more entry. Returns the stat of the parent
    /// if its entries are limited.
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

    /// Returns the first error of an open that `refusal` prevents. Changes nothing.
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
        // The open would create a file if its parent directory exists.
        let above = path.split_last().map_or(Descent::HERE, |(above, _)| above);
        let parent = self.inner.open(above, OpenHow::HOLD_DIR).and_then(|dir| Ok(dir.into_dir()?));
        match parent.and_then(|dir| dir.stat(Descent::HERE)) {
            Ok(stat) if stat.nlink == 0 => Errno::Noent.into(),
            Ok(_) => refusal.into(),
            Err(stop) => stop,
        }
    }
}
