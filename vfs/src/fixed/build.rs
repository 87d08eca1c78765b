//! The builder of immutable trees: nodes are added in any order and numbered at the end.
//!
//! Paths are validated here first, and can only descend. In an archive, a path through a symbolic
//! link is resolved inside the tree, and a later entry replaces an earlier one of the same path
//! ([`OnDuplicate::LastWins`]); in embedded files both are rejected ([`OnDuplicate::Refuse`]).

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

#[cfg(any(feature = "tar", feature = "zip"))]
use super::resolve::{LinkedTree, Step, resolve};
use super::{
    Content, ContentSource, EntryData, Index, Kind, NodeData, ROOT, TextRange, Tree, hash_name,
};
use crate::{Errno, Name, Timestamp, bug, fresh_dev};

/// The most nodes and the most bytes of text: the range of [`Index`].
const INDEX_MAX: usize = u32::MAX as usize;

/// Why a path cannot be added to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// The path begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// The path contains `..`.
    #[error("the path contains `..`")]
    DotDot,
    /// The path is empty or contains an empty name or `.`.
    #[error("the path contains an empty name or `.`")]
    EmptyName,
    /// The path contains a NUL.
    #[error("the path contains a NUL byte")]
    Nul,
    /// A name is longer than [`Name::LEN_MAX`] bytes.
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    /// The name already exists.
    #[error("the path occurs twice")]
    Duplicate,
    /// The path itself, or a prefix of it, is both a directory and another node.
    #[error("the path is used both as a directory and as another node")]
    FileAndDir,
    /// The target of a hard link does not exist.
    #[error("the target of the hard link does not exist")]
    LinkMissing,
    /// The target of a hard link is a directory.
    #[error("the target of the hard link is a directory")]
    LinkToDir,
    /// The path leads through more than 40 symbolic links, which likely form a cycle.
    #[error("the path leads through too many symbolic links")]
    TooManyLinks,
    /// The tree has more nodes or more bytes of names than its indices can represent.
    #[error("too many names")]
    TooMany,
}

/// How an existing name that is not a directory is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDuplicate {
    /// The last node replaces the earlier one, and paths may lead through symbolic links.
    #[cfg(any(feature = "tar", feature = "zip"))]
    LastWins,
    /// The path is rejected with [`TreeFault::Duplicate`].
    Refuse,
}

/// The effect of adding a node on the names that the tree had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// No node was replaced.
    New,
    /// A node of the same type was replaced.
    Replaced,
    /// A node of another type was replaced, with all nodes in it.
    ReplacedType,
}

