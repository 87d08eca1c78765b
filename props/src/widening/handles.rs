//! The identities of the directories and files that a guest has open, in the order of `Live`.
//!
//! They locate a handle in the tree after renames. A handle that was opened through a symbolic link
//! is not located: its operations then have an unknown footprint.

use palisade_vfs::{FileType, Follow, OpenFlags};

use super::scene::{Footprint, Id, Scene, join};
use crate::op::{At, Op};
use crate::outcome::Outcome;

/// The open directories and files of a run.
pub(super) struct Handles {
    /// The root first, then the preopens.
    dirs: Vec<DirHandle>,
    /// `None` for a file that was not located.
    files: Vec<Option<Id>>,
}

#[derive(Clone, Copy)]
enum DirHandle {
    Root,
    Node(Id),
    Unknown,
}

impl Handles {
    /// The root and the preopened directories at these paths.
    pub(super) fn new<'p>(preopens: impl Iterator<Item = &'p str>, scene: &Scene) -> Self {
        let preopens = preopens.map(|path| dir_handle(scene, path));
        Handles { dirs: [DirHandle::Root].into_iter().chain(preopens).collect(), files: vec![] }
    }

    /// Returns the number of open directories, with the root.
    pub(super) fn dir_count(&self) -> usize {
        self.dirs.len()
    }

    /// Returns the current path of an open directory, or `None` if it has no known name.
    pub(super) fn path_of<'s>(&self, nth: usize, scene: &'s Scene) -> Option<&'s str> {
        match self.dirs.get(nth)? {
            DirHandle::Root => Some(""),
            DirHandle::Unknown => None,
            DirHandle::Node(id) => scene.path_of(*id),
        }
    }

    /// Returns the path from the root of an operand of an operation, without resolving links.
    pub(super) fn full_path(&self, at: &At, scene: &Scene) -> Option<String> {
        let above = self.path_of(usize::from(at.dir) % self.dirs.len(), scene)?;
        Some(join(above, &at.path))
    }

    /// Records the handles that `op` opened or closed. `scene` is the tree after it.
    pub(super) fn observe(&mut self, op: &Op, outcome: &Outcome, scene: &Scene) {
        match (op, outcome) {
            (Op::Open(at, ..), Outcome::Dir) => {
                let path = self.full_path(at, scene);
                self.dirs.push(path.map_or(DirHandle::Unknown, |path| dir_handle(scene, &path)));
            }
            (Op::Open(at, ..), Outcome::File) => {
                let path = self.full_path(at, scene).filter(|path| scene.has_parent_of(path));
                let node = path.and_then(|path| scene.get(&path));
                let file = node.filter(|node| node.kind == FileType::File);
                self.files.push(file.map(|node| node.id));
            }
            (Op::CloseDir(nth), Outcome::Done) => {
                self.dirs.remove(usize::from(*nth) % self.dirs.len());
            }
            (Op::Close(nth), Outcome::Done) => {
                self.files.remove(usize::from(*nth) % self.files.len());
            }
            _ => {}
        }
    }

    /// Returns the part of the tree that `op` can have changed. `scene` is the tree before it.
    pub(super) fn footprint(&self, op: &Op, outcome: &Outcome, scene: &Scene) -> Footprint {
        // A failed operation must change nothing, and the next full scan verifies it. But `Put` is
        // two operations, of which the first may have succeeded.
        if matches!(outcome, Outcome::Fail(_) | Outcome::Idle) && !matches!(op, Op::Put(..)) {
            return Footprint::Nothing;
        }
        match op {
            Op::Mkdir(at) | Op::Symlink(at, _) | Op::Unlink(at) | Op::Rmdir(at) => {
                self.names(&[at], Follow::No, scene)
            }
            Op::Link(_, new) => self.names(&[new], Follow::No, scene),
            Op::Rename(old, new) => self.names(&[old, new], Follow::No, scene),
            Op::Put(at, _) => self.names(&[at], Follow::Yes, scene),
            Op::Open(at, _, flags, follow) => {
                if flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
                    self.names(&[at], *follow, scene)
                } else {
                    Footprint::Nothing
                }
            }
            Op::Write(nth, ..) | Op::Append(nth, _) | Op::SetLen(nth, _) => {
                let nth = usize::from(*nth) % self.files.len().max(1);
                let file = self.files.get(nth).copied().flatten();
                file.map_or(Footprint::Unknown, Footprint::Content)
            }
            _ => Footprint::Nothing,
        }
    }

    fn names(&self, operands: &[&At], follow: Follow, scene: &Scene) -> Footprint {
        let path = |at: &&At| {
            let path = self.full_path(at, scene).filter(|path| scene.has_parent_of(path))?;
            let kind = scene.get(&path).map(|node| node.kind);
            (follow == Follow::No || kind != Some(FileType::Symlink)).then_some(path)
        };
        let paths: Option<Vec<String>> = operands.iter().map(path).collect();
        paths.map_or(Footprint::Unknown, Footprint::Names)
    }
}

fn dir_handle(scene: &Scene, path: &str) -> DirHandle {
    match scene.get(path) {
        _ if path.is_empty() => DirHandle::Root,
        Some(node) if node.kind == FileType::Dir => DirHandle::Node(node.id),
        Some(_) | None => DirHandle::Unknown,
    }
}
