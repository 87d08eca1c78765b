//! Snapshots of all observable metadata of a tree, and the consistency check.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use palisade_vfs::{
    Access, Cookie, Descent, Dir, Errno, FileType, OpenFlags, OpenHow, Result, Stat, Stop,
    Timestamp,
};

use crate::tree::{NODES_MAX, Tree};

/// A snapshot of a directory: its tree, and for each node, including the root, the type, identity,
/// size, link count and times.
///
/// The access time is left out, because taking the snapshot may change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    tree: Tree,
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: FileType,
    id: (u64, u64),
    nlink: u64,
    size: u64,
    modified: Timestamp,
    changed: Timestamp,
}

impl Node {
    fn of(stat: &Stat) -> Self {
        Node {
            kind: stat.kind,
            id: (stat.dev, stat.ino),
            nlink: stat.nlink,
            size: stat.size,
            modified: stat.modified,
            changed: stat.changed,
        }
    }
}

impl Record {
    /// Takes a snapshot.
    ///
    /// # Errors
    ///
    /// The errors of [`Tree::snapshot`].
    pub fn of(root: &dyn Dir) -> Result<Record> {
        let tree = Tree::snapshot(root)?;
        let mut nodes = BTreeMap::new();
        for path in std::iter::once("").chain(tree.iter().map(|(path, _)| path)) {
            let stat = root.stat(Descent::new(path)?).map_err(errno)?;
            nodes.insert(path.to_owned(), Node::of(&stat));
        }
        Ok(Record { tree, nodes })
    }

    /// Returns the snapshot without the metadata that a copy-up may change: change times, and the
    /// sizes and link counts of directories.
    #[must_use]
    pub fn without_volatile(mut self) -> Self {
        for node in self.nodes.values_mut() {
            node.changed = Timestamp::EPOCH;
            if node.kind == FileType::Dir {
                (node.size, node.nlink) = (0, 0);
            }
        }
        self
    }

    /// Returns the tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Returns the modification time of each path.
    pub fn modified(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node.modified))
    }

    /// Returns the differences, one per line; empty if there are none.
    #[must_use]
    pub fn diff(&self, other: &Record) -> String {
        let mut out = self.tree.diff(&other.tree);
        for (path, before) in &self.nodes {
            if let Some(after) = other.nodes.get(path)
                && before != after
            {
                out.push_str(&format!("`{path}` changed from {before:?}\n  to {after:?}\n"));
            }
        }
        out
    }
}

/// Checks the consistency of the tree under a directory.
///
/// Each listed entry can be opened, held and stat'ed, or returns `Acces`. Its type and inode
/// number in the listing equal those of its stat. No inode number is 0. The link count of each
/// file equals its number of names. Two listings are equal, and a listing from a cookie continues
/// after the entry of that cookie. No name is listed twice.
///
/// # Errors
///
/// A description of the first inconsistency.
pub fn consistent(root: &dyn Dir) -> Result<(), String> {
    let mut pending = vec![String::new()];
    let mut names: BTreeMap<(u64, u64), (String, u64, u64)> = BTreeMap::new();
    let mut count = 0;
    while let Some(dir_path) = pending.pop() {
        let at = Descent::new(&dir_path).map_err(|it| it.to_string())?;
        let dir = match root.open(at, LIST) {
            Ok(node) => node.into_dir().map_err(|it| it.to_string())?,
            Err(Stop::Errno(Errno::Acces)) => continue,
            Err(stop) => {
                return Err(format!("`{dir_path}` cannot be opened for listing: {stop:?}"));
            }
        };
        for (name, kind, ino) in listing(&*dir).map_err(|what| format!("`{dir_path}`: {what}"))? {
            count += 1;
            if count > NODES_MAX {
                return Err("there are too many nodes".to_owned());
            }
            let path =
                if dir_path.is_empty() { name.clone() } else { format!("{dir_path}/{name}") };
            let context = |what: String| format!("`{path}` is listed but {what}");
            let Some(stat) = entry(&*dir, &name, kind, ino).map_err(context)? else { continue };
            if kind == FileType::Dir {
                pending.push(path);
            } else {
                let id = (stat.dev, stat.ino);
                names.entry(id).or_insert((path, stat.nlink, 0)).2 += 1;
            }
        }
    }
    for (path, nlink, found) in names.values() {
        if nlink != found {
            return Err(format!("`{path}` has the link count {nlink} and {found} names"));
        }
    }
    Ok(())
}

