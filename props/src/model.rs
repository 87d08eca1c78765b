//! The reference filesystem: an inode table and a path resolver, written from POSIX and man pages.
//!
//! It shares no code with the filesystems that it checks: it resolves paths component by component
//! and recurses into symbolic links, whereas `palisade_vfs` rewrites the path. It favors simplicity
//! over speed; a file is a map from offsets to bytes. The model itself is checked against the
//! kernel (`kernel`).

use std::collections::BTreeMap;

use palisade_vfs::{Access, Errno, FileType, Follow, OpenFlags, SetTime, SetTimes, Timestamp};

use crate::live::Run;
use crate::op::{At, Op, READ_MAX};
use crate::outcome::{Outcome, StatSummary};
use crate::tree::{FILE_LEN_MAX, Leaf, Tree};

mod file;
mod resolve;
mod start;

use resolve::LastComponent;

/// An inode number.
pub(crate) type Ino = u64;
pub(crate) const ROOT: Ino = 1;
/// The maximum length of a file.
const FILE_END_MAX: u64 = i64::MAX.unsigned_abs();

type Res<T> = Result<T, Errno>;

/// The reference filesystem with the open handles of a guest.
#[derive(Clone)]
pub struct Model {
    nodes: BTreeMap<Ino, Inode>,
    next: Ino,
    dirs: Vec<Ino>,
    files: Vec<Open>,
}

#[derive(Clone)]
struct Inode {
    body: NodeData,
    /// The number of names; 0 or 1 for a directory.
    names: u64,
    /// The modification time, if it was set explicitly since the last change.
    modified: Option<Timestamp>,
}

#[derive(Clone)]
enum NodeData {
    Dir { entries: BTreeMap<String, Ino>, parent: Ino },
    File { bytes: BTreeMap<u64, u8>, len: u64 },
    Link(String),
}

#[derive(Clone, Copy)]
struct Open {
    ino: Ino,
    access: Access,
}

impl Default for Model {
    fn default() -> Self {
        Model::new()
    }
}

impl Model {
    /// Creates an empty filesystem with an open root.
    #[must_use]
    pub fn new() -> Self {
        let mut model =
            Model { nodes: BTreeMap::new(), next: ROOT, dirs: vec![ROOT], files: Vec::new() };
        model.make(NodeData::Dir { entries: BTreeMap::new(), parent: ROOT });
        model
    }

    /// Returns the tree under the root, or `None` if a file is longer than a [`Tree`] can hold.
    #[must_use]
    pub fn tree(&self) -> Option<Tree> {
        let mut tree = Tree::new();
        let mut first_names = BTreeMap::new();
        for (path, ino) in self.walk() {
            let leaf = match (&self.nodes.get(&ino)?.body, first_names.get(&ino)) {
                (NodeData::Dir { .. }, _) => Leaf::Dir,
                (_, Some(first)) => Leaf::HardLink(String::clone(first)),
                (NodeData::Link(target), None) => Leaf::Symlink(target.clone()),
                (NodeData::File { bytes, len }, None) => {
                    if *len > FILE_LEN_MAX {
                        return None;
                    }
                    Leaf::File((0..*len).map(|at| *bytes.get(&at).unwrap_or(&0)).collect())
                }
            };
            first_names.entry(ino).or_insert_with(|| path.clone());
            tree.insert(&path, leaf);
        }
        Some(tree)
    }

