//! Mounts: one tree, grafted together from several.
//!
//! A [`Mounts`] is a directory of such a tree. It holds the directory that it stands for and, if
//! mounts lie at or below it, its [`Place`] in the mount tree. The place decides about the names
//! that lead to mounts; everything else is the inner directory's business, and a descent goes to
//! it in one call, with the names that lead to the mount taken off.
//!
//! Why nothing leaks from one mount into another: each has a number of its own, every directory
//! carries the number of the mount that it came from, and names move between two directories only
//! if the numbers are equal. Two mounts of one directory have two numbers. A single file is mounted
//! as a name in a directory that is never handed out.
//!
//! The mount tree does not change once it is built, so there is no lock. What lies above a mount
//! can be neither renamed nor removed through the tree, so a place is found by its names.
//!
//! Deliberately absent: mounting and unmounting later; a build is cheap.

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

/// The highest cookie. Linux's ext4 and btrfs have it for the end of a directory.
const COOKIE_MAX: u64 = u64::MAX >> 1;

/// A directory of a tree that is grafted together from several: made with [`Mounts::builder`].
///
/// - What is mounted covers what the tree below has of that name, be it a directory, a file or a
///   link. A directory on the way that is missing there is synthesized: it is read-only, and lists
///   what it leads to.
/// - Rename and link between two mounts are `Xdev`, also between two mounts of one directory.
/// - A mount point, and a directory that leads to one, can be neither renamed, replaced nor
///   removed: `Busy`.
/// - A listing has a mount point exactly once, with the type and number of what is mounted.
pub struct Mounts {
    /// Where this is in the mount tree, if mounts lie here or below.
    place: Option<Arc<Place>>,
    /// What this directory stands for.
    inner: DirRef,
    /// The number of the mount that `inner` came from.
    mount: u64,
}

impl Mounts {
    /// Starts a tree on top of `base`.
    #[must_use]
    pub fn builder(base: DirRef) -> MountsBuilder {
        MountsBuilder::new(base)
    }

    /// A directory that is empty, synthesized and read-only: a base for a tree of nothing but
    /// mounts.
    #[must_use]
    pub fn empty() -> DirRef {
        Arc::new(empty::Empty { dev: crate::fresh_dev(), ino: 1 })
    }

