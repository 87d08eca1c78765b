//! A model that begins with a tree instead of nothing.

use std::collections::BTreeMap;

use palisade_vfs::{FileType, Timestamp};

use super::{Body, Ino, Model, ROOT};
use crate::tree::{Leaf, Tree};

impl Model {
    /// A filesystem that holds `tree`; its root is opened. What a tree says of a place that is not
    /// there is left out.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let mut model = Model::new();
        for (path, leaf) in tree.iter() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(dir) = model.at(parent).filter(|dir| model.is_dir(*dir)) else { continue };
            let child = match leaf {
                Leaf::Dir => model.make(Body::Dir { entries: BTreeMap::new(), parent: dir }),
                Leaf::Symlink(target) => model.make(Body::Link(target.clone())),
                Leaf::File(bytes) => {
                    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    let bytes = (0..).zip(bytes.iter().copied()).collect();
                    model.make(Body::File { bytes, len })
                }
                Leaf::Same(first) => {
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

    /// Says when a node was last changed: from now on it must show that time, until something
    /// changes it.
    pub fn know_modified(&mut self, path: &str, at: Timestamp) {
        if let Some(ino) = self.at(path)
            && let Some(node) = self.nodes.get_mut(&ino)
        {
            node.modified = Some(at);
        }
    }

    /// The type of what stands at a path of names joined by single slashes.
    #[must_use]
    pub fn kind_at(&self, path: &str) -> Option<FileType> {
        self.at(path).map(|ino| self.kind(ino))
    }

    fn at(&self, path: &str) -> Option<Ino> {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(ROOT, |dir, name| self.child(dir, name))
    }
}
