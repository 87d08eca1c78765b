//! The tree of a run, read from the back end without any policy.
//!
//! [`Scene::scan`] reads every node. [`Scene::refresh`] reads only the names that one operation can
//! have changed, and takes the rest from the scene before. INVARIANT: both return the same tree; a
//! run compares them at its end and after every few operations.

use std::io::IoSliceMut;
use std::ops::ControlFlow;
use std::rc::Rc;

use palisade_vfs::{
    Access, Cookie, Descent, DirRef, Errno, FileType, OpenFlags, OpenHow, Result, Stop,
};

/// The identity of a node: device and inode number.
pub(super) type Id = (u64, u64);

/// Bytes of a file that are compared. No file of a run is longer.
const LEN_MAX: usize = 512;

/// A node: its identity, its type, and the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SceneNode {
    pub(super) id: Id,
    pub(super) kind: FileType,
    pub(super) bytes: Rc<[u8]>,
}

/// A name of the tree: its path from the root, and its node.
pub(super) type SceneEntry = (Rc<str>, SceneNode);

/// Every name of the tree but the root, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scene(Vec<SceneEntry>);

/// The part of the tree that an operation can have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Footprint {
    /// No name and no file.
    Nothing,
    /// These paths: each may be gone, lead to another node, or to a file of other content.
    Names(Vec<String>),
    /// The content of this file.
    Content(Id),
    /// Not known, because a symbolic link or a removed directory lies on the way.
    Unknown,
}

impl Scene {
    /// Reads the whole tree under `root`.
    ///
    /// # Errors
    /// - Those of the directory.
    pub(super) fn scan(root: &DirRef) -> Result<Scene> {
        let mut entries = Vec::new();
        scan_under(root, "", &mut entries)?;
        entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(Scene(entries))
    }

    /// Returns the tree after an operation that changed at most `footprint`.
    ///
    /// # Errors
    /// - Those of the directory.
    pub(super) fn refresh(&self, root: &DirRef, footprint: &Footprint) -> Result<Scene> {
        let mut after = self.clone();
        match footprint {
            Footprint::Nothing => {}
            Footprint::Unknown => return Scene::scan(root),
            Footprint::Content(id) => {
                if let Some(path) = self.path_of(*id) {
                    after.refresh_name(self, root, path)?;
                }
            }
            Footprint::Names(paths) => {
                for path in paths {
                    after.refresh_name(self, root, path)?;
                }
            }
        }
        Ok(after)
    }

    pub(super) fn get(&self, path: &str) -> Option<&SceneNode> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(path)).ok()?;
        self.0.get(at).map(|(_, node)| node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SceneEntry> + Clone {
        self.0.iter()
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|(path, _)| &**path)
    }

    /// Returns the paths of the directories but the root.
    pub(super) fn dirs(&self) -> Vec<&str> {
        let is_dir = self.0.iter().filter(|(_, node)| node.kind == FileType::Dir);
        is_dir.map(|(path, _)| &**path).collect()
    }

    pub(super) fn node(&self, id: Id) -> Option<&SceneNode> {
        self.0.iter().map(|(_, node)| node).find(|node| node.id == id)
    }

    /// Returns the first path of a node, or `None` if the node has no name.
    pub(super) fn path_of(&self, id: Id) -> Option<&str> {
        self.0.iter().find(|(_, node)| node.id == id).map(|(path, _)| &**path)
    }

    /// Returns the number of names of a node.
    pub(super) fn name_count(&self, id: Id) -> usize {
        self.0.iter().filter(|(_, node)| node.id == id).count()
    }

    /// Whether `path` is a canonical path whose parent directories all exist and are directories.
    pub(super) fn has_parent_of(&self, path: &str) -> bool {
        let is_plain = !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        is_plain
            && path.match_indices('/').all(|(at, _)| {
                let parent = path.get(..at).and_then(|parent| self.get(parent));
                parent.is_some_and(|node| node.kind == FileType::Dir)
            })
    }

    fn insert(&mut self, path: Rc<str>, node: SceneNode) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&path)) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = node;
                }
            }
            Err(at) => self.0.insert(at, (path, node)),
        }
    }

    /// Reads the node at `path`, and moves the subtree of a directory that lay elsewhere `before`.
    fn refresh_name(&mut self, before: &Scene, root: &DirRef, path: &str) -> Result<()> {
        let found = read_node(root, path)?;
        let was = self.get(path).map(|node| node.id);
        if was.is_some() && was != found.as_ref().map(|node| node.id) {
            self.0.retain(|(other, _)| &**other != path && !is_under(path, other));
        }
        let Some(node) = found else { return Ok(()) };
        if node.kind == FileType::Dir && was != Some(node.id) {
            match before.path_of(node.id) {
                Some(old_path) => self.copy_subtree(before, old_path, path),
                None => {
                    let mut entries = Vec::new();
                    scan_under(root, path, &mut entries)?;
                    entries.into_iter().for_each(|(path, node)| self.insert(path, node));
                }
            }
        }
        for (_, other) in self.0.iter_mut().filter(|(_, other)| other.id == node.id) {
            other.bytes = node.bytes.clone();
        }
        self.insert(path.into(), node);
        Ok(())
    }

    fn copy_subtree(&mut self, before: &Scene, old_path: &str, new_path: &str) {
        for (path, node) in before.iter().filter(|(path, _)| is_under(old_path, path)) {
            let rest = path.get(old_path.len()..).unwrap_or_default();
            self.insert([new_path, rest].concat().into(), node.clone());
        }
    }
}