    /// Returns the path and type of each node under the root, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<(String, FileType)> {
        self.walk().into_iter().map(|(path, ino)| (path, self.kind(ino))).collect()
    }

    /// Returns the numbers of open directories and files.
    #[must_use]
    pub fn open_counts(&self) -> (usize, usize) {
        (self.dirs.len(), self.files.len())
    }

    /// Returns whether a node has a name or is open, so that its inode number must not be reused.
    pub(crate) fn is_alive(&self, ino: Ino) -> bool {
        self.dirs.contains(&ino)
            || self.files.iter().any(|open| open.ino == ino)
            || ino == ROOT
            || self.nodes.get(&ino).is_some_and(|node| node.names > 0)
    }

    fn walk(&self) -> BTreeMap<String, Ino> {
        let mut out = BTreeMap::new();
        let mut pending = vec![(String::new(), ROOT)];
        while let Some((path, ino)) = pending.pop() {
            for (name, child) in self.entries(ino).into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                pending.push((path.clone(), *child));
                out.insert(path, *child);
            }
        }
        out
    }

    fn make(&mut self, body: NodeData) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, Inode { body, names: 1, modified: None });
        ino
    }

    fn kind(&self, ino: Ino) -> FileType {
        match self.nodes.get(&ino).map(|node| &node.body) {
            Some(NodeData::Dir { .. }) => FileType::Dir,
            Some(NodeData::Link(_)) => FileType::Symlink,
            Some(NodeData::File { .. }) | None => FileType::File,
        }
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.kind(ino) == FileType::Dir
    }

    fn entries(&self, ino: Ino) -> Option<&BTreeMap<String, Ino>> {
        match self.nodes.get(&ino).map(|node| &node.body) {
            Some(NodeData::Dir { entries, .. }) => Some(entries),
            _ => None,
        }
    }

    fn child(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.entries(dir)?.get(name).copied()
    }

    fn start(&self, at: &At) -> Ino {
        let nth = usize::from(at.dir) % self.dirs.len().max(1);
        self.dirs.get(nth).copied().unwrap_or(ROOT)
    }

    fn insert(&mut self, dir: Ino, name: &str, child: Ino) {
        if let Some(node) = self.nodes.get_mut(&dir)
            && let NodeData::Dir { entries, .. } = &mut node.body
        {
            entries.insert(name.to_owned(), child);
            node.modified = None;
        }
        if let Some(Inode { body: NodeData::Dir { parent, .. }, .. }) = self.nodes.get_mut(&child) {
            *parent = dir;
        }
    }

    /// Removes a name and decrements the link count of its node.
    fn remove(&mut self, dir: Ino, name: &str) {
        if let Some(node) = self.nodes.get_mut(&dir)
            && let NodeData::Dir { entries, .. } = &mut node.body
            && let Some(child) = entries.remove(name)
        {
            node.modified = None;
            if let Some(child) = self.nodes.get_mut(&child) {
                child.names -= 1;
            }
        }
    }

    /// Returns whether `dir` is `above` or a descendant of it.
    fn is_inside(&self, dir: Ino, above: Ino) -> bool {
        let mut at = dir;
        loop {
            if at == above {
                return true;
            }
            match self.nodes.get(&at).map(|node| &node.body) {
                Some(NodeData::Dir { parent, .. }) if *parent != at => at = *parent,
                _ => return false,
            }
        }
    }

    fn is_removed(&self, dir: Ino) -> bool {
        self.nodes.get(&dir).is_none_or(|node| node.names == 0)
    }

    /// Returns the location of a new node: the name must be free and the directory not removed.
    fn vacant(&self, place: LastComponent) -> Res<(Ino, String, bool)> {
        match place {
            LastComponent::Dots(..) => Err(Errno::Exist),
            LastComponent::Name { dir, name, slash } => {
                if self.child(dir, &name).is_some() {
                    return Err(Errno::Exist);
                }
                if self.is_removed(dir) {
                    return Err(Errno::Noent);
                }
                Ok((dir, name, slash))
            }
        }
    }

    fn create(&mut self, at: &At, body: NodeData) -> Res<Outcome> {
        let may_slash = matches!(body, NodeData::Dir { .. });
        let (dir, name, slash) = self.vacant(self.place(self.start(at), &at.path)?)?;
        if slash && !may_slash {
            return Err(Errno::Noent);
        }
        let made = self.make(body);
        self.insert(dir, &name, made);
        Ok(Outcome::Done)
    }

    fn symlink(&mut self, at: &At, target: &str) -> Res<Outcome> {
        match target {
            "" => Err(Errno::Noent),
            long if long.len() >= 4096 => Err(Errno::Nametoolong),
            nul if nul.contains('\0') => Err(Errno::Inval),
            absolute if absolute.starts_with('/') => Err(Errno::Escape),
            fine => self.create(at, NodeData::Link(fine.to_owned())),
        }
    }

    fn link(&mut self, old: &At, new: &At) -> Res<Outcome> {
        let node = self.resolve(self.start(old), &old.path, Follow::No)?;
        let (dir, name, slash) = self.vacant(self.place(self.start(new), &new.path)?)?;
        if slash {
            return Err(Errno::Noent);
        }
        if self.is_dir(node) {
            return Err(Errno::Perm);
        }
        self.insert(dir, &name, node);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.names += 1;
        }
        Ok(Outcome::Done)
    }

    fn unlink(&mut self, at: &At) -> Res<Outcome> {
        match self.place(self.start(at), &at.path)? {
            LastComponent::Dots(..) => Err(Errno::Isdir),
            LastComponent::Name { dir, name, slash } => {
                let node = self.child(dir, &name).ok_or(Errno::Noent)?;
                if self.is_dir(node) {
                    return Err(Errno::Isdir);
                }
                if slash {
                    return Err(Errno::Notdir);
                }
                self.remove(dir, &name);
                Ok(Outcome::Done)
            }
        }
    }

    fn rmdir(&mut self, at: &At) -> Res<Outcome> {
        match self.place(self.start(at), &at.path)? {
            LastComponent::Dots(up) => Err(if up { Errno::Notempty } else { Errno::Inval }),
            LastComponent::Name { dir, name, .. } => {
                let node = self.child(dir, &name).ok_or(Errno::Noent)?;
                let entries = self.entries(node).ok_or(Errno::Notdir)?;
                if !entries.is_empty() {
                    return Err(Errno::Notempty);
                }
                self.remove(dir, &name);
                Ok(Outcome::Done)
            }
        }
    }

    fn rename(&mut self, old: &At, new: &At) -> Res<Outcome> {
        let from = self.place(self.start(old), &old.path)?;
        let into = self.place(self.start(new), &new.path)?;
        let (
            LastComponent::Name { dir: from, name: old, slash: old_slash },
            LastComponent::Name { dir: into, name: new, slash: new_slash },
        ) = (from, into)
        else {
            return Err(Errno::Busy);
        };
        let node = self.child(from, &old).ok_or(Errno::Noent)?;
        // Lookup in a removed directory fails.
        if self.is_removed(into) {
            return Err(Errno::Noent);
        }
        let target = self.child(into, &new);
        let moves_dir = self.is_dir(node);
        if (old_slash || new_slash) && !moves_dir {
            return Err(Errno::Notdir);
        }
        if moves_dir && self.is_inside(into, node) {
            return Err(Errno::Inval);
        }
        if from != into && target.is_some_and(|target| self.is_inside(from, target)) {
            return Err(Errno::Notempty);
        }
        if target == Some(node) {
            return Ok(Outcome::Done);
        }
        match target {
            None => {}
            Some(target) => match (moves_dir, self.entries(target)) {
                (true, None) => return Err(Errno::Notdir),
                (false, Some(_)) => return Err(Errno::Isdir),
                (true, Some(entries)) if !entries.is_empty() => return Err(Errno::Notempty),
                (true, Some(_)) | (false, None) => self.remove(into, &new),
            },
        }
        self.remove(from, &old);
        self.insert(into, &new, node);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.names += 1;
            if moves_dir {
                node.modified = None;
            }
        }
        Ok(Outcome::Done)
    }

    fn open(&mut self, at: &At, access: Access, flags: OpenFlags, follow: Follow) -> Res<Ino> {
        let has = |flag| flags.contains(flag);
        if has(OpenFlags::DIRECTORY) && flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            return Err(Errno::Inval);
        }
        let changes = access.writes() || has(OpenFlags::TRUNCATE);
        let node = if has(OpenFlags::CREATE) {
            self.open_creating(at, has(OpenFlags::EXCLUSIVE), follow)?
        } else {
            self.resolve(self.start(at), &at.path, follow)?
        };
        if self.kind(node) == FileType::Symlink {
            return Err(Errno::Loop);
        }
        if self.is_dir(node) {
            return if changes { Err(Errno::Isdir) } else { Ok(node) };
        }
        if has(OpenFlags::DIRECTORY) {
            return Err(Errno::Notdir);
        }
        if has(OpenFlags::TRUNCATE) {
            self.set_len(node, 0);
        }
        Ok(node)
    }

    fn open_creating(&mut self, at: &At, exclusive: bool, follow: Follow) -> Res<Ino> {
        let follow = if exclusive { Follow::No } else { follow };
        let (dir, name) = match self.place_created(self.start(at), &at.path, follow)? {
            LastComponent::Dots(..) if exclusive => return Err(Errno::Exist),
            LastComponent::Dots(..) | LastComponent::Name { slash: true, .. } => {
                return Err(Errno::Isdir);
            }
            LastComponent::Name { dir, name, slash: false } => (dir, name),
        };
        match self.child(dir, &name) {
            Some(_) if exclusive => Err(Errno::Exist),
            Some(node) if self.is_dir(node) => Err(Errno::Isdir),
            Some(node) => Ok(node),
            None if self.is_removed(dir) => Err(Errno::Noent),
            None => {
                let made = self.make(NodeData::File { bytes: BTreeMap::new(), len: 0 });
                self.insert(dir, &name, made);
                Ok(made)
            }
        }
    }

    fn stat(&self, ino: Ino) -> Outcome {
        let comparable = !self.is_dir(ino);
        let node = self.nodes.get(&ino);
        Outcome::Stat(StatSummary {
            kind: self.kind(ino),
            size: comparable.then(|| self.len(ino)),
            nlink: node.filter(|_| comparable).map(|node| node.names),
            modified: node.and_then(|node| node.modified),
            id: (0, ino),
        })
    }

    fn set_times(&mut self, ino: Ino, times: SetTimes) -> Outcome {
        if let Some(node) = self.nodes.get_mut(&ino) {
            match times.modified {
                SetTime::Keep => {}
                SetTime::Now => node.modified = None,
                SetTime::At(at) => node.modified = Some(at),
            }
        }
        Outcome::Done
    }

    fn list(&self, at: &At) -> Res<Outcome> {
        let node = self.resolve(self.start(at), &at.path, Follow::Yes)?;
        let entries = self.entries(node).ok_or(Errno::Notdir)?;
        let entry = |(name, ino): (&String, &Ino)| (name.clone(), self.kind(*ino));
        Ok(Outcome::Names(entries.iter().map(entry).collect()))
    }

    fn run_on_path(&mut self, op: &Op) -> Res<Outcome> {
        match op {
            Op::Mkdir(at) => {
                self.create(at, NodeData::Dir { entries: BTreeMap::new(), parent: ROOT })
            }
            Op::Symlink(at, target) => self.symlink(at, target),
            Op::Link(old, new) => self.link(old, new),
            Op::Rename(old, new) => self.rename(old, new),
            Op::Unlink(at) => self.unlink(at),
            Op::Rmdir(at) => self.rmdir(at),
            Op::Put(at, bytes) => {
                let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE;
                let node = self.open(at, Access::Write, flags, Follow::Yes)?;
                self.write(node, bytes, 0)?;
                Ok(Outcome::Done)
            }
            Op::Get(at) => {
                let none = OpenFlags::empty();
                let node = self.open(at, Access::Read, none, Follow::Yes)?;
                Ok(self.read(node, u64::try_from(READ_MAX).unwrap_or(0), 0))
            }
            Op::Open(at, access, flags, follow) => {
                let ino = self.open(at, *access, *flags, *follow)?;
                if self.is_dir(ino) {
                    self.dirs.push(ino);
                    return Ok(Outcome::Dir);
                }
                self.files.push(Open { ino, access: *access });
                Ok(Outcome::File)
            }
            Op::CloseDir(n) => match usize::from(*n) % self.dirs.len().max(1) {
                0 => Ok(Outcome::Idle),
                nth => {
                    self.dirs.remove(nth);
                    Ok(Outcome::Done)
                }
            },
            Op::Stat(at, follow) => {
                Ok(self.stat(self.resolve(self.start(at), &at.path, *follow)?))
            }
            Op::ReadLink(at) => {
                let node = self.resolve(self.start(at), &at.path, Follow::No)?;
                match self.nodes.get(&node).map(|node| &node.body) {
                    Some(NodeData::Link(target)) if target.starts_with('/') => Err(Errno::Escape),
                    Some(NodeData::Link(target)) => Ok(Outcome::Target(target.clone())),
                    _ => Err(Errno::Inval),
                }
            }
            Op::ReadDir(at) => self.list(at),
            Op::SetTimes(at, follow, times) => {
                let node = self.resolve(self.start(at), &at.path, *follow)?;
                Ok(self.set_times(node, *times))
            }
            _ => Ok(Outcome::Idle),
        }
    }

    /// Returns the acceptable outcomes of the operation. The first is the one that the traits
    /// require; POSIX permits the others as well.
    pub fn apply(&mut self, op: &Op) -> Vec<Outcome> {
        let mut allowed = vec![self.run(op)];
        if let (Op::Open(at, _, flags, Follow::No), Some(Outcome::Fail(Errno::Loop))) =
            (op, allowed.first())
            && flags.contains(OpenFlags::DIRECTORY)
            && self.resolve(self.start(at), &at.path, Follow::No).is_ok()
        {
            allowed.push(Outcome::Fail(Errno::Notdir));
        }
        // A loop that extends the path at each turn may hit the length limit first.
        if let [Outcome::Fail(Errno::Loop)] = &*allowed {
            allowed.push(Outcome::Fail(Errno::Nametoolong));
        }
        // Writing no bytes beyond the maximum offset.
        if let (Op::Write(_, bytes, offset), [Outcome::Wrote(0)]) = (op, &*allowed)
            && bytes.is_empty()
            && *offset > FILE_END_MAX
        {
            allowed.push(Outcome::Fail(Errno::Fbig));
        }
        allowed
    }
}

impl Run for Model {
    fn run(&mut self, op: &Op) -> Outcome {
        let result = match op {
            Op::Close(n) | Op::Read(n, ..) | Op::Write(n, ..) => self.run_on_file(op, *n),
            Op::Append(n, _) | Op::SetLen(n, _) | Op::Allocate(n, ..) => self.run_on_file(op, *n),
            Op::Fstat(n) | Op::Ftimes(n, _) => self.run_on_file(op, *n),
            _ => self.run_on_path(op),
        };
        result.unwrap_or_else(Outcome::Fail)
    }
}
