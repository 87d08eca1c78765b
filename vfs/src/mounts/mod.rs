//! Mounts: one tree composed of several directories and single files.
//!
//! A [`Mounts`] is a directory of such a tree. It holds the directory that it wraps and, if there
//! are mounts at or under it, its [`MountNode`]. The mount tree resolves the names that lead to
//! mounts; the wrapped directory resolves the rest of a descent in one call.
//!
//! Why no mount can be reached from another: each mount has a number of its own, every directory
//! carries the number of its mount, and rename and link require equal numbers. Two mounts of one
//! directory have two numbers. A single file is mounted as a name in a directory that is never
//! returned to the caller.
//!
//! The mount tree does not change after it is built, so there is no lock. The ancestors of a mount
//! can be neither renamed nor removed through the tree, so a mount node is found by its names.
//!
//! Deliberately absent: mounting and unmounting later. Building a new tree is cheap.

mod build;
mod empty;
#[cfg(all(test, feature = "mem"))]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{
    Cookie, Descent, Dir, DirRef, Entry, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result,
    SetTimes, Stat, Stop,
};

pub use build::MountsBuilder;

/// The highest cookie. Linux's ext4 and btrfs use it for the end of a directory.
const COOKIE_MAX: u64 = u64::MAX >> 1;

/// A directory of a tree composed of several, made with [`Mounts::builder`].
///
/// - A mount covers the node of that name in the tree below, whether a directory, a file or a link.
///   A missing directory on the way to a mount is synthesized: it is read-only and lists only names
///   that lead to mounts.
/// - Rename and link between two mounts fail with `EXDEV`, also between two mounts of one
///   directory.
/// - A mount point, and a directory that leads to one, cannot be renamed, replaced or removed:
///   `EBUSY`.
/// - A listing contains a mount point exactly once, with the type and inode number of the mounted
///   node.
pub struct Mounts {
    /// The node of this directory in the mount tree, if there are mounts here or below.
    node: Option<Arc<MountNode>>,
    /// The wrapped directory.
    inner: DirRef,
    /// The number of the mount that `inner` belongs to.
    mount: u64,
}

impl Mounts {
    /// Returns a builder for a tree over `base`.
    #[must_use]
    pub fn builder(base: DirRef) -> MountsBuilder {
        MountsBuilder::new(base)
    }

    /// Returns an empty, synthesized, read-only directory: a base for a tree that consists only of
    /// mounts.
    #[must_use]
    pub fn empty() -> DirRef {
        Arc::new(empty::Empty { dev: crate::fresh_dev(), ino: 1 })
    }