#[derive(Clone, Copy)]
struct BuildNode {
    kind: BuildKind,
    time: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BuildKind {
    /// A directory.
    Dir(DirOrigin),
    File(Content),
    Symlink(TextRange),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DirOrigin {
    /// Added by its own path.
    Explicit,
    /// Created as the parent of another node.
    Implied,
}

#[derive(Clone, Copy)]
struct BuildEntry {
    parent: u32,
    name: TextRange,
    node: u32,
}

/// Builds a [`Tree`], starting with an empty root.
pub(crate) struct Builder {
    on_duplicate: OnDuplicate,
    /// The effect of the call in progress.
    added: Added,
    nodes: Vec<BuildNode>,
    entries: Vec<BuildEntry>,
    text: String,
    names: HashTable<u32>,
    hasher: RandomState,
}

impl Builder {
    pub(crate) fn new(on_duplicate: OnDuplicate) -> Self {
        let root = BuildNode { kind: BuildKind::Dir(DirOrigin::Implied), time: Timestamp::EPOCH };
        Builder {
            on_duplicate,
            added: Added::New,
            nodes: vec![root],
            entries: Vec::new(),
            text: String::new(),
            names: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// Returns the number of nodes so far, including the root and replaced nodes, or of names if
    /// that is greater.
    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len().max(1 + self.entries.len())
    }

    /// Returns the bytes of names and targets so far.
    #[cfg(any(feature = "tar", feature = "zip"))]
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Adds a directory, and the directories on the way. A directory that is there already gets the
    /// new time. An empty `path` is the root.
    #[cfg_attr(
        not(any(feature = "tar", feature = "zip")),
        expect(dead_code, reason = "embedded trees have no entries for directories")
    )]
    pub(crate) fn dir(&mut self, path: &str, time: Timestamp) -> Result<Added, TreeFault> {
        self.added = Added::New;
        let id = if path.is_empty() { ROOT } else { self.new_dir(path)? };
        let node = self.nodes.get_mut(id as usize).ok_or(TreeFault::TooMany)?;
        match (node.kind, self.on_duplicate) {
            (BuildKind::Dir(DirOrigin::Explicit), OnDuplicate::Refuse) => {
                return Err(TreeFault::Duplicate);
            }
            #[cfg(any(feature = "tar", feature = "zip"))]
            (BuildKind::Dir(DirOrigin::Explicit), OnDuplicate::LastWins)
                if self.added == Added::New =>
            {
                self.added = Added::Replaced;
            }
            _ => {}
        }
        (node.kind, node.time) = (BuildKind::Dir(DirOrigin::Explicit), time);
        Ok(self.added)
    }

    /// Adds a file, and the directories on the way.
    pub(crate) fn file(
        &mut self,
        path: &str,
        content: Content,
        time: Timestamp,
    ) -> Result<Added, TreeFault> {
        self.leaf(path, time, |_| Ok(BuildKind::File(content)))
    }

    /// Adds a symbolic link, and the directories on the way.
    #[cfg_attr(
        not(any(feature = "tar", feature = "zip")),
        expect(dead_code, reason = "embedded trees have no links")
    )]
    pub(crate) fn symlink(
        &mut self,
        path: &str,
        target: &str,
        time: Timestamp,
    ) -> Result<Added, TreeFault> {
        self.leaf(path, time, |builder| Ok(BuildKind::Symlink(builder.store(target)?)))
    }

    /// Adds a further name for the file or symbolic link at `to`, which must be there.
    #[cfg(feature = "tar")]
    pub(crate) fn hard_link(&mut self, path: &str, to: &str) -> Result<Added, TreeFault> {
        self.added = Added::New;
        let (above, last) = to.rsplit_once('/').unwrap_or(("", to));
        let above = resolve(&mut Existing(self), ROOT, above)?;
        let dir = above.last().map_or(ROOT, |(_, dir)| *dir);
        let entry = self.find(dir, check_name(last)?).ok_or(TreeFault::LinkMissing)?;
        let at = self.entry(entry)?.node;
        let node = self.nodes.get(at as usize).ok_or(TreeFault::LinkMissing)?;
        if matches!(node.kind, BuildKind::Dir(_)) {
            return Err(TreeFault::LinkToDir);
        }
        let (parent, name) = self.parent(path)?;
        self.add_name(parent, name, at)?;
        Ok(self.added)
    }

    /// Builds the tree: nodes numbered from the root down, names sorted by bytes.
    pub(crate) fn build(mut self, source: Box<dyn ContentSource>) -> Arc<Tree> {
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
        kind: impl FnOnce(&mut Self) -> Result<BuildKind, TreeFault>,
    ) -> Result<Added, TreeFault> {
        self.added = Added::New;
        let (parent, name) = self.parent(path)?;
        let kind = kind(self)?;
        let id = self.push(BuildNode { kind, time })?;
        self.add_name(parent, name, id)?;
        Ok(self.added)
    }

    /// Gives the node `id`, which is not a directory, a name.
    fn add_name(&mut self, parent: u32, name: &str, id: u32) -> Result<(), TreeFault> {
        let Some(at) = self.find(parent, name) else { return self.enter(parent, name, id) };
        let old = self.kind(self.entry(at)?.node);
        let was_dir = matches!(old, Some(BuildKind::Dir(_)));
        match self.on_duplicate {
            OnDuplicate::Refuse if was_dir => return Err(TreeFault::FileAndDir),
            OnDuplicate::Refuse => return Err(TreeFault::Duplicate),
            #[cfg(any(feature = "tar", feature = "zip"))]
            OnDuplicate::LastWins => {}
        }
        let is_same_type = matches!(
            (old, self.kind(id)),
            (Some(BuildKind::Symlink(_)), Some(BuildKind::Symlink(_)))
                | (Some(BuildKind::File(_)), Some(BuildKind::File(_)))
        );
        self.replace(at, id, is_same_type);
        Ok(())
    }

    /// Lets the entry `at` lead to the node `id` instead of its old one. The entries of an old
    /// directory stay in the table; nothing leads to them any more.
    fn replace(&mut self, at: u32, id: u32, is_same_type: bool) {
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.node = id;
        }
        if !is_same_type {
            self.added = Added::ReplacedType;
        } else if self.added == Added::New {
            self.added = Added::Replaced;
        }
    }

    fn kind(&self, id: u32) -> Option<BuildKind> {
        self.nodes.get(id as usize).map(|node| node.kind)
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

    /// The directory at `path`; missing ones on the way are created.
    fn dir_at(&mut self, path: &str) -> Result<u32, TreeFault> {
        if path.starts_with('/') {
            return Err(TreeFault::Absolute);
        }
        let mut at = ROOT;
        for name in names(path) {
            let name = name?;
            at = match self.find(at, name) {
                None => self.push_dir(at, name)?,
                Some(entry) => {
                    let id = self.entry(entry)?.node;
                    match (self.kind(id), self.on_duplicate) {
                        (Some(BuildKind::Dir(_)), _) => id,
                        #[cfg(any(feature = "tar", feature = "zip"))]
                        (Some(BuildKind::File(_)), OnDuplicate::LastWins) => {
                            self.replace_by_dir(entry)?
                        }
                        #[cfg(any(feature = "tar", feature = "zip"))]
                        (Some(BuildKind::Symlink(_)), OnDuplicate::LastWins) => {
                            let stack = resolve(&mut Created(self), ROOT, path)?;
                            return Ok(stack.last().map_or(ROOT, |(_, dir)| *dir));
                        }
                        _ => return Err(TreeFault::FileAndDir),
                    }
                }
            };
        }
        Ok(at)
    }

    /// The directory at `path` itself: a symbolic link at its last name is replaced, not followed.
    fn new_dir(&mut self, path: &str) -> Result<u32, TreeFault> {
        let (parent, name) = self.parent(path)?;
        let Some(entry) = self.find(parent, name) else { return self.push_dir(parent, name) };
        let id = self.entry(entry)?.node;
        match (self.kind(id), self.on_duplicate) {
            (Some(BuildKind::Dir(_)), _) => Ok(id),
            (_, OnDuplicate::Refuse) => Err(TreeFault::FileAndDir),
            #[cfg(any(feature = "tar", feature = "zip"))]
            (_, OnDuplicate::LastWins) => self.replace_by_dir(entry),
        }
    }

    fn push_dir(&mut self, parent: u32, name: &str) -> Result<u32, TreeFault> {
        let id = self
            .push(BuildNode { kind: BuildKind::Dir(DirOrigin::Implied), time: Timestamp::EPOCH })?;
        self.enter(parent, name, id)?;
        Ok(id)
    }

    #[cfg(any(feature = "tar", feature = "zip"))]
    fn replace_by_dir(&mut self, entry: u32) -> Result<u32, TreeFault> {
        let id = self
            .push(BuildNode { kind: BuildKind::Dir(DirOrigin::Implied), time: Timestamp::EPOCH })?;
        self.replace(entry, id, false);
        Ok(id)
    }

    fn push(&mut self, node: BuildNode) -> Result<u32, TreeFault> {
        let id = to_index(self.nodes.len())?;
        self.nodes.push(node);
        Ok(id)
    }

    fn enter(&mut self, parent: u32, name: &str, node: u32) -> Result<(), TreeFault> {
        let at = to_index(self.entries.len())?;
        let entry = BuildEntry { parent, name: self.store(name)?, node };
        self.entries.push(entry);
        let (entries, text, hasher) = (&self.entries, &self.text, &self.hasher);
        let hash = hash_name(hasher, parent, name);
        self.names.insert_unique(hash, at, |at| match entries.get(*at as usize) {
            Some(entry) => hash_name(hasher, entry.parent, text_of(text, entry.name)),
            None => 0,
        });
        Ok(())
    }

    /// Stores a name or a target.
    fn store(&mut self, text: &str) -> Result<TextRange, TreeFault> {
        let (at, len) = (to_index(self.text.len())?, to_index(text.len())?);
        to_index(self.text.len() + text.len())?;
        self.text.push_str(text);
        Ok(TextRange { at, len })
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

/// Resolution in a tree whose missing directories are created on the way.
#[cfg(any(feature = "tar", feature = "zip"))]
struct Created<'b>(&'b mut Builder);

#[cfg(any(feature = "tar", feature = "zip"))]
impl LinkedTree for Created<'_> {
    type Dir = u32;
    type Error = TreeFault;

    fn step(&mut self, dir: &u32, name: &str) -> Result<Step<u32>, TreeFault> {
        let Created(builder) = self;
        let name = check_name(name)?;
        let Some(entry) = builder.find(*dir, name) else {
            return builder.push_dir(*dir, name).map(Step::Dir);
        };
        let id = builder.entry(entry)?.node;
        match builder.kind(id) {
            Some(BuildKind::Dir(_)) => Ok(Step::Dir(id)),
            Some(BuildKind::Symlink(target)) => {
                Ok(Step::Symlink(text_of(&builder.text, target).to_owned()))
            }
            Some(BuildKind::File(_)) | None => builder.replace_by_dir(entry).map(Step::Dir),
        }
    }
}

