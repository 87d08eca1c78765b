//! Opening nodes of an overlay.
//!
//! An open first runs under the shared lock of the [`DirTable`]. It succeeds there if nothing has
//! to be created, copied up or entered into the table. The cases, by the resolution of the path:
//!
//! | resolution | open |
//! |---|---|
//! | a directory of the table | [`open_dir`] |
//! | only the upper has the rest | [`open_in_upper`](OverlayDir::open_in_upper) |
//! | only the lowers have the rest | [`open_in_lowers`](OverlayDir::open_in_lowers) |
//! | one name in a merged directory | [`open_merged_name`](OverlayDir::open_merged_name) |
//! | a path from a merged directory | [`open_merged_path`](OverlayDir::open_merged_path) |
//! | a closed directory | exclusive |
//!
//! Otherwise it runs again under the exclusive lock. The cases, by the entry and the open:
//!
//! | entry | open | case |
//! |---|---|---|
//! | no lower has the parent | any | [`open_in_upper_only`](ExclusiveOpen::open_in_upper_only) |
//! | absent | creates | [`create_file`](ExclusiveOpen::create_file) |
//! | absent | does not create | `ENOENT` |
//! | any | is exclusive | `EEXIST` |
//! | directory | any | [`open_dir`](ExclusiveOpen::open_dir) |
//! | file of the upper | any | [`open_upper`](ExclusiveOpen::open_upper) |
//! | file of a lower | reads or holds | [`open_lower_to_read`](ExclusiveOpen::open_lower_to_read) |
//! | file of a lower | truncates | [`open_lower_truncated`](ExclusiveOpen::open_lower_truncated) |
//! | file of a lower | writes | [`open_lower_to_write`](ExclusiveOpen::open_lower_to_write) |
//! | symlink, device, FIFO or socket of a lower | any | [`open_lower`](ExclusiveOpen::open_lower) |

use std::sync::Arc;

use super::OverlayState;
use super::dir::OverlayDir;
use super::dir_table::{
    DirKey, DirState, DirTable, MergedEntry, MergedParts, Resolution, no_backing_dir,
};
use super::lower_file::{LowerFiles, open_lower};
use super::lowers::{LowerDir, LowerNode, MergedDir};
use super::upper::{UpperEntry, UpperOpen, UpperRef};
use crate::{Descent, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result, Stop};

/// The open node, or `None` if the open needs the exclusive lock.
type SharedOpen = Result<Option<Node>, Stop>;

/// The names that are left of a path, after `consumed` of them.
#[derive(Clone, Copy)]
struct Rest<'p> {
    path: Descent<'p>,
    consumed: usize,
}

impl OverlayDir {
    /// Opens `path` under the shared lock of the table.
    pub(super) fn open_shared(&self, path: Descent<'_>, how: OpenHow) -> SharedOpen {
        let table = self.fs.table.read();
        match table.resolve(self.key, path)? {
            Resolution::Here(_) if how.is_exclusive() && !path.is_here() => {
                Err(Errno::Exist.into())
            }
            Resolution::Here(key) => Ok(Some(open_dir(&self.fs, &table, key, how)?)),
            Resolution::Upper { dir, rest, consumed } => {
                Self::open_in_upper(dir, Rest { path: rest, consumed }, how)
            }
            Resolution::Lower { dir, rest, consumed } => {
                self.open_in_lowers(dir, Rest { path: rest, consumed }, how)
            }
            Resolution::Merged { parts, name, rest, consumed } => {
                let is_name = rest.as_name().is_some();
                let rest = Rest { path: rest, consumed };
                if is_name {
                    self.open_merged_name(parts, name, rest, how)
                } else {
                    self.open_merged_path(parts, name, rest, how)
                }
            }
            Resolution::Closed => Ok(None),
        }
    }

    /// The upper opens a file itself. A directory must be entered into the table.
    fn open_in_upper(dir: &UpperRef, rest: Rest<'_>, how: OpenHow) -> SharedOpen {
        match dir.open(rest.path, how).map_err(|stop| stop.shifted_by(rest.consumed))? {
            node @ Node::File(_) => Ok(Some(node)),
            Node::Dir(_) => Ok(None),
        }
    }

