//! Building a tree: nodes come in any order, and are numbered at the end.
//!
//! A path is looked at here before anything else sees it. It can only go down, and no link is
//! followed on the way: where a path leads through a link, it is refused.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{Content, EntryData, Index, Kind, NodeData, ROOT, Source, Text, Tree, hash_name};
use crate::{Errno, Name, Timestamp, bug, fresh_dev};

/// The most nodes and the most bytes of text: what an [`Index`] can tell apart.
const INDEX_MAX: usize = u32::MAX as usize;

/// Why a path cannot stand in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// It begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// It has a `..` in it.
    #[error("the path has `..` in it")]
    DotDot,
    /// It has an empty name or a `.` in it, or is empty.
    #[error("the path has an empty name in it")]
    EmptyName,
    /// It has a NUL in it.
    #[error("the path has a NUL in it")]
    Nul,
    /// A name is longer than [`Name::LEN_MAX`] bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// The name is there already.
    #[error("the name is there twice")]
    Duplicate,
    /// What the path leads through, or the name itself, is a directory and something else too.
    #[error("a name is both a directory and something else")]
    FileAndDir,
    /// A hard link to something that is not there.
    #[error("the hard link leads to nothing")]
    LinkMissing,
    /// A hard link to a directory.
    #[error("the hard link leads to a directory")]
    LinkToDir,
    /// There are more nodes or bytes of names than the tree can tell apart.
    #[error("there are more names than a tree can hold")]
    TooMany,
}

/// What to do with a name that is there already and leads to no directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// The one that came last stays.
    #[cfg(feature = "tar")]
    LastWins,
    /// [`TreeFault::Duplicate`].
    Refuse,
}

#[derive(Clone, Copy)]
struct BuildNode {
    body: Body,
    time: Timestamp,
    nlink: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// A directory; whether it was named itself, or only led through.
    Dir(Named),
    File(Content),
    Symlink(Stretch),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Yes,
    No,
}

/// A stretch of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stretch {
    at: u32,
    len: u32,
}

impl From<Stretch> for Text {
    fn from(Stretch { at, len }: Stretch) -> Self {
        Text { at, len }
    }
}

#[derive(Clone, Copy)]
struct BuildEntry {
    parent: u32,
    name: Stretch,
    node: u32,
}

/// Builds a [`Tree`]. A new one has an empty root.
pub(crate) struct Builder {
    twice: Twice,
    nodes: Vec<BuildNode>,
    entries: Vec<BuildEntry>,
    text: String,
    names: HashTable<u32>,
    hasher: RandomState,
}

