//! The builder of mount trees: collects mounts, validates them, then builds from the base down.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::empty::Empty;
use super::{FileMount, MountNode, MountTarget, Mounts};
use crate::path::kind_of;
use crate::{Descent, DirRef, Errno, FileType, Name, Node, OpenHow, Result, fresh_dev};

/// The most names in the path of a mount. Bounds every recursion over the tree, also on small
/// thread stacks.
const DEPTH_MAX: usize = 256;

/// A builder of a tree of mounts. The order of the calls does not matter.
pub struct MountsBuilder {
    base: DirRef,
    root: PlannedNode,
}

impl MountsBuilder {
    pub(super) fn new(base: DirRef) -> Self {
        MountsBuilder { base, root: PlannedNode::default() }
    }

    /// Mounts the directory `dir` at `at`: names joined by single slashes, relative to the base.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`, `EINVAL`: `at` is not such a path, or is empty.
    /// - `ENAMETOOLONG`: `at` has more than 256 names.
    /// - `ENOTDIR`: `at` is under a mounted file.
    /// - `EEXIST`: `at` is a mount point already.
    pub fn mount(mut self, at: &str, dir: DirRef) -> Result<Self> {
        self.root.at(at)?.mount = Some(PlannedMount::Dir(dir));
        Ok(self)
    }

    /// Mounts the file `name` of the directory `parent` at `at`.
    ///
    /// The name is looked up on each use, so a file that replaces it is mounted from then on. No
    /// other node of `parent` can be reached, and a missing file is not created.
    ///
    /// # Errors
    ///
    /// - As for [`MountsBuilder::mount`].
    /// - `EISDIR`: there are mounts under `at`.
    /// - Those of [`Name::new`] and of a stat of the file.
    /// - `EISDIR` for a directory, `ELOOP` for a symbolic link, `ENXIO` for a FIFO, a socket or a
    ///   block device.
    pub fn mount_file(mut self, at: &str, parent: DirRef, name: &str) -> Result<Self> {
        let planned = self.root.at(at)?;
        if !planned.children.is_empty() {
            return Err(Errno::Isdir);
        }
        match kind_of(&*parent, Name::new(name)?)? {
            FileType::File | FileType::CharDevice => {}
            FileType::Dir => return Err(Errno::Isdir),
            FileType::Symlink => return Err(Errno::Loop),
            FileType::BlockDevice | FileType::Fifo | FileType::Socket => return Err(Errno::Nxio),
        }
        planned.mount = Some(PlannedMount::File(FileMount { parent, name: name.into() }));
        Ok(self)
    }

    /// Builds the tree and returns its root.
    ///
    /// Existing directories on the way to a mount are opened now and held. Missing ones are
    /// synthesized and stay so.
    #[must_use]
    pub fn build(self) -> DirRef {
        let mut tree_builder = TreeBuilder { dev: fresh_dev(), last_ino: 0 };
        let (inner, mount) = (self.base, fresh_dev());
        let node = tree_builder.build_dir(self.root.children, Arc::clone(&inner), mount);
        Arc::new(Mounts { node: Some(node), inner, mount })
    }
}

/// A node of the tree to build.
#[derive(Default)]
struct PlannedNode {
    children: BTreeMap<Box<str>, PlannedNode>,
    /// The mount; `None` for a directory on the way.
    mount: Option<PlannedMount>,
}

enum PlannedMount {
    Dir(DirRef),
    File(FileMount),
}

impl PlannedNode {
    /// Returns the node at `at`, which must not be a mount point yet.
    fn at(&mut self, at: &str) -> Result<&mut PlannedNode> {
        let at = Descent::new(at)?;
        if at.depth() > DEPTH_MAX {
            return Err(Errno::Nametoolong);
        }
        if at.is_here() {
            return Err(Errno::Inval);
        }
        let mut planned = self;
        for name in at.names() {
            if let Some(PlannedMount::File(_)) = planned.mount {
                return Err(Errno::Notdir);
            }
            planned = planned.children.entry(name.as_str().into()).or_default();
        }
        if planned.mount.is_some() {
            return Err(Errno::Exist);
        }
        Ok(planned)
    }
}

/// Builds nodes and assigns inode numbers to synthesized directories.
struct TreeBuilder {
    dev: u64,
    last_ino: u64,
}

impl TreeBuilder {
    fn build_dir(
        &mut self,
        planned_nodes: BTreeMap<Box<str>, PlannedNode>,
        dir: DirRef,
        mount: u64,
    ) -> Arc<MountNode> {
        let ino = self.next_ino();
        let mut children = BTreeMap::new();
        for (name, planned) in planned_nodes {
            let node = match planned.mount {
                Some(PlannedMount::Dir(dir)) => self.build_dir(planned.children, dir, fresh_dev()),
                Some(PlannedMount::File(file)) => Arc::new(MountNode {
                    children: BTreeMap::new(),
                    may_block: file.parent.may_block(),
                    target: MountTarget::File { file, mount: fresh_dev() },
                    ino: self.next_ino(),
                }),
                None => match hold(&dir, &name) {
                    Some(dir) => self.build_dir(planned.children, dir, mount),
                    None => {
                        let empty = Empty { dev: self.dev, ino: self.next_ino() };
                        self.build_dir(planned.children, Arc::new(empty), self.dev)
                    }
                },
            };
            children.insert(name, node);
        }
        let may_block =
            dir.may_block() || children.values().any(|child: &Arc<MountNode>| child.may_block);
        Arc::new(MountNode { children, target: MountTarget::Dir { dir, mount }, ino, may_block })
    }

    fn next_ino(&mut self) -> u64 {
        self.last_ino += 1;
        self.last_ino
    }
}

/// Opens the directory `name`. `None` if it is not a directory or cannot be opened.
fn hold(dir: &DirRef, name: &str) -> Option<DirRef> {
    match dir.open(Name::new(name).ok()?.into(), OpenHow::HOLD_DIR) {
        Ok(Node::Dir(dir)) => Some(dir),
        Ok(Node::File(_)) | Err(_) => None,
    }
}