/// Resolution in a tree that stays as it is.
#[cfg(feature = "tar")]
struct Existing<'b>(&'b Builder);

#[cfg(feature = "tar")]
impl LinkedTree for Existing<'_> {
    type Dir = u32;
    type Error = TreeFault;

    fn step(&mut self, dir: &u32, name: &str) -> Result<Step<u32>, TreeFault> {
        let Existing(builder) = self;
        let entry = builder.find(*dir, check_name(name)?).ok_or(TreeFault::LinkMissing)?;
        let id = builder.entry(entry)?.node;
        match builder.kind(id) {
            Some(BuildKind::Dir(_)) => Ok(Step::Dir(id)),
            Some(BuildKind::Symlink(target)) => {
                Ok(Step::Symlink(text_of(&builder.text, target).to_owned()))
            }
            Some(BuildKind::File(_)) | None => Err(TreeFault::LinkMissing),
        }
    }
}

/// Numbers the nodes that are reachable from the root, from the root down. `sorted` is by directory
/// and name.
fn number(old: &[BuildNode], sorted: &[BuildEntry]) -> (Box<[NodeData]>, Box<[EntryData]>) {
    const UNSEEN: Index = Index::MAX;
    let mut new_of = vec![UNSEEN; old.len()];
    // The nodes in their new order, with the new indices of their parents.
    let mut order: Vec<(u32, Index)> = Vec::with_capacity(old.len());
    let mut nodes = Vec::with_capacity(old.len());
    let mut entries: Vec<EntryData> = Vec::with_capacity(sorted.len());
    // The node of each name, to count the links of each node.
    let mut names = Vec::with_capacity(sorted.len());
    order.push((ROOT, ROOT));
    let mut done = 0;
    while let Some((id, parent)) = order.get(done).copied() {
        let index = index_of(done);
        done += 1;
        let Some(node) = old.get(id as usize) else {
            bug!((); "an entry leads to node {id}, which is not there");
            continue;
        };
        let kind = match node.kind {
            BuildKind::File(content) => Kind::File(content),
            BuildKind::Symlink(target) => Kind::Symlink(target),
            BuildKind::Dir(_) => {
                let first = index_of(entries.len());
                let start = sorted.partition_point(|entry| entry.parent < id);
                let children = sorted.iter().skip(start);
                for entry in children.take_while(|entry| entry.parent == id) {
                    let Some(new) = new_of.get_mut(entry.node as usize) else {
                        bug!((); "an entry leads to node {}, which is not there", entry.node);
                        continue;
                    };
                    if *new == UNSEEN {
                        *new = index_of(order.len());
                        order.push((entry.node, index));
                    }
                    names.push(*new);
                    entries.push(EntryData { name: entry.name, node: *new });
                }
                Kind::Dir { parent, first, count: index_of(entries.len()) - first }
            }
        };
        let (seconds, nanos) = (node.time.seconds(), node.time.nanos());
        nodes.push(NodeData { kind, seconds, nanos, nlink: 0 });
    }
    count_links(&mut nodes, &names);
    (nodes.into_boxed_slice(), entries.into_boxed_slice())
}