impl Builder {
    pub(crate) fn new(twice: Twice) -> Self {
        let root = BuildNode { body: Body::Dir(Named::No), time: Timestamp::EPOCH, nlink: 1 };
        Builder {
            twice,
            nodes: vec![root],
            entries: Vec::new(),
            text: String::new(),
            names: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// Nodes so far, the root and what was replaced included, or names if they are more.
    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len().max(1 + self.entries.len())
    }

    /// Bytes of names and targets so far.
    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// A directory, and the directories on the way. Of one that is named twice, the time that came
    /// last stays. An empty `path` is the root.
    #[cfg_attr(
        not(any(feature = "tar", feature = "zip")),
        expect(dead_code, reason = "what is embedded is files")
    )]
    pub(crate) fn dir(&mut self, path: &str, time: Timestamp) -> Result<(), TreeFault> {
        let id = if path.is_empty() { ROOT } else { self.dir_at(path)? };
        let node = self.nodes.get_mut(id as usize).ok_or(TreeFault::TooMany)?;
        if node.body == Body::Dir(Named::Yes) && self.twice == Twice::Refuse {
            return Err(TreeFault::Duplicate);
        }
        (node.body, node.time) = (Body::Dir(Named::Yes), time);
        Ok(())
    }

    /// A file, and the directories on the way.
    pub(crate) fn file(
        &mut self,
        path: &str,
        content: Content,
        time: Timestamp,
    ) -> Result<(), TreeFault> {
        self.leaf(path, time, |_| Ok(Body::File(content)))
    }

    /// A symbolic link, and the directories on the way. Its target is never looked at.
    #[cfg_attr(
        not(any(feature = "tar", feature = "zip")),
        expect(dead_code, reason = "what is embedded is files")
    )]
    pub(crate) fn symlink(
        &mut self,
        path: &str,
        target: &str,
        time: Timestamp,
    ) -> Result<(), TreeFault> {
        self.leaf(path, time, |builder| Ok(Body::Symlink(builder.keep(target)?)))
    }

    /// A further name for the file or link at `to`, which must be there.
    #[cfg(feature = "tar")]
    pub(crate) fn hard_link(&mut self, path: &str, to: &str) -> Result<(), TreeFault> {
        let mut at = ROOT;
        for name in names(to) {
            let entry = self.find(at, name?).ok_or(TreeFault::LinkMissing)?;
            at = self.entry(entry)?.node;
        }
        let node = self.nodes.get(at as usize).ok_or(TreeFault::LinkMissing)?;
        if matches!(node.body, Body::Dir(_)) {
            return Err(TreeFault::LinkToDir);
        }
        let (parent, name) = self.parent(path)?;
        self.name(parent, name, at)
    }

    /// The tree, with nodes numbered from the root down and names in the order of their bytes.
    pub(crate) fn build(mut self, source: Box<dyn Source>) -> Arc<Tree> {
        let text = std::mem::take(&mut self.text).into_boxed_str();
        let name = |entry: &BuildEntry| text_of(&text, entry.name);
        let mut sorted = std::mem::take(&mut self.entries);
        sorted.sort_unstable_by(|one, other| {
            one.parent.cmp(&other.parent).then_with(|| name(one).cmp(name(other)))
        });
        drop(std::mem::take(&mut self.names));
        let hasher = self.hasher.clone();
        let (nodes, entries) = number(&self.nodes, &sorted);
        drop(sorted);
        let mut tree = Tree {
            dev: fresh_dev(),
            nodes,
            entries,
            text,
            names: HashTable::new(),
            hasher,
            source,
        };
        tree.names = index(&tree);
        Arc::new(tree)
    }

    fn leaf(
        &mut self,
        path: &str,
        time: Timestamp,
        body: impl FnOnce(&mut Self) -> Result<Body, TreeFault>,
    ) -> Result<(), TreeFault> {
        let (parent, name) = self.parent(path)?;
        let body = body(self)?;
        let id = self.push(BuildNode { body, time, nlink: 0 })?;
        self.name(parent, name, id)
    }

    /// Gives the node `id`, which is no directory, a name.
    fn name(&mut self, parent: u32, name: &str, id: u32) -> Result<(), TreeFault> {
        match self.find(parent, name) {
            None => self.enter(parent, name, id)?,
            Some(at) => {
                let old = self.entry(at)?.node;
                let body = self.nodes.get(old as usize).map(|node| node.body);
                if matches!(body, Some(Body::Dir(_))) {
                    return Err(TreeFault::FileAndDir);
                }
                if self.twice == Twice::Refuse {
                    return Err(TreeFault::Duplicate);
                }
                self.count(old, |nlink| nlink.saturating_sub(1));
                if let Some(entry) = self.entries.get_mut(at as usize) {
                    entry.node = id;
                }
            }
        }
        self.count(id, |nlink| nlink.saturating_add(1));
        Ok(())
    }

    fn count(&mut self, id: u32, change: impl FnOnce(u32) -> u32) {
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.nlink = change(node.nlink);
        }
    }

    /// The directory that holds the last name of `path`, and that name.
    fn parent<'p>(&mut self, path: &'p str) -> Result<(u32, &'p str), TreeFault> {
        let (parent, last) = match path.rsplit_once('/') {
            Some((parent, last)) => (self.dir_at_or_root(path, parent)?, last),
            None => (ROOT, path),
        };
        Ok((parent, check_name(last)?))
    }

    fn dir_at_or_root(&mut self, path: &str, parent: &str) -> Result<u32, TreeFault> {
        if parent.is_empty() && path.starts_with('/') {
            return Err(TreeFault::Absolute);
        }
        self.dir_at(parent)
    }

    /// The directory at `path`; what is missing on the way is created.
    fn dir_at(&mut self, path: &str) -> Result<u32, TreeFault> {
        if path.starts_with('/') {
            return Err(TreeFault::Absolute);
        }
        let mut at = ROOT;
        for name in names(path) {
            let name = name?;
            at = match self.find(at, name) {
                Some(entry) => self.entry(entry)?.node,
                None => {
                    let body = Body::Dir(Named::No);
                    let id = self.push(BuildNode { body, time: Timestamp::EPOCH, nlink: 1 })?;
                    self.enter(at, name, id)?;
                    id
                }
            };
            let body = self.nodes.get(at as usize).map(|node| node.body);
            if !matches!(body, Some(Body::Dir(_))) {
                return Err(TreeFault::FileAndDir);
            }
        }
        Ok(at)
    }

    fn push(&mut self, node: BuildNode) -> Result<u32, TreeFault> {
        let id = to_index(self.nodes.len())?;
        self.nodes.push(node);
        Ok(id)
    }

    fn enter(&mut self, parent: u32, name: &str, node: u32) -> Result<(), TreeFault> {
        let at = to_index(self.entries.len())?;
        let entry = BuildEntry { parent, name: self.keep(name)?, node };
        self.entries.push(entry);
        let (entries, text, hasher) = (&self.entries, &self.text, &self.hasher);
        let hash = hash_name(hasher, parent, name);
        self.names.insert_unique(hash, at, |at| match entries.get(*at as usize) {
            Some(entry) => hash_name(hasher, entry.parent, text_of(text, entry.name)),
            None => 0,
        });
        Ok(())
    }

    /// Keeps a name or a target.
    fn keep(&mut self, text: &str) -> Result<Stretch, TreeFault> {
        let (at, len) = (to_index(self.text.len())?, to_index(text.len())?);
        to_index(self.text.len() + text.len())?;
        self.text.push_str(text);
        Ok(Stretch { at, len })
    }

    fn find(&self, parent: u32, name: &str) -> Option<u32> {
        let hash = hash_name(&self.hasher, parent, name);
        let is_it = |at: &u32| {
            self.entries.get(*at as usize).is_some_and(|entry| {
                entry.parent == parent && text_of(&self.text, entry.name) == name
            })
        };
        self.names.find(hash, is_it).copied()
    }

    fn entry(&self, at: u32) -> Result<&BuildEntry, TreeFault> {
        self.entries.get(at as usize).ok_or(TreeFault::TooMany)
    }
}