    /// Resolves the leading names of `path` in the mount tree.
    fn locate<'p>(&self, path: Descent<'p>) -> Result<Resolved<'_, 'p>, Stop> {
        let mut resolved = InnerPath {
            dir: &self.inner,
            mount: self.mount,
            node: self.node.as_ref(),
            resolved_names: 0,
            rest: path,
        };
        while let Some((name, rest)) = resolved.rest.split_first() {
            let Some(node) = resolved.node.and_then(|node| node.child(name)) else {
                resolved.node = None;
                break;
            };
            match &node.target {
                MountTarget::Dir { dir, mount } => {
                    let resolved_names = resolved.resolved_names + 1;
                    resolved =
                        InnerPath { dir, mount: *mount, node: Some(node), resolved_names, rest };
                }
                MountTarget::File { file, .. } if rest.is_here() => {
                    return Ok(Resolved::File(file));
                }
                MountTarget::File { file, .. } => {
                    file.stat()?;
                    return Err(Errno::Notdir.into());
                }
            }
        }
        Ok(Resolved::Inner(resolved))
    }

    /// Returns the mount point, or the directory on the way to one, at `name`.
    fn mount_node(&self, name: Name<'_>) -> Option<&Arc<MountNode>> {
        self.node.as_ref().and_then(|node| node.child(name))
    }

    /// Returns `into` as a directory of the same mount.
    ///
    /// # Errors
    ///
    /// - `EXDEV`: `into` is of another mount or another tree.
    fn same_mount<'d>(&self, into: &'d dyn Dir) -> Result<&'d Mounts> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Mounts>() {
            Some(into) if into.mount == self.mount => Ok(into),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// Returns the type of the node at `name`.
    fn kind_of(&self, name: Name<'_>) -> Result<FileType> {
        crate::path::kind_of(self, name)
    }

    /// Returns the result of a rename from or onto a mount point, which changes nothing: the first
    /// error in the order of [`Dir::rename`].
    fn rename_point(&self, name: Name<'_>, into: &Mounts, new_name: Name<'_>) -> Result<()> {
        let (old, new) = (self.mount_node(name), into.mount_node(new_name));
        let contains =
            |mount_node: Option<&Arc<MountNode>>, dir: &Mounts| match (mount_node, &dir.node) {
                (Some(mount_node), Some(node)) => mount_node.contains(node),
                (_, None) | (None, _) => false,
            };
        let kind = self.kind_of(name)?;
        if contains(old, into) {
            return Err(Errno::Inval);
        }
        if contains(new, self) {
            return Err(Errno::Notempty);
        }
        if let (Some(old), Some(new)) = (old, new)
            && Arc::ptr_eq(old, new)
        {
            return Ok(());
        }
        match (kind, into.kind_of(new_name)) {
            (_, Err(Errno::Noent)) | (FileType::Dir, Ok(FileType::Dir)) => Err(Errno::Busy),
            (_, Err(errno)) => Err(errno),
            (FileType::Dir, Ok(_)) => Err(Errno::Notdir),
            (_, Ok(FileType::Dir)) => Err(Errno::Isdir),
            (_, Ok(_)) => Err(Errno::Busy),
        }
    }

    /// Lists the mount points after the first `skip`. Breaks if `each` breaks.
    fn read_points(
        node: &MountNode,
        skip: u64,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        for (next, (name, child)) in (1..).zip(&node.children) {
            if next <= skip {
                continue;
            }
            let Some((kind, ino)) = child.kind_and_ino() else { continue };
            let entry = Entry { name: Name::new(name)?, kind, ino, next: Cookie(next) };
            if each(entry).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Dir for Mounts {
    fn open(&self, path: Descent<'_>, how: OpenHow) -> Result<Node, Stop> {
        let at = match self.locate(path)? {
            Resolved::Inner(at) => at,
            Resolved::File(file) => return file.open(how),
        };
        if at.resolved_names > 0 && at.rest.is_here() {
            // The inner directory is called with an empty descent here, so it cannot return these
            // two errors.
            if how.is_exclusive() {
                return Err(Errno::Exist.into());
            }
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
        }
        match at.dir.open(at.rest, how).map_err(|stop| stop.shifted_by(at.resolved_names))? {
            Node::Dir(inner) => {
                let (node, mount) = (at.node.cloned(), at.mount);
                Ok(Node::Dir(Arc::new(Mounts { node, inner, mount })))
            }
            Node::File(file) => Ok(Node::File(file)),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.locate(path)? {
            Resolved::Inner(at) => {
                at.dir.stat(at.rest).map_err(|stop| stop.shifted_by(at.resolved_names))
            }
            Resolved::File(file) => file.stat(),
        }
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.locate(path)? {
            Resolved::Inner(at) => {
                at.dir.stat_following(at.rest).map_err(|stop| stop.shifted_by(at.resolved_names))
            }
            Resolved::File(file) => file.stat(),
        }
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.mount_node(name) {
            Some(_) => Err(Errno::Inval),
            None => self.inner.read_link(name),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(node) = &self.node else { return self.inner.read_dir(from, each) };
        let own = u64::try_from(node.children.len()).map_err(|_| Errno::Overflow)?;
        let mut inner_from = inner_cookie(from, own)?;
        if from.0 <= own {
            if Self::read_points(node, from.0, each)?.is_break() {
                return Ok(());
            }
            inner_from = Cookie::START;
        }
        let mut overflow = Ok(());
        self.inner.read_dir(inner_from, &mut |entry| {
            if node.child(entry.name).is_some() {
                return ControlFlow::Continue(());
            }
            match outer_cookie(entry.next, own) {
                Ok(next) => each(Entry { next, ..entry }),
                Err(errno) => {
                    overflow = Err(errno);
                    ControlFlow::Break(())
                }
            }
        })?;
        overflow
    }

    fn create_dir(&self, name: Name<'_>) -> Result<()> {
        match self.mount_node(name) {
            Some(_) => Err(Errno::Exist),
            None => self.inner.create_dir(name),
        }
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        match self.mount_node(name) {
            Some(_) => Err(Errno::Exist),
            None => self.inner.create_symlink(name, target),
        }
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.mount_node(name).map(|node| &node.target) {
            Some(MountTarget::Dir { .. }) => Err(Errno::Isdir),
            Some(MountTarget::File { .. }) => Err(Errno::Busy),
            None => self.inner.remove_file(name),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.mount_node(name).map(|node| &node.target) {
            Some(MountTarget::Dir { .. }) => Err(Errno::Busy),
            Some(MountTarget::File { .. }) => Err(Errno::Notdir),
            None => self.inner.remove_dir(name),
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        if self.mount_node(name).is_some() || into.mount_node(new_name).is_some() {
            return self.rename_point(name, into, new_name);
        }
        self.inner.rename(name, &*into.inner, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        let old = self.mount_node(name);
        if old.is_some_and(|node| node.target.mount() != into.mount) {
            return Err(Errno::Xdev);
        }
        if old.is_none() && into.mount_node(new_name).is_none() {
            return self.inner.link(name, &*into.inner, new_name);
        }
        // From or onto a mount point: changes nothing, and returns the first error in order.
        self.kind_of(name)?;
        match into.kind_of(new_name) {
            Ok(_) => Err(Errno::Exist),
            Err(Errno::Noent) => Err(Errno::Perm),
            Err(errno) => Err(errno),
        }
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        match self.locate(path)? {
            Resolved::Inner(at) => {
                at.dir.set_times(at.rest, times).map_err(|stop| stop.shifted_by(at.resolved_names))
            }
            Resolved::File(file) => file.set_times(times),
        }
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block() || self.node.as_ref().is_some_and(|node| node.may_block)
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

/// A descent after its leading names have been resolved in the mount tree.
enum Resolved<'s, 'p> {
    /// A node in a directory of a mount.
    Inner(InnerPath<'s, 'p>),
    /// A mounted file.
    File(&'s FileMount),
}

struct InnerPath<'s, 'p> {
    dir: &'s DirRef,
    mount: u64,
    /// The mount node of the directory `dir`; `None` if `rest` leaves the mount tree.
    node: Option<&'s Arc<MountNode>>,
    resolved_names: usize,
    rest: Descent<'p>,
}

/// A node of the mount tree: a mount point, or a directory on the way to one.
struct MountNode {
    children: BTreeMap<Box<str>, Arc<MountNode>>,
    target: MountTarget,
    /// The inode number to list if the mounted node cannot be statted.
    ino: u64,
    /// Whether a call on it, or on a mount under it, can block on a disk or a device.
    may_block: bool,
}

/// The mounted node.
enum MountTarget {
    /// A directory: mounted here, of the tree below, or synthesized.
    Dir { dir: DirRef, mount: u64 },
    /// A single file.
    File { file: FileMount, mount: u64 },
}

impl MountTarget {
    fn mount(&self) -> u64 {
        match self {
            MountTarget::Dir { mount, .. } | MountTarget::File { mount, .. } => *mount,
        }
    }
}

impl MountNode {
    fn child(&self, name: Name<'_>) -> Option<&Arc<MountNode>> {
        self.children.get(name.as_str())
    }

    /// Returns whether `other` is this node or a descendant of it.
    fn contains(self: &Arc<Self>, other: &Arc<MountNode>) -> bool {
        Arc::ptr_eq(self, other) || self.children.values().any(|child| child.contains(other))
    }

    /// Returns the type and inode number for a listing, or `None` if the mounted node no longer
    /// exists.
    fn kind_and_ino(&self) -> Option<(FileType, u64)> {
        let (kind, stat) = match &self.target {
            MountTarget::Dir { dir, .. } => (FileType::Dir, dir.stat(Descent::HERE)),
            MountTarget::File { file, .. } => (FileType::File, file.stat()),
        };
        match stat {
            Ok(stat) => Some((stat.kind, stat.ino)),
            Err(Stop::Errno(Errno::Noent)) => None,
            Err(Stop::Errno(_) | Stop::Link { .. }) => Some((kind, self.ino)),
        }
    }
}

/// One file, referred to by its name in a directory that is never returned to the caller.
struct FileMount {
    parent: DirRef,
    name: Box<str>,
}

impl FileMount {
    /// Opens the file. A missing file is not created: that would change its directory.
    ///
    /// # Errors
    ///
    /// - `ESTALE`: a directory or a link has replaced the file.
    fn open(&self, how: OpenHow) -> Result<Node, Stop> {
        if how.is_exclusive() {
            return Err(Errno::Exist.into());
        }
        let flags = how.flags - (OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        match self.parent.open(Name::new(&self.name)?.into(), OpenHow { flags, ..how }) {
            Ok(Node::File(file)) => Ok(Node::File(file)),
            Ok(Node::Dir(_)) | Err(Stop::Link { .. }) => Err(Errno::Stale.into()),
            Err(Stop::Errno(errno)) => Err(errno.into()),
        }
    }

    fn stat(&self) -> Result<Stat, Stop> {
        match self.parent.stat(Name::new(&self.name)?.into()) {
            Ok(stat) if matches!(stat.kind, FileType::Dir | FileType::Symlink) => {
                Err(Errno::Stale.into())
            }
            result => result,
        }
    }

    fn set_times(&self, times: SetTimes) -> Result<(), Stop> {
        // Through a handle, so that the file whose type was checked is the one that changes.
        let file = self.open(OpenHow::HOLD)?.into_file()?;
        Ok(file.set_times(times)?)
    }
}

/// Converts a cookie of the wrapped directory. Mount points are listed first, with cookies 1 to
/// `own`, so inner cookies are shifted by `own`. The highest cookie is unchanged, because
/// filesystems use it for their end.
fn outer_cookie(inner: Cookie, own: u64) -> Result<Cookie> {
    if own == 0 || inner.0 == COOKIE_MAX {
        return Ok(inner);
    }
    match inner.0.checked_add(own) {
        Some(outer) if outer < COOKIE_MAX => Ok(Cookie(outer)),
        Some(_) | None => Err(Errno::Overflow),
    }
}

/// Converts a cookie back. Cookies of mount points become the start.
fn inner_cookie(outer: Cookie, own: u64) -> Result<Cookie> {
    if outer.0 > COOKIE_MAX {
        return Err(Errno::Inval);
    }
    if outer.0 == COOKIE_MAX {
        return Ok(outer);
    }
    Ok(Cookie(outer.0.saturating_sub(own)))
}
