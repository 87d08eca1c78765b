//! Building the mount tree: what is asked for, checked, and then grown from the base downward.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::empty::Empty;
use super::{FileMount, Grafted, Mounts, Place};
use crate::path::kind_of;
use crate::{Descent, DirRef, Errno, FileType, Name, Node, OpenHow, Result, fresh_dev};

/// The most names in the path of a mount: bounds every recursion over the tree, also on the small
/// stacks of threads.
const DEPTH_MAX: usize = 256;

/// What is to be mounted where. The order of the calls does not matter.
pub struct MountsBuilder {
    base: DirRef,
    root: Draft,
}

impl MountsBuilder {
    pub(super) fn new(base: DirRef) -> Self {
        MountsBuilder { base, root: Draft::default() }
    }

    /// Mounts the directory `dir` at `at`: names joined by single slashes, below the base.
    ///
    /// Errors, in order: `Nametoolong`, `Inval` for what is no such path, the empty one included;
    /// `Nametoolong` above 256 names; `Notdir` below a single file that is mounted; `Exist` if
    /// something is mounted there.
    pub fn mount(mut self, at: &str, dir: DirRef) -> Result<Self> {
        self.root.at(at)?.graft = Some(Graft::Dir(dir));
        Ok(self)
    }

    /// Mounts the file that is called `name` in `parent` at `at`. It is looked up anew each time,
    /// so a file that replaces it is the one that is mounted. Nothing else of `parent` can be
    /// reached, and a file that is gone is not created.
    ///
    /// Errors, in order: as for [`MountsBuilder::mount`]; `Isdir` if mounts lie below `at`; those
    /// of [`Name::new`] and of looking at the file; `Isdir` for a directory; `Loop` for a link;
    /// `Nxio` for a FIFO, a socket or a block device.
    pub fn mount_file(mut self, at: &str, parent: DirRef, name: &str) -> Result<Self> {
        let draft = self.root.at(at)?;
        if !draft.children.is_empty() {
            return Err(Errno::Isdir);
        }
        match kind_of(&*parent, Name::new(name)?)? {
            FileType::File | FileType::CharDevice => {}
            FileType::Dir => return Err(Errno::Isdir),
            FileType::Symlink => return Err(Errno::Loop),
            FileType::BlockDevice | FileType::Fifo | FileType::Socket => return Err(Errno::Nxio),
        }
        draft.graft = Some(Graft::File(FileMount { parent, name: name.into() }));
        Ok(self)
    }

    /// The root of the tree.
    ///
    /// The directories on the way to a mount are held from now on, where there are any; where
    /// there are none, they are synthesized, and stay so.
    #[must_use]
    pub fn build(self) -> DirRef {
        let mut grower = Grower { dev: fresh_dev(), last_ino: 0 };
        let (inner, mount) = (self.base, fresh_dev());
        let place = grower.grow_dir(self.root.children, Arc::clone(&inner), mount);
        Arc::new(Mounts { place: Some(place), inner, mount })
    }
}

/// A place that is asked for.
#[derive(Default)]
struct Draft {
    children: BTreeMap<Box<str>, Draft>,
    /// What is mounted there; `None` on the way.
    graft: Option<Graft>,
}

enum Graft {
    Dir(DirRef),
    File(FileMount),
}

impl Draft {
    /// The place at `at`, which must be free.
    fn at(&mut self, at: &str) -> Result<&mut Draft> {
        let at = Descent::new(at)?;
        if at.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        if at.is_here() {
            return Err(Errno::Inval);
        }
        let mut draft = self;
        for name in at.names() {
            if let Some(Graft::File(_)) = draft.graft {
                return Err(Errno::Notdir);
            }
            draft = draft.children.entry(name.as_str().into()).or_default();
        }
        if draft.graft.is_some() {
            return Err(Errno::Exist);
        }
        Ok(draft)
    }
}

/// Makes places, and gives synthesized directories their identity.
struct Grower {
    dev: u64,
    last_ino: u64,
}

impl Grower {
    fn grow_dir(
        &mut self,
        drafts: BTreeMap<Box<str>, Draft>,
        dir: DirRef,
        mount: u64,
    ) -> Arc<Place> {
        let ino = self.next_ino();
        let mut children = BTreeMap::new();
        for (name, draft) in drafts {
            let place = match draft.graft {
                Some(Graft::Dir(dir)) => self.grow_dir(draft.children, dir, fresh_dev()),
                Some(Graft::File(file)) => Arc::new(Place {
                    children: BTreeMap::new(),
                    may_block: file.parent.may_block(),
                    grafted: Grafted::File { file, mount: fresh_dev() },
                    ino: self.next_ino(),
                }),
                None => match hold(&dir, &name) {
                    Some(dir) => self.grow_dir(draft.children, dir, mount),
                    None => {
                        let empty = Empty { dev: self.dev, ino: self.next_ino() };
                        self.grow_dir(draft.children, Arc::new(empty), self.dev)
                    }
                },
            };
            children.insert(name, place);
        }
        let may_block =
            dir.may_block() || children.values().any(|child: &Arc<Place>| child.may_block);
        Arc::new(Place { children, grafted: Grafted::Dir { dir, mount }, ino, may_block })
    }

    fn next_ino(&mut self) -> u64 {
        self.last_ino += 1;
        self.last_ino
    }
}

/// The directory that `name` leads to, if it is one and can be had.
fn hold(dir: &DirRef, name: &str) -> Option<DirRef> {
    match dir.open(Name::new(name).ok()?.into(), OpenHow::HOLD_DIR) {
        Ok(Node::Dir(dir)) => Some(dir),
        Ok(Node::File(_)) | Err(_) => None,
    }
}