    /// Takes the names off `path` that the mount tree knows.
    fn locate<'p>(&self, path: Descent<'p>) -> Result<Spot<'_, 'p>, Stop> {
        let mut spot = Below {
            dir: &self.inner,
            mount: self.mount,
            place: self.place.as_ref(),
            taken: 0,
            rest: path,
        };
        while let Some((name, rest)) = spot.rest.split_first() {
            let Some(place) = spot.place.and_then(|place| place.child(name)) else {
                spot.place = None;
                break;
            };
            match &place.grafted {
                Grafted::Dir { dir, mount } => {
                    let taken = spot.taken + 1;
                    spot = Below { dir, mount: *mount, place: Some(place), taken, rest };
                }
                Grafted::File { file, .. } if rest.is_here() => return Ok(Spot::File(file)),
                Grafted::File { file, .. } => {
                    file.stat()?;
                    return Err(Errno::Notdir.into());
                }
            }
        }
        Ok(Spot::Below(spot))
    }

    /// The mount point, or the directory on the way to one, that `name` leads to.
    fn point(&self, name: Name<'_>) -> Option<&Arc<Place>> {
        self.place.as_ref().and_then(|place| place.child(name))
    }

    /// `into`, if it is of the same mount of the same tree.
    fn same_mount<'d>(&self, into: &'d dyn Dir) -> Result<&'d Mounts> {
        let into: &dyn Any = into;
        match into.downcast_ref::<Mounts>() {
            Some(into) if into.mount == self.mount => Ok(into),
            Some(_) | None => Err(Errno::Xdev),
        }
    }

    /// The type of what `name` leads to.
    fn kind_of(&self, name: Name<'_>) -> Result<FileType> {
        crate::path::kind_of(self, name)
    }

    /// A rename from or onto a mount point: no change, but the error that comes first.
    fn rename_point(&self, name: Name<'_>, into: &Mounts, new_name: Name<'_>) -> Result<()> {
        let (old, new) = (self.point(name), into.point(new_name));
        let holds = |point: Option<&Arc<Place>>, dir: &Mounts| match (point, &dir.place) {
            (Some(point), Some(place)) => point.holds(place),
            (_, None) | (None, _) => false,
        };
        let kind = self.kind_of(name)?;
        if holds(old, into) {
            return Err(Errno::Inval);
        }
        if holds(new, self) {
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

    /// Lists the mount points behind the first `skip`. Answers whether `each` broke.
    fn read_points(
        place: &Place,
        skip: u64,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        for (next, (name, child)) in (1..).zip(&place.children) {
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
        let below = match self.locate(path)? {
            Spot::Below(below) => below,
            Spot::File(file) => return file.open(how),
        };
        if below.taken > 0 && below.rest.is_here() {
            // The inner directory sees no name here, so it cannot know these two.
            if how.is_exclusive() {
                return Err(Errno::Exist.into());
            }
            if how.refuses_dir() {
                return Err(Errno::Isdir.into());
            }
        }
        match below.dir.open(below.rest, how).map_err(|stop| stop.below(below.taken))? {
            Node::Dir(inner) => {
                let (place, mount) = (below.place.cloned(), below.mount);
                Ok(Node::Dir(Arc::new(Mounts { place, inner, mount })))
            }
            Node::File(file) => Ok(Node::File(file)),
        }
    }

    fn stat(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.locate(path)? {
            Spot::Below(below) => {
                below.dir.stat(below.rest).map_err(|stop| stop.below(below.taken))
            }
            Spot::File(file) => file.stat(),
        }
    }

    fn stat_following(&self, path: Descent<'_>) -> Result<Stat, Stop> {
        match self.locate(path)? {
            Spot::Below(below) => {
                below.dir.stat_following(below.rest).map_err(|stop| stop.below(below.taken))
            }
            Spot::File(file) => file.stat(),
        }
    }

    fn read_link(&self, name: Name<'_>) -> Result<Box<str>> {
        match self.point(name) {
            Some(_) => Err(Errno::Inval),
            None => self.inner.read_link(name),
        }
    }

    fn read_dir(
        &self,
        from: Cookie,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(place) = &self.place else { return self.inner.read_dir(from, each) };
        let own = u64::try_from(place.children.len()).map_err(|_| Errno::Overflow)?;
        let mut inner_from = inner_cookie(from, own)?;
        if from.0 <= own {
            if Self::read_points(place, from.0, each)?.is_break() {
                return Ok(());
            }
            inner_from = Cookie::START;
        }
        let mut overflow = Ok(());
        self.inner.read_dir(inner_from, &mut |entry| {
            if place.child(entry.name).is_some() {
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
        match self.point(name) {
            Some(_) => Err(Errno::Exist),
            None => self.inner.create_dir(name),
        }
    }

    fn create_symlink(&self, name: Name<'_>, target: &str) -> Result<()> {
        match self.point(name) {
            Some(_) => Err(Errno::Exist),
            None => self.inner.create_symlink(name, target),
        }
    }

    fn remove_file(&self, name: Name<'_>) -> Result<()> {
        match self.point(name).map(|place| &place.grafted) {
            Some(Grafted::Dir { .. }) => Err(Errno::Isdir),
            Some(Grafted::File { .. }) => Err(Errno::Busy),
            None => self.inner.remove_file(name),
        }
    }

    fn remove_dir(&self, name: Name<'_>) -> Result<()> {
        match self.point(name).map(|place| &place.grafted) {
            Some(Grafted::Dir { .. }) => Err(Errno::Busy),
            Some(Grafted::File { .. }) => Err(Errno::Notdir),
            None => self.inner.remove_dir(name),
        }
    }

    fn rename(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        if self.point(name).is_some() || into.point(new_name).is_some() {
            return self.rename_point(name, into, new_name);
        }
        self.inner.rename(name, &*into.inner, new_name)
    }

    fn link(&self, name: Name<'_>, into: &dyn Dir, new_name: Name<'_>) -> Result<()> {
        let into = self.same_mount(into)?;
        let old = self.point(name);
        if old.is_some_and(|place| place.grafted.mount() != into.mount) {
            return Err(Errno::Xdev);
        }
        if old.is_none() && into.point(new_name).is_none() {
            return self.inner.link(name, &*into.inner, new_name);
        }
        // From or onto a mount point: no change, but the error that comes first.
        self.kind_of(name)?;
        match into.kind_of(new_name) {
            Ok(_) => Err(Errno::Exist),
            Err(Errno::Noent) => Err(Errno::Perm),
            Err(errno) => Err(errno),
        }
    }

    fn set_times(&self, path: Descent<'_>, times: SetTimes) -> Result<(), Stop> {
        match self.locate(path)? {
            Spot::Below(below) => {
                below.dir.set_times(below.rest, times).map_err(|stop| stop.below(below.taken))
            }
            Spot::File(file) => file.set_times(times),
        }
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn may_block(&self) -> bool {
        self.inner.may_block() || self.place.as_ref().is_some_and(|place| place.may_block)
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }
}

/// Where a descent leads once the names that the mount tree knows are taken off it.
enum Spot<'s, 'p> {
    /// To a directory of a mount, or below it.
    Below(Below<'s, 'p>),
    /// To a file that is mounted.
    File(&'s FileMount),
}

struct Below<'s, 'p> {
    dir: &'s DirRef,
    mount: u64,
    /// The place of what `rest` leads to: `None` if `rest` leads below the mount tree.
    place: Option<&'s Arc<Place>>,
    taken: usize,
    rest: Descent<'p>,
}

/// A place in the mount tree: a mount point, or a directory on the way to one.
struct Place {
    children: BTreeMap<Box<str>, Arc<Place>>,
    grafted: Grafted,
    /// Stands for the number of what is mounted, should that refuse to be looked at.
    ino: u64,
    /// Whether a call on it, or on what is mounted below it, can wait for a disk or a device.
    may_block: bool,
}

/// What is at a place.
enum Grafted {
    /// A directory: mounted here, or of the tree below, or synthesized.
    Dir { dir: DirRef, mount: u64 },
    /// A single file.
    File { file: FileMount, mount: u64 },
}

impl Grafted {
    fn mount(&self) -> u64 {
        match self {
            Grafted::Dir { mount, .. } | Grafted::File { mount, .. } => *mount,
        }
    }
}

impl Place {
    fn child(&self, name: Name<'_>) -> Option<&Arc<Place>> {
        self.children.get(name.as_str())
    }

    /// Whether `other` is this place or lies below it.
    fn holds(self: &Arc<Self>, other: &Arc<Place>) -> bool {
        Arc::ptr_eq(self, other) || self.children.values().any(|child| child.holds(other))
    }

    /// What a listing says. `None` if what is mounted is gone.
    fn kind_and_ino(&self) -> Option<(FileType, u64)> {
        let (kind, stat) = match &self.grafted {
            Grafted::Dir { dir, .. } => (FileType::Dir, dir.stat(Descent::HERE)),
            Grafted::File { file, .. } => (FileType::File, file.stat()),
        };
        match stat {
            Ok(stat) => Some((stat.kind, stat.ino)),
            Err(Stop::Errno(Errno::Noent)) => None,
            Err(Stop::Errno(_) | Stop::Link { .. }) => Some((kind, self.ino)),
        }
    }
}

/// One file, by its name in a directory that is held and never handed out.
struct FileMount {
    parent: DirRef,
    name: Box<str>,
}

impl FileMount {
    /// Opens the file anew. It is not created if it is gone: that would be a change of its
    /// directory. `Stale` if a directory or a link has taken its place, which would lead
    /// elsewhere.
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
            answer => answer,
        }
    }

    fn set_times(&self, times: SetTimes) -> Result<(), Stop> {
        // Through a handle: what is changed is the file that was looked at.
        let file = self.open(OpenHow::HOLD)?.into_file()?;
        Ok(file.set_times(times)?)
    }
}

/// Cookies are shifted by the number of mount points, `own`, which are listed first: 1 to `own`
/// lie behind those, and `own` itself is where the inner directory starts. Its highest cookie
/// stays as it is, because filesystems have it for their end.
fn outer_cookie(inner: Cookie, own: u64) -> Result<Cookie> {
    if own == 0 || inner.0 == COOKIE_MAX {
        return Ok(inner);
    }
    match inner.0.checked_add(own) {
        Some(outer) if outer < COOKIE_MAX => Ok(Cookie(outer)),
        Some(_) | None => Err(Errno::Overflow),
    }
}

/// The inverse of [`outer_cookie`]; the start for what lies before.
fn inner_cookie(outer: Cookie, own: u64) -> Result<Cookie> {
    if outer.0 > COOKIE_MAX {
        return Err(Errno::Inval);
    }
    if outer.0 == COOKIE_MAX {
        return Ok(outer);
    }
    Ok(Cookie(outer.0.saturating_sub(own)))
}