/// Whether `path` lies under the directory `above`, which is empty for the root.
pub(super) fn is_under(above: &str, path: &str) -> bool {
    path_under(above, path).is_some_and(|rest| !rest.is_empty())
}

/// Returns the part of `path` after the directory `above`, which is empty for the root.
pub(super) fn path_under<'p>(above: &str, path: &'p str) -> Option<&'p str> {
    if above.is_empty() { Some(path) } else { path.strip_prefix(above)?.strip_prefix('/') }
}

/// Joins a directory, which is empty for the root, and a path under it.
pub(super) fn join(above: &str, path: &str) -> String {
    if above.is_empty() { path.to_owned() } else { [above, "/", path].concat() }
}

/// Reads the node at `path`; `None` if there is none.
fn read_node(root: &DirRef, path: &str) -> Result<Option<SceneNode>> {
    let path = Descent::new(path)?;
    let stat = match root.stat(path) {
        Ok(stat) => stat,
        Err(Stop::Errno(Errno::Noent | Errno::Notdir) | Stop::Link { .. }) => return Ok(None),
        Err(stop) => return Err(stop.without_following()),
    };
    let bytes = read_bytes(root, path, stat.kind)?;
    Ok(Some(SceneNode { id: (stat.dev, stat.ino), kind: stat.kind, bytes }))
}

/// Reads the first [`LEN_MAX`] bytes of a file; nothing of another node.
fn read_bytes(dir: &DirRef, path: Descent<'_>, kind: FileType) -> Result<Rc<[u8]>> {
    if kind != FileType::File {
        return Ok(Rc::default());
    }
    let mut bytes = [0; LEN_MAX];
    let file = dir.open(path, OpenHow::READ).map_err(Stop::without_following)?.into_file()?;
    let len = file.read_at(&mut [IoSliceMut::new(&mut bytes)], 0)?;
    Ok(bytes.get(..len).ok_or(Errno::Io)?.into())
}

/// Adds every node under the directory at `path`, in no order.
fn scan_under(root: &DirRef, path: &str, entries: &mut Vec<SceneEntry>) -> Result<()> {
    const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);
    let mut pending: Vec<Rc<str>> = vec![path.into()];
    while let Some(at) = pending.pop() {
        let node = root.open(Descent::new(&at)?, LIST).map_err(Stop::without_following)?;
        let dir = node.into_dir()?;
        let first = entries.len();
        let no_bytes = Rc::default();
        dir.read_dir(Cookie::START, &mut |entry| {
            let path = join(&at, entry.name.as_str()).into();
            let node = SceneNode { id: (0, 0), kind: entry.kind, bytes: Rc::clone(&no_bytes) };
            entries.push((path, node));
            ControlFlow::Continue(())
        })?;
        for (path, node) in entries.iter_mut().skip(first) {
            let name = Descent::new(path_under(&at, path).ok_or(Errno::Io)?)?;
            let stat = dir.stat(name).map_err(Stop::without_following)?;
            (node.id, node.bytes) = ((stat.dev, stat.ino), read_bytes(&dir, name, node.kind)?);
            if node.kind == FileType::Dir {
                pending.push(Rc::clone(path));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use palisade_vfs::{MemFs, path};

    use super::super::{DIRS, seed};
    use super::*;

    /// Returns a seeded tree in memory, and its scene.
    fn seeded() -> (DirRef, Scene) {
        let root = MemFs::new().root();
        DIRS.iter().for_each(|at| path::create_dir(&*root, at).unwrap());
        seed(&root).unwrap();
        let scene = Scene::scan(&root).unwrap();
        (root, scene)
    }

    fn names(paths: &[&str]) -> Footprint {
        Footprint::Names(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn refresh_returns_the_same_tree_as_a_scan() {
        type Change = fn(&DirRef) -> Result<()>;
        let cases: [(&[&str], Change); 6] = [
            (&["a/d", "b/x"], |root| path::rename(&**root, "a/d", &**root, "b/x")),
            (&["a/f", "b/s"], |root| path::rename(&**root, "a/f", &**root, "b/s")),
            (&["b/d/l"], |root| path::link(&**root, "a/g", &**root, "b/d/l")),
            (&["b/d/f"], |root| path::remove_file(&**root, "b/d/f")),
            (&["b/x"], |root| path::create_dir(&**root, "b/x")),
            (&["b/x"], |root| path::create_symlink(&**root, "../a", "b/x")),
        ];
        for (paths, change) in cases {
            let (root, before) = seeded();
            change(&root).unwrap();
            let after = before.refresh(&root, &names(paths)).unwrap();
            assert_eq!(after, Scene::scan(&root).unwrap(), "{paths:?}");
            assert_ne!(after, before, "{paths:?}");
        }
    }

    #[test]
    fn refresh_of_content_updates_every_name_of_the_file() {
        let (root, before) = seeded();
        let how = OpenHow::new(Access::Write, OpenFlags::TRUNCATE);
        root.open(Descent::new("a/f").unwrap(), how).unwrap().into_file().unwrap();
        let id = before.get("a/g").unwrap().id;
        let after = before.refresh(&root, &Footprint::Content(id)).unwrap();
        assert_eq!(after, Scene::scan(&root).unwrap());
        assert!(after.get("a/g").unwrap().bytes.is_empty());
    }

    #[test]
    fn only_canonical_paths_in_directories_have_a_parent() {
        let (_, scene) = seeded();
        for path in ["x", "a/x", "a/d/x", "a/d"] {
            assert!(scene.has_parent_of(path), "{path}");
        }
        for path in ["", "a/", "a/./x", "a/../x", "a/l/x", "a/f/x", "x/y"] {
            assert!(!scene.has_parent_of(path), "{path}");
        }
    }
}