    /// A lower opens a file for reading. A write needs a copy-up.
    fn open_in_lowers(&self, dir: &Arc<MergedDir>, rest: Rest<'_>, how: OpenHow) -> SharedOpen {
        if how.access.writes() || how.refuses_dir() {
            return Ok(None);
        }
        let opened = open_lower(&**dir, rest.path, how);
        match opened.map_err(|stop| stop.shifted_by(rest.consumed))? {
            Node::File(file) if file.kind() == FileType::File => {
                let file = LowerFiles::register(&self.fs, file, how.access, dir, rest.path);
                Ok(Some(Node::File(file)))
            }
            // A device has no content in the lower, so it is never copied up.
            node @ Node::File(_) => Ok(Some(node)),
            Node::Dir(_) => Ok(None),
        }
    }

    /// Opens one name in a directory that the upper and the lowers have.
    fn open_merged_name(
        &self,
        parts: MergedParts<'_>,
        name: Name<'_>,
        rest: Rest<'_>,
        how: OpenHow,
    ) -> SharedOpen {
        match parts.upper.open_leaf(name, how).map_err(|stop| stop.shifted_by(rest.consumed))? {
            UpperOpen::File(file) => Ok(Some(Node::File(file))),
            UpperOpen::Dir => Ok(None),
            UpperOpen::Whiteout if how.creates() => Ok(None),
            UpperOpen::Whiteout => Err(Errno::Noent.into()),
            UpperOpen::Absent => self.open_in_lowers(parts.lower, rest, how),
        }
    }

    /// Opens a path of several names in a directory that the upper and the lowers have.
    fn open_merged_path(
        &self,
        parts: MergedParts<'_>,
        first: Name<'_>,
        rest: Rest<'_>,
        how: OpenHow,
    ) -> SharedOpen {
        match parts.upper.lookup(first)? {
            UpperEntry::Absent => self.open_in_lowers(parts.lower, rest, how),
            UpperEntry::Whiteout => Err(Errno::Noent.into()),
            UpperEntry::Node(stat) if stat.kind == FileType::Dir => Ok(None),
            UpperEntry::Node(_) => {
                let opened = parts.upper.open(rest.path, how);
                opened.map(Some).map_err(|stop| stop.shifted_by(rest.consumed))
            }
        }
    }

    /// Opens `path` under the exclusive lock; enters its parent directories into the table.
    pub(super) fn open_exclusive(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let mut table = self.fs.write_table();
        let (parent, name) = path.split_last().ok_or(Errno::Isdir)?;
        let key = table.descend(self.key, parent)?;
        let depth = path.depth() - 1;
        ExclusiveOpen { fs: &self.fs, table: &mut table, key, name, depth, how }.run()
    }
}

/// Opens a handle on the directory `key`.
fn open_dir(fs: &Arc<OverlayState>, table: &DirTable, key: DirKey, how: OpenHow) -> Result<Node> {
    if how.refuses_dir() {
        return Err(Errno::Isdir);
    }
    Ok(Node::Dir(Arc::new(OverlayDir::hold(fs, table, key))))
}

/// An open of one name under the exclusive lock.
struct ExclusiveOpen<'a> {
    fs: &'a Arc<OverlayState>,
    table: &'a mut DirTable,
    /// The parent directory.
    key: DirKey,
    name: Name<'a>,
    /// The number of names before `name` in the path of the caller.
    depth: usize,
    how: OpenHow,
}

