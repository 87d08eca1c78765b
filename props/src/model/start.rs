//! Construction of a model from a tree.

use std::collections::BTreeMap;

use palisade_vfs::{FileType, Timestamp};

use super::{Ino, Model, NodeData, ROOT};
use crate::tree::{Leaf, Tree};

impl Model {
    /// Creates a model that contains `tree`, with an open root. Nodes with a missing parent are
    /// skipped.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let mut model = Model::new();
        for (path, leaf) in tree.iter() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(dir) = model.at(parent).filter(|dir| model.is_dir(*dir)) else { continue };
            let child = match leaf {
                Leaf::Dir => model.make(NodeData::Dir { entries: BTreeMap::new(), parent: dir }),
                Leaf::Symlink(target) => model.make(NodeData::Link(target.clone())),
                Leaf::File(bytes) => {
                    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    let bytes = (0..).zip(bytes.iter().copied()).collect();
                    model.make(NodeData::File { bytes, len })
                }
                Leaf::HardLink(first) => {
                    let Some(first) = model.at(first) else { continue };
                    if let Some(node) = model.nodes.get_mut(&first) {
                        node.names += 1;
                    }
                    first
                }
            };
            model.insert(dir, name, child);
        }
        model
    }

    /// Sets the expected modification time of a node, until an operation changes the node.
    pub fn expect_modified(&mut self, path: &str, at: Timestamp) {
        if let Some(ino) = self.at(path)
            && let Some(node) = self.nodes.get_mut(&ino)
        {
            node.modified = Some(at);
        }
    }

    /// Returns the type of the node at a path of names joined by single slashes.
    #[must_use]
    pub fn kind_at(&self, path: &str) -> Option<FileType> {
        self.at(path).map(|ino| self.kind(ino))
    }

    fn at(&self, path: &str) -> Option<Ino> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(ROOT, |dir, name| self.child(dir, name))
    }
}
