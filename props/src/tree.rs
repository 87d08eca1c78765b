//! A literal filesystem as a value that can be printed, parsed, compared and built.
//!
//! The text form is a script that creates the tree in a valid order: a directory before its
//! entries, and the first name of a file before its hard links.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, Errno, FileType, Name, Node, OpenFlags, OpenHow, Result, Stat,
    Stop,
};

use crate::op::Op;
use crate::script::Script;
use crate::text;

/// The maximum number of nodes in a snapshot.
pub const NODES_MAX: usize = 100_000;
/// The maximum length of a file in a snapshot, in bytes.
pub const FILE_LEN_MAX: u64 = 16 << 20;

/// A literal filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Leaf>,
}

/// A node of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A directory.
    Dir,
    /// A file with its bytes.
    File(Vec<u8>),
    /// A symbolic link with its target.
    Symlink(String),
    /// A hard link to the file at this path, which sorts before the link.
    HardLink(String),
}

impl Tree {
    /// Returns an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Tree::default()
    }

    /// Parses the text form.
    ///
    /// # Errors
    ///
    /// A message for people.
    pub fn parse(text: &str) -> Result<Tree, String> {
        let mut tree = Tree::new();
        for op in Script::parse(text)?.ops() {
            match op {
                Op::Mkdir(at) => tree.insert(&at.path, Leaf::Dir),
                Op::Put(at, bytes) => tree.insert(&at.path, Leaf::File(bytes)),
                Op::Symlink(at, target) => tree.insert(&at.path, Leaf::Symlink(target)),
                Op::Link(old, new) => tree.insert(&new.path, Leaf::HardLink(old.path)),
                other => return Err(format!("`{other}` does not create a node of a tree")),
            }
        }
        Ok(tree)
    }

    /// Inserts a node at a path of names joined by single slashes.
    pub fn insert(&mut self, path: &str, leaf: Leaf) {
        self.entries.insert(path.to_owned(), leaf);
    }

    /// Returns the node at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Leaf> {
        self.entries.get(path)
    }

    /// Removes the node at a path and its descendants.
    pub fn remove(&mut self, path: &str) {
        let is_below = |other: &str| other.strip_prefix(path).is_some_and(|it| it.starts_with('/'));
        self.entries.retain(|other, _| other != path && !is_below(other));
    }

    /// Returns the paths and nodes in the order of the text form.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Leaf)> {
        self.entries.iter().map(|(path, leaf)| (path.as_str(), leaf))
    }

    /// Creates the nodes under `root`.
    pub fn build(&self, root: &dyn Dir) -> Result<()> {
        for (path, leaf) in self.iter() {
            let (parent, name) = Descent::new(path)?.split_last().ok_or(Errno::Inval)?;
            let parent = hold_dir(root, parent)?;
            match leaf {
                Leaf::Dir => parent.create_dir(name)?,
                Leaf::Symlink(target) => parent.create_symlink(name, target)?,
                Leaf::File(bytes) => put(&*parent, name, bytes)?,
                Leaf::HardLink(first) => {
                    let (dir, old) = Descent::new(first)?.split_last().ok_or(Errno::Inval)?;
                    hold_dir(root, dir)?.link(old, &*parent, name)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the tree under `root`.
    ///
    /// # Errors
    ///
    /// - `Fbig` above [`NODES_MAX`] nodes or [`FILE_LEN_MAX`] bytes in a file.
    /// - The errors of the directory.
    pub fn snapshot(root: &dyn Dir) -> Result<Tree> {
        let mut tree = Tree::new();
        // Sorted, so that the first name of a file is the one that sorts first.
        let mut pending = vec![String::new()];
        let mut names = Vec::new();
        while let Some(path) = pending.pop() {
            let dir = root.open(Descent::new(&path)?, LIST).map_err(errno)?.into_dir()?;
            dir.read_dir(Cookie::START, &mut |entry| {
                let name = entry.name.as_str();
                let child =
                    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
                if entry.kind == FileType::Dir {
                    pending.push(child.clone());
                }
                names.push(child);
                if names.len() > NODES_MAX {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            if names.len() > NODES_MAX {
                return Err(Errno::Fbig);
            }
        }
        names.sort();
        let mut first_names = BTreeMap::new();
        for path in names {
            let stat = root.stat(Descent::new(&path)?).map_err(errno)?;
            let id = (stat.dev, stat.ino);
            let leaf = match first_names.get(&id) {
                Some(first) if stat.kind != FileType::Dir => Leaf::HardLink(String::clone(first)),
                _ => leaf(root, Descent::new(&path)?, &stat)?,
            };
            first_names.entry(id).or_insert_with(|| path.clone());
            tree.insert(&path, leaf);
        }
        Ok(tree)
    }

    /// Returns the differing lines: `-` is only in this tree, `+` only in `other`. Empty if the
    /// trees are equal.
    #[must_use]
    pub fn diff(&self, other: &Tree) -> String {
        let mut out = String::new();
        let all: BTreeMap<_, _> = self.entries.iter().chain(&other.entries).collect();
        for path in all.keys() {
            let (here, there) = (self.entries.get(*path), other.entries.get(*path));
            if here == there {
                continue;
            }
            for (sign, leaf) in [("-", here), ("+", there)] {
                if let Some(leaf) = leaf {
                    out.push_str(&format!("{sign} {}\n", line(path, leaf)));
                }
            }
        }
        out
    }
}

const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);

fn errno(stop: Stop) -> Errno {
    match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Loop,
    }
}

fn hold_dir(root: &dyn Dir, path: Descent<'_>) -> Result<palisade_vfs::DirRef> {
    root.open(path, OpenHow::HOLD_DIR).map_err(errno)?.into_dir()
}

fn put(parent: &dyn Dir, name: Name<'_>, bytes: &[u8]) -> Result<()> {
    let how = OpenHow::new(Access::Write, OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
    let file = parent.open(name.into(), how).map_err(errno)?.into_file()?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let count = file.write_at(&[IoSlice::new(rest)], u64::try_from(offset).unwrap_or(0))?;
        if count == 0 {
            return Err(Errno::Io);
        }
        rest = rest.get(count..).ok_or(Errno::Io)?;
    }
    Ok(())
}

fn leaf(root: &dyn Dir, path: Descent<'_>, stat: &Stat) -> Result<Leaf> {
    let (dir, name) = path.split_last().ok_or(Errno::Inval)?;
    match stat.kind {
        FileType::Dir => Ok(Leaf::Dir),
        FileType::Symlink => Ok(Leaf::Symlink(hold_dir(root, dir)?.read_link(name)?.into())),
        FileType::File => match root.open(path, OpenHow::READ).map_err(errno)? {
            Node::Dir(_) => Err(Errno::Isdir),
            Node::File(file) => {
                if stat.size > FILE_LEN_MAX {
                    return Err(Errno::Fbig);
                }
                let mut bytes = vec![0; usize::try_from(stat.size).unwrap_or(0)];
                let mut done = 0;
                while let Some(rest @ [_, ..]) = bytes.get_mut(done..) {
                    let at = u64::try_from(done).unwrap_or(0);
                    match file.read_at(&mut [IoSliceMut::new(rest)], at)? {
                        0 => return Err(Errno::Io),
                        count => done += count,
                    }
                }
                Ok(Leaf::File(bytes))
            }
        },
        FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
            Err(Errno::Nxio)
        }
    }
}

fn line(path: &str, leaf: &Leaf) -> String {
    let path = text::path(path);
    match leaf {
        Leaf::Dir => format!("mkdir {path}"),
        Leaf::File(bytes) => format!("write {path} {}", text::bytes(bytes)),
        Leaf::Symlink(target) => format!("symlink {path} -> {}", text::path(target)),
        Leaf::HardLink(first) => format!("link {} {path}", text::path(first)),
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, leaf) in self.iter() {
            writeln!(f, "{}", line(path, leaf))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_round_trips_through_its_text_form() {
        let text = "mkdir a\nwrite a/f \"hi\"\nsymlink a/l -> ../b\nlink a/f g\n";
        assert_eq!(Tree::parse(text).unwrap().to_string(), text);
        assert!(Tree::parse("rmdir a").is_err());
    }

    #[test]
    fn diff_lists_both_sides() {
        let before = Tree::parse("mkdir a\nwrite f \"1\"\nwrite g \"\"").unwrap();
        let after = Tree::parse("mkdir a\nwrite f \"2\"\nmkdir b").unwrap();
        let want = "+ mkdir b\n- write f \"1\"\n+ write f \"2\"\n- write g \"\"\n";
        assert_eq!(before.diff(&after), want);
        assert_eq!(before.diff(&before), "");
    }
}