const LIST: OpenHow = OpenHow::new(Access::Read, OpenFlags::DIRECTORY);

fn errno(stop: Stop) -> Errno {
    match stop {
        Stop::Errno(errno) => errno,
        Stop::Link { .. } => Errno::Loop,
    }
}

/// Checks one entry by each kind of access; returns `None` if its stat is denied.
fn entry(dir: &dyn Dir, name: &str, kind: FileType, ino: u64) -> Result<Option<Stat>, String> {
    let path = Descent::new(name).map_err(|it| format!("has an invalid name: {it}"))?;
    let stat = match dir.stat(path) {
        Ok(stat) => stat,
        Err(Stop::Errno(Errno::Acces)) => return Ok(None),
        Err(stop) => return Err(format!("its stat fails: {stop:?}")),
    };
    if stat.kind != kind || stat.ino != ino {
        return Err(format!("with the type {kind:?} and inode {ino} of another node: {stat:?}"));
    }
    if ino == 0 {
        return Err("has the inode number 0".to_owned());
    }
    match dir.stat_following(path) {
        Ok(followed) if kind != FileType::Symlink && followed == stat => {}
        Err(Stop::Link { at: 0, .. }) if kind == FileType::Symlink => {}
        other => return Err(format!("its stat is {stat:?}, and {other:?} following links")),
    }
    for how in [OpenHow::HOLD, OpenHow::READ] {
        match (dir.open(path, how), kind) {
            (Ok(_), FileType::Dir | FileType::File) => {}
            (Err(Stop::Link { .. }), FileType::Symlink) => {}
            (Err(Stop::Errno(Errno::Acces)), _) => {}
            (Err(Stop::Errno(Errno::Nxio)), FileType::Fifo | FileType::Socket) => {}
            (Ok(_), FileType::CharDevice) => {}
            (Ok(_), _) => return Err(format!("opens, although it is a {kind:?}")),
            (Err(stop), _) => return Err(format!("opening it with {how:?} returns {stop:?}")),
        }
    }
    Ok(Some(stat))
}

/// The name, type and inode number of a listed entry.
type Listed = (String, FileType, u64);

/// Returns the listing after checking that the listing from each cookie agrees with it.
pub(crate) fn listing(dir: &dyn Dir) -> Result<Vec<Listed>, String> {
    let whole = listed_from(dir, Cookie::START)?;
    let mut names: Vec<_> = whole.iter().map(|(entry, _)| &entry.0).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(format!("the name {pair:?} is listed twice"));
    }
    for (nth, (_, next)) in whole.iter().enumerate() {
        let rest = listed_from(dir, *next)?;
        if whole.get(nth + 1..) != Some(&*rest) {
            return Err(format!("the listing {whole:?} from {next:?} is {rest:?}"));
        }
    }
    if listed_from(dir, Cookie::START)? != whole {
        return Err("two listings differ".to_owned());
    }
    Ok(whole.into_iter().map(|(entry, _)| entry).collect())
}

/// Returns the entries from `from`, each with the cookie after it.
pub(crate) fn listed_from(dir: &dyn Dir, from: Cookie) -> Result<Vec<(Listed, Cookie)>, String> {
    let mut out = Vec::new();
    dir.read_dir(from, &mut |entry| {
        out.push(((entry.name.as_str().to_owned(), entry.kind, entry.ino), entry.next));
        if out.len() > NODES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map_err(|errno| format!("it cannot be listed: {errno}"))?;
    Ok(out)
}