/// Numbers what the root leads to, from the root down. `sorted` is by directory and name.
fn number(old: &[BuildNode], sorted: &[BuildEntry]) -> (Box<[NodeData]>, Box<[EntryData]>) {
    const UNSEEN: Index = Index::MAX;
    let mut new_of = vec![UNSEEN; old.len()];
    // The nodes in their new order, each with its parent's new number.
    let mut order: Vec<(u32, Index)> = Vec::with_capacity(old.len());
    let mut nodes = Vec::with_capacity(old.len());
    let mut entries: Vec<EntryData> = Vec::with_capacity(sorted.len());
    order.push((ROOT, ROOT));
    let mut done = 0;
    while let Some((id, parent)) = order.get(done).copied() {
        let index = small(done);
        done += 1;
        let Some(node) = old.get(id as usize) else {
            bug!((); "an entry leads to node {id}, which is not there");
            continue;
        };
        let kind = match node.body {
            Body::File(content) => Kind::File(content),
            Body::Symlink(target) => Kind::Symlink(target.into()),
            Body::Dir(_) => {
                let first = small(entries.len());
                let start = sorted.partition_point(|entry| entry.parent < id);
                let children = sorted.iter().skip(start);
                for entry in children.take_while(|entry| entry.parent == id) {
                    let Some(new) = new_of.get_mut(entry.node as usize) else {
                        bug!((); "an entry leads to node {}, which is not there", entry.node);
                        continue;
                    };
                    if *new == UNSEEN {
                        *new = small(order.len());
                        order.push((entry.node, index));
                    }
                    entries.push(EntryData { name: entry.name.into(), node: *new });
                }
                Kind::Dir { parent, first, count: small(entries.len()) - first }
            }
        };
        let (seconds, nanos) = (node.time.seconds(), node.time.nanos());
        nodes.push(NodeData { kind, seconds, nanos, nlink: node.nlink });
    }
    count_subdirs(&mut nodes);
    (nodes.into_boxed_slice(), entries.into_boxed_slice())
}

/// A directory has its own name, its `.`, and the `..` of each directory in it.
fn count_subdirs(nodes: &mut [NodeData]) {
    for at in 0..nodes.len() {
        let parent = match nodes.get_mut(at) {
            Some(NodeData { kind: Kind::Dir { parent, .. }, nlink, .. }) => {
                *nlink += 1;
                *parent
            }
            Some(_) | None => continue,
        };
        if at != ROOT as usize
            && let Some(parent) = nodes.get_mut(parent as usize)
        {
            parent.nlink += 1;
        }
    }
}

/// The table of all names of `tree`.
fn index(tree: &Tree) -> HashTable<u32> {
    let mut names = HashTable::with_capacity(tree.entries.len());
    for (dir, node) in tree.nodes.iter().enumerate() {
        let Kind::Dir { first, .. } = node.kind else { continue };
        for (at, entry) in (first..).zip(tree.entries(node.kind)) {
            let hash = hash_name(&tree.hasher, small(dir), tree.text(entry.name));
            // It never grows: there is room for all.
            names.insert_unique(hash, at, |_| 0);
        }
    }
    names
}

/// The names of `path`, each checked.
fn names(path: &str) -> impl Iterator<Item = Result<&str, TreeFault>> {
    path.split('/').map(check_name)
}

fn check_name(name: &str) -> Result<&str, TreeFault> {
    match Name::new(name) {
        Ok(_) => Ok(name),
        Err(Errno::Nametoolong) => Err(TreeFault::NameTooLong),
        Err(_) => Err(match name {
            "" | "." => TreeFault::EmptyName,
            ".." => TreeFault::DotDot,
            _ => TreeFault::Nul,
        }),
    }
}

fn text_of(text: &str, Stretch { at, len }: Stretch) -> &str {
    let name = text.get(at as usize..at as usize + len as usize);
    name.unwrap_or_else(|| bug!(""; "an entry's name is not in the text"))
}

fn to_index(n: usize) -> Result<u32, TreeFault> {
    // The highest number is for what is not there.
    if n >= INDEX_MAX {
        return Err(TreeFault::TooMany);
    }
    u32::try_from(n).map_err(|_| TreeFault::TooMany)
}

/// A number that [`to_index`] has let pass.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| bug!(u32::MAX; "{n} is no index"))
}