/// Sets the link counts: a file's is the number of its names; a directory's counts its own name,
/// its `.`, and the `..` of each directory in it.
fn count_links(nodes: &mut [NodeData], names: &[Index]) {
    for node in names {
        if let Some(node) = nodes.get_mut(*node as usize) {
            node.nlink += 1;
        }
    }
    for at in 0..nodes.len() {
        let parent = match nodes.get_mut(at) {
            Some(NodeData { kind: Kind::Dir { parent, .. }, nlink, .. }) => {
                *nlink = nlink.saturating_add(if at == ROOT as usize { 2 } else { 1 });
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

/// Builds the hash table of all names of `tree`.
fn index(tree: &Tree) -> HashTable<u32> {
    let mut names = HashTable::with_capacity(tree.entries.len());
    for (dir, node) in tree.nodes.iter().enumerate() {
        let Kind::Dir { first, .. } = node.kind else { continue };
        for (at, entry) in (first..).zip(tree.entries(node.kind)) {
            let hash = hash_name(&tree.hasher, index_of(dir), tree.text(entry.name));
            // The table has capacity for all names, so it never rehashes.
            names.insert_unique(hash, at, |_| 0);
        }
    }
    names
}

/// Returns the names of `path`, each validated.
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

fn text_of(text: &str, TextRange { at, len }: TextRange) -> &str {
    let name = text.get(at as usize..at as usize + len as usize);
    name.unwrap_or_else(|| bug!(""; "an entry's name is not in the text"))
}

fn to_index(n: usize) -> Result<u32, TreeFault> {
    // The highest index marks an unassigned node.
    if n >= INDEX_MAX {
        return Err(TreeFault::TooMany);
    }
    u32::try_from(n).map_err(|_| TreeFault::TooMany)
}

/// Converts a number that [`to_index`] has accepted.
fn index_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| bug!(u32::MAX; "{n} is no index"))
}