impl ExclusiveOpen<'_> {
    fn run(mut self) -> Result<Node, Stop> {
        if let Some(file) = self.open_in_upper_only()? {
            return Ok(file);
        }
        match self.table.lookup(self.key, self.name)? {
            MergedEntry::Absent if self.how.creates() => self.create_file(),
            MergedEntry::Absent => Err(Errno::Noent.into()),
            _ if self.how.is_exclusive() => Err(Errno::Exist.into()),
            entry @ MergedEntry::Lower(LowerNode::Dir(_)) => self.open_dir(&entry),
            entry @ MergedEntry::Upper(stat) if stat.kind == FileType::Dir => self.open_dir(&entry),
            MergedEntry::Upper(_) => self.open_upper(),
            MergedEntry::Lower(LowerNode::Leaf(part)) => self.open_lower_leaf(part),
        }
    }

    fn open_lower_leaf(&mut self, part: LowerDir) -> Result<Node, Stop> {
        let truncates = self.how.flags.contains(OpenFlags::TRUNCATE);
        let stat = part.dir().stat(self.name.into()).map_err(|stop| stop.shifted_by(self.depth))?;
        match stat.kind {
            FileType::Dir => self.open_dir(&MergedEntry::Lower(LowerNode::Leaf(part))),
            FileType::File if truncates => self.open_lower_truncated(&part),
            FileType::File if self.how.access.writes() => self.open_lower_to_write(part),
            FileType::File => self.open_lower_to_read(&part),
            FileType::Symlink
            | FileType::CharDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket => self.open_lower(&part, self.how),
        }
    }

    /// Where no lower has the parent directory, the upper opens or creates a file itself.
    fn open_in_upper_only(&self) -> Result<Option<Node>, Stop> {
        let dir = self.table.dir(self.key)?;
        let DirState { upper: Some(upper), lower: None, is_removed: false, .. } = dir else {
            return Ok(None);
        };
        let opened = upper.open(self.name.into(), self.how);
        match opened.map_err(|stop| stop.shifted_by(self.depth))? {
            node @ Node::File(_) => Ok(Some(node)),
            Node::Dir(_) => Ok(None),
        }
    }

    fn create_file(&mut self) -> Result<Node, Stop> {
        let upper = self.table.ensure_upper(self.key)?;
        upper.open(self.name.into(), self.how)
    }

    fn open_dir(&mut self, entry: &MergedEntry) -> Result<Node, Stop> {
        if self.how.refuses_dir() {
            return Err(Errno::Isdir.into());
        }
        let child = self.table.child(self.key, self.name, entry);
        let child = child.map_err(|stop| stop.shifted_by(self.depth))?;
        Ok(open_dir(self.fs, self.table, child, self.how)?)
    }

    fn open_upper(&self) -> Result<Node, Stop> {
        let upper = self.table.upper(self.key)?;
        upper.open(self.name.into(), self.how).map_err(|stop| stop.shifted_by(self.depth))
    }

    /// The handle is registered, so that it switches to the copy when the file is copied up.
    fn open_lower_to_read(&self, part: &LowerDir) -> Result<Node, Stop> {
        let file = self.open_lower(part, self.how)?.into_file()?;
        let dir = self.table.dir(self.key)?.lower.as_ref().ok_or_else(no_backing_dir)?;
        let access = self.how.access;
        Ok(Node::File(LowerFiles::register(self.fs, file, access, dir, self.name.into())))
    }

    /// The upper gets an empty file: the content is not copied.
    fn open_lower_truncated(&mut self, part: &LowerDir) -> Result<Node, Stop> {
        self.open_lower(part, OpenHow::HOLD)?;
        let opened = self.fs.open_truncated(self.table, (self.key, self.name), part, self.how)?;
        Ok(Node::File(opened))
    }

    fn open_lower_to_write(&mut self, part: LowerDir) -> Result<Node, Stop> {
        self.open_lower(&part, OpenHow::HOLD)?;
        let entry = MergedEntry::Lower(LowerNode::Leaf(part));
        self.fs.copy_up(self.table, (self.key, self.name), &entry)?;
        self.open_upper()
    }

    /// Opens the node in its lower, with the checks of the open that the lower must make: whether a
    /// directory is required, and whether a policy layer of the lower permits the open.
    fn open_lower(&self, part: &LowerDir, how: OpenHow) -> Result<Node, Stop> {
        let flags = how.flags - (OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let flags = if self.how.wants_dir() { flags | OpenFlags::DIRECTORY } else { flags };
        let opened = open_lower(part.dir(), self.name.into(), OpenHow::new(how.access, flags));
        opened.map_err(|stop| stop.shifted_by(self.depth))
    }
}
